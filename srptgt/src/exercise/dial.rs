//! How to reach a target: what a session is to be, and over which transport.

use std::net::SocketAddr;

use initiator::iscsi::{self, DiscoveredTarget};
use initiator::{ConnectError, ConnectOptions, ExecuteError, Nexus, Session};
use rdma::{Fabric, SoftConfig};
use transport_iser::login::SessionType;

use crate::identity::Guid;
use crate::portal::{FabricKind, Protocol};

/// What every session to a target is made from. A further transport adds a variant of its own here.
#[derive(Clone, Debug)]
pub enum Dial {
    /// SRP over RDMA-CM.
    Srp {
        /// From which port.
        from: RdmaPort,
        /// The rest.
        options: Box<ConnectOptions>,
    },
    /// iSCSI over RDMA.
    Iser {
        /// From which port.
        from: RdmaPort,
        /// The rest.
        options: Box<iscsi::ConnectOptions>,
    },
    /// iSCSI over TCP.
    Tcp {
        /// All of it.
        options: Box<iscsi::ConnectOptions>,
    },
}

/// The initiator's end of RDMA.
#[derive(Clone, Copy, Debug)]
pub struct RdmaPort {
    /// Which provider.
    pub fabric: FabricKind,
    /// What the port is called; its own GUID if none. An SRP login claims it.
    pub guid: Option<Guid>,
}

/// A thread's end of the fabric: sessions that are made from one share it, and the thread.
#[derive(Debug)]
pub struct Line {
    dial: Dial,
    /// Over TCP nothing of it is ever opened.
    fabric: Fabric,
}

/// The targets at an address are not known.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// No discovery session was made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It was not answered.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

impl Dial {
    /// What carries the session.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Srp { .. } => Protocol::Srp,
            Self::Iser { .. } => Protocol::Iser,
            Self::Tcp { .. } => Protocol::Tcp,
        }
    }

    /// Who an access list says this is.
    pub fn initiator(&self) -> String {
        match self {
            Self::Srp { from, .. } => {
                let guid = from.guid.map(|guid| guid.to_string());
                guid.unwrap_or_else(|| "the port's own GUID".to_owned())
            }
            Self::Iser { options, .. } | Self::Tcp { options } => {
                options.login.identity.initiator_name.clone()
            }
        }
    }

    /// The same from another address.
    #[must_use]
    pub fn coming_from(mut self, source: Option<SocketAddr>) -> Self {
        match &mut self {
            Self::Srp { options, .. } => options.source = source,
            Self::Iser { options, .. } | Self::Tcp { options } => options.source = source,
        }
        self
    }

    /// The same to the iSCSI target of this name. Over SRP the target's name is part of the options.
    #[must_use]
    pub fn to_target(mut self, name: &str) -> Self {
        if let Self::Iser { options, .. } | Self::Tcp { options } = &mut self {
            let identity = &mut options.login.identity;
            identity.target_name = Some(name.to_owned());
            identity.session_type = SessionType::Normal;
        }
        self
    }

    /// The same with this much memory in bytes for the data of a session's commands.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        match &mut self {
            Self::Srp { options, .. } => options.data_bytes = bytes,
            Self::Iser { options, .. } | Self::Tcp { options } => options.data_bytes = bytes,
        }
        self
    }

    /// The same with so many commands outstanding at the most, if the target agrees.
    #[must_use]
    pub fn with_outstanding(mut self, commands: usize) -> Self {
        let commands = u32::try_from(commands).unwrap_or(u32::MAX);
        match &mut self {
            Self::Srp { options, .. } => options.outstanding = commands,
            Self::Iser { options, .. } | Self::Tcp { options } => {
                options.login.outstanding = commands;
            }
        }
        self
    }

    /// The line of a thread; threads that run at the same time have different numbers. Nothing is opened yet.
    pub fn line(&self, number: u64) -> Line {
        let fabric = match self {
            Self::Srp { from, options } => from.open(options.source, number),
            Self::Iser { from, options } => from.open(options.source, number),
            Self::Tcp { .. } => Fabric::verbs(),
        };
        Line {
            dial: self.clone(),
            fabric,
        }
    }
}

impl RdmaPort {
    fn open(self, source: Option<SocketAddr>, number: u64) -> Fabric {
        match self.fabric {
            FabricKind::Verbs => Fabric::verbs(),
            FabricKind::Soft => Fabric::soft(SoftConfig {
                addresses: source.iter().map(SocketAddr::ip).collect(),
                // A connection is named by the port's GUID and its number there, so two threads are two ports. What
                // a login claims is another matter.
                port_guid: self.guid.map(|guid| guid.value() ^ number << 40),
                ..SoftConfig::default()
            }),
        }
    }
}

impl Line {
    /// Logs in as initiator port `number`, which is another I_T nexus for each number.
    ///
    /// # Errors
    /// The target's reason for its refusal, or what is missing here.
    pub fn log_in(&self, number: u64) -> Result<Box<dyn Nexus>, ConnectError> {
        self.log_in_as(&self.dial, number)
    }

    /// The same as somebody else, who comes from the same port and over the same transport.
    ///
    /// # Errors
    /// As [`Line::log_in`].
    pub fn log_in_as(&self, who: &Dial, number: u64) -> Result<Box<dyn Nexus>, ConnectError> {
        Ok(match who {
            Dial::Srp { from, options } => {
                let options = ConnectOptions {
                    initiator_guid: from.guid.map(Guid::value),
                    initiator_extension: number,
                    ..(**options).clone()
                };
                Box::new(Session::connect_on(&self.fabric, &options)?)
            }
            Dial::Iser { options, .. } => {
                let options = numbered(options, number);
                Box::new(iscsi::Session::connect_iser(&self.fabric, &options)?)
            }
            Dial::Tcp { options } => {
                Box::new(iscsi::Session::connect_tcp(&numbered(options, number))?)
            }
        })
    }

    /// The iSCSI targets at the address, if it is dialled without the name of one; none over SRP, which has no such
    /// question.
    ///
    /// # Errors
    /// The target's reason for its refusal, or what is missing here.
    pub fn discover(&self) -> Result<Vec<DiscoveredTarget>, DiscoveryError> {
        let mut session = match &self.dial {
            Dial::Srp { .. } => return Ok(Vec::new()),
            Dial::Iser { options, .. } => iscsi::Session::connect_iser(&self.fabric, options)?,
            Dial::Tcp { options } => iscsi::Session::connect_tcp(options)?,
        };
        let targets = session.discover()?;
        session.logout();
        Ok(targets)
    }
}

/// Sessions of one initiator name are told apart by their ISID, whose last bytes are the initiator's to choose (RFC
/// 7143 11.12.5).
fn numbered(options: &iscsi::ConnectOptions, number: u64) -> iscsi::ConnectOptions {
    let mut options = options.clone();
    let [.., high, low] = number.to_be_bytes();
    let [.., last_but_one, last] = &mut options.login.identity.isid;
    (*last_but_one, *last) = (high, low);
    options
}
