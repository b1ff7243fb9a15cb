//! Connection management on queue pair 1 (IBTA chapter 12), as Linux `ib_cm` and `rdma_cm` speak it.
//!
//! Active: REQ, wait for REP, make the queue pair ready, RTU. Passive: REQ, ask the consumer, make the queue pair
//! ready, REP, wait for RTU or for the first packet on the queue pair. Either: DREQ, DREP, time-wait. Alternate
//! paths (LAP) and service id resolution (SIDR) are refused.
//!
//! A stranger's datagram costs at most one half-open connection, and those are bounded; every other answer is
//! stateless, no longer than the question, and leaves through a bounded queue.

mod connection;
mod message;
mod private_data;
mod table;

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

pub use connection::ConnectionId;
use connection::{Connection, Peer, Phase, Terms};
pub use message::{Answered, Ids, MAD_LEN, Mad, MadError, Message, Rej, RejectReason, Rep, Req};
pub use private_data::{
    PrivateData, RDMA_CM_HEADER_LEN, REJ_PRIVATE_DATA_LEN, REP_PRIVATE_DATA_LEN,
    REQ_PRIVATE_DATA_LEN, RdmaCmHeader, gid, tcp_service_id,
};
use table::Table;

use crate::packet::{DEFAULT_P_KEY, timeout_us};
use crate::psn::Psn;
use crate::qp::{Path, PathMtu, RtrAttributes, RtsAttributes};
use crate::scramble;
use crate::statistics::Statistics;
use crate::work::QueuePairNumber;

/// How connections are made.
#[derive(Clone, Copy, Debug)]
pub struct CmConfig {
    /// Node GUID: EUI-64 of the interface as Linux derives it, or configured.
    pub ca_guid: u64,
    /// Largest path MTU that the interface carries.
    pub max_mtu: PathMtu,
    /// Exponent of the time after which a message is repeated.
    pub response_timeout: u8,
    /// How often a message is repeated, at most 15.
    pub max_retries: u8,
    /// Exponent of the local acknowledge timeout that this side's queue pairs begin with; it doubles with every retry.
    /// The peer is asked to use that of Linux, 537 ms.
    pub ack_timeout: u8,
    /// Retries of new connections, at most 7.
    pub retry_count: u8,
    /// RNR retries that the peer should make, 7 for ever.
    pub rnr_retry: u8,
    /// Code of the wait that RNR NAKs ask for.
    pub min_rnr_timer: u8,
    /// Connections at a time.
    pub max_connections: usize,
    /// Connections at a time that a peer has asked for and not confirmed.
    pub max_half_open: usize,
}

impl Default for CmConfig {
    fn default() -> Self {
        Self {
            ca_guid: 1,
            max_mtu: PathMtu::Mtu1024,
            response_timeout: 17,
            max_retries: 15,
            ack_timeout: 14,
            retry_count: 7,
            rnr_retry: 7,
            min_rnr_timer: 12,
            max_connections: 4096,
            max_half_open: 128,
        }
    }
}

/// How long a consumer may think about a connection request.
const DECISION_US: u64 = 60_000_000;

/// MADs waiting to be sent; more are dropped, which costs the peer a repetition.
const MAX_OUTGOING: usize = 512;

/// Exponent of the time that an MRA asks for: 4 s (as Linux does).
const MRA_SERVICE_TIMEOUT: u8 = 20;

/// Exponent of the local acknowledge timeout that the peer is asked to use: 537 ms, as Linux does. rxe does not wind
/// its timer up when an acknowledge comes, so a short one makes it repeat what has long arrived.
const ANNOUNCED_ACK_TIMEOUT: u8 = 17;

/// Exponent of the delay of acknowledges that a REP announces, as rxe does.
const ACK_DELAY: u8 = 15;

const SIDR_UNSUPPORTED: u8 = 1;
const APR_UNSUPPORTED: u8 = 2;
const RELIABLE_CONNECTION: u8 = 0;

/// A peer wants to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// For the answer.
    pub connection: ConnectionId,
    /// Which listener.
    pub service_id: u64,
    /// Between which addresses.
    pub path: Path,
    /// Who, in RDMA-CM's words; `None` when the private data does not begin with its header.
    pub rdma_cm: Option<RdmaCmHeader>,
    /// The peer's node GUID, self-declared.
    pub ca_guid: u64,
    /// RDMA READs at a time that the peer will issue.
    pub responder_resources: u8,
    /// RDMA READs at a time that the peer will answer.
    pub initiator_depth: u8,
    /// The consumer's part of the private data.
    pub private_data: PrivateData,
}

