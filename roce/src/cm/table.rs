//! All connections of a node, by local communication id and by what the peer calls them.

use std::collections::BTreeMap;

use super::connection::{Connection, ConnectionId, Phase, Terms};
use crate::qp::Path;

/// Index bits of a communication id; the rest is a generation.
const INDEX_BITS: u32 = 16;

/// Connections in slots that are used again. Ids are masked with a secret so that a stranger cannot guess them.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    mask: u32,
    limit: usize,
    by_peer_id: BTreeMap<(u64, u32), ConnectionId>,
    by_peer_qp: BTreeMap<(u64, u32), ConnectionId>,
    half_open: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

impl Table {
    pub(crate) fn new(mask: u32, limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            mask,
            limit: limit.min(1 << INDEX_BITS),
            by_peer_id: BTreeMap::new(),
            by_peer_qp: BTreeMap::new(),
            half_open: 0,
        }
    }

    /// A new connection, unless there are too many.
    pub(crate) fn insert(
        &mut self,
        phase: Phase,
        path: Path,
        terms: Terms,
    ) -> Option<&mut Connection> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.limit => {
                self.slots.push(Slot {
                    generation: 0,
                    connection: None,
                });
                u32::try_from(self.slots.len() - 1).ok()?
            }
            None => return None,
        };
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        slot.generation = slot.generation.wrapping_add(1) & ((1 << INDEX_BITS) - 1);
        let id = ConnectionId((slot.generation << INDEX_BITS | index) ^ self.mask);
        let connection = Connection::new(id, phase, path, terms);
        Some(slot.connection.insert(Box::new(connection)))
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let slot = self.slots.get(self.index(id)?)?;
        slot.connection
            .as_deref()
            .filter(|connection| connection.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let index = self.index(id)?;
        let slot = self.slots.get_mut(index)?;
        slot.connection
            .as_deref_mut()
            .filter(|connection| connection.id == id)
    }

    fn index(&self, id: ConnectionId) -> Option<usize> {
        usize::try_from((id.0 ^ self.mask) & ((1 << INDEX_BITS) - 1)).ok()
    }

    /// Makes the connection findable by what the peer calls it. The peer must be known.
    pub(crate) fn index_peer(&mut self, id: ConnectionId) {
        let Some(peer) = self.get(id).map(|connection| connection.peer) else {
            return;
        };
        self.by_peer_id.insert((peer.ca_guid, peer.id), id);
        self.by_peer_qp.insert((peer.ca_guid, peer.qpn), id);
    }

    pub(crate) fn find_by_peer_id(&self, ca_guid: u64, id: u32) -> Option<ConnectionId> {
        self.by_peer_id.get(&(ca_guid, id)).copied()
    }

    pub(crate) fn find_by_peer_qp(&self, ca_guid: u64, qpn: u32) -> Option<ConnectionId> {
        self.by_peer_qp.get(&(ca_guid, qpn)).copied()
    }

    /// The connection is over: the peer may use its queue pair number again.
    pub(crate) fn release_peer_qp(&mut self, id: ConnectionId) {
        if let Some(peer) = self.get(id).map(|connection| connection.peer) {
            remove_if(&mut self.by_peer_qp, (peer.ca_guid, peer.qpn), id);
        }
    }

    /// Forgets a connection.
    pub(crate) fn remove(&mut self, id: ConnectionId) {
        let Some(index) = self.index(id) else { return };
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let Some(connection) = slot.connection.take_if(|connection| connection.id == id) else {
            return;
        };
        let peer = connection.peer;
        remove_if(&mut self.by_peer_id, (peer.ca_guid, peer.id), id);
        remove_if(&mut self.by_peer_qp, (peer.ca_guid, peer.qpn), id);
        self.free.extend(u32::try_from(index));
    }

    /// Connections that a stranger can make: asked for and not yet confirmed by a message to our own id.
    pub(crate) fn half_open(&self) -> usize {
        self.half_open
    }

    pub(crate) fn begin_half_open(&mut self) {
        self.half_open += 1;
    }

    pub(crate) fn end_half_open(&mut self) {
        self.half_open = self.half_open.saturating_sub(1);
    }
}

fn remove_if(map: &mut BTreeMap<(u64, u32), ConnectionId>, key: (u64, u32), id: ConnectionId) {
    if map.get(&key) == Some(&id) {
        map.remove(&key);
    }
}
