//! From what the guest left behind to figures, or to the reason why there is none.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::jobs::{Direction, Job};

/// What one job against one target gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Measured {
    /// Guest microseconds for one I/O: mean latency divided by the depth. One is a thousand instructions.
    PerIoUs(f64),
    /// Why there is no figure.
    Failed(String),
}

/// Counters of the soft RDMA device that go on in good health; any other one that moves is a fault.
const HEALTHY: [&str; 6] = [
    "ack_deferred",
    "lifespan",
    "rcvd_pkts",
    "rdma_recvs",
    "rdma_sends",
    "sent_pkts",
];
/// A line of the kernel's log during a job that has one of these is about the job.
const ALARMING: [&str; 8] = ["scsi", "iser", "ib_", "rxe", "sd ", "error", "BUG", "hung"];

/// Reads what a job left in a round's folder.
pub(super) fn read(round: &Path, job: &Job) -> Result<Measured> {
    let name = job.name();
    let file = |ending: &str| text(&round.join(format!("{name}.{ending}")));
    if let Some(reason) = text(&round.join("failed"))? {
        return Ok(Measured::Failed(reason.trim().to_owned()));
    }
    let fault = alarm(&file("dmesg")?.unwrap_or_default())
        .or(device_fault(&file("before.rxe")?, &file("after.rxe")?))
        .or(file("failed")?.map(|reason| first_line(&reason)));
    if let Some(reason) = fault {
        return Ok(Measured::Failed(reason));
    }
    match file("json")? {
        Some(report) => parse(&report, job).with_context(|| format!("fio's report {name}.json")),
        None => Ok(Measured::Failed("the job did not run".to_owned())),
    }
}

/// The part of fio's report that counts.
#[derive(Deserialize)]
struct Report {
    jobs: Vec<ReportJob>,
}

#[derive(Deserialize)]
struct ReportJob {
    error: i32,
    read: Side,
    write: Side,
}

#[derive(Deserialize)]
struct Side {
    total_ios: u64,
    lat_ns: Latency,
}

#[derive(Deserialize)]
struct Latency {
    mean: f64,
}

fn parse(report: &str, job: &Job) -> Result<Measured> {
    let report: Report = serde_json::from_str(report)?;
    let result = report.jobs.first().context("there is no job in it")?;
    let side = match job.direction {
        Direction::Read => &result.read,
        Direction::Write => &result.write,
    };
    Ok(match (result.error, side.total_ios) {
        (0, 1..) => Measured::PerIoUs(side.lat_ns.mean / 1000.0 / f64::from(job.depth)),
        (0, 0) => Measured::Failed("no I/O was done".to_owned()),
        (error, _) => Measured::Failed(format!("fio reports error {error}")),
    })
}

fn alarm(log: &str) -> Option<String> {
    let line = log
        .lines()
        .find(|line| ALARMING.iter().any(|word| line.contains(word)))?;
    // What stands in brackets before it is the time.
    Some(
        line.split_once("] ")
            .map_or(line, |(_, text)| text)
            .to_owned(),
    )
}

fn device_fault(before: &Option<String>, after: &Option<String>) -> Option<String> {
    let before = counters(before.as_deref().unwrap_or_default());
    let after = counters(after.as_deref().unwrap_or_default());
    after.iter().find_map(|(&name, &value)| {
        let moved = value - before.get(name).copied().unwrap_or_default();
        (moved > 0 && !HEALTHY.contains(&name)).then(|| format!("rxe counted {moved} {name}"))
    })
}

fn counters(text: &str) -> BTreeMap<&str, i64> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .filter_map(|(name, value)| Some((name, value.trim().parse().ok()?)))
        .collect()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The text of a file that may not be there.
pub(super) fn text(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::jobs::JOBS;

    const READ_AT_32: &Job = &JOBS[2];

    fn report(error: i32, ios: u64) -> String {
        let side = |ios, mean| format!(r#"{{"total_ios": {ios}, "lat_ns": {{"mean": {mean}}}}}"#);
        let (read, write) = (side(ios, 3_200_000.0), side(0, 0.0));
        format!(r#"{{"jobs": [{{"error": {error}, "read": {read}, "write": {write}}}]}}"#)
    }

    fn round(files: &[(&str, &str)]) -> Measured {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        read(folder.path(), READ_AT_32).unwrap()
    }

    fn reason(files: &[(&str, &str)]) -> String {
        match round(files) {
            Measured::Failed(reason) => reason,
            figure => panic!("{figure:?}"),
        }
    }

    #[test]
    fn latency_is_divided_by_the_depth() {
        let files = [
            ("4k-read-32.json", &*report(0, 16_000)),
            ("4k-read-32.before.rxe", "sent_pkts:5\nrcvd_rnr_err:1\n"),
            ("4k-read-32.after.rxe", "sent_pkts:9\nrcvd_rnr_err:1\n"),
            ("4k-read-32.dmesg", "[    3.1] random: crng init done\n"),
        ];
        assert_eq!(round(&files), Measured::PerIoUs(100.0));
    }

    #[test]
    fn a_fault_of_the_device_spoils_the_figure() {
        let json = report(0, 16_000);
        let log =
            "[   12.5] scsi host0: ib_srp: failed FAST REG status local QP operation error (2)";
        let spoiled = [("4k-read-32.json", &*json), ("4k-read-32.dmesg", log)];
        assert!(reason(&spoiled).starts_with("scsi host0: ib_srp: failed FAST REG"));
        let retried = [
            ("4k-read-32.json", &*json),
            ("4k-read-32.before.rxe", "rcvd_rnr_err:1\n"),
            ("4k-read-32.after.rxe", "rcvd_rnr_err:4\n"),
        ];
        assert_eq!(reason(&retried), "rxe counted 3 rcvd_rnr_err");
    }

    #[test]
    fn what_failed_says_why() {
        assert_eq!(reason(&[]), "the job did not run");
        assert_eq!(
            reason(&[("failed", "srptgt did not come up\n")]),
            "srptgt did not come up"
        );
        let failed = [("4k-read-32.failed", "fio ended with status 1\nmore\n")];
        assert_eq!(reason(&failed), "fio ended with status 1");
        assert_eq!(
            reason(&[("4k-read-32.json", &*report(5, 9))]),
            "fio reports error 5"
        );
        assert_eq!(
            reason(&[("4k-read-32.json", &*report(0, 0))]),
            "no I/O was done"
        );
    }
}
