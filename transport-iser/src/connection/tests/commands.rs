//! Commands, responses, Data-In, the window.

use target_core::command::{Outcome, Residual};
use target_core::sense::{AdditionalSense, Sense};
use target_core::status::Status;

use super::harness::{Bed, FIRST, LUN, good, pattern, read};
use crate::Sn;
use crate::pdu::{
    Ahs, DataIn, Opcode, RESERVED_TAG, Reject, RejectReason, ScsiResponse, TaskManagementCode,
    TaskManagementRequest, scsi_response,
};

#[test]
fn a_command_reaches_the_core_with_its_fields() {
    let mut bed = Bed::tcp(|_| ());
    let command = bed.read(0x1234, 4096);
    assert_eq!((command.tag, command.lun), (0x1234, LUN));
    assert_eq!((command.data_in_len, command.data_out_len), (4096, 0));
    assert_eq!(command.cdb.len(), 16);
    assert!(command.exchange.place() < 10);
    assert_eq!(bed.connection.exchanges_in_use(), 1);
}

#[test]
fn an_extended_cdb_and_a_bidirectional_length_are_taken() {
    let mut bed = Bed::tcp(|_| ());
    let ahs = Ahs {
        extended_cdb: Some(&[9; 16]),
        bidirectional_read_length: Some(512),
    };
    let mut bytes = [0; 32];
    let len = ahs.encode(&mut bytes).expect("room");
    let mut pdu = read(bed.cmd_sn(), 1, 1024);
    pdu.write = true;
    let bhs = pdu.encode_with_ahs(len, 0);
    bed.receive(&[&bhs[..], &bytes[..len]].concat());
    let command = bed.command();
    assert_eq!((command.data_in_len, command.data_out_len), (512, 1024));
    assert_eq!(command.cdb.len(), 32);
    let residual = Outcome {
        data_in_residual: Residual::Overflow(5),
        data_out_residual: Residual::Underflow(1024),
        ..good()
    };
    bed.outcome(command.exchange, residual);
    let response = ScsiResponse::parse(&bed.sent_one().bhs).unwrap();
    assert!(response.underflow && response.bidirectional_read_overflow);
    assert_eq!(response.residual_count, 1024);
    assert_eq!(response.bidirectional_read_residual_count, 5);
}

#[test]
fn data_come_in_pdus_that_the_initiator_takes_and_the_status_with_the_last() {
    let mut bed = Bed::tcp(|_| ());
    let command = bed.read(5, 10_000);
    let data_in = Some(bed.filled(9001));
    let residual = Residual::Underflow(999);
    bed.outcome(
        command.exchange,
        Outcome {
            data_in,
            data_in_residual: residual,
            ..good()
        },
    );
    let sent = bed.sent();
    assert_eq!(sent.len(), 9);
    let (mut bytes, mut finals) = (Vec::<u8>::new(), Vec::new());
    for (at, sent) in sent.iter().enumerate() {
        let pdu = DataIn::parse(&sent.bhs).unwrap();
        assert_eq!(pdu.data_sn, Sn(at as u32));
        assert_eq!(pdu.buffer_offset as usize, bytes.len());
        assert_eq!(pdu.initiator_task_tag, 5);
        assert_eq!(pdu.target_transfer_tag, RESERVED_TAG);
        assert_eq!(pdu.has_status, at == 8);
        finals.push(pdu.is_final);
        bytes.extend(&sent.data);
    }
    assert_eq!(bytes, pattern(0, 9001));
    let f: Vec<_> = (0..9).filter(|&at| finals[at]).collect();
    assert_eq!(f, [3, 7, 8], "bursts of 4096 bytes");
    let last = DataIn::parse(&sent[8].bhs).unwrap();
    assert!(last.underflow && !last.overflow);
    assert_eq!((last.residual_count, last.status), (999, Status::GOOD));
    assert_eq!(last.stat_sn, Sn(1));
    assert_eq!(bed.connection.exchanges_in_use(), 0);
    assert_eq!(bed.connection.counters().phase_collapses, 1);
    assert_eq!(bed.data.level().in_use_bytes, 0);
}

