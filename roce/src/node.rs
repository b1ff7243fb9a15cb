//! A node: everything behind one UDP port. Sorts datagrams to queue pairs and connection management, polls all
//! queue pairs fairly, and keeps one list of timers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;

use crate::cm::{
    Accept, CmConfig, CmError, Connect, ConnectionId, ConnectionManager, Event, MAD_LEN,
    OutgoingMad, RejectReason, Step,
};
use crate::memory::{AccessError, Key, Keys, Memory, Pd, Region};
use crate::packet::icrc::{Ends, Icrc, Verdict};
use crate::packet::{
    Bth, Deth, Extension, Family, GSI_Q_KEY, HeaderBytes, ICRC_LEN, Opcode, Packet, UDP_PORT,
    pad_count,
};
use crate::psn::Psn;
use crate::qp::receive::ReceiveQueue;
use crate::qp::{
    Emission, Path, QueuePair, QueuePairConfig, Report, RtrAttributes, RtsAttributes, State,
    StateError, Tuning,
};
use crate::statistics::Statistics;
use crate::work::{
    Completion, PostError, QueuePairNumber, RecvRequest, Segment, Segments, SendRequest,
};

/// The general services queue pair.
const GSI_QP: u32 = 1;

/// Index bits of a queue pair number; the rest is a generation, never 0, so that the well-known numbers are free.
const INDEX_BITS: u32 = 14;
const GENERATIONS: u32 = 1 << (24 - INDEX_BITS);

/// Packets of one queue pair in a row: enough for one segmented send.
const BURST: u32 = 16;

/// BTH, DETH and the MAD itself.
const MAD_PACKET_LEN: usize = 12 + 8 + MAD_LEN;

/// A node's configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeConfig {
    /// Makes keys, packet numbers and communication ids hard to guess. Random in life, a seed in a simulation.
    pub secret: u64,
    /// Connection management.
    pub cm: CmConfig,
    /// Pace.
    pub tuning: Tuning,
}

/// Names a shared receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedReceiveQueueId(usize);

/// A UDP datagram as it came.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Sender, with its port.
    pub source: SocketAddr,
    /// The address of this node that it was sent to, and the port.
    pub destination: SocketAddr,
    /// Identification of the IPv4 header, where it is known (see [`crate::packet::icrc`]).
    pub ipv4_identification: Option<u16>,
    /// The UDP payload.
    pub payload: &'a [u8],
}

/// A UDP datagram to be sent: `header`, the bytes of `payload`, `trailer`, in this order. The ICRC counts on IPv4
/// identification 0 and the flag "do not fragment" (see [`crate::packet::icrc`]).
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// From where to where.
    pub path: Path,
    /// Headers; of a MAD the whole packet.
    pub header: &'a [u8],
    /// The caller's memory. It may change before the packet is sent only if the work request has completed; the
    /// receiver's ICRC check then drops the packet.
    pub payload: &'a [Segment],
    /// Pad and ICRC.
    pub trailer: &'a [u8],
    /// Bytes in all.
    pub length: usize,
}

