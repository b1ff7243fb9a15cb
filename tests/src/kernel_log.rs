//! The guest's kernel log: what must never stand in it, and what came since a mark.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::OFlags;

use crate::command::run;

/// As long as a record of the log can be.
const RECORD_BYTES: usize = 8192;

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

/// The log as it is now, without a word in the transcript.
///
/// # Panics
///
/// The guest cannot read its kernel log.
pub fn read() -> String {
    let log = File::options()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open("/dev/kmsg");
    let mut log = log.expect("opening the kernel log");
    let mut text = String::new();
    let mut record = [0; RECORD_BYTES];
    loop {
        match log.read(&mut record) {
            Ok(length) => text.push_str(&String::from_utf8_lossy(&record[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return text,
            // The oldest record was overwritten while it was read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => panic!("reading the kernel log: {error}"),
        }
    }
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
