//! The same rules over iSER: memory, RDMA, invalidation.

use iobuf::RemoteSegment;
use target_core::command::Outcome;
use target_core::port::{Channel, ChannelEvent};
use target_core::status::Status;

use super::harness::{Bed, FIRST, Posted, TASK, data_out, good, pattern, read, write};
use crate::iser::Stag;
use crate::pdu::{NopIn, NopOut, Opcode, RESERVED_TAG, ScsiResponse};

const READ: Option<Stag> = Some(Stag {
    key: 0x11,
    address: 0x10_0000,
});
const WRITE: Option<Stag> = Some(Stag {
    key: 0x22,
    address: 0x20_0000,
});

fn respond(bed: &mut Bed) -> (Vec<u8>, Vec<RemoteSegment>, ScsiResponse, Option<u32>) {
    match bed.posted().pop() {
        Some(Posted::Respond {
            data,
            segments,
            sent,
            invalidate,
        }) => (
            data,
            segments,
            ScsiResponse::parse(&sent.bhs).unwrap(),
            invalidate,
        ),
        other => panic!("a response expected, {other:?} was posted"),
    }
}

#[test]
fn a_read_is_written_to_the_initiators_memory_and_invalidates_its_handle() {
    let mut bed = Bed::iser(|_| ());
    let pdu = read(bed.cmd_sn(), 1, 4096);
    bed.send_iser(None, READ, &pdu.encode(0), &[]);
    let command = bed.command();
    let data_in = Some(bed.filled(4000));
    bed.outcome(command.exchange, Outcome { data_in, ..good() });
    let (data, segments, response, invalidate) = respond(&mut bed);
    assert_eq!(data, pattern(0, 4000));
    let segment = RemoteSegment {
        address: 0x10_0000,
        key: 0x11,
        length: 4000,
    };
    assert_eq!(segments, [segment]);
    assert_eq!(response.status, Status::GOOD);
    assert_eq!(invalidate, Some(0x11));
    assert_eq!(bed.connection.exchanges_in_use(), 0);
}

#[test]
fn handles_stay_valid_when_an_end_cannot_invalidate_them() {
    let mut bed = Bed::iser(|_| ());
    bed.connection.invalidates = false;
    let pdu = read(bed.cmd_sn(), 1, 4096);
    bed.send_iser(None, READ, &pdu.encode(0), &[]);
    let command = bed.command();
    bed.outcome(command.exchange, good());
    let (_, _, _, invalidate) = respond(&mut bed);
    assert_eq!(invalidate, None);
}

#[test]
fn immediate_data_are_the_message_itself() {
    let mut bed = Bed::iser(|_| ());
    let pdu = write(bed.cmd_sn(), 1, 2000, true);
    bed.send_iser(None, None, &pdu.encode(2000), &pattern(0, 2000));
    assert_eq!(bed.data.level().in_use_bytes, 0, "nothing was copied");
    let command = bed.command();
    assert_eq!(command.immediate.as_deref(), Some(&pattern(0, 2000)[..]));
    bed.outcome(command.exchange, good());
    let (_, _, _, invalidate) = respond(&mut bed);
    assert_eq!(invalidate, None, "there was no handle");
}

#[test]
fn the_rest_is_fetched_from_behind_the_unsolicited_data() {
    let mut bed = Bed::iser(|_| ());
    let pdu = write(bed.cmd_sn(), 1, 10_000, false);
    bed.send_iser(WRITE, None, &pdu.encode(500), &pattern(0, 500));
    let command = bed.command();
    let buf = bed.data.take(10_000).expect("room");
    bed.connection.pull_data_out(command.exchange, TASK, 0, buf);
    assert!(bed.posted().is_empty(), "unsolicited data are still coming");
    let mut rest = data_out(1, None, 0, 500);
    rest.is_final = true;
    bed.send_iser(None, None, &rest.encode(1548), &pattern(500, 1548));
    let Some(Posted::Pull {
        exchange,
        mut buf,
        segments,
    }) = bed.posted().pop()
    else {
        panic!("a pull expected");
    };
    let segment = RemoteSegment {
        address: 0x20_0000,
        key: 0x22,
        length: 10_000 - 2048,
    };
    assert_eq!(segments, [segment]);
    buf.copy_from_slice(&pattern(2048, 10_000 - 2048));
    bed.connection.handle_pulled(exchange, buf);
    let Some(ChannelEvent::DataOut {
        task: TASK,
        mut buf,
    }) = bed.events().pop()
    else {
        panic!("DataOut expected");
    };
    // The window is on what came last, as the core expects; all of it is in the block.
    assert!(buf.set_window(0, 10_000));
    assert_eq!(&buf[..], &pattern(0, 10_000)[..]);
    bed.outcome(command.exchange, good());
    assert_eq!(respond(&mut bed).3, Some(0x22));
}

#[test]
fn a_pull_in_parts_goes_on_where_it_was() {
    let mut bed = Bed::iser(|_| ());
    let pdu = write(bed.cmd_sn(), 1, 8192, true);
    bed.send_iser(WRITE, None, &pdu.encode(0), &[]);
    let command = bed.command();
    for offset in [0, 4096] {
        let buf = bed.data.take(4096).expect("room");
        bed.connection
            .pull_data_out(command.exchange, TASK, offset, buf);
        let Some(Posted::Pull {
            exchange,
            buf,
            segments,
        }) = bed.posted().pop()
        else {
            panic!("a pull expected");
        };
        assert_eq!(segments[0].address, 0x20_0000 + u64::from(offset));
        bed.connection.handle_pulled(exchange, buf);
        assert!(matches!(
            bed.events().pop(),
            Some(ChannelEvent::DataOut { .. })
        ));
    }
}

