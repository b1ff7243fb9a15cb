//! What waits to be posted, and the messages that are made of it.

use iobuf::{Buf, RemoteSegment};
use target_core::command::{ExchangeId, Outcome, Residual, TaskManagementResponse};
use target_core::sense::{AdditionalSense, FIXED_SENSE_BYTES, Sense};
use target_core::status::Status;

use super::answer::WireAnswer;
use crate::login::MAX_TI_IU_LEN;
use crate::wire::Rsp;
use crate::wire::logout::LogoutReason;
use crate::wire::rsp::RspCode;

/// Room in bytes for the longest message that a channel makes: a response with sense data.
pub(super) const MESSAGE_BYTES: usize = 64;
const _: () = assert!(Rsp::MIN_BYTES + FIXED_SENSE_BYTES <= MESSAGE_BYTES);
const _: () = assert!(MESSAGE_BYTES <= MAX_TI_IU_LEN as usize);

/// Something to post. Responses are made when they are sent, so that each carries all credits owed
/// by then.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// RDMA READ from the Data-Out Buffer.
    Pull {
        exchange: ExchangeId,
        offset: u32,
        buf: Buf,
    },
    /// RDMA READ of indirect table entries.
    FetchTable {
        exchange: ExchangeId,
        missing: RemoteSegment,
        buf: Buf,
    },
    /// A message, with data before it when it is a command's response.
    Message(Message),
}

impl Outgoing {
    pub(super) fn is_pull_of(&self, id: ExchangeId) -> bool {
        matches!(self, Outgoing::Pull { exchange, .. } if *exchange == id)
    }

    pub(super) fn is_message(&self) -> bool {
        matches!(self, Outgoing::Message(_))
    }
}

#[derive(Debug)]
pub(super) enum Message {
    /// SRP_RSP for a command.
    Response {
        exchange: ExchangeId,
        outcome: Outcome,
    },
    /// SRP_RSP for a task management request.
    TaskManagementResponse { exchange: ExchangeId, code: RspCode },
    /// SRP_T_LOGOUT.
    Logout(LogoutReason),
}

/// RSP_CODE for a service response. SRP has no code of its own for a wrong logical unit number: it
/// is a field of the request that is not valid.
pub(super) fn rsp_code(response: TaskManagementResponse) -> RspCode {
    match response {
        TaskManagementResponse::FunctionComplete => RspCode::TASK_MANAGEMENT_FUNCTION_COMPLETE,
        // SRP has no request that could come to the second.
        TaskManagementResponse::FunctionRejected
        | TaskManagementResponse::FunctionAuthorizationFailed => {
            RspCode::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED
        }
        TaskManagementResponse::IncorrectLogicalUnitNumber => RspCode::REQUEST_FIELDS_INVALID,
    }
}

/// How a command ends that the channel answers by itself. `None` when the answer is no response.
pub(super) fn refusal(answer: WireAnswer) -> Option<Outcome> {
    let (status, sense) = match answer {
        WireAnswer::CheckCondition => {
            let code = AdditionalSense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT;
            (Status::CHECK_CONDITION, Some(Sense::illegal_request(code)))
        }
        WireAnswer::Busy => (Status::BUSY, None),
        WireAnswer::Logout(_) => return None,
    };
    Some(Outcome {
        status,
        sense,
        data_in: None,
        data_in_residual: Residual::None,
        data_out_residual: Residual::None,
    })
}

/// SRP_RSP for a command.
#[inline]
pub(super) fn response(tag: u64, delta: i32, outcome: &Outcome, message: Buf) -> Buf {
    let sense = outcome.sense.map(|sense| sense.to_fixed());
    let rsp = Rsp {
        status: outcome.status,
        data_out_residual: outcome.data_out_residual,
        data_in_residual: outcome.data_in_residual,
        sense: sense.as_ref().map(|sense| sense.as_slice()),
        ..plain_response(tag, delta)
    };
    emit(message, |out| rsp.emit(out))
}

/// SRP_RSP for a task management request.
pub(super) fn task_management_response(tag: u64, delta: i32, code: RspCode, message: Buf) -> Buf {
    let rsp = Rsp {
        response: Some(code),
        ..plain_response(tag, delta)
    };
    emit(message, |out| rsp.emit(out))
}

fn plain_response(tag: u64, request_limit_delta: i32) -> Rsp<'static> {
    Rsp {
        sol_not: 0,
        request_limit_delta,
        tag,
        status: Status::GOOD,
        data_out_residual: Residual::None,
        data_in_residual: Residual::None,
        response: None,
        sense: None,
    }
}

/// Fills `message`, which has room for any message of a channel, with what `emit` writes.
#[inline]
pub(super) fn emit(mut message: Buf, emit: impl FnOnce(&mut [u8]) -> Option<usize>) -> Buf {
    let len = emit(&mut message);
    debug_assert!(len.is_some(), "no room in {message:?}");
    message.truncate(len.unwrap_or(0));
    message
}
