//! RC queue pairs: the states of IBTA 10.3.1 around a requester and a responder that know nothing of each other.

pub(crate) mod receive;
mod requester;
mod responder;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use thiserror::Error;

use crate::memory::{Access, Keys, Memory, Pd};
use crate::packet::{Extension, Family, Opcode, Packet};
use crate::psn::Psn;
use crate::statistics::Statistics;
use crate::work::{
    Completion, PostError, QueuePairNumber, RecvRequest, Segments, SendRequest, Status,
};
use receive::ReceiveQueue;
use requester::Requester;
use responder::{Fatal, Resources, Responder, failed_receive};

/// Payload bytes per packet (IBTA 9.7.7), with its code on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathMtu {
    /// 256 bytes.
    #[default]
    Mtu256 = 1,
    /// 512 bytes.
    Mtu512 = 2,
    /// 1024 bytes: what fits an ordinary Ethernet.
    Mtu1024 = 3,
    /// 2048 bytes.
    Mtu2048 = 4,
    /// 4096 bytes: needs an interface MTU of 4200.
    Mtu4096 = 5,
}

impl PathMtu {
    const ALL: [Self; 5] = [
        Self::Mtu256,
        Self::Mtu512,
        Self::Mtu1024,
        Self::Mtu2048,
        Self::Mtu4096,
    ];

    /// What IP, UDP and all transport headers take, as Linux counts them.
    const MAX_OVERHEAD: u32 = 80;

    /// Bytes.
    pub const fn bytes(self) -> u32 {
        128 << self as u32
    }

    /// The code of IBTA table 102.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// By its code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|mtu| mtu.code() == code)
    }

    /// The largest that fits an interface with this MTU.
    pub fn for_interface(interface_mtu: u32) -> Self {
        let fits = |mtu: &Self| mtu.bytes() + Self::MAX_OVERHEAD <= interface_mtu;
        Self::ALL.into_iter().rev().find(fits).unwrap_or_default()
    }
}

/// State of a queue pair (IBTA figure 124).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made; takes receives.
    Init,
    /// Ready to receive.
    ReadyToReceive,
    /// Ready to send and receive.
    ReadyToSend,
    /// Finishes what was begun, begins nothing.
    SendQueueDrain,
    /// Failed; every work request is flushed.
    Error,
}

/// A change of state that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StateError {
    /// No such queue pair.
    #[error("no queue pair of that number")]
    Unknown,
    /// Not from here.
    #[error("a queue pair in state {from:?} cannot go to {to:?}")]
    Transition {
        /// Where it is.
        from: State,
        /// Where it was to go.
        to: State,
    },
}

/// Where a queue pair's packets go and come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// This side; the port is that of the socket that sends.
    pub local: SocketAddr,
    /// The peer; the port is [`crate::packet::UDP_PORT`].
    pub remote: SocketAddr,
}

impl Path {
    /// The two ends are those of a datagram that came along here.
    fn is_way_of(&self, source: SocketAddr, destination: SocketAddr) -> bool {
        let same = |a: IpAddr, b: IpAddr| a.to_canonical() == b.to_canonical();
        same(self.remote.ip(), source.ip()) && same(self.local.ip(), destination.ip())
    }
}

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What a queue pair must know to receive.
#[derive(Clone, Copy, Debug)]
pub struct RtrAttributes {
    /// Where the peer is.
    pub path: Path,
    /// Payload per packet.
    pub path_mtu: PathMtu,
    /// The peer's queue pair.
    pub remote_qp: u32,
    /// First packet number of the peer.
    pub expected_psn: Psn,
    /// RDMA READs of the peer at a time; 0 refuses them.
    pub responder_resources: u8,
    /// Code of the wait that an RNR NAK asks for (see [`crate::packet::rnr_timer_us`]).
    pub min_rnr_timer: u8,
}

impl Default for RtrAttributes {
    fn default() -> Self {
        Self {
            path: Path {
                local: NOWHERE,
                remote: NOWHERE,
            },
            path_mtu: PathMtu::default(),
            remote_qp: 0,
            expected_psn: Psn::default(),
            responder_resources: 0,
            min_rnr_timer: 0,
        }
    }
}

/// What a queue pair must know to send.
#[derive(Clone, Copy, Debug, Default)]
pub struct RtsAttributes {
    /// First packet number of this side.
    pub starting_psn: Psn,
    /// Exponent of the local acknowledge timeout, 4.096 µs x 2^n; 0 waits for ever.
    pub timeout: u8,
    /// Retries without progress, 0 to 7.
    pub retry_count: u8,
    /// RNR retries without progress, 0 to 6; 7 for ever.
    pub rnr_retry: u8,
    /// RDMA READs at a time.
    pub initiator_depth: u8,
}