/// Something that the consumer should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "rare, and moved once")]
pub enum Event {
    /// A peer wants to connect: accept or reject.
    ConnectRequest(ConnectRequest),
    /// The connection stands, and the queue pair is ready.
    Connected {
        /// Which.
        connection: ConnectionId,
        /// Its queue pair.
        qp: QueuePairNumber,
        /// RDMA READs at a time that the peer answers.
        initiator_depth: u8,
        /// From the REP or RTU.
        private_data: PrivateData,
    },
    /// The peer refused.
    Rejected {
        /// Which.
        connection: ConnectionId,
        /// Its queue pair, when it had one.
        qp: Option<QueuePairNumber>,
        /// Why.
        reason: RejectReason,
        /// The consumer's words.
        private_data: PrivateData,
    },
    /// The peer does not answer, or the consumer did not decide in time.
    Unreachable {
        /// Which.
        connection: ConnectionId,
        /// Its queue pair, when it had one.
        qp: Option<QueuePairNumber>,
    },
    /// The connection is over; its queue pair is in the error state.
    Disconnected {
        /// Which.
        connection: ConnectionId,
        /// Its queue pair.
        qp: Option<QueuePairNumber>,
    },
    /// A queue pair failed on its own. Its connection still stands, and should be ended.
    QueuePairError(QueuePairNumber),
    /// Nothing of a draining send queue is on its way any more.
    SendQueueDrained(QueuePairNumber),
}

/// Why a connection management call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CmError {
    /// Unknown, or over.
    #[error("no connection of that id")]
    Unknown,
    /// Not now.
    #[error("the connection is not waiting for that call")]
    Phase,
    /// Too many connections.
    #[error("as many connections as are allowed exist already")]
    Full,
    /// More than the message has room for.
    #[error("{got} bytes of private data, at most {limit}")]
    PrivateData {
        /// Bytes.
        got: usize,
        /// Room.
        limit: usize,
    },
    /// The queue pair is not fresh.
    #[error("the queue pair does not exist or has been connected before")]
    QueuePair,
}

/// What a caller wants of a new connection.
#[derive(Clone, Copy, Debug)]
pub struct Connect<'a> {
    /// Between which addresses.
    pub path: Path,
    /// Who should answer, see [`tcp_service_id`].
    pub service_id: u64,
    /// The source port that RDMA-CM shows; `None` leaves its header out.
    pub rdma_cm_port: Option<u16>,
    /// Largest payload per packet.
    pub path_mtu: PathMtu,
    /// RDMA READs at a time that this side answers.
    pub responder_resources: u8,
    /// RDMA READs at a time that this side issues.
    pub initiator_depth: u8,
    /// For the peer's consumer: 56 bytes with the RDMA-CM header, 92 without.
    pub private_data: &'a [u8],
}

/// What a listener grants.
#[derive(Clone, Copy, Debug)]
pub struct Accept<'a> {
    /// RDMA READs at a time that this side answers.
    pub responder_resources: u8,
    /// RDMA READs at a time that this side issues.
    pub initiator_depth: u8,
    /// For the peer's consumer, up to 196 bytes.
    pub private_data: &'a [u8],
}

/// What the node has to do to queue pairs.
#[derive(Debug)]
pub(crate) enum Step {
    /// To RTR and RTS.
    MakeReady(QueuePairNumber, RtrAttributes, RtsAttributes),
    /// To the error state.
    Fail(QueuePairNumber),
    /// Tell the consumer.
    Tell(Event),
}

/// A MAD on its way out.
#[derive(Debug)]
pub(crate) struct OutgoingMad {
    pub(crate) path: Path,
    pub(crate) mad: [u8; MAD_LEN],
}

/// All of a node's connection management.
#[derive(Debug)]
pub(crate) struct ConnectionManager {
    config: CmConfig,
    listeners: BTreeSet<u64>,
    table: Table,
    random: u64,
    outgoing: VecDeque<OutgoingMad>,
    steps: VecDeque<Step>,
    /// Connections whose deadline has changed, for the node's timer.
    touched: Vec<(ConnectionId, u64)>,
}

