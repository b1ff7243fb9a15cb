//! The iSCSI session machine against a target that is made by hand.

#[path = "iscsi/target.rs"]
mod target;

use initiator::iscsi::machine::{
    CloseReason, DataFault, Event, Machine, Outcome, Placement, ProtocolError, Segment,
    SubmitError, TaskFunction, Transmit,
};
use proptest::prelude::*;
use target::*;
use target_core::command::Residual;
use target_core::status::Status;
use transport_iser::Sn;
use transport_iser::login::{Datamover, LoginLimits};
use transport_iser::pdu::{
    AsyncEvent, AsyncMessage, Bhs, DataOut, LogoutReason, LogoutResponse, NopIn, NopOut, Opcode,
    RESERVED_TAG, Reject, RejectReason, ScsiCommand, TaskManagementRequest, TaskManagementResult,
    TextRequest, TextResponse,
};

/// A session in which data goes out as these keys say, in segments of 8 KiB.
fn writer(initial_r2t: bool, immediate_data: bool) -> Machine {
    let mut limits = LoginLimits::new(Datamover::Tcp);
    limits.max_recv_data_segment_length = 8192;
    limits.max_burst_length = 32 << 10;
    limits.first_burst_length = 16 << 10;
    limits.max_outstanding_r2t = 2;
    limits.initial_r2t = initial_r2t;
    limits.immediate_data = immediate_data;
    live(options(Datamover::Tcp), limits)
}

/// Offset and length of each segment, and whether the PDU was the last of its sequence.
fn segments(sent: &[Transmit]) -> Vec<(u32, u32, bool)> {
    let segment = |transmit: &Transmit| {
        let is_final = transmit.header[1] & 0x80 != 0;
        match transmit.segment {
            Segment::DataOut { offset, len } => (offset, len, is_final),
            _ => (0, 0, is_final),
        }
    };
    sent.iter().map(segment).collect()
}

#[test]
fn what_travels_without_being_asked_for_is_as_agreed() {
    const KIB: u32 = 1 << 10;
    for (initial_r2t, immediate_data, expected) in [
        (true, false, vec![(0, 0, true)]),
        (true, true, vec![(0, 8 * KIB, true)]),
        (
            false,
            true,
            vec![(0, 8 * KIB, false), (8 * KIB, 8 * KIB, true)],
        ),
        (
            false,
            false,
            vec![(0, 0, false), (0, 8 * KIB, false), (8 * KIB, 8 * KIB, true)],
        ),
    ] {
        let mut machine = writer(initial_r2t, immediate_data);
        let (sent, _) = submit(&mut machine, &write(40 * KIB));
        assert_eq!(segments(&sent), expected, "{initial_r2t} {immediate_data}");
        for (data_sn, transmit) in (0..).zip(&sent[1..]) {
            let pdu = DataOut::parse(&transmit.header).expect("Data-Out");
            assert_eq!(pdu.target_transfer_tag, RESERVED_TAG);
            assert_eq!(pdu.data_sn, Sn(data_sn));
        }
    }
}

#[test]
fn a_short_write_needs_one_pdu() {
    let mut machine = writer(false, true);
    let (sent, tag) = submit(&mut machine, &write(512));
    assert_eq!(segments(&sent), [(0, 512, true)]);
    machine.handle_pdu(&response(tag, STAT_SN).encode(0), &[]);
    assert!(answered(&mut machine).is_good());
    assert_eq!(machine.outstanding(), 0);
}

#[test]
fn each_r2t_is_answered_by_a_sequence_of_its_own() {
    let mut machine = writer(true, false);
    let (_, tag) = submit(&mut machine, &write(40 << 10));
    machine.handle_pdu(&r2t(tag, 0, 0, 20 << 10).encode(0), &[]);
    machine.handle_pdu(&r2t(tag, 1, 20 << 10, 20 << 10).encode(0), &[]);
    let sent = sent(&mut machine);
    let pdus: Vec<_> = sent
        .iter()
        .map(|transmit| DataOut::parse(&transmit.header).expect("Data-Out"))
        .collect();
    let shape: Vec<_> = pdus
        .iter()
        .map(|pdu| {
            (
                pdu.target_transfer_tag,
                pdu.data_sn.0,
                pdu.buffer_offset >> 10,
                pdu.is_final,
            )
        })
        .collect();
    assert_eq!(
        shape,
        [
            (0x77, 0, 0, false),
            (0x77, 1, 8, false),
            (0x77, 2, 16, true),
            (0x78, 0, 20, false),
            (0x78, 1, 28, false),
            (0x78, 2, 36, true),
        ]
    );
    // Both are answered, so that two more may come; the command has no more to ask for.
    machine.handle_pdu(&response(tag, STAT_SN).encode(0), &[]);
    assert!(answered(&mut machine).is_good());
}

