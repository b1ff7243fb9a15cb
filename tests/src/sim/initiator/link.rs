//! Connections of an initiator: how they come to be, what they carry, how they end.

use std::net::SocketAddr;

use initiator::machine::ChannelNumber;
use roce::cm::{Connect, ConnectionId, Event, tcp_service_id};
use roce::packet::UDP_PORT;
use roce::qp::{Path, QueuePairConfig};
use roce::{
    Access, Completion, CompletionKind, Operation, QueuePairNumber, RecvRequest, SendRequest,
    Status,
};
use transport_srp::Carrier;
use transport_srp::wire::Iu;

use super::memory::PD;
use super::session::Session;
use super::{Initiator, Step};
use crate::sim::journal::Entry;
use crate::sim::scenario::Protocol;
use crate::sim::stream::Side;
use crate::sim::target::{ISER_PORT, PORT};

/// Messages of the target that may be on their way at a time.
const RECEIVES: usize = 24;
const SENDS: usize = 64;

/// What carries a connection.
#[derive(Debug)]
pub(super) enum Wire {
    Queue {
        qp: QueuePairNumber,
        cm: ConnectionId,
    },
    Stream {
        outgoing: Vec<u8>,
        incoming: Vec<u8>,
    },
}

/// One channel's connection.
#[derive(Debug)]
pub(super) struct Link {
    /// Never used again.
    pub(super) number: u32,
    pub(super) channel: ChannelNumber,
    pub(super) wire: Wire,
    /// The connection stands; the login may not be over yet.
    pub(super) stands: bool,
    pub(super) is_live: bool,
    /// Message slots with the NIC.
    messages: Vec<usize>,
    pub(super) flying: u32,
}

impl Link {
    fn new(number: u32, channel: ChannelNumber, wire: Wire) -> Self {
        Self {
            number,
            channel,
            wire,
            stands: false,
            is_live: false,
            messages: Vec::new(),
            flying: 0,
        }
    }

    fn is_of(&self, of: ConnectionId) -> bool {
        matches!(self.wire, Wire::Queue { cm, .. } if cm == of)
    }

    fn is_on(&self, of: QueuePairNumber) -> bool {
        matches!(self.wire, Wire::Queue { qp, .. } if qp == of)
    }
}

impl Initiator {
    pub(super) fn link_of(&self, channel: ChannelNumber) -> Option<&Link> {
        self.links.iter().find(|link| link.channel == channel)
    }

    /// Asks for a connection.
    pub(super) fn connect(&mut self, channel: ChannelNumber, now_us: u64) {
        if self.protocol == Protocol::Tcp {
            let number = self.journal.next_link();
            self.streams.connect(number, now_us);
            let wire = Wire::Stream {
                outgoing: Vec::new(),
                incoming: Vec::new(),
            };
            return self.links.push(Link::new(number, channel, wire));
        }
        let config = QueuePairConfig {
            pd: PD,
            access: Access::REMOTE_READ.or(Access::REMOTE_WRITE),
            send_capacity: SENDS,
            recv_capacity: RECEIVES,
        };
        let qp = self.node.create_queue_pair(config, None);
        let qp = qp.expect("room for a queue pair");
        let number = self.journal.next_link();
        let path = Path {
            local: SocketAddr::new(self.ip, UDP_PORT),
            remote: SocketAddr::new(self.target, UDP_PORT),
        };
        let (port, private_data) = match &self.machine {
            Session::Srp(machine) => (PORT, machine.login_request(channel, Carrier::RdmaCm)),
            Session::Iscsi(_) => (ISER_PORT, self.own_header().encode().to_vec()),
        };
        let connect = Connect {
            path,
            service_id: tcp_service_id(port),
            rdma_cm_port: Some(number as u16),
            path_mtu: self.path_mtu,
            responder_resources: 4,
            initiator_depth: 0,
            private_data: &private_data,
        };
        let cm = self.node.connect(qp, &connect, now_us).expect("connect");
        let mut link = Link::new(number, channel, Wire::Queue { qp, cm });
        for _ in 0..RECEIVES {
            let place = self.memory.take_message().expect("room for receives");
            link.messages.push(place);
            self.post_receive(qp, place);
        }
        self.links.push(link);
    }

    fn post_receive(&mut self, qp: QueuePairNumber, place: usize) {
        let sge = self.memory.receive_sge(place);
        let wr_id = place as u64;
        let request = RecvRequest {
            wr_id,
            sges: &[sge],
        };
        // A queue pair that failed in the meantime takes it and flushes it.
        let posted = self.node.post_recv(qp, &request);
        posted.unwrap_or_else(|error| panic!("a receive is not taken: {error}"));
    }

