//! Requests that carry no data for the core: NOP-Out, task management, text, logout, SNACK (RFC 7143 11.5, 11.10, 11.14, 11.16,
//! 11.18).

use target_core::command::{TaskManagement, TaskManagementFunction};
use target_core::port::{ChannelEvent, CloseReason};

use super::answer::ConnectionError;
use super::exchange::State;
use super::outbox::Control;
use super::{Connection, Phase};
use crate::login::TextAnswer;
use crate::pdu::{
    AsyncEvent, AsyncMessage, Bhs, LogoutReason, LogoutRequest, LogoutResponse, LogoutResult,
    NopIn, NopOut, Opcode, RESERVED_TAG, RejectReason, Snack, TaskManagementCode,
    TaskManagementRequest, TaskManagementResponse, TaskManagementResult, TextRequest,
};

/// What a task management request comes to before the core is asked.
enum Judged {
    /// The core does it.
    Core(TaskManagementFunction),
    /// It is answered here.
    Answered(TaskManagementResult),
}

impl Connection {
    /// One request of the full feature phase, with its whole data segment.
    pub(super) fn take_request(&mut self, bhs: &Bhs, data: &[u8]) -> Result<(), ConnectionError> {
        match Opcode::of(bhs) {
            Opcode::NOP_OUT => self.take_nop_out(&NopOut::parse(bhs)?, data),
            Opcode::TASK_MANAGEMENT_REQUEST => {
                self.take_task_management(&TaskManagementRequest::parse(bhs)?)
            }
            Opcode::TEXT_REQUEST => self.take_text_request(&TextRequest::parse(bhs)?, data),
            Opcode::LOGOUT_REQUEST => self.take_logout(&LogoutRequest::parse(bhs)?),
            Opcode::SNACK => {
                Snack::parse(bhs)?;
                self.reject(RejectReason::SNACK_REJECT);
                Ok(())
            }
            _ => {
                self.reject(RejectReason::COMMAND_NOT_SUPPORTED);
                Ok(())
            }
        }
    }

    /// Whether the PDU that came last is one of those that a discovery session has (RFC 7143 4.3).
    pub(super) fn is_for_discovery(&self) -> bool {
        let opcode = Opcode::of(&self.last_bhs);
        opcode == Opcode::TEXT_REQUEST || opcode == Opcode::LOGOUT_REQUEST
    }

    fn take_nop_out(&mut self, pdu: &NopOut, data: &[u8]) -> Result<(), ConnectionError> {
        if pdu.initiator_task_tag == RESERVED_TAG {
            // The answer to a ping has done its work by coming, behind a logout too.
            if !pdu.immediate {
                self.reject(RejectReason::PROTOCOL_ERROR);
            }
            return Ok(());
        }
        if !self.take_turn(pdu.immediate, pdu.cmd_sn)? {
            return Ok(());
        }
        let echo = NopIn {
            initiator_task_tag: pdu.initiator_task_tag,
            target_transfer_tag: RESERVED_TAG,
            ..NopIn::default()
        };
        let max = self.agreed.max_xmit_data_segment_length as usize;
        let data = data.get(..max).unwrap_or(data).to_vec();
        self.send_control(Control::NopIn(echo), data);
        Ok(())
    }

    fn take_task_management(&mut self, pdu: &TaskManagementRequest) -> Result<(), ConnectionError> {
        if !self.take_turn(pdu.immediate, pdu.cmd_sn)? {
            return Ok(());
        }
        self.counters.task_management += 1;
        let function = match self.judge(pdu) {
            Judged::Core(function) => function,
            Judged::Answered(result) => {
                self.answer_task_management(pdu.initiator_task_tag, result);
                return Ok(());
            }
        };
        let exchange = match self.begin_exchange(pdu.immediate, pdu.initiator_task_tag) {
            Ok(exchange) => exchange,
            Err(reason) => {
                self.reject(reason);
                return Ok(());
            }
        };
        if let Some(slot) = self.exchanges.get_mut(exchange) {
            slot.state = State::Executing;
            slot.task_management = true;
        }
        let request = TaskManagement {
            channel: self.id,
            exchange,
            lun: pdu.lun,
            function,
        };
        self.events.push_back(ChannelEvent::TaskManagement(request));
        Ok(())
    }

    fn judge(&mut self, pdu: &TaskManagementRequest) -> Judged {
        use TaskManagementCode as Code;
        use TaskManagementFunction as Function;
        use TaskManagementResult as Result;
        match pdu.function {
            Code::ABORT_TASK => self.judge_abort_task(pdu),
            Code::ABORT_TASK_SET => Judged::Core(Function::AbortTaskSet),
            Code::CLEAR_ACA => Judged::Core(Function::ClearAca),
            Code::CLEAR_TASK_SET => Judged::Core(Function::ClearTaskSet),
            Code::LOGICAL_UNIT_RESET => Judged::Core(Function::LogicalUnitReset),
            Code::TARGET_WARM_RESET => Judged::Core(Function::TargetWarmReset),
            Code::TARGET_COLD_RESET => Judged::Core(Function::TargetColdReset),
            Code::TASK_REASSIGN => {
                Judged::Answered(Result::TASK_ALLEGIANCE_REASSIGNMENT_NOT_SUPPORTED)
            }
            _ => Judged::Answered(Result::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED),
        }
    }

