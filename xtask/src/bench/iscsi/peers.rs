//! The targets: daemons of our own with LUNs in memory, and what the kernel knows of their cost.

mod srptgt;
mod tgt;
mod trace;

use std::fs;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub(super) use srptgt::Srptgt;
pub(super) use tgt::{BACKENDS, Tgt};
pub(super) use trace::Trace;

use super::client::Lun;

/// Who asks.
pub(super) const INITIATOR: &str = "iqn.2026-11.io.srptgt.bench:client";

/// A machine that is busy may take this long to start a program.
const START: Duration = Duration::from_secs(60);

/// A target that runs.
pub(super) trait Peer {
    /// Its LUN.
    fn url(&self) -> &Lun;

    fn process_id(&self) -> u32;

    /// System calls on its data path so far, when it counts them.
    fn system_calls(&self) -> Result<Option<u64>>;

    /// CPU time of all its threads so far, user and system, in microseconds.
    fn cpu_us(&self) -> Result<f64> {
        let folder = format!("/proc/{}/task", self.process_id());
        let mut ns = 0;
        for thread in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
            let file = thread?.path().join("schedstat");
            let text = fs::read_to_string(&file);
            let text = text.with_context(|| format!("reading {}", file.display()))?;
            ns += run_ns(&text).with_context(|| format!("{} has no time", file.display()))?;
        }
        Ok(ns as f64 / 1e3)
    }
}

/// Time on a processor in nanoseconds, the first of the scheduler's figures. The sums of proc_pid_stat(5) are the same
/// time, but in hundredths of a second.
fn run_ns(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// A child that is killed when this is dropped.
struct Daemon(Child);

impl Daemon {
    /// Waits until it answers.
    fn await_answer(&mut self, mut answers: impl FnMut() -> bool) -> Result<()> {
        let limit = Instant::now() + START;
        while !answers() {
            let ended = self.0.try_wait()?;
            ensure!(ended.is_none(), "it has ended: {ended:?}; its log says why");
            ensure!(Instant::now() < limit, "it does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing of it is kept.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_the_first_figure() {
        assert_eq!(run_ns("120000 30000 4\n"), Some(120_000));
        assert_eq!(run_ns("\n"), None);
    }
}
