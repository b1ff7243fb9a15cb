//! Debian's `tgt`, with a file in memory that is two LUNs, one for each backing store.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{Daemon, Peer};
use crate::bench::iscsi::client::Lun;
use crate::bench::iscsi::jobs::LUN_MIB;
use crate::repository::{self, output_of};

/// An address that no test uses.
const PORTAL: &str = "127.91.0.3:3260";
const TARGET: &str = "iqn.2026-11.io.srptgt.bench:tgt";

/// Its LUN 0 is a controller.
const FIRST_LUN: u32 = 1;

/// Its ways to files: threads, which it takes by itself, and Linux AIO, which costs it less.
pub(in crate::bench::iscsi) const BACKENDS: [&str; 2] = ["rdwr", "aio"];

pub(in crate::bench::iscsi) struct Tgt {
    daemon: Daemon,
    socket: PathBuf,
    medium: PathBuf,
}

/// One of its LUNs.
pub(in crate::bench::iscsi) struct TgtLun {
    process_id: u32,
    lun: Lun,
}

impl Tgt {
    pub(in crate::bench::iscsi) fn start(folder: &Path) -> Result<Self> {
        let socket = folder.join("tgt.socket");
        let log = File::create(folder.join("tgt.log"))?;
        let daemon = Command::new("tgtd")
            .args(["-f", "--iscsi", &format!("portal={PORTAL}")])
            .env("TGT_IPC_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting tgtd")?;
        let mut tgt = Self {
            medium: PathBuf::from(format!("/dev/shm/srptgt-bench-{}", daemon.id())),
            daemon: Daemon(daemon),
            socket,
        };
        tgt.set_up()?;
        Ok(tgt)
    }

    fn set_up(&mut self) -> Result<()> {
        File::create(&self.medium)?.set_len(u64::from(LUN_MIB) << 20)?;
        let admin = |line: &str| admin(&self.socket, line);
        self.daemon.await_answer(|| {
            let output = admin("--op show --mode system").output();
            output.is_ok_and(|output| output.status.success())
        })?;
        output_of(admin(&format!(
            "--op new --mode target --tid 1 -T {TARGET}"
        )))?;
        let new = "--op new --mode logicalunit --tid 1";
        let medium = self.medium.display();
        for (number, backend) in (FIRST_LUN..).zip(BACKENDS) {
            let line = format!("{new} --lun {number} --bstype {backend} -b {medium}");
            output_of(admin(&line))?;
        }
        output_of(admin("--op bind --mode target --tid 1 -I ALL"))?;
        Ok(())
    }

    /// A LUN for each backing store.
    pub(in crate::bench::iscsi) fn luns(&self) -> [TgtLun; BACKENDS.len()] {
        let lun = |at: usize| TgtLun {
            process_id: self.daemon.0.id(),
            lun: Lun {
                portal: PORTAL.to_owned(),
                target: TARGET.to_owned(),
                number: FIRST_LUN + at as u32,
            },
        };
        std::array::from_fn(lun)
    }

    /// As the program says it.
    pub(in crate::bench::iscsi) fn version() -> Result<String> {
        let version = output_of(repository::command("tgtd", &["--version"]))?;
        Ok(format!("tgt {}", version.trim()))
    }
}

fn admin(socket: &Path, line: &str) -> Command {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = repository::command("tgtadm", &["--lld", "iscsi"]);
    command.args(words).env("TGT_IPC_SOCKET", socket);
    command
}

impl Peer for TgtLun {
    fn url(&self) -> &Lun {
        &self.lun
    }

    fn process_id(&self) -> u32 {
        self.process_id
    }

    fn system_calls(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

impl Drop for Tgt {
    fn drop(&mut self) {
        // What is left behind is memory until the next boot, and no more.
        let _ = fs::remove_file(&self.medium);
    }
}
