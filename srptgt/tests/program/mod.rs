//! The program as a user runs it: started, waited for, read, ended.

#![allow(dead_code)] // Each test file uses its part of it.

use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Far more than anything takes on a machine that is at work for others too.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The program with these arguments; it logs what it logs by default.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_srptgt"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// Runs it to its end, with its temporary files in `folder`.
pub(crate) fn run_in(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = program(arguments);
    command.env("TMPDIR", folder.path()).env("COLUMNS", "200");
    command.output().unwrap()
}

/// A daemon, killed when it goes out of use.
pub(crate) struct Daemon {
    pub(crate) child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until it happens.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begin.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What it printed.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it printed, when that is JSON.
pub(crate) fn json(output: &Output) -> Value {
    let parsed = serde_json::from_slice(&output.stdout);
    parsed.unwrap_or_else(|_| panic!("{}{}", text(&output.stdout), text(&output.stderr)))
}

/// The arguments of a line.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// Nothing is left behind.
pub(crate) fn is_empty(folder: &TempDir) -> bool {
    folder.path().read_dir().unwrap().next().is_none()
}
