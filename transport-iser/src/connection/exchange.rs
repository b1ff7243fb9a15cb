//! The exchanges of a connection: one slot for every request that is going to last.
//!
//! As in the modules that use them, what every command passes is inlined by force, because it hands large values on.

use target_core::command::ExchangeId;
use target_core::lun::Lun;

use super::data_out::DataOutBuffer;
use crate::iser::Stag;
use crate::pdu::RESERVED_TAG;

/// Where an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The slot is not in use.
    Free,
    /// Its request is still coming; the core does not know it yet.
    Arriving,
    /// The core has it.
    Executing,
    /// Its response waits to be sent.
    Responding,
    /// The core has aborted it while the NIC still reads for it.
    Aborted,
}

#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) state: State,
    pub(super) immediate: bool,
    /// A task management request, no command.
    pub(super) task_management: bool,
    pub(super) lun: Lun,
    /// Both R and W are set.
    pub(super) bidirectional: bool,
    pub(super) read: bool,
    pub(super) data_out: DataOutBuffer,
    /// An RDMA READ of the Data-Out Buffer is queued or under way, for this task.
    pub(super) pulling: Option<target_core::backend::TaskId>,
    /// Where solicited data are (iSER).
    pub(super) write_stag: Option<Stag>,
    /// How many bytes of the Data-Out Buffer lie before what the write STag has (iSER).
    pub(super) write_stag_begin: u32,
    /// Where the Data-In Buffer is (iSER).
    pub(super) read_stag: Option<Stag>,
    generation: u16,
}

/// What an answer says of an exchange that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) initiator_task_tag: u32,
    pub(super) immediate: bool,
    pub(super) bidirectional: bool,
    pub(super) read: bool,
    /// R2Ts that were made for it.
    pub(super) r2t_count: u32,
    pub(super) write_stag: Option<Stag>,
    pub(super) read_stag: Option<Stag>,
}

/// A slab with room for `limit` exchanges. An [`ExchangeId`] holds slot and generation, so that a late call for an exchange that
/// has ended finds nothing. The tags lie beside it, close together, as they are searched for each command.
#[derive(Debug)]
pub(super) struct Exchanges {
    slots: Vec<Exchange>,
    /// Initiator Task Tag of each slot; 0xffffffff, which no task can have, for a free one.
    tags: Vec<u32>,
    free: Vec<u16>,
    limit: usize,
    /// Generation of a slot that is added.
    first_generation: u16,
}

impl Exchanges {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            slots: Vec::new(),
            tags: Vec::new(),
            free: Vec::new(),
            limit: limit as usize,
            first_generation: 0,
        }
    }

    #[inline(always)]
    pub(super) fn begin(&mut self, initiator_task_tag: u32) -> Option<ExchangeId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.add_slot()?,
        };
        let place = usize::from(index);
        *self.tags.get_mut(place)? = initiator_task_tag;
        let slot = self.slots.get_mut(place)?;
        slot.state = State::Arriving;
        Some(id(index, slot.generation))
    }

    fn add_slot(&mut self) -> Option<u16> {
        if self.slots.len() >= self.limit {
            return None;
        }
        let index = u16::try_from(self.slots.len()).ok()?;
        self.slots.push(Exchange::free(self.first_generation));
        self.tags.push(RESERVED_TAG);
        Some(index)
    }

    /// The exchange, unless it has ended.
    #[inline]
    pub(super) fn get_mut(&mut self, exchange: ExchangeId) -> Option<&mut Exchange> {
        let slot = self.slots.get_mut(exchange.place());
        slot.filter(|slot| slot.is(exchange))
    }

    /// The exchange, unless it has ended.
    pub(super) fn get(&self, exchange: ExchangeId) -> Option<&Exchange> {
        let slot = self.slots.get(exchange.place());
        slot.filter(|slot| slot.is(exchange))
    }

    /// Initiator Task Tag of an exchange that has not ended.
    pub(super) fn tag(&self, exchange: ExchangeId) -> u32 {
        let tag = self.tags.get(exchange.place()).copied();
        tag.unwrap_or(RESERVED_TAG)
    }

    /// Who has this Initiator Task Tag now.
    #[inline]
    pub(super) fn find(&self, initiator_task_tag: u32) -> Option<ExchangeId> {
        if initiator_task_tag == RESERVED_TAG {
            return None;
        }
        self.at(position(&self.tags, initiator_task_tag)?)
    }

    /// Who has this place now.
    pub(super) fn at(&self, place: usize) -> Option<ExchangeId> {
        let slot = self.slots.get(place).filter(|s| s.state != State::Free)?;
        Some(id(u16::try_from(place).ok()?, slot.generation))
    }

    /// Frees the slot and says what it was. `None` when the exchange had ended before.
    #[inline(always)]
    pub(super) fn end(&mut self, exchange: ExchangeId) -> Option<Ended> {
        let place = exchange.place();
        let slot = self.slots.get_mut(place).filter(|s| s.is(exchange))?;
        let tag = self.tags.get_mut(place)?;
        let ended = slot.end(std::mem::replace(tag, RESERVED_TAG));
        self.free.push(split(exchange).0);
        Some(ended)
    }

    /// Exchanges that have not ended.
    pub(super) fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether the core has none any more, nor will have one of those that came.
    pub(super) fn is_quiet(&self) -> bool {
        let is_busy = |slot: &Exchange| matches!(slot.state, State::Arriving | State::Executing);
        !self.slots.iter().any(is_busy)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Exchange>()
            + self.tags.capacity() * size_of::<u32>()
            + self.free.capacity() * size_of::<u16>()
    }

    /// Gives back the memory of the slots, if none is in use. Generations go on, so that an id of the past is still not found.
    pub(super) fn shrink(&mut self) {
        if !self.is_swollen() {
            return;
        }
        let last = self.slots.iter().map(|slot| slot.generation).max();
        *self = Self {
            first_generation: last.unwrap_or(0),
            limit: self.limit,
            ..Self::new(0)
        };
    }

    /// Whether [`Exchanges::shrink`] would give memory back.
    pub(super) fn is_swollen(&self) -> bool {
        self.in_use() == 0 && self.slots.len() > SMALL
    }
}

