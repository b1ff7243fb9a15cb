//! The guest's kernel log: what must never stand in it, and what came since a mark.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::command::run;

const FAULTS: [&str; 12] = [
    "BUG:",
    "WARNING:",
    "Oops",
    "Kernel panic",
    "blocked for more than",
    "soft lockup",
    "detected stall",
    "refcount_t:",
    "UBSAN:",
    "corruption",
    "general protection",
    "Call Trace",
];

/// The lines of a kernel log by which the kernel says that it, or a driver in it, is broken or stuck.
pub fn faults(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| FAULTS.iter().any(|fault| line.contains(fault)))
        .collect()
}

/// A place in the log.
#[derive(Debug)]
pub struct Mark(String);

impl Mark {
    /// Marks the present end of the log.
    ///
    /// # Panics
    ///
    /// The guest cannot write to its kernel log.
    pub fn set() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("bed: mark {}.", NEXT.fetch_add(1, Ordering::Relaxed));
        fs::write("/dev/kmsg", &mark).expect("writing to the kernel log");
        Self(mark)
    }

    /// What the kernel logged since.
    pub fn since(&self) -> String {
        let log = run("dmesg");
        match log.split_once(&self.0) {
            Some((_, since)) => since.trim().to_string(),
            None => log,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_and_ordinary_lines_are_not() {
        let log = "[1.0] scsi host0: ib_srp: using immediate data\n\
                   [2.0] INFO: task fio:99 blocked for more than 40 seconds.\n\
                   [3.0] WARNING: CPU: 1 PID: 7 at block/blk-mq.c:1\n";
        assert_eq!(faults(log).len(), 2);
        assert!(faults("[0.1] sd 0:0:0:0: [sda] Write Protect is off\n").is_empty());
    }
}
