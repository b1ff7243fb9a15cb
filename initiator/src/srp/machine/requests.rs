//! The requests that are outstanding, found by their tag without searching.

use target_core::lun::Lun;

use super::{ChannelNumber, TaskFunction};

/// A request, by its tag: the place in the table, and how often that place was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

impl RequestId {
    fn new(generation: u32, place: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(place))
    }

    /// Where the request is in the session's table; below the number of requests that can be outstanding.
    pub fn place(self) -> usize {
        // The cast keeps the low half, which is the place.
        self.0 as u32 as usize
    }

    fn generation(self) -> u64 {
        self.0 >> 32
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Command,
    TaskManagement(TaskFunction),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Outstanding {
    pub(super) channel: ChannelNumber,
    pub(super) lun: Lun,
    pub(super) kind: Kind,
    /// `None` when there is none, or when it was reported.
    deadline_ms: Option<u64>,
    /// Order of sending.
    pub(super) sequence: u64,
}

impl Outstanding {
    pub(super) fn new(
        channel: ChannelNumber,
        lun: Lun,
        kind: Kind,
        deadline_ms: Option<u64>,
    ) -> Self {
        Self {
            channel,
            lun,
            kind,
            deadline_ms,
            sequence: 0,
        }
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    request: Option<Outstanding>,
}

impl Slot {
    fn holds(&self, id: RequestId) -> bool {
        u64::from(self.generation) == id.generation()
    }
}

#[derive(Debug)]
pub(super) struct Requests {
    slots: Vec<Slot>,
    free: Vec<u32>,
    begun: u64,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            begun: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The name that the next [`Requests::begin`] gives.
    pub(super) fn next_id(&mut self) -> RequestId {
        if self.free.is_empty() {
            // The request limits of all channels bound this far below 2^32.
            self.free
                .push(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
            self.slots.push(Slot {
                generation: 1,
                request: None,
            });
        }
        let place = self.free.last().copied().unwrap_or(0);
        let generation = self.slots.get(place as usize).map_or(0, |s| s.generation);
        RequestId::new(generation, place)
    }

    pub(super) fn begin(&mut self, request: Outstanding) {
        let place = self.free.pop();
        if let Some(slot) = place.and_then(|place| self.slots.get_mut(place as usize)) {
            self.begun += 1;
            slot.request = Some(Outstanding {
                sequence: self.begun,
                ..request
            });
        }
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&Outstanding> {
        let slot = self.slots.get(id.place())?;
        slot.request.as_ref().filter(|_| slot.holds(id))
    }

    /// Whether a request that has ended had this name.
    pub(super) fn was_used(&self, id: RequestId) -> bool {
        let slot = self.slots.get(id.place());
        slot.is_some_and(|slot| (1..u64::from(slot.generation)).contains(&id.generation()))
    }

    pub(super) fn end(&mut self, id: RequestId) -> Option<Outstanding> {
        let slot = self.slots.get_mut(id.place())?;
        if !slot.holds(id) {
            return None;
        }
        let request = slot.request.take()?;
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        self.free
            .push(u32::try_from(id.place()).unwrap_or(u32::MAX));
        Some(request)
    }

    /// The next request from place `from` on that is chosen; `from` moves behind it.
    pub(super) fn find_from(
        &self,
        from: &mut usize,
        chosen: impl Fn(RequestId, &Outstanding) -> bool,
    ) -> Option<RequestId> {
        loop {
            let slot = self.slots.get(*from)?;
            let id = RequestId::new(slot.generation, u32::try_from(*from).ok()?);
            *from += 1;
            if slot
                .request
                .as_ref()
                .is_some_and(|request| chosen(id, request))
            {
                return Some(id);
            }
        }
    }

    /// Requests whose deadline has come; each is given once.
    pub(super) fn late(&mut self, now_ms: u64) -> impl Iterator<Item = RequestId> {
        (0..).zip(&mut self.slots).filter_map(move |(place, slot)| {
            let deadline = &mut slot.request.as_mut()?.deadline_ms;
            deadline.take_if(|at| *at <= now_ms)?;
            Some(RequestId::new(slot.generation, place))
        })
    }

    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let requests = self.slots.iter().filter_map(|slot| slot.request.as_ref());
        requests.filter_map(|request| request.deadline_ms).min()
    }
}
