//! What iSCSI needs of this machine: its port, which one target can have, and for iSER an RDMA port with an address.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use rdma::{DeviceInfo, LinkLayer, PortInfo, PortState};

use super::{Finding, Machine};
use crate::portal::ISCSI_PORT;

/// LISTEN in /proc/net/tcp.
const LISTENING: &str = "0A";

/// ARPHRD_INFINIBAND in /sys/class/net/*/type: an IPoIB interface.
const IPOIB: &str = "32";

impl Machine {
    /// Whether another target has the port that initiators dial.
    pub(super) fn iscsi_port(&self) -> Finding {
        const CHECK: &str = "iSCSI port";
        let kernel = self.kernel_portals();
        if !kernel.is_empty() {
            return Finding::warning(
                CHECK,
                format!("the kernel's target (LIO) listens on {}", kernel.join(", ")),
                format!(
                    "systemctl disable --now rtslib-fb-targetctl (or target) and targetcli clearconfig confirm=True, if it \
                     serves nobody; otherwise give srptgt other addresses or ports: srptgt portal add tcp \
                     ADDRESS:{}",
                    ISCSI_PORT + 1
                ),
            );
        }
        let sockets = self.listening(ISCSI_PORT);
        match self.owner(&sockets).as_deref() {
            _ if sockets.is_empty() => {
                Finding::good(CHECK, format!("nobody has TCP port {ISCSI_PORT}"))
            }
            Some("srptgt") => Finding::good(CHECK, format!("srptgt has TCP port {ISCSI_PORT}")),
            Some("tgtd") => in_use("tgtd", "systemctl disable --now tgt"),
            Some("iscsi-scstd") => in_use("iscsi-scstd (SCST)", "systemctl disable --now scst"),
            Some(other) => in_use(other, "stop it"),
            None => in_use(
                "another program",
                &format!("ss -ltnp sport = :{ISCSI_PORT} as root names it: stop it"),
            ),
        }
    }

    /// The portals of LIO on the port, from its tree in configfs.
    fn kernel_portals(&self) -> Vec<String> {
        let targets = entries(&self.root.join("sys/kernel/config/target/iscsi"));
        let groups = targets.iter().flat_map(|target| entries(target));
        let portals = groups.flat_map(|group| entries(&group.join("np")));
        let suffix = format!(":{ISCSI_PORT}");
        portals
            .filter_map(|portal| {
                let name = portal.file_name()?.to_str()?.to_owned();
                let over_rdma = fs::read_to_string(portal.join("iser"));
                let over_rdma = over_rdma.is_ok_and(|on| on.trim() == "1");
                let protocol = if over_rdma { "iser" } else { "tcp" };
                name.ends_with(&suffix)
                    .then(|| format!("{protocol} {name}"))
            })
            .collect()
    }

    /// The inodes of the sockets that listen on a TCP port.
    fn listening(&self, port: u16) -> BTreeSet<String> {
        let suffix = format!(":{port:04X}");
        let tables = ["proc/net/tcp", "proc/net/tcp6"].map(|table| self.root.join(table));
        let texts = tables
            .iter()
            .map(|table| fs::read_to_string(table).unwrap_or_default());
        let inodes = texts.flat_map(|text| {
            let lines = text.lines().filter_map(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                match fields.get(1..10)? {
                    [local, _, LISTENING, .., inode] if local.ends_with(&suffix) => {
                        Some((*inode).to_owned())
                    }
                    _ => None,
                }
            });
            lines.collect::<Vec<_>>()
        });
        inodes.collect()
    }

    /// The name of a process that has one of these sockets, as far as this user may see.
    fn owner(&self, inodes: &BTreeSet<String>) -> Option<String> {
        let is_one = |descriptor: PathBuf| {
            let link = fs::read_link(descriptor).unwrap_or_default();
            let name = link.to_string_lossy();
            let inode = name
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'));
            inode.is_some_and(|inode| inodes.contains(inode))
        };
        let processes = entries(&self.root.join("proc"));
        let mut processes = processes.iter().filter(|path| {
            let name = path.file_name().unwrap_or_default();
            name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
        });
        let owner =
            processes.find(|process| entries(&process.join("fd")).into_iter().any(is_one))?;
        let name = fs::read_to_string(owner.join("comm")).ok()?;
        Some(name.trim().to_owned())
    }

    /// Whether an interface of IP over InfiniBand is there.
    pub(super) fn has_ipoib(&self) -> bool {
        let is_ipoib = |interface: &PathBuf| {
            fs::read_to_string(interface.join("type")).is_ok_and(|kind| kind.trim() == IPOIB)
        };
        entries(&self.root.join("sys/class/net"))
            .iter()
            .any(is_ipoib)
    }
}

