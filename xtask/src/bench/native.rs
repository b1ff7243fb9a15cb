//! SRP over the soft fabric, natively: `srptgt bench` in its release build, target and initiator on loopback.
//!
//! These figures are of time, not of instructions, and what else the machine does gets into them. So the jobs run in
//! turn for several rounds, and the best round of each counts.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::Subject;
use super::kept::Kept;
use crate::repository::{self, output_of};

const ROUNDS: usize = 12;

/// An address that no test uses, so that both can run.
const ADDRESS: &str = "127.91.0.1";
const SECONDS: &str = "0.5";

/// What a round of each job is aimed at: I/Os or bytes in a second.
const AIMS: [(&str, Aim); 4] = [
    ("4 KiB read, depth 32", Aim::Iops(100_000.0)),
    ("4 KiB write, depth 32", Aim::Iops(100_000.0)),
    ("1 MiB read, depth 8", Aim::BytesPerSecond(1e9)),
    ("1 MiB write, depth 8", Aim::BytesPerSecond(1e9)),
];

#[derive(Clone, Copy)]
enum Aim {
    Iops(f64),
    BytesPerSecond(f64),
}

/// All that was measured natively.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Native {
    pub(super) date: String,
    pub(super) commit: String,
    /// The machine, without its name.
    pub(super) machine: Machine,
    pub(super) rounds: usize,
    /// The best round of each job.
    pub(super) jobs: Vec<NativeJob>,
}

/// What the figures depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) cores: usize,
    pub(super) kernel: String,
}

impl Machine {
    /// The one that this runs on.
    pub(super) fn here() -> Result<Self> {
        Ok(Self {
            cores: thread::available_parallelism()?.into(),
            kernel: kernel()?,
        })
    }
}

/// A line of `srptgt bench`, as it prints it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NativeJob {
    pub(super) name: String,
    pub(super) iops: f64,
    pub(super) bytes_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) target_cpu_us: Option<f64>,
    pub(super) target_system_calls: Option<f64>,
}

impl NativeJob {
    /// What was aimed at, in words.
    pub(super) fn aim(&self) -> Option<String> {
        let (_, aim) = AIMS.iter().find(|(name, _)| *name == self.name)?;
        Some(match aim {
            Aim::Iops(iops) => format!("{:.0} K IOPS", iops / 1e3),
            Aim::BytesPerSecond(bytes) => format!("{:.0} MB/s", bytes / 1e6),
        })
    }
}

#[derive(Deserialize)]
struct Report {
    measured: Vec<NativeJob>,
}

impl Native {
    /// Measures the release build `program`.
    pub(super) fn measure(program: &Path, subject: &Subject) -> Result<Self> {
        let mut jobs = Vec::new();
        for round in 1..=ROUNDS {
            let report = output_of(command(program)?).context("measuring over the soft fabric")?;
            let report: Report = serde_json::from_str(&report).context("srptgt bench's report")?;
            println!("bench: soft fabric, round {round} of {ROUNDS}");
            better(&mut jobs, report.measured)?;
        }
        Ok(Self {
            date: subject.date.clone(),
            commit: subject.commit.clone(),
            machine: Machine::here()?,
            rounds: ROUNDS,
            jobs,
        })
    }
}

impl Kept for Native {
    const FILE: &'static str = "bench/results/native.json";
}

fn command(program: &Path) -> Result<std::process::Command> {
    let program = program.to_str().context("the program's path is no text")?;
    let arguments = [
        "bench",
        "--transport",
        "srp",
        "--address",
        ADDRESS,
        "--seconds",
        SECONDS,
        "--output",
        "json",
    ];
    Ok(repository::command(program, &arguments))
}

/// Keeps for each job the round with more I/Os in a second.
fn better(best: &mut Vec<NativeJob>, round: Vec<NativeJob>) -> Result<()> {
    if best.is_empty() {
        *best = round;
        return Ok(());
    }
    ensure!(best.len() == round.len(), "two rounds have different jobs");
    for (best, job) in best.iter_mut().zip(round) {
        ensure!(best.name == job.name, "two rounds have different jobs");
        if job.iops > best.iops {
            *best = job;
        }
    }
    Ok(())
}

/// The version; what a builder appended says where the machine is, not what it does.
fn kernel() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let version = release.trim().split('-').next();
    Ok(version.unwrap_or_default().to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn job(name: &str, iops: f64) -> NativeJob {
        NativeJob {
            name: name.to_owned(),
            iops,
            bytes_per_second: iops * 4096.0,
            p50_us: 250.0,
            p99_us: 1000.0,
            target_cpu_us: Some(4.0),
            target_system_calls: None,
        }
    }

    /// Two jobs, one with an aim.
    pub(crate) fn sample() -> Native {
        Native {
            date: "2000-01-01T000000Z".to_owned(),
            commit: "0123456".to_owned(),
            machine: Machine {
                cores: 2,
                kernel: "6.1.0".to_owned(),
            },
            rounds: 7,
            jobs: vec![
                job("4 KiB read, depth 1", 20_000.0),
                job("4 KiB read, depth 32", 101_000.0),
            ],
        }
    }

    #[test]
    fn the_better_round_of_each_job_is_kept() {
        let mut best = Vec::new();
        better(&mut best, vec![job("a", 1.0), job("b", 9.0)]).unwrap();
        better(&mut best, vec![job("a", 2.0), job("b", 8.0)]).unwrap();
        assert_eq!(best, [job("a", 2.0), job("b", 9.0)]);
        assert!(better(&mut best, vec![job("a", 2.0)]).is_err());
        assert!(better(&mut best, vec![job("b", 2.0), job("a", 2.0)]).is_err());
    }
}