#[test]
fn a_status_that_is_not_good_comes_in_a_response_of_its_own() {
    let mut bed = Bed::tcp(|_| ());
    let command = bed.read(5, 2048);
    let data_in = Some(bed.filled(2048));
    let sense = Sense::illegal_request(AdditionalSense::INVALID_FIELD_IN_CDB);
    bed.outcome(
        command.exchange,
        Outcome {
            status: Status::CHECK_CONDITION,
            sense: Some(sense),
            data_in,
            ..good()
        },
    );
    let sent = bed.sent();
    let opcodes: Vec<_> = sent.iter().map(|sent| sent.opcode()).collect();
    let expected = [Opcode::DATA_IN, Opcode::DATA_IN, Opcode::SCSI_RESPONSE];
    assert_eq!(opcodes, expected);
    let response = ScsiResponse::parse(&sent[2].bhs).unwrap();
    assert_eq!(response.status, Status::CHECK_CONDITION);
    assert_eq!(response.exp_data_sn, Sn(2));
    let bytes = scsi_response::sense(&sent[2].data).unwrap();
    assert_eq!(bytes, sense.to_fixed());
}

#[test]
fn residuals_without_data_are_told() {
    let mut bed = Bed::tcp(|_| ());
    let command = bed.read(5, 0);
    let data_in_residual = Residual::Overflow(36);
    bed.outcome(
        command.exchange,
        Outcome {
            data_in_residual,
            ..good()
        },
    );
    let response = ScsiResponse::parse(&bed.sent_one().bhs).unwrap();
    assert!(response.overflow && !response.underflow);
    assert_eq!(response.residual_count, 36);
}

#[test]
fn the_window_follows_what_is_free() {
    let mut bed = Bed::tcp(|_| ());
    let commands: Vec<_> = (0..8).map(|tag| bed.read(tag, 0)).collect();
    // The window of eight is closed: one more is ignored without a word.
    bed.send(&read(FIRST.plus(8), 8, 0).encode(0), &[]);
    assert!(bed.events().is_empty() && bed.sent().is_empty());
    assert_eq!(bed.connection.counters().outside_window, 1);
    bed.outcome(commands[3].exchange, good());
    let response = ScsiResponse::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(response.exp_cmd_sn, FIRST.plus(8));
    assert_eq!(response.max_cmd_sn, FIRST.plus(8));
    bed.send(&read(FIRST.plus(8), 8, 0).encode(0), &[]);
    assert_eq!(bed.command().tag, 8);
}

#[test]
fn a_command_from_the_past_is_ignored_with_its_data() {
    let mut bed = Bed::tcp(|_| ());
    bed.read(1, 0);
    let old = super::harness::write(FIRST, 2, 512, true);
    bed.send(&old.encode(512), &[1; 512]);
    assert!(bed.events().is_empty() && bed.sent().is_empty());
    assert_eq!(bed.read(3, 0).tag, 3);
    assert_eq!(bed.data.level().in_use_bytes, 0);
}

#[test]
fn a_gap_can_never_be_filled_and_ends_the_connection() {
    let mut bed = Bed::tcp(|_| ());
    bed.send(&read(FIRST.plus(1), 1, 0).encode(0), &[]);
    let reason = bed.close_reason().expect("closed");
    assert!(format!("{reason:?}").contains("CmdSN at byte 24"));
    let reject = bed.sent_one();
    let pdu = Reject::parse(&reject.bhs).unwrap();
    assert_eq!(pdu.reason, RejectReason::PROTOCOL_ERROR);
    assert_eq!(reject.data, read(FIRST.plus(1), 1, 0).encode(0));
}

