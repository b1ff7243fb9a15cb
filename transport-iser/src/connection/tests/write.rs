//! Data-Out: immediate, unsolicited and solicited.

use target_core::port::{Channel, ChannelEvent};
use target_core::sense::{AdditionalSense, SenseKey};
use target_core::status::Status;

use super::harness::{Bed, LUN, TASK, data_out, good, pattern, write};
use crate::Sn;
use crate::login::Digest;
use crate::pdu::{Opcode, R2t, Reject, RejectReason, ScsiResponse, scsi_response};

/// Sends a WRITE and gives its exchange with what the core got.
fn begin(
    bed: &mut Bed,
    tag: u32,
    len: u32,
    immediate: u32,
    is_final: bool,
) -> target_core::command::Command {
    let pdu = write(bed.cmd_sn(), tag, len, is_final);
    bed.send(&pdu.encode(immediate), &pattern(0, immediate as usize));
    bed.command()
}

fn unsolicited(bed: &mut Bed, tag: u32, data_sn: u32, offset: u32, len: u32, is_final: bool) {
    solicited(bed, tag, None, data_sn, offset, len, is_final);
}

fn solicited(
    bed: &mut Bed,
    tag: u32,
    ttt: Option<u32>,
    data_sn: u32,
    offset: u32,
    len: u32,
    is_final: bool,
) {
    let mut pdu = data_out(tag, ttt, data_sn, offset);
    pdu.is_final = is_final;
    bed.send(&pdu.encode(len), &pattern(offset as usize, len as usize));
}

fn r2ts(bed: &mut Bed) -> Vec<R2t> {
    let sent = bed.sent();
    sent.iter()
        .map(|sent| R2t::parse(&sent.bhs).expect("an R2T"))
        .collect()
}

fn data_out_event(bed: &mut Bed) -> Vec<u8> {
    match bed.events().pop() {
        Some(ChannelEvent::DataOut { task: TASK, buf }) => buf.to_vec(),
        other => panic!("DataOut expected, {other:?} came"),
    }
}

fn pull(bed: &mut Bed, exchange: target_core::command::ExchangeId, offset: u32, len: usize) {
    let buf = bed.data.take(len).expect("room");
    bed.connection.pull_data_out(exchange, TASK, offset, buf);
}

#[test]
fn immediate_data_that_are_all_go_with_the_command() {
    let mut bed = Bed::tcp(|_| ());
    let command = begin(&mut bed, 1, 1500, 1500, true);
    assert_eq!(command.immediate.as_deref(), Some(&pattern(0, 1500)[..]));
    assert_eq!(bed.connection.counters().immediate_writes, 1);
}

#[test]
fn the_rest_is_asked_for_in_bursts() {
    let mut bed = Bed::tcp(|_| ());
    let command = begin(&mut bed, 1, 12_000, 1000, true);
    assert!(command.immediate.is_none());
    assert!(
        bed.sent().is_empty(),
        "nothing is asked for before the core wants it"
    );
    pull(&mut bed, command.exchange, 0, 12_000);
    let in_use = bed.data.level().in_use_bytes;
    assert_eq!(
        in_use,
        16 << 10,
        "what was held has gone to the core's buffer"
    );
    let asked = r2ts(&mut bed);
    assert!(asked.iter().all(|r2t| r2t.lun == LUN));
    let spans: Vec<_> = asked
        .iter()
        .map(|r| (r.r2t_sn.0, r.buffer_offset, r.desired_data_transfer_length))
        .collect();
    assert_eq!(
        spans,
        [(0, 1000, 4096), (1, 5096, 4096)],
        "MaxOutstandingR2T is 2"
    );
    assert_ne!(asked[0].target_transfer_tag, asked[1].target_transfer_tag);
    let ttt = Some(asked[0].target_transfer_tag);
    solicited(&mut bed, 1, ttt, 0, 1000, 4000, false);
    solicited(&mut bed, 1, ttt, 1, 5000, 96, true);
    let third = r2ts(&mut bed);
    assert_eq!(
        (
            third[0].buffer_offset,
            third[0].desired_data_transfer_length
        ),
        (9192, 2808)
    );
    solicited(
        &mut bed,
        1,
        Some(asked[1].target_transfer_tag),
        0,
        5096,
        4096,
        true,
    );
    solicited(
        &mut bed,
        1,
        Some(third[0].target_transfer_tag),
        0,
        9192,
        2808,
        true,
    );
    assert_eq!(data_out_event(&mut bed), pattern(0, 12_000));
    bed.outcome(command.exchange, good());
    let response = ScsiResponse::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(response.exp_data_sn, Sn(3), "R2Ts count");
}

