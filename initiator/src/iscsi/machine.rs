//! A session of one I_T nexus, over one connection, as the initiator sees it (RFC 7143; over RDMA with RFC 7145).
//!
//! Pure: no I/O, no clock. PDUs of the target come in by [`Machine::handle_pdu`]; requests are made by
//! [`Machine::submit`] and its like; PDUs to the target come out of [`Machine::poll_transmit`], what became of
//! requests and of the session out of [`Machine::poll_event`], and the next deadline out of
//! [`Machine::poll_timeout`]. The time is in milliseconds of a clock that only goes forward.
//!
//! The machine knows what moves its data only as far as the standards make a difference ([`Datamover`]): over RDMA
//! there are no R2T and no Data-In. It never aborts a command by itself: a command that takes too long is reported
//! once, and the caller decides.

mod error;
mod options;
mod receive;
mod statuses;
mod submit;
mod task;
mod transmit;

use std::collections::VecDeque;

use target_core::lun::Lun;
use transport_iser::Sn;
use transport_iser::login::{Datamover, Initiator, MAX_LOGIN_SEGMENT_BYTES, Negotiated};
use transport_iser::pdu::{
    AsyncMessage, LogoutResult, PduError, RejectReason, TaskManagementCode, TaskManagementResult,
};

use crate::answer::Answer;
use crate::requests::Requests;

pub use crate::requests::RequestId;
pub use error::{CloseReason, DataFault, ProtocolError, SubmitError};
pub use options::LoginOptions;
use statuses::Statuses;
use task::Task;
use transmit::Item;
pub use transmit::{Segment, Transmit};

/// A SCSI command to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// LOGICAL UNIT NUMBER.
    pub lun: Lun,
    /// Command descriptor block, at most 260 bytes; filled up with zeroes.
    pub cdb: &'a [u8],
    /// Bytes of the Data-In Buffer; 0 when the command has none.
    pub data_in_len: u32,
    /// Bytes of the Data-Out Buffer; 0 when the command has none.
    pub data_out_len: u32,
}

/// A task management function, and what it is for (RFC 7143 11.5.1, RFC 7144 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskFunction {
    /// Ends one command.
    AbortTask(RequestId),
    /// Asks for one command.
    QueryTask(RequestId),
    /// What concerns a logical unit, or the target.
    Of(TaskManagementCode, Lun),
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A command was answered.
    Answered(Answer),
    /// A task management request was answered.
    TaskManagement(TaskManagementResult),
    /// A ping came back.
    Pong,
    /// A text request was answered with this text.
    Text(Vec<u8>),
    /// A logout was answered.
    LoggedOut(LogoutResult),
    /// The target rejected the request.
    Rejected(RejectReason),
    /// A command was ended by task management of this session; the target sends no response to it.
    Aborted,
    /// The connection is gone. Whether a command was carried out is not known.
    ConnectionLost,
}

/// Something that the driver, or its caller, wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The login has ended well.
    LoggedIn,
    /// A request has ended; its memory is the caller's again.
    Done {
        /// Which.
        request: RequestId,
        /// How.
        outcome: Outcome,
    },
    /// A request's time is over. It is still outstanding, and this is said once.
    TimedOut(RequestId),
    /// An asynchronous message came.
    Async(AsyncMessage),
    /// The target rejected a PDU that belongs to no request that is outstanding.
    Rejected(RejectReason),
    /// The session has ended, after all of its requests: disconnect.
    Closed(CloseReason),
}

/// Where a data segment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Whose Data-In Buffer.
    pub request: RequestId,
    /// From which byte of it on. What is placed there fits.
    pub offset: u32,
}

#[derive(Debug)]
enum Phase {
    LoggingIn(Box<Initiator>),
    FullFeature,
    Ended,
}

/// A session.
#[derive(Debug)]
pub struct Machine {
    options: LoginOptions,
    phase: Phase,
    agreed: Option<Negotiated>,
    tasks: Requests<Task>,
    queue: VecDeque<Item>,
    events: VecDeque<Event>,
    /// Of the next command.
    cmd_sn: Sn,
    max_cmd_sn: Sn,
    exp_cmd_sn: Sn,
    statuses: Statuses,
    /// Unexpected PDUs that the target's receive buffers may still hold.
    unexpected: u32,
    /// Those of them that belong to no request.
    unexpected_alone: u32,
    /// Text that the target has sent so far of an answer.
    text: transport_iser::text::Assembly,
}