/// Tags that are compared at a time.
const TOGETHER: usize = 16;

/// Where a tag stands. Nearly always it stands nowhere: so a group is compared as a whole, without a branch for each tag.
#[inline]
fn position(tags: &[u32], wanted: u32) -> Option<usize> {
    let (groups, rest) = tags.as_chunks::<TOGETHER>();
    let holds = |group: &[u32; TOGETHER]| group.iter().fold(false, |is, &tag| is | (tag == wanted));
    let (begin, group) = match groups.iter().position(holds) {
        Some(at) => (at * TOGETHER, groups.get(at)?.as_slice()),
        None => (groups.len() * TOGETHER, rest),
    };
    let place = group.iter().position(|&tag| tag == wanted)?;
    Some(begin + place)
}

/// Slots that stay with an idle connection.
const SMALL: usize = 4;

impl Exchange {
    fn free(generation: u16) -> Self {
        Self {
            state: State::Free,
            immediate: false,
            task_management: false,
            lun: Lun::default(),
            bidirectional: false,
            read: false,
            data_out: DataOutBuffer::default(),
            pulling: None,
            write_stag: None,
            write_stag_begin: 0,
            read_stag: None,
            generation,
        }
    }

    /// Frees the slot where it lies: it is too large to be moved for each command.
    fn end(&mut self, initiator_task_tag: u32) -> Ended {
        let ended = Ended {
            initiator_task_tag,
            immediate: self.immediate,
            bidirectional: self.bidirectional,
            read: self.read,
            r2t_count: self.data_out.r2t_count(),
            write_stag: self.write_stag,
            read_stag: self.read_stag,
        };
        self.state = State::Free;
        self.immediate = false;
        self.task_management = false;
        self.bidirectional = false;
        self.read = false;
        self.data_out.clear();
        self.pulling = None;
        self.write_stag = None;
        self.write_stag_begin = 0;
        self.read_stag = None;
        self.generation = self.generation.wrapping_add(1);
        ended
    }

    fn is(&self, exchange: ExchangeId) -> bool {
        self.state != State::Free && self.generation == split(exchange).1
    }
}

fn id(index: u16, generation: u16) -> ExchangeId {
    ExchangeId(u32::from(generation) << 16 | u32::from(index))
}

fn split(exchange: ExchangeId) -> (u16, u16) {
    let [g1, g0, i1, i0] = exchange.0.to_be_bytes();
    (u16::from_be_bytes([i1, i0]), u16::from_be_bytes([g1, g0]))
}

/// What the Target Transfer Tags of an exchange have in common: its place, and a part of its generation. The place is never
/// 0xffff, so the tag is never the reserved one.
pub(super) fn tag_base(exchange: ExchangeId) -> u32 {
    let (index, generation) = split(exchange);
    u32::from(generation) << 24 | u32::from(index)
}

/// The place that a Target Transfer Tag names.
pub(super) fn tag_place(target_transfer_tag: u32) -> usize {
    (target_transfer_tag & 0xffff) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_exchange_is_not_found_again() {
        let mut exchanges = Exchanges::new(1);
        let first = exchanges.begin(7).expect("room");
        assert!(exchanges.begin(8).is_none());
        assert_eq!(exchanges.find(7), Some(first));
        assert!(exchanges.end(first).is_some());
        assert!(exchanges.end(first).is_none());
        assert_eq!(exchanges.find(7), None);
        let second = exchanges.begin(7).expect("room");
        assert!(exchanges.get_mut(first).is_none());
        assert_eq!(exchanges.find(7), Some(second));
        assert_ne!(tag_base(first), tag_base(second));
    }

    #[test]
    fn memory_of_a_past_load_is_given_back() {
        let mut exchanges = Exchanges::new(100);
        let all: Vec<_> = (0..100).filter_map(|tag| exchanges.begin(tag)).collect();
        let last = all[99];
        for exchange in all {
            exchanges.end(exchange);
        }
        let full = exchanges.heap_bytes();
        assert!(exchanges.is_swollen());
        exchanges.shrink();
        assert!(!exchanges.is_swollen() && exchanges.heap_bytes() < full / 10);
        let again: Vec<_> = (0..100).filter_map(|tag| exchanges.begin(tag)).collect();
        assert_eq!(again.len(), 100);
        assert_eq!(exchanges.find(RESERVED_TAG), None);
        assert!(exchanges.get(last).is_none(), "an id of the past");
    }
}
