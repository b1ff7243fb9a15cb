//! The two targets: daemons of our own, each with one LUN in memory, and what the kernel knows of their cost.

mod srptgt;
mod tgt;
mod trace;

use std::fs;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub(super) use srptgt::Srptgt;
pub(super) use tgt::Tgt;
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

    /// CPU time of all its threads so far, in microseconds.
    fn cpu_us(&self) -> Result<f64> {
        let file = format!("/proc/{}/stat", self.process_id());
        let text = fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        let ticks = ticks(&text).with_context(|| format!("{file} has no times"))?;
        Ok(ticks as f64 * 1e6 / TICKS_PER_SECOND)
    }
}

/// What /proc counts in, on every Linux of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// utime and stime (proc_pid_stat(5)), the 14th and the 15th; the second, a name in parentheses, may have spaces in it.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system) = (fields.next()?, fields.next()?);
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
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
    fn times_stand_behind_a_name_with_spaces() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 1 0 99";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(ticks("7 (a) S 1"), None);
    }
}