impl Transmit<'_> {
    /// Appends the whole datagram, for a driver that sends from one piece. `None` when memory is gone.
    pub fn append_to<M: Memory + ?Sized>(&self, memory: &M, out: &mut Vec<u8>) -> Option<()> {
        out.extend_from_slice(self.header);
        for part in self.payload {
            out.extend_from_slice(memory.bytes(part.region, part.offset, part.length)?);
        }
        out.extend_from_slice(self.trailer);
        Some(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TimerKey {
    QueuePair(QueuePairNumber),
    Connection(ConnectionId),
}

/// A place for a queue pair.
#[derive(Default)]
struct Slot {
    generation: u32,
    pair: Option<Box<QueuePair>>,
    /// In the list of those that may have something to send.
    is_ready: bool,
    about: About,
}

impl Slot {
    fn split(&mut self) -> Option<(&mut About, &mut QueuePair)> {
        Some((&mut self.about, self.pair.as_deref_mut()?))
    }
}

/// What the node knows about a queue pair.
#[derive(Default)]
struct About {
    shared: Option<SharedReceiveQueueId>,
    connection: Option<ConnectionId>,
    /// The RTU has not come; the first packet stands for it.
    awaits_rtu: bool,
    /// The failure was told.
    error_told: bool,
    /// The earliest entry in the list of timers.
    timer_us: Option<u64>,
}

/// Buffers of the packet that was polled last.
struct Scratch {
    header: [u8; MAD_PACKET_LEN],
    header_len: usize,
    payload: Segments,
    trailer: [u8; 3 + ICRC_LEN],
    trailer_len: usize,
}

/// Everything behind one UDP port.
pub struct Node {
    icrc: Icrc,
    tuning: Tuning,
    keys: Keys,
    slots: Vec<Slot>,
    free: VecDeque<usize>,
    shared: Vec<ReceiveQueue>,
    cm: ConnectionManager,
    ready: VecDeque<usize>,
    burst: u32,
    timers: BinaryHeap<Reverse<(u64, TimerKey)>>,
    completions: VecDeque<Completion>,
    events: VecDeque<Event>,
    statistics: Statistics,
    mad_psn: Psn,
    scratch: Scratch,
}

impl Node {
    /// A node without queue pairs.
    pub fn new(config: NodeConfig) -> Self {
        Self {
            icrc: Icrc::new(),
            tuning: config.tuning,
            keys: Keys::new(config.secret),
            slots: Vec::new(),
            free: VecDeque::new(),
            shared: Vec::new(),
            cm: ConnectionManager::new(config.cm, config.secret),
            ready: VecDeque::new(),
            burst: 0,
            timers: BinaryHeap::new(),
            completions: VecDeque::new(),
            events: VecDeque::new(),
            statistics: Statistics::default(),
            mad_psn: Psn::default(),
            scratch: Scratch {
                header: [0; MAD_PACKET_LEN],
                header_len: 0,
                payload: Segments::default(),
                trailer: [0; 3 + ICRC_LEN],
                trailer_len: 0,
            },
        }
    }

    /// Counters so far.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The ICRC engine, for a driver that numbers IPv4 packets otherwise.
    pub fn icrc(&self) -> &Icrc {
        &self.icrc
    }

    /// Registers memory.
    pub fn register(&mut self, region: Region) -> Result<Key, AccessError> {
        self.keys.register(region)
    }

    /// Forgets a key; false when it was not known. Requests that name it fail from now on.
    pub fn deregister(&mut self, key: Key) -> bool {
        self.keys.deregister(key)
    }

    /// Makes a shared receive queue; it lives as long as the node.
    pub fn create_shared_receive_queue(&mut self, pd: Pd, capacity: usize) -> SharedReceiveQueueId {
        self.shared.push(ReceiveQueue::new(pd, capacity));
        SharedReceiveQueueId(self.shared.len() - 1)
    }

    /// Receives that wait in a shared receive queue.
    pub fn shared_receives(&self, id: SharedReceiveQueueId) -> usize {
        self.shared.get(id.0).map_or(0, ReceiveQueue::len)
    }

    /// Makes a queue pair in state INIT; `None` when there are 16,384 already.
    pub fn create_queue_pair(
        &mut self,
        config: QueuePairConfig,
        shared: Option<SharedReceiveQueueId>,
    ) -> Option<QueuePairNumber> {
        let index = self.free_index()?;
        let tuning = self.tuning;
        let slot = self.slots.get_mut(index)?;
        slot.generation = slot.generation % (GENERATIONS - 1) + 1;
        slot.pair = Some(Box::new(QueuePair::new(config, tuning)));
        slot.about = About {
            shared,
            ..About::default()
        };
        number_of(index, slot.generation)
    }

    /// Slots are used again in the order in which they were given up, to keep numbers apart in time.
    fn free_index(&mut self) -> Option<usize> {
        let full = self.slots.len() >= 1 << INDEX_BITS;
        if full || self.free.len() > 64 {
            return self.free.pop_front();
        }
        self.slots.push(Slot::default());
        Some(self.slots.len() - 1)
    }

    /// Destroys a queue pair. Its work requests end without completions; its connection should be over.
    pub fn destroy_queue_pair(&mut self, qp: QueuePairNumber) -> bool {
        let Some(index) = self.index_of(qp) else {
            return false;
        };
        if let Some(slot) = self.slots.get_mut(index) {
            slot.pair = None;
            self.free.push_back(index);
        }
        true
    }

    /// The state of a queue pair.
    pub fn state(&self, qp: QueuePairNumber) -> Option<State> {
        let slot = self.slots.get(self.index_of(qp)?)?;
        slot.pair.as_deref().map(QueuePair::state)
    }

    /// Where a queue pair's packets go, and what was agreed on with its peer.
    pub fn attributes(&self, qp: QueuePairNumber) -> Option<&RtrAttributes> {
        let slot = self.slots.get(self.index_of(qp)?)?;
        slot.pair.as_deref().map(QueuePair::attributes)
    }

    /// Send work requests that are not completed.
    pub fn queued_sends(&self, qp: QueuePairNumber) -> Option<usize> {
        let slot = self.slots.get(self.index_of(qp)?)?;
        slot.pair.as_deref().map(QueuePair::queued)
    }

    fn index_of(&self, qp: QueuePairNumber) -> Option<usize> {
        let index = usize::try_from(qp.0 & ((1 << INDEX_BITS) - 1)).ok()?;
        let slot = self.slots.get(index)?;
        let same = slot.pair.is_some() && slot.generation == qp.0 >> INDEX_BITS;
        same.then_some(index)
    }

    /// INIT to RTR, for connections that are not made by [`Node::connect`] and [`Node::accept`].
    pub fn make_ready_to_receive(
        &mut self,
        qp: QueuePairNumber,
        attributes: RtrAttributes,
    ) -> Result<(), StateError> {
        self.pair_mut(qp)?.make_ready_to_receive(attributes)
    }

    /// RTR or SQD to RTS.
    pub fn make_ready_to_send(
        &mut self,
        qp: QueuePairNumber,
        attributes: RtsAttributes,
    ) -> Result<(), StateError> {
        self.pair_mut(qp)?.make_ready_to_send(attributes)?;
        self.wake(qp);
        Ok(())
    }

    /// RTS to SQD; [`Event::SendQueueDrained`] says when nothing is on its way any more.
    pub fn drain_send_queue(&mut self, qp: QueuePairNumber) -> Result<(), StateError> {
        self.pair_mut(qp)?.drain_send_queue()?;
        self.look_after(qp);
        Ok(())
    }

    /// To the error state: all work requests are flushed.
    pub fn fail_queue_pair(&mut self, qp: QueuePairNumber) -> Result<(), StateError> {
        self.with_pair(qp, |pair, _, report| pair.fail(report))
            .ok_or(StateError::Unknown)?;
        if let Some(slot) = self
            .index_of(qp)
            .and_then(|index| self.slots.get_mut(index))
        {
            slot.about.error_told = true;
        }
        Ok(())
    }

    fn pair_mut(&mut self, qp: QueuePairNumber) -> Result<&mut QueuePair, StateError> {
        let index = self.index_of(qp).ok_or(StateError::Unknown)?;
        let slot = self.slots.get_mut(index);
        slot.and_then(|slot| slot.pair.as_deref_mut())
            .ok_or(StateError::Unknown)
    }

    /// Calls `act` with a queue pair and what it reports to.
    fn with_pair<R>(
        &mut self,
        qp: QueuePairNumber,
        act: impl FnOnce(&mut QueuePair, &Keys, &mut Report<'_>) -> R,
    ) -> Option<R> {
        let index = self.index_of(qp)?;
        let pair = self.slots.get_mut(index)?.pair.as_deref_mut()?;
        let mut report = Report {
            qp,
            completions: &mut self.completions,
            statistics: &mut self.statistics,
        };
        Some(act(pair, &self.keys, &mut report))
    }

    /// Posts a send work request. Its packets leave by [`Node::poll_transmit`].
    pub fn post_send(
        &mut self,
        qp: QueuePairNumber,
        request: &SendRequest<'_>,
    ) -> Result<(), PostError> {
        self.with_pair(qp, |pair, keys, report| {
            pair.post_send(request, keys, report)
        })
        .ok_or(PostError::Unknown)??;
        self.wake(qp);
        Ok(())
    }

    /// Posts a receive work request.
    pub fn post_recv(
        &mut self,
        qp: QueuePairNumber,
        request: &RecvRequest<'_>,
    ) -> Result<(), PostError> {
        let index = self.index_of(qp).ok_or(PostError::Unknown)?;
        if self
            .slots
            .get(index)
            .is_some_and(|slot| slot.about.shared.is_some())
        {
            return Err(PostError::Shared);
        }
        self.with_pair(qp, |pair, keys, report| {
            pair.post_recv(request, keys, report)
        })
        .ok_or(PostError::Unknown)?
    }

    /// Posts a receive work request to a shared receive queue.
    pub fn post_shared_recv(
        &mut self,
        id: SharedReceiveQueueId,
        request: &RecvRequest<'_>,
    ) -> Result<(), PostError> {
        let queue = self.shared.get_mut(id.0).ok_or(PostError::Unknown)?;
        queue.post(request, &self.keys)
    }

    /// Takes connection requests for a service id. False when somebody does already.
    pub fn listen(&mut self, service_id: u64) -> bool {
        self.cm.listen(service_id)
    }

    /// Takes no more connection requests for a service id.
    pub fn stop_listening(&mut self, service_id: u64) -> bool {
        self.cm.stop_listening(service_id)
    }

    /// Connects a fresh queue pair. [`Event::Connected`], `Rejected` or `Unreachable` follows.
    pub fn connect(
        &mut self,
        qp: QueuePairNumber,
        connect: &Connect<'_>,
        now_us: u64,
    ) -> Result<ConnectionId, CmError> {
        let index = self.fresh(qp)?;
        let id = self.cm.connect(qp, connect, now_us, &mut self.statistics)?;
        if let Some(slot) = self.slots.get_mut(index) {
            slot.about.connection = Some(id);
        }
        self.run_cm();
        Ok(id)
    }

    /// Accepts a connection request with a fresh queue pair. It may receive at once; [`Event::Connected`] follows.
    pub fn accept(
        &mut self,
        connection: ConnectionId,
        qp: QueuePairNumber,
        accept: &Accept<'_>,
        now_us: u64,
    ) -> Result<(), CmError> {
        let index = self.fresh(qp)?;
        let statistics = &mut self.statistics;
        self.cm.accept(connection, qp, accept, now_us, statistics)?;
        if let Some(slot) = self.slots.get_mut(index) {
            slot.about.connection = Some(connection);
            slot.about.awaits_rtu = true;
        }
        self.run_cm();
        Ok(())
    }

    /// Index of a queue pair that has not been connected.
    fn fresh(&self, qp: QueuePairNumber) -> Result<usize, CmError> {
        let index = self.index_of(qp).ok_or(CmError::QueuePair)?;
        let slot = self
            .slots
            .get(index)
            .filter(|slot| slot.about.connection.is_none());
        let fresh = slot.is_some() && self.state(qp) == Some(State::Init);
        fresh.then_some(index).ok_or(CmError::QueuePair)
    }

    /// Rejects a connection request, with up to 148 bytes for the peer's consumer.
    pub fn reject(
        &mut self,
        connection: ConnectionId,
        reason: RejectReason,
        private_data: &[u8],
    ) -> Result<(), CmError> {
        self.cm
            .reject(connection, reason, private_data, &mut self.statistics)
    }

    /// Asks the peer for more time before a decision.
    pub fn delay(&mut self, connection: ConnectionId) -> Result<(), CmError> {
        self.cm.delay(connection, &mut self.statistics)
    }

    /// Ends a connection: its queue pair fails at once, [`Event::Disconnected`] follows when the peer knows.
    pub fn disconnect(&mut self, connection: ConnectionId, now_us: u64) -> Result<(), CmError> {
        self.cm
            .disconnect(connection, now_us, &mut self.statistics)?;
        self.run_cm();
        Ok(())
    }

    /// A datagram came. Whatever it holds, the worst it does is to be counted.
    pub fn handle_datagram<M: Memory + ?Sized>(
        &mut self,
        datagram: &Datagram<'_>,
        memory: &mut M,
        now_us: u64,
    ) {
        self.statistics.received_packets += 1;
        let Ok(packet) = Packet::parse(datagram.payload) else {
            self.statistics.malformed += 1;
            return;
        };
        let ends = Ends {
            source: datagram.source,
            destination: datagram.destination,
        };
        let identification = datagram.ipv4_identification;
        if self.icrc.check(&ends, datagram.payload, identification) == Verdict::Bad {
            self.statistics.bad_icrc += 1;
        } else if !packet.bth.in_default_partition() {
            self.statistics.foreign += 1;
        } else if packet.bth.destination == GSI_QP {
            self.handle_mad(&packet, &ends, now_us);
        } else {
            self.handle_packet(&packet, &ends, memory, now_us);
        }
    }

    fn handle_mad(&mut self, packet: &Packet<'_>, ends: &Ends, now_us: u64) {
        let deth = packet.extension.deth;
        if deth.is_none_or(|deth| deth.q_key != GSI_Q_KEY) {
            self.statistics.unknown_queue_pair += 1;
            return;
        }
        let mut remote = ends.source;
        remote.set_port(UDP_PORT);
        let path = Path {
            local: ends.destination,
            remote,
        };
        self.cm
            .handle_mad(path, packet.payload, now_us, &mut self.statistics);
        self.run_cm();
    }

    fn handle_packet<M: Memory + ?Sized>(
        &mut self,
        packet: &Packet<'_>,
        ends: &Ends,
        memory: &mut M,
        now_us: u64,
    ) {
        let qp = QueuePairNumber(packet.bth.destination);
        let index = self
            .index_of(qp)
            .filter(|_| packet.shape.family != Family::Datagram);
        let slot = index.and_then(|index| self.slots.get_mut(index));
        let Some((about, pair)) = slot.and_then(Slot::split) else {
            self.statistics.unknown_queue_pair += 1;
            return;
        };
        if !pair.is_way_of(ends.source, ends.destination) {
            self.statistics.foreign += 1;
            return;
        }
        let mut report = Report {
            qp,
            completions: &mut self.completions,
            statistics: &mut self.statistics,
        };
        let shared = about.shared.and_then(|id| self.shared.get_mut(id.0));
        let keys = &mut self.keys;
        let taken = pair.handle_packet(packet, memory, keys, shared, now_us, &mut report);
        if !taken {
            self.statistics.wrong_state += 1;
            return;
        }
        if let (true, Some(connection)) = (about.awaits_rtu, about.connection) {
            about.awaits_rtu = false;
            self.cm.handle_traffic(connection);
            self.run_cm();
        }
        self.wake(qp);
        self.look_after(qp);
    }

    /// The clock has reached what [`Node::poll_timeout`] gave, or passed it.
    pub fn handle_timeout(&mut self, now_us: u64) {
        while let Some(&Reverse((due, key))) = self.timers.peek() {
            if due > now_us {
                break;
            }
            self.timers.pop();
            match key {
                TimerKey::Connection(id) => {
                    self.cm.handle_timeout(id, now_us, &mut self.statistics);
                    self.run_cm();
                }
                TimerKey::QueuePair(qp) => self.handle_pair_timeout(qp, due, now_us),
            }
        }
    }

    fn handle_pair_timeout(&mut self, qp: QueuePairNumber, due: u64, now_us: u64) {
        let slot = self
            .index_of(qp)
            .and_then(|index| self.slots.get_mut(index));
        let Some(slot) = slot.filter(|slot| slot.about.timer_us == Some(due)) else {
            return;
        };
        slot.about.timer_us = None;
        self.with_pair(qp, |pair, _, report| pair.handle_timeout(now_us, report));
        self.wake(qp);
        self.look_after(qp);
    }

    /// When to call [`Node::handle_timeout`]. May be earlier than needed, never later.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((due, _))| *due)
    }

    /// The next completion, of any queue pair.
    pub fn poll_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Something may be waiting in [`Node::poll_transmit`].
    pub fn wants_transmit(&self) -> bool {
        self.cm.has_outgoing() || !self.ready.is_empty()
    }

    /// Puts a queue pair in the list of those that may have something to send.
    fn wake(&mut self, qp: QueuePairNumber) {
        let Some(index) = self.index_of(qp) else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(index).filter(|slot| !slot.is_ready) {
            slot.is_ready = true;
            self.ready.push_back(index);
        }
    }

    /// After anything that may have changed a queue pair: its timer, its failure, its drain.
    fn look_after(&mut self, qp: QueuePairNumber) {
        let slot = self
            .index_of(qp)
            .and_then(|index| self.slots.get_mut(index));
        let Some((about, pair)) = slot.and_then(Slot::split) else {
            return;
        };
        if let Some(due) = pair.deadline_us()
            && about.timer_us.is_none_or(|timer| timer > due)
        {
            about.timer_us = Some(due);
            self.timers.push(Reverse((due, TimerKey::QueuePair(qp))));
        }
        if pair.state() == State::Error && !about.error_told {
            about.error_told = true;
            self.events.push_back(Event::QueuePairError(qp));
        }
        if pair.take_drained() {
            self.events.push_back(Event::SendQueueDrained(qp));
        }
    }

    /// Does what connection management asks for.
    fn run_cm(&mut self) {
        while let Some(step) = self.cm.poll_step() {
            match step {
                Step::MakeReady(qp, rtr, rts) => {
                    if self.make_ready_to_receive(qp, rtr).is_ok() {
                        self.make_ready_to_send(qp, rts).ok();
                    }
                }
                Step::Fail(qp) => {
                    self.fail_queue_pair(qp).ok();
                }
                Step::Tell(event) => self.events.push_back(event),
            }
        }
        while let Some((id, due)) = self.cm.poll_deadline() {
            self.timers.push(Reverse((due, TimerKey::Connection(id))));
        }
    }

    /// The next datagram to send. Poll until `None` at the end of a turn: acknowledges are gathered until then.
    pub fn poll_transmit<M: Memory + ?Sized>(
        &mut self,
        memory: &M,
        now_us: u64,
    ) -> Option<Transmit<'_>> {
        if let Some(outgoing) = self.cm.poll_outgoing() {
            return Some(self.emit_mad(&outgoing));
        }
        loop {
            let (qp, emission) = self.next_emission(now_us)?;
            if let Some((path, length)) = self.prepare(qp, &emission, memory) {
                self.statistics.sent_packets += 1;
                return Some(self.scratch.transmit(path, length));
            }
            // The memory of a work request is gone: the queue pair cannot go on.
            self.with_pair(qp, |pair, _, report| pair.fail(report));
            self.look_after(qp);
        }
    }

    /// Round robin over the queue pairs in the list, [`BURST`] packets each.
    fn next_emission(&mut self, now_us: u64) -> Option<(QueuePairNumber, Emission)> {
        while let Some(&index) = self.ready.front() {
            let qp = self
                .slots
                .get(index)
                .and_then(|slot| number_of(index, slot.generation));
            let emission = qp.and_then(|qp| {
                self.with_pair(qp, |pair, keys, report| pair.poll(keys, now_us, report))
                    .flatten()
                    .map(|emission| (qp, emission))
            });
            if let Some(qp) = qp {
                self.look_after(qp);
            }
            self.burst += 1;
            if emission.is_none() || self.burst >= BURST {
                self.burst = 0;
                self.ready.pop_front();
                self.finish_turn(index, emission.is_some());
            }
            if emission.is_some() {
                return emission;
            }
        }
        None
    }

    fn finish_turn(&mut self, index: usize, more: bool) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.is_ready = more;
        }
        if more {
            self.ready.push_back(index);
        }
    }

    /// Headers, pad and ICRC of a packet.
    fn prepare<M: Memory + ?Sized>(
        &mut self,
        qp: QueuePairNumber,
        emission: &Emission,
        memory: &M,
    ) -> Option<(Path, usize)> {
        let attributes = *self.attributes(qp)?;
        let payload_len = usize::try_from(emission.payload.length()).ok()?;
        let mut bth = Bth::new(emission.opcode, attributes.remote_qp, emission.psn);
        bth.solicited = emission.solicited;
        bth.ack_request = emission.ack_request;
        bth.pad_count = pad_count(payload_len);
        let header = HeaderBytes::emit(bth, &emission.extension);
        let header = header.as_slice();
        let pad = usize::from(bth.pad_count);
        let length = header.len() + payload_len + pad + ICRC_LEN;
        let mut all_there = true;
        let parts = emission.payload.as_slice().iter().map_while(|part| {
            let bytes = memory.bytes(part.region, part.offset, part.length);
            all_there &= bytes.is_some();
            bytes
        });
        let ends = ends_of(&attributes.path);
        let icrc = self
            .icrc
            .compute(&ends, header, parts, bth.pad_count, length);
        self.scratch.fill(header, emission.payload, pad, icrc);
        all_there.then_some((attributes.path, length))
    }

    fn emit_mad(&mut self, outgoing: &OutgoingMad) -> Transmit<'_> {
        self.mad_psn = self.mad_psn.next();
        let extension = Extension {
            deth: Some(Deth {
                q_key: GSI_Q_KEY,
                source: GSI_QP,
            }),
            ..Extension::default()
        };
        let bth = Bth::new(Opcode::UD_SEND_ONLY, GSI_QP, self.mad_psn);
        let header = HeaderBytes::emit(bth, &extension);
        let header = header.as_slice();
        let length = header.len() + MAD_LEN + ICRC_LEN;
        let ends = ends_of(&outgoing.path);
        let payload = std::iter::once(outgoing.mad.as_slice());
        let icrc = self.icrc.compute(&ends, header, payload, 0, length);
        self.scratch.fill(header, Segments::default(), 0, icrc);
        self.scratch.append(&outgoing.mad);
        self.statistics.sent_packets += 1;
        self.scratch.transmit(outgoing.path, length)
    }
}

