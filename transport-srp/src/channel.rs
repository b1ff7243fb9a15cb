//! The state machine of one RDMA channel, from the login response to the logout (SRP r16a clause
//! 5).
//!
//! Messages come in by `handle_recv`; commands and task management requests go out as events in the
//! order in which they came, also when some of them must first fetch a part of their indirect
//! table. The core's answers come in by the other `handle_*`, and what is to be posted goes out by
//! `poll_transmit`. The tag is echoed exactly and never looked at: an initiator that uses a tag
//! twice gets both answers, and an ABORT TASK then means whatever the core finds.
//!
//! What every command passes is inlined by force where it saves a move of a large value.

mod answer;
mod counters;
mod exchange;
mod outbox;
mod receive;
mod transmit;

use std::collections::VecDeque;

use iobuf::{Buf, Pool, RemoteSegment};
use target_core::backend::TaskId;
use target_core::command::{ChannelId, ExchangeId, Outcome, TaskManagementResponse};
use target_core::port::{self, ChannelEvent, CloseReason, Transmit};

pub use answer::{ChannelError, WireAnswer, wire_answer};
pub use counters::ChannelCounters;
use exchange::{Exchanges, State};
use outbox::{MESSAGE_BYTES, Message, Outgoing};
use receive::{Arrival, Received};

use crate::credit::Credit;
use crate::login::Negotiated;
use crate::wire::Opcode;
use crate::wire::logout::LogoutReason;

/// How long in milliseconds no message must have come before memory of a past load is given back.
pub const IDLE_MS: u64 = 5000;

/// Entries that each queue of an idle channel keeps room for.
const IDLE_QUEUE: usize = 4;

/// Room in all queues that is not worth giving back.
const IDLE_QUEUES: usize = 8 * IDLE_QUEUE;

/// One RDMA channel, as a target.
#[derive(Debug)]
pub struct Channel {
    id: ChannelId,
    login: Negotiated,
    messages: Pool,
    tables: Pool,
    credit: Credit,
    exchanges: Exchanges,
    /// Requests in the order of their arrival, from the first that waits for its table on.
    arrivals: VecDeque<Arrival>,
    events: VecDeque<ChannelEvent>,
    outbox: VecDeque<Outgoing>,
    /// The segments of what `poll_transmit` gave last.
    posted: Vec<RemoteSegment>,
    counters: ChannelCounters,
    closed: bool,
    /// When the last message came, or memory was last given back.
    busy_at_ms: u64,
}

impl Channel {
    /// A channel after its login response. `messages` has buffers of at least 64 bytes for
    /// messages, `tables` has buffers for external indirect tables (up to 64 KiB is ever asked
    /// for).
    ///
    /// # Panics
    /// When the buffers of `messages` are too small: a mistake of the program that sets the pools
    /// up.
    pub fn new(id: ChannelId, login: Negotiated, messages: Pool, tables: Pool) -> Self {
        let largest = messages.largest();
        assert!(
            largest >= MESSAGE_BYTES,
            "message buffers have {largest} bytes, {MESSAGE_BYTES} are needed"
        );
        Self {
            id,
            login,
            messages,
            tables,
            credit: Credit::new(login.request_limit),
            exchanges: Exchanges::new(login.request_limit),
            arrivals: VecDeque::new(),
            events: VecDeque::new(),
            outbox: VecDeque::new(),
            posted: Vec::new(),
            counters: ChannelCounters::default(),
            closed: false,
            busy_at_ms: 0,
        }
    }

    /// What has happened since the login.
    pub fn counters(&self) -> &ChannelCounters {
        &self.counters
    }

    /// Requests that came and have not been answered or aborted yet.
    pub fn exchanges_in_use(&self) -> u32 {
        self.credit.in_exchanges()
    }

    /// Memory in bytes that the channel holds on the heap, without what its buffers hold in their
    /// pools.
    pub fn heap_bytes(&self) -> usize {
        self.exchanges.heap_bytes()
            + self.arrivals.capacity() * size_of::<Arrival>()
            + self.events.capacity() * size_of::<ChannelEvent>()
            + self.outbox.capacity() * size_of::<Outgoing>()
            + self.posted.capacity() * size_of::<RemoteSegment>()
    }

    fn owes_offer(&self) -> bool {
        !self.closed && self.credit.is_starved()
    }

    #[inline(always)]
    fn respond(&mut self, exchange: ExchangeId, message: Message) {
        let slot = self.exchanges.get_mut(exchange);
        let Some(slot) = slot.filter(|slot| slot.state == State::Executing) else {
            return;
        };
        slot.state = State::Responding;
        self.outbox.push_back(Outgoing::Message(message));
    }

    #[inline(always)]
    fn end_exchange(&mut self, exchange: ExchangeId) {
        if self.exchanges.end(exchange) {
            self.credit.end_exchange();
        }
    }

    /// The peer broke the protocol.
    #[cold]
    fn fail(&mut self, error: &ChannelError) {
        self.counters.protocol_errors += 1;
        let reason = match wire_answer(error) {
            WireAnswer::Logout(reason) => reason,
            WireAnswer::CheckCondition | WireAnswer::Busy => LogoutReason::NO_REASON,
        };
        self.close(CloseReason::Protocol(error.to_string()), Some(reason));
    }

