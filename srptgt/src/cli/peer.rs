//! Which target `bench` and `selftest` are for: one of their own, or one that runs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use clap::Args;
use initiator::{ConnectError, ConnectOptions, Lun, TargetPortId};

use crate::config::ByteSize;
use crate::exercise::{Dial, RdmaPort};
use crate::identity::Guid;
use crate::loopback::{Daemon, Guest};
use crate::portal::{FabricKind, Protocol};

use super::Failure;

mod iscsi;
mod route;

use iscsi::Iscsi;
pub(crate) use route::Route;

/// What an initiator is called that chooses itself: no hardware has it, its universal/local bit is set.
const OWN_GUID: u64 = 0x0252_0100_00de_3001;

/// A GUID that no target of our own lists.
const STRANGER_GUID: u64 = 0x0252_0200_00de_3002;

/// An iSCSI name that no target of our own lists.
const STRANGER_NAME: &str = "iqn.2026-11.io.srptgt:stranger";

#[derive(Debug, Args)]
pub(crate) struct Peer {
    /// What carries the commands: srp, iser, or tcp (iSCSI without RDMA) [default: each of them in turn; srp with
    /// --target]
    #[arg(long, value_name = "srp|iser|tcp")]
    transport: Option<Protocol>,
    /// Where the target listens [default: a target of its own on loopback; port: 5555 for srp, 3260 for iser and tcp]
    #[arg(long, value_name = "IP[:PORT]")]
    target: Option<TargetAddress>,
    /// What carries RDMA: verbs (hardware, the kernel's soft RoCE) or soft (RoCEv2 in this process) [default: verbs]
    #[arg(
        long,
        value_enum,
        value_name = "verbs|soft",
        hide_possible_values = true,
        requires = "target"
    )]
    fabric: Option<FabricKind>,
    /// Address to come from; over soft one for each session that runs at the same time [default: chosen]
    #[arg(long, value_name = "IP", value_delimiter = ',', requires = "target")]
    source: Vec<IpAddr>,
    /// LUN number
    #[arg(long, value_name = "NUMBER", default_value = "0", requires = "target")]
    lun: u8,
    /// GUID that the initiator's port goes by [default: the port's own]
    #[arg(long, value_name = "GUID", requires = "target")]
    guid: Option<Guid>,
    /// SRP: I/O controller GUID of the target port, as portal list shows it
    #[arg(long, value_name = "GUID", requires = "target")]
    ioc_guid: Option<Guid>,
    /// SRP: identifier extension of the target port [default: the I/O controller GUID]
    #[arg(long, value_name = "GUID", requires = "target")]
    id_ext: Option<Guid>,
    #[command(flatten)]
    iscsi: Iscsi,
    /// Address of the target of its own, one of 127.0.0.0/8; its initiators have the next ones
    #[arg(
        long,
        value_name = "IP",
        default_value = "127.0.0.1",
        conflicts_with = "target"
    )]
    address: Ipv4Addr,
}

/// An IP address with or without a port.
#[derive(Clone, Copy, Debug)]
struct TargetAddress {
    ip: IpAddr,
    port: Option<u16>,
}

impl TargetAddress {
    fn on(self, transport: Protocol) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(transport.usual_port()))
    }
}