/// How eagerly a queue pair sends. Nothing of it shows on the wire but the pace.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Packets on their way without acknowledge. What fits the peer's UDP receive buffer.
    pub window: u32,
    /// Packets after which an acknowledge is asked for inside a message.
    pub ack_interval: u32,
    /// Response packets that one wire READ request may ask for.
    pub read_chunk: u32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            window: 128,
            ack_interval: 31,
            read_chunk: 64,
        }
    }
}

/// Sizes and rights of a new queue pair.
#[derive(Clone, Copy, Debug)]
pub struct QueuePairConfig {
    /// Protection domain.
    pub pd: Pd,
    /// What the peer may do at all.
    pub access: Access,
    /// Send work requests at a time.
    pub send_capacity: usize,
    /// Receive work requests at a time; unused with a shared receive queue.
    pub recv_capacity: usize,
}

/// A packet to be sent, before it has headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emission {
    pub(crate) opcode: Opcode,
    pub(crate) psn: Psn,
    pub(crate) ack_request: bool,
    pub(crate) solicited: bool,
    pub(crate) extension: Extension,
    pub(crate) payload: Segments,
}

/// Where a queue pair tells what happened.
pub(crate) struct Report<'a> {
    pub(crate) qp: QueuePairNumber,
    pub(crate) completions: &'a mut VecDeque<Completion>,
    pub(crate) statistics: &'a mut Statistics,
}

/// Copies `data` to the segments, which have exactly its length.
pub(crate) fn scatter<M: Memory + ?Sized>(
    memory: &mut M,
    place: &Segments,
    mut data: &[u8],
) -> Option<()> {
    for segment in place.as_slice() {
        let room = memory.bytes_mut(segment.region, segment.offset, segment.length)?;
        let (piece, rest) = data.split_at_checked(room.len())?;
        room.copy_from_slice(piece);
        data = rest;
    }
    Some(())
}

/// An RC queue pair.
#[derive(Debug)]
pub(crate) struct QueuePair {
    state: State,
    attributes: RtrAttributes,
    requester: Requester,
    responder: Responder,
    receives: ReceiveQueue,
    /// The other half's turn to send next.
    requester_turn: bool,
    drain_reported: bool,
}

