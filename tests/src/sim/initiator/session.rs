//! The session of an initiator, whichever protocol it speaks, in the same words.

use std::collections::BTreeSet;

use initiator::iscsi::machine as iscsi;
use initiator::machine::{
    self as srp, Answer, ChannelNumber, CloseReason, Machine, RequestId, TaskFunction,
};
use target_core::lun::Lun;
use transport_iser::pdu::{LogoutReason, TaskManagementCode, TaskManagementResult};

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered(Answer),
    /// What is no command was answered.
    Managed,
    /// Over iSCSI: not done, or not even looked at.
    Refused,
    Aborted,
    ChannelLost,
}

/// Something that happened.
#[derive(Debug)]
pub(super) enum News {
    LoggedIn,
    Done(RequestId, Outcome),
    TimedOut(RequestId),
    Closed(ChannelNumber),
}

/// The machine of a session.
pub(super) enum Session {
    Srp(Box<Machine>),
    Iscsi(Box<Iscsi>),
}

pub(super) struct Iscsi {
    pub(super) machine: iscsi::Machine,
    /// It has said goodbye, and may send nothing more.
    is_leaving: bool,
    /// Pings and goodbyes, whose end nobody waits for.
    aside: BTreeSet<u64>,
    /// Resets that were asked for.
    resets: u32,
}

impl Session {
    pub(super) fn srp(options: srp::LoginOptions, channels: u16) -> Self {
        Self::Srp(Box::new(Machine::new(options, channels)))
    }

    pub(super) fn iscsi(options: iscsi::LoginOptions) -> Self {
        Self::Iscsi(Box::new(Iscsi {
            machine: iscsi::Machine::new(options),
            is_leaving: false,
            aside: BTreeSet::new(),
            resets: 0,
        }))
    }

    pub(super) fn has_room(&self, channel: ChannelNumber) -> bool {
        match self {
            Self::Srp(machine) => machine.has_room(channel),
            Self::Iscsi(session) => !session.is_leaving && session.machine.has_room(),
        }
    }

    /// What the target knows a request by.
    pub(super) fn tag(&self, request: RequestId) -> u64 {
        match self {
            Self::Srp(_) => request.0,
            Self::Iscsi(_) => (request.0 >> 32 & 0xffff) << 16 | request.0 & 0xffff,
        }
    }

    /// Credits, or places of the command window.
    pub(super) fn credits(&self, channel: ChannelNumber) -> i64 {
        match self {
            Self::Srp(machine) => machine.credits(channel),
            Self::Iscsi(session) => session.machine.window().into(),
        }
    }

    pub(super) fn logout(&mut self) {
        match self {
            Self::Srp(machine) => machine.logout(),
            Self::Iscsi(session) => {
                session.is_leaving = true;
                // It fails when the session is over, which is what is wanted.
                let goodbye = session.machine.logout(LogoutReason::CLOSE_SESSION, None);
                session.aside.extend(goodbye.map(|request| request.0));
            }
        }
    }