    /// Sends `bytes` on a channel that lives.
    pub(super) fn send(&mut self, channel: ChannelNumber, bytes: &[u8]) {
        let place = self.memory.take_message().expect("room for a message");
        self.memory.message(place)[..bytes.len()].copy_from_slice(bytes);
        let sge = self.memory.message_sge(place, bytes.len());
        let mut links = self.links.iter_mut();
        let link = links.find(|link| link.channel == channel);
        let link = link.expect("a channel that lives");
        let Wire::Queue { qp, .. } = link.wire else {
            panic!("no queue pair carries a stream");
        };
        link.messages.push(place);
        link.flying += 1;
        let request = SendRequest {
            wr_id: place as u64,
            operation: Operation::Send,
            sges: &[sge],
            signaled: true,
            fence: false,
            solicited: false,
        };
        let posted = self.node.post_send(qp, &request);
        posted.unwrap_or_else(|error| panic!("a send is not taken: {error}"));
    }

    pub(super) fn run_events(&mut self, now_us: u64) {
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::Connected {
                    connection,
                    private_data,
                    ..
                } => self.handle_connected(connection, private_data.as_slice(), now_us),
                Event::Rejected { connection, .. }
                | Event::Unreachable { connection, .. }
                | Event::Disconnected { connection, .. } => {
                    self.lose(|link| link.is_of(connection), now_us);
                }
                Event::QueuePairError(qp) => self.lose(|link| link.is_on(qp), now_us),
                Event::ConnectRequest(_) | Event::SendQueueDrained(_) => {}
            }
        }
    }

    fn handle_connected(&mut self, cm: ConnectionId, private_data: &[u8], now_us: u64) {
        let Some(link) = self.links.iter_mut().find(|link| link.is_of(cm)) else {
            return;
        };
        link.stands = true;
        let channel = link.channel;
        let Session::Srp(machine) = &mut self.machine else {
            // The login comes by messages.
            return;
        };
        link.is_live = true;
        let granted = machine.handle_accepted(channel, private_data);
        granted.unwrap_or_else(|error| panic!("the login response: {error}"));
        if channel.0 + 1 < self.channels && self.link_of(ChannelNumber(channel.0 + 1)).is_none() {
            self.connect(ChannelNumber(channel.0 + 1), now_us);
        }
    }

    pub(super) fn run_completions(&mut self, now_us: u64) {
        while let Some(completion) = self.node.poll_completion() {
            let place = self.links.iter().position(|link| link.is_on(completion.qp));
            let Some(place) = place else { continue };
            if completion.status != Status::Success {
                self.lose(|link| link.is_on(completion.qp), now_us);
                continue;
            }
            match completion.kind {
                CompletionKind::Recv => self.handle_message(place, &completion),
                _ => {
                    let message = completion.wr_id as usize;
                    self.links[place].messages.retain(|&m| m != message);
                    self.links[place].flying -= 1;
                    self.memory.free_message(message);
                }
            }
        }
    }

    fn handle_message(&mut self, place: usize, completion: &Completion) {
        let message = completion.wr_id as usize;
        let len = completion.length as usize;
        let bytes = self.memory.message(message)[..len].to_vec();
        let (link, channel) = (self.links[place].number, self.links[place].channel);
        match &mut self.machine {
            Session::Srp(machine) => {
                if let Ok(Iu::Rsp(rsp)) = Iu::parse(&bytes) {
                    let tag = rsp.tag;
                    self.journal.write(Entry::Responded { link, tag });
                }
                machine.handle_message(channel, &bytes);
            }
            Session::Iscsi(_) => {
                let invalidated = completion.invalidated.map(|key| key.0);
                self.handle_iser_message(link, &bytes, invalidated);
            }
        }
        self.post_receive(completion.qp, message);
    }

    /// A connection is gone, or is to go.
    pub(super) fn lose(&mut self, is_it: impl Fn(&Link) -> bool, now_us: u64) {
        let Some(place) = self.links.iter().position(is_it) else {
            return;
        };
        let link = self.links.remove(place);
        match link.wire {
            Wire::Queue { qp, cm } => {
                self.node.disconnect(cm, now_us).ok();
                self.node.destroy_queue_pair(qp);
            }
            Wire::Stream { .. } => self.streams.close(link.number, Side::Initiator, now_us),
        }
        for message in link.messages {
            self.memory.free_message(message);
        }
        self.machine.handle_disconnected(link.channel);
        self.run_machine(now_us);
        self.release_late(link.number);
        let again = now_us + 1000 + self.random.below(500_000);
        if link.channel.0 > 0 && link.is_live && self.random.chance(500) {
            self.plans.insert((again, Step::Rejoin(link.channel)));
        } else {
            self.plans.insert((again, Step::LogIn));
        }
    }
}
