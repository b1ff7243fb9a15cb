//! What the consumer asks of connection management, and what time does to connections.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::connection::{Connection, Phase, Terms};
use super::table::Table;
use super::{
    Accept, Answered, CmConfig, CmError, Connect, ConnectionId, Event, Ids, MAD_LEN, Message,
    OutgoingMad, PrivateData, RDMA_CM_HEADER_LEN, REJ_PRIVATE_DATA_LEN, REP_PRIVATE_DATA_LEN,
    REQ_PRIVATE_DATA_LEN, RdmaCmHeader, Rej, RejectReason, Rep, Req, Step, gid,
};
use crate::packet::{DEFAULT_P_KEY, timeout_us};
use crate::psn::Psn;
use crate::qp::{Path, RtrAttributes, RtsAttributes};
use crate::scramble;
use crate::statistics::Statistics;
use crate::work::QueuePairNumber;

/// How long a consumer may think about a connection request.
pub(super) const DECISION_US: u64 = 60_000_000;

/// MADs waiting to be sent; more are dropped, which costs the peer a repetition.
const MAX_OUTGOING: usize = 512;

/// Exponent of the time that an MRA asks for: 4 s (as Linux does).
const MRA_SERVICE_TIMEOUT: u8 = 20;

/// Exponent of the local acknowledge timeout that the peer is asked to use: 537 ms, as Linux does. rxe does not wind
/// its timer up when an acknowledge comes, so a short one makes it repeat what has long arrived.
const ANNOUNCED_ACK_TIMEOUT: u8 = 17;

/// Exponent of the delay of acknowledges that a REP announces, as rxe does.
const ACK_DELAY: u8 = 15;

/// Transport service type of a REQ.
pub(super) const RELIABLE_CONNECTION: u8 = 0;

/// All of a node's connection management.
#[derive(Debug)]
pub(crate) struct ConnectionManager {
    pub(super) config: CmConfig,
    pub(super) listeners: BTreeSet<u64>,
    pub(super) table: Table,
    random: u64,
    pub(super) outgoing: VecDeque<OutgoingMad>,
    pub(super) steps: VecDeque<Step>,
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

    pub(super) fn random_psn(&mut self) -> Psn {
        self.random = scramble(self.random);
        let [a, b, c, ..] = self.random.to_be_bytes();
        Psn::new(u32::from_be_bytes([0, a, b, c]))
    }

    pub(super) fn send(&mut self, path: Path, mad: [u8; MAD_LEN], statistics: &mut Statistics) {
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

    pub(super) fn touch(&mut self, id: ConnectionId) {
        let deadline = self.deadline_us(id);
        self.touched.extend(deadline.map(|deadline| (id, deadline)));
    }

    pub(super) fn tell(&mut self, event: Event) {
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

    pub(super) fn send_dreq(&mut self, id: ConnectionId, now_us: u64, statistics: &mut Statistics) {
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

    pub(super) fn establish(&mut self, id: ConnectionId, private_data: PrivateData) {
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

    /// The connection is over: time-wait.
    pub(super) fn part(&mut self, id: ConnectionId, now_us: u64) {
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
        connection.enter_time_wait(now_us);
        let qp = connection.qp;
        self.table.release_peer_qp(id);
        self.steps.extend(qp.map(Step::Fail));
        self.touch(id);
        self.tell(Event::Disconnected { connection: id, qp });
    }

    /// The connection never came to be.
    pub(super) fn forget(&mut self, id: ConnectionId, phase: Phase) {
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

/// The starting PSN in a REQ or REP is where its *receiver* begins to send (IBTA 12.7.31): each side chooses what it
/// will expect.
pub(super) fn make_ready(connection: &Connection, qp: QueuePairNumber, min_rnr_timer: u8) -> Step {
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