    pub(super) fn handle_disconnected(&mut self, channel: ChannelNumber) {
        match self {
            Self::Srp(machine) => machine.handle_disconnected(channel),
            Self::Iscsi(session) => session.machine.handle_disconnected(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now_ms: u64) {
        match self {
            Self::Srp(machine) => machine.handle_timeout(now_ms),
            Self::Iscsi(session) => session.machine.handle_timeout(now_ms),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<u64> {
        match self {
            Self::Srp(machine) => machine.poll_timeout(),
            Self::Iscsi(session) => session.machine.poll_timeout(),
        }
    }

    /// What happened next. A target that breaks the protocol ends the run.
    pub(super) fn poll(&mut self) -> Option<News> {
        match self {
            Self::Srp(machine) => machine.poll_event().map(srp_news),
            Self::Iscsi(session) => loop {
                match iscsi_news(session.machine.poll_event()?) {
                    Some(News::Done(request, _)) if session.aside.remove(&request.0) => {}
                    Some(news) => return Some(news),
                    None => {}
                }
            },
        }
    }
}

impl Iscsi {
    pub(super) fn task_management(
        &mut self,
        function: TaskFunction,
        deadline_ms: u64,
    ) -> Result<RequestId, iscsi::SubmitError> {
        if self.is_leaving {
            return Err(iscsi::SubmitError::NotLoggedIn);
        }
        let of = |code, lun: Lun| iscsi::TaskFunction::Of(code, lun);
        let function = match function {
            TaskFunction::AbortTask(task) => iscsi::TaskFunction::AbortTask(task),
            TaskFunction::AbortTaskSet(lun) => of(TaskManagementCode::ABORT_TASK_SET, lun),
            TaskFunction::ClearTaskSet(lun) => of(TaskManagementCode::CLEAR_TASK_SET, lun),
            TaskFunction::LogicalUnitReset(lun) => {
                self.resets += 1;
                // Only iSCSI has one for the whole target.
                let code = match self.resets % 2 {
                    0 => TaskManagementCode::TARGET_WARM_RESET,
                    _ => TaskManagementCode::LOGICAL_UNIT_RESET,
                };
                of(code, lun)
            }
            TaskFunction::ClearAca(lun) => of(TaskManagementCode::CLEAR_ACA, lun),
        };
        self.machine.task_management(function, Some(deadline_ms))
    }

    /// How many pings and goodbyes have no end yet.
    pub(super) fn aside(&self) -> usize {
        self.aside.len()
    }

    /// A ping, whose answer nobody waits for.
    pub(super) fn ping(&mut self, data: Vec<u8>) {
        if !self.is_leaving {
            let ping = self.machine.ping(data, None);
            self.aside.extend(ping.map(|request| request.0));
        }
    }
}

fn srp_news(event: srp::Event) -> News {
    match event {
        srp::Event::Done { request, outcome } => {
            let outcome = match outcome {
                srp::Outcome::Answered(answer) => Outcome::Answered(answer),
                srp::Outcome::TaskManagement(_) => Outcome::Managed,
                srp::Outcome::Aborted => Outcome::Aborted,
                srp::Outcome::ChannelLost => Outcome::ChannelLost,
            };
            News::Done(request, outcome)
        }
        srp::Event::TimedOut(request) => News::TimedOut(request),
        srp::Event::Closed { channel, reason } => {
            let is_fault = matches!(reason, CloseReason::Protocol(_));
            assert!(!is_fault, "the target broke the protocol: {reason}");
            News::Closed(channel)
        }
    }
}

fn iscsi_news(event: iscsi::Event) -> Option<News> {
    Some(match event {
        iscsi::Event::LoggedIn => News::LoggedIn,
        iscsi::Event::Done { request, outcome } => {
            let outcome = match outcome {
                iscsi::Outcome::Answered(answer) => Outcome::Answered(answer),
                iscsi::Outcome::TaskManagement(TaskManagementResult::FUNCTION_COMPLETE)
                | iscsi::Outcome::Pong
                | iscsi::Outcome::Text(_)
                | iscsi::Outcome::LoggedOut(_) => Outcome::Managed,
                iscsi::Outcome::TaskManagement(_) | iscsi::Outcome::Rejected(_) => Outcome::Refused,
                iscsi::Outcome::Aborted => Outcome::Aborted,
                iscsi::Outcome::ConnectionLost => Outcome::ChannelLost,
            };
            News::Done(request, outcome)
        }
        iscsi::Event::TimedOut(request) => News::TimedOut(request),
        iscsi::Event::Async(_) => return None,
        iscsi::Event::Rejected(reason) => panic!("the target rejects what nobody sent: {reason:?}"),
        iscsi::Event::Closed(reason) => {
            let is_fault = matches!(
                reason,
                iscsi::CloseReason::Protocol(_) | iscsi::CloseReason::Login(_)
            );
            assert!(!is_fault, "the target broke the protocol: {reason}");
            News::Closed(ChannelNumber(0))
        }
    })
}
