//! Where the target listens, and what an initiator has to dial. Pure.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::as_text::serde_as_text;
use crate::identity::{Guid, Id128, Iqn};

/// The protocol that a portal speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// SCSI RDMA Protocol.
    Srp,
    /// iSCSI Extensions for RDMA (RFC 7145).
    Iser,
    /// iSCSI over TCP (RFC 7143).
    Tcp,
}

/// The port that IANA gave iSCSI (RFC 7143 15).
pub const ISCSI_PORT: u16 = 3260;

/// The port of RDMA-CM that SRP targets use by custom.
pub const SRP_PORT: u16 = 5555;

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Srp, Self::Iser, Self::Tcp];

    /// Where a target listens when nothing else is said.
    pub fn usual_port(self) -> u16 {
        match self {
            Self::Srp => SRP_PORT,
            Self::Iser | Self::Tcp => ISCSI_PORT,
        }
    }

    /// Whether the session layer is iSCSI.
    pub fn is_iscsi(self) -> bool {
        matches!(self, Self::Iser | Self::Tcp)
    }

    /// Where to listen, as a user types it: iSCSI has a port of its own, SRP has none.
    ///
    /// # Errors
    /// The text is no place for this protocol.
    pub fn listen(self, text: &str) -> Result<Listen, PortalError> {
        let text = text.trim();
        let address = match self.is_iscsi() {
            true => text.trim_matches(['[', ']']).parse::<IpAddr>().ok(),
            false => None,
        };
        let listen = match address {
            Some(address) => Listen::Ip(SocketAddr::new(address, ISCSI_PORT)),
            None => text.parse()?,
        };
        match listen {
            Listen::InfiniBand(_) if self.is_iscsi() => Err(PortalError::NeedsAddress {
                protocol: self,
                text: clip(text),
            }),
            listen => Ok(listen),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Srp => "srp",
            Self::Iser => "iser",
            Self::Tcp => "tcp",
        })
    }
}

/// A text that names no protocol or no place to listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortalError {
    /// Not a protocol.
    #[error("'{0}' is not a protocol of a portal; accepted: srp, iser, tcp")]
    Protocol(String),
    /// Not a place to listen.
    #[error(
        "'{0}' is not a place to listen; accepted: ADDRESS:PORT (10.0.0.1:5555, [fd00::1]:5555), and for srp \
         over native InfiniBand DEVICE:PORT (mlx4_0:1)"
    )]
    Listen(String),
    /// A port of a device, for a protocol that has IP addresses only.
    #[error(
        "{protocol} listens on an IP address, came '{text}'; accepted: 10.0.0.1, 10.0.0.1:3260, [fd00::1]:3260, 0.0.0.0"
    )]
    NeedsAddress {
        /// For which.
        protocol: Protocol,
        /// What came.
        text: String,
    },
}

impl FromStr for Protocol {
    type Err = PortalError;

    fn from_str(text: &str) -> Result<Self, PortalError> {
        match text {
            "srp" => Ok(Self::Srp),
            "iser" => Ok(Self::Iser),
            "tcp" => Ok(Self::Tcp),
            _ => Err(PortalError::Protocol(clip(text))),
        }
    }
}

/// A port of an RDMA device, written `mlx4_0:1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HcaPort {
    /// The device as in /sys/class/infiniband.
    pub device: String,
    /// The port, counted from 1.
    pub port: u8,
}

impl FromStr for HcaPort {
    type Err = PortalError;

    fn from_str(text: &str) -> Result<Self, PortalError> {
        let error = || PortalError::Listen(clip(text));
        let (device, port) = text.split_once(':').ok_or_else(error)?;
        let port = port.parse().map_err(|_| error())?;
        let named = device.starts_with(|c: char| c.is_ascii_alphabetic())
            && device.len() < 64
            && device
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        (named && port > 0)
            .then(|| Self {
                device: device.to_owned(),
                port,
            })
            .ok_or_else(error)
    }
}

impl fmt::Display for HcaPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.port)
    }
}

/// Where a portal listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listen {
    /// An IP address, or the wildcard address: RDMA-CM for SRP and iSER, TCP for TCP.
    Ip(SocketAddr),
    /// Native InfiniBand on one port.
    InfiniBand(HcaPort),
}

impl FromStr for Listen {
    type Err = PortalError;

    fn from_str(text: &str) -> Result<Self, PortalError> {
        let text = text.trim();
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => Ok(Self::Ip(address)),
            Ok(_) => Err(PortalError::Listen(clip(text))),
            Err(_) => text.parse().map(Self::InfiniBand),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => fmt::Display::fmt(address, f),
            Self::InfiniBand(port) => fmt::Display::fmt(port, f),
        }
    }
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

serde_as_text!(HcaPort, Listen);

/// What carries a portal's connections.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum FabricKind {
    /// RDMA hardware, or the kernel's soft RoCE
    #[default]
    Verbs,
    /// RoCEv2 in this process, over UDP: needs no RDMA
    Soft,
}

/// A portal: a protocol on a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Portal {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where.
    pub listen: Listen,
    /// What carries it, when that is not what the daemon was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fabric: Option<FabricKind>,
}

impl Portal {
    /// Both cannot be at once.
    pub fn is_at_place_of(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.listen == other.listen
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.listen)
    }
}

/// Where a portal is reached; a wildcard portal has one per address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// What an initiator dials.
    #[serde(flatten)]
    pub address: Address,
    /// The port that has the address; none over TCP, and none where the fabric does not tell.
    #[serde(rename = "rdma_port", skip_serializing_if = "Option::is_none")]
    pub port: Option<RdmaPort>,
}

