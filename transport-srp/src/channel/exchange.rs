//! The exchanges of a channel: one slot for every request that the request limit allows.

use iobuf::RemoteSegment;
use target_core::backend::TaskId;
use target_core::command::ExchangeId;

/// Segment lists that are no longer than this stay with an idle channel.
const SMALL_LIST: usize = 4;

/// Where an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The slot is not in use.
    Free,
    /// A part of its indirect table is being fetched; the core does not know it yet.
    Fetching,
    /// The core has it.
    Executing,
    /// Its response waits to be sent.
    Responding,
    /// The core has aborted it while the NIC still reads for it.
    Aborted,
}

#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) tag: u64,
    pub(super) segments: Vec<RemoteSegment>,
    /// How many of the segments are the Data-Out Buffer's; they come first.
    pub(super) data_out_segments: usize,
    /// Whose Data-Out Buffer is being pulled.
    pub(super) task: TaskId,
    /// An RDMA READ of the Data-Out Buffer is queued or under way.
    pub(super) pulling: bool,
    pub(super) state: State,
    generation: u16,
}

/// A slab with room for `limit` exchanges. An [`ExchangeId`] holds slot and generation, so that a
/// late call for an exchange that has ended finds nothing.
#[derive(Debug)]
pub(super) struct Exchanges {
    slots: Vec<Exchange>,
    free: Vec<u16>,
    limit: usize,
    /// A slot that is not in use may hold a long list.
    swollen: bool,
}

impl Exchanges {
    pub(super) fn new(limit: u32) -> Self {
        let limit = limit as usize;
        Self {
            slots: Vec::with_capacity(limit),
            free: Vec::with_capacity(limit),
            limit,
            swollen: false,
        }
    }

    /// Begins an exchange that the core will execute. `None` when all slots are in use, which the
    /// request limit does not let happen.
    pub(super) fn begin(&mut self, tag: u64) -> Option<ExchangeId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.add_slot()?,
        };
        let exchange = self.slots.get_mut(usize::from(index))?;
        exchange.tag = tag;
        exchange.state = State::Executing;
        exchange.data_out_segments = 0;
        exchange.pulling = false;
        exchange.segments.clear();
        Some(id(index, exchange.generation))
    }

    fn add_slot(&mut self) -> Option<u16> {
        if self.slots.len() >= self.limit {
            return None;
        }
        let index = u16::try_from(self.slots.len()).ok()?;
        self.slots.push(Exchange {
            tag: 0,
            segments: Vec::new(),
            data_out_segments: 0,
            task: TaskId {
                index: 0,
                generation: 0,
            },
            pulling: false,
            state: State::Free,
            generation: 0,
        });
        Some(index)
    }

    /// The exchange, unless it has ended.
    pub(super) fn get_mut(&mut self, exchange: ExchangeId) -> Option<&mut Exchange> {
        let (index, generation) = split(exchange);
        self.slots
            .get_mut(usize::from(index))
            .filter(|slot| slot.state != State::Free && slot.generation == generation)
    }

    /// Frees the slot. False when the exchange had ended before.
    pub(super) fn end(&mut self, exchange: ExchangeId) -> bool {
        let Some(slot) = self.get_mut(exchange) else {
            return false;
        };
        slot.state = State::Free;
        slot.generation = slot.generation.wrapping_add(1);
        let long = slot.segments.capacity() > SMALL_LIST;
        self.swollen |= long;
        self.free.push(split(exchange).0);
        true
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let lists: usize = self.slots.iter().map(|s| s.segments.capacity()).sum();
        self.slots.capacity() * size_of::<Exchange>()
            + self.free.capacity() * size_of::<u16>()
            + lists * size_of::<RemoteSegment>()
    }

    /// Whether [`Exchanges::shrink`] would give memory back.
    pub(super) fn is_swollen(&self) -> bool {
        self.swollen
    }

    /// Drops the long segment lists of slots that are not in use.
    pub(super) fn shrink(&mut self) {
        self.swollen = false;
        let free = self.slots.iter_mut().filter(|s| s.state == State::Free);
        for slot in free.filter(|s| s.segments.capacity() > SMALL_LIST) {
            slot.segments = Vec::new();
        }
    }
}

fn id(index: u16, generation: u16) -> ExchangeId {
    ExchangeId(u32::from(generation) << 16 | u32::from(index))
}

fn split(exchange: ExchangeId) -> (u16, u16) {
    let [g1, g0, i1, i0] = exchange.0.to_be_bytes();
    (u16::from_be_bytes([i1, i0]), u16::from_be_bytes([g1, g0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_exchange_is_not_found_again() {
        let mut exchanges = Exchanges::new(1);
        let first = exchanges.begin(7).expect("room");
        assert!(exchanges.begin(8).is_none());
        assert!(exchanges.end(first));
        assert!(!exchanges.end(first));
        let second = exchanges.begin(9).expect("room");
        assert!(exchanges.get_mut(first).is_none());
        assert_eq!(exchanges.get_mut(second).map(|e| e.tag), Some(9));
    }

    #[test]
    fn long_lists_go_when_the_channel_is_idle() {
        let mut exchanges = Exchanges::new(2);
        let long = exchanges.begin(1).expect("room");
        let kept = exchanges.begin(2).expect("room");
        for exchange in [long, kept] {
            let slot = exchanges.get_mut(exchange).expect("in use");
            slot.segments.reserve(100);
        }
        exchanges.end(long);
        assert!(exchanges.is_swollen());
        exchanges.shrink();
        assert!(!exchanges.is_swollen());
        let capacities: Vec<_> = exchanges
            .slots
            .iter()
            .map(|s| s.segments.capacity())
            .collect();
        assert_eq!(capacities[0], 0);
        assert!(capacities[1] >= 100, "in use");
    }
}
