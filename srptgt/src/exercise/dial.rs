//! How to reach a target: what a session is to be, and over which transport.

use std::net::{IpAddr, SocketAddr};

use initiator::{ConnectError, ConnectOptions, Nexus, Session, iscsi};
use rdma::{Fabric, SoftConfig};
use transport_iser::login::Datamover;

use crate::identity::Guid;
use crate::portal::FabricKind;

/// What every session to a target is made from. A further transport adds a variant of its own here.
#[derive(Clone, Debug)]
pub enum Dial {
    /// SRP over RDMA-CM.
    Srp {
        /// Which provider.
        fabric: FabricKind,
        /// What the initiator port is called; its own GUID if none.
        guid: Option<Guid>,
        /// The rest.
        options: ConnectOptions,
    },
    /// iSCSI, over TCP or over RDMA (iSER).
    Iscsi {
        /// Which provider; TCP has none.
        fabric: FabricKind,
        /// What the RDMA port is called over the soft fabric; a random GUID if none.
        guid: Option<Guid>,
        /// The rest.
        options: Box<iscsi::ConnectOptions>,
    },
}

/// A thread's end of the fabric: sessions that are made from one share it, and the thread.
#[derive(Debug)]
pub struct Line {
    dial: Dial,
    fabric: Fabric,
}

impl Dial {
    /// The same from another address.
    #[must_use]
    pub fn coming_from(mut self, source: Option<SocketAddr>) -> Self {
        match &mut self {
            Self::Srp { options, .. } => options.source = source,
            Self::Iscsi { options, .. } => options.source = source,
        }
        self
    }

    /// The same with this much memory in bytes for the data of a session's commands.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        match &mut self {
            Self::Srp { options, .. } => options.data_bytes = bytes,
            Self::Iscsi { options, .. } => options.data_bytes = bytes,
        }
        self
    }

    /// The same with so many commands outstanding at the most, if the target agrees.
    #[must_use]
    pub fn with_outstanding(mut self, commands: usize) -> Self {
        let commands = u32::try_from(commands).unwrap_or(u32::MAX);
        match &mut self {
            Self::Srp { options, .. } => options.outstanding = commands,
            Self::Iscsi { options, .. } => options.login.outstanding = commands,
        }
        self
    }

    /// The line of a thread; threads that run at the same time have different numbers. Nothing is opened yet.
    pub fn line(&self, number: u64) -> Line {
        let (fabric, guid, source) = match self {
            Self::Srp {
                fabric,
                guid,
                options,
            } => (fabric, guid, options.source),
            Self::Iscsi {
                fabric,
                guid,
                options,
            } => (fabric, guid, options.source),
        };
        Line {
            dial: self.clone(),
            fabric: match fabric {
                FabricKind::Verbs => Fabric::verbs(),
                FabricKind::Soft => soft(source.map(|source| source.ip()), *guid, number),
            },
        }
    }
}

fn soft(source: Option<IpAddr>, guid: Option<Guid>, number: u64) -> Fabric {
    Fabric::soft(SoftConfig {
        addresses: source.into_iter().collect(),
        // A connection is named by the port's GUID and its number there, so two threads are two ports. What
        // a login claims is another matter.
        port_guid: guid.map(|guid| guid.value() ^ number << 40),
        ..SoftConfig::default()
    })
}

impl Line {
    /// Logs in as initiator port `number`, which is another I_T nexus for each number.
    ///
    /// # Errors
    /// The target's reason for its refusal, or what is missing here.
    pub fn log_in(&self, number: u64) -> Result<Box<dyn Nexus>, ConnectError> {
        match &self.dial {
            Dial::Srp { guid, options, .. } => self.log_in_srp(options, *guid, number),
            Dial::Iscsi { options, .. } => self.log_in_iscsi(options, number),
        }
    }

    /// The same as somebody else: under another GUID, over iSCSI under a name that is made of it.
    ///
    /// # Errors
    /// As [`Line::log_in`].
    pub fn log_in_as(&self, guid: Guid, number: u64) -> Result<Box<dyn Nexus>, ConnectError> {
        match &self.dial {
            Dial::Srp { options, .. } => self.log_in_srp(options, Some(guid), number),
            Dial::Iscsi { options, .. } => {
                let mut options = options.clone();
                let name = &mut options.login.identity.initiator_name;
                *name = format!("{name}.{:016x}", guid.value());
                self.log_in_iscsi(&options, number)
            }
        }
    }

    fn log_in_srp(
        &self,
        options: &ConnectOptions,
        guid: Option<Guid>,
        number: u64,
    ) -> Result<Box<dyn Nexus>, ConnectError> {
        let options = ConnectOptions {
            initiator_guid: guid.map(Guid::value),
            initiator_extension: number,
            ..options.clone()
        };
        Ok(Box::new(Session::connect_on(&self.fabric, &options)?))
    }

    fn log_in_iscsi(
        &self,
        options: &iscsi::ConnectOptions,
        number: u64,
    ) -> Result<Box<dyn Nexus>, ConnectError> {
        let mut options = options.clone();
        let [.., a, b, c] = number.to_be_bytes();
        // An identifier of the random kind (RFC 7143 11.12.5), another one for each number.
        options.login.identity.isid = [0x80, 0, 0, a, b, c];
        Ok(Box::new(match options.login.limits.datamover {
            Datamover::Tcp => iscsi::Session::connect_tcp(&options)?,
            Datamover::Iser => iscsi::Session::connect_iser(&self.fabric, &options)?,
        }))
    }
}
