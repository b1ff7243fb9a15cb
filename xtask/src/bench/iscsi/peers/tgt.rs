//! Debian's `tgt`, with a LUN that is a file in memory.

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

/// The faster of its two ways to files: Linux AIO costs it less than its threads (`rdwr`).
const BACKEND: &str = "aio";

pub(in crate::bench::iscsi) struct Tgt {
    daemon: Daemon,
    socket: PathBuf,
    medium: PathBuf,
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
            lun: Lun {
                portal: PORTAL.to_owned(),
                target: TARGET.to_owned(),
                // Its LUN 0 is a controller.
                number: 1,
            },
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
        let medium = self.medium.display();
        for line in [
            format!("--op new --mode target --tid 1 -T {TARGET}"),
            format!("--op new --mode logicalunit --tid 1 --lun 1 --bstype {BACKEND} -b {medium}"),
            "--op bind --mode target --tid 1 -I ALL".to_owned(),
        ] {
            output_of(admin(&line))?;
        }
        Ok(())
    }

    /// Which one it is, and what its LUN is.
    pub(in crate::bench::iscsi) fn description(&self) -> Result<String> {
        let version = output_of(repository::command("tgtd", &["--version"]))?;
        Ok(format!(
            "tgt {}, backing store {BACKEND} on a file in tmpfs",
            version.trim()
        ))
    }
}

fn admin(socket: &Path, line: &str) -> Command {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = repository::command("tgtadm", &["--lld", "iscsi"]);
    command.args(words).env("TGT_IPC_SOCKET", socket);
    command
}

impl Peer for Tgt {
    fn url(&self) -> &Lun {
        &self.lun
    }

    fn process_id(&self) -> u32 {
        self.daemon.0.id()
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