#[test]
fn unsolicited_data_before_and_after_the_core_asks() {
    let mut bed = Bed::tcp(|_| ());
    let command = begin(&mut bed, 1, 3000, 500, false);
    unsolicited(&mut bed, 1, 0, 500, 700, false);
    pull(&mut bed, command.exchange, 0, 3000);
    assert!(bed.sent().is_empty(), "unsolicited data are still coming");
    unsolicited(&mut bed, 1, 1, 1200, 848, true);
    let asked = r2ts(&mut bed);
    assert_eq!(
        (
            asked[0].buffer_offset,
            asked[0].desired_data_transfer_length
        ),
        (2048, 952)
    );
    solicited(
        &mut bed,
        1,
        Some(asked[0].target_transfer_tag),
        0,
        2048,
        952,
        true,
    );
    assert_eq!(data_out_event(&mut bed), pattern(0, 3000));
}

#[test]
fn unsolicited_data_that_are_all_need_no_r2t() {
    let mut bed = Bed::tcp(|_| ());
    let command = begin(&mut bed, 1, 1800, 0, false);
    unsolicited(&mut bed, 1, 0, 0, 1800, true);
    pull(&mut bed, command.exchange, 0, 1800);
    assert_eq!(data_out_event(&mut bed), pattern(0, 1800));
    assert!(bed.sent().is_empty());
}

#[test]
fn a_core_that_wants_less_gets_less() {
    let mut bed = Bed::tcp(|_| ());
    let command = begin(&mut bed, 1, 6000, 2000, true);
    pull(&mut bed, command.exchange, 0, 1024);
    assert_eq!(data_out_event(&mut bed), pattern(0, 1024));
    pull(&mut bed, command.exchange, 1024, 3000);
    let asked = r2ts(&mut bed);
    assert_eq!(
        (
            asked[0].buffer_offset,
            asked[0].desired_data_transfer_length
        ),
        (2000, 2024)
    );
    solicited(
        &mut bed,
        1,
        Some(asked[0].target_transfer_tag),
        0,
        2000,
        2024,
        true,
    );
    assert_eq!(data_out_event(&mut bed), pattern(1024, 3000));
}

/// All four combinations of InitialR2T and ImmediateData: what is allowed is taken, and what is not is refused.
#[test]
fn what_was_not_agreed_on_is_refused_with_sense() {
    for (initial_r2t, immediate_data) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        let agree = |negotiated: &mut crate::login::Negotiated| {
            negotiated.initial_r2t = initial_r2t;
            negotiated.immediate_data = immediate_data;
        };
        for (immediate, is_final) in [(512, true), (0, false), (512, false)] {
            let mut bed = Bed::tcp(agree);
            let pdu = write(bed.cmd_sn(), 1, 2000, is_final);
            bed.send(&pdu.encode(immediate), &pattern(0, immediate as usize));
            let allowed = (immediate == 0 || immediate_data) && (is_final || !initial_r2t);
            let what =
                format!("R2T {initial_r2t} immediate {immediate_data} {immediate} F {is_final}");
            if allowed {
                assert_eq!(bed.command().tag, 1, "{what}");
                continue;
            }
            let sent = bed.sent_one();
            let response = ScsiResponse::parse(&sent.bhs).unwrap();
            assert_eq!(response.status, Status::CHECK_CONDITION, "{what}");
            assert_eq!(response.residual_count, 2000, "{what}");
            let sense = scsi_response::sense(&sent.data).unwrap();
            assert_eq!(sense[2], SenseKey::AbortedCommand as u8, "{what}");
            let code = AdditionalSense::UNEXPECTED_UNSOLICITED_DATA.0;
            assert_eq!(sense[12..14], code.to_be_bytes(), "{what}");
            // Data that were on their way already go nowhere.
            unsolicited(&mut bed, 1, 0, immediate, 100, true);
            assert!(bed.events().is_empty() && bed.sent().is_empty(), "{what}");
        }
    }
}

#[test]
fn more_immediate_data_than_the_first_burst_are_refused() {
    let mut bed = Bed::tcp(|_| ());
    let pdu = write(bed.cmd_sn(), 1, 4000, true);
    bed.send(&pdu.encode(2049), &[0; 2049]);
    let sent = bed.sent_one();
    let sense = scsi_response::sense(&sent.data).unwrap();
    let code = AdditionalSense::NOT_ENOUGH_UNSOLICITED_DATA.0;
    assert_eq!(sense[12..14], code.to_be_bytes());
}

