//! `srptgt bench`: how fast a target is, as initiators of ours see it.

use std::time::Duration;

use clap::Args;
use initiator::scsi::Capacity;
use initiator::{Lun, Nexus, Scsi};
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::ByteSize;
use crate::exercise::{
    Access, Content, Fill, Initiator, Measure, Measured, Mix, Pattern, Place, run,
};
use crate::loopback::{Cost, Daemon};
use crate::portal::Protocol;

use super::peer::{Peer, not_in};
use super::progress::spinner;
use super::{Failure, Outcome, Output, say, table};

/// Size of the LUN of a target of our own.
const LUN_BYTES: u64 = 64 << 20;

/// How long each measurement runs before it counts.
const WARM_UP: Duration = Duration::from_millis(150);

/// What is written first, so that READs find something.
const PATTERN: Pattern = Pattern {
    seed: 0x0062_656e_6368,
};

/// Longest command; a longer one is refused by most targets.
const LONGEST_BYTES: u64 = 4 << 20;

/// Most sessions.
const SESSIONS: std::ops::RangeInclusive<i64> = 1..=64;

#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    peer: Peer,
    /// What to measure: read, write, mixed (7 reads to 3 writes); several with commas [default: a choice of jobs]
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "read|write|mixed",
        hide_possible_values = true
    )]
    pattern: Vec<Access>,
    /// Length of each command; several with commas [default: 4K, or a choice of jobs]
    #[arg(long, value_delimiter = ',', value_name = "SIZE")]
    block_size: Vec<ByteSize>,
    /// Commands outstanding in each session; several with commas [default: 32, or a choice of jobs]
    #[arg(long, value_delimiter = ',', value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    depth: Vec<u16>,
    /// How long each job runs over each transport
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    seconds: f64,
    /// Sessions that run at the same time, each in a thread of its own
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u16).range(SESSIONS))]
    sessions: u16,
    /// Allow writing over a LUN that is not of a target of its own: WHAT IT HOLDS IS LOST
    #[arg(long)]
    write: bool,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Row {
    /// What carried the commands.
    transport: Protocol,
    #[serde(flatten)]
    measured: Measured,
    /// CPU time of the target for one command, in microseconds, when it is known.
    target_cpu_us: Option<f64>,
    /// System calls of the target for one command, when they are counted.
    target_system_calls: Option<f64>,
}

impl Bench {
    pub(crate) async fn run(self, output: Output) -> Outcome {
        self.peer.check(usize::from(self.sessions))?;
        let mixes = self.mixes()?;
        tokio::select! {
            done = self.measure(&mixes, output) => done,
            _ = tokio::signal::ctrl_c() => Err(Failure::Failed("interrupted".to_owned(), String::new())),
        }
    }

    fn may_write(&self) -> bool {
        self.write || self.peer.is_own()
    }

    /// The jobs, in order.
    fn mixes(&self) -> Result<Vec<Mix>, Failure> {
        if !(0.05..=3600.0).contains(&self.seconds) {
            return Err(Failure::Usage(
                format!("a job cannot run for {} seconds", self.seconds),
                "accepted: 0.05 to 3600".to_owned(),
            ));
        }
        let mixes = match (&*self.pattern, &*self.block_size, &*self.depth) {
            ([], [], []) => default_mixes(self.may_write()),
            (patterns, lengths, depths) => product(patterns, lengths, depths)?,
        };
        let writes = mixes.iter().find(|mix| mix.access != Access::Read);
        match writes.filter(|_| !self.may_write()) {
            None => Ok(mixes),
            Some(mix) => Err(Failure::Usage(
                format!(
                    "'{mix}' would write over {}, and what that holds would be lost",
                    self.peer.name()
                ),
                "if nobody needs it, add --write; otherwise measure --pattern read".to_owned(),
            )),
        }
    }

    async fn measure(&self, mixes: &[Mix], output: Output) -> Outcome {
        let own = self.peer.start(ByteSize(LUN_BYTES)).await?;
        let mut rows = Vec::new();
        let mut capacity = None;
        for transport in self.peer.transports() {
            let initiators = self.log_in(own.as_ref(), transport, mixes).await?;
            let place = self.look(&initiators).await?;
            // What was written over one transport is there for the next.
            if own.is_some() && capacity.is_none() {
                fill(&initiators, place).await?;
            }
            capacity = Some(place.capacity);
            for (job, mix) in mixes.iter().enumerate() {
                let row = self.row(&initiators, own.as_ref(), transport, place, *mix);
                rows.push((job, row.await?));
            }
            for initiator in initiators {
                initiator.log_out().await;
            }
        }
        // What is to be compared stands side by side.
        rows.sort_by_key(|(job, _)| *job);
        let rows = rows.into_iter().map(|(_, row)| row).collect();
        self.report(capacity, rows, output)
    }

