//! One iSCSI connection, from its first Login Request to the logout (RFC 7143), over either datamover (RFC 5047).
//!
//! PDUs come in by `handle_recv`, as bytes of a stream or as messages; commands and task management requests go out as events in
//! the order of their CmdSN, which on a single connection is the order in which they came. The core's answers come in by the
//! other `handle_*`, and what is to be sent goes out by `poll_transmit`. ErrorRecoveryLevel is 0: what is damaged or missing
//! is told to the initiator by a Reject where there is one, and ends the connection.
//!
//! `receive` cuts and judges, `command`, `data_out` and `request` act, `transmit` answers.

mod answer;
mod command;
mod counters;
mod data_out;
mod exchange;
mod login;
mod outbox;
mod receive;
mod request;
mod settings;
mod timers;
mod transmit;
mod window;

use std::collections::VecDeque;
use std::sync::Arc;

use iobuf::{Buf, Pool, RemoteSegment};
use target_core::backend::TaskId;
use target_core::command::{ChannelId, ExchangeId, Outcome, TaskManagementResponse};
use target_core::port::{Channel, ChannelEvent, CloseReason, Piece, Transmit};

pub use answer::ConnectionError;
pub use counters::Counters;
pub use settings::{LoginEvent, Settings};

use crate::Sn;
use crate::iser::CmHeader;
use crate::login::{
    Digest, Login, MAX_LOGIN_SEGMENT_BYTES, Negotiated, SessionType, TargetRecord, TextPhase,
};
use crate::pdu::{BHS_BYTES, Bhs, TaskManagementResult};
use crate::tcp::Framer;
use data_out::Bursts;
use exchange::{Ended, Exchanges, State};
use outbox::{Control, Outgoing};
use receive::Current;
use timers::Timers;
use transmit::DataInLimits;
use window::CommandWindow;

/// Answers without an exchange may hold so many bytes before no more is read from a stream.
const MAX_QUEUED_BYTES: usize = 512 << 10;

/// What carries the PDUs.
#[derive(Debug)]
enum Datamover {
    Tcp(Box<Framer>),
    Iser,
}

/// Where the connection stands.
#[derive(Debug)]
enum Phase {
    Login(Box<Login>),
    FullFeature(Box<TextPhase>),
}

/// What the login agreed on, as far as it matters for each PDU.
#[derive(Clone, Copy, Debug)]
struct Agreed {
    session_type: SessionType,
    cid: u16,
    max_recv_data_segment_length: u32,
    max_xmit_data_segment_length: u32,
    /// What follows of it and of the bursts.
    data_in: DataInLimits,
    header_digest: bool,
    data_digest: bool,
    initial_r2t: bool,
    immediate_data: bool,
    first_burst_length: u32,
    bursts: Bursts,
    time2wait: u16,
    time2retain: u16,
}

impl Agreed {
    /// What holds until a login is over.
    const LOGIN: Agreed = Agreed {
        session_type: SessionType::Normal,
        cid: 0,
        max_recv_data_segment_length: MAX_LOGIN_SEGMENT_BYTES as u32,
        max_xmit_data_segment_length: MAX_LOGIN_SEGMENT_BYTES as u32,
        data_in: DataInLimits::NONE,
        header_digest: false,
        data_digest: false,
        initial_r2t: true,
        immediate_data: false,
        first_burst_length: 0,
        bursts: Bursts {
            max_burst_length: 0,
            max_outstanding_r2t: 1,
        },
        time2wait: 0,
        time2retain: 0,
    };

    fn new(negotiated: &Negotiated) -> Self {
        let mut agreed = Self {
            session_type: negotiated.identity.session_type,
            cid: negotiated.identity.cid,
            max_recv_data_segment_length: negotiated.max_recv_data_segment_length,
            header_digest: negotiated.header_digest == Digest::Crc32c,
            data_digest: negotiated.data_digest == Digest::Crc32c,
            initial_r2t: negotiated.initial_r2t,
            immediate_data: negotiated.immediate_data,
            first_burst_length: negotiated.first_burst_length,
            bursts: Bursts {
                max_burst_length: negotiated.max_burst_length,
                max_outstanding_r2t: negotiated.max_outstanding_r2t,
            },
            time2wait: negotiated.default_time2wait,
            time2retain: negotiated.default_time2retain,
            ..Self::LOGIN
        };
        agreed.set_max_xmit(negotiated.max_xmit_data_segment_length);
        agreed
    }

