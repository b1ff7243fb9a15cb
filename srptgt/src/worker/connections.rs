//! All connections: by number, by queue pair, and those that want attention.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rdma::{ConnectionId, QueuePairNumber};
use target_core::port::Channel;

use super::connection::{Connection, Pending, Phase, Progress};
use super::slab::Slab;

/// The table. Nothing walks it for each command: attention is a list.
#[derive(Default)]
pub(super) struct Connections {
    slab: Slab<Connection>,
    /// Queue pair numbers are a device's own. Searched for each completion, which is quicker than to hash.
    by_queue_pair: BTreeMap<(usize, QueuePairNumber), u32>,
    by_cm: HashMap<ConnectionId, u32>,
    dirty: Vec<u32>,
    /// Those whose machine found no buffer for a message.
    starved: Vec<u32>,
    /// Those whose machine waits for a time.
    timed: Vec<u32>,
    /// Those that are on their way out.
    ending: Vec<u32>,
    /// Those whose machine wants no input.
    paused: Vec<u32>,
    /// Connections whose login is not over.
    logging_in: usize,
    /// RDMA READs that are out, over all connections.
    pulls: u32,
    /// Connections whose send queue is full.
    blocked: u32,
    /// Connections with sends that have not completed.
    sending: u32,
    /// One of them was removed, or not all completions were looked at: some may lie in their queue.
    left_sends: bool,
}

impl Connections {
    /// Adds what `make` returns when told its number, or gives `None` when the table is full.
    pub(super) fn insert_with(&mut self, make: impl FnOnce(u32) -> Connection) -> Option<u32> {
        let number = self.slab.insert_with(make)?;
        let connection = self.slab.get(number)?;
        self.logging_in += usize::from(connection.is_logging_in());
        if let Some(link) = connection.link.rdma() {
            let queue_pair = (link.adapter, link.queue_pair.number());
            self.by_queue_pair.insert(queue_pair, number);
            self.by_cm.insert(link.cm.id(), number);
        }
        Some(number)
    }

    /// The connection with this number.
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Connection> {
        self.slab.get_mut(number)
    }

    /// The connection with this number.
    pub(super) fn get(&self, number: u32) -> Option<&Connection> {
        self.slab.get(number)
    }

    /// The connection that a completion is of.
    pub(super) fn of_queue_pair(
        &mut self,
        adapter: usize,
        number: QueuePairNumber,
    ) -> Option<&mut Connection> {
        let number = *self.by_queue_pair.get(&(adapter, number))?;
        self.slab.get_mut(number)
    }

    /// The number of the connection that an event of the connection manager is of.
    pub(super) fn of_cm(&self, id: ConnectionId) -> Option<u32> {
        self.by_cm.get(&id).copied()
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, number: u32) -> Option<Connection> {
        let connection = self.slab.remove(number)?;
        self.logging_in -= usize::from(connection.is_logging_in());
        if let Some(link) = connection.link.rdma() {
            self.by_queue_pair
                .remove(&(link.adapter, link.queue_pair.number()));
            self.by_cm.remove(&link.cm.id());
            self.pulls -= link.pulls;
            self.blocked -= u32::from(link.blocked);
            self.sending -= u32::from(link.sending);
            self.left_sends |= link.sending;
        }
        Some(connection)
    }

    /// Connections whose login is not over.
    pub(super) fn logging_in(&self) -> usize {
        self.logging_in
    }

    /// Notes that a login is over, with these values. Gives what was known of it.
    pub(super) fn login_is_over(&mut self, number: u32, values: Progress) -> Option<Pending> {
        let connection = self.slab.get_mut(number)?;
        match std::mem::replace(&mut connection.progress, values) {
            Progress::LoggingIn(pending) => {
                self.logging_in -= 1;
                Some(*pending)
            }
            _ => None,
        }
    }

    /// Notes that a connection's machine wants no input.
    pub(super) fn mark_paused(&mut self, number: u32) {
        let is_live = self
            .slab
            .get(number)
            .is_some_and(|connection| connection.phase == Phase::Live);
        if is_live && !self.paused.contains(&number) {
            self.paused.push(number);
        }
    }

