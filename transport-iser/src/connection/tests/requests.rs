//! NOP, task management, text, logout, SNACK.

use target_core::command::{TaskManagementFunction, TaskManagementResponse as Sam};
use target_core::lun::Lun;
use target_core::port::{Channel, CloseReason};

use super::harness::{Bed, FIRST, LUN, good};
use crate::Sn;
use crate::login::{SessionType, TargetRecord};
use crate::pdu::{
    LogoutReason, LogoutRequest, LogoutResponse, LogoutResult, NopIn, NopOut, Opcode, RESERVED_TAG,
    Reject, RejectReason, Snack, TaskManagementCode, TaskManagementRequest, TaskManagementResponse,
    TaskManagementResult, TextRequest, TextResponse,
};

fn ping(bed: &mut Bed, data: &[u8]) {
    let pdu = NopOut {
        immediate: true,
        initiator_task_tag: 9,
        target_transfer_tag: RESERVED_TAG,
        cmd_sn: FIRST,
        ..NopOut::default()
    };
    bed.send(&pdu.encode(data.len() as u32), data);
}

#[test]
fn a_ping_is_echoed_at_once() {
    let mut bed = Bed::tcp(|_| ());
    bed.read(1, 0);
    ping(&mut bed, b"hello");
    let sent = bed.sent_one();
    let pdu = NopIn::parse(&sent.bhs).unwrap();
    assert_eq!(
        (pdu.initiator_task_tag, pdu.target_transfer_tag),
        (9, RESERVED_TAG)
    );
    assert_eq!(sent.data, b"hello");
    assert_eq!((pdu.stat_sn, pdu.exp_cmd_sn), (Sn(1), FIRST.plus(1)));
    ping(&mut bed, b"");
    assert_eq!(NopIn::parse(&bed.sent_one().bhs).unwrap().stat_sn, Sn(2));
}

#[test]
fn an_echo_is_as_long_as_the_initiator_takes() {
    let mut bed = Bed::tcp(|_| ());
    ping(&mut bed, &[7; 3000]);
    assert_eq!(bed.sent_one().data, [7; 1024]);
}

#[test]
fn pings_that_nobody_takes_the_answers_of_stop_the_stream() {
    let mut bed = Bed::tcp(|negotiated| negotiated.max_xmit_data_segment_length = 8192);
    for _ in 0..64 {
        ping(&mut bed, &[7; 8192]);
    }
    assert!(!bed.connection.wants_input());
    assert_eq!(bed.sent().len(), 64);
    assert!(bed.connection.wants_input());
}

#[test]
fn what_waits_to_be_sent_is_counted_once() {
    const SEGMENT: usize = 4096;
    let mut bed = Bed::iser(|negotiated| negotiated.max_xmit_data_segment_length = 8192);
    let pdu = NopOut {
        immediate: true,
        initiator_task_tag: 9,
        target_transfer_tag: RESERVED_TAG,
        ..NopOut::default()
    };
    let mut ask = |count| {
        for _ in 0..count {
            bed.send_iser(None, None, &pdu.encode(SEGMENT as u32), &[3; SEGMENT]);
        }
        bed.connection.heap_bytes()
    };
    // The queue has grown for the first ones: what is left to count are the segments.
    let before = ask(5);
    assert_eq!(ask(3), before + 3 * SEGMENT);
}

#[test]
fn a_ping_of_the_target_asks_for_an_answer_and_takes_no_stat_sn() {
    let mut bed = Bed::tcp(|_| ());
    let at = bed.connection.poll_timeout().expect("a deadline");
    assert_eq!(at, 15_000);
    bed.connection.handle_timeout(at);
    let first = NopIn::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(first.initiator_task_tag, RESERVED_TAG);
    assert_ne!(first.target_transfer_tag, RESERVED_TAG);
    assert_eq!(first.stat_sn, Sn(1));
    let answer = NopOut {
        immediate: true,
        initiator_task_tag: RESERVED_TAG,
        target_transfer_tag: first.target_transfer_tag,
        cmd_sn: FIRST,
        ..NopOut::default()
    };
    bed.now_ms = 16_000;
    bed.send(&answer.encode(0), &[]);
    assert!(bed.sent().is_empty() && bed.events().is_empty());
    assert_eq!(bed.connection.poll_timeout(), Some(31_000));
    bed.connection.handle_timeout(31_000);
    assert_eq!(NopIn::parse(&bed.sent_one().bhs).unwrap().stat_sn, Sn(1));
    let at = bed.connection.poll_timeout().expect("a deadline");
    assert_eq!(at, 46_000);
    bed.connection.handle_timeout(at);
    let silent = "a ping was not answered in 15000 ms".to_owned();
    assert_eq!(bed.close_reason(), Some(CloseReason::Silent(silent)));
    assert_eq!(bed.connection.counters().protocol_errors, 0);
}

