//! Which target `bench` and `selftest` are for: one of their own, or one that runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use clap::Args;
use initiator::iscsi::machine::LoginOptions;
use initiator::{ConnectError, ConnectOptions, Lun, TargetPortId, iscsi};
use transport_iser::login::Datamover;

use crate::config::ByteSize;
use crate::exercise::Dial;
use crate::identity::{Guid, Iqn};
use crate::loopback::Daemon;
use crate::portal::{FabricKind, ISCSI_PORT, Protocol};

use super::Failure;

/// The port of RDMA-CM that SRP targets use by custom.
const SERVICE_PORT: u16 = 5555;

/// What an initiator is called that chooses itself: no hardware has it, its universal/local bit is set.
const OWN_GUID: u64 = 0x0252_0100_00de_3001;

/// The iSCSI name of an initiator that was given none.
const OWN_NAME: &str = "iqn.2026-11.io.srptgt:initiator";

#[derive(Debug, Args)]
pub(crate) struct Peer {
    /// Where the target listens [default: a target of its own on loopback; port: 5555 for SRP, 3260 for iSCSI]
    #[arg(long, value_name = "IP[:PORT]")]
    target: Option<TargetAddress>,
    /// What the session speaks: srp, iser, or tcp (iSCSI) [default: srp]
    #[arg(
        long,
        value_name = "srp|iser|tcp",
        default_value = "srp",
        hide_default_value = true
    )]
    protocol: Protocol,
    /// What carries srp or iser: verbs (RDMA hardware, the kernel's soft RoCE) or soft (RoCEv2 in this process)
    /// [default: verbs]
    #[arg(
        long,
        value_enum,
        value_name = "verbs|soft",
        hide_possible_values = true,
        requires = "target"
    )]
    fabric: Option<FabricKind>,
    /// I/O controller GUID of the target port, as portal list shows it
    #[arg(long, value_name = "GUID", requires = "target")]
    ioc_guid: Option<Guid>,
    /// iSCSI name of the target, as target show shows it
    #[arg(long, value_name = "IQN", requires = "target")]
    iqn: Option<Iqn>,
    /// iSCSI name that the initiator goes by [default: iqn.2026-11.io.srptgt:initiator]
    #[arg(long, value_name = "IQN", requires = "target")]
    initiator_name: Option<Iqn>,
    /// Identifier extension of the target port [default: the I/O controller GUID]
    #[arg(long, value_name = "GUID", requires = "target")]
    id_ext: Option<Guid>,
    /// GUID that the initiator port goes by [default: the port's own]
    #[arg(long, value_name = "GUID", requires = "target")]
    guid: Option<Guid>,
    /// Address to come from; over soft one for each session that runs at the same time [default: chosen]
    #[arg(long, value_name = "IP", value_delimiter = ',', requires = "target")]
    source: Vec<IpAddr>,
    /// LUN number
    #[arg(long, value_name = "NUMBER", default_value = "0", requires = "target")]
    lun: u8,
    /// Address of the target of its own, one of 127.0.0.0/8; its initiators have the next ones
    #[arg(
        long,
        value_name = "IP",
        default_value = "127.0.0.1",
        conflicts_with = "target"
    )]
    address: Ipv4Addr,
}

/// An IP address with or without a port; the protocol has one by custom.
#[derive(Clone, Copy, Debug)]
struct TargetAddress {
    ip: IpAddr,
    port: Option<u16>,
}

impl FromStr for TargetAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let whole = text.parse().map(|address: SocketAddr| Self {
            ip: address.ip(),
            port: Some(address.port()),
        });
        let without = || bare.parse().map(|ip| Self { ip, port: None });
        whole.or_else(|_| without()).map_err(|_| {
            "accepted: an IP address, or one with a port, such as 10.0.0.1:5555".to_owned()
        })
    }
}

impl Peer {
    /// Whether the target is one of our own, whose data nobody misses.
    pub(crate) fn is_own(&self) -> bool {
        self.target.is_none()
    }

    pub(crate) fn lun(&self) -> Lun {
        Lun::peripheral(self.lun)
    }

    /// What was typed, for messages.
    pub(crate) fn name(&self) -> String {
        match self.target {
            Some(address) => format!("LUN {} of {}", self.lun, self.at(address)),
            None => "a LUN in memory of a target of its own".to_owned(),
        }
    }

    /// Starts a target with a LUN of this size, unless one was named.
    pub(crate) async fn start(&self, size: ByteSize) -> Result<Option<Daemon>, Failure> {
        if !self.is_own() {
            return Ok(None);
        }
        let address = SocketAddr::new(self.own_address(0)?, self.service_port());
        let host = (own_guid()?, OWN_NAME);
        let started = Daemon::start((self.protocol, address), size, host).await;
        Ok(Some(started.map_err(in_the_way)?))
    }

    /// How session `number` of several that run at the same time reaches the target.
    ///
    /// # Errors
    /// It has no address to come from.
    pub(crate) fn dial(&self, own: Option<&Daemon>, number: u16) -> Result<Dial, Failure> {
        match (own, self.target) {
            (Some(own), _) => {
                let address = SocketAddr::new(self.own_address(0)?, self.service_port());
                let guid = Some(own_guid()?);
                let dial = match self.datamover() {
                    None => Dial::Srp {
                        fabric: FabricKind::Soft,
                        guid,
                        options: ConnectOptions::new(address, own.port()),
                    },
                    Some(datamover) => Dial::Iscsi {
                        fabric: FabricKind::Soft,
                        guid,
                        options: iscsi_options(address, datamover, OWN_NAME, own.name()),
                    },
                };
                let source = self.own_address(u32::from(number) + 1)?;
                Ok(dial.coming_from(Some(SocketAddr::new(source, 0))))
            }
            (None, Some(address)) => self.dial_foreign(self.at(address), number),
            (None, None) => Err(Failure::Usage(
                "no target is named".to_owned(),
                String::new(),
            )),
        }
    }