    /// Those whose machine wanted no input; the list is empty until they are marked again.
    pub(super) fn take_paused(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.paused)
    }

    /// Notes that a connection may have something to send.
    pub(super) fn mark_dirty(&mut self, number: u32) {
        if let Some(connection) = self.slab.get_mut(number)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(number);
        }
    }

    /// The next connection that may have something to send.
    pub(super) fn next_dirty(&mut self) -> Option<u32> {
        let number = self.dirty.pop()?;
        if let Some(connection) = self.slab.get_mut(number) {
            connection.dirty = false;
        }
        Some(number)
    }

    /// A connection's queue pair was flushed, with this many RDMA READs more.
    pub(super) fn transmitted(&mut self, number: u32, pulls: u32) {
        let Some(connection) = self.slab.get_mut(number) else {
            return;
        };
        if let Some(link) = connection.link.rdma_mut() {
            link.pulls += pulls;
            self.pulls += pulls;
        }
        if connection.machine.has_transmit() && !self.starved.contains(&number) {
            self.starved.push(number);
        }
        if !connection.timed && connection.machine.poll_timeout().is_some() {
            connection.timed = true;
            self.timed.push(number);
        }
        self.look_at_queue(number);
    }

    /// Messages have come back to their pool: channels that found none may go on.
    pub(super) fn messages_freed(&mut self) {
        while let Some(number) = self.starved.pop() {
            self.mark_dirty(number);
        }
    }

    /// Tells the time to the channels whose time has come. Gives their numbers.
    pub(super) fn handle_timeouts(&mut self, now_ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        let slab = &mut self.slab;
        self.timed.retain(|&number| {
            let Some(connection) = slab.get_mut(number) else {
                return false;
            };
            if connection
                .machine
                .poll_timeout()
                .is_some_and(|at| at <= now_ms)
            {
                connection.machine.handle_timeout(now_ms);
                due.push(number);
            }
            connection.timed = connection.machine.poll_timeout().is_some();
            connection.timed
        });
        due
    }

    /// Notes how full a connection's send queue is.
    pub(super) fn look_at_queue(&mut self, number: u32) {
        let connection = self.slab.get_mut(number);
        let Some(link) = connection.and_then(|connection| connection.link.rdma_mut()) else {
            return;
        };
        let blocked = link.queue_pair.has_pending();
        let sending = !link.queue_pair.is_drained();
        self.blocked = self.blocked + u32::from(blocked) - u32::from(link.blocked);
        self.sending = self.sending + u32::from(sending) - u32::from(link.sending);
        (link.blocked, link.sending) = (blocked, sending);
    }

    /// True when a queue of send completions may have some: then look there, and say when that did not empty it.
    pub(super) fn expects_sends(&mut self) -> bool {
        std::mem::take(&mut self.left_sends) || self.sending > 0
    }

    /// Notes that there may be more send completions than were looked at.
    pub(super) fn expect_more_sends(&mut self) {
        self.left_sends = true;
    }

    /// True when something is to be looked at from time to time although nothing happens.
    pub(super) fn wants_a_look(&self) -> bool {
        self.sending > 0 || !self.timed.is_empty() || !self.ending.is_empty()
    }

    /// RDMA READs of a connection have ended.
    pub(super) fn pulls_ended(&mut self, number: u32, pulls: u32) {
        let connection = self.slab.get_mut(number);
        if let Some(link) = connection.and_then(|connection| connection.link.rdma_mut()) {
            let pulls = pulls.min(link.pulls);
            link.pulls -= pulls;
            self.pulls -= pulls;
        }
    }

    /// True when somebody waits for sends to complete: for data, for room in a send queue, or for the end of a
    /// connection.
    pub(super) fn wait_for_sends(&self) -> bool {
        self.pulls > 0
            || self.blocked > 0
            || !self.starved.is_empty()
            || !self.paused.is_empty()
            || !self.ending.is_empty()
    }

    /// Notes that a connection is on its way out.
    pub(super) fn mark_ending(&mut self, number: u32) {
        if !self.ending.contains(&number) {
            self.ending.push(number);
        }
    }

    /// Those on their way out; the list is empty until they are marked again.
    pub(super) fn take_ending(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.ending)
    }

    /// How many have logged out and are to disconnect.
    pub(super) fn parting(&self) -> usize {
        let is_parting = |&&number: &&u32| {
            let connection = self.slab.get(number);
            connection.is_some_and(|connection| matches!(connection.phase, Phase::Parting { .. }))
        };
        self.ending.iter().filter(is_parting).count()
    }

    /// When the patience with the first of those on their way out ends.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let deadline = |&number: &u32| match self.slab.get(number)?.phase {
            Phase::Live | Phase::Silent => None,
            Phase::Leaving { until } | Phase::Parting { until } | Phase::Draining { until } => {
                Some(until)
            }
        };
        self.ending.iter().filter_map(deadline).min()
    }

    /// True when there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.slab.iter().next().is_none()
    }

    /// The numbers of all.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.slab.numbers()
    }
}
