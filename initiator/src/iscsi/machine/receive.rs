//! PDUs of the target (RFC 7143 clause 11). A target that breaks the protocol ends the session.

use target_core::command::Residual;
use target_core::status::Status;
use transport_iser::Sn;
use transport_iser::login::{Datamover, InitiatorStep};
use transport_iser::pdu::scsi_response::sense;
use transport_iser::pdu::{
    AsyncEvent, AsyncMessage, BHS_BYTES, Bhs, DataIn, LoginResponse, LogoutResponse, NopIn, NopOut,
    Opcode, R2t, RESERVED_TAG, Reject, ResponseCode, ScsiResponse, TaskManagementCode,
    TaskManagementResponse, TaskManagementResult, TextResponse, initiator_task_tag,
};

use super::statuses::Statuses;
use super::task::{Kind, Task};
use super::transmit::{Item, Segment};
use super::{
    CloseReason, DataFault, Event, Machine, Outcome, Phase, Placement, ProtocolError, RequestId,
    TaskFunction,
};
use crate::answer::{Answer, SenseData};
use crate::requests::Outstanding;

/// The residual fields of a response or of a Data-In PDU with status.
struct Rest {
    overflow: bool,
    underflow: bool,
    count: u32,
}

impl Rest {
    fn residual(&self) -> Residual {
        match (self.overflow, self.underflow) {
            (_, true) => Residual::Underflow(self.count),
            (true, false) => Residual::Overflow(self.count),
            (false, false) => Residual::None,
        }
    }
}

impl Machine {
    /// A PDU of the target: its basic header, and its data segment without padding. Additional headers are not given:
    /// no target sends any. Says where the data segment belongs, when it is Data-In.
    pub fn handle_pdu(&mut self, header: &Bhs, data: &[u8]) -> Option<Placement> {
        let received = match &mut self.phase {
            Phase::Ended => return None,
            Phase::LoggingIn(_) => {
                self.receive_login(header, data);
                return None;
            }
            Phase::FullFeature => self.receive(header, data),
        };
        received.unwrap_or_else(|error| {
            self.close(CloseReason::Protocol(error));
            None
        })
    }

    fn receive_login(&mut self, header: &Bhs, data: &[u8]) {
        let response = match LoginResponse::parse(header) {
            Ok(response) => response,
            Err(_) => {
                let error = ProtocolError::UnexpectedPdu(Opcode::of(header));
                return self.close(CloseReason::Protocol(error));
            }
        };
        if let Phase::LoggingIn(login) = &mut self.phase {
            login.handle_response(&response, data);
        }
        self.statuses = Statuses::from(response.stat_sn.plus(1));
        self.exp_cmd_sn = response.exp_cmd_sn;
        self.max_cmd_sn = response.max_cmd_sn;
        self.go_on_with_login();
    }

    /// What the login has to say.
    pub(super) fn go_on_with_login(&mut self) {
        while let Phase::LoggingIn(login) = &mut self.phase {
            match login.poll() {
                None => return,
                Some(InitiatorStep::Send(request, text)) => {
                    // A login's segments are of 8192 bytes at most.
                    let header = request.encode(text.len() as u32);
                    self.queue_pdu(header, Segment::Bytes(text), None);
                }
                Some(InitiatorStep::Done(agreed)) => {
                    self.agreed = Some(*agreed);
                    self.phase = Phase::FullFeature;
                    self.events.push_back(Event::LoggedIn);
                }
                Some(InitiatorStep::Failed(failure)) => self.close(CloseReason::Login(failure)),
            }
        }
    }

    fn receive(&mut self, header: &Bhs, data: &[u8]) -> Result<Option<Placement>, ProtocolError> {
        match Opcode::of(header) {
            Opcode::DATA_IN if self.datamover() == Datamover::Tcp => {
                return self.receive_data_in(&DataIn::parse(header)?, data);
            }
            Opcode::R2T if self.datamover() == Datamover::Tcp => {
                self.receive_r2t(&R2t::parse(header)?)?;
            }
            Opcode::SCSI_RESPONSE => self.receive_response(&ScsiResponse::parse(header)?, data)?,
            Opcode::TASK_MANAGEMENT_RESPONSE => {
                self.receive_task_management(&TaskManagementResponse::parse(header)?)?;
            }
            Opcode::NOP_IN => self.receive_nop(&NopIn::parse(header)?, data)?,
            Opcode::TEXT_RESPONSE => self.receive_text(&TextResponse::parse(header)?, data)?,
            Opcode::LOGOUT_RESPONSE => self.receive_logout(&LogoutResponse::parse(header)?)?,
            Opcode::ASYNC_MESSAGE => self.receive_async(&AsyncMessage::parse(header)?)?,
            Opcode::REJECT => self.receive_reject(&Reject::parse(header)?, data)?,
            other => return Err(ProtocolError::UnexpectedPdu(other)),
        }
        Ok(None)
    }