impl QueuePair {
    pub(crate) fn new(config: QueuePairConfig, tuning: Tuning) -> Self {
        Self {
            state: State::Init,
            attributes: RtrAttributes::default(),
            requester: Requester::new(config.pd, config.send_capacity, tuning),
            responder: Responder::new(config.pd, config.access),
            receives: ReceiveQueue::new(config.pd, config.recv_capacity),
            requester_turn: false,
            drain_reported: false,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn attributes(&self) -> &RtrAttributes {
        &self.attributes
    }

    /// Send work requests that are not completed.
    pub(crate) fn queued(&self) -> usize {
        self.requester.queued()
    }

    fn refuse(&self, to: State) -> StateError {
        StateError::Transition {
            from: self.state,
            to,
        }
    }

    pub(crate) fn make_ready_to_receive(
        &mut self,
        attributes: RtrAttributes,
    ) -> Result<(), StateError> {
        if self.state != State::Init {
            return Err(self.refuse(State::ReadyToReceive));
        }
        self.attributes = attributes;
        self.responder.start(attributes);
        self.state = State::ReadyToReceive;
        Ok(())
    }

    pub(crate) fn make_ready_to_send(
        &mut self,
        attributes: RtsAttributes,
    ) -> Result<(), StateError> {
        match self.state {
            State::ReadyToReceive => {
                self.requester
                    .start(self.attributes.path_mtu.bytes(), attributes);
            }
            State::SendQueueDrain => {}
            _ => return Err(self.refuse(State::ReadyToSend)),
        }
        self.state = State::ReadyToSend;
        Ok(())
    }

    pub(crate) fn drain_send_queue(&mut self) -> Result<(), StateError> {
        if self.state != State::ReadyToSend {
            return Err(self.refuse(State::SendQueueDrain));
        }
        self.state = State::SendQueueDrain;
        self.drain_reported = false;
        Ok(())
    }

    /// True once after a drain, when nothing is on its way any more.
    pub(crate) fn take_drained(&mut self) -> bool {
        let drained = self.state == State::SendQueueDrain && self.requester.is_drained();
        let news = drained && !self.drain_reported;
        self.drain_reported |= news;
        news
    }

    pub(crate) fn post_send(
        &mut self,
        request: &SendRequest<'_>,
        keys: &Keys,
        report: &mut Report<'_>,
    ) -> Result<(), PostError> {
        match self.state {
            State::Init | State::ReadyToReceive => Err(PostError::State(self.state)),
            State::ReadyToSend | State::SendQueueDrain => self.requester.post(request, keys),
            State::Error => {
                self.requester.post(request, keys)?;
                self.requester.flush(None, report);
                Ok(())
            }
        }
    }

    pub(crate) fn post_recv(
        &mut self,
        request: &RecvRequest<'_>,
        keys: &Keys,
        report: &mut Report<'_>,
    ) -> Result<(), PostError> {
        self.receives.post(request, keys)?;
        if self.state == State::Error {
            self.flush_receives(report);
        }
        Ok(())
    }

    /// The packet came from the peer, for this side.
    pub(crate) fn is_way_of(&self, source: SocketAddr, destination: SocketAddr) -> bool {
        self.attributes.path.is_way_of(source, destination)
    }

    /// A packet for this queue pair. False when its state takes no such packet.
    pub(crate) fn handle_packet<M: Memory + ?Sized>(
        &mut self,
        packet: &Packet<'_>,
        memory: &mut M,
        keys: &mut Keys,
        shared: Option<&mut ReceiveQueue>,
        now_us: u64,
        report: &mut Report<'_>,
    ) -> bool {
        match packet.shape.family {
            Family::Acknowledge | Family::ReadResponse | Family::AtomicAcknowledge => {
                if !matches!(self.state, State::ReadyToSend | State::SendQueueDrain) {
                    return false;
                }
                self.handle_response(packet, memory, now_us, report);
            }
            _ => {
                if matches!(self.state, State::Init | State::Error) {
                    return false;
                }
                let receives = shared.unwrap_or(&mut self.receives);
                let mut resources = Resources {
                    memory,
                    keys,
                    receives,
                };
                let done = self
                    .responder
                    .handle_request(packet, &mut resources, report);
                if let Err(fatal) = done {
                    self.fail_responder(fatal, report);
                }
            }
        }
        true
    }

    fn handle_response<M: Memory + ?Sized>(
        &mut self,
        packet: &Packet<'_>,
        memory: &mut M,
        now_us: u64,
        report: &mut Report<'_>,
    ) {
        let requester = &mut self.requester;
        let done = match (packet.shape.family, packet.extension.aeth) {
            (Family::ReadResponse, _) => {
                requester.handle_read_response(packet, memory, now_us, report)
            }
            (Family::Acknowledge, Some(aeth)) => {
                requester.handle_acknowledge(packet.bth.psn, aeth, now_us, report)
            }
            _ => {
                report.statistics.bad_responses += 1;
                Ok(())
            }
        };
        if let Err(status) = done {
            self.fail_requester(status, report);
        }
    }

    /// The next packet to send. READ responses and requests take turns.
    pub(crate) fn poll(
        &mut self,
        keys: &Keys,
        now_us: u64,
        report: &mut Report<'_>,
    ) -> Option<Emission> {
        self.requester_turn = !self.requester_turn;
        if self.requester_turn {
            let request = self.poll_requester(now_us);
            request.or_else(|| self.poll_responder(keys, report))
        } else {
            let response = self.poll_responder(keys, report);
            response.or_else(|| self.poll_requester(now_us))
        }
    }

    fn poll_requester(&mut self, now_us: u64) -> Option<Emission> {
        match self.state {
            State::ReadyToSend => self.requester.poll(false, now_us),
            State::SendQueueDrain => self.requester.poll(true, now_us),
            _ => None,
        }
    }

    /// A failed queue pair still says why.
    fn poll_responder(&mut self, keys: &Keys, report: &mut Report<'_>) -> Option<Emission> {
        match self.responder.poll(keys, report) {
            Ok(emission) => emission,
            Err(fatal) => {
                self.fail_responder(fatal, report);
                self.responder.poll(keys, report).ok().flatten()
            }
        }
    }

    pub(crate) fn deadline_us(&self) -> Option<u64> {
        self.requester.deadline_us()
    }

    pub(crate) fn handle_timeout(&mut self, now_us: u64, report: &mut Report<'_>) {
        if let Err(status) = self.requester.handle_timeout(now_us, report) {
            self.fail_requester(status, report);
        }
    }

    fn fail_requester(&mut self, status: Status, report: &mut Report<'_>) {
        self.enter_error(Some(status), Status::Flushed, report);
        self.responder.silence();
    }

    fn fail_responder(&mut self, fatal: Fatal, report: &mut Report<'_>) {
        self.enter_error(None, fatal.status, report);
    }

    /// To the error state from outside. What the peer is still to hear of the requests that were taken is returned;
    /// after that nothing more is said.
    pub(crate) fn fail(&mut self, report: &mut Report<'_>) -> Option<Emission> {
        let last_word = self.responder.last_word(report);
        self.enter_error(None, Status::Flushed, report);
        self.responder.silence();
        last_word
    }

    fn enter_error(&mut self, sent: Option<Status>, received: Status, report: &mut Report<'_>) {
        self.state = State::Error;
        self.requester.flush(sent, report);
        self.responder.fail(received, report);
        self.flush_receives(report);
    }

    fn flush_receives(&mut self, report: &mut Report<'_>) {
        while let Some(wqe) = self.receives.take() {
            let completion = failed_receive(&wqe, Status::Flushed, report);
            report.completions.push_back(completion);
        }
    }
}

#[cfg(test)]
mod tests;