impl Endpoint {
    /// The IP address, when it is dialled by one.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Ip(address) => Some(address),
            Address::InfiniBand { .. } => None,
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self {
            address: Address::Ip(address),
            port: None,
        }
    }
}

/// A port of an RDMA device as its peers know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RdmaPort {
    /// What it belongs to.
    pub fabric: FabricKind,
    /// Which it is, `soft_eth0:1`.
    pub port: HcaPort,
    /// Its GUID.
    pub guid: Option<Guid>,
    /// The GID that peers send to.
    pub gid: Id128,
}

/// What an initiator dials to reach a portal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// RDMA-CM.
    Ip(SocketAddr),
    /// Native InfiniBand.
    InfiniBand {
        /// Port GID of the target port.
        gid: Id128,
        /// Partition key.
        pkey: u16,
        /// Service id of the listener.
        service_id: u64,
    },
}

/// What an open-iscsi initiator types to reach an address of an iSCSI portal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Iscsiadm {
    /// Asks which targets there are.
    pub discovery: String,
    /// Logs in to this one, after the discovery.
    pub login: String,
}

impl Iscsiadm {
    /// The lines for a target at an address.
    pub fn new(protocol: Protocol, target: &Iqn, address: SocketAddr) -> Self {
        let interface = match protocol {
            Protocol::Iser => " -I iser",
            Protocol::Tcp | Protocol::Srp => "",
        };
        Self {
            discovery: format!("iscsiadm -m discovery -t sendtargets -p {address}{interface}"),
            login: format!("iscsiadm -m node -T {target} -p {address}{interface} --login"),
        }
    }
}

impl Address {
    /// The line for `/sys/class/infiniband_srp/*/add_target` of a Linux initiator.
    pub fn add_target(&self, id_ext: u64, ioc_guid: u64) -> String {
        let target = format!("id_ext={id_ext:016x},ioc_guid={ioc_guid:016x}");
        match self {
            Self::Ip(address) => format!("{target},dest={address}"),
            Self::InfiniBand {
                gid,
                pkey,
                service_id,
            } => {
                let gid = u128::from_be_bytes(gid.0);
                format!("{target},dgid={gid:032x},pkey={pkey:04x},service_id={service_id:016x}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listens_on_addresses_and_ports_of_devices() {
        for text in [
            "10.0.0.1:5555",
            "0.0.0.0:5555",
            "[fd00::1]:5555",
            "mlx4_0:1",
            "rxe_eth0.5:1",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_other_places() {
        for text in [
            "",
            "10.0.0.1",
            "10.0.0.1:0",
            "10.0.0.1:70000",
            "mlx4_0",
            "mlx4_0:0",
            ":1",
            "a b:1",
            "fd00::1:5555",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[test]
    fn iscsi_has_a_port_of_its_own_and_no_ports_of_devices() {
        let listen = |protocol: Protocol, text: &str| protocol.listen(text).map(|l| l.to_string());
        for (text, place) in [
            ("10.0.0.1", "10.0.0.1:3260"),
            ("0.0.0.0", "0.0.0.0:3260"),
            ("10.0.0.1:860", "10.0.0.1:860"),
            ("fd00::1", "[fd00::1]:3260"),
            ("[fd00::1]", "[fd00::1]:3260"),
            ("[fd00::1]:3260", "[fd00::1]:3260"),
        ] {
            for protocol in [Protocol::Iser, Protocol::Tcp] {
                assert_eq!(listen(protocol, text).as_deref(), Ok(place));
            }
        }
        let error = listen(Protocol::Iser, "mlx4_0:1").unwrap_err().to_string();
        assert!(error.contains("iser listens on an IP address"), "{error}");
        assert!(listen(Protocol::Tcp, "10.0.0.1:0").is_err());
        assert!(listen(Protocol::Srp, "10.0.0.1").is_err());
        assert_eq!(listen(Protocol::Srp, "mlx4_0:1").as_deref(), Ok("mlx4_0:1"));
    }

    #[test]
    fn iscsiadm_lines_as_open_iscsi_takes_them() {
        let target = "iqn.2026-11.io.srptgt:0252000000000002".parse().unwrap();
        let lines = |protocol| Iscsiadm::new(protocol, &target, "10.99.0.1:3260".parse().unwrap());
        assert_eq!(
            lines(Protocol::Tcp).login,
            "iscsiadm -m node -T iqn.2026-11.io.srptgt:0252000000000002 -p 10.99.0.1:3260 --login"
        );
        assert_eq!(
            lines(Protocol::Iser).discovery,
            "iscsiadm -m discovery -t sendtargets -p 10.99.0.1:3260 -I iser"
        );
    }

    #[test]
    fn add_target_lines_as_ib_srp_takes_them() {
        let ip = Address::Ip("10.99.0.1:5555".parse().unwrap());
        assert_eq!(
            ip.add_target(0x0252_0000_0000_0001, 0x0252_0000_0000_0002),
            "id_ext=0252000000000001,ioc_guid=0252000000000002,dest=10.99.0.1:5555"
        );
        let mut gid = [0; 16];
        gid[0] = 0xfe;
        gid[1] = 0x80;
        gid[15] = 0x73;
        let ib = Address::InfiniBand {
            gid: Id128(gid),
            pkey: 0xffff,
            service_id: 0x013f_15b3,
        };
        assert_eq!(
            ib.add_target(1, 2),
            "id_ext=0000000000000001,ioc_guid=0000000000000002,dgid=fe800000000000000000000000000073,\
             pkey=ffff,service_id=00000000013f15b3"
        );
    }
}