    /// The initiator takes data segments of so many bytes from now on.
    fn set_max_xmit(&mut self, max_data_segment_length: u32) {
        self.max_xmit_data_segment_length = max_data_segment_length;
        self.data_in = DataInLimits::new(max_data_segment_length, self.bursts.max_burst_length);
    }
}

/// One connection, as a target.
#[derive(Debug)]
pub struct Connection {
    id: ChannelId,
    settings: Arc<Settings>,
    /// For headers and short PDUs.
    messages: Pool,
    /// The longest message in bytes that it has room for.
    longest_message: usize,
    /// For unsolicited data, and for what no message buffer has room for.
    data: Pool,
    datamover: Datamover,
    phase: Phase,
    agreed: Agreed,
    /// The peer wants its memory handles invalidated, and this end can (iSER).
    invalidates: bool,
    targets: Arc<[TargetRecord]>,
    window: CommandWindow,
    stat_sn: Sn,
    exchanges: Exchanges,
    current: Current,
    /// Header of the PDU that came last, for a Reject.
    last_bhs: Bhs,
    /// Data segment of the PDU that is coming, when it is a short one.
    control: Vec<u8>,
    /// Bytes of the stream that wait until there is a buffer for them.
    backlog: VecDeque<Buf>,
    events: VecDeque<ChannelEvent>,
    login_events: VecDeque<LoginEvent>,
    outbox: VecDeque<Outgoing>,
    /// Bytes that answers in the outbox hold.
    queued_bytes: usize,
    /// A logout that waits for what is outstanding: its Initiator Task Tag.
    logout: Option<u32>,
    timers: Timers,
    counters: Counters,
    closed: bool,
    /// The pieces and segments of what `poll_transmit` gave last.
    pieces: Vec<Piece>,
    segments: Vec<RemoteSegment>,
}

impl Connection {
    /// A connection over TCP that has said nothing yet. `messages` and `data` are the worker's.
    pub fn tcp(
        id: ChannelId,
        settings: Arc<Settings>,
        messages: Pool,
        data: Pool,
        now_ms: u64,
    ) -> Self {
        let framer = Framer::new(MAX_LOGIN_SEGMENT_BYTES as u32);
        let datamover = Datamover::Tcp(Box::new(framer));
        Self::new(id, settings, datamover, false, messages, data, now_ms)
    }

    /// A connection over iSER that has said nothing yet. `agreed` is what was answered in the private data
    /// ([`CmHeader::answer`]).
    pub fn iser(
        id: ChannelId,
        settings: Arc<Settings>,
        agreed: CmHeader,
        messages: Pool,
        data: Pool,
        now_ms: u64,
    ) -> Self {
        let invalidates = agreed.send_with_invalidate;
        let datamover = Datamover::Iser;
        Self::new(id, settings, datamover, invalidates, messages, data, now_ms)
    }

    fn new(
        id: ChannelId,
        settings: Arc<Settings>,
        datamover: Datamover,
        invalidates: bool,
        messages: Pool,
        data: Pool,
        now_ms: u64,
    ) -> Self {
        let login = Login::new(settings.limits.clone());
        Self {
            id,
            longest_message: messages.largest(),
            messages,
            data,
            datamover,
            phase: Phase::Login(Box::new(login)),
            agreed: Agreed::LOGIN,
            invalidates,
            targets: Arc::default(),
            window: CommandWindow::new(Sn(0), settings.command_window, settings.immediate_requests),
            stat_sn: Sn(1),
            exchanges: Exchanges::new(settings.exchanges()),
            current: Current::Ignored,
            last_bhs: [0; BHS_BYTES],
            control: Vec::new(),
            backlog: VecDeque::new(),
            events: VecDeque::new(),
            login_events: VecDeque::new(),
            outbox: VecDeque::new(),
            queued_bytes: 0,
            logout: None,
            timers: Timers::new(now_ms),
            counters: Counters::default(),
            closed: false,
            pieces: Vec::new(),
            segments: Vec::new(),
            settings,
        }
    }

    /// The same connection as after a login that came to `negotiated`, whose first command has this CmdSN.
    #[must_use]
    pub fn established(mut self, negotiated: &Negotiated, first_cmd_sn: Sn) -> Self {
        self.begin_window(first_cmd_sn);
        self.begin_full_feature(negotiated);
        self
    }