impl ConnectionManager {
    pub(crate) fn new(config: CmConfig, secret: u64) -> Self {
        let random = scramble(secret);
        let [a, b, c, d, ..] = random.to_le_bytes();
        Self {
            config,
            listeners: BTreeSet::new(),
            table: Table::new(u32::from_le_bytes([a, b, c, d]), config.max_connections),
            random: scramble(random),
            outgoing: VecDeque::new(),
            steps: VecDeque::new(),
            touched: Vec::new(),
        }
    }

    /// False when somebody listens there already.
    pub(crate) fn listen(&mut self, service_id: u64) -> bool {
        self.listeners.insert(service_id)
    }

    /// False when nobody listened.
    pub(crate) fn stop_listening(&mut self, service_id: u64) -> bool {
        self.listeners.remove(&service_id)
    }

    pub(crate) fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    pub(crate) fn poll_outgoing(&mut self) -> Option<OutgoingMad> {
        self.outgoing.pop_front()
    }

    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Deadlines that were set since the last call.
    pub(crate) fn poll_deadline(&mut self) -> Option<(ConnectionId, u64)> {
        self.touched.pop()
    }

    pub(crate) fn deadline_us(&self, id: ConnectionId) -> Option<u64> {
        self.table.get(id)?.deadline_us
    }

    fn random_psn(&mut self) -> Psn {
        self.random = scramble(self.random);
        let [a, b, c, ..] = self.random.to_be_bytes();
        Psn::new(u32::from_be_bytes([0, a, b, c]))
    }

    fn send(&mut self, path: Path, mad: [u8; MAD_LEN], statistics: &mut Statistics) {
        if self.outgoing.len() < MAX_OUTGOING {
            self.outgoing.push_back(OutgoingMad { path, mad });
        } else {
            statistics.cm_dropped += 1;
        }
    }

    /// Sends a message of this connection and repeats it until something stops that.
    fn send_repeatedly(
        &mut self,
        id: ConnectionId,
        message: Message,
        now_us: u64,
        statistics: &mut Statistics,
    ) {
        let wait = timeout_us(self.config.response_timeout).unwrap_or(DECISION_US);
        let times = self.config.max_retries.min(15);
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        let mad = connection.mad(message);
        connection.repeat(mad, wait, times, now_us);
        let path = connection.path;
        self.send(path, mad, statistics);
        self.touch(id);
    }

    fn touch(&mut self, id: ConnectionId) {
        let deadline = self.deadline_us(id);
        self.touched.extend(deadline.map(|deadline| (id, deadline)));
    }

    fn tell(&mut self, event: Event) {
        self.steps.push_back(Step::Tell(event));
    }

    /// Asks a peer for a connection.
    pub(crate) fn connect(
        &mut self,
        qp: QueuePairNumber,
        connect: &Connect<'_>,
        now_us: u64,
        statistics: &mut Statistics,
    ) -> Result<ConnectionId, CmError> {
        let private_data = request_private_data(connect)?;
        let terms = Terms {
            path_mtu: connect.path_mtu.min(self.config.max_mtu),
            starting_psn: self.random_psn(),
            ack_timeout: self.config.ack_timeout,
            retry_count: self.config.retry_count,
            rnr_retry: self.config.rnr_retry,
            responder_resources: connect.responder_resources,
            initiator_depth: connect.initiator_depth,
        };
        let inserted = self.table.insert(Phase::ReqSent, connect.path, terms);
        let connection = inserted.ok_or(CmError::Full)?;
        connection.qp = Some(qp);
        let id = connection.id;
        let req = request(&self.config, id, qp, connect, &terms, private_data);
        self.send_repeatedly(id, Message::Req(req), now_us, statistics);
        Ok(id)
    }

    /// Grants what a peer asked for.
    pub(crate) fn accept(
        &mut self,
        id: ConnectionId,
        qp: QueuePairNumber,
        accept: &Accept<'_>,
        now_us: u64,
        statistics: &mut Statistics,
    ) -> Result<(), CmError> {
        check_private_data(accept.private_data, REP_PRIVATE_DATA_LEN)?;
        let config = self.config;
        let connection = self.table.get_mut(id).ok_or(CmError::Unknown)?;
        if connection.phase != Phase::ReqReceived {
            return Err(CmError::Phase);
        }
        let terms = &mut connection.terms;
        terms.responder_resources = terms.responder_resources.min(accept.responder_resources);
        terms.initiator_depth = terms.initiator_depth.min(accept.initiator_depth);
        connection.phase = Phase::RepSent;
        connection.qp = Some(qp);
        let rep = Rep {
            ids: connection.ids(),
            qpn: qp.0,
            starting_psn: connection.terms.starting_psn,
            responder_resources: connection.terms.responder_resources,
            initiator_depth: connection.terms.initiator_depth,
            ack_delay: ACK_DELAY,
            flow_control: false,
            rnr_retry: config.rnr_retry,
            srq: false,
            ca_guid: config.ca_guid,
            private_data: PrivateData::of(accept.private_data),
        };
        let step = make_ready(connection, qp, config.min_rnr_timer);
        self.steps.push_back(step);
        self.send_repeatedly(id, Message::Rep(rep), now_us, statistics);
        Ok(())
    }