#[test]
fn a_nop_without_tag_must_be_immediate() {
    let mut bed = Bed::tcp(|_| ());
    let pdu = NopOut {
        initiator_task_tag: RESERVED_TAG,
        target_transfer_tag: RESERVED_TAG,
        cmd_sn: FIRST,
        ..NopOut::default()
    };
    bed.send(&pdu.encode(0), &[]);
    let reject = Reject::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::PROTOCOL_ERROR);
}

fn request(function: TaskManagementCode, tag: u32) -> TaskManagementRequest {
    TaskManagementRequest {
        immediate: true,
        function,
        lun: LUN,
        initiator_task_tag: 50,
        referenced_task_tag: tag,
        cmd_sn: FIRST.plus(1),
        ref_cmd_sn: FIRST,
        ..TaskManagementRequest::default()
    }
}

fn result(bed: &mut Bed) -> TaskManagementResult {
    let pdu = TaskManagementResponse::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(pdu.initiator_task_tag, 50);
    pdu.response
}

#[test]
fn functions_go_to_the_core_and_its_answers_to_the_initiator() {
    for (code, function, answer, expected) in [
        (
            TaskManagementCode::ABORT_TASK,
            TaskManagementFunction::AbortTask { tag: 1 },
            Sam::FunctionComplete,
            TaskManagementResult::FUNCTION_COMPLETE,
        ),
        (
            TaskManagementCode::ABORT_TASK_SET,
            TaskManagementFunction::AbortTaskSet,
            Sam::IncorrectLogicalUnitNumber,
            TaskManagementResult::LUN_DOES_NOT_EXIST,
        ),
        (
            TaskManagementCode::CLEAR_TASK_SET,
            TaskManagementFunction::ClearTaskSet,
            Sam::FunctionRejected,
            TaskManagementResult::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED,
        ),
        (
            TaskManagementCode::LOGICAL_UNIT_RESET,
            TaskManagementFunction::LogicalUnitReset,
            Sam::FunctionComplete,
            TaskManagementResult::FUNCTION_COMPLETE,
        ),
        (
            TaskManagementCode::TARGET_WARM_RESET,
            TaskManagementFunction::TargetWarmReset,
            Sam::FunctionComplete,
            TaskManagementResult::FUNCTION_COMPLETE,
        ),
        (
            TaskManagementCode::TARGET_COLD_RESET,
            TaskManagementFunction::TargetColdReset,
            Sam::FunctionAuthorizationFailed,
            TaskManagementResult::FUNCTION_AUTHORIZATION_FAILED,
        ),
    ] {
        let mut bed = Bed::tcp(|_| ());
        let command = bed.read(1, 4096);
        bed.send(&request(code, 1).encode(0), &[]);
        let asked = bed.task_management();
        assert_eq!((asked.function, asked.lun), (function, LUN));
        bed.connection.handle_aborted(command.exchange);
        bed.connection
            .handle_task_management(asked.exchange, answer);
        assert_eq!(result(&mut bed), expected);
        assert_eq!(bed.connection.exchanges_in_use(), 0);
    }
}

#[test]
fn functions_that_are_not_there_are_answered_with_the_standards_code() {
    let mut bed = Bed::tcp(|_| ());
    for (code, expected) in [
        (
            TaskManagementCode::TASK_REASSIGN,
            TaskManagementResult::TASK_ALLEGIANCE_REASSIGNMENT_NOT_SUPPORTED,
        ),
        (
            TaskManagementCode::QUERY_TASK,
            TaskManagementResult::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED,
        ),
        (
            TaskManagementCode(0x55),
            TaskManagementResult::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED,
        ),
    ] {
        bed.send(&request(code, 1).encode(0), &[]);
        assert_eq!(result(&mut bed), expected, "{code:?}");
        assert!(bed.events().is_empty());
    }
}