    fn dial_foreign(&self, address: SocketAddr, number: u16) -> Result<Dial, Failure> {
        let dial = self.foreign(address)?;
        let fabric = self.fabric.unwrap_or_default();
        let is_soft = fabric == FabricKind::Soft && self.protocol != Protocol::Tcp;
        let source = self.source.get(usize::from(number)).or(match is_soft {
            false => self.source.first(),
            true => None,
        });
        let is_ready = number == 0 || (source.is_some() && self.guid.is_some());
        if is_soft && !is_ready {
            return Err(Failure::Usage(
                format!(
                    "session {} has no address or no GUID to come from",
                    number + 1
                ),
                "over soft name both: --guid GUID, and --source IP,IP,… with one for each session"
                    .to_owned(),
            ));
        }
        Ok(dial.coming_from(source.map(|ip| SocketAddr::new(*ip, 0))))
    }

    /// What a target that was named wants to be called.
    fn foreign(&self, address: SocketAddr) -> Result<Dial, Failure> {
        let (fabric, guid) = (self.fabric.unwrap_or_default(), self.guid);
        if let Some(datamover) = self.datamover() {
            let name = self.initiator_name.as_ref().map_or(OWN_NAME, Iqn::as_str);
            let target = self.iqn.as_ref().ok_or_else(|| {
                let fix = "name it by --iqn; srptgt target show shows it, and iscsi-ls finds it";
                Failure::Usage(
                    "the target's iSCSI name is missing".to_owned(),
                    fix.to_owned(),
                )
            })?;
            return Ok(Dial::Iscsi {
                fabric,
                guid,
                options: iscsi_options(address, datamover, name, target.as_str()),
            });
        }
        let ioc_guid = self.ioc_guid.ok_or_else(|| {
            let fix = "name it by --ioc-guid; srptgt portal list shows it";
            Failure::Usage(
                "the target's I/O controller GUID is missing".to_owned(),
                fix.to_owned(),
            )
        })?;
        let port = TargetPortId {
            id_ext: self.id_ext.unwrap_or(ioc_guid).value(),
            ioc_guid: ioc_guid.value(),
        };
        Ok(Dial::Srp {
            fabric,
            guid,
            options: ConnectOptions::new(address, port),
        })
    }

    fn at(&self, address: TargetAddress) -> SocketAddr {
        SocketAddr::new(address.ip, address.port.unwrap_or(self.service_port()))
    }

    fn service_port(&self) -> u16 {
        match self.protocol {
            Protocol::Srp => SERVICE_PORT,
            Protocol::Iser | Protocol::Tcp => ISCSI_PORT,
        }
    }

    fn datamover(&self) -> Option<Datamover> {
        match self.protocol {
            Protocol::Srp => None,
            Protocol::Iser => Some(Datamover::Iser),
            Protocol::Tcp => Some(Datamover::Tcp),
        }
    }

    /// The address behind the target's own.
    fn own_address(&self, more: u32) -> Result<IpAddr, Failure> {
        let address = Ipv4Addr::from(u32::from(self.address).wrapping_add(more));
        if address.is_loopback() && self.address.is_loopback() {
            return Ok(IpAddr::V4(address));
        }
        Err(Failure::Usage(
            format!(
                "{} and the addresses behind it are not all of 127.0.0.0/8",
                self.address
            ),
            "leave --address out, or give one like 127.0.1.1".to_owned(),
        ))
    }
}

fn iscsi_options(
    address: SocketAddr,
    datamover: Datamover,
    initiator: &str,
    target: &str,
) -> Box<iscsi::ConnectOptions> {
    let login = LoginOptions {
        // Other targets than ours do send them.
        long_sequences: true,
        ..LoginOptions::new(datamover, initiator, Some(target))
    };
    Box::new(iscsi::ConnectOptions::new(address, login))
}

fn own_guid() -> Result<Guid, Failure> {
    let guid = Guid::new(OWN_GUID);
    guid.ok_or_else(|| anyhow::anyhow!("the initiator's GUID is none; please report it").into())
}

/// Two runs at a time need addresses of their own.
const OTHER_ADDRESSES: &str = "end the other program, or take other addresses: --address 127.1.0.1";

fn in_the_way(error: anyhow::Error) -> Failure {
    Failure::Failed(format!("{error:#}"), OTHER_ADDRESSES.to_owned())
}

/// A login to the peer failed.
pub(crate) fn not_in(error: &ConnectError) -> Failure {
    let fix = match error {
        ConnectError::Rdma(initiator_error) if is_taken(initiator_error) => OTHER_ADDRESSES,
        ConnectError::Rdma(_) => "where there is no RDMA, --fabric soft needs none",
        ConnectError::Iscsi(_) => {
            "check --iqn and --initiator-name; on srptgt, srptgt pending shows who was refused and why"
        }
        ConnectError::Login { .. } => {
            "check --ioc-guid, --id-ext and --guid; on srptgt, srptgt pending shows who was refused and why"
        }
        _ => "",
    };
    Failure::Failed(error.to_string(), fix.to_owned())
}

fn is_taken(error: &rdma::Error) -> bool {
    matches!(error, rdma::Error::Socket { .. })
}