    /// Refuses what a peer asked for.
    pub(crate) fn reject(
        &mut self,
        id: ConnectionId,
        reason: RejectReason,
        private_data: &[u8],
        statistics: &mut Statistics,
    ) -> Result<(), CmError> {
        check_private_data(private_data, REJ_PRIVATE_DATA_LEN)?;
        let connection = self.table.get(id).ok_or(CmError::Unknown)?;
        if connection.phase != Phase::ReqReceived {
            return Err(CmError::Phase);
        }
        let rej = Rej {
            // The peer never learnt our id, and Linux sends 0 here.
            ids: Ids {
                local: 0,
                remote: connection.peer.id,
            },
            answered: Answered::Req,
            reason,
            additional: 0,
            private_data: PrivateData::of(private_data),
        };
        let (path, mad) = (connection.path, connection.mad(Message::Rej(rej)));
        self.send(path, mad, statistics);
        self.table.end_half_open();
        self.table.remove(id);
        Ok(())
    }

    /// Asks the peer for more time to decide.
    pub(crate) fn delay(
        &mut self,
        id: ConnectionId,
        statistics: &mut Statistics,
    ) -> Result<(), CmError> {
        let connection = self.table.get(id).ok_or(CmError::Unknown)?;
        if connection.phase != Phase::ReqReceived {
            return Err(CmError::Phase);
        }
        let mra = Message::Mra {
            ids: connection.ids(),
            answered: Answered::Req,
            service_timeout: MRA_SERVICE_TIMEOUT,
        };
        let (path, mad) = (connection.path, connection.mad(mra));
        self.send(path, mad, statistics);
        Ok(())
    }

    /// Ends a connection that stands, or is about to.
    pub(crate) fn disconnect(
        &mut self,
        id: ConnectionId,
        now_us: u64,
        statistics: &mut Statistics,
    ) -> Result<(), CmError> {
        let connection = self.table.get_mut(id).ok_or(CmError::Unknown)?;
        match connection.phase {
            Phase::Established | Phase::RepSent => {}
            Phase::ReqSent => {
                self.give_up(id, now_us, statistics);
                return Ok(());
            }
            Phase::ReqReceived => return Err(CmError::Phase),
            Phase::DreqSent | Phase::TimeWait => return Ok(()),
        }
        if connection.phase == Phase::RepSent {
            self.table.end_half_open();
        }
        self.send_dreq(id, now_us, statistics);
        Ok(())
    }

