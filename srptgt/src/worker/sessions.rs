//! Sessions: an I_T nexus, the host that it belongs to, and its channels.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use target_core::target::{NexusId, TransportId};

use crate::access::{Admitted, Host, Identity, LoginIdentity, Vouched};

use super::latency::Latency;

/// A live session.
#[derive(Debug)]
pub(super) struct Session {
    /// Never used again.
    pub(super) id: u64,
    /// In the core.
    pub(super) nexus: NexusId,
    /// The initiator port: a target port has one nexus with each.
    pub(super) port: TransportId,
    /// iSCSI's number for it; 0 for SRP.
    pub(super) tsih: u16,
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

/// All sessions, by initiator port: a target port has one nexus with each.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_id: BTreeMap<u64, Session>,
    by_port: HashMap<TransportId, u64>,
    last_id: u64,
    last_tsih: u16,
}

impl Sessions {
    /// Opens one without connections; gives its number.
    pub(super) fn open(
        &mut self,
        nexus: NexusId,
        port: TransportId,
        login: LoginIdentity,
        admitted: Admitted,
    ) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.by_port.insert(port.clone(), id);
        let session = Session {
            id,
            nexus,
            port,
            tsih: 0,
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
    pub(super) fn of_port(&self, port: &TransportId) -> Option<&Session> {
        self.by_port.get(port).and_then(|id| self.by_id.get(id))
    }

    /// The session with this TSIH.
    pub(super) fn of_tsih(&self, tsih: u16) -> Option<&Session> {
        self.iter().find(|session| session.tsih == tsih)
    }

    /// A TSIH that no session has. None is in use for long after its session: numbers go round.
    pub(super) fn free_tsih(&mut self) -> u16 {
        loop {
            self.last_tsih = self.last_tsih.wrapping_add(1);
            // There are far fewer sessions than numbers.
            if self.last_tsih != 0 && self.of_tsih(self.last_tsih).is_none() {
                return self.last_tsih;
            }
        }
    }

    /// Ends one.
    pub(super) fn close(&mut self, id: u64) -> Option<Session> {
        let session = self.by_id.remove(&id)?;
        if self.by_port.get(&session.port) == Some(&id) {
            self.by_port.remove(&session.port);
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
