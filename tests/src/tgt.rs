//! Debian's `tgt`: another iSCSI target in user space, run natively over TCP, as a peer that shares nothing with ours.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::bed::loopback_address;
use crate::deadline::until_true;

/// The target's name.
pub const TARGET: &str = "iqn.2026-11.test.tgt:disk";

/// The medium in bytes.
pub const MEDIUM_BYTES: u64 = 32 << 20;

/// A machine that is busy with other tests may take this long to start a program.
const START_S: u64 = 60;

/// A `tgtd` of its own with one target, whose LUN 1 is a file. It ends when this is dropped.
#[derive(Debug)]
pub struct Tgt {
    daemon: Child,
    folder: tempfile::TempDir,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Tgt {
    /// Starts it and makes the target, open to everybody.
    ///
    /// # Panics
    ///
    /// `tgt` is not installed, or does not do what it is told.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for tgtd");
        let address = SocketAddr::new(loopback_address(), 3260);
        let log = File::create(folder.path().join("log")).expect("a log for tgtd");
        let daemon = Command::new("tgtd")
            .args(["-f", "--iscsi", &format!("portal={address}")])
            .env("TGT_IPC_SOCKET", folder.path().join("socket"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log for tgtd"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("tgtd: {error}; install it by testbed/packages.sh"));
        let mut tgt = Self {
            daemon,
            folder,
            address,
        };
        tgt.await_start();
        tgt.make_target();
        tgt
    }

    fn await_start(&mut self) {
        until_true("an answer of tgtd", START_S, || {
            let ended = self.daemon.try_wait().expect("tgtd's state");
            assert!(ended.is_none(), "tgtd has ended: {}", self.log());
            self.asks(&["--op", "show", "--mode", "system"])
        });
    }

    fn make_target(&self) {
        let medium = self.medium();
        let file = File::create(&medium).expect("a medium for tgtd");
        file.set_len(MEDIUM_BYTES).expect("a medium for tgtd");
        self.admin(&[
            "--op", "new", "--mode", "target", "--tid", "1", "-T", TARGET,
        ]);
        let path = medium.display().to_string();
        let lun = [
            "--op",
            "new",
            "--mode",
            "logicalunit",
            "--tid",
            "1",
            "--lun",
            "1",
        ];
        self.admin(&[&lun[..], &["-b", &path]].concat());
        self.admin(&[
            "--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL",
        ]);
    }

    /// The file behind the LUN.
    pub fn medium(&self) -> PathBuf {
        self.folder.path().join("medium")
    }

    /// What it offers for a key.
    pub fn set_key(&self, key: &str, value: &str) {
        let update = ["--op", "update", "--mode", "target", "--tid", "1"];
        self.admin(&[&update[..], &["--name", key, "--value", value]].concat());
    }

    /// Wants CHAP of initiators, or, with `is_outgoing`, shows this user when it is asked itself.
    pub fn add_account(&self, user: &str, password: &str, is_outgoing: bool) {
        let new = ["--op", "new", "--mode", "account", "--user", user];
        self.admin(&[&new[..], &["--password", password]].concat());
        let bind = [
            "--op", "bind", "--mode", "account", "--tid", "1", "--user", user,
        ];
        let outgoing: &[&str] = if is_outgoing { &["--outgoing"] } else { &[] };
        self.admin(&[&bind[..], outgoing].concat());
    }

    fn admin(&self, arguments: &[&str]) {
        assert!(self.asks(arguments), "tgtadm {arguments:?}: {}", self.log());
    }

    fn asks(&self, arguments: &[&str]) -> bool {
        let status = Command::new("tgtadm")
            .args(["--lld", "iscsi"])
            .args(arguments)
            .env("TGT_IPC_SOCKET", self.folder.path().join("socket"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status
            .unwrap_or_else(|error| panic!("tgtadm: {error}"))
            .success()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Tgt {
    fn drop(&mut self) {
        // It may have ended by itself, which a test has seen then.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