#[test]
fn a_tag_that_is_in_use_is_rejected_and_one_that_has_ended_is_not() {
    let mut bed = Bed::tcp(|_| ());
    let first = bed.read(1, 0);
    let again = read(bed.cmd_sn(), 1, 0);
    bed.send(&again.encode(0), &[]);
    let reject = Reject::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::TASK_IN_PROGRESS);
    assert_eq!(reject.exp_cmd_sn, FIRST.plus(2), "the CmdSN is used up");
    bed.outcome(first.exchange, good());
    bed.sent();
    let second = bed.read(1, 0);
    assert_ne!(second.exchange, first.exchange);
}

#[test]
fn immediate_commands_do_not_move_the_window_and_are_bounded() {
    let mut bed = Bed::tcp(|_| ());
    for tag in 0..2 {
        let mut pdu = read(FIRST, tag, 0);
        pdu.immediate = true;
        bed.send(&pdu.encode(0), &[]);
    }
    assert_eq!(bed.events().len(), 1);
    let reject = Reject::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::TOO_MANY_IMMEDIATE_COMMANDS);
    assert_eq!(reject.exp_cmd_sn, FIRST);
    // Who has sent as many as there are can still abort them.
    let abort = TaskManagementRequest {
        immediate: true,
        function: TaskManagementCode::ABORT_TASK_SET,
        lun: LUN,
        initiator_task_tag: 9,
        cmd_sn: FIRST,
        ..TaskManagementRequest::default()
    };
    bed.send(&abort.encode(0), &[]);
    bed.task_management();
}

#[test]
fn headers_that_make_no_sense_are_rejected_and_the_session_goes_on() {
    let mut bed = Bed::tcp(|_| ());
    let mut reserved_attribute = read(bed.cmd_sn(), 1, 0);
    reserved_attribute.attribute.0 = 7;
    let no_tag = read(bed.cmd_sn(), RESERVED_TAG, 0);
    let more_data_than_length = super::harness::write(bed.cmd_sn(), 2, 4, true);
    for (pdu, data) in [
        (reserved_attribute, 0),
        (no_tag, 0),
        (more_data_than_length, 8),
    ] {
        bed.send(&pdu.encode(data), &vec![0; data as usize]);
        let reject = Reject::parse(&bed.sent_one().bhs).unwrap();
        assert_eq!(reject.reason, RejectReason::INVALID_PDU_FIELD, "{pdu:?}");
    }
    assert_eq!(bed.connection.exchanges_in_use(), 0);
    assert_eq!(bed.read(3, 0).tag, 3);
}

#[test]
fn an_unknown_opcode_is_rejected_and_a_login_in_full_feature_phase_closes() {
    let mut bed = Bed::tcp(|_| ());
    let mut bhs = [0; 48];
    bhs[0] = 0x1c;
    bed.send(&bhs, &[]);
    let reject = Reject::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::COMMAND_NOT_SUPPORTED);
    bhs[0] = 0x43;
    bed.send(&bhs, &[]);
    let reject = Reject::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::PROTOCOL_ERROR);
    assert!(bed.close_reason().is_some());
}

#[test]
fn many_short_answers_go_in_one_message() {
    let mut bed = Bed::tcp(|_| ());
    let commands: Vec<_> = (0..8).map(|tag| bed.read(tag, 0)).collect();
    for command in &commands {
        bed.outcome(command.exchange, good());
    }
    use target_core::port::Channel;
    assert!(bed.connection.poll_transmit().is_some());
    assert!(bed.connection.poll_transmit().is_none());
}

#[test]
fn without_a_message_buffer_the_answer_waits() {
    use target_core::port::Channel;
    let mut bed = Bed::tcp(|_| ());
    let command = bed.read(1, 0);
    bed.outcome(command.exchange, good());
    let all: Vec<_> = std::iter::from_fn(|| bed.messages.take(1)).collect();
    assert!(bed.connection.poll_transmit().is_none());
    assert!(bed.connection.has_transmit());
    drop(all);
    assert_eq!(bed.sent().len(), 1);
}
