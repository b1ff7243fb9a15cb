//! The target as a child process: `serve` over the soft fabric and TCP, with one LUN in memory for one host.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use transport_srp::TargetPortId;

use crate::api::client::Client;
use crate::config::ByteSize;
use crate::identity::Guid;
use crate::portal::{ISCSI_PORT, Protocol, SRP_PORT};

/// How long it may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long it may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);

const PAUSE: Duration = Duration::from_millis(5);

/// What the LUN is called.
const LUN: &str = "scratch";

/// Names of the target port; the universal/local bit is set, so that no hardware has them.
const ID_EXT: u64 = 0x0253_5250_0000_0001;
const IOC_GUID: u64 = 0x0253_5250_0000_0002;
const TARGET_NAME: &str = "iqn.2026-11.io.srptgt:scratch";

/// A running daemon. It ends, and its folder goes, when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    client: Client,
    portals: Portals,
    _folder: TempDir,
}

/// The one who is let in.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    /// Port GUID, for SRP.
    pub guid: Guid,
    /// iSCSI name, for iSER and TCP.
    pub iqn: &'a str,
}

/// Where it listens.
#[derive(Clone, Copy, Debug)]
struct Portals {
    address: IpAddr,
    tcp_port: u16,
}

impl Portals {
    fn of(&self, protocol: Protocol) -> SocketAddr {
        let port = match protocol {
            Protocol::Srp => SRP_PORT,
            Protocol::Iser => ISCSI_PORT,
            Protocol::Tcp => self.tcp_port,
        };
        SocketAddr::new(self.address, port)
    }
}

/// What the daemon has cost since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Commands that were answered or aborted.
    pub commands: u64,
    /// System calls of the data path.
    pub system_calls: u64,
    /// CPU time of all its threads.
    pub cpu: Duration,
}

impl Daemon {
    /// Starts one that shows an empty LUN of this size, as LUN 0, to one initiator.
    ///
    /// # Errors
    /// What the machine lacks, or who has the address.
    pub async fn start(address: IpAddr, size: ByteSize, guest: Guest<'_>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("srptgt-").tempdir();
        let folder = folder.context(
            "a temporary folder cannot be made; name one that can be written to by TMPDIR=FOLDER",
        )?;
        let config = folder.path().join("srptgt.toml");
        let portals = Portals {
            address,
            tcp_port: super::free_tcp_port(address)?,
        };
        std::fs::write(&config, configuration(portals, size, guest))?;
        let api = folder.path().join("api.sock");
        let log = folder.path().join("log");
        let child = Command::new(std::env::current_exe()?)
            .args([
                "serve",
                "--fabric",
                "soft",
                "--no-fixed-buffers",
                "--end-with-parent",
            ])
            .args(["--drain-ms", "100", "--config"])
            .arg(&config)
            .arg("--state")
            .arg(folder.path())
            .arg("--api")
            .arg(&api)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("a target cannot be started")?;
        let mut daemon = Self {
            child,
            client: Client::new(&api),
            portals,
            _folder: folder,
        };
        daemon.wait_until_up(&log).await?;
        Ok(daemon)
    }

    async fn wait_until_up(&mut self, log: &Path) -> anyhow::Result<()> {
        let limit = Instant::now() + START_LIMIT;
        loop {
            if let Ok(status) = self.client.get("/v1/status").await {
                return listening(&status);
            }
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("the target ended with {status}:\n{}", said().trim_end());
            }
            ensure!(
                Instant::now() < limit,
                "the target does not answer after {START_LIMIT:?}:\n{}",
                said().trim_end()
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What initiators call the target port.
    pub fn port(&self) -> TargetPortId {
        TargetPortId {
            id_ext: ID_EXT,
            ioc_guid: IOC_GUID,
        }
    }

    /// What initiators call the target over iSCSI.
    pub fn name(&self) -> &'static str {
        TARGET_NAME
    }

    /// Where it listens.
    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        self.portals.of(protocol)
    }