    /// What SendTargets tells this initiator: the targets that it may see, with the addresses that it can reach.
    pub fn handle_targets(&mut self, targets: Arc<[TargetRecord]>) {
        self.targets = targets;
    }

    /// What has happened since the connection began.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Requests that came and have not been answered or aborted yet.
    pub fn exchanges_in_use(&self) -> u32 {
        self.exchanges.in_use() as u32
    }

    /// Memory in bytes that the connection holds on the heap, without what its buffers hold in their pools.
    pub fn heap_bytes(&self) -> usize {
        let datamover = match self.datamover {
            Datamover::Tcp(_) => size_of::<Framer>(),
            Datamover::Iser => 0,
        };
        let phase = match self.phase {
            Phase::Login(_) => size_of::<Login>(),
            Phase::FullFeature(_) => size_of::<TextPhase>(),
        };
        datamover
            + phase
            + self.exchanges.heap_bytes()
            + self.control.capacity()
            + self.backlog.capacity() * size_of::<Buf>()
            + self.events.capacity() * size_of::<ChannelEvent>()
            + self.login_events.capacity() * size_of::<LoginEvent>()
            + self.outbox.capacity() * size_of::<Outgoing>()
            + self.outbox.iter().map(Outgoing::heap_bytes).sum::<usize>()
            + self.pieces.capacity() * size_of::<Piece>()
            + self.segments.capacity() * size_of::<RemoteSegment>()
    }

    fn is_discovery(&self) -> bool {
        self.agreed.session_type == SessionType::Discovery
    }

    fn is_tcp(&self) -> bool {
        matches!(self.datamover, Datamover::Tcp(_))
    }

    /// A buffer for a message; the data pool helps out for long ones.
    #[inline(always)]
    fn take_message(&self, len: usize) -> Option<Buf> {
        if len <= self.longest_message {
            self.messages.take(len)
        } else {
            self.data.take(len)
        }
    }

    fn send_control(&mut self, control: Control, data: Vec<u8>) {
        if self.closed {
            return;
        }
        self.queued_bytes += outbox::held_bytes(&data);
        self.outbox.push_back(Outgoing::Control(control, data));
    }

    #[inline(always)]
    fn end_exchange(&mut self, exchange: ExchangeId) -> Option<Ended> {
        let ended = self.exchanges.end(exchange)?;
        self.window.end(ended.immediate);
        Some(ended)
    }

    /// Moves on what the core asked of a command's Data-Out Buffer: it is full, or more has to be asked for.
    fn advance_data_out(&mut self, exchange: ExchangeId) {
        let (bursts, is_tcp) = (self.agreed.bursts, self.is_tcp());
        let Some(slot) = self.exchanges.get_mut(exchange) else {
            return;
        };
        if let Some((task, buf)) = slot.data_out.take_full() {
            return self.events.push_back(ChannelEvent::DataOut { task, buf });
        }
        if is_tcp {
            let tag_base = exchange::tag_base(exchange);
            while let Some(r2t) = slot.data_out.next_r2t(bursts, tag_base) {
                self.outbox.push_back(Outgoing::R2t { exchange, r2t });
            }
            return;
        }
        if let Some((task, offset, buf)) = slot.data_out.take_missing() {
            slot.pulling = Some(task);
            self.outbox.push_back(Outgoing::Pull {
                exchange,
                offset,
                buf,
            });
        }
    }

    /// Ends the connection. What waits to be sent goes out; nothing more is read.
    fn close(&mut self, reason: CloseReason) {
        self.closed = true;
        self.logout = None;
        self.current = Current::Ignored;
        self.outbox.retain(|outgoing| !outgoing.is_request());
        self.backlog.clear();
        self.events.push_back(ChannelEvent::Close(reason));
    }
}

impl Channel for Connection {
    fn handle_recv(&mut self, message: Buf, now_ms: u64) {
        self.timers.heard(now_ms);
        if self.closed {
            return;
        }
        if self.is_tcp() {
            self.backlog.push_back(message);
            self.drain_backlog();
        } else {
            self.receive_message(message);
        }
    }

    fn wants_input(&self) -> bool {
        if self.closed || self.queued_bytes >= MAX_QUEUED_BYTES {
            return false;
        }
        match self.current {
            // Nobody can say before whether there is a buffer: take one, and give it back.
            Current::Starved(needed) => self.data.take(needed as usize).is_some(),
            _ => true,
        }
    }

