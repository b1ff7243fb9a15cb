//! A session of one I_T nexus, over one or more channels, as the initiator sees it (SRP r16a clauses 4 and 5).
//!
//! Pure: no I/O, no clock. What the target says comes in by `handle_*`, with the time in milliseconds of a clock
//! that only goes forward; [`Machine::submit`] and [`Machine::task_management`] write requests into a buffer of the
//! caller; answers to the target come out of [`Machine::poll_transmit`], what became of requests and channels out of
//! [`Machine::poll_event`], and the next deadline out of [`Machine::poll_timeout`].
//!
//! The machine never aborts a command by itself: a command that takes too long is reported once, and the caller
//! decides.

mod channel;
mod command;
mod login;

use std::collections::VecDeque;

use target_core::lun::Lun;
use thiserror::Error;
use transport_srp::Carrier;
use transport_srp::wire::logout::LogoutReason;
use transport_srp::wire::rsp::RspCode;
use transport_srp::wire::tsk_mgmt::TaskFunctionCode;
use transport_srp::wire::{Iu, Opcode, Rsp, TskMgmt, WireError};

pub use crate::answer::{Answer, SENSE_BYTES, SenseData};
pub use crate::requests::RequestId;
use crate::requests::{Outstanding, Requests};
use channel::{Channel, Reply};
pub use command::{Buffer, Command, CommandError};
pub use login::{Granted, LoginError, LoginOptions, LoginReject, reason_text};

/// A channel of the session, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelNumber(pub u16);

/// A task management function, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskFunction {
    /// Ends one command. It goes out on the command's channel, so that no late response can overtake the answer.
    AbortTask(RequestId),
    /// Ends this nexus's commands for the LUN.
    AbortTaskSet(Lun),
    /// Ends everyone's commands for the LUN.
    ClearTaskSet(Lun),
    /// Puts the logical unit into its initial state.
    LogicalUnitReset(Lun),
    /// Clears an auto contingent allegiance.
    ClearAca(Lun),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A command was answered.
    Answered(Answer),
    /// A task management request was answered.
    TaskManagement(RspCode),
    /// A command was ended by task management of this session; the target sends no response to it.
    Aborted,
    /// Its channel is gone. Whether the command was carried out is not known.
    ChannelLost,
}

/// Something that the driver, or its caller, wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request has ended; its memory is the caller's again.
    Done {
        /// Which.
        request: RequestId,
        /// How.
        outcome: Outcome,
    },
    /// A request's time is over. It is still outstanding, and this is said once.
    TimedOut(RequestId),
    /// A channel has ended, after all of its requests.
    Closed {
        /// Which.
        channel: ChannelNumber,
        /// Why.
        reason: CloseReason,
    },
}

/// Why a channel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// SRP_T_LOGOUT came.
    #[error("the target logged out: {0:?}")]
    TargetLogout(LogoutReason),
    /// The connection is gone.
    #[error("the connection is gone")]
    Disconnected,
    /// The target broke the protocol.
    #[error("the target broke the protocol: {0}")]
    Protocol(ProtocolError),
}

/// A message that no target may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// It is cut, or of no known type.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its type is none that a target sends on an established channel.
    #[error("{0:?} came, which a target does not send on an established channel")]
    UnexpectedIu(Opcode),
    /// It answers a request that is not outstanding on its channel.
    #[error("a response with tag {0:#x} came, which answers nothing on its channel")]
    UnexpectedResponse(u64),
    /// A task management request was answered without a response code.
    #[error("the answer with tag {0:#x} to a task management request has no RSP_CODE")]
    NoResponseCode(u64),
}

/// Why a request was not made. Nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// The channel is not logged in, or has ended.
    #[error("channel {} is not logged in", .0.0)]
    NotLoggedIn(ChannelNumber),
    /// The request limit is used up: try again after the next event.
    #[error("the request limit is used up; wait for an answer")]
    LimitReached,
    /// The command to abort has ended.
    #[error("the command to abort has ended already")]
    NothingToAbort,
    /// The command cannot be written as an SRP_CMD.
    #[error(transparent)]
    Command(#[from] CommandError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Command,
    TaskManagement(TaskFunction),
}

