//! Commands one at a time: send, wait, answer.

use std::time::Duration;

use target_core::lun::Lun;
use transport_srp::wire::rsp::RspCode;

use super::buffer::DataBuffer;
use super::machine::{CloseReason, Outcome, RequestId, TaskFunction};
use super::session::{Refused, Request, Session, Transfer};
use crate::answer::Answer;
use crate::data::Data;
use crate::error::{ExecuteError, SessionError};

/// The smallest data buffer in bytes that is made for a blocking command.
const LEAST_BUFFER_BYTES: usize = 64 << 10;

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
        let transfer = self.load(&data)?;
        let request = self.submit_blocking(lun, cdb, transfer)?;
        let (outcome, transfer) = self.wait_for(request)?;
        let answer = match outcome {
            Outcome::Answered(answer) => answer,
            Outcome::Aborted | Outcome::TaskManagement(_) => return Err(ExecuteError::Aborted),
            Outcome::ChannelLost => {
                let reason = self.closed().unwrap_or(CloseReason::Disconnected);
                return Err(ExecuteError::Lost(reason.into()));
            }
        };
        self.unload(transfer, data);
        Ok(answer)
    }

    /// Sends a task management request and waits for its answer.
    ///
    /// # Errors
    /// There is no answer.
    pub fn task_management(&mut self, function: TaskFunction) -> Result<RspCode, ExecuteError> {
        let request = self.submit_task_management(function)?;
        let limit = self.command_timeout();
        match self.wait_until_over(request, limit)? {
            Some((Outcome::TaskManagement(code), _)) => Ok(code),
            Some(_) => {
                let reason = self.closed().unwrap_or(CloseReason::Disconnected);
                Err(ExecuteError::Lost(reason.into()))
            }
            None => Err(self.timed_out("task management is not answered")),
        }
    }

    fn submit_blocking(
        &mut self,
        lun: Lun,
        cdb: &[u8],
        mut transfer: Transfer,
    ) -> Result<RequestId, ExecuteError> {
        loop {
            let request = Request { lun, cdb, transfer };
            match self.submit(request) {
                Ok(id) => return Ok(id),
                Err(Refused {
                    error: SessionError::Full,
                    transfer: back,
                }) if self.machine().outstanding() > 0 => {
                    transfer = back;
                    self.make_room()?;
                }
                Err(Refused { error, transfer }) => {
                    self.keep(transfer);
                    return Err(error.into());
                }
            }
        }
    }

    /// Waits until something has ended.
    fn make_room(&mut self) -> Result<(), ExecuteError> {
        match self.wait_aside(self.command_timeout())? {
            true => Ok(()),
            false => Err(self.timed_out("all that may be outstanding is")),
        }
    }

    /// How a request ended, and its transfer; after its time it is aborted.
    fn wait_for(&mut self, request: RequestId) -> Result<(Outcome, Transfer), ExecuteError> {
        if let Some(ended) = self.wait_until_over(request, self.command_timeout())? {
            return Ok(ended);
        }
        // The answer may come before the abort does; then there is nothing to abort, and it counts.
        let aborted = self.task_management(TaskFunction::AbortTask(request));
        match self.wait_until_over(request, Duration::ZERO)? {
            Some((Outcome::Aborted, transfer)) => {
                self.keep(transfer);
                Err(self.timed_out("it was aborted"))
            }
            Some(ended) => Ok(ended),
            None => Err(match aborted {
                Err(error @ ExecuteError::Lost(_)) => error,
                _ => self.timed_out("the target did not abort it"),
            }),
        }
    }

    fn wait_until_over(
        &mut self,
        request: RequestId,
        limit: Duration,
    ) -> Result<Option<(Outcome, Transfer)>, SessionError> {
        let finished = self.take_finished(request, limit)?;
        Ok(finished.and_then(|finished| Some((finished.outcome?, finished.transfer))))
    }

    fn command_timeout(&self) -> Duration {
        // The machine reports the deadline first; this is for a target that never lets the loop sleep.
        Duration::from_millis(u64::from(self.options.command_timeout_ms) + 100)
    }

    fn timed_out(&self, aftermath: &'static str) -> ExecuteError {
        ExecuteError::TimedOut {
            timeout_ms: self.options.command_timeout_ms,
            aftermath,
        }
    }

    /// Copies Data-Out into exposed memory, or finds memory for Data-In.
    fn load(&mut self, data: &Data<'_>) -> Result<Transfer, ExecuteError> {
        Ok(match data {
            Data::None => Transfer::None,
            Data::In(into) => Transfer::In(self.spare_buffer(into.len())?),
            Data::Out(from) => {
                let mut buffer = self.spare_buffer(from.len())?;
                let is_written = buffer.write(0, from);
                debug_assert!(is_written, "the buffer is as long as the data");
                Transfer::Out(buffer)
            }
        })
    }

    fn unload(&mut self, transfer: Transfer, data: Data<'_>) {
        match (transfer, data) {
            (Transfer::In(mut buffer), Data::In(into)) => {
                let is_read = buffer.read(0, into);
                debug_assert!(is_read, "the buffer is as long as the data");
                self.spare.push(buffer);
            }
            (transfer, _) => self.keep(transfer),
        }
    }

    fn keep(&mut self, transfer: Transfer) {
        match transfer {
            Transfer::None => {}
            Transfer::In(buffer) | Transfer::Out(buffer) => self.spare.push(buffer),
        }
    }

    fn spare_buffer(&mut self, len: usize) -> Result<DataBuffer, SessionError> {
        let fitting = self
            .spare
            .iter()
            .position(|buffer| buffer.capacity() >= len);
        let mut buffer = match fitting {
            Some(place) => self.spare.swap_remove(place),
            None => {
                // What is kept is too short; its memory may be what is missing.
                self.spare.clear();
                self.buffer(len.max(LEAST_BUFFER_BYTES))?
            }
        };
        let fits = buffer.set_len(len);
        debug_assert!(fits, "the buffer was chosen for this length");
        Ok(buffer)
    }
}