    /// The command window that the target grants (RFC 7143 4.2.2.1). One that is older than what is known is passed over.
    fn take_window(&mut self, exp: Sn, max: Sn) -> Result<(), ProtocolError> {
        if max.plus(1) < exp {
            return Err(ProtocolError::Window {
                exp: exp.0,
                max: max.0,
            });
        }
        if exp > self.exp_cmd_sn {
            self.exp_cmd_sn = exp;
        }
        if max > self.max_cmd_sn {
            self.max_cmd_sn = max;
        }
        Ok(())
    }

    /// A PDU with a status: its number must be the next one. Over iSER it may be one of the next, for Linux's `isert` numbers
    /// and sends its answers on several processors at once.
    fn take_status(&mut self, opcode: Opcode, stat_sn: Sn) -> Result<(), ProtocolError> {
        let most_early = match self.datamover() {
            Datamover::Tcp => 0,
            Datamover::Iser => Statuses::MOST_EARLY,
        };
        let expected = self.statuses.due().0;
        if !self.statuses.take(stat_sn, most_early) {
            return Err(ProtocolError::StatSn {
                opcode,
                expected,
                found: stat_sn.0,
            });
        }
        // The target has answered something that came later than these.
        self.unexpected = self.unexpected.saturating_sub(self.unexpected_alone);
        self.unexpected_alone = 0;
        Ok(())
    }

    fn find(&self, opcode: Opcode, tag: u32) -> Result<(RequestId, &Task), ProtocolError> {
        let found = self.request_of(tag);
        let found = found.and_then(|id| Some((id, &self.tasks.get(id)?.request)));
        found.ok_or(ProtocolError::UnexpectedTag { opcode, tag })
    }

