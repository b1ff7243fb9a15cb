//! srptgt, with a LUN of its own memory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Daemon, INITIATOR, Peer};
use crate::bench::iscsi::client::Lun;
use crate::bench::iscsi::jobs::LUN_MIB;
use crate::repository::{self, output_of};

/// An address that no test uses.
const PORTAL: &str = "127.91.0.2:3260";

/// Counters that each stand for one system call of the worker.
const COUNTERS: [&str; 1] = ["ring_enters"];

pub(in crate::bench::iscsi) struct Srptgt {
    daemon: Daemon,
    program: PathBuf,
    socket: PathBuf,
    lun: Lun,
}

impl Srptgt {
    pub(in crate::bench::iscsi) fn start(program: &Path, folder: &Path) -> Result<Self> {
        let folder = folder.join("srptgt");
        fs::create_dir_all(&folder)?;
        let (config, socket) = (folder.join("srptgt.toml"), folder.join("api.sock"));
        let portal = format!("[[portal]]\nprotocol = \"tcp\"\nlisten = \"{PORTAL}\"\n");
        fs::write(&config, portal)?;
        let daemon = Command::new(program)
            .args(["serve", "--fabric", "soft", "--config"])
            .arg(config)
            .arg("--state")
            .arg(&folder)
            .arg("--api")
            .arg(&socket)
            .stdin(Stdio::null())
            .stderr(File::create(folder.join("log"))?)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let mut srptgt = Self {
            daemon: Daemon(daemon),
            program: program.to_owned(),
            socket,
            lun: Lun {
                portal: PORTAL.to_owned(),
                target: String::new(),
                number: 0,
            },
        };
        srptgt.set_up()?;
        Ok(srptgt)
    }

    fn set_up(&mut self) -> Result<()> {
        let command = |line: &str| command(&self.program, &self.socket, line);
        self.daemon.await_answer(|| {
            let output = command("status").output();
            output.is_ok_and(|output| output.status.success())
        })?;
        for line in [
            format!("allow {INITIATOR} --as client"),
            format!("lun add lun --ram --size {LUN_MIB}M"),
            "map lun --host client --lun 0".to_owned(),
        ] {
            output_of(command(&line))?;
        }
        let target: Value = self.ask("target show")?;
        let name = target["iqn"].as_str();
        self.lun.target = name.context("the target has no iSCSI name")?.to_owned();
        Ok(())
    }

    fn ask(&self, line: &str) -> Result<Value> {
        let line = format!("{line} --output json");
        let output = output_of(command(&self.program, &self.socket, &line))?;
        serde_json::from_str(&output).with_context(|| format!("srptgt {line}"))
    }
}

fn command(program: &Path, socket: &Path, line: &str) -> Command {
    let words: Vec<&str> = line.split_whitespace().collect();
    let mut command = repository::command(&program.to_string_lossy(), &words);
    command.arg("--api").arg(socket);
    command
}

impl Peer for Srptgt {
    fn url(&self) -> &Lun {
        &self.lun
    }

    fn process_id(&self) -> u32 {
        self.daemon.0.id()
    }

    fn system_calls(&self) -> Result<Option<u64>> {
        let status = self.ask("status")?;
        let counter = |name| status["counters"][name].as_u64();
        let calls: Option<u64> = COUNTERS.into_iter().map(counter).sum();
        calls
            .context("the daemon's status has no counters")
            .map(Some)
    }
}