#[test]
fn abort_task_of_what_is_not_here() {
    let mut bed = Bed::tcp(|_| ());
    let command = bed.read(1, 0);
    // Another logical unit's task.
    let mut other = request(TaskManagementCode::ABORT_TASK, 1);
    other.lun = Lun::default();
    bed.send(&other.encode(0), &[]);
    assert_eq!(result(&mut bed), TaskManagementResult::TASK_DOES_NOT_EXIST);
    // One that has ended.
    bed.outcome(command.exchange, good());
    bed.sent();
    bed.send(&request(TaskManagementCode::ABORT_TASK, 1).encode(0), &[]);
    assert_eq!(result(&mut bed), TaskManagementResult::TASK_DOES_NOT_EXIST);
    // One that has not come: its CmdSN counts as received.
    let mut missing = request(TaskManagementCode::ABORT_TASK, 2);
    missing.ref_cmd_sn = FIRST.plus(1);
    missing.cmd_sn = FIRST.plus(2);
    bed.send(&missing.encode(0), &[]);
    let sent = bed.sent_one();
    let pdu = TaskManagementResponse::parse(&sent.bhs).unwrap();
    assert_eq!(pdu.response, TaskManagementResult::FUNCTION_COMPLETE);
    assert_eq!(pdu.exp_cmd_sn, FIRST.plus(2));
    // One beyond the request itself.
    bed.send(&missing.encode(0), &[]);
    assert_eq!(result(&mut bed), TaskManagementResult::TASK_DOES_NOT_EXIST);
}

#[test]
fn an_initiator_that_asks_for_resent_numbers_is_refused() {
    let mut bed = Bed::tcp(|_| ());
    bed.send(&Snack::default().encode(0), &[]);
    let reject = Reject::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::SNACK_REJECT);
    assert!(bed.close_reason().is_none());
}

fn logout(reason: LogoutReason, cid: u16) -> LogoutRequest {
    LogoutRequest {
        immediate: true,
        reason,
        initiator_task_tag: 60,
        cid,
        cmd_sn: FIRST,
        ..LogoutRequest::default()
    }
}

#[test]
fn a_logout_is_answered_after_what_is_outstanding() {
    let mut bed = Bed::tcp(|_| ());
    let command = bed.read(1, 0);
    bed.send(&logout(LogoutReason::CLOSE_SESSION, 0).encode(0), &[]);
    assert!(bed.sent().is_empty() && bed.events().is_empty());
    // Nothing new is begun meanwhile.
    let late = super::harness::read(bed.cmd_sn(), 2, 0);
    bed.send(&late.encode(0), &[]);
    let reject = Reject::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::WAITING_FOR_LOGOUT);
    // The answer to a ping that was under way is nothing new.
    let answer = NopOut {
        immediate: true,
        initiator_task_tag: RESERVED_TAG,
        target_transfer_tag: 5,
        cmd_sn: FIRST,
        ..NopOut::default()
    };
    bed.send(&answer.encode(0), &[]);
    assert!(bed.sent().is_empty());
    bed.outcome(command.exchange, good());
    let sent = bed.sent();
    assert_eq!(sent[0].opcode(), Opcode::SCSI_RESPONSE);
    let pdu = LogoutResponse::parse(&sent[1].bhs).unwrap();
    assert_eq!(
        (pdu.response, pdu.initiator_task_tag),
        (LogoutResult::CLOSED_SUCCESSFULLY, 60)
    );
    assert_eq!((pdu.time2wait, pdu.time2retain), (2, 0));
    assert_eq!(bed.close_reason(), Some(CloseReason::PeerLogout));
}

#[test]
fn a_logout_does_not_wait_for_ever() {
    let mut bed = Bed::tcp(|_| ());
    bed.read(1, 0);
    bed.send(&logout(LogoutReason::CLOSE_CONNECTION, 7).encode(0), &[]);
    let at = bed.connection.poll_timeout().expect("a deadline");
    bed.connection.handle_timeout(at);
    assert_eq!(bed.sent_one().opcode(), Opcode::LOGOUT_RESPONSE);
    assert_eq!(bed.close_reason(), Some(CloseReason::PeerLogout));
}