fn number_of(index: usize, generation: u32) -> Option<QueuePairNumber> {
    let index = u32::try_from(index).ok()?;
    Some(QueuePairNumber(generation << INDEX_BITS | index))
}

fn ends_of(path: &Path) -> Ends {
    Ends {
        source: path.local,
        destination: path.remote,
    }
}

impl Scratch {
    fn fill(&mut self, header: &[u8], payload: Segments, pad: usize, icrc: u32) {
        self.header_len = 0;
        self.append(header);
        self.payload = payload;
        self.trailer = [0; 3 + ICRC_LEN];
        self.trailer_len = pad + ICRC_LEN;
        if let Some(room) = self.trailer.get_mut(pad..pad + ICRC_LEN) {
            room.copy_from_slice(&icrc.to_le_bytes());
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let end = self.header_len + bytes.len();
        if let Some(room) = self.header.get_mut(self.header_len..end) {
            room.copy_from_slice(bytes);
            self.header_len = end;
        }
    }

    fn transmit(&self, path: Path, length: usize) -> Transmit<'_> {
        Transmit {
            path,
            header: self.header.get(..self.header_len).unwrap_or(&[]),
            payload: self.payload.as_slice(),
            trailer: self.trailer.get(..self.trailer_len).unwrap_or(&[]),
            length,
        }
    }
}