fn in_use(by: &str, stop: &str) -> Finding {
    Finding::warning(
        "iSCSI port",
        format!("{by} has TCP port {ISCSI_PORT}, where initiators look for a target"),
        format!(
            "{stop}, or give srptgt another port: srptgt portal add tcp ADDRESS:{}",
            ISCSI_PORT + 1
        ),
    )
}

/// What iSER portals could listen on.
pub(super) fn iser(devices: &[DeviceInfo], has_ipoib: bool) -> Finding {
    const CHECK: &str = "iSER";
    let active = devices.iter().flat_map(|device| &device.ports);
    let active = active.filter(|port| port.state == PortState::Active);
    let (infiniband, ethernet): (Vec<_>, Vec<_>) =
        active.partition(|port| port.link_layer == LinkLayer::InfiniBand);
    if infiniband.is_empty() && ethernet.is_empty() {
        return Finding::warning(
            CHECK,
            "no RDMA port is active, and iSER needs one",
            "iSCSI over TCP needs none: srptgt portal add tcp ADDRESS; and for a test without RDMA: srptgt portal add \
             iser ADDRESS --fabric soft",
        );
    }
    let addressed = ethernet.iter().filter(|port| has_address(port)).count();
    if addressed > 0 || has_ipoib && !infiniband.is_empty() {
        return Finding::good(
            CHECK,
            match addressed {
                0 => "over InfiniBand, on the addresses of IPoIB".to_owned(),
                ports => format!("{ports} RoCE ports have an IP address"),
            },
        );
    }
    Finding::warning(
        CHECK,
        "no active RDMA port has an IP address, and iSER is dialled by one",
        match infiniband.is_empty() {
            true => {
                "ip address add ADDRESS/24 dev NETDEV, for the network device of the port (rdma link shows it)"
            }
            false => "modprobe ib_ipoib, then ip address add ADDRESS/24 dev ib0",
        },
    )
}

/// Whether a RoCE port has a GID that was made from an IP address and not from its Ethernet address.
fn has_address(port: &PortInfo) -> bool {
    let is_address = |gid: [u8; 16]| !Ipv6Addr::from(gid).is_unicast_link_local();
    port.gids.iter().any(|entry| is_address(entry.gid.0))
}

