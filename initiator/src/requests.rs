//! The requests that are outstanding, found by their tag without searching.

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

    pub(crate) fn generation(self) -> u64 {
        self.0 >> 32
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Outstanding<R> {
    /// What the protocol keeps of it.
    pub(crate) request: R,
    /// Order of sending.
    pub(crate) sequence: u64,
    /// `None` when there is none, or when it was reported.
    deadline_ms: Option<u64>,
}

#[derive(Debug)]
struct Slot<R> {
    generation: u32,
    request: Option<Outstanding<R>>,
}

impl<R> Slot<R> {
    fn holds(&self, id: RequestId) -> bool {
        u64::from(self.generation) == id.generation()
    }
}

#[derive(Debug)]
pub(crate) struct Requests<R> {
    slots: Vec<Slot<R>>,
    free: Vec<u32>,
    begun: u64,
}

impl<R> Requests<R> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            begun: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The name that the next [`Requests::begin`] gives.
    pub(crate) fn next_id(&mut self) -> RequestId {
        if self.free.is_empty() {
            // The limits of all protocols bound this far below 2^32.
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

    pub(crate) fn begin(&mut self, request: R, deadline_ms: Option<u64>) {
        let place = self.free.pop();
        if let Some(slot) = place.and_then(|place| self.slots.get_mut(place as usize)) {
            self.begun += 1;
            slot.request = Some(Outstanding {
                request,
                sequence: self.begun,
                deadline_ms,
            });
        }
    }

    pub(crate) fn get(&self, id: RequestId) -> Option<&Outstanding<R>> {
        let slot = self.slots.get(id.place())?;
        slot.request.as_ref().filter(|_| slot.holds(id))
    }

    pub(crate) fn get_mut(&mut self, id: RequestId) -> Option<&mut R> {
        let slot = self.slots.get_mut(id.place())?;
        if !slot.holds(id) {
            return None;
        }
        slot.request
            .as_mut()
            .map(|outstanding| &mut outstanding.request)
    }

    /// What is outstanding at a place.
    pub(crate) fn at(&self, place: usize) -> Option<RequestId> {
        let slot = self.slots.get(place)?;
        slot.request.as_ref()?;
        Some(RequestId::new(slot.generation, u32::try_from(place).ok()?))
    }

    /// Whether a request that has ended had this name.
    pub(crate) fn was_used(&self, id: RequestId) -> bool {
        let slot = self.slots.get(id.place());
        slot.is_some_and(|slot| (1..u64::from(slot.generation)).contains(&id.generation()))
    }

    pub(crate) fn end(&mut self, id: RequestId) -> Option<Outstanding<R>> {
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
    pub(crate) fn find_from(
        &self,
        from: &mut usize,
        chosen: impl Fn(RequestId, &Outstanding<R>) -> bool,
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
    pub(crate) fn late(&mut self, now_ms: u64) -> impl Iterator<Item = RequestId> {
        (0..).zip(&mut self.slots).filter_map(move |(place, slot)| {
            let deadline = &mut slot.request.as_mut()?.deadline_ms;
            deadline.take_if(|at| *at <= now_ms)?;
            Some(RequestId::new(slot.generation, place))
        })
    }

    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let requests = self.slots.iter().filter_map(|slot| slot.request.as_ref());
        requests.filter_map(|request| request.deadline_ms).min()
    }
}