#[track_caller]
fn fault(machine: &mut Machine, header: &Bhs, data: &[u8]) -> ProtocolError {
    assert_eq!(machine.handle_pdu(header, data), None);
    assert_eq!(outcome(machine), Outcome::ConnectionLost);
    match machine.poll_event() {
        Some(Event::Closed(CloseReason::Protocol(error))) => error,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn data_fault(machine: &mut Machine, header: &Bhs, data: &[u8]) -> DataFault {
    match fault(machine, header, data) {
        ProtocolError::Data { fault, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn an_r2t_for_anything_else_ends_the_session() {
    let wrong = [
        (r2t(0, 1, 0, 512), "R2TSN"),
        (r2t(0, 0, 512, 512), "offset"),
        (r2t(0, 0, 0, 0), "nothing"),
        (r2t(0, 0, 0, (40 << 10) + 1), "too much"),
        (r2t(0, 0, 0, 33 << 10), "MaxBurstLength"),
    ];
    for (mut pdu, what) in wrong {
        let mut machine = writer(true, false);
        let (_, tag) = submit(&mut machine, &write(40 << 10));
        pdu.initiator_task_tag = tag;
        println!("{what}: {}", data_fault(&mut machine, &pdu.encode(0), &[]));
    }
    let mut machine = writer(true, false);
    let (_, tag) = submit(&mut machine, &write(40 << 10));
    for number in 0..2 {
        machine.handle_pdu(&r2t(tag, number, number << 10, 1 << 10).encode(0), &[]);
    }
    let third = r2t(tag, 2, 2 << 10, 1 << 10).encode(0);
    assert_eq!(
        data_fault(&mut machine, &third, &[]),
        DataFault::TooManyR2ts(2)
    );
}

#[test]
fn data_in_is_placed_and_ends_with_its_status() {
    let mut machine = usual(Datamover::Tcp);
    let (_, tag) = submit(&mut machine, &read(12));
    let place = machine.handle_pdu(&data_in(tag, 0, 0).encode(8), &[1; 8]);
    assert!(matches!(place, Some(Placement { offset: 0, .. })));
    let mut last = data_in(tag, 1, 8);
    (last.is_final, last.has_status, last.stat_sn) = (true, true, STAT_SN);
    let place = machine.handle_pdu(&last.encode(4), &[2; 4]);
    assert!(matches!(place, Some(Placement { offset: 8, .. })));
    assert!(answered(&mut machine).is_good());
}

#[test]
fn residuals_and_sense_are_told() {
    let mut machine = usual(Datamover::Tcp);
    let (_, tag) = submit(&mut machine, &read(4096));
    machine.handle_pdu(&data_in(tag, 0, 0).encode(36), &[0; 36]);
    let mut pdu = response(tag, STAT_SN);
    (pdu.underflow, pdu.residual_count) = (true, 4060);
    machine.handle_pdu(&pdu.encode(0), &[]);
    let answer = answered(&mut machine);
    assert_eq!(answer.data_in_residual, Residual::Underflow(4060));

    let (_, tag) = submit(&mut machine, &read(512));
    let mut pdu = response(tag, STAT_SN.plus(1));
    pdu.status = Status::CHECK_CONDITION;
    let mut sense = vec![0, 18];
    sense.extend([0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0]);
    machine.handle_pdu(&pdu.encode(20), &sense);
    let answer = answered(&mut machine);
    assert_eq!(answer.sense.map(|sense| sense.key()), Some(5));
}

#[test]
fn data_in_that_cannot_be_ends_the_session() {
    let wrong = [
        (data_in(0, 1, 0), 4, "DataSN"),
        (data_in(0, 0, 4), 4, "offset"),
        (data_in(0, 0, 0), 13, "too much"),
        (data_in(0, 0, u32::MAX), 4, "far away"),
    ];
    for (mut pdu, len, what) in wrong {
        let mut machine = usual(Datamover::Tcp);
        let (_, tag) = submit(&mut machine, &read(12));
        pdu.initiator_task_tag = tag;
        let data = vec![0; len];
        let fault = data_fault(&mut machine, &pdu.encode(len as u32), &data);
        println!("{what}: {fault}");
    }
    // Status GOOD before all data has come.
    let mut machine = usual(Datamover::Tcp);
    let (_, tag) = submit(&mut machine, &read(12));
    let missing = data_fault(&mut machine, &response(tag, STAT_SN).encode(0), &[]);
    assert!(matches!(
        missing,
        DataFault::Missing {
            received: 0,
            expected: 12
        }
    ));
    // Data for a write.
    let mut machine = usual(Datamover::Tcp);
    let (_, tag) = submit(&mut machine, &write(12));
    let fault = data_fault(&mut machine, &data_in(tag, 0, 0).encode(4), &[0; 4]);
    assert!(matches!(fault, DataFault::TooMuch { .. }));
}

#[test]
fn a_sequence_is_no_longer_than_a_burst() {
    for long_sequences in [false, true] {
        let mut options = options(Datamover::Tcp);
        options.long_sequences = long_sequences;
        options.limits.max_burst_length = 512;
        options.limits.first_burst_length = 512;
        let mut machine = live(options, LoginLimits::new(Datamover::Tcp));
        let (_, tag) = submit(&mut machine, &read(1024));
        machine.handle_pdu(&data_in(tag, 0, 0).encode(512), &[0; 512]);
        let second = data_in(tag, 1, 512).encode(512);
        let is_placed = machine.handle_pdu(&second, &[0; 512]).is_some();
        assert_eq!(is_placed, long_sequences);
    }
}

#[test]
fn a_status_that_is_lost_or_repeated_ends_the_session() {
    for number in [STAT_SN.plus(1), Sn(STAT_SN.0 - 1)] {
        let mut machine = usual(Datamover::Tcp);
        let (_, tag) = submit(&mut machine, &write(0));
        let error = fault(&mut machine, &response(tag, number).encode(0), &[]);
        assert!(matches!(error, ProtocolError::StatSn { .. }), "{error}");
    }
}

#[test]
fn statuses_over_iser_come_in_any_order_but_once() {
    let mut machine = usual(Datamover::Iser);
    let (_, first) = submit(&mut machine, &write(0));
    let (_, second) = submit(&mut machine, &write(0));
    machine.handle_pdu(&response(second, STAT_SN.plus(1)).encode(0), &[]);
    machine.handle_pdu(&response(first, STAT_SN).encode(0), &[]);
    for _ in [second, first] {
        assert!(matches!(outcome(&mut machine), Outcome::Answered(_)));
    }
    let (_, third) = submit(&mut machine, &write(0));
    let error = fault(
        &mut machine,
        &response(third, STAT_SN.plus(1)).encode(0),
        &[],
    );
    assert!(matches!(error, ProtocolError::StatSn { .. }), "{error}");
}

#[test]
fn an_answer_to_nothing_ends_the_session() {
    for tag in [0, 0x1_0005, RESERVED_TAG] {
        let mut machine = usual(Datamover::Tcp);
        submit(&mut machine, &write(0));
        let error = fault(&mut machine, &response(tag, STAT_SN).encode(0), &[]);
        assert!(
            matches!(error, ProtocolError::UnexpectedTag { .. }),
            "{error}"
        );
    }
    // A tag is not used again for the next command.
    let mut machine = usual(Datamover::Tcp);
    let (_, first) = submit(&mut machine, &write(0));
    machine.handle_pdu(&response(first, STAT_SN).encode(0), &[]);
    let (_, second) = submit(&mut machine, &write(0));
    assert_ne!(first, second);
}

#[test]
fn commands_wait_for_the_window() {
    let mut machine = usual(Datamover::Tcp);
    let mut tags = Vec::new();
    while machine.has_room() {
        tags.push(submit(&mut machine, &write(0)).1);
    }
    assert_eq!(tags.len(), MAX_CMD_SN.0 as usize);
    assert_eq!(
        machine.submit(&write(0), None),
        Err(SubmitError::WindowClosed)
    );
    // Task management is immediate and takes no place.
    let abort = TaskFunction::Of(transport_iser::pdu::TaskManagementCode::ABORT_TASK_SET, LUN);
    machine
        .task_management(abort, None)
        .expect("an immediate request");
    assert_eq!(sent(&mut machine).len(), 1);
    machine.handle_pdu(&response(tags[0], STAT_SN).encode(0), &[]);
    assert!(machine.has_room(), "MaxCmdSN has risen by one");
    submit(&mut machine, &write(0));
    assert!(!machine.has_room());
}

#[test]
fn a_window_that_cannot_be_ends_the_session() {
    let mut machine = usual(Datamover::Tcp);
    let (_, tag) = submit(&mut machine, &write(0));
    let mut pdu = response(tag, STAT_SN);
    (pdu.exp_cmd_sn, pdu.max_cmd_sn) = (Sn(5), Sn(3));
    let error = fault(&mut machine, &pdu.encode(0), &[]);
    assert!(matches!(error, ProtocolError::Window { exp: 5, max: 3 }));
}

#[test]
fn an_abort_ends_its_command_without_a_response() {
    let mut machine = usual(Datamover::Tcp);
    let command = machine.submit(&write(0), None).expect("room");
    let [command_pdu] = &*sent(&mut machine) else {
        panic!("one PDU");
    };
    let command_pdu = ScsiCommand::parse(&command_pdu.header).expect("a command");
    let abort = machine.task_management(TaskFunction::AbortTask(command), None);
    let [request] = &*sent(&mut machine) else {
        panic!("one PDU");
    };
    let request = TaskManagementRequest::parse(&request.header).expect("task management");
    assert_eq!(request.referenced_task_tag, command_pdu.initiator_task_tag);
    assert_eq!(request.ref_cmd_sn, command_pdu.cmd_sn);
    let complete = TaskManagementResult::FUNCTION_COMPLETE;
    let answer = managed(request.initiator_task_tag, STAT_SN, complete);
    machine.handle_pdu(&answer.encode(0), &[]);
    let done = |request, outcome| Some(Event::Done { request, outcome });
    assert_eq!(machine.poll_event(), done(command, Outcome::Aborted));
    let abort = abort.expect("a live session");
    assert_eq!(
        machine.poll_event(),
        done(abort, Outcome::TaskManagement(complete))
    );
    let again = machine.task_management(TaskFunction::AbortTask(command), None);
    assert_eq!(again, Err(SubmitError::NothingToAbort));
}

#[test]
fn pings_go_both_ways() {
    let mut machine = usual(Datamover::Tcp);
    let mut ping = NopIn {
        initiator_task_tag: RESERVED_TAG,
        target_transfer_tag: 5,
        stat_sn: STAT_SN,
        exp_cmd_sn: Sn(1),
        max_cmd_sn: MAX_CMD_SN,
        ..NopIn::default()
    };
    machine.handle_pdu(&ping.encode(3), b"yes");
    let [pong] = &*sent(&mut machine) else {
        panic!("one PDU");
    };
    assert_eq!(pong.segment, Segment::Bytes(b"yes".to_vec()));
    let pong = NopOut::parse(&pong.header).expect("NOP-Out");
    assert_eq!(
        (pong.target_transfer_tag, pong.initiator_task_tag),
        (5, RESERVED_TAG)
    );

    machine.ping(b"me?".to_vec(), None).expect("a live session");
    let [own] = &*sent(&mut machine) else {
        panic!("one PDU");
    };
    ping.initiator_task_tag = NopOut::parse(&own.header)
        .expect("NOP-Out")
        .initiator_task_tag;
    ping.target_transfer_tag = RESERVED_TAG;
    machine.handle_pdu(&ping.encode(3), b"me?");
    assert_eq!(outcome(&mut machine), Outcome::Pong);
}

#[test]
fn text_is_gone_on_with_until_the_target_has_said_all() {
    let mut machine = usual(Datamover::Tcp);
    machine
        .text(&[("SendTargets", "All")], None)
        .expect("a live session");
    let [request] = &*sent(&mut machine) else {
        panic!("one PDU");
    };
    let request = TextRequest::parse(&request.header).expect("a text request");
    assert!(request.is_final && !request.continues);
    let mut pdu = TextResponse {
        continues: true,
        initiator_task_tag: request.initiator_task_tag,
        target_transfer_tag: 9,
        stat_sn: STAT_SN,
        exp_cmd_sn: Sn(2),
        max_cmd_sn: MAX_CMD_SN,
        ..TextResponse::default()
    };
    machine.handle_pdu(&pdu.encode(5), b"Targe");
    let [more] = &*sent(&mut machine) else {
        panic!("one PDU");
    };
    let more = TextRequest::parse(&more.header).expect("a text request");
    assert_eq!(more.target_transfer_tag, 9);
    (pdu.is_final, pdu.continues, pdu.target_transfer_tag) = (true, false, RESERVED_TAG);
    pdu.stat_sn = STAT_SN.plus(1);
    machine.handle_pdu(&pdu.encode(9), b"tName=iq\0");
    assert_eq!(
        outcome(&mut machine),
        Outcome::Text(b"TargetName=iq\0".to_vec())
    );
}

#[test]
fn a_reject_ends_the_request_that_it_names() {
    let mut machine = usual(Datamover::Tcp);
    let (sent, _) = submit(&mut machine, &write(0));
    let mut pdu = Reject {
        reason: RejectReason::COMMAND_NOT_SUPPORTED,
        initiator_task_tag: RESERVED_TAG,
        stat_sn: STAT_SN,
        exp_cmd_sn: Sn(2),
        max_cmd_sn: MAX_CMD_SN,
        ..Reject::default()
    };
    machine.handle_pdu(&pdu.encode(48), &sent[0].header);
    assert_eq!(outcome(&mut machine), Outcome::Rejected(pdu.reason));
    pdu.stat_sn = STAT_SN.plus(1);
    machine.handle_pdu(&pdu.encode(48), &[0xff; 48]);
    assert_eq!(machine.poll_event(), Some(Event::Rejected(pdu.reason)));
}

#[test]
fn a_session_ends_by_logout_or_as_the_target_announces() {
    let mut machine = usual(Datamover::Tcp);
    machine
        .logout(LogoutReason::CLOSE_SESSION, None)
        .expect("a live session");
    let [request] = &*sent(&mut machine) else {
        panic!("one PDU");
    };
    let answer = LogoutResponse {
        initiator_task_tag: transport_iser::pdu::initiator_task_tag(&request.header),
        stat_sn: STAT_SN,
        exp_cmd_sn: Sn(1),
        max_cmd_sn: MAX_CMD_SN,
        ..LogoutResponse::default()
    };
    machine.handle_pdu(&answer.encode(0), &[]);
    assert!(matches!(outcome(&mut machine), Outcome::LoggedOut(_)));
    assert!(matches!(
        machine.poll_event(),
        Some(Event::Closed(CloseReason::LoggedOut(_)))
    ));

    let mut machine = usual(Datamover::Tcp);
    let message = AsyncMessage {
        initiator_task_tag: RESERVED_TAG,
        event: AsyncEvent::TARGET_WILL_DROP_CONNECTION,
        stat_sn: STAT_SN,
        exp_cmd_sn: Sn(1),
        max_cmd_sn: MAX_CMD_SN,
        ..AsyncMessage::default()
    };
    machine.handle_pdu(&message.encode(0), &[]);
    assert_eq!(machine.poll_event(), Some(Event::Async(message)));
    assert_eq!(
        machine.poll_event(),
        Some(Event::Closed(CloseReason::Dropped))
    );
    assert_eq!(
        machine.submit(&write(0), None),
        Err(SubmitError::NotLoggedIn)
    );
}

#[test]
fn over_rdma_no_data_comes_in_pdus_and_none_need_come() {
    let mut machine = usual(Datamover::Iser);
    let (_, tag) = submit(&mut machine, &read(4096));
    machine.handle_pdu(&response(tag, STAT_SN).encode(0), &[]);
    assert!(answered(&mut machine).is_good());
    let (_, tag) = submit(&mut machine, &read(4096));
    let error = fault(&mut machine, &data_in(tag, 0, 0).encode(4), &[0; 4]);
    assert_eq!(error, ProtocolError::UnexpectedPdu(Opcode::DATA_IN));
}

#[test]
fn unexpected_pdus_wait_for_the_targets_buffers() {
    let mut limits = LoginLimits::new(Datamover::Iser);
    limits.max_outstanding_unexpected_pdus = 2;
    let mut machine = live(options(Datamover::Iser), limits);
    let pings: Vec<_> = (0..3).map(|_| machine.ping(Vec::new(), None)).collect();
    let first = sent(&mut machine);
    assert_eq!((pings.len(), first.len()), (3, 2));
    assert!(!machine.has_transmit());
    let pong = NopIn {
        initiator_task_tag: transport_iser::pdu::initiator_task_tag(&first[0].header),
        target_transfer_tag: RESERVED_TAG,
        stat_sn: STAT_SN,
        exp_cmd_sn: Sn(1),
        max_cmd_sn: MAX_CMD_SN,
        ..NopIn::default()
    };
    machine.handle_pdu(&pong.encode(0), &[]);
    assert_eq!(sent(&mut machine).len(), 1);
}

/// The third of three unsolicited PDUs would wait for the answer to the command that it is a part of.
#[test]
fn unsolicited_data_that_the_target_has_no_buffers_for_wait_to_be_asked_for() {
    let mut limits = LoginLimits::new(Datamover::Iser);
    limits.initial_r2t = false;
    limits.immediate_data = false;
    limits.max_outstanding_unexpected_pdus = 2;
    for (pdus, unsolicited) in [(2, 2), (3, 0)] {
        let mut machine = live(options(Datamover::Iser), limits.clone());
        let segment = limits.max_recv_data_segment_length;
        let (sent, _) = submit(&mut machine, &write(pdus * segment));
        assert_eq!(sent.len(), 1 + unsolicited);
        assert!(!machine.has_transmit());
    }
}

#[test]
fn what_takes_too_long_is_told_once() {
    let mut machine = usual(Datamover::Tcp);
    let request = machine.submit(&write(0), Some(50)).expect("room");
    assert_eq!(machine.poll_timeout(), Some(50));
    machine.handle_timeout(49);
    assert_eq!(machine.poll_event(), None);
    machine.handle_timeout(50);
    assert_eq!(machine.poll_event(), Some(Event::TimedOut(request)));
    machine.handle_timeout(60);
    assert_eq!((machine.poll_event(), machine.poll_timeout()), (None, None));
}

/// A header that a target might send: its opcode, a tag that is often good, numbers that are often right.
fn header() -> impl Strategy<Value = Bhs> {
    let opcode = prop_oneof![
        Just(0x20),
        Just(0x21),
        Just(0x22),
        Just(0x23),
        Just(0x24),
        Just(0x25),
        Just(0x26),
        Just(0x31),
        Just(0x32),
        Just(0x3f),
        any::<u8>(),
    ];
    let tag = prop_oneof![(0_u32..4).prop_map(|place| 0x1_0000 + place), any::<u32>()];
    let stat_sn = prop_oneof![(0_u32..6).prop_map(|sn| STAT_SN.0 + sn), any::<u32>()];
    let offset = prop_oneof![Just(0_u32), Just(512), any::<u32>()];
    let rest = any::<[u8; 48]>();
    (opcode, tag, stat_sn, offset, rest, any::<bool>()).prop_map(
        |(opcode, tag, stat_sn, offset, rest, is_wild)| {
            let mut bhs = if is_wild { rest } else { [0; 48] };
            bhs[0] = opcode;
            bhs[1] = rest[1];
            bhs[16..20].copy_from_slice(&tag.to_be_bytes());
            bhs[20..24].copy_from_slice(&rest[20..24]);
            bhs[24..28].copy_from_slice(&stat_sn.to_be_bytes());
            bhs[40..44].copy_from_slice(&offset.to_be_bytes());
            bhs[44..48].copy_from_slice(&512_u32.to_be_bytes());
            bhs
        },
    )
}

proptest! {
    /// Whatever a target sends: no panic, no placement outside of a buffer, every request ends once.
    #[test]
    fn any_target_is_survived(
        pdus in prop::collection::vec((header(), prop::collection::vec(any::<u8>(), 0..600)), 0..12),
        is_iser: bool,
    ) {
        let datamover = if is_iser { Datamover::Iser } else { Datamover::Tcp };
        let mut machine = usual(datamover);
        let mut outstanding = Vec::new();
        for command in [read(1024), write(4096), read(512), write(512)] {
            outstanding.push((machine.submit(&command, None).expect("room"), command.data_in_len));
        }
        for (header, data) in &pdus {
            if let Some(place) = machine.handle_pdu(header, data) {
                let room = outstanding.iter().find(|(id, _)| *id == place.request);
                let room = room.map_or(0, |(_, len)| *len);
                prop_assert!(place.offset as usize + data.len() <= room as usize);
            }
            while let Some(transmit) = machine.poll_transmit() {
                if let Segment::DataOut { offset, len } = transmit.segment {
                    prop_assert!(offset + len <= 4096);
                }
            }
        }
        machine.handle_disconnected();
        let mut ended = Vec::new();
        while let Some(event) = machine.poll_event() {
            if let Event::Done { request, .. } = event {
                ended.push(request);
            }
        }
        ended.sort_by_key(|request| request.0);
        let mut all: Vec<_> = outstanding.iter().map(|(id, _)| *id).collect();
        all.sort_by_key(|request| request.0);
        prop_assert_eq!(ended, all);
    }
}