/// A request that is outstanding.
#[derive(Clone, Copy, Debug)]
struct Pending {
    channel: ChannelNumber,
    lun: Lun,
    kind: Kind,
}

/// A session.
#[derive(Debug)]
pub struct Machine {
    options: LoginOptions,
    channels: Vec<Channel>,
    requests: Requests<Pending>,
    events: VecDeque<Event>,
    late_responses: u64,
}

impl Machine {
    /// A session that is to have `channels` channels, at least one. Each logs in by itself, number 0 first.
    pub fn new(options: LoginOptions, channels: u16) -> Self {
        let channels = usize::from(channels.max(1));
        Self {
            options,
            channels: (0..channels).map(|_| Channel::new()).collect(),
            requests: Requests::new(),
            events: VecDeque::new(),
            late_responses: 0,
        }
    }

    /// The SRP_LOGIN_REQ of a channel, for the private data of its connection request: 64 bytes natively, 56 over
    /// RDMA-CM. The first channel's MULTI-CHANNEL ACTION is as the options say, further ones join.
    pub fn login_request(&self, channel: ChannelNumber, carrier: Carrier) -> Vec<u8> {
        self.options.request(channel.0).to_private_data(carrier)
    }

    /// The connection was accepted with this private data.
    ///
    /// # Errors
    /// It is no login response that this session can work with: disconnect.
    pub fn handle_accepted(
        &mut self,
        channel: ChannelNumber,
        private_data: &[u8],
    ) -> Result<Granted, LoginError> {
        let granted = self.options.read_response(channel.0, private_data)?;
        if let Some(slot) = self.channels.get_mut(usize::from(channel.0)) {
            slot.open(granted, self.options.outstanding);
        }
        Ok(granted)
    }

    /// The connection was rejected with this private data; says why.
    pub fn handle_rejected(&self, channel: ChannelNumber, private_data: &[u8]) -> LoginError {
        self.options.read_reject(channel.0, private_data)
    }

    /// What the target granted at the channel's login, while the channel lives.
    pub fn granted(&self, channel: ChannelNumber) -> Option<&Granted> {
        self.channels.get(usize::from(channel.0))?.granted()
    }

    /// Whether a command could be submitted now.
    pub fn has_room(&self, channel: ChannelNumber) -> bool {
        let channel = self.channels.get(usize::from(channel.0));
        channel.is_some_and(Channel::has_room)
    }

    /// Requests that the target would still take, by its request limit.
    pub fn credits(&self, channel: ChannelNumber) -> i64 {
        let channel = self.channels.get(usize::from(channel.0));
        channel.map_or(0, |channel| channel.credits)
    }

    /// Requests that are outstanding on all channels.
    pub fn outstanding(&self) -> usize {
        self.requests.len()
    }

    /// Responses that came on another channel after their command had been aborted.
    pub fn late_responses(&self) -> u64 {
        self.late_responses
    }

    /// Writes an SRP_CMD to `out`, to be sent on the channel now. Returns its name and its length in bytes. When
    /// the clock passes `deadline_ms`, [`Event::TimedOut`] says so.
    ///
    /// # Errors
    /// Nothing is sent; `out` may have been written to.
    pub fn submit(
        &mut self,
        channel: ChannelNumber,
        command: &Command<'_>,
        deadline_ms: Option<u64>,
        out: &mut [u8],
    ) -> Result<(RequestId, usize), SubmitError> {
        let slot = self.channels.get_mut(usize::from(channel.0));
        let slot = slot.ok_or(SubmitError::NotLoggedIn(channel))?;
        let granted = *slot.granted().ok_or(SubmitError::NotLoggedIn(channel))?;
        if !slot.has_room() {
            return Err(SubmitError::LimitReached);
        }
        let request = self.requests.next_id();
        let len = command.emit(request.0, &granted, out)?;
        slot.begin();
        let pending = Pending {
            channel,
            lun: command.lun,
            kind: Kind::Command,
        };
        self.requests.begin(pending, deadline_ms);
        Ok((request, len))
    }