    /// ABORT TASK (RFC 7143 11.6.1): a task that is not here but whose CmdSN has not come is taken as come and aborted.
    fn judge_abort_task(&mut self, pdu: &TaskManagementRequest) -> Judged {
        let exchange = self.exchanges.find(pdu.referenced_task_tag);
        let slot = exchange.and_then(|exchange| self.exchanges.get(exchange));
        if slot.is_some_and(|slot| !slot.task_management && slot.lun == pdu.lun) {
            let tag = u64::from(pdu.referenced_task_tag);
            return Judged::Core(TaskManagementFunction::AbortTask { tag });
        }
        if slot.is_some() || !self.window.contains(pdu.ref_cmd_sn) || pdu.ref_cmd_sn >= pdu.cmd_sn {
            return Judged::Answered(TaskManagementResult::TASK_DOES_NOT_EXIST);
        }
        self.window.arrive(pdu.ref_cmd_sn);
        Judged::Answered(TaskManagementResult::FUNCTION_COMPLETE)
    }

    pub(super) fn answer_task_management(
        &mut self,
        initiator_task_tag: u32,
        response: TaskManagementResult,
    ) {
        let response = TaskManagementResponse {
            response,
            initiator_task_tag,
            ..TaskManagementResponse::default()
        };
        self.send_control(Control::TaskManagement(response), Vec::new());
    }

    fn take_text_request(&mut self, pdu: &TextRequest, data: &[u8]) -> Result<(), ConnectionError> {
        if !self.take_turn(pdu.immediate, pdu.cmd_sn)? {
            return Ok(());
        }
        let Phase::FullFeature(text) = &mut self.phase else {
            return Ok(());
        };
        let answer = text.handle_request(pdu, data, &self.targets);
        self.agreed
            .set_max_xmit(text.max_xmit_data_segment_length());
        match answer {
            TextAnswer::Respond(response, segment) => {
                self.send_control(Control::Text(response), segment);
            }
            TextAnswer::Reject(reason) => self.reject(reason),
        }
        Ok(())
    }

    fn take_logout(&mut self, pdu: &LogoutRequest) -> Result<(), ConnectionError> {
        if !self.take_turn(pdu.immediate, pdu.cmd_sn)? {
            return Ok(());
        }
        let refused = match pdu.reason {
            LogoutReason::CLOSE_SESSION => None,
            LogoutReason::CLOSE_CONNECTION if pdu.cid == self.agreed.cid => None,
            LogoutReason::CLOSE_CONNECTION => Some(LogoutResult::CID_NOT_FOUND),
            LogoutReason::REMOVE_CONNECTION_FOR_RECOVERY => {
                Some(LogoutResult::CONNECTION_RECOVERY_NOT_SUPPORTED)
            }
            _ => {
                self.reject(RejectReason::INVALID_PDU_FIELD);
                return Ok(());
            }
        };
        if let Some(result) = refused {
            self.answer_logout(pdu.initiator_task_tag, result);
            return Ok(());
        }
        self.logout = Some(pdu.initiator_task_tag);
        self.timers.logging_out();
        self.settle_logout();
        Ok(())
    }

    fn answer_logout(&mut self, initiator_task_tag: u32, response: LogoutResult) {
        let response = LogoutResponse {
            response,
            initiator_task_tag,
            time2wait: self.agreed.time2wait,
            time2retain: self.agreed.time2retain,
            ..LogoutResponse::default()
        };
        self.send_control(Control::Logout(response), Vec::new());
    }

    /// Completes a logout when nothing is outstanding any more; responses that wait to be sent go before its own.
    pub(super) fn settle_logout(&mut self) {
        if self.logout.is_some() && self.exchanges.is_quiet() {
            self.complete_logout();
        }
    }

    /// Nothing is outstanding any more, or it was waited for long enough.
    pub(super) fn complete_logout(&mut self) {
        if let Some(tag) = self.logout.take() {
            self.answer_logout(tag, LogoutResult::CLOSED_SUCCESSFULLY);
            self.close(CloseReason::PeerLogout);
        }
    }

    /// Tells the initiator that the target goes (RFC 7143 11.9.1); in a login there is no word for it.
    pub(super) fn announce_end(&mut self) {
        if !matches!(self.phase, Phase::FullFeature(_)) {
            return;
        }
        let message = AsyncMessage {
            event: AsyncEvent::TARGET_WILL_DROP_ALL_CONNECTIONS,
            initiator_task_tag: RESERVED_TAG,
            parameter2: self.agreed.time2wait,
            parameter3: self.agreed.time2retain,
            ..AsyncMessage::default()
        };
        self.send_control(Control::AsyncMessage(message), Vec::new());
    }

    /// A ping that the initiator has to answer.
    pub(super) fn ping(&mut self) {
        self.counters.pings += 1;
        // Any tag but the reserved one: the answer counts by coming.
        let target_transfer_tag = self.counters.pings as u32 & 0x7fff_ffff;
        let ping = NopIn {
            initiator_task_tag: RESERVED_TAG,
            target_transfer_tag,
            ..NopIn::default()
        };
        self.send_control(Control::NopIn(ping), Vec::new());
    }
}