    /// What it has cost so far.
    ///
    /// # Errors
    /// It has ended.
    pub async fn cost(&self) -> anyhow::Result<Cost> {
        let cpu = cpu_time(self.child.id()).context("the CPU time of the target")?;
        let status = self.client.get("/v1/status").await?;
        let counter = |name: &&str| counter(&status, name);
        Ok(Cost {
            commands: counter(&"commands_finished"),
            system_calls: SYSTEM_CALLS.iter().map(counter).sum(),
            cpu,
        })
    }

    /// Lets commands of the LUN wait in front of its medium, or go on.
    ///
    /// # Errors
    /// It has ended.
    pub async fn stall(client: &Client, on: bool) -> anyhow::Result<()> {
        let path = format!("/v1/luns/{LUN}/stall");
        client.post(&path, json!({ "on": on })).await?;
        Ok(())
    }

    /// Its API.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// Counters that stand for one system call each.
const SYSTEM_CALLS: [&str; 4] = ["ring_enters", "doorbells", "queue_arms", "datagram_calls"];

fn counter(status: &Value, name: &str) -> u64 {
    let counter = status.pointer(&format!("/counters/{name}"));
    counter.and_then(Value::as_u64).unwrap_or(0)
}

/// A daemon whose portal cannot listen runs on, so that it can be told to try again; this one is of no use.
fn listening(status: &Value) -> anyhow::Result<()> {
    let problems = status.get("problems").and_then(Value::as_array);
    match problems.and_then(|problems| problems.first()) {
        None => Ok(()),
        Some(problem) => {
            let text = problem.get("text").and_then(Value::as_str);
            bail!("{}", text.unwrap_or("the target does not listen"))
        }
    }
}

fn configuration(portals: Portals, size: ByteSize, guest: Guest<'_>) -> String {
    let portals = Protocol::ALL.map(|protocol| {
        let listen = portals.of(protocol);
        format!("[[portal]]\nprotocol = \"{protocol}\"\nlisten = \"{listen}\"\n\n")
    });
    format!(
        "[target]\nid_ext = \"0x{ID_EXT:016x}\"\nioc_guid = \"0x{IOC_GUID:016x}\"\niqn = \"{TARGET_NAME}\"\n\n\
         {}[lun.{LUN}]\nram = \"{size}\"\nwrite_cache = true\n\n\
         [host.initiator]\nguids = [\"{}\"]\niqns = [\"{}\"]\n\n\
         [[map]]\nhost = \"initiator\"\nlun = \"{LUN}\"\nnumber = 0\n",
        portals.concat(),
        guest.guid,
        guest.iqn
    )
}

/// CPU time of all threads that live: `schedstat` counts it in nanoseconds.
fn cpu_time(process: u32) -> std::io::Result<Duration> {
    let mut sum_ns = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end meanwhile.
        let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let first = text.split_whitespace().next();
        sum_ns += first.and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum_ns))
}

impl Cost {
    /// What has come since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            commands: self.commands.saturating_sub(before.commands),
            system_calls: self.system_calls.saturating_sub(before.system_calls),
            cpu: self.cpu.saturating_sub(before.cpu),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let process = rustix::process::Pid::from_child(&self.child);
        let told = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        let limit = Instant::now() + END_LIMIT;
        while told.is_ok() && matches!(self.child.try_wait(), Ok(None)) && Instant::now() < limit {
            std::thread::sleep(PAUSE);
        }
        // One that has ended is not killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;

    #[test]
    fn the_configuration_is_one() {
        let portals = Portals {
            address: "127.0.0.1".parse().expect("address"),
            tcp_port: 40_000,
        };
        let guest = Guest {
            guid: Guid::new(7).expect("GUID"),
            iqn: "iqn.2026-11.io.srptgt:guest",
        };
        let text = configuration(portals, ByteSize(64 << 20), guest);
        let (config, is_complete) = parse(&text).expect(&text);
        assert_eq!((config.luns.len(), config.maps.len()), (1, 1));
        assert_eq!(config.portals.len(), 3);
        assert!(!is_complete, "the LUN's names are made at its start");
    }

    #[test]
    fn time_of_this_process_goes_on() {
        let before = cpu_time(std::process::id()).expect("proc");
        let until = Instant::now() + Duration::from_secs(60);
        while cpu_time(std::process::id()).expect("proc") == before {
            assert!(Instant::now() < until, "no CPU time is counted");
        }
    }
}