    async fn log_in(
        &self,
        own: Option<&Daemon>,
        transport: Protocol,
        mixes: &[Mix],
    ) -> Result<Vec<Initiator>, Failure> {
        let memory = mixes.iter().map(|mix| mix.len_bytes * mix.depth).max();
        let depth = mixes.iter().map(|mix| mix.depth).max().unwrap_or(1);
        let route = self.peer.route(own, transport).await?;
        let mut initiators = Vec::new();
        for number in 0..self.sessions {
            let dial = route.dial(number)?;
            // A filled LUN and the odd blocking command need some, too.
            let dial = dial.with_memory(memory.unwrap_or(0) + (32 << 20));
            let dial = dial.with_outstanding(depth + 1);
            let initiator = Initiator::log_in(dial, u64::from(number)).await;
            initiators.push(initiator.map_err(|error| not_in(&error))?);
        }
        Ok(initiators)
    }

    /// Every session takes its unit attentions; all see the same medium.
    async fn look(&self, initiators: &[Initiator]) -> Result<Place, Failure> {
        let lun = self.peer.lun();
        let mut place = None;
        for initiator in initiators {
            place = Some(initiator.run(move |nexus| look(nexus, lun)).await??);
        }
        place.ok_or_else(|| anyhow::anyhow!("there is no session").into())
    }

    async fn row(
        &self,
        initiators: &[Initiator],
        own: Option<&Daemon>,
        transport: Protocol,
        place: Place,
        mix: Mix,
    ) -> Result<Row, Failure> {
        let bar = spinner(&format!("measuring {mix} over {transport}"))?;
        measure_all(initiators, place, mix, WARM_UP).await?;
        let before = cost(own).await?;
        let duration = Duration::from_secs_f64(self.seconds);
        let measured = measure_all(initiators, place, mix, duration).await?;
        let after = cost(own).await?;
        bar.finish_and_clear();
        let cost = after.zip(before).map(|(after, before)| after.since(before));
        let for_each = |amount: fn(Cost) -> f64| {
            let cost = cost.filter(|cost| cost.commands > 0)?;
            Some(amount(cost) / cost.commands as f64)
        };
        Ok(Row {
            transport,
            measured,
            target_cpu_us: for_each(|cost| cost.cpu.as_secs_f64() * 1e6),
            target_system_calls: for_each(|cost| cost.system_calls as f64),
        })
    }

    fn report(&self, capacity: Option<Capacity>, rows: Vec<Row>, output: Output) -> Outcome {
        let size_bytes = capacity.map_or(0, |capacity| capacity.bytes());
        let report = json!({
            "target": self.peer.name(),
            "size_bytes": size_bytes,
            "sessions": self.sessions,
            "seconds": self.seconds,
            "measured": rows,
        });
        match output {
            Output::Json => say(&format!("{report:#}\n")),
            Output::Table => say(&format!(
                "{}: {}, {} session{}, {} s for each line, random places\n\n{}",
                self.peer.name(),
                ByteSize(size_bytes).rounded(),
                self.sessions,
                if self.sessions == 1 { "" } else { "s" },
                self.seconds,
                lines(&report)
            )),
        }
    }
}

/// What is measured when nothing else is asked for.
fn default_mixes(may_write: bool) -> Vec<Mix> {
    let all = [
        (Access::Read, 4 << 10, 1),
        (Access::Read, 4 << 10, 32),
        (Access::Write, 4 << 10, 32),
        (Access::Read, 1 << 20, 8),
        (Access::Write, 1 << 20, 8),
    ];
    let wanted = all
        .into_iter()
        .filter(|(access, ..)| may_write || *access == Access::Read);
    let mix = |(access, len_bytes, depth)| Mix {
        access,
        len_bytes,
        depth,
    };
    wanted.map(mix).collect()
}

/// Every pattern in every length at every depth.
fn product(patterns: &[Access], lengths: &[ByteSize], depths: &[u16]) -> Result<Vec<Mix>, Failure> {
    let patterns = given_or(patterns, &[Access::Read]);
    let lengths = given_or(lengths, &[ByteSize(4 << 10)]);
    let depths = given_or(depths, &[32]);
    let mut mixes = Vec::new();
    for access in patterns.iter().copied() {
        for len in lengths {
            let len_bytes = usize::try_from(len.0)
                .ok()
                .filter(|_| len.0 <= LONGEST_BYTES);
            let len_bytes = len_bytes.filter(|len| *len > 0 && len % 512 == 0);
            let len_bytes = len_bytes.ok_or_else(|| wrong_length(*len))?;
            mixes.extend(depths.iter().map(|depth| Mix {
                access,
                len_bytes,
                depth: usize::from(*depth),
            }));
        }
    }
    Ok(mixes)
}