#[test]
fn data_without_memory_for_them_end_the_connection() {
    for (pdu, what) in [
        (read(FIRST, 1, 512), "read STag"),
        (write(FIRST, 1, 512, true), "write STag"),
    ] {
        let mut bed = Bed::iser(|_| ());
        let zero = Some(Stag { key: 0, address: 1 });
        bed.send_iser(zero, zero, &pdu.encode(0), &[]);
        assert!(format!("{:?}", bed.close_reason()).contains(what));
    }
}

#[test]
fn an_abort_waits_for_what_the_nic_reads() {
    let mut bed = Bed::iser(|_| ());
    let pdu = write(bed.cmd_sn(), 1, 8192, true);
    bed.send_iser(WRITE, None, &pdu.encode(0), &[]);
    let command = bed.command();
    let buf = bed.data.take(8192).expect("room");
    bed.connection.pull_data_out(command.exchange, TASK, 0, buf);
    let Some(Posted::Pull { exchange, buf, .. }) = bed.posted().pop() else {
        panic!("a pull expected");
    };
    bed.connection.stop_data_out(command.exchange);
    assert!(bed.events().is_empty(), "the NIC reads");
    bed.connection.handle_aborted(command.exchange);
    assert_eq!(bed.connection.exchanges_in_use(), 1);
    bed.connection.handle_pulled(exchange, buf);
    assert_eq!(bed.connection.exchanges_in_use(), 0);
    assert!(bed.events().is_empty());
}

#[test]
fn a_ping_over_iser() {
    let mut bed = Bed::iser(|negotiated| negotiated.max_xmit_data_segment_length = 8192);
    let pdu = NopOut {
        immediate: true,
        initiator_task_tag: 9,
        target_transfer_tag: RESERVED_TAG,
        ..NopOut::default()
    };
    bed.send_iser(None, None, &pdu.encode(5000), &[3; 5000]);
    let Some(Posted::Respond { sent, .. }) = bed.posted().pop() else {
        panic!("an echo expected");
    };
    assert_eq!(NopIn::parse(&sent.bhs).unwrap().initiator_task_tag, 9);
    assert_eq!(sent.data, [3; 5000]);
}

#[test]
fn a_hello_is_tolerated_and_a_cut_message_is_not() {
    let mut bed = Bed::iser(|_| ());
    let mut hello = [0; 28];
    hello[0] = 0x20;
    bed.receive(&hello);
    assert!(bed.events().is_empty() && bed.posted().is_empty());
    let pdu = write(FIRST, 1, 100, true);
    bed.send_iser(None, None, &pdu.encode(100), &[0; 99]);
    let reason = format!("{:?}", bed.close_reason());
    assert!(
        reason.contains("99 bytes came whose lengths say 100"),
        "{reason}"
    );
    let Some(Posted::Respond { sent, .. }) = bed.posted().pop() else {
        panic!("a Reject expected");
    };
    assert_eq!(sent.opcode(), Opcode::REJECT);
    assert_eq!(bed.recv.level().in_use_bytes, 0);
}

#[test]
fn immediate_data_that_are_announced_and_not_sent_are_where_the_stag_says() {
    let mut bed = Bed::iser(|_| ());
    let pdu = write(FIRST, 1, 8192, true);
    bed.send_iser(WRITE, None, &pdu.encode(4096), &[]);
    let command = bed.command();
    assert!(command.immediate.is_none());
    let buf = bed.data.take(8192).expect("room");
    bed.connection.pull_data_out(command.exchange, TASK, 0, buf);
    let Some(Posted::Pull { segments, .. }) = bed.posted().pop() else {
        panic!("a pull expected");
    };
    let whole = RemoteSegment {
        address: 0x20_0000,
        key: 0x22,
        length: 8192,
    };
    assert_eq!(segments, [whole]);
    let mut bed = Bed::iser(|_| ());
    bed.send_iser(None, None, &pdu.encode(4096), &[]);
    assert!(format!("{:?}", bed.close_reason()).contains("0 bytes came"));
}

#[test]
fn who_asks_and_takes_no_answers_is_given_up() {
    let mut bed = Bed::iser(|negotiated| negotiated.max_xmit_data_segment_length = 8192);
    let pdu = NopOut {
        immediate: true,
        initiator_task_tag: 9,
        target_transfer_tag: RESERVED_TAG,
        ..NopOut::default()
    };
    for _ in 0..64 {
        bed.send_iser(None, None, &pdu.encode(8192), &[3; 8192]);
    }
    assert!(bed.close_reason().is_none());
    bed.send_iser(None, None, &pdu.encode(0), &[]);
    assert!(format!("{:?}", bed.close_reason()).contains("wait for the initiator"));
}

#[test]
fn a_pull_that_is_not_posted_yet_is_stopped() {
    let mut bed = Bed::iser(|_| ());
    let pdu = write(bed.cmd_sn(), 1, 8192, true);
    bed.send_iser(WRITE, None, &pdu.encode(0), &[]);
    let command = bed.command();
    let buf = bed.data.take(8192).expect("room");
    bed.connection.pull_data_out(command.exchange, TASK, 0, buf);
    bed.connection.stop_data_out(command.exchange);
    assert!(bed.posted().is_empty());
    let events = bed.events();
    assert!(matches!(
        events[..],
        [ChannelEvent::DataOutLost { task: TASK }]
    ));
    bed.connection.handle_aborted(command.exchange);
    assert_eq!(bed.connection.exchanges_in_use(), 0);
}
