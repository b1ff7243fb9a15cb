//! strace on a process, as a counter of system calls.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::bench::syscalls;

/// strace, attached to a process.
pub(in crate::bench::iscsi) struct Trace {
    child: Child,
    summary: PathBuf,
}

impl Trace {
    /// Attaches to all threads of a process.
    pub(in crate::bench::iscsi) fn of(process_id: u32, summary: &Path) -> Result<Self> {
        let mut child = Command::new("strace")
            .args(["--summary-only", "--follow-forks", "--output"])
            .arg(summary)
            .arg(format!("--attach={process_id}"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting strace")?;
        let mut told = String::new();
        if let Some(errors) = child.stderr.take() {
            BufReader::new(errors).read_line(&mut told)?;
        }
        ensure!(told.contains("attached"), "strace says: {told}");
        Ok(Self {
            child,
            summary: summary.to_owned(),
        })
    }

    /// Detaches. Gives the calls that it saw.
    pub(in crate::bench::iscsi) fn end(mut self) -> Result<u64> {
        let process = self.child.id().to_string();
        let status = Command::new("kill").args(["-INT", &process]).status()?;
        ensure!(status.success(), "strace has ended before its time");
        self.child.wait()?;
        let summary = fs::read_to_string(&self.summary)?;
        syscalls::total(&summary).context("strace's summary has no total")
    }
}
