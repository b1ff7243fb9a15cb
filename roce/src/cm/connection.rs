//! One connection: its phase, its peer, and the message that is repeated until it is answered.

use super::message::{Ids, MAD_LEN, Mad, Message, Req};
use crate::packet::timeout_us;
use crate::psn::Psn;
use crate::qp::{Path, PathMtu};
use crate::work::QueuePairNumber;

/// Exponent of the longest time that a peer may ask for at once: 69 s.
const MAX_SERVICE_TIMEOUT: u8 = 24;

/// A connection's local communication id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// Where a connection is in its life (IBTA 12.9.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Active: the REQ is out.
    ReqSent,
    /// Passive: the consumer has to decide.
    ReqReceived,
    /// Passive: the REP is out.
    RepSent,
    /// Both sides know.
    Established,
    /// The DREQ is out.
    DreqSent,
    /// Over, but late packets may still come.
    TimeWait,
}

/// What the connection was agreed on with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) path_mtu: PathMtu,
    /// What this side expects first.
    pub(crate) starting_psn: Psn,
    pub(crate) ack_timeout: u8,
    pub(crate) retry_count: u8,
    pub(crate) rnr_retry: u8,
    pub(crate) responder_resources: u8,
    pub(crate) initiator_depth: u8,
}

/// The other side, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) id: u32,
    pub(crate) ca_guid: u64,
    pub(crate) qpn: u32,
}

/// A message that is sent again until an answer comes.
#[derive(Clone, Debug)]
struct Repeated {
    mad: Box<[u8; MAD_LEN]>,
    wait_us: u64,
    left: u8,
    /// The peer has asked for patience since it was last sent.
    postponed: bool,
}

/// A connection.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) phase: Phase,
    pub(crate) path: Path,
    pub(crate) qp: Option<QueuePairNumber>,
    pub(crate) peer: Peer,
    /// What the peer expects first.
    pub(crate) peer_psn: Psn,
    pub(crate) terms: Terms,
    pub(crate) transaction_id: u64,
    pub(crate) deadline_us: Option<u64>,
    repeated: Option<Repeated>,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, phase: Phase, path: Path, terms: Terms) -> Self {
        Self {
            id,
            phase,
            path,
            qp: None,
            peer: Peer::default(),
            peer_psn: Psn::default(),
            terms,
            transaction_id: u64::from(id.0) << 32,
            deadline_us: None,
            repeated: None,
        }
    }

    /// What a REQ says about its sender.
    pub(crate) fn learn(&mut self, transaction_id: u64, req: &Req) {
        self.transaction_id = transaction_id;
        self.peer = Peer {
            id: req.local_id,
            ca_guid: req.ca_guid,
            qpn: req.qpn,
        };
        self.peer_psn = req.starting_psn;
    }

    pub(crate) fn ids(&self) -> Ids {
        Ids {
            local: self.id.0,
            remote: self.peer.id,
        }
    }

    pub(crate) fn mad(&self, message: Message) -> [u8; MAD_LEN] {
        Mad {
            transaction_id: self.transaction_id,
            message,
        }
        .emit()
    }

    /// Sends nothing itself: remembers what to repeat, how often, and when for the first time.
    pub(crate) fn repeat(&mut self, mad: [u8; MAD_LEN], wait_us: u64, times: u8, now_us: u64) {
        self.deadline_us = Some(now_us + wait_us);
        self.repeated = Some(Repeated {
            mad: Box::new(mad),
            wait_us,
            left: times,
            postponed: false,
        });
    }

    /// The message to send again; `None` when it was sent often enough.
    pub(crate) fn next_repeat(&mut self, now_us: u64) -> Option<[u8; MAD_LEN]> {
        let repeated = self.repeated.as_mut()?;
        repeated.left = repeated.left.checked_sub(1)?;
        repeated.postponed = false;
        self.deadline_us = Some(now_us + repeated.wait_us);
        Some(*repeated.mad)
    }

    /// What was sent last, when a duplicate shows that it was lost.
    pub(crate) fn last_sent(&self) -> Option<[u8; MAD_LEN]> {
        self.repeated.as_ref().map(|repeated| *repeated.mad)
    }

    /// The answer has come.
    pub(crate) fn stop_repeating(&mut self) {
        self.repeated = None;
        self.deadline_us = None;
    }

    /// The peer asks for patience: granted once per repetition, within reason. False when nothing has changed.
    pub(crate) fn postpone(&mut self, service_timeout: u8, now_us: u64) -> bool {
        let Some(repeated) = self
            .repeated
            .as_mut()
            .filter(|repeated| !repeated.postponed)
        else {
            return false;
        };
        repeated.postponed = true;
        let wait = timeout_us(service_timeout.min(MAX_SERVICE_TIMEOUT)).unwrap_or(0);
        self.deadline_us = Some(now_us + wait + repeated.wait_us);
        true
    }

    /// The end: late packets are waited out for two lifetimes.
    pub(crate) fn enter_time_wait(&mut self, now_us: u64) {
        self.phase = Phase::TimeWait;
        self.repeated = None;
        let wait = timeout_us(self.terms.ack_timeout).unwrap_or(0);
        self.deadline_us = Some(now_us + 2 * wait);
    }
}
