//! Requests one at a time: send, wait, answer.

use std::time::{Duration, Instant};

use target_core::lun::Lun;
use transport_iser::pdu::{LogoutReason, TaskManagementResult};
use transport_iser::text;

use super::{Mover, Session};
use crate::answer::Answer;
use crate::data::Data;
use crate::error::{ExecuteError, SessionError};
use crate::iscsi::machine::{CloseReason, Command, Outcome, RequestId, TaskFunction};
use crate::iscsi::memory::{Memory, Owner};

/// Longest time for a goodbye to be answered.
const GOODBYE: Duration = Duration::from_secs(5);

/// A target that a discovery session was told of (RFC 7143 appendix C).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredTarget {
    /// TargetName.
    pub name: String,
    /// TargetAddress, as it is written: address, port, and portal group tag behind a comma.
    pub addresses: Vec<String>,
}

impl Session {
    /// Sends a command and waits for its answer, whatever its status. A command that takes too long is aborted.
    ///
    /// # Errors
    /// There is no answer.
    pub fn execute(
        &mut self,
        lun: Lun,
        cdb: &[u8],
        data: Data<'_>,
    ) -> Result<Answer, ExecuteError> {
        self.load(&data)?;
        let (data_in_len, data_out_len) = match &data {
            Data::None => (0, 0),
            Data::In(into) => (len32(into.len())?, 0),
            Data::Out(from) => (0, len32(from.len())?),
        };
        let request = self.submit_blocking(&Command {
            lun,
            cdb,
            data_in_len,
            data_out_len,
        })?;
        let answer = match self.wait_for(request)? {
            Outcome::Answered(answer) => answer,
            outcome => return Err(self.unanswered(&outcome)),
        };
        if let Data::In(into) = data {
            let is_read = self.memories.blocking.read(0, into);
            debug_assert!(is_read, "the memory is as long as the data");
        }
        Ok(answer)
    }

    /// Sends a task management request and waits for its answer.
    ///
    /// # Errors
    /// There is no answer.
    pub fn task_management(
        &mut self,
        function: TaskFunction,
    ) -> Result<TaskManagementResult, ExecuteError> {
        let request = self.machine.task_management(function, self.deadline_ms());
        let request = request.map_err(|error| self.submit_error(error))?;
        match self.await_answer(request, "task management is not answered")? {
            Outcome::TaskManagement(result) => Ok(result),
            outcome => Err(self.unanswered(&outcome)),
        }
    }

    /// Sends a ping and waits until it comes back.
    ///
    /// # Errors
    /// It does not.
    pub fn ping(&mut self, data: &[u8]) -> Result<(), ExecuteError> {
        let request = self.machine.ping(data.to_vec(), self.deadline_ms());
        let request = request.map_err(|error| self.submit_error(error))?;
        match self.await_answer(request, "the ping is not answered")? {
            Outcome::Pong => Ok(()),
            outcome => Err(self.unanswered(&outcome)),
        }
    }

    /// Sends a text request and waits for its answer: pairs that end with NUL.
    ///
    /// # Errors
    /// There is no answer.
    pub fn text(&mut self, pairs: &[(&str, &str)]) -> Result<Vec<u8>, ExecuteError> {
        let request = self.machine.text(pairs, self.deadline_ms());
        let request = request.map_err(|error| self.submit_error(error))?;
        match self.await_answer(request, "the text request is not answered")? {
            Outcome::Text(text) => Ok(text),
            outcome => Err(self.unanswered(&outcome)),
        }
    }

    /// The targets that are here for this initiator (SendTargets=All in a discovery session).
    ///
    /// # Errors
    /// There is no answer, or it is no list.
    pub fn discover(&mut self) -> Result<Vec<DiscoveredTarget>, ExecuteError> {
        let answer = self.text(&[("SendTargets", "All")])?;
        let mut targets: Vec<DiscoveredTarget> = Vec::new();
        for pair in text::parse(&answer).map_err(ExecuteError::Text)? {
            match (pair.key, targets.last_mut()) {
                ("TargetName", _) => targets.push(DiscoveredTarget {
                    name: pair.value.to_owned(),
                    addresses: Vec::new(),
                }),
                ("TargetAddress", Some(target)) => target.addresses.push(pair.value.to_owned()),
                _ => {}
            }
        }
        Ok(targets)
    }

