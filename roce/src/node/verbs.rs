//! What the consumer asks of a node: memory, queue pairs, work requests, connections.

use super::{About, GENERATIONS, INDEX_BITS, Node, SharedReceiveQueueId, Slot, number_of};
use crate::cm::{Accept, CmError, Connect, ConnectionId, RejectReason};
use crate::memory::{AccessError, Key, Keys, Pd, Region};
use crate::qp::receive::ReceiveQueue;
use crate::qp::{
    QueuePair, QueuePairConfig, Report, RtrAttributes, RtsAttributes, State, StateError,
};
use crate::work::{PostError, QueuePairNumber, RecvRequest, SendRequest};

impl Node {
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
        self.slots.push(Slot {
            generation: self.first_generation,
            ..Slot::default()
        });
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

    pub(super) fn index_of(&self, qp: QueuePairNumber) -> Option<usize> {
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

    /// RTR or SQD to RTS; back from SQD the attributes stay as they were.
    pub fn make_ready_to_send(
        &mut self,
        qp: QueuePairNumber,
        attributes: RtsAttributes,
    ) -> Result<(), StateError> {
        self.pair_mut(qp)?.make_ready_to_send(attributes)?;
        self.wake(qp);
        Ok(())
    }

    /// RTS to SQD; [`Event::SendQueueDrained`](crate::cm::Event::SendQueueDrained) says when nothing is on its way any more.
    pub fn drain_send_queue(&mut self, qp: QueuePairNumber) -> Result<(), StateError> {
        self.pair_mut(qp)?.drain_send_queue()?;
        self.look_after(qp);
        Ok(())
    }

    /// To the error state: all work requests are flushed.
    pub fn fail_queue_pair(&mut self, qp: QueuePairNumber) -> Result<(), StateError> {
        let last_word = self.with_pair(qp, |pair, _, report| pair.fail(report));
        if let Some(emission) = last_word.ok_or(StateError::Unknown)? {
            self.keep_last_word(qp, &emission);
        }
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
    pub(super) fn with_pair<R>(
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

    /// Connects a fresh queue pair. [`Event::Connected`](crate::cm::Event::Connected), `Rejected` or `Unreachable` follows.
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

    /// Accepts a connection request with a fresh queue pair. It may receive at once; [`Event::Connected`](crate::cm::Event::Connected) follows.
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

    /// Ends a connection: its queue pair fails at once, [`Event::Disconnected`](crate::cm::Event::Disconnected) follows when the peer knows.
    pub fn disconnect(&mut self, connection: ConnectionId, now_us: u64) -> Result<(), CmError> {
        self.cm
            .disconnect(connection, now_us, &mut self.statistics)?;
        self.run_cm();
        Ok(())
    }
}
