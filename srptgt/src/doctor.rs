//! What this machine can do, and what it lacks: findings, each with a fix.
//!
//! May read sysfs, procfs and the configuration, and open RDMA devices and an io_uring; changes nothing.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rdma::{DeviceInfo, LinkLayer, PortInfo, PortState, SoftConfig, soft_devices};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use crate::config::Config;
use crate::config::file::{ConfigFile, ConfigFileError};
use crate::identity::Guid;
use crate::paths::Paths;
use crate::portal::{FabricKind, Portal, Protocol};

mod iscsi;

/// Locked memory that the worker's buffers need, in bytes, with room for a second device.
const MEMLOCK_BYTES: u64 = 512 << 20;
/// Descriptors that a thousand sessions and LUNs need.
const DESCRIPTORS: u64 = 4096;

/// Checks of what RDMA hardware and the kernel's soft RoCE need.
const ADAPTER_CHECKS: [&str; 2] = ["RDMA devices", "RDMA modules"];
/// What to do on a machine without RDMA.
const NO_ADAPTER: &str = "load the adapter's driver; without an adapter, portals by `portal add tcp ADDRESS` and by `--fabric soft` need none, \
     and srptgt rxe up NETDEV makes a device for tests";

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// The daemon runs; something is worth knowing.
    Warning,
    /// The daemon cannot do its work.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do; empty when all is good.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

impl Finding {
    /// All is good.
    pub fn good(check: &'static str, text: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Good,
            text: text.into(),
            fix: String::new(),
        }
    }

    /// Worth knowing.
    pub fn warning(check: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Warning,
            text: text.into(),
            fix: fix.into(),
        }
    }

    /// What only an adapter needs is no fault where none is used.
    fn excuse(&mut self) {
        if ADAPTER_CHECKS.contains(&self.check) && self.level == Level::Missing {
            self.level = Level::Warning;
            self.text
                .push_str("; no portal of the configuration needs it");
        }
    }

    /// Needed and not there.
    pub fn missing(check: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Missing,
            text: text.into(),
            fix: fix.into(),
        }
    }
}

/// A port of an RDMA device of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// What it belongs to.
    pub fabric: FabricKind,
    /// The device.
    pub device: String,
    /// Its number.
    pub port: u8,
    /// What other machines' access lists need.
    pub guid: Option<Guid>,
    /// `infiniband` or `ethernet`.
    pub link: &'static str,
    /// Whether it carries traffic.
    pub active: bool,
    /// Path MTU in bytes.
    pub mtu: u32,
    /// What initiators dial on Ethernet.
    pub addresses: Vec<IpAddr>,
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Ports of RDMA devices, and those that the soft fabric makes of network devices.
    pub ports: Vec<Port>,
    /// Findings, in the order of looking.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether the daemon can do its work.
    pub fn can_serve(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.level != Level::Missing)
    }
}

/// Looks at this machine.
pub fn examine(paths: &Paths) -> Report {
    let devices = rdma::devices();
    let mut ports = ports_of(FabricKind::Verbs, devices.as_deref().unwrap_or_default());
    let machine = Machine { root: "/".into() };
    let loaded = load(&paths.config);
    let config = loaded
        .as_ref()
        .and_then(|loaded| Some(&loaded.as_ref().ok()?.0));
    let mut findings = vec![
        rdma_devices(devices.as_deref(), &ports),
        machine.connection_manager(),
        iscsi::iser(devices.as_deref().unwrap_or_default(), machine.has_ipoib()),
        machine.iscsi_port(),
        memlock(
            getrlimit(Resource::Memlock).current,
            has_ipc_lock(Path::new("/proc/self/status")),
        ),
        machine.io_uring(),
        descriptors(getrlimit(Resource::Nofile).maximum),
        configuration(&paths.config, loaded.as_ref()),
    ];
    if config.is_some_and(needs_no_adapter) {
        findings.iter_mut().for_each(Finding::excuse);
    }
    let soft = config.map_or_else(SoftConfig::default, |config| config.soft.for_fabric());
    let soft = soft_devices(&soft).unwrap_or_default();
    ports.extend(ports_of(FabricKind::Soft, &soft));
    Report { ports, findings }
}

