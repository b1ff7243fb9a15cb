//! How to reach a target: what a session is to be, and over which transport.

use std::net::SocketAddr;

use initiator::{ConnectError, ConnectOptions, Nexus, Session};
use rdma::{Fabric, SoftConfig};

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
        let Self::Srp { options, .. } = &mut self;
        options.source = source;
        self
    }

    /// The same with this much memory in bytes for the data of a session's commands.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        let Self::Srp { options, .. } = &mut self;
        options.data_bytes = bytes;
        self
    }

    /// The same with so many commands outstanding at the most, if the target agrees.
    #[must_use]
    pub fn with_outstanding(mut self, commands: usize) -> Self {
        let Self::Srp { options, .. } = &mut self;
        options.outstanding = u32::try_from(commands).unwrap_or(u32::MAX);
        self
    }

    /// The line of a thread; threads that run at the same time have different numbers. Nothing is opened yet.
    pub fn line(&self, number: u64) -> Line {
        let Self::Srp {
            fabric,
            guid,
            options,
        } = self;
        Line {
            dial: self.clone(),
            fabric: match fabric {
                FabricKind::Verbs => Fabric::verbs(),
                FabricKind::Soft => Fabric::soft(SoftConfig {
                    addresses: options.source.iter().map(|source| source.ip()).collect(),
                    // A connection is named by the port's GUID and its number there, so two threads are two ports. What
                    // a login claims is another matter.
                    port_guid: guid.map(|guid| guid.value() ^ number << 40),
                    ..SoftConfig::default()
                }),
            },
        }
    }
}

impl Line {
    /// Logs in as initiator port `number`, which is another I_T nexus for each number.
    ///
    /// # Errors
    /// The target's reason for its refusal, or what is missing here.
    pub fn log_in(&self, number: u64) -> Result<Box<dyn Nexus>, ConnectError> {
        let Dial::Srp { guid, .. } = &self.dial;
        self.log_in_as(*guid, number)
    }

    /// The same under another GUID.
    ///
    /// # Errors
    /// As [`Line::log_in`].
    pub fn log_in_as(
        &self,
        guid: Option<Guid>,
        number: u64,
    ) -> Result<Box<dyn Nexus>, ConnectError> {
        let Dial::Srp { options, .. } = &self.dial;
        let options = ConnectOptions {
            initiator_guid: guid.map(Guid::value),
            initiator_extension: number,
            ..options.clone()
        };
        Ok(Box::new(Session::connect_on(&self.fabric, &options)?))
    }
}
