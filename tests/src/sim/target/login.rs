//! A connection request becomes a channel of a session, as the daemon's worker does it.

use roce::cm::{Accept, ConnectRequest, RejectReason};
use roce::qp::QueuePairConfig;
use roce::{Access, QueuePairNumber};
use target_core::command::ChannelId;
use target_core::target::{MapEntry, NexusId, TransportId};
use transport_srp::wire::login::{MultichannelAction, MultichannelResult};
use transport_srp::{Carrier, Channel, LoginRequest};

use super::carrier::{Carrier as Wire, Machine};
use super::nic::{PD, SendQueue};
use super::{Connection, Phase, Port, SRP, Session, TargetSide};

/// RDMA READs at a time.
pub(super) const DEPTH: u8 = 4;

impl TargetSide {
    pub(super) fn handle_connect_request(&mut self, request: &ConnectRequest, now_us: u64) {
        let private_data = request.private_data.as_slice();
        let examined = self.policy.examine(private_data, Carrier::RdmaCm, None);
        let asked = examined.unwrap_or_else(|refused| panic!("a login is refused: {refused:?}"));
        let header = request.rdma_cm.expect("the header of RDMA-CM");
        let link = header.source.port().into();
        let qp = self.queue_pair(SRP);
        let port = Port::Srp(asked.initiator_port.bytes);
        let result = self.associate(&asked, now_us);
        let (negotiated, response) = self.policy.accept(&asked, result);
        let accept = Accept {
            responder_resources: 0,
            initiator_depth: request.initiator_depth.min(DEPTH),
            private_data: &response,
        };
        let accepted = self.node.accept(request.connection, qp, &accept, now_us);
        if accepted.is_err() {
            self.node.destroy_queue_pair(qp);
            return self.close_session_if_empty(&port);
        }
        let (messages, tables) = (self.pools.messages.clone(), self.pools.data.clone());
        let nexus = self.sessions[&port].nexus;
        let channel = Channel::new(ChannelId(link), negotiated, messages, tables);
        let connection = Connection {
            carrier: Wire::queue(request.connection, qp),
            channel: Machine::Srp(Box::new(channel)),
            phase: Phase::Live,
            member: None,
            starves: false,
        };
        self.connections.insert(link, connection);
        self.join(link, port, nexus);
    }

    pub(super) fn queue_pair(&mut self, of: usize) -> QueuePairNumber {
        let config = QueuePairConfig {
            pd: PD,
            access: Access::default(),
            send_capacity: SendQueue::DEPTH,
            recv_capacity: 0,
        };
        let made = self.node.create_queue_pair(config, Some(self.receives[of]));
        made.expect("room for a queue pair")
    }

    /// A new session, or one that goes on: a login that wants to be the only one ends what was there.
    fn associate(&mut self, asked: &LoginRequest, now_us: u64) -> MultichannelResult {
        let initiator_port_id = asked.initiator_port.bytes;
        let port = Port::Srp(initiator_port_id);
        let mut result = MultichannelResult::NO_CHAN;
        if let Some(session) = self.sessions.get(&port) {
            if asked.multichannel == MultichannelAction::MULTI {
                return MultichannelResult::MAINTAINED;
            }
            result = MultichannelResult::TERMINATED;
            for link in session.links.clone() {
                self.end_connection(link, now_us);
            }
        }
        self.open_session(&port, TransportId::Srp { initiator_port_id });
        result
    }

    pub(super) fn open_session(&mut self, port: &Port, id: TransportId) -> NexusId {
        let nexus = self.target.nexus_open(id);
        let map: Vec<_> = (0..)
            .zip(&self.units)
            .map(|(number, &lu)| MapEntry {
                number,
                lu,
                read_only: false,
            })
            .collect();
        self.target.nexus_set_map(nexus, &map);
        self.opened += 1;
        let session = Session {
            nexus,
            number: self.opened,
            links: Vec::new(),
        };
        self.sessions.insert(port.clone(), session);
        nexus
    }

    pub(super) fn close_session_if_empty(&mut self, port: &Port) {
        let is_empty = |session: &Session| session.links.is_empty();
        if self.sessions.get(port).is_some_and(is_empty)
            && let Some(session) = self.sessions.remove(port)
        {
            self.target.nexus_close(session.nexus);
        }
    }

    /// No more logins: what was not decided is refused.
    pub(super) fn refuse(&mut self, request: &ConnectRequest) {
        let reason = RejectReason::CONSUMER_DEFINED;
        self.node.reject(request.connection, reason, &[]).ok();
    }
}