    fn receive_data_in(
        &mut self,
        pdu: &DataIn,
        data: &[u8],
    ) -> Result<Option<Placement>, ProtocolError> {
        let (opcode, tag) = (DataIn::OPCODE, pdu.initiator_task_tag);
        let fault = |fault| ProtocolError::Data { opcode, tag, fault };
        self.take_window(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        let (request, _) = self.find(opcode, tag)?;
        let most = match (self.options.long_sequences, &self.agreed) {
            (false, Some(agreed)) => agreed.max_burst_length,
            _ => u32::MAX,
        };
        let task = self.tasks.get_mut(request).map(|task| &mut task.kind);
        let (Some(Kind::Command { data_in, .. }), Some(agreed)) = (task, &self.agreed) else {
            return Err(ProtocolError::UnexpectedTag { opcode, tag });
        };
        // The driver took no longer segment than was declared.
        let len = data.len() as u32;
        data_in.take(pdu, len, agreed, most).map_err(fault)?;
        if pdu.has_status {
            self.take_status(opcode, pdu.stat_sn)?;
            let rest = Rest {
                overflow: pdu.overflow,
                underflow: pdu.underflow,
                count: pdu.residual_count,
            };
            let answer = self
                .answer(request, pdu.status, None, &rest)
                .map_err(fault)?;
            self.end(request, Outcome::Answered(answer));
        }
        Ok(Some(Placement {
            request,
            offset: pdu.buffer_offset,
        }))
    }

    fn receive_r2t(&mut self, pdu: &R2t) -> Result<(), ProtocolError> {
        let (opcode, tag) = (R2t::OPCODE, pdu.initiator_task_tag);
        self.take_window(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        let (request, _) = self.find(opcode, tag)?;
        let task = self.tasks.get_mut(request).map(|task| &mut task.kind);
        let (Some(Kind::Command { data_out, .. }), Some(agreed)) = (task, &self.agreed) else {
            return Err(ProtocolError::UnexpectedTag { opcode, tag });
        };
        let burst = data_out.take(pdu, agreed);
        let burst = burst.map_err(|fault| ProtocolError::Data { opcode, tag, fault })?;
        self.queue.push_back(Item::Burst { request, burst });
        Ok(())
    }

    fn receive_response(&mut self, pdu: &ScsiResponse, data: &[u8]) -> Result<(), ProtocolError> {
        let (opcode, tag) = (ScsiResponse::OPCODE, pdu.initiator_task_tag);
        self.take_window(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        self.take_status(opcode, pdu.stat_sn)?;
        let (request, task) = self.find(opcode, tag)?;
        if !task.is_command() {
            return Err(ProtocolError::UnexpectedTag { opcode, tag });
        }
        let rest = Rest {
            overflow: pdu.overflow,
            underflow: pdu.underflow,
            count: pdu.residual_count,
        };
        let sense = sense(data)?;
        let sense = (!sense.is_empty()).then(|| SenseData::new(sense));
        let answer = self.answer(request, pdu.status, sense, &rest);
        let mut answer = answer.map_err(|fault| ProtocolError::Data { opcode, tag, fault })?;
        if pdu.response != ResponseCode::COMMAND_COMPLETED_AT_TARGET {
            answer.response = Some(pdu.response.0);
        }
        self.end(request, Outcome::Answered(answer));
        Ok(())
    }

    fn answer(
        &self,
        request: RequestId,
        status: Status,
        sense: Option<SenseData>,
        rest: &Rest,
    ) -> Result<Answer, DataFault> {
        let task = self.tasks.get(request).map(|task| &task.request.kind);
        let Some(Kind::Command { data_in, data_out }) = task else {
            return Err(DataFault::NoData);
        };
        let residual = rest.residual();
        let len = data_in.expected.max(data_out.len);
        if matches!(residual, Residual::Underflow(count) if count > len) {
            return Err(DataFault::Residual(rest.count));
        }
        let mut answer = Answer {
            status,
            sense,
            data_out_residual: Residual::None,
            data_in_residual: Residual::None,
            response: None,
        };
        if data_out.len > 0 {
            answer.data_out_residual = residual;
            return Ok(answer);
        }
        answer.data_in_residual = residual;
        let unused = if rest.underflow { rest.count } else { 0 };
        let (received, expected) = (data_in.received, data_in.expected - unused);
        // Over RDMA the target places the data by itself.
        let is_short = self.datamover() == Datamover::Tcp && received < expected;
        if status == Status::GOOD && is_short {
            return Err(DataFault::Missing { received, expected });
        }
        Ok(answer)
    }

    fn receive_task_management(
        &mut self,
        pdu: &TaskManagementResponse,
    ) -> Result<(), ProtocolError> {
        let (opcode, tag) = (TaskManagementResponse::OPCODE, pdu.initiator_task_tag);
        self.take_window(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        self.take_status(opcode, pdu.stat_sn)?;
        let (request, task) = self.find(opcode, tag)?;
        let Kind::TaskManagement(function) = task.kind else {
            return Err(ProtocolError::UnexpectedTag { opcode, tag });
        };
        if pdu.response == TaskManagementResult::FUNCTION_COMPLETE {
            let sequence = self.tasks.get(request).map_or(0, |task| task.sequence);
            self.end_managed(function, sequence);
        }
        self.end(request, Outcome::TaskManagement(pdu.response));
        Ok(())
    }

    /// Ends the commands that a task management function has ended at the target.
    fn end_managed(&mut self, function: TaskFunction, sequence: u64) {
        let mut from = 0;
        let chosen = |id: RequestId, task: &Outstanding<Task>| {
            let is_before = task.request.is_command() && task.sequence < sequence;
            is_before && is_ended(function, id, &task.request)
        };
        while let Some(request) = self.tasks.find_from(&mut from, chosen) {
            self.end(request, Outcome::Aborted);
        }
    }

    fn receive_nop(&mut self, pdu: &NopIn, data: &[u8]) -> Result<(), ProtocolError> {
        let (opcode, tag) = (NopIn::OPCODE, pdu.initiator_task_tag);
        self.take_window(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        if pdu.target_transfer_tag != RESERVED_TAG {
            self.pong(pdu, data);
        }
        if tag == RESERVED_TAG {
            return Ok(());
        }
        self.take_status(opcode, pdu.stat_sn)?;
        let (request, task) = self.find(opcode, tag)?;
        if !matches!(task.kind, Kind::Ping) {
            return Err(ProtocolError::UnexpectedTag { opcode, tag });
        }
        self.end(request, Outcome::Pong);
        Ok(())
    }

    /// Answers a ping of the target.
    fn pong(&mut self, pdu: &NopIn, data: &[u8]) {
        let most = self.agreed.as_ref();
        let most = most.map_or(0, |agreed| agreed.max_xmit_data_segment_length);
        let data = data.get(..most as usize).unwrap_or(data).to_vec();
        let pong = NopOut {
            immediate: true,
            lun: pdu.lun,
            initiator_task_tag: RESERVED_TAG,
            target_transfer_tag: pdu.target_transfer_tag,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: Sn(0),
        };
        let header = pong.encode(data.len() as u32);
        self.queue_pdu(header, Segment::Bytes(data), None);
    }

    fn receive_text(&mut self, pdu: &TextResponse, data: &[u8]) -> Result<(), ProtocolError> {
        let (opcode, tag) = (TextResponse::OPCODE, pdu.initiator_task_tag);
        self.take_window(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        self.take_status(opcode, pdu.stat_sn)?;
        let (request, task) = self.find(opcode, tag)?;
        if !matches!(task.kind, Kind::Text(_)) {
            return Err(ProtocolError::UnexpectedTag { opcode, tag });
        }
        self.text.push(data)?;
        if pdu.target_transfer_tag == RESERVED_TAG {
            let text = self.text.take();
            self.end(request, Outcome::Text(text));
        } else {
            self.queue_text(request, pdu.target_transfer_tag, pdu.lun);
        }
        Ok(())
    }

    fn receive_logout(&mut self, pdu: &LogoutResponse) -> Result<(), ProtocolError> {
        let (opcode, tag) = (LogoutResponse::OPCODE, pdu.initiator_task_tag);
        self.take_window(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        self.take_status(opcode, pdu.stat_sn)?;
        let (request, task) = self.find(opcode, tag)?;
        if !matches!(task.kind, Kind::Logout) {
            return Err(ProtocolError::UnexpectedTag { opcode, tag });
        }
        self.end(request, Outcome::LoggedOut(pdu.response));
        self.close(CloseReason::LoggedOut(pdu.response));
        Ok(())
    }

    fn receive_async(&mut self, pdu: &AsyncMessage) -> Result<(), ProtocolError> {
        self.take_window(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        self.take_status(AsyncMessage::OPCODE, pdu.stat_sn)?;
        self.events.push_back(Event::Async(*pdu));
        let is_drop = [
            AsyncEvent::TARGET_WILL_DROP_CONNECTION,
            AsyncEvent::TARGET_WILL_DROP_ALL_CONNECTIONS,
        ];
        if is_drop.contains(&pdu.event) {
            self.close(CloseReason::Dropped);
        }
        Ok(())
    }

    fn receive_reject(&mut self, pdu: &Reject, data: &[u8]) -> Result<(), ProtocolError> {
        self.take_window(pdu.exp_cmd_sn, pdu.max_cmd_sn)?;
        self.take_status(Reject::OPCODE, pdu.stat_sn)?;
        let rejected = data.first_chunk::<BHS_BYTES>().map(initiator_task_tag);
        match rejected.and_then(|tag| self.request_of(tag)) {
            Some(request) => self.end(request, Outcome::Rejected(pdu.reason)),
            None => self.events.push_back(Event::Rejected(pdu.reason)),
        }
        Ok(())
    }
}

fn is_ended(function: TaskFunction, id: RequestId, task: &Task) -> bool {
    match function {
        TaskFunction::AbortTask(aborted) => id == aborted,
        TaskFunction::QueryTask(_) => false,
        TaskFunction::Of(code, lun) => match code {
            TaskManagementCode::ABORT_TASK_SET
            | TaskManagementCode::CLEAR_TASK_SET
            | TaskManagementCode::LOGICAL_UNIT_RESET => task.lun == lun,
            TaskManagementCode::TARGET_WARM_RESET
            | TaskManagementCode::TARGET_COLD_RESET
            | TaskManagementCode::I_T_NEXUS_RESET => true,
            _ => false,
        },
    }
}