/// Whether all portals, of which there are some, are on TCP or say that they are on the soft fabric.
fn needs_no_adapter(config: &Config) -> bool {
    let needs_none = |portal: &Portal| {
        portal.protocol == Protocol::Tcp || portal.fabric == Some(FabricKind::Soft)
    };
    !config.portals.is_empty() && config.portals.iter().all(needs_none)
}

fn ports_of(fabric: FabricKind, devices: &[DeviceInfo]) -> Vec<Port> {
    let of_device = |device: &DeviceInfo| {
        let name = device.name.clone();
        let ports = device.ports.iter().map(move |port| Port {
            fabric,
            device: name.clone(),
            port: port.number,
            guid: Guid::new(port.port_guid),
            link: match port.link_layer {
                LinkLayer::InfiniBand => "infiniband",
                LinkLayer::Ethernet => "ethernet",
                LinkLayer::Unspecified => "unknown",
            },
            active: matches!(port.state, PortState::Active | PortState::ActiveDeferred),
            mtu: port.active_mtu_bytes,
            addresses: addresses(port),
        });
        ports.collect::<Vec<_>>()
    };
    devices.iter().flat_map(of_device).collect()
}

/// A GID of native InfiniBand is no address that anybody dials.
fn addresses(port: &PortInfo) -> Vec<IpAddr> {
    let gids = port.gids.iter();
    let dialled = gids.filter(|_| port.link_layer == LinkLayer::Ethernet);
    let mut addresses: Vec<_> = dialled.filter_map(|entry| entry.gid.ip()).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

fn rdma_devices(devices: Result<&[DeviceInfo], &rdma::Error>, ports: &[Port]) -> Finding {
    const CHECK: &str = "RDMA devices";
    let active = ports.iter().filter(|port| port.active).count();
    match devices {
        Err(error) => Finding::missing(CHECK, error.to_string(), NO_ADAPTER),
        Ok([]) => Finding::missing(CHECK, "this machine has no RDMA device", NO_ADAPTER),
        Ok(devices) if active == 0 => Finding::warning(
            CHECK,
            format!("{} devices, and no port is active", devices.len()),
            "check the cables; on InfiniBand, a subnet manager must run somewhere (opensm)",
        ),
        Ok(devices) => Finding::good(
            CHECK,
            format!("{} devices, {active} active ports", devices.len()),
        ),
    }
}

fn memlock(limit: Option<u64>, exempt: bool) -> Finding {
    const CHECK: &str = "locked memory";
    match limit {
        None => Finding::good(CHECK, "unlimited"),
        Some(_) if exempt => Finding::good(CHECK, "CAP_IPC_LOCK: no limit applies"),
        Some(limit) if limit >= MEMLOCK_BYTES => Finding::good(CHECK, format!("{limit} bytes")),
        Some(limit) => Finding::missing(
            CHECK,
            format!("{limit} bytes may be locked, and the buffers of RDMA need {MEMLOCK_BYTES}"),
            "ulimit -l unlimited; in a systemd unit LimitMEMLOCK=infinity",
        ),
    }
}

/// Whether the effective capabilities of this process have CAP_IPC_LOCK (bit 14).
fn has_ipc_lock(status: &Path) -> bool {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let effective = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .is_some_and(|capabilities| capabilities & 1 << 14 != 0)
}

fn descriptors(limit: Option<u64>) -> Finding {
    const CHECK: &str = "open files";
    match limit {
        Some(limit) if limit < DESCRIPTORS => Finding::warning(
            CHECK,
            format!("{limit} files may be open; many LUNs and sessions need {DESCRIPTORS}"),
            "ulimit -n 65536; in a systemd unit LimitNOFILE=65536",
        ),
        Some(limit) => Finding::good(CHECK, limit.to_string()),
        None => Finding::good(CHECK, "unlimited"),
    }
}

type Loaded = Result<(Config, bool), ConfigFileError>;

/// The configuration, when it is there.
fn load(path: &Path) -> Option<Loaded> {
    path.exists().then(|| ConfigFile::new(path).load())
}

fn configuration(path: &Path, loaded: Option<&Loaded>) -> Finding {
    const CHECK: &str = "configuration";
    match loaded {
        None => Finding::good(
            CHECK,
            format!("{} is not there yet; srptgt serve makes it", path.display()),
        ),
        Some(Ok((config, _))) => Finding::good(
            CHECK,
            format!(
                "{}: {} LUNs, {} hosts, {} portals",
                path.display(),
                config.luns.len(),
                config.hosts.len(),
                config.portals.len()
            ),
        ),
        Some(Err(error)) => Finding::missing(
            CHECK,
            error.to_string(),
            "correct it, or move it away to begin with an empty one",
        ),
    }
}

/// The files of a machine; tests have another.
struct Machine {
    root: PathBuf,
}

impl Machine {
    fn connection_manager(&self) -> Finding {
        const CHECK: &str = "RDMA modules";
        let there = |path: &str| self.root.join(path).exists();
        let missing: Vec<_> = [
            ("dev/infiniband/rdma_cm", "rdma_ucm"),
            ("sys/class/infiniband_verbs", "ib_uverbs"),
        ]
        .into_iter()
        .filter(|(path, _)| !there(path))
        .map(|(_, module)| module)
        .collect();
        if missing.is_empty() {
            return Finding::good(CHECK, "rdma_ucm and ib_uverbs are there");
        }
        Finding::missing(
            CHECK,
            format!("not loaded: {}", missing.join(" and ")),
            format!(
                "modprobe -a {0}; to have it at boot: a file in /etc/modules-load.d with {0}",
                missing.join(" ")
            ),
        )
    }

    /// Asks the kernel for a ring; when it refuses, its switch says why.
    fn io_uring(&self) -> Finding {
        const CHECK: &str = "io_uring";
        let Err(error) = io_uring::IoUring::new(2) else {
            return Finding::good(CHECK, "available");
        };
        let switch = std::fs::read_to_string(self.root.join("proc/sys/kernel/io_uring_disabled"));
        let fix = match switch.as_deref().map(str::trim) {
            Ok("1" | "2") => "sysctl kernel.io_uring_disabled=0",
            _ => {
                "run a kernel with CONFIG_IO_URING, and in a container allow io_uring in its seccomp profile"
            }
        };
        Finding::missing(CHECK, format!("the kernel gives no ring: {error}"), fix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_needed_unless_all_portals_say_otherwise() {
        let needs_none = |portals: &str| {
            let (config, _) = crate::config::parse::parse(portals).unwrap();
            needs_no_adapter(&config)
        };
        let tcp = "[[portal]]\nprotocol = \"tcp\"\nlisten = \"10.0.0.1:3260\"\n";
        let srp = "[[portal]]\nprotocol = \"srp\"\nlisten = \"10.0.0.1:5555\"\n";
        assert!(needs_none(tcp));
        assert!(needs_none(&format!("{tcp}{srp}fabric = \"soft\"\n")));
        assert!(!needs_none(&format!("{tcp}{srp}")));
        assert!(!needs_none(""));
    }

    #[test]
    fn what_nobody_needs_is_no_fault() {
        let mut modules = Finding::missing("RDMA modules", "not loaded: rdma_ucm", "modprobe");
        modules.excuse();
        assert_eq!(modules.level, Level::Warning);
        assert!(
            modules
                .text
                .ends_with("no portal of the configuration needs it")
        );
        let mut ring = Finding::missing("io_uring", "none", "another kernel");
        ring.excuse();
        assert_eq!(ring.level, Level::Missing);
    }

    fn port(active: bool) -> Port {
        Port {
            fabric: FabricKind::Verbs,
            device: "mlx4_0".to_owned(),
            port: 1,
            guid: Guid::new(7),
            link: "infiniband",
            active,
            mtu: 4096,
            addresses: Vec::new(),
        }
    }

    fn device() -> DeviceInfo {
        DeviceInfo {
            name: "mlx4_0".to_owned(),
            node_guid: 1,
            limits: Default::default(),
            ports: Vec::new(),
        }
    }

    #[test]
    fn network_devices_are_ports_of_the_soft_fabric() {
        let devices = soft_devices(&SoftConfig::default()).unwrap();
        let ports = ports_of(FabricKind::Soft, &devices);
        let loopback = ports.iter().find(|port| port.device == "soft_lo").unwrap();
        assert!(loopback.addresses.contains(&"127.0.0.1".parse().unwrap()));
        assert!(loopback.guid.is_some());
    }

    #[test]
    fn no_device_is_missing_and_no_active_port_a_warning() {
        assert_eq!(rdma_devices(Ok(&[]), &[]).level, Level::Missing);
        assert_eq!(
            rdma_devices(Err(&rdma::Error::NoDevice), &[]).level,
            Level::Missing
        );
        assert_eq!(
            rdma_devices(Ok(&[device()]), &[port(false)]).level,
            Level::Warning
        );
        assert_eq!(
            rdma_devices(Ok(&[device()]), &[port(true)]).level,
            Level::Good
        );
    }

    #[test]
    fn locked_memory() {
        assert_eq!(memlock(None, false).level, Level::Good);
        assert_eq!(memlock(Some(64 << 10), true).level, Level::Good);
        assert_eq!(memlock(Some(64 << 10), false).level, Level::Missing);
        assert_eq!(memlock(Some(MEMLOCK_BYTES), false).level, Level::Good);
    }

    #[test]
    fn the_capability_is_read_from_the_process_status() {
        let folder = tempfile::tempdir().unwrap();
        let status = folder.path().join("status");
        for (text, expected) in [
            ("CapEff:\t0000000000004000\n", true),
            ("CapEff:\t0000000000002000\n", false),
            ("", false),
        ] {
            std::fs::write(&status, text).unwrap();
            assert_eq!(has_ipc_lock(&status), expected, "{text}");
        }
    }

    #[test]
    fn modules_are_found_by_what_they_make() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine {
            root: folder.path().to_owned(),
        };
        let finding = machine.connection_manager();
        assert_eq!(finding.level, Level::Missing);
        assert!(
            finding.fix.contains("modprobe -a rdma_ucm ib_uverbs"),
            "{}",
            finding.fix
        );
        for made in ["dev/infiniband/rdma_cm", "sys/class/infiniband_verbs"] {
            std::fs::create_dir_all(folder.path().join(made)).unwrap();
        }
        assert_eq!(machine.connection_manager().level, Level::Good);
    }

    #[test]
    fn a_broken_configuration_is_missing_and_none_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("srptgt.toml");
        assert_eq!(
            configuration(&path, load(&path).as_ref()).level,
            Level::Good
        );
        std::fs::write(&path, "lun = 1").unwrap();
        let finding = configuration(&path, load(&path).as_ref());
        assert_eq!(finding.level, Level::Missing);
        assert!(finding.text.contains("line 1"), "{}", finding.text);
    }

    #[test]
    fn few_descriptors_are_a_warning() {
        assert_eq!(descriptors(Some(1024)).level, Level::Warning);
        assert_eq!(descriptors(Some(DESCRIPTORS)).level, Level::Good);
        assert_eq!(descriptors(None).level, Level::Good);
    }
}
