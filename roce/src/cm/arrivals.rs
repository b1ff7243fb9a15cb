//! What the peer's messages do to connections (IBTA 12.9).

use std::net::SocketAddr;

use super::calls::{ConnectionManager, DECISION_US, RELIABLE_CONNECTION, make_ready};
use super::connection::{Connection, Peer, Phase, Terms};
use super::{
    Answered, ConnectRequest, ConnectionId, Event, Ids, Mad, Message, PrivateData, RdmaCmHeader,
    Rej, RejectReason, Rep, Req,
};
use crate::qp::{Path, PathMtu};
use crate::statistics::Statistics;
use crate::work::QueuePairNumber;

/// Status of a SIDR_REP: nobody has that service.
const SIDR_UNSUPPORTED: u8 = 1;

/// Status of an APR: no alternate paths here.
const APR_UNSUPPORTED: u8 = 2;

impl ConnectionManager {
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
        let id = ConnectionId(rep.ids.remote);
        let found = self.table.get(id);
        let Some(connection) = found.filter(|found| arrival.is_on(&found.path)) else {
            return false;
        };
        match (connection.phase, connection.qp) {
            (Phase::ReqSent, Some(qp)) => {
                if let Some(old) = self.table.find_by_peer_qp(rep.ca_guid, rep.qpn) {
                    return self.refuse_stale_rep(id, old, rep, arrival);
                }
                self.conclude(id, qp, rep);
            }
            (Phase::Established, _) if connection.peer.id == rep.ids.local => {}
            _ => return false,
        }
        self.send_rtu(id, arrival.statistics);
        true
    }

    /// The peer agrees: its terms are taken over, the queue pair made ready.
    fn conclude(&mut self, id: ConnectionId, qp: QueuePairNumber, rep: &Rep) {
        let min_rnr_timer = self.config.min_rnr_timer;
        let Some(connection) = self.table.get_mut(id) else {
            return;
        };
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

    /// The peer answers with a queue pair that another connection here still uses: neither can go on.
    fn refuse_stale_rep(
        &mut self,
        id: ConnectionId,
        old: ConnectionId,
        rep: &Rep,
        arrival: &mut Arrival<'_>,
    ) -> bool {
        let rej = Rej {
            ids: Ids {
                local: id.0,
                remote: rep.ids.local,
            },
            answered: Answered::Rep,
            reason: RejectReason::STALE_CONNECTION,
            additional: 0,
            private_data: PrivateData::default(),
        };
        self.reply(Message::Rej(rej), arrival);
        self.end_stale(old, arrival);
        let qp = self.table.get(id).and_then(|connection| connection.qp);
        self.forget(id, Phase::ReqSent);
        self.tell(Event::Rejected {
            connection: id,
            qp,
            reason: RejectReason::STALE_CONNECTION,
            private_data: PrivateData::default(),
        });
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
        let waits = matches!(connection.phase, Phase::ReqSent | Phase::RepSent);
        if waits && connection.postpone(service_timeout, arrival.now_us) {
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