    fn send_dreq(&mut self, id: ConnectionId, now_us: u64, statistics: &mut Statistics) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        connection.phase = Phase::DreqSent;
        let dreq = Message::Dreq {
            ids: connection.ids(),
            remote_qpn: connection.peer.qpn,
        };
        self.steps.extend(connection.qp.map(Step::Fail));
        self.send_repeatedly(id, dreq, now_us, statistics);
    }

    /// The first packet came on a queue pair whose RTU has not: the peer is ready all the same (IBTA 12.9.7.2).
    pub(crate) fn handle_traffic(&mut self, id: ConnectionId) {
        let waiting = self
            .table
            .get(id)
            .is_some_and(|found| found.phase == Phase::RepSent);
        if waiting {
            self.establish(id, PrivateData::default());
        }
    }

    fn establish(&mut self, id: ConnectionId, private_data: PrivateData) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        if connection.phase == Phase::RepSent {
            self.table.end_half_open();
        }
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        connection.phase = Phase::Established;
        connection.stop_repeating();
        let initiator_depth = connection.terms.initiator_depth;
        let told = connection.qp.map(|qp| Event::Connected {
            connection: id,
            qp,
            initiator_depth,
            private_data,
        });
        self.steps.extend(told.map(Step::Tell));
    }

    /// A MAD on queue pair 1.
    pub(crate) fn handle_mad(
        &mut self,
        path: Path,
        bytes: &[u8],
        now_us: u64,
        statistics: &mut Statistics,
    ) {
        let Ok(mad) = Mad::parse(bytes) else {
            statistics.cm_ignored += 1;
            return;
        };
        let mut arrival = Arrival {
            path,
            transaction_id: mad.transaction_id,
            now_us,
            statistics,
        };
        let understood = match mad.message {
            Message::Req(req) => self.handle_req(&req, &mut arrival),
            Message::Rep(rep) => self.handle_rep(&rep, &mut arrival),
            Message::Rtu { ids, private_data } => self.handle_rtu(ids, private_data, &arrival),
            Message::Rej(rej) => self.handle_rej(&rej, &arrival),
            Message::Mra {
                ids,
                service_timeout,
                ..
            } => self.handle_mra(ids, service_timeout, &arrival),
            Message::Dreq { ids, remote_qpn } => self.handle_dreq(ids, remote_qpn, &mut arrival),
            Message::Drep { ids } => self.handle_drep(ids, &arrival),
            Message::Lap { ids } => self.refuse_alternate_path(ids, &mut arrival),
            Message::SidrReq {
                request_id,
                service_id,
            } => self.refuse_resolution(request_id, service_id, &mut arrival),
            Message::Apr { .. } | Message::SidrRep { .. } => false,
        };
        if !understood {
            statistics.cm_ignored += 1;
        }
    }

    fn reply(&mut self, message: Message, arrival: &mut Arrival<'_>) -> bool {
        let mad = Mad {
            transaction_id: arrival.transaction_id,
            message,
        };
        self.send(arrival.path, mad.emit(), arrival.statistics);
        true
    }

    fn refuse(&mut self, req: &Req, reason: RejectReason, arrival: &mut Arrival<'_>) -> bool {
        let rej = Rej {
            ids: Ids {
                local: 0,
                remote: req.local_id,
            },
            answered: Answered::Req,
            reason,
            additional: 0,
            private_data: PrivateData::default(),
        };
        self.reply(Message::Rej(rej), arrival)
    }

    fn refuse_alternate_path(&mut self, ids: Ids, arrival: &mut Arrival<'_>) -> bool {
        let apr = Message::Apr {
            ids: Ids {
                local: ids.remote,
                remote: ids.local,
            },
            status: APR_UNSUPPORTED,
        };
        self.known(ids, arrival).is_some() && self.reply(apr, arrival)
    }

    fn refuse_resolution(
        &mut self,
        request_id: u32,
        service_id: u64,
        arrival: &mut Arrival<'_>,
    ) -> bool {
        let answer = Message::SidrRep {
            request_id,
            status: SIDR_UNSUPPORTED,
            service_id,
        };
        self.reply(answer, arrival)
    }

    /// The connection that a message names, if both ids and the path agree.
    fn known(&mut self, ids: Ids, arrival: &Arrival<'_>) -> Option<&mut Connection> {
        let connection = self.table.get_mut(ConnectionId(ids.remote))?;
        let same = connection.peer.id == ids.local && arrival.is_on(&connection.path);
        same.then_some(connection)
    }

    fn handle_req(&mut self, req: &Req, arrival: &mut Arrival<'_>) -> bool {
        if let Some(id) = self.table.find_by_peer_id(req.ca_guid, req.local_id) {
            return self.handle_repeated_req(id, req, arrival);
        }
        if let Some(id) = self.table.find_by_peer_qp(req.ca_guid, req.qpn) {
            self.refuse(req, RejectReason::STALE_CONNECTION, arrival);
            return self.end_stale(id, arrival);
        }
        match self.reason_against(req) {
            Some(reason) => {
                arrival.statistics.cm_overload += u64::from(reason == RejectReason::NO_RESOURCES);
                self.refuse(req, reason, arrival)
            }
            None => self.open(req, arrival),
        }
    }

    fn reason_against(&self, req: &Req) -> Option<RejectReason> {
        let mtu = PathMtu::from_code(req.path_mtu);
        if req.transport_type != RELIABLE_CONNECTION {
            Some(RejectReason::INVALID_TRANSPORT_TYPE)
        } else if !self.listeners.contains(&req.service_id) {
            Some(RejectReason::INVALID_SERVICE_ID)
        } else if mtu.is_none_or(|mtu| mtu > self.config.max_mtu) {
            Some(RejectReason::INVALID_MTU)
        } else if self.table.half_open() >= self.config.max_half_open {
            Some(RejectReason::NO_RESOURCES)
        } else {
            None
        }
    }

    fn open(&mut self, req: &Req, arrival: &mut Arrival<'_>) -> bool {
        let terms = Terms {
            path_mtu: PathMtu::from_code(req.path_mtu).unwrap_or_default(),
            starting_psn: self.random_psn(),
            ack_timeout: req.ack_timeout.min(self.config.ack_timeout),
            retry_count: req.retry_count,
            rnr_retry: req.rnr_retry,
            responder_resources: req.initiator_depth,
            initiator_depth: req.responder_resources,
        };
        let inserted = self.table.insert(Phase::ReqReceived, arrival.path, terms);
        let Some(connection) = inserted else {
            arrival.statistics.cm_overload += 1;
            return self.refuse(req, RejectReason::NO_RESOURCES, arrival);
        };
        connection.learn(arrival.transaction_id, req);
        connection.deadline_us = Some(arrival.now_us + DECISION_US);
        let id = connection.id;
        self.table.index_peer(id);
        self.table.begin_half_open();
        self.touch(id);
        let (rdma_cm, rest) = match RdmaCmHeader::parse(req.private_data.as_slice()) {
            Some((header, rest)) => (Some(header), PrivateData::of(rest)),
            None => (None, req.private_data),
        };
        self.tell(Event::ConnectRequest(ConnectRequest {
            connection: id,
            service_id: req.service_id,
            path: arrival.path,
            rdma_cm,
            ca_guid: req.ca_guid,
            responder_resources: req.initiator_depth,
            initiator_depth: req.responder_resources,
            private_data: rest,
        }));
        true
    }

    fn handle_repeated_req(
        &mut self,
        id: ConnectionId,
        req: &Req,
        arrival: &mut Arrival<'_>,
    ) -> bool {
        arrival.statistics.cm_duplicates += 1;
        let Some(connection) = self
            .table
            .get(id)
            .filter(|found| arrival.is_on(&found.path))
        else {
            return false;
        };
        match connection.phase {
            Phase::ReqReceived => self.delay(id, arrival.statistics).is_ok(),
            Phase::RepSent => {
                let (path, last) = (connection.path, connection.last_sent());
                if let Some(mad) = last {
                    self.send(path, mad, arrival.statistics);
                }
                true
            }
            Phase::TimeWait => self.refuse(req, RejectReason::STALE_CONNECTION, arrival),
            _ => true,
        }
    }

    /// The peer has forgotten a connection that stands here, and uses its queue pair for another.
    fn end_stale(&mut self, id: ConnectionId, arrival: &mut Arrival<'_>) -> bool {
        let Some(connection) = self
            .table
            .get(id)
            .filter(|found| arrival.is_on(&found.path))
        else {
            return false;
        };
        if connection.phase == Phase::Established {
            self.send_dreq(id, arrival.now_us, arrival.statistics);
        }
        true
    }

    fn handle_rep(&mut self, rep: &Rep, arrival: &mut Arrival<'_>) -> bool {
        let min_rnr_timer = self.config.min_rnr_timer;
        let id = ConnectionId(rep.ids.remote);
        let found = self.table.get_mut(id);
        let Some(connection) = found.filter(|found| arrival.is_on(&found.path)) else {
            return false;
        };
        match (connection.phase, connection.qp) {
            (Phase::ReqSent, Some(qp)) => {
                connection.stop_repeating();
                connection.peer = Peer {
                    id: rep.ids.local,
                    ca_guid: rep.ca_guid,
                    qpn: rep.qpn,
                };
                connection.peer_psn = rep.starting_psn;
                let terms = &mut connection.terms;
                terms.rnr_retry = rep.rnr_retry;
                terms.initiator_depth = terms.initiator_depth.min(rep.responder_resources);
                let step = make_ready(connection, qp, min_rnr_timer);
                self.steps.push_back(step);
                self.table.index_peer(id);
                self.establish(id, rep.private_data);
            }
            (Phase::Established, _) if connection.peer.id == rep.ids.local => {}
            _ => return false,
        }
        self.send_rtu(id, arrival.statistics);
        true
    }

    fn send_rtu(&mut self, id: ConnectionId, statistics: &mut Statistics) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        let rtu = Message::Rtu {
            ids: connection.ids(),
            private_data: PrivateData::default(),
        };
        let (path, mad) = (connection.path, connection.mad(rtu));
        self.send(path, mad, statistics);
    }

    fn handle_rtu(&mut self, ids: Ids, private_data: PrivateData, arrival: &Arrival<'_>) -> bool {
        let Some(connection) = self.known(ids, arrival) else {
            return false;
        };
        let (id, phase) = (connection.id, connection.phase);
        if phase == Phase::RepSent {
            self.establish(id, private_data);
        }
        true
    }

    fn handle_mra(&mut self, ids: Ids, service_timeout: u8, arrival: &Arrival<'_>) -> bool {
        let found = self.table.get_mut(ConnectionId(ids.remote));
        let Some(connection) = found.filter(|found| arrival.is_on(&found.path)) else {
            return false;
        };
        let id = connection.id;
        if matches!(connection.phase, Phase::ReqSent | Phase::RepSent) {
            connection.postpone(service_timeout, arrival.now_us);
            self.touch(id);
        }
        true
    }

    fn handle_rej(&mut self, rej: &Rej, arrival: &Arrival<'_>) -> bool {
        // A peer that never heard of us knows only its own id: the reject of a timeout names it and its GUID.
        let id = if rej.reason == RejectReason::TIMEOUT && rej.ids.remote == 0 {
            self.table.find_by_peer_id(rej.additional, rej.ids.local)
        } else {
            Some(ConnectionId(rej.ids.remote))
        };
        let found = id.and_then(|id| self.table.get(id));
        let Some(connection) = found.filter(|found| arrival.is_on(&found.path)) else {
            return false;
        };
        let (id, qp, phase) = (connection.id, connection.qp, connection.phase);
        match phase {
            Phase::ReqSent | Phase::RepSent | Phase::ReqReceived => {
                self.forget(id, phase);
                self.tell(Event::Rejected {
                    connection: id,
                    qp,
                    reason: rej.reason,
                    private_data: rej.private_data,
                });
            }
            Phase::Established | Phase::DreqSent => self.part(id, arrival.now_us),
            Phase::TimeWait => {}
        }
        true
    }

    fn handle_dreq(&mut self, ids: Ids, remote_qpn: u32, arrival: &mut Arrival<'_>) -> bool {
        let drep = Message::Drep {
            ids: Ids {
                local: ids.remote,
                remote: ids.local,
            },
        };
        let Some(connection) = self.known(ids, arrival) else {
            // Long forgotten here: say so, or the peer asks again and again.
            return self.reply(drep, arrival);
        };
        if connection.qp.is_none_or(|qp| qp.0 != remote_qpn) {
            return false;
        }
        let (id, phase) = (connection.id, connection.phase);
        self.reply(drep, arrival);
        if phase == Phase::RepSent {
            self.table.end_half_open();
        }
        if phase != Phase::TimeWait {
            self.part(id, arrival.now_us);
        }
        true
    }

    fn handle_drep(&mut self, ids: Ids, arrival: &Arrival<'_>) -> bool {
        let Some(connection) = self.known(ids, arrival) else {
            return false;
        };
        let (id, phase) = (connection.id, connection.phase);
        if phase == Phase::DreqSent {
            self.part(id, arrival.now_us);
        }
        true
    }

    /// The connection is over: time-wait.
    fn part(&mut self, id: ConnectionId, now_us: u64) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        connection.enter_time_wait(now_us);
        let qp = connection.qp;
        self.steps.extend(qp.map(Step::Fail));
        self.touch(id);
        self.tell(Event::Disconnected { connection: id, qp });
    }

    /// The connection never came to be.
    fn forget(&mut self, id: ConnectionId, phase: Phase) {
        if matches!(phase, Phase::ReqReceived | Phase::RepSent) {
            self.table.end_half_open();
        }
        let qp = self.table.get(id).and_then(|connection| connection.qp);
        self.steps.extend(qp.map(Step::Fail));
        self.table.remove(id);
    }

    /// A connection's deadline has come.
    pub(crate) fn handle_timeout(
        &mut self,
        id: ConnectionId,
        now_us: u64,
        statistics: &mut Statistics,
    ) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        if connection
            .deadline_us
            .is_none_or(|deadline| deadline > now_us)
        {
            return;
        }
        let path = connection.path;
        match connection.phase {
            Phase::TimeWait => self.table.remove(id),
            _ => match connection.next_repeat(now_us) {
                Some(mad) => {
                    self.send(path, mad, statistics);
                    self.touch(id);
                }
                None => self.give_up(id, now_us, statistics),
            },
        }
    }

    /// Nobody answers.
    fn give_up(&mut self, id: ConnectionId, now_us: u64, statistics: &mut Statistics) {
        let Some(connection) = self.table.get(id) else {
            return;
        };
        let (phase, qp) = (connection.phase, connection.qp);
        if phase == Phase::DreqSent {
            self.part(id, now_us);
            return;
        }
        let answered = match phase {
            Phase::ReqReceived => Answered::Req,
            Phase::RepSent => Answered::Rep,
            _ => Answered::Other,
        };
        let rej = Message::Rej(Rej {
            ids: connection.ids(),
            answered,
            reason: RejectReason::TIMEOUT,
            additional: self.config.ca_guid,
            private_data: PrivateData::default(),
        });
        let (path, mad) = (connection.path, connection.mad(rej));
        self.send(path, mad, statistics);
        self.forget(id, phase);
        self.tell(Event::Unreachable { connection: id, qp });
    }
}

