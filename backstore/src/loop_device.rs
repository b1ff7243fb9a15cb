//! A loop device over a temporary file, and mounts: what tests need root for.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use tempfile::{NamedTempFile, TempDir};

/// A loop device that goes when it is dropped.
pub(crate) struct LoopDevice {
    path: PathBuf,
    backing: NamedTempFile,
}

impl LoopDevice {
    /// A device of `size` bytes, or `None`, told on standard error, where this machine cannot have one.
    pub(crate) fn new(size: u64) -> Option<Self> {
        Self::with(size, &[])
    }

    /// As [`LoopDevice::new`], with options for `losetup`.
    pub(crate) fn with(size: u64, options: &[&str]) -> Option<Self> {
        let backing = NamedTempFile::new().expect("file");
        backing.as_file().set_len(size).expect("size");
        let found = run(Command::new("losetup")
            .args(["--find", "--show"])
            .args(options)
            .arg(backing.path()));
        match found {
            Ok(path) => Some(Self {
                path: path.trim().into(),
                backing,
            }),
            Err(error) => {
                skipped("no loop device", &error);
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn backing(&self) -> &File {
        self.backing.as_file()
    }

    /// Lets the device notice a new size of its file.
    pub(crate) fn take_size(&self) {
        run(Command::new("losetup")
            .arg("--set-capacity")
            .arg(&self.path))
        .expect("losetup");
    }

    /// A field of the device's `stat` in sysfs, counted from 0.
    pub(crate) fn statistic(&self, field: usize) -> u64 {
        let name = self.path.file_name().expect("name").to_string_lossy();
        let text = fs::read_to_string(format!("/sys/block/{name}/stat")).expect("stat");
        let value = text.split_whitespace().nth(field).expect("field");
        value.parse().expect("number")
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // The device goes with its last user at the latest.
        let _ = run(Command::new("losetup").arg("--detach").arg(&self.path));
    }
}

/// A mounted file system that goes when it is dropped.
pub(crate) struct Mount(TempDir);

impl Mount {
    /// A file system of a kind that needs no device, or `None`, told on standard error.
    pub(crate) fn new(kind: &str, options: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("folder");
        let mounted = run(Command::new("mount")
            .args(["-t", kind, "-o", options, "none"])
            .arg(folder.path()));
        if let Err(error) = mounted {
            skipped(&format!("no {kind} can be mounted"), &error);
            return None;
        }
        Some(Self(folder))
    }

    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run(Command::new("mount")
            .args(["-o", &options])
            .arg(self.0.path()))
        .expect("remount");
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, for a failing test still has files open.
        let _ = run(Command::new("umount").arg("--lazy").arg(self.0.path()));
    }
}

/// Held while a child runs.
static RUNNING: Mutex<()> = Mutex::new(());

/// Waits until no child runs. Until a child executes its program it has a copy of every descriptor, and so keeps
/// locked what another test has just closed; and its parent is told of the execution before the copies are closed, so
/// only its end is a sure sign.
pub(crate) fn children_settled() {
    drop(RUNNING.lock().unwrap_or_else(PoisonError::into_inner));
}

fn run(command: &mut Command) -> io::Result<String> {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let output = command.output()?;
    drop(running);
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(text))
}

/// Tells past the test harness's capture, so that a skipped part is not taken for a passed one.
pub(crate) fn skipped(what: &str, error: &dyn std::error::Error) {
    let _ = writeln!(io::stderr(), "SKIPPED: {what}: {error}");
}