#[test]
fn logouts_that_close_nothing() {
    let mut bed = Bed::tcp(|_| ());
    for (pdu, expected) in [
        (
            logout(LogoutReason::CLOSE_CONNECTION, 8),
            LogoutResult::CID_NOT_FOUND,
        ),
        (
            logout(LogoutReason::REMOVE_CONNECTION_FOR_RECOVERY, 7),
            LogoutResult::CONNECTION_RECOVERY_NOT_SUPPORTED,
        ),
    ] {
        bed.send(&pdu.encode(0), &[]);
        let pdu = LogoutResponse::parse(&bed.sent_one().bhs).unwrap();
        assert_eq!(pdu.response, expected);
        assert!(bed.close_reason().is_none());
    }
    bed.send(&logout(LogoutReason(0x33), 7).encode(0), &[]);
    let reject = Reject::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::INVALID_PDU_FIELD);
}

fn send_targets(bed: &mut Bed) {
    let pdu = TextRequest {
        is_final: true,
        initiator_task_tag: 3,
        target_transfer_tag: RESERVED_TAG,
        cmd_sn: FIRST,
        ..TextRequest::default()
    };
    let text = b"SendTargets=All\0";
    bed.send(&pdu.encode(text.len() as u32), text);
}

#[test]
fn a_discovery_session_has_text_and_logout_only() {
    let mut bed = Bed::tcp(|n| n.identity.session_type = SessionType::Discovery);
    let target = TargetRecord {
        name: "iqn.2026-11.test:target".into(),
        addresses: vec!["192.0.2.1:3260".parse().unwrap()],
        portal_group_tag: 1,
    };
    bed.connection.handle_targets([target].into());
    send_targets(&mut bed);
    let sent = bed.sent_one();
    let pdu = TextResponse::parse(&sent.bhs).unwrap();
    assert!(pdu.is_final);
    let text = String::from_utf8(sent.data).unwrap();
    assert_eq!(
        text,
        "TargetName=iqn.2026-11.test:target\0TargetAddress=192.0.2.1:3260,1\0"
    );
    ping(&mut bed, b"");
    let reject = Reject::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::COMMAND_NOT_SUPPORTED);
    bed.send(&super::harness::read(FIRST.plus(1), 1, 0).encode(0), &[]);
    let reject = Reject::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::COMMAND_NOT_SUPPORTED);
    assert!(bed.events().is_empty());
    let due = bed.connection.poll_timeout().expect("a deadline");
    bed.connection.handle_timeout(due);
    assert!(bed.sent().is_empty(), "no pings");
    bed.send(&logout(LogoutReason::CLOSE_SESSION, 0).encode(0), &[]);
    assert_eq!(bed.sent_one().opcode(), Opcode::LOGOUT_RESPONSE);
}

#[test]
fn what_the_initiator_takes_may_change() {
    let mut bed = Bed::tcp(|_| ());
    let pdu = TextRequest {
        is_final: true,
        initiator_task_tag: 3,
        target_transfer_tag: RESERVED_TAG,
        cmd_sn: bed.cmd_sn(),
        ..TextRequest::default()
    };
    let text = b"MaxRecvDataSegmentLength=2048\0";
    bed.send(&pdu.encode(text.len() as u32), text);
    bed.sent();
    let command = bed.read(1, 4096);
    let data_in = Some(bed.filled(4096));
    bed.outcome(
        command.exchange,
        target_core::command::Outcome { data_in, ..good() },
    );
    assert_eq!(bed.sent().len(), 2);
}

#[test]
fn a_silent_discovery_session_ends() {
    let mut bed = Bed::tcp(|n| n.identity.session_type = SessionType::Discovery);
    assert_eq!(bed.connection.poll_timeout(), Some(60_000));
    bed.connection.handle_timeout(60_000);
    let silent = "a discovery session was silent for 60000 ms".to_owned();
    assert_eq!(bed.close_reason(), Some(CloseReason::Silent(silent)));
    assert!(bed.sent().is_empty());
}