    /// Writes an SRP_TSK_MGMT to `out`, as [`Machine::submit`] does; an abort goes to its command's channel, which
    /// is returned, anything else to `channel`.
    ///
    /// # Errors
    /// Nothing is sent.
    pub fn task_management(
        &mut self,
        channel: ChannelNumber,
        function: TaskFunction,
        deadline_ms: Option<u64>,
        out: &mut [u8],
    ) -> Result<(RequestId, ChannelNumber, usize), SubmitError> {
        let (channel, lun) = self.aim(channel, function)?;
        let slot = self.channels.get_mut(usize::from(channel.0));
        let slot = slot
            .filter(|slot| slot.granted().is_some())
            .ok_or(SubmitError::NotLoggedIn(channel))?;
        if slot.credits <= 0 {
            return Err(SubmitError::LimitReached);
        }
        let request = self.requests.next_id();
        let (code, task_tag) = function_code(function);
        let message = TskMgmt {
            sol_not: 0,
            tag: request.0,
            lun,
            function: code,
            task_tag,
        };
        let len = Iu::TskMgmt(message)
            .emit(out)
            .ok_or(CommandError::TooLong {
                needed: TskMgmt::BYTES,
                max: out.len(),
            })?;
        slot.begin();
        let kind = Kind::TaskManagement(function);
        let pending = Pending { channel, lun, kind };
        self.requests.begin(pending, deadline_ms);
        Ok((request, channel, len))
    }

    fn aim(
        &self,
        channel: ChannelNumber,
        function: TaskFunction,
    ) -> Result<(ChannelNumber, Lun), SubmitError> {
        match function {
            TaskFunction::AbortTask(task) => match self.requests.get(task) {
                Some(command) => Ok((command.request.channel, command.request.lun)),
                None => Err(SubmitError::NothingToAbort),
            },
            TaskFunction::AbortTaskSet(lun)
            | TaskFunction::ClearTaskSet(lun)
            | TaskFunction::LogicalUnitReset(lun)
            | TaskFunction::ClearAca(lun) => Ok((channel, lun)),
        }
    }

    /// Says goodbye on every channel: SRP_I_LOGOUT comes out of [`Machine::poll_transmit`]. Nothing answers it;
    /// disconnect after it was sent.
    pub fn logout(&mut self) {
        for channel in &mut self.channels {
            if channel.granted().is_some() {
                channel.replies.push_back(Reply::Logout);
            }
        }
    }

    /// A message of the target, cut to the bytes that came.
    pub fn handle_message(&mut self, channel: ChannelNumber, bytes: &[u8]) {
        if self.granted(channel).is_none() {
            return;
        }
        if let Err(error) = self.receive(channel, bytes) {
            self.close(channel, CloseReason::Protocol(error));
        }
    }

    fn receive(&mut self, channel: ChannelNumber, bytes: &[u8]) -> Result<(), ProtocolError> {
        match Iu::parse(bytes)? {
            Iu::Rsp(rsp) => self.handle_response(channel, &rsp)?,
            Iu::CredReq(iu) => self.reply(channel, iu.request_limit_delta, Reply::Credit(iu.tag)),
            Iu::AerReq(iu) => self.reply(channel, iu.request_limit_delta, Reply::Event(iu.tag)),
            Iu::TLogout(iu) => self.close(channel, CloseReason::TargetLogout(iu.reason)),
            other => return Err(ProtocolError::UnexpectedIu(other.opcode())),
        }
        Ok(())
    }

    fn reply(&mut self, channel: ChannelNumber, request_limit_delta: i32, reply: Reply) {
        if let Some(slot) = self.channels.get_mut(usize::from(channel.0)) {
            slot.credits += i64::from(request_limit_delta);
            slot.replies.push_back(reply);
        }
    }

    fn handle_response(
        &mut self,
        channel: ChannelNumber,
        rsp: &Rsp<'_>,
    ) -> Result<(), ProtocolError> {
        let request = RequestId(rsp.tag);
        if let Some(slot) = self.channels.get_mut(usize::from(channel.0)) {
            slot.credits += i64::from(rsp.request_limit_delta);
        }
        let Some(found) = self.requests.get(request).copied() else {
            return self.handle_late_response(rsp.tag);
        };
        if found.request.channel != channel {
            return Err(ProtocolError::UnexpectedResponse(rsp.tag));
        }
        let outcome = match found.request.kind {
            Kind::Command => Outcome::Answered(answer(rsp)),
            Kind::TaskManagement(function) => {
                let code = rsp.response;
                let code = code.ok_or(ProtocolError::NoResponseCode(rsp.tag))?;
                if code == RspCode::TASK_MANAGEMENT_FUNCTION_COMPLETE {
                    self.end_managed(function, &found);
                }
                Outcome::TaskManagement(code)
            }
        };
        self.end(request, outcome);
        Ok(())
    }