    fn handle_pulled(&mut self, exchange: ExchangeId, buf: Buf) {
        let Some(slot) = self.exchanges.get_mut(exchange) else {
            return;
        };
        let task = slot.pulling.take();
        if slot.state == State::Aborted {
            self.end_exchange(exchange);
        } else if let Some(task) = task {
            self.events.push_back(ChannelEvent::DataOut { task, buf });
        }
    }

    fn pull_data_out(&mut self, exchange: ExchangeId, task: TaskId, offset: u32, buf: Buf) {
        if self.closed {
            return;
        }
        let slot = self.exchanges.get_mut(exchange);
        let Some(slot) = slot.filter(|slot| slot.state == State::Executing) else {
            return;
        };
        if slot.data_out.is_lost() {
            return self.events.push_back(ChannelEvent::DataOutLost { task });
        }
        slot.data_out.ask(task, offset, buf);
        self.advance_data_out(exchange);
    }

    fn stop_data_out(&mut self, exchange: ExchangeId) {
        let Some(slot) = self.exchanges.get_mut(exchange) else {
            return;
        };
        let is_queued = self.outbox.iter().any(|next| next.is_pull_of(exchange));
        let task = match slot.data_out.lose() {
            // What the NIC reads already is answered when it has been read.
            None if is_queued => slot.pulling.take(),
            task => task,
        };
        self.outbox
            .retain(|outgoing| !outgoing.is_data_out_of(exchange));
        if let Some(task) = task {
            self.events.push_back(ChannelEvent::DataOutLost { task });
        }
    }

    fn handle_outcome(&mut self, exchange: ExchangeId, outcome: Outcome) {
        if self.closed {
            self.end_exchange(exchange);
            return;
        }
        self.respond(exchange, outcome);
        self.settle_logout();
    }

    fn handle_aborted(&mut self, exchange: ExchangeId) {
        let slot = self.exchanges.get_mut(exchange);
        let Some(slot) = slot.filter(|slot| slot.state == State::Executing) else {
            return;
        };
        slot.state = State::Aborted;
        let pulling = slot.pulling.is_some();
        let queued = self.outbox.len();
        self.outbox
            .retain(|outgoing| !outgoing.is_data_out_of(exchange));
        // What the NIC reads already ends the exchange when it is done.
        if !pulling || self.outbox.len() < queued {
            self.end_exchange(exchange);
        }
        self.settle_logout();
    }

    fn handle_task_management(&mut self, exchange: ExchangeId, response: TaskManagementResponse) {
        let tag = self.exchanges.tag(exchange);
        if self.exchanges.get(exchange).is_none() {
            return;
        }
        let result = match response {
            TaskManagementResponse::FunctionComplete => TaskManagementResult::FUNCTION_COMPLETE,
            TaskManagementResponse::FunctionRejected => {
                TaskManagementResult::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED
            }
            TaskManagementResponse::IncorrectLogicalUnitNumber => {
                TaskManagementResult::LUN_DOES_NOT_EXIST
            }
            TaskManagementResponse::FunctionAuthorizationFailed => {
                TaskManagementResult::FUNCTION_AUTHORIZATION_FAILED
            }
        };
        self.answer_task_management(tag, result);
        self.end_exchange(exchange);
        self.settle_logout();
    }

    fn handle_timeout(&mut self, now_ms: u64) {
        self.take_timeout(now_ms);
    }

    fn handle_shutdown(&mut self) {
        if !self.closed {
            self.announce_end();
            self.close(CloseReason::Shutdown);
        }
    }

    fn poll_event(&mut self) -> Option<ChannelEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        let waits = !self.backlog.is_empty() || matches!(self.current, Current::Starved(_));
        if waits && self.wants_input() {
            self.drain_backlog();
        }
        self.events.pop_front()
    }

    fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        match self.datamover {
            Datamover::Tcp(_) => self.transmit_stream(),
            Datamover::Iser => self.transmit_messages(),
        }
    }

    fn has_transmit(&self) -> bool {
        !self.outbox.is_empty()
    }

    fn poll_timeout(&self) -> Option<u64> {
        self.next_timeout()
    }
}

#[cfg(test)]
mod tests;
