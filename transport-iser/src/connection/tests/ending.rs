//! How a connection ends, and what it gives back.

use target_core::port::{Channel, CloseReason};

use super::harness::{Bed, FIRST, good, pattern, read, write};
use crate::login::{Datamover, Digest};
use crate::pdu::{AsyncEvent, AsyncMessage, NopOut, Opcode, Reject, RejectReason};

#[test]
fn the_daemon_says_goodbye() {
    let mut bed = Bed::tcp(|_| ());
    let command = bed.read(1, 0);
    bed.connection.handle_shutdown();
    let pdu = AsyncMessage::parse(&bed.sent_one().bhs).unwrap();
    assert_eq!(pdu.event, AsyncEvent::TARGET_WILL_DROP_ALL_CONNECTIONS);
    assert_eq!((pdu.parameter2, pdu.parameter3), (2, 0));
    assert_eq!(bed.close_reason(), Some(CloseReason::Shutdown));
    // The core still ends what it has.
    bed.connection.handle_outcome(command.exchange, good());
    assert_eq!(bed.connection.exchanges_in_use(), 0);
    assert!(bed.sent().is_empty());
}

#[test]
fn in_a_login_there_is_no_goodbye() {
    let mut bed = Bed::login(Datamover::Tcp);
    bed.connection.handle_shutdown();
    assert!(bed.sent().is_empty());
    assert_eq!(bed.close_reason(), Some(CloseReason::Shutdown));
}

#[test]
fn after_the_end_nothing_is_read_and_all_buffers_come_back() {
    let mut bed = Bed::tcp(|_| ());
    bed.send(&write(FIRST, 1, 1500, true).encode(1500), &pattern(0, 700));
    bed.connection.handle_shutdown();
    bed.send(&read(FIRST, 1, 0).encode(0), &[]);
    let events = bed.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(!bed.connection.wants_input());
    drop(events);
    assert_eq!(bed.recv.level().in_use_bytes, 0);
}

#[test]
fn damaged_data_of_another_request_are_rejected_and_end_the_connection() {
    let mut bed = Bed::tcp(|negotiated| negotiated.data_digest = Digest::Crc32c);
    let pdu = NopOut::default();
    let mut bytes = bed.stream(&pdu.encode(512), &pattern(0, 512));
    bytes[100] ^= 0x40;
    bed.receive(&bytes);
    let sent = bed.sent_one();
    let reject = Reject::parse(&sent.bhs).unwrap();
    assert_eq!(reject.reason, RejectReason::DATA_DIGEST_ERROR);
    assert_eq!(sent.data, pdu.encode(512));
    assert!(matches!(bed.close_reason(), Some(CloseReason::Protocol(_))));
}

#[test]
fn a_damaged_header_ends_the_connection_without_a_word() {
    let mut bed = Bed::tcp(|negotiated| negotiated.header_digest = Digest::Crc32c);
    let mut bytes = bed.stream(&NopOut::default().encode(0), &[]);
    bytes[9] ^= 1;
    bed.receive(&bytes);
    assert!(bed.sent().is_empty());
    assert!(format!("{:?}", bed.close_reason()).contains("header digest"));
}

#[test]
fn a_data_segment_that_is_too_long_is_rejected_before_it_is_taken() {
    let mut bed = Bed::tcp(|_| ());
    let pdu = NopOut::default().encode(8193);
    bed.receive(&pdu);
    let sent = bed.sent_one();
    assert_eq!(sent.opcode(), Opcode::REJECT);
    assert_eq!(sent.data, pdu);
    assert!(format!("{:?}", bed.close_reason()).contains("DataSegmentLength"));
}

#[test]
fn digests_go_both_ways() {
    let mut bed = Bed::tcp(|negotiated| {
        negotiated.header_digest = Digest::Crc32c;
        negotiated.data_digest = Digest::Crc32c;
    });
    let pdu = write(bed.cmd_sn(), 1, 1001, true);
    bed.send(&pdu.encode(1001), &pattern(0, 1001));
    let command = bed.command();
    assert_eq!(command.immediate.as_deref(), Some(&pattern(0, 1001)[..]));
    bed.outcome(command.exchange, good());
    assert_eq!(bed.sent_one().opcode(), Opcode::SCSI_RESPONSE);
    let command = bed.read(2, 3000);
    let data_in = Some(bed.filled(2999));
    bed.outcome(
        command.exchange,
        target_core::command::Outcome { data_in, ..good() },
    );
    let data: Vec<u8> = bed.sent().into_iter().flat_map(|sent| sent.data).collect();
    assert_eq!(data, pattern(0, 2999));
}

#[test]
fn memory_of_a_past_load_is_given_back() {
    let mut bed = Bed::tcp(|_| ());
    let commands: Vec<_> = (0..8).map(|tag| bed.read(tag, 1 << 16)).collect();
    for command in &commands {
        let data_in = Some(bed.filled(1 << 16));
        bed.outcome(
            command.exchange,
            target_core::command::Outcome { data_in, ..good() },
        );
    }
    bed.sent();
    let fresh = Bed::tcp(|_| ()).connection.heap_bytes();
    assert!(bed.connection.heap_bytes() > fresh + 4096);
    let at = bed.connection.poll_timeout().expect("a deadline");
    bed.connection.handle_timeout(at);
    assert!(bed.connection.heap_bytes() < fresh + 1024);
}