fn given_or<'a, T>(given: &'a [T], default: &'a [T]) -> &'a [T] {
    match given {
        [] => default,
        given => given,
    }
}

fn wrong_length(len: ByteSize) -> Failure {
    Failure::Usage(
        format!("a command cannot be of {} bytes here", len.0),
        "accepted: 512 bytes to 4M, in whole logical blocks".to_owned(),
    )
}

fn look(nexus: &mut dyn Nexus, lun: Lun) -> Result<Place, Failure> {
    nexus.await_ready(lun)?;
    let capacity = nexus.read_capacity(lun)?;
    Ok(Place { lun, capacity })
}

/// Memory that was never written would be read faster than it is.
async fn fill(initiators: &[Initiator], place: Place) -> Outcome {
    let Some(initiator) = initiators.first() else {
        return Ok(());
    };
    let bar = spinner("filling the LUN")?;
    let fill = move |nexus: &mut dyn Nexus| {
        let mut job = Fill::new(PATTERN, place.capacity.bytes(), |_| {});
        run(nexus, place, 1, &mut job)
    };
    initiator.run(fill).await??;
    bar.finish_and_clear();
    Ok(())
}

async fn measure_all(
    initiators: &[Initiator],
    place: Place,
    mix: Mix,
    duration: Duration,
) -> Result<Measured, Failure> {
    let mut running = Vec::new();
    for (seed, initiator) in (1..).zip(initiators) {
        running.push(initiator.start(move |nexus| measure(nexus, place, mix, seed, duration))?);
    }
    let mut measures = Vec::new();
    for one in running {
        measures.push(one.await.map_err(|_| crate::exercise::InitiatorGone)??);
    }
    let measured = Measured::together(&measures);
    measured.ok_or_else(|| anyhow::anyhow!("there is no session").into())
}

fn measure(
    nexus: &mut dyn Nexus,
    place: Place,
    mix: Mix,
    seed: u64,
    duration: Duration,
) -> Result<Measure, Failure> {
    let block = place.capacity.block_bytes.max(1) as usize;
    if !mix.len_bytes.is_multiple_of(block) || place.capacity.bytes() < mix.len_bytes as u64 {
        return Err(wrong_length(ByteSize(mix.len_bytes as u64)));
    }
    // Neighbouring seeds would go on side by side.
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut job = Measure::new(mix, Content::Any, seed, place.capacity.bytes(), duration)?;
    run(nexus, place, mix.depth, &mut job)?;
    Ok(job)
}

async fn cost(own: Option<&Daemon>) -> Result<Option<Cost>, Failure> {
    match own {
        Some(own) => Ok(Some(own.cost().await?)),
        None => Ok(None),
    }
}

fn lines(report: &Value) -> String {
    let rows = report.get("measured").and_then(Value::as_array);
    table::figures(
        rows.map_or(&[], Vec::as_slice),
        &[
            ("JOB", &|row| super::cell::text(row, "/name")),
            ("OVER", &|row| super::cell::text(row, "/transport")),
            ("IOPS", &|row| figure(row, "/iops", 1.0, 0)),
            ("MB/S", &|row| figure(row, "/bytes_per_second", 1e-6, 1)),
            ("P50", &|row| time(row, "/p50_us")),
            ("P99", &|row| time(row, "/p99_us")),
            ("P99.9", &|row| time(row, "/p999_us")),
            ("MAX", &|row| time(row, "/max_us")),
            ("CPU/IO", &|row| time(row, "/target_cpu_us")),
            ("CALLS/IO", &|row| {
                figure(row, "/target_system_calls", 1.0, 2)
            }),
        ],
        2,
        "nothing was measured",
    )
}

fn figure(row: &Value, pointer: &str, factor: f64, digits: usize) -> String {
    let figure = row.pointer(pointer).and_then(Value::as_f64);
    figure.map_or("-".to_owned(), |figure| {
        format!("{:.digits$}", figure * factor)
    })
}

fn time(row: &Value, pointer: &str) -> String {
    match row.pointer(pointer).and_then(Value::as_f64) {
        None => "-".to_owned(),
        Some(us) if us < 100.0 => format!("{us:.1} µs"),
        Some(us) if us < 10_000.0 => format!("{us:.0} µs"),
        Some(us) => format!("{:.1} ms", us / 1000.0),
    }
}