    /// With several channels a response can arrive after the answer to the reset that ended its command.
    fn handle_late_response(&mut self, tag: u64) -> Result<(), ProtocolError> {
        if self.channels.len() > 1 && self.requests.was_used(RequestId(tag)) {
            self.late_responses += 1;
            return Ok(());
        }
        Err(ProtocolError::UnexpectedResponse(tag))
    }

    /// Ends the commands that a task management function has ended at the target.
    fn end_managed(&mut self, function: TaskFunction, manager: &Outstanding<Pending>) {
        let ended = |id: RequestId, request: &Pending| match function {
            TaskFunction::AbortTask(task) => id == task,
            TaskFunction::ClearAca(_) => false,
            TaskFunction::AbortTaskSet(lun)
            | TaskFunction::ClearTaskSet(lun)
            | TaskFunction::LogicalUnitReset(lun) => request.lun == lun,
        };
        self.end_all(Outcome::Aborted, |id, outstanding| {
            outstanding.request.kind == Kind::Command
                && outstanding.sequence < manager.sequence
                && ended(id, &outstanding.request)
        });
    }

    fn end_all(
        &mut self,
        outcome: Outcome,
        chosen: impl Fn(RequestId, &Outstanding<Pending>) -> bool,
    ) {
        let mut from = 0;
        while let Some(request) = self.requests.find_from(&mut from, &chosen) {
            self.end(request, outcome);
        }
    }

    fn end(&mut self, request: RequestId, outcome: Outcome) {
        if let Some(ended) = self.requests.end(request) {
            if let Some(slot) = self.channels.get_mut(usize::from(ended.request.channel.0)) {
                slot.end();
            }
            self.events.push_back(Event::Done { request, outcome });
        }
    }

    /// The channel's connection is gone.
    pub fn handle_disconnected(&mut self, channel: ChannelNumber) {
        self.close(channel, CloseReason::Disconnected);
    }

    fn close(&mut self, channel: ChannelNumber, reason: CloseReason) {
        let slot = self.channels.get_mut(usize::from(channel.0));
        if slot.is_some_and(Channel::close) {
            self.end_all(Outcome::ChannelLost, |_, outstanding| {
                outstanding.request.channel == channel
            });
            self.events.push_back(Event::Closed { channel, reason });
        }
    }

    /// The time of [`Machine::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        for request in self.requests.late(now_ms) {
            self.events.push_back(Event::TimedOut(request));
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Writes the next answer to the target, at most 16 bytes, and says on which channel to send how many. `None`
    /// when there is nothing to say, or `out` is too short.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Option<(ChannelNumber, usize)> {
        let mut numbered = (0..).map(ChannelNumber).zip(&mut self.channels);
        numbered.find_map(|(number, channel)| Some((number, channel.emit_reply(out)?)))
    }

    /// When [`Machine::handle_timeout`] is to be called. Looks at every outstanding request.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.requests.deadline_ms()
    }
}

fn answer(rsp: &Rsp<'_>) -> Answer {
    Answer {
        status: rsp.status,
        sense: rsp.sense.map(SenseData::new),
        data_out_residual: rsp.data_out_residual,
        data_in_residual: rsp.data_in_residual,
        response: rsp.response.map(|code| code.0),
    }
}

fn function_code(function: TaskFunction) -> (TaskFunctionCode, u64) {
    match function {
        TaskFunction::AbortTask(task) => (TaskFunctionCode::ABORT_TASK, task.0),
        TaskFunction::AbortTaskSet(_) => (TaskFunctionCode::ABORT_TASK_SET, 0),
        TaskFunction::ClearTaskSet(_) => (TaskFunctionCode::CLEAR_TASK_SET, 0),
        TaskFunction::LogicalUnitReset(_) => (TaskFunctionCode::LOGICAL_UNIT_RESET, 0),
        TaskFunction::ClearAca(_) => (TaskFunctionCode::CLEAR_ACA, 0),
    }
}