/// What every message handler needs to know of a MAD.
struct Arrival<'a> {
    path: Path,
    transaction_id: u64,
    now_us: u64,
    statistics: &'a mut Statistics,
}

impl Arrival<'_> {
    fn is_on(&self, path: &Path) -> bool {
        let same = |a: SocketAddr, b: SocketAddr| a.ip().to_canonical() == b.ip().to_canonical();
        same(self.path.local, path.local) && same(self.path.remote, path.remote)
    }
}

/// The starting PSN in a REQ or REP is where its *receiver* begins to send (IBTA 12.7.31): each side chooses what it
/// will expect.
fn make_ready(connection: &Connection, qp: QueuePairNumber, min_rnr_timer: u8) -> Step {
    let terms = &connection.terms;
    let rtr = RtrAttributes {
        path: connection.path,
        path_mtu: terms.path_mtu,
        remote_qp: connection.peer.qpn,
        expected_psn: terms.starting_psn,
        responder_resources: terms.responder_resources,
        min_rnr_timer,
    };
    let rts = RtsAttributes {
        starting_psn: connection.peer_psn,
        timeout: terms.ack_timeout,
        retry_count: terms.retry_count,
        rnr_retry: terms.rnr_retry,
        initiator_depth: terms.initiator_depth,
    };
    Step::MakeReady(qp, rtr, rts)
}