/// The paths in a folder; none when it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    read.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rdma::{Gid, GidEntry};

    use super::*;
    use crate::doctor::Level;

    const FREE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:81EC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 901368 1 0 100 0 0 10 0\n\
        1: 0100007F:0CBC 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n";
    const TAKEN: &str = "2: 00000000:0CBC 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";

    struct Fake {
        folder: tempfile::TempDir,
        machine: Machine,
    }

    impl Fake {
        fn new(sockets: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let machine = Machine {
                root: folder.path().to_owned(),
            };
            let fake = Self { folder, machine };
            fake.write("proc/net/tcp", sockets);
            fake
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn process(&self, number: u32, name: &str, inode: u32) {
            self.write(&format!("proc/{number}/comm"), &format!("{name}\n"));
            let descriptors = self.folder.path().join(format!("proc/{number}/fd"));
            fs::create_dir_all(&descriptors).unwrap();
            symlink(format!("socket:[{inode}]"), descriptors.join("3")).unwrap();
        }
    }

    #[test]
    fn a_free_port_is_good_whatever_is_connected_from_it() {
        let fake = Fake::new(FREE);
        fake.process(7, "tgtd", 901368);
        assert_eq!(fake.machine.iscsi_port().level, Level::Good);
    }

    #[test]
    fn another_target_is_named_with_the_way_out() {
        for (name, level, part) in [
            ("srptgt", Level::Good, ""),
            ("tgtd", Level::Warning, "systemctl disable --now tgt"),
            ("iscsi-scstd", Level::Warning, "scst"),
            ("nc", Level::Warning, "ADDRESS:3261"),
        ] {
            let fake = Fake::new(&format!("{FREE}{TAKEN}"));
            fake.process(6, "sshd", 901368);
            fake.process(7, name, 4712);
            let finding = fake.machine.iscsi_port();
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.fix.contains(part), "{finding:?}");
            assert!(finding.text.contains(name), "{finding:?}");
        }
        let unseen = Fake::new(&format!("{FREE}{TAKEN}")).machine.iscsi_port();
        assert!(unseen.text.contains("another program"), "{unseen:?}");
    }

    #[test]
    fn the_kernels_target_is_found_by_its_portals() {
        let fake = Fake::new(FREE);
        let portal = "sys/kernel/config/target/iscsi/iqn.2003-01.org.linux-iscsi:a/tpgt_1/np";
        fake.write(&format!("{portal}/10.0.0.1:860/iser"), "0\n");
        assert_eq!(fake.machine.iscsi_port().level, Level::Good);
        fake.write(&format!("{portal}/0.0.0.0:3260/iser"), "1\n");
        let finding = fake.machine.iscsi_port();
        assert!(finding.text.contains("iser 0.0.0.0:3260"), "{finding:?}");
        assert_eq!(finding.level, Level::Warning);
    }

    fn device(link_layer: LinkLayer, state: PortState, gid: &str) -> DeviceInfo {
        let gid = Gid(gid.parse::<Ipv6Addr>().unwrap().octets());
        DeviceInfo {
            name: "rxe0".to_owned(),
            node_guid: 1,
            limits: Default::default(),
            ports: vec![PortInfo {
                number: 1,
                port_guid: 1,
                link_layer,
                state,
                lid: 0,
                active_mtu_bytes: 1024,
                max_message_bytes: 1 << 30,
                gids: vec![GidEntry { index: 0, gid }],
                pkeys: vec![0xffff],
            }],
        }
    }

    #[test]
    fn iser_needs_an_active_port_with_an_address() {
        use LinkLayer::{Ethernet, InfiniBand};
        use PortState::{Active, Down};
        let (local, address) = ("fe80::2:c903:e:b73", "::ffff:10.0.0.1");
        let level = |link, state, gid, ipoib| iser(&[device(link, state, gid)], ipoib).level;
        assert_eq!(iser(&[], true).level, Level::Warning);
        assert_eq!(level(Ethernet, Down, address, false), Level::Warning);
        assert_eq!(level(Ethernet, Active, local, true), Level::Warning);
        assert_eq!(level(Ethernet, Active, address, false), Level::Good);
        assert_eq!(level(InfiniBand, Active, local, false), Level::Warning);
        assert_eq!(level(InfiniBand, Active, local, true), Level::Good);
    }

    #[test]
    fn ipoib_is_known_by_its_kind() {
        let fake = Fake::new(FREE);
        fake.write("sys/class/net/eth0/type", "1\n");
        assert!(!fake.machine.has_ipoib());
        fake.write("sys/class/net/ib0/type", "32\n");
        assert!(fake.machine.has_ipoib());
    }
}