    /// Ends the channel. What waits to be sent goes out before the logout; nothing more is read.
    fn close(&mut self, reason: CloseReason, logout: Option<LogoutReason>) {
        self.closed = true;
        self.arrivals.clear();
        self.outbox.retain(Outgoing::is_message);
        if let Some(reason) = logout {
            let logout = Outgoing::Message(Message::Logout(reason));
            self.outbox.push_back(logout);
        }
        self.events.push_back(ChannelEvent::Close(reason));
    }

    fn shrink_deadline_ms(&self) -> Option<u64> {
        let idle_at_ms = self.busy_at_ms.saturating_add(IDLE_MS);
        let queues = self.outbox.capacity() + self.events.capacity() + self.arrivals.capacity();
        let swollen = self.exchanges.is_swollen() || queues > IDLE_QUEUES;
        swollen.then_some(idle_at_ms)
    }

    fn shrink(&mut self) {
        self.exchanges.shrink();
        self.arrivals.shrink_to(IDLE_QUEUE);
        self.events.shrink_to(IDLE_QUEUE);
        self.outbox.shrink_to(IDLE_QUEUE);
        self.posted = Vec::new();
    }
}

impl port::Channel for Channel {
    fn handle_recv(&mut self, message: Buf, now_ms: u64) {
        self.busy_at_ms = now_ms;
        if self.closed {
            return;
        }
        if message.first() == Some(&Opcode::CMD.0) {
            return self.receive_command(message);
        }
        match self.receive(&message) {
            Ok(Received::Nothing) => {}
            Ok(Received::TaskManagement(request)) => {
                let event = ChannelEvent::TaskManagement(request);
                self.arrive(request.exchange, event, None);
            }
            Ok(Received::Logout) => {
                self.outbox.clear();
                self.close(CloseReason::PeerLogout, None);
            }
            Err(error) => self.fail(&error),
        }
    }

    fn handle_pulled(&mut self, exchange: ExchangeId, buf: Buf) {
        let Some(slot) = self.exchanges.get_mut(exchange) else {
            return;
        };
        if slot.state == State::Fetching {
            return self.complete_table(exchange, &buf);
        }
        slot.pulling = false;
        let task = slot.task;
        if slot.state == State::Aborted {
            return self.end_exchange(exchange);
        }
        self.events.push_back(ChannelEvent::DataOut { task, buf });
    }

    fn pull_data_out(&mut self, exchange: ExchangeId, task: TaskId, offset: u32, buf: Buf) {
        let slot = self.exchanges.get_mut(exchange);
        let Some(slot) = slot.filter(|slot| slot.state == State::Executing) else {
            return;
        };
        if self.closed {
            return;
        }
        // `ChannelEvent::DataOut` does not say which bytes came, so there is one pull of a command
        // at a time.
        debug_assert!(!slot.pulling, "a second pull of {exchange:?}");
        slot.task = task;
        slot.pulling = true;
        self.outbox.push_back(Outgoing::Pull {
            exchange,
            offset,
            buf,
        });
    }

    fn handle_outcome(&mut self, exchange: ExchangeId, outcome: Outcome) {
        if self.closed {
            return self.end_exchange(exchange);
        }
        self.respond(exchange, Message::Response { exchange, outcome });
    }

    fn handle_aborted(&mut self, exchange: ExchangeId) {
        let slot = self.exchanges.get_mut(exchange);
        let Some(slot) = slot.filter(|slot| slot.state == State::Executing) else {
            return;
        };
        slot.state = State::Aborted;
        let queued = self.outbox.len();
        self.outbox
            .retain(|outgoing| !outgoing.is_pull_of(exchange));
        // What the NIC reads already ends the exchange when it is done.
        if !slot.pulling || self.outbox.len() < queued {
            self.end_exchange(exchange);
        }
    }

    fn handle_task_management(&mut self, exchange: ExchangeId, response: TaskManagementResponse) {
        if self.closed {
            return self.end_exchange(exchange);
        }
        let code = outbox::rsp_code(response);
        self.respond(exchange, Message::TaskManagementResponse { exchange, code });
    }

    fn handle_timeout(&mut self, now_ms: u64) {
        self.credit.handle_timeout(now_ms);
        if self.shrink_deadline_ms().is_some_and(|at| at <= now_ms) {
            // What is in use now stays, and is looked at again later.
            self.busy_at_ms = now_ms;
            self.shrink();
        }
    }

    fn handle_shutdown(&mut self) {
        if !self.closed {
            self.close(CloseReason::Shutdown, Some(LogoutReason::NO_REASON));
        }
    }

    fn poll_event(&mut self) -> Option<ChannelEvent> {
        self.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        // A message keeps its place until there is a buffer for it.
        let room = match self.outbox.front() {
            None => return self.transmit_offer(),
            Some(next) if next.is_message() => Some(self.messages.take(MESSAGE_BYTES)?),
            Some(_) => None,
        };
        match self.outbox.pop_front()? {
            Outgoing::Pull {
                exchange,
                offset,
                buf,
            } => self.transmit_pull(exchange, offset, buf),
            Outgoing::FetchTable {
                exchange,
                missing,
                buf,
            } => Some(self.transmit_fetch(exchange, missing, buf)),
            Outgoing::Message(message) => Some(self.transmit_message(message, room?)),
        }
    }

    fn has_transmit(&self) -> bool {
        !self.outbox.is_empty() || self.owes_offer()
    }

    fn poll_timeout(&self) -> Option<u64> {
        let deadlines = [self.credit.deadline_ms(), self.shrink_deadline_ms()];
        deadlines.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
