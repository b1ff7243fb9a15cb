//! Requests on their way out.

use target_core::lun::Lun;
use transport_srp::wire::Cmd;
use transport_srp::wire::cmd::TaskAttributeCode;

use super::{Refused, Request, Session, Transfer};
use crate::error::SessionError;
use crate::srp::machine::{Buffer, ChannelNumber, Command, RequestId, SubmitError, TaskFunction};

/// Bytes of a message that a task management request takes at most.
const TASK_MANAGEMENT_BYTES: usize = 64;

impl Session {
    /// Sends a command; [`Session::poll`] or [`Session::wait`] says how it ended. Channels take turns.
    ///
    /// # Errors
    /// Nothing is sent, and the buffer comes back. [`SessionError::Full`]: poll, and try again.
    #[expect(
        clippy::result_large_err,
        reason = "the buffer itself comes back, without a detour over the heap"
    )]
    pub fn submit(&mut self, request: Request<'_>) -> Result<RequestId, Refused> {
        let Request {
            lun,
            cdb,
            mut transfer,
        } = request;
        match self.send_command(lun, cdb, &mut transfer) {
            Ok(id) => {
                self.hold(id, transfer);
                Ok(id)
            }
            Err(error) => Err(Refused { error, transfer }),
        }
    }

    /// Sends a task management request; it ends as commands do.
    ///
    /// # Errors
    /// Nothing is sent.
    pub fn submit_task_management(
        &mut self,
        function: TaskFunction,
    ) -> Result<RequestId, SessionError> {
        let channel = self.live_channel().ok_or_else(|| self.over())?;
        let deadline = self.deadline_ms();
        let message = self.port.messages.take(TASK_MANAGEMENT_BYTES);
        let mut message = message.ok_or(SessionError::Full)?;
        let made = self
            .machine
            .task_management(channel, function, deadline, &mut message);
        let (id, channel, len) = made.map_err(submit_error)?;
        message.truncate(len);
        self.send(channel, message);
        self.hold(id, Transfer::None);
        Ok(id)
    }

    fn send_command(
        &mut self,
        lun: Lun,
        cdb: &[u8],
        transfer: &mut Transfer,
    ) -> Result<RequestId, SessionError> {
        let channel = self.next_channel()?;
        let deadline = self.deadline_ms();
        let len = self.port.messages.largest();
        let mut message = self.port.messages.take(len).ok_or(SessionError::Full)?;
        let is_immediate = self.take_immediate(channel, cdb, transfer);
        let (data_out, data_in) = match transfer {
            Transfer::None => (Buffer::None, Buffer::None),
            Transfer::In(buffer) => (Buffer::None, buffer.describe()),
            Transfer::Out(_) if is_immediate => (Buffer::Immediate(&self.immediate), Buffer::None),
            Transfer::Out(buffer) => (buffer.describe(), Buffer::None),
        };
        let command = Command {
            lun,
            attribute: TaskAttributeCode::SIMPLE,
            cdb,
            data_out,
            data_in,
        };
        let made = self
            .machine
            .submit(channel, &command, deadline, &mut message);
        let (id, len) = made.map_err(submit_error)?;
        message.truncate(len);
        self.send(channel, message);
        Ok(id)
    }

    /// Copies data that can travel in the command; false when it cannot.
    fn take_immediate(
        &mut self,
        channel: ChannelNumber,
        cdb: &[u8],
        transfer: &mut Transfer,
    ) -> bool {
        let Transfer::Out(buffer) = transfer else {
            return false;
        };
        let Some(granted) = self.machine.granted(channel) else {
            return false;
        };
        let Some(offset) = granted.imm_data_offset.map(usize::from) else {
            return false;
        };
        let fixed = Cmd::MIN_BYTES + cdb.len().saturating_sub(16).next_multiple_of(4) + 4;
        let fits = fixed <= offset && offset + buffer.len() <= granted.max_it_iu_len as usize;
        if !fits || buffer.is_empty() {
            return false;
        }
        self.immediate.resize(buffer.len(), 0);
        buffer.read(0, &mut self.immediate)
    }

    /// The next channel in turn that has room.
    fn next_channel(&mut self) -> Result<ChannelNumber, SessionError> {
        self.live_channel().ok_or_else(|| self.over())?;
        let count = self.options.channels.max(1);
        for _ in 0..count {
            self.next_channel = (self.next_channel + 1) % count;
            let channel = ChannelNumber(self.next_channel);
            if self.machine.has_room(channel) {
                return Ok(channel);
            }
        }
        Err(SessionError::Full)
    }

    fn live_channel(&self) -> Option<ChannelNumber> {
        let mut channels = (0..self.options.channels.max(1)).map(ChannelNumber);
        channels.find(|channel| self.machine.granted(*channel).is_some())
    }

    fn deadline_ms(&self) -> Option<u64> {
        let timeout_ms = u64::from(self.options.command_timeout_ms);
        Some(self.clock.now_ms() + timeout_ms)
    }

    fn hold(&mut self, id: RequestId, transfer: Transfer) {
        let place = id.place();
        if self.held.len() <= place {
            self.held.resize_with(place + 1, || Transfer::None);
        }
        if let Some(held) = self.held.get_mut(place) {
            *held = transfer;
        }
    }
}

fn submit_error(error: SubmitError) -> SessionError {
    match error {
        SubmitError::LimitReached => SessionError::Full,
        error => SessionError::Submit(error),
    }
}