impl Machine {
    /// A session that is to log in: the first request comes out of [`Machine::poll_transmit`].
    pub fn new(options: LoginOptions) -> Self {
        let mut login = Initiator::new(options.settings());
        login.start();
        let cmd_sn = options.first_cmd_sn;
        let mut machine = Self {
            options,
            phase: Phase::LoggingIn(Box::new(login)),
            agreed: None,
            tasks: Requests::new(),
            queue: VecDeque::new(),
            events: VecDeque::new(),
            cmd_sn,
            max_cmd_sn: cmd_sn,
            exp_cmd_sn: cmd_sn,
            statuses: Statuses::default(),
            unexpected: 0,
            unexpected_alone: 0,
            text: transport_iser::text::Assembly::default(),
        };
        machine.go_on_with_login();
        machine
    }

    /// What was agreed on, while the session lives.
    pub fn agreed(&self) -> Option<&Negotiated> {
        self.agreed.as_ref()
    }

    /// Whether a command could be submitted now.
    pub fn has_room(&self) -> bool {
        let is_below = self.tasks.len() < self.options.outstanding as usize;
        self.is_live() && is_below && self.window() > 0
    }

    /// Commands that the target takes beyond those that were sent, by its MaxCmdSN.
    pub fn window(&self) -> u32 {
        let room = self.max_cmd_sn.plus(1).0.wrapping_sub(self.cmd_sn.0);
        // A window that was closed after the last command was sent is behind it.
        if room > u32::MAX / 2 { 0 } else { room }
    }

    /// Requests that are outstanding.
    pub fn outstanding(&self) -> usize {
        self.tasks.len()
    }

    fn datamover(&self) -> Datamover {
        self.options.limits.datamover
    }

    fn is_live(&self) -> bool {
        matches!(self.phase, Phase::FullFeature)
    }

    /// The connection is gone.
    pub fn handle_disconnected(&mut self) {
        self.close(CloseReason::Disconnected);
    }

    /// What came is no PDU: a digest that is wrong, or a length that was not agreed on.
    pub fn handle_broken(&mut self, error: ProtocolError) {
        self.close(CloseReason::Protocol(error));
    }

    /// Bytes of a data segment that the target may send now.
    pub fn max_recv_data_segment_length(&self) -> u32 {
        // A target may use what was declared as soon as it has read it, which is before the login ends.
        let declared = self.options.limits.max_recv_data_segment_length;
        declared.max(MAX_LOGIN_SEGMENT_BYTES as u32)
    }

    fn close(&mut self, reason: CloseReason) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        self.phase = Phase::Ended;
        self.queue.clear();
        self.end_all(&Outcome::ConnectionLost, |_, _| true);
        self.agreed = None;
        self.events.push_back(Event::Closed(reason));
    }

    fn end(&mut self, request: RequestId, outcome: Outcome) {
        if let Some(ended) = self.tasks.end(request) {
            self.unexpected = self.unexpected.saturating_sub(ended.request.unexpected);
            self.events.push_back(Event::Done { request, outcome });
        }
    }

    fn end_all(&mut self, outcome: &Outcome, chosen: impl Fn(RequestId, &Task) -> bool) {
        let mut from = 0;
        let chosen = |id, task: &crate::requests::Outstanding<Task>| chosen(id, &task.request);
        while let Some(request) = self.tasks.find_from(&mut from, chosen) {
            self.end(request, outcome.clone());
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The time of [`Machine::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        for request in self.tasks.late(now_ms) {
            self.events.push_back(Event::TimedOut(request));
        }
    }

    /// When [`Machine::handle_timeout`] is to be called. Looks at every outstanding request.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.tasks.deadline_ms()
    }
}

/// The Initiator Task Tag of a request: how often its place was used, and the place.
fn initiator_task_tag(request: RequestId) -> u32 {
    // Both casts keep the low 16 bits. Places are below 2^15, so that no tag is the reserved one.
    (request.generation() as u32) << 16 | (request.place() as u32 & 0xffff)
}

impl Machine {
    /// The request that has this tag.
    fn request_of(&self, tag: u32) -> Option<RequestId> {
        let request = self.tasks.at((tag & 0xffff) as usize)?;
        (initiator_task_tag(request) == tag).then_some(request)
    }
}

impl From<PduError> for ProtocolError {
    fn from(error: PduError) -> Self {
        Self::Header(error)
    }
}
