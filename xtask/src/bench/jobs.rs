//! What is measured: fixed numbers of I/Os from a fixed seed, so that every run does the same work.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What carries the commands; each one is compared with the kernel's target for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    /// SRP, beside `ib_srpt`
    Srp,
    /// iSCSI over RDMA, beside `ib_isert`
    Iser,
}

impl Transport {
    /// All of them, in the order in which they run and stand in the table.
    pub(super) const ALL: [Self; 2] = [Self::Srp, Self::Iser];

    /// Its name in the guest and in the results.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Srp => "srp",
            Self::Iser => "iser",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Srp => "SRP",
            Self::Iser => "iSER",
        })
    }
}

/// Which way the data of a job go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    Read,
    Write,
}

/// One fio job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) direction: Direction,
    pub(super) random: bool,
    pub(super) block_kib: u32,
    pub(super) depth: u32,
    ios: u32,
    /// The ratio srptgt to LIO that is aimed at, in hundredths.
    pub(super) aim_percent: Option<u32>,
}

/// The ramdisk under both targets. Sequential jobs walk through all of it at most once.
pub(super) const RAMDISK_MIB: u32 = 128;

/// The jobs in the order in which they run and stand in the table.
pub(super) const JOBS: [Job; 8] = [
    job(Direction::Read, 4, 1, 2_000, Some(120)),
    job(Direction::Write, 4, 1, 2_000, Some(120)),
    job(Direction::Read, 4, 32, 8_000, Some(105)),
    job(Direction::Write, 4, 32, 8_000, Some(105)),
    job(Direction::Read, 64, 8, 1_000, None),
    job(Direction::Write, 64, 8, 1_000, None),
    job(Direction::Read, 1024, 8, 128, None),
    job(Direction::Write, 1024, 8, 128, None),
];

/// What runs once before the jobs of a round and gives no figure: it brings fio, the initiator and the target to
/// their steady state.
const WARM_UP: &str = "warm --rw=randrw --bs=4k --ioengine=libaio --iodepth=32 --number_ios=2000";

const fn job(
    direction: Direction,
    block_kib: u32,
    depth: u32,
    ios: u32,
    aim_percent: Option<u32>,
) -> Job {
    Job {
        direction,
        random: block_kib == 4,
        block_kib,
        depth,
        ios,
        aim_percent,
    }
}

impl Job {
    /// The job's name in the guest and in the results, such as `4k-read-32`.
    pub(super) fn name(&self) -> String {
        let direction = match self.direction {
            Direction::Read => "read",
            Direction::Write => "write",
        };
        format!("{}k-{direction}-{}", self.block_kib, self.depth)
    }

    /// The job's line for the guest: its name and fio's arguments, with the number of I/Os divided by `divisor`.
    fn line(&self, divisor: u32) -> String {
        let rw = match (self.random, self.direction) {
            (true, Direction::Read) => "randread",
            (true, Direction::Write) => "randwrite",
            (false, Direction::Read) => "read",
            (false, Direction::Write) => "write",
        };
        let engine = match self.depth {
            1 => "psync".to_owned(),
            depth => format!("libaio --iodepth={depth}"),
        };
        // Fewer I/Os than the queue is deep would measure a queue that is not full.
        let ios = (self.ios / divisor).max(self.depth * 2);
        format!(
            "{} --rw={rw} --bs={}k --ioengine={engine} --number_ios={ios}",
            self.name(),
            self.block_kib
        )
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = match self.block_kib {
            1024 => "1 MiB".to_owned(),
            kib => format!("{kib} KiB"),
        };
        let order = if self.random { " random" } else { "" };
        let direction = match self.direction {
            Direction::Read => "read",
            Direction::Write => "write",
        };
        write!(f, "{size}{order} {direction}, depth {}", self.depth)
    }
}

/// The guest's list of all jobs.
pub(super) fn list(divisor: u32) -> String {
    lines(JOBS.iter().map(|job| job.line(divisor)))
}

/// The guest's list of the jobs at depth 1, for the round in which every system call is traced.
pub(super) fn traced_list(divisor: u32) -> String {
    let traced = JOBS.iter().filter(|job| job.depth == 1);
    lines(traced.map(|job| job.line(divisor)))
}

fn lines(jobs: impl Iterator<Item = String>) -> String {
    [WARM_UP.to_owned()]
        .into_iter()
        .chain(jobs)
        .map(|line| line + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_one_line_of_fio_arguments() {
        assert_eq!(
            JOBS[0].line(1),
            "4k-read-1 --rw=randread --bs=4k --ioengine=psync --number_ios=2000"
        );
        assert_eq!(
            JOBS[5].line(10),
            "64k-write-8 --rw=write --bs=64k --ioengine=libaio --iodepth=8 --number_ios=100"
        );
    }

    #[test]
    fn names_are_unique_and_a_short_run_still_fills_the_queue() {
        let mut names = JOBS.map(|job| job.name());
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(JOBS[6].line(1000).ends_with("--number_ios=16"));
    }

    #[test]
    fn sequential_jobs_fit_on_the_ramdisk() {
        for job in JOBS.iter().filter(|job| !job.random) {
            assert!(job.ios * job.block_kib <= RAMDISK_MIB * 1024, "{job}");
        }
    }
}