impl FromStr for TargetAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            let (ip, port) = (address.ip(), Some(address.port()));
            return Ok(Self { ip, port });
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let ip = bare.parse().map_err(|_| {
            "accepted: an IP address, or one with a port, such as 10.0.0.1:5555".to_owned()
        })?;
        Ok(Self { ip, port: None })
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

    /// What carries the commands, one after another.
    pub(crate) fn transports(&self) -> Vec<Protocol> {
        match (self.transport, self.target) {
            (Some(transport), _) => vec![transport],
            (None, None) => Protocol::ALL.to_vec(),
            (None, Some(_)) => vec![Protocol::Srp],
        }
    }

    /// What was typed, for messages.
    pub(crate) fn name(&self) -> String {
        match self.target {
            Some(target) => {
                let transport = self.transport.unwrap_or(Protocol::Srp);
                format!("LUN {} of {}", self.lun, target.on(transport))
            }
            None => "a LUN in memory of a target of its own".to_owned(),
        }
    }

    /// Looks for what cannot be before anything is done: `sessions` are to run at the same time.
    ///
    /// # Errors
    /// Options that do not belong together, or are missing.
    pub(crate) fn check(&self, sessions: usize) -> Result<(), Failure> {
        let Some(_) = self.target else {
            return Ok(());
        };
        let transport = self.transport.unwrap_or(Protocol::Srp);
        self.check_options(transport)?;
        if self.fabric != Some(FabricKind::Soft) || sessions < 2 {
            return Ok(());
        }
        if self.source.len() >= sessions && self.guid.is_some() {
            return Ok(());
        }
        Err(Failure::Usage(
            format!(
                "sessions over soft need an address each to come from, and one GUID to go by: {sessions} are wanted, \
                 came {} and {}",
                match self.source.len() {
                    1 => "1 address".to_owned(),
                    count => format!("{count} addresses"),
                },
                if self.guid.is_some() { "a GUID" } else { "no GUID" }
            ),
            "name them: --guid GUID --source IP,IP,… (addresses of this machine that no other program uses for RoCE)"
                .to_owned(),
        ))
    }

    fn check_options(&self, transport: Protocol) -> Result<(), Failure> {
        let is_tcp = transport == Protocol::Tcp;
        let given = [
            (
                "--ioc-guid",
                self.ioc_guid.is_some() && transport.is_iscsi(),
            ),
            ("--id-ext", self.id_ext.is_some() && transport.is_iscsi()),
            ("--guid", self.guid.is_some() && is_tcp),
            ("--fabric", self.fabric.is_some() && is_tcp),
        ];
        let given = given.iter().find(|(_, is_wrong)| *is_wrong);
        let iscsi = self.iscsi.first_given().filter(|_| !transport.is_iscsi());
        if let Some(option) = given.map(|(option, _)| *option).or(iscsi) {
            return Err(Failure::Usage(
                format!("{option} means nothing over {transport}"),
                "leave it out, or choose by --transport srp, iser or tcp".to_owned(),
            ));
        }
        if transport == Protocol::Srp && self.ioc_guid.is_none() {
            return Err(Failure::Usage(
                "over srp a target has a name of two GUIDs, and none came".to_owned(),
                "add --ioc-guid GUID, and for srptgt --id-ext GUID, as its portal list shows them; or choose --transport iser or tcp".to_owned(),
            ));
        }
        Ok(())
    }

    /// Starts a target with a LUN of this size, unless one was named.
    pub(crate) async fn start(&self, size: ByteSize) -> Result<Option<Daemon>, Failure> {
        if !self.is_own() {
            return Ok(None);
        }
        let guest = Guest {
            guid: guid(OWN_GUID)?,
            iqn: iscsi::OWN_NAME,
        };
        let address = route::loopback(self.address, 0)?;
        let started = Daemon::start(address, size, guest).await;
        Ok(Some(started.map_err(in_the_way)?))
    }

    /// How sessions reach the target over this transport. Over iSCSI the target may be asked for its name first.
    ///
    /// # Errors
    /// The target's reason for its refusal, or what is missing here.
    pub(crate) async fn route(
        &self,
        own: Option<&Daemon>,
        transport: Protocol,
    ) -> Result<Route, Failure> {
        match (own, self.target) {
            (Some(own), _) => self.own_route(own, transport),
            (None, Some(target)) => {
                let dial = self.foreign(transport, target.on(transport)).await?;
                Ok(Route::from_given(dial, self.source.clone()))
            }
            (None, None) => Err(Failure::Usage(
                "no target is named".to_owned(),
                String::new(),
            )),
        }
    }
    async fn foreign(&self, transport: Protocol, address: SocketAddr) -> Result<Dial, Failure> {
        let from = RdmaPort {
            fabric: self.fabric.unwrap_or_default(),
            guid: self.guid,
        };
        if transport.is_iscsi() {
            let source = self.source.first().map(|ip| SocketAddr::new(*ip, 0));
            return self.iscsi.dial(transport, from, address, source).await;
        }
        let ioc_guid = self.ioc_guid.map_or(0, Guid::value);
        let port = TargetPortId {
            id_ext: self.id_ext.map_or(ioc_guid, Guid::value),
            ioc_guid,
        };
        let options = Box::new(ConnectOptions::new(address, port));
        Ok(Dial::Srp { from, options })
    }

    fn own_route(&self, own: &Daemon, transport: Protocol) -> Result<Route, Failure> {
        let (dial, stranger) = (
            own_dial(own, transport, OWN_GUID, iscsi::OWN_NAME)?,
            own_dial(own, transport, STRANGER_GUID, STRANGER_NAME)?,
        );
        Ok(Route::on_loopback(self.address, dial, stranger))
    }
}

/// An initiator of a target of our own.
fn own_dial(own: &Daemon, transport: Protocol, port: u64, name: &str) -> Result<Dial, Failure> {
    let from = RdmaPort {
        fabric: FabricKind::Soft,
        guid: Some(guid(port)?),
    };
    let address = own.address(transport);
    if transport == Protocol::Srp {
        let options = Box::new(ConnectOptions::new(address, own.port()));
        return Ok(Dial::Srp { from, options });
    }
    let login = iscsi::login(transport, name, Some(own.name()));
    let options = initiator::iscsi::ConnectOptions::new(address, login);
    Ok(iscsi::dial(transport, from, options))
}

fn guid(value: u64) -> Result<Guid, Failure> {
    let guid = Guid::new(value);
    guid.ok_or_else(|| anyhow::anyhow!("the initiator's GUID is none; please report it").into())
}

/// Two runs at a time need addresses of their own.
const OTHER_ADDRESSES: &str = "end the other program, or come from another address of this machine: --source 127.0.0.2 reaches a \
     target that runs here; a target of its own moves by --address 127.1.0.1";

fn in_the_way(error: anyhow::Error) -> Failure {
    Failure::Failed(format!("{error:#}"), OTHER_ADDRESSES.to_owned())
}

/// A login to the peer failed.
pub(crate) fn not_in(error: &ConnectError) -> Failure {
    let fix = match error {
        ConnectError::Rdma(initiator_error) if is_taken(initiator_error) => OTHER_ADDRESSES,
        ConnectError::Rdma(_) => {
            "check the address, and that the target runs; where there is no RDMA, --fabric soft and --transport tcp need none"
        }
        ConnectError::Login { .. } => {
            "check --ioc-guid, --id-ext and --guid; on srptgt, srptgt pending shows who was refused and why"
        }
        ConnectError::Iscsi(_) => {
            "check --iqn, --target-name and the CHAP options; on srptgt, srptgt pending shows who was refused and why"
        }
        _ => "",
    };
    Failure::Failed(error.to_string(), fix.to_owned())
}

fn is_taken(error: &rdma::Error) -> bool {
    matches!(error, rdma::Error::Socket { .. })
}
