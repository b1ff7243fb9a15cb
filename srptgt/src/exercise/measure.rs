//! Random READs or WRITEs of one length for a while, and how fast they were.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Command, Direction, ExerciseError, Job, Pattern, Slot};

/// Longest time that is told apart in nanoseconds: the limit of a command.
const LONGEST_NS: u64 = 60_000_000_000;

/// Of ten commands that read and write, so many read.
const READS_OF_TEN: u64 = 7;

/// Which commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Access {
    /// READs.
    Read,
    /// WRITEs.
    Write,
    /// Seven READs to three WRITEs.
    Mixed,
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Mixed => "mixed",
        })
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// READs, WRITEs or both.
    pub access: Access,
    /// Length of each.
    pub len_bytes: usize,
    /// How many are outstanding.
    pub depth: usize,
}

impl std::fmt::Display for Mix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let len = crate::config::ByteSize(self.len_bytes as u64).rounded();
        f.pad(&format!("{len} {}, depth {}", self.access, self.depth))
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
    /// The slowest.
    pub max_us: f64,
}

impl Measured {
    /// Of several sessions that ran at the same time.
    pub fn together(measures: &[Measure]) -> Option<Self> {
        let (first, rest) = measures.split_first()?;
        let mut latency = first.latency.clone();
        for measure in rest {
            // All are counted within the same bounds.
            latency.add(&measure.latency).ok()?;
        }
        let iops = measures.iter().map(Measure::iops).sum();
        let at = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
        Some(Self {
            name: first.mix.to_string(),
            iops,
            bytes_per_second: iops * first.mix.len_bytes as f64,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: latency.max() as f64 / 1000.0,
        })
    }
}

/// What WRITEs carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// What belongs to the place, so that a medium which has the pattern still has it afterwards.
    Kept(Pattern),
    /// Anything; it is made once, so that making it costs no time.
    Any,
}

/// The job.
#[derive(Debug)]
pub struct Measure {
    mix: Mix,
    content: Content,
    places: u64,
    dice: u64,
    begin: Instant,
    last: Instant,
    duration: Duration,
    latency: Histogram<u64>,
    scratch: Vec<u8>,
    /// Slots that have something to write.
    filled: Vec<bool>,
}

impl Measure {
    /// On a medium of `medium_bytes`, for this long from now on. `seed` chooses the places.
    ///
    /// # Errors
    /// The distribution cannot be made.
    pub fn new(
        mix: Mix,
        content: Content,
        seed: u64,
        medium_bytes: u64,
        duration: Duration,
    ) -> Result<Self, ExerciseError> {
        let begin = Instant::now();
        let latency = Histogram::new_with_bounds(1, LONGEST_NS, 3)?;
        Ok(Self {
            mix,
            content,
            places: medium_bytes / (mix.len_bytes as u64).max(1),
            dice: seed | 1,
            begin,
            last: begin,
            duration,
            latency,
            scratch: vec![0; mix.len_bytes],
            filled: vec![false; mix.depth],
        })
    }

    fn iops(&self) -> f64 {
        let seconds = (self.last - self.begin).as_secs_f64();
        match seconds > 0.0 {
            true => self.latency.len() as f64 / seconds,
            false => 0.0,
        }
    }

    fn direction(&mut self) -> Direction {
        let reads_of_ten = match self.mix.access {
            Access::Read => 10,
            Access::Write => 0,
            Access::Mixed => READS_OF_TEN,
        };
        match self.roll() % 10 < reads_of_ten {
            true => Direction::Read,
            false => Direction::Write,
        }
    }

    /// Puts the data of a WRITE into the slot.
    fn fill(&mut self, offset_bytes: u64, slot: &mut Slot<'_>) -> Option<()> {
        let pattern = match (self.content, self.filled.get_mut(slot.number())) {
            (Content::Any, Some(filled)) if *filled => return Some(()),
            (Content::Any, filled) => {
                // What a READ leaves in the slot is as good.
                filled.into_iter().for_each(|filled| *filled = true);
                Pattern { seed: self.dice }
            }
            (Content::Kept(pattern), _) => pattern,
        };
        pattern.fill(offset_bytes, &mut self.scratch);
        slot.write(&self.scratch).then_some(())
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
            direction: self.direction(),
            offset_bytes: place * self.mix.len_bytes as u64,
            len_bytes: self.mix.len_bytes,
        };
        if command.direction == Direction::Write {
            self.fill(command.offset_bytes, slot)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(access: Access) -> Measure {
        let mix = Mix {
            access,
            len_bytes: 4096,
            depth: 1,
        };
        Measure::new(mix, Content::Any, 7, 1 << 20, Duration::from_secs(1)).expect("bounds")
    }

    #[test]
    fn the_share_of_reads_is_as_promised() {
        for (access, share) in [
            (Access::Read, 1000..=1000),
            (Access::Write, 0..=0),
            (Access::Mixed, 650..=750),
        ] {
            let mut measure = measure(access);
            let reads = (0..1000).filter(|_| measure.direction() == Direction::Read);
            assert!(share.contains(&reads.count()), "{access}");
        }
    }

    #[test]
    fn sessions_add_up() {
        let mut two = [measure(Access::Read), measure(Access::Read)];
        for (measure, taken_ns) in two.iter_mut().zip([1000, 9000]) {
            measure.last = measure.begin + Duration::from_secs(1);
            for _ in 0..100 {
                measure.latency.saturating_record(taken_ns);
            }
        }
        let both = Measured::together(&two).expect("two");
        assert_eq!((both.iops, both.bytes_per_second), (200.0, 819_200.0));
        assert!((both.p50_us - 1.0).abs() < 0.01, "{both:?}");
        assert!((both.max_us - 9.0).abs() < 0.01, "{both:?}");
        assert!(Measured::together(&[]).is_none());
    }
}
