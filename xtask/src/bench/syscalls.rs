//! System calls per I/O of the daemon: from its own counters in every round, and from strace in one.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::figures::text;
use super::jobs::Job;

/// The daemon's counters, each of which stands for one system call on a soft RDMA device.
const COUNTERS: [&str; 3] = ["ring_enters", "doorbells", "queue_arms"];

/// System calls per command between the snapshots before and after a job. None of a daemon that did not answer.
pub(super) fn counted(round: &Path, job: &Job) -> Result<Option<f64>> {
    let snapshot = |when| {
        let snapshot = text(&round.join(format!("{}.{when}.peer", job.name())))?;
        anyhow::Ok(snapshot.filter(|text| !text.trim().is_empty()))
    };
    match (snapshot("before")?, snapshot("after")?) {
        (Some(before), Some(after)) => per_command(&before, &after).map(Some),
        _ => Ok(None),
    }
}

fn per_command(before: &str, after: &str) -> Result<f64> {
    let before: Value = serde_json::from_str(before).context("the daemon's status")?;
    let after: Value = serde_json::from_str(after).context("the daemon's status")?;
    let moved = |name| Some(counter(&after, name)? - counter(&before, name)?);
    let calls: Option<f64> = COUNTERS.into_iter().map(moved).sum();
    let commands = moved("commands_finished");
    match (calls, commands) {
        (Some(calls), Some(commands)) if commands > 0.0 => Ok(calls / commands),
        _ => anyhow::bail!(
            "the daemon's status counts no {} per commands_finished",
            COUNTERS.join(", ")
        ),
    }
}

fn counter(status: &Value, name: &str) -> Option<f64> {
    status.get("counters")?.get(name)?.as_f64()
}

/// System calls per I/O of a traced job, all threads of the daemon together.
pub(super) fn traced(round: &Path, job: &Job) -> Result<Option<f64>> {
    if text(&round.join(format!("{}.failed", job.name())))?.is_some() {
        return Ok(None);
    }
    let summary = text(&round.join(format!("{}.strace", job.name())))?;
    let report = text(&round.join(format!("{}.json", job.name())))?;
    let (Some(summary), Some(report)) = (summary, report) else {
        return Ok(None);
    };
    let report: Value = serde_json::from_str(&report).context("fio's report")?;
    let ios: u64 = ["read", "write"]
        .iter()
        .filter_map(|side| report["jobs"][0][side]["total_ios"].as_u64())
        .sum();
    let calls = total(&summary).context("strace's summary has no total")?;
    Ok((ios > 0).then(|| calls as f64 / ios as f64))
}

/// The calls in the last line of strace's summary: percent, seconds, microseconds, calls, perhaps errors, `total`.
pub(super) fn total(summary: &str) -> Option<u64> {
    let line = summary.lines().find(|line| line.ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(calls: u64, commands: u64) -> String {
        format!(
            r#"{{"counters": {{"ring_enters": {calls}, "doorbells": {calls}, "queue_arms": {calls},
                "commands_finished": {commands}}}}}"#
        )
    }

    #[test]
    fn calls_are_counted_between_two_snapshots() {
        let per_command = per_command(&status(10, 5), &status(40, 35)).unwrap();
        assert_eq!(per_command, 3.0);
    }

    #[test]
    fn a_status_without_the_counters_is_an_error() {
        assert!(per_command("{}", "{}").is_err());
        assert!(per_command(&status(1, 7), &status(2, 7)).is_err());
    }

    #[test]
    fn the_total_of_strace_is_its_fourth_column() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n \
            60.00    0.001800           1      3000           write\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.003000           1      4000        12 total\n";
        assert_eq!(total(summary), Some(4000));
        assert_eq!(total("nothing"), None);
    }
}
