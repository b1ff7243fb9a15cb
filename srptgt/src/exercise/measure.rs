//! Random READs or WRITEs of one length for a while, and how fast they were.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Command, Direction, ExerciseError, Job, Pattern, Slot};

/// Longest time that is told apart in nanoseconds: the limit of a command.
const LONGEST_NS: u64 = 60_000_000_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// READs or WRITEs.
    pub direction: Direction,
    /// Length of each.
    pub len_bytes: usize,
    /// How many are outstanding.
    pub depth: usize,
}

impl std::fmt::Display for Mix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let len = crate::config::ByteSize(self.len_bytes as u64).rounded();
        f.pad(&format!("{len} {}, depth {}", self.direction, self.depth))
    }
}

/// How fast it was.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// What.
    pub name: String,
    /// Commands in a second.
    pub iops: f64,
    /// Bytes in a second.
    pub bytes_per_second: f64,
    /// Half of the commands took no longer, in microseconds.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
}

/// The job. WRITEs keep to the pattern, so that a medium which has it still has it afterwards.
#[derive(Debug)]
pub struct Measure {
    mix: Mix,
    pattern: Pattern,
    places: u64,
    dice: u64,
    begin: Instant,
    last: Instant,
    duration: Duration,
    latency: Histogram<u64>,
    scratch: Vec<u8>,
}

impl Measure {
    /// On a medium of `medium_bytes`, for this long from now on.
    ///
    /// # Errors
    /// The distribution cannot be made.
    pub fn new(
        mix: Mix,
        pattern: Pattern,
        medium_bytes: u64,
        duration: Duration,
    ) -> Result<Self, ExerciseError> {
        let begin = Instant::now();
        let latency = Histogram::new_with_bounds(1, LONGEST_NS, 3)?;
        Ok(Self {
            mix,
            pattern,
            places: medium_bytes / (mix.len_bytes as u64).max(1),
            dice: pattern.seed | 1,
            begin,
            last: begin,
            duration,
            latency,
            scratch: vec![0; mix.len_bytes],
        })
    }

    /// The figures so far.
    pub fn result(&self) -> Measured {
        let seconds = (self.last - self.begin).as_secs_f64();
        let commands = self.latency.len() as f64;
        let iops = if seconds > 0.0 {
            commands / seconds
        } else {
            0.0
        };
        let at = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1000.0;
        Measured {
            name: self.mix.to_string(),
            iops,
            bytes_per_second: iops * self.mix.len_bytes as f64,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
        }
    }

    /// Xorshift: any place is as good as another.
    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice
    }
}

impl Job for Measure {
    fn longest_bytes(&self) -> usize {
        self.mix.len_bytes
    }

    fn next(&mut self, slot: &mut Slot<'_>) -> Option<Command> {
        if self.last - self.begin >= self.duration {
            return None;
        }
        let place = self.roll().checked_rem(self.places)?;
        let command = Command {
            direction: self.mix.direction,
            offset_bytes: place * self.mix.len_bytes as u64,
            len_bytes: self.mix.len_bytes,
        };
        if command.direction == Direction::Write {
            self.pattern.fill(command.offset_bytes, &mut self.scratch);
            slot.write(&self.scratch).then_some(())?;
        }
        Some(command)
    }

    fn done(&mut self, _: Command, taken: Duration, _: &mut Slot<'_>) -> Result<(), ExerciseError> {
        self.last = Instant::now();
        let taken_ns = u64::try_from(taken.as_nanos()).unwrap_or(LONGEST_NS);
        self.latency.saturating_record(taken_ns.min(LONGEST_NS));
        Ok(())
    }
}