    /// Logs out, and waits for the answer.
    pub fn logout(mut self) {
        if self
            .machine
            .logout(LogoutReason::CLOSE_SESSION, None)
            .is_err()
        {
            return;
        }
        let limit = Instant::now() + GOODBYE;
        while self.turn().is_ok() && self.closed.is_none() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.sleep(left);
        }
        self.close_mover();
    }

    fn submit_blocking(&mut self, command: &Command<'_>) -> Result<RequestId, ExecuteError> {
        loop {
            let submitted = self.machine.submit(command, self.deadline_ms());
            match submitted.map_err(|error| self.submit_error(error)) {
                Ok(request) => {
                    self.memories.hold(request, Owner::Blocking);
                    return Ok(request);
                }
                // A target may close its window for a while, even when nothing is outstanding.
                Err(SessionError::Full) => self.make_room()?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until something has ended, or the window has opened.
    fn make_room(&mut self) -> Result<(), ExecuteError> {
        let limit = Instant::now() + self.command_timeout();
        while !self.machine.has_room() {
            let left = limit.saturating_duration_since(Instant::now());
            if let Some(reason) = &self.closed {
                return Err(ExecuteError::Lost(reason.clone().into()));
            }
            if left.is_zero() {
                return Err(self.timed_out("all that may be outstanding is"));
            }
            self.turn()?;
            if !self.machine.has_room() {
                self.sleep(left);
            }
        }
        Ok(())
    }

    fn await_answer(
        &mut self,
        request: RequestId,
        aftermath: &'static str,
    ) -> Result<Outcome, ExecuteError> {
        let limit = self.command_timeout();
        let outcome = self.take_finished(request, limit)?;
        outcome.ok_or_else(|| self.timed_out(aftermath))
    }

    /// How a command ended; after its time it is aborted. When even that is not answered the session is over, because
    /// the target may still touch the memory.
    fn wait_for(&mut self, request: RequestId) -> Result<Outcome, ExecuteError> {
        if let Some(outcome) = self.take_finished(request, self.command_timeout())? {
            return Ok(outcome);
        }
        let aborted = self.task_management(TaskFunction::AbortTask(request));
        match self.take_finished(request, Duration::ZERO)? {
            Some(Outcome::Aborted) => Err(self.timed_out("it was aborted")),
            Some(outcome) => Ok(outcome),
            None => {
                self.close_mover();
                self.machine.handle_disconnected();
                Err(match aborted {
                    Err(error @ ExecuteError::Lost(_)) => error,
                    _ => self.timed_out("the target did not abort it, and the session was ended"),
                })
            }
        }
    }

    pub(super) fn unanswered(&self, outcome: &Outcome) -> ExecuteError {
        match outcome {
            Outcome::Rejected(reason) => ExecuteError::Rejected(*reason),
            Outcome::ConnectionLost => {
                let reason = self.closed.clone().unwrap_or(CloseReason::Disconnected);
                ExecuteError::Lost(reason.into())
            }
            _ => ExecuteError::Aborted,
        }
    }

    fn command_timeout(&self) -> Duration {
        // The machine reports the deadline first; this is for a target that never lets the loop sleep.
        Duration::from_millis(u64::from(self.command_timeout_ms) + 100)
    }

    fn timed_out(&self, aftermath: &'static str) -> ExecuteError {
        ExecuteError::TimedOut {
            timeout_ms: self.command_timeout_ms,
            aftermath,
        }
    }

    /// Makes the memory of blocking commands long enough, and copies Data-Out into it.
    fn load(&mut self, data: &Data<'_>) -> Result<(), SessionError> {
        let len = match data {
            Data::None => 0,
            Data::In(into) => into.len(),
            Data::Out(from) => from.len(),
        };
        if self.memories.blocking.capacity() < len {
            self.memories.blocking = self.memory(len)?;
        }
        if let Data::Out(from) = data {
            let is_written = self.memories.blocking.write(0, from);
            debug_assert!(is_written, "the memory is as long as the data");
        }
        Ok(())
    }

    pub(super) fn memory(&self, len: usize) -> Result<Memory, SessionError> {
        match &self.mover {
            Mover::Tcp(_) => Ok(Memory::plain(len)),
            Mover::Iser(connection) => Memory::exposed(&connection.port, len),
        }
    }
}

/// The length of a buffer as a command says it.
pub(super) fn len32(len: usize) -> Result<u32, SessionError> {
    u32::try_from(len).map_err(|_| SessionError::NoBuffer(len))
}