/// The core's task lost its data, and nothing of what still comes for it is taken.
fn assert_lost(bed: &mut Bed, what: &str) {
    let events = bed.events();
    let [ChannelEvent::DataOutLost { task: TASK }] = events[..] else {
        panic!("{what}: DataOutLost expected, {events:?} came");
    };
    assert_eq!(bed.connection.counters().data_out_lost, 1, "{what}");
    assert_eq!(bed.data.level().in_use_bytes, 0, "{what}");
}

#[test]
fn data_out_out_of_sequence_cost_their_command_only() {
    /// DataSN, offset, length, F.
    const WRONG: [(u32, u32, u32, bool); 5] = [
        (1, 1000, 2048, false),
        (0, 1001, 2048, false),
        (0, 0, 2048, false),
        (0, 1000, 4097, true),
        (0, 1000, 2048, true),
    ];
    for wrong in WRONG {
        let (data_sn, offset, len, is_final) = wrong;
        let mut bed = Bed::tcp(|_| ());
        let command = begin(&mut bed, 1, 12_000, 1000, true);
        pull(&mut bed, command.exchange, 0, 12_000);
        let asked = r2ts(&mut bed);
        let ttt = Some(asked[0].target_transfer_tag);
        solicited(&mut bed, 1, ttt, data_sn, offset, len, is_final);
        assert_lost(&mut bed, &format!("{wrong:?}"));
        solicited(&mut bed, 1, ttt, 0, 1000, 2048, false);
        assert!(
            bed.events().is_empty() && bed.sent().is_empty(),
            "{wrong:?}"
        );
        bed.outcome(command.exchange, good());
        assert_eq!(bed.sent_one().opcode(), Opcode::SCSI_RESPONSE, "{wrong:?}");
        assert_eq!(bed.read(2, 0).tag, 2, "the connection goes on");
    }
}

#[test]
fn unsolicited_data_beyond_the_first_burst_are_lost_before_the_core_asks() {
    let mut bed = Bed::tcp(|_| ());
    let command = begin(&mut bed, 1, 12_000, 1000, false);
    unsolicited(&mut bed, 1, 0, 1000, 1049, true);
    assert!(bed.events().is_empty());
    pull(&mut bed, command.exchange, 0, 12_000);
    assert_lost(&mut bed, "unsolicited");
    assert!(bed.sent().is_empty(), "nothing more is asked for");
}

/// A command or a Data-Out PDU whose data a bit of got turned over.
fn send_damaged(bed: &mut Bed, bhs: &crate::pdu::Bhs, data: &[u8]) -> Vec<super::harness::Sent> {
    let mut bytes = bed.stream(bhs, data);
    bytes[100] ^= 0x40;
    bed.receive(&bytes);
    bed.sent()
}

#[test]
fn damaged_immediate_data_are_rejected_and_end_their_command() {
    let mut bed = Bed::tcp(|negotiated| negotiated.data_digest = Digest::Crc32c);
    let pdu = write(bed.cmd_sn(), 1, 512, true).encode(512);
    let sent = send_damaged(&mut bed, &pdu, &pattern(0, 512));
    let reject = Reject::parse(&sent[0].bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::DATA_DIGEST_ERROR);
    assert_eq!(sent[0].data, pdu);
    let response = ScsiResponse::parse(&sent[1].bhs).unwrap();
    assert_eq!(response.status, Status::CHECK_CONDITION);
    let sense = scsi_response::sense(&sent[1].data).unwrap();
    let code = AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR.0;
    assert_eq!(sense[12..14], code.to_be_bytes());
    assert!(bed.events().is_empty(), "the core never hears of it");
    assert_eq!(bed.data.level().in_use_bytes, 0);
    assert_eq!(bed.read(2, 0).tag, 2);
}

#[test]
fn damaged_data_out_are_rejected_and_end_their_command() {
    let mut bed = Bed::tcp(|negotiated| negotiated.data_digest = Digest::Crc32c);
    let command = begin(&mut bed, 1, 2000, 0, true);
    pull(&mut bed, command.exchange, 0, 2000);
    let asked = r2ts(&mut bed);
    let mut pdu = data_out(1, Some(asked[0].target_transfer_tag), 0, 0);
    pdu.is_final = true;
    let sent = send_damaged(&mut bed, &pdu.encode(2000), &pattern(0, 2000));
    let reject = Reject::parse(&sent[0].bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::DATA_DIGEST_ERROR);
    assert_lost(&mut bed, "damaged");
}