fn check_private_data(data: &[u8], limit: usize) -> Result<(), CmError> {
    if data.len() > limit {
        return Err(CmError::PrivateData {
            got: data.len(),
            limit,
        });
    }
    Ok(())
}

fn request_private_data(connect: &Connect<'_>) -> Result<PrivateData, CmError> {
    let Some(port) = connect.rdma_cm_port else {
        check_private_data(connect.private_data, REQ_PRIVATE_DATA_LEN)?;
        return Ok(PrivateData::of(connect.private_data));
    };
    let limit = REQ_PRIVATE_DATA_LEN - RDMA_CM_HEADER_LEN;
    check_private_data(connect.private_data, limit)?;
    let ip = |address: SocketAddr| -> IpAddr { address.ip().to_canonical() };
    let header = RdmaCmHeader {
        source: SocketAddr::new(ip(connect.path.local), port),
        destination: ip(connect.path.remote),
    };
    let mut private_data = PrivateData::of(&header.emit());
    private_data.extend(connect.private_data);
    Ok(private_data)
}

fn request(
    config: &CmConfig,
    id: ConnectionId,
    qp: QueuePairNumber,
    connect: &Connect<'_>,
    terms: &Terms,
    private_data: PrivateData,
) -> Req {
    Req {
        local_id: id.0,
        service_id: connect.service_id,
        ca_guid: config.ca_guid,
        qpn: qp.0,
        responder_resources: terms.responder_resources,
        initiator_depth: terms.initiator_depth,
        remote_response_timeout: config.response_timeout,
        transport_type: RELIABLE_CONNECTION,
        flow_control: false,
        starting_psn: terms.starting_psn,
        local_response_timeout: config.response_timeout,
        retry_count: terms.retry_count,
        p_key: DEFAULT_P_KEY,
        path_mtu: terms.path_mtu.code(),
        rnr_retry: config.rnr_retry,
        max_retries: config.max_retries.min(15),
        srq: false,
        local_gid: gid(connect.path.local.ip()),
        remote_gid: gid(connect.path.remote.ip()),
        flow_label: 0,
        traffic_class: 0,
        hop_limit: 64,
        ack_timeout: ANNOUNCED_ACK_TIMEOUT,
        private_data,
    }
}
