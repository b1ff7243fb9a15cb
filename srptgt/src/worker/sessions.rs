//! Sessions: an I_T nexus, the host that it belongs to, and its channels.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use target_core::target::NexusId;

use crate::access::{Admitted, Host, Identity, LoginIdentity, Vouched};

use super::latency::Latency;

/// A live session.
#[derive(Debug)]
pub(super) struct Session {
    /// Never used again.
    pub(super) id: u64,
    /// In the core.
    pub(super) nexus: NexusId,
    /// Whose.
    pub(super) host: Arc<Host>,
    /// The identity that admitted it.
    pub(super) by: Identity,
    /// Who says so.
    pub(super) vouched: Vouched,
    /// What the first login showed.
    pub(super) login: LoginIdentity,
    /// When it logged in.
    pub(super) since: SystemTime,
    /// Numbers of its connections.
    pub(super) connections: Vec<u32>,
    /// By logical unit number; grows at the first command for a number.
    latencies: Vec<Option<Latency>>,
}

impl Session {
    /// Counts a finished command for a logical unit.
    pub(super) fn record(&mut self, lun: u8, taken: Duration) {
        let index = usize::from(lun);
        if self.latencies.len() <= index {
            self.latencies.resize_with(index + 1, || None);
        }
        if let Some(latency) = self.latencies.get_mut(index) {
            latency.get_or_insert_with(Latency::new).record(taken);
        }
    }

    /// Latency of a logical unit, when there was a command.
    pub(super) fn latency(&self, lun: u8) -> Option<&Latency> {
        self.latencies.get(usize::from(lun))?.as_ref()
    }
}

/// All sessions. SRP names them by initiator port identifier: a target port has one nexus with each.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_id: BTreeMap<u64, Session>,
    by_port: HashMap<[u8; 16], u64>,
    last_id: u64,
}

impl Sessions {
    /// Opens one without connections; gives its number.
    pub(super) fn open(&mut self, nexus: NexusId, login: LoginIdentity, admitted: Admitted) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        if let Some(port) = login.initiator_port_id() {
            self.by_port.insert(port.0, id);
        }
        let session = Session {
            id,
            nexus,
            host: admitted.host,
            by: admitted.by,
            vouched: admitted.vouched,
            login,
            since: SystemTime::now(),
            connections: Vec::new(),
            latencies: Vec::new(),
        };
        self.by_id.insert(id, session);
        id
    }

    /// The session with this number.
    pub(super) fn get(&self, id: u64) -> Option<&Session> {
        self.by_id.get(&id)
    }

    /// The session with this number.
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    /// The session of an initiator port.
    pub(super) fn of_port(&self, initiator_port_id: &[u8; 16]) -> Option<&Session> {
        self.by_port
            .get(initiator_port_id)
            .and_then(|id| self.by_id.get(id))
    }

    /// Ends one.
    pub(super) fn close(&mut self, id: u64) -> Option<Session> {
        let session = self.by_id.remove(&id)?;
        if let Some(port) = session.login.initiator_port_id()
            && self.by_port.get(&port.0) == Some(&id)
        {
            self.by_port.remove(&port.0);
        }
        Some(session)
    }

    /// All of them, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.by_id.values()
    }

    /// All of them, oldest first.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.by_id.values_mut()
    }
}