#[test]
fn data_of_an_aborted_command_go_nowhere() {
    let mut bed = Bed::tcp(|_| ());
    let command = begin(&mut bed, 1, 12_000, 1000, true);
    pull(&mut bed, command.exchange, 0, 12_000);
    let asked = r2ts(&mut bed);
    bed.connection.handle_aborted(command.exchange);
    assert_eq!(bed.connection.exchanges_in_use(), 0);
    // The place is somebody else's by now, with the same tag.
    let again = begin(&mut bed, 1, 8000, 0, true);
    assert_eq!(again.exchange.place(), command.exchange.place());
    pull(&mut bed, again.exchange, 0, 8000);
    let new = r2ts(&mut bed);
    solicited(
        &mut bed,
        1,
        Some(asked[0].target_transfer_tag),
        0,
        1000,
        4096,
        true,
    );
    assert!(bed.events().is_empty());
    solicited(
        &mut bed,
        1,
        Some(new[0].target_transfer_tag),
        0,
        0,
        4096,
        true,
    );
    solicited(
        &mut bed,
        1,
        Some(new[1].target_transfer_tag),
        0,
        4096,
        3904,
        true,
    );
    assert_eq!(data_out_event(&mut bed), pattern(0, 8000));
}

#[test]
fn an_aborted_command_takes_its_r2ts_along() {
    let mut bed = Bed::tcp(|_| ());
    let command = begin(&mut bed, 1, 12_000, 0, true);
    pull(&mut bed, command.exchange, 0, 12_000);
    bed.connection.handle_aborted(command.exchange);
    assert!(bed.sent().is_empty());
    assert_eq!(bed.data.level().in_use_bytes, 0);
}

#[test]
fn a_refused_write_swallows_what_is_under_way() {
    let mut bed = Bed::tcp(|_| ());
    let command = begin(&mut bed, 1, 12_000, 1000, false);
    bed.outcome(command.exchange, good());
    assert_eq!(bed.sent_one().opcode(), Opcode::SCSI_RESPONSE);
    unsolicited(&mut bed, 1, 0, 1000, 1048, true);
    assert!(bed.events().is_empty() && bed.sent().is_empty());
    assert_eq!(bed.read(2, 0).tag, 2);
}

#[test]
fn without_a_buffer_the_stream_waits_and_then_goes_on() {
    let mut bed = Bed::tcp(|_| ());
    let all: Vec<_> = std::iter::from_fn(|| bed.data.take(1 << 20)).collect();
    let pdu = write(bed.cmd_sn(), 1, 1500, true);
    bed.send(&pdu.encode(1500), &pattern(0, 1500));
    let pdu = super::harness::read(bed.cmd_sn(), 2, 0);
    bed.send(&pdu.encode(0), &[]);
    assert!(bed.events().is_empty());
    assert!(!bed.connection.wants_input());
    assert!(bed.connection.poll_timeout().is_some());
    drop(all);
    assert!(bed.connection.wants_input());
    let events = bed.events();
    let tags: Vec<_> = events
        .iter()
        .map(|event| match event {
            ChannelEvent::Command(command) => {
                (command.tag, command.immediate.as_ref().map(|buf| buf.len()))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tags, [(1, Some(1500)), (2, None)]);
}

#[test]
fn who_waits_for_a_buffer_too_long_is_told_busy() {
    let mut bed = Bed::tcp(|_| ());
    let _all: Vec<_> = std::iter::from_fn(|| bed.data.take(1 << 20)).collect();
    let pdu = write(bed.cmd_sn(), 1, 1500, true);
    bed.send(&pdu.encode(1500), &pattern(0, 1500));
    let at = bed.connection.poll_timeout().expect("a deadline");
    assert!(at <= 5000);
    bed.connection.handle_timeout(at);
    let response = ScsiResponse::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(response.status, Status::BUSY);
    // Nobody waits again before there was a buffer.
    let pdu = write(bed.cmd_sn(), 2, 1500, true);
    bed.send(&pdu.encode(1500), &pattern(0, 1500));
    assert_eq!(bed.sent_one().opcode(), Opcode::SCSI_RESPONSE);
    assert_eq!(bed.read(3, 0).tag, 3);
}

#[test]
fn who_stops_sending_data_of_an_aborted_command_holds_nobody_up() {
    for is_final in [false, true] {
        let mut bed = Bed::tcp(|_| ());
        let command = begin(&mut bed, 1, 12_000, 1000, is_final);
        pull(&mut bed, command.exchange, 0, 12_000);
        bed.connection.stop_data_out(command.exchange);
        let events = bed.events();
        assert!(matches!(
            events[..],
            [ChannelEvent::DataOutLost { task: TASK }]
        ));
        assert!(bed.sent().is_empty(), "no R2T goes any more");
        bed.connection.handle_aborted(command.exchange);
        assert_eq!(bed.connection.exchanges_in_use(), 0);
        assert_eq!(bed.data.level().in_use_bytes, 0);
    }
}
