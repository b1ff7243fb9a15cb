//! A node: everything behind one UDP port. Sorts datagrams to queue pairs and connection management, polls all
//! queue pairs fairly, and keeps one list of timers.

mod transmit;
mod verbs;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;

pub use transmit::Transmit;
use transmit::{LastWord, Scratch};

use crate::cm::{CmConfig, ConnectionId, ConnectionManager, Event, Step};
use crate::memory::{Keys, Memory};
use crate::packet::icrc::{self, Ends, Verdict};
use crate::packet::{Family, GSI_Q_KEY, Packet, UDP_PORT};
use crate::psn::Psn;
use crate::qp::receive::ReceiveQueue;
use crate::qp::{Path, QueuePair, Report, State, Tuning};
use crate::scramble;
use crate::statistics::Statistics;
use crate::work::{Completion, QueuePairNumber};

/// The general services queue pair.
const GSI_QP: u32 = 1;

/// Index bits of a queue pair number; the rest is a generation, never 0, so that the well-known numbers are free.
const INDEX_BITS: u32 = 14;
const GENERATIONS: u32 = 1 << (24 - INDEX_BITS);

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

/// Everything behind one UDP port.
pub struct Node {
    tuning: Tuning,
    keys: Keys,
    /// Where the generations of queue pair numbers begin: a process that is started again at once must not use the
    /// numbers that its peers still have connections with.
    first_generation: u32,
    slots: Vec<Slot>,
    free: VecDeque<usize>,
    shared: Vec<ReceiveQueue>,
    cm: ConnectionManager,
    ready: VecDeque<usize>,
    last_words: VecDeque<LastWord>,
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
            tuning: config.tuning,
            keys: Keys::new(config.secret),
            first_generation: first_generation(config.secret),
            slots: Vec::new(),
            free: VecDeque::new(),
            shared: Vec::new(),
            cm: ConnectionManager::new(config.cm, config.secret),
            ready: VecDeque::new(),
            last_words: VecDeque::new(),
            burst: 0,
            timers: BinaryHeap::new(),
            completions: VecDeque::new(),
            events: VecDeque::new(),
            statistics: Statistics::default(),
            mad_psn: Psn::default(),
            scratch: Scratch::new(),
        }
    }

    /// Counters so far.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
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
        if icrc::check(&ends, datagram.payload, identification) == Verdict::Bad {
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
        self.cm.has_outgoing() || !self.ready.is_empty() || !self.last_words.is_empty()
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
}

fn first_generation(secret: u64) -> u32 {
    // The remainder fits.
    (scramble(secret) % u64::from(GENERATIONS - 1)) as u32
}

fn number_of(index: usize, generation: u32) -> Option<QueuePairNumber> {
    let index = u32::try_from(index).ok()?;
    Some(QueuePairNumber(generation << INDEX_BITS | index))
}
