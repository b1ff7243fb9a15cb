use std::net::{SocketAddr, UdpSocket};

use roce::packet::icrc::{Ends, Verdict};
use roce::qp::Path;
use roce::{RegionHandle, Segment};

use super::*;
use crate::soft::inbox::Inbox;

fn packet<'a>(
    remote: SocketAddr,
    header: &'a [u8],
    payload: &'a [Segment],
    trailer: &'a [u8],
) -> Transmit<'a> {
    let bytes: u32 = payload.iter().map(|segment| segment.length).sum();
    Transmit {
        path: Path {
            local: "127.41.0.1:4791".parse().expect("address"),
            remote,
        },
        header,
        payload,
        trailer,
        length: header.len() + bytes as usize + trailer.len(),
    }
}

#[test]
fn packets_of_one_length_are_one_send_and_a_shorter_one_ends_it() {
    let remote = "127.41.0.2:4791".parse().expect("address");
    let other = "127.41.0.3:4791".parse().expect("address");
    let memory = Regions::default();
    let mut outbox = Outbox::default();
    let mut push = |remote, len: usize, joins| {
        outbox.push(
            &packet(remote, &vec![1; len - 4], &[], &[2; 4]),
            &memory,
            joins,
        );
        let sends: Vec<_> = outbox
            .messages
            .iter()
            .map(|message| message.packets)
            .collect();
        sends
    };
    assert_eq!(push(remote, 100, true), [1]);
    assert_eq!(push(remote, 100, true), [2]);
    assert_eq!(push(remote, 60, true), [3]);
    assert_eq!(push(remote, 60, true), [3, 1]);
    assert_eq!(push(remote, 61, true), [3, 1, 1]);
    assert_eq!(push(other, 61, true), [3, 1, 1, 1]);
    assert_eq!(push(other, 61, false), [3, 1, 1, 2]);
    assert_eq!(push(other, 62, false), [3, 1, 1, 2, 1]);
    assert_eq!(push(other, 62, true), [3, 1, 1, 2, 1, 1]);
}

#[test]
fn joined_packets_arrive_one_by_one_with_their_icrc_right() {
    let sender = Socket::open("127.41.0.1".parse().expect("address"), 0).expect("free");
    let receiver = Socket::open("127.41.0.2".parse().expect("address"), 0).expect("free");
    let mut payload = vec![7_u8; 8192];
    let mut memory = Regions::default();
    let region = memory.insert(std::ptr::NonNull::from(&mut payload[0]), payload.len());
    let mut outbox = Outbox::default();
    let ends = Ends {
        source: sender.local,
        destination: receiver.local,
    };
    for number in 0..3_u8 {
        let header = [number; 12];
        let segment = Segment {
            region,
            offset: 0,
            length: 1024,
        };
        let parts = std::iter::once(&payload[..1024]);
        let icrc = icrc::compute(&ends, &header, parts, 0, 12 + 1024 + 4);
        let trailer = icrc.to_le_bytes();
        outbox.push(
            &packet(receiver.local, &header, &[segment], &trailer),
            &memory,
            true,
        );
    }
    let flushed = outbox.flush(&sender);
    assert_eq!(
        flushed,
        Flushed {
            calls: 1,
            ..Flushed::default()
        }
    );
    let mut inbox = Inbox::new();
    let got = inbox.receive(&receiver);
    let mut numbers = Vec::new();
    for index in 0..got {
        let (source, packets) = inbox.packets(index).expect("received");
        assert_eq!(source, sender.local);
        for bytes in packets {
            // The kernel keeps the identifications to itself; the first packet's is 0.
            assert_eq!(
                icrc::check(&ends, bytes, Some(bytes[0].into())),
                Verdict::Good
            );
            assert_eq!(bytes.len(), 1040);
            numbers.push(bytes[0]);
        }
    }
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn memory_that_is_gone_sends_nothing() {
    let remote = "127.41.0.2:4791".parse().expect("address");
    let mut outbox = Outbox::default();
    let segment = Segment {
        region: RegionHandle(9),
        offset: 0,
        length: 4,
    };
    outbox.push(
        &packet(remote, &[0; 12], &[segment], &[0; 4]),
        &Regions::default(),
        true,
    );
    assert!(outbox.messages.is_empty() && outbox.pieces.is_empty());
}

#[test]
fn what_the_kernel_refuses_is_counted_and_the_rest_goes() {
    let sender = Socket::open("127.41.0.5".parse().expect("address"), 0).expect("free");
    let receiver = UdpSocket::bind("127.41.0.6:4791").expect("free");
    let memory = Regions::default();
    let mut outbox = Outbox::default();
    // Nobody can send to port 0.
    let nowhere = "127.41.0.6:0".parse().expect("address");
    let there = receiver.local_addr().expect("address");
    for remote in [nowhere, there] {
        outbox.push(&packet(remote, &[1; 12], &[], &[2; 4]), &memory, true);
    }
    let flushed = outbox.flush(&sender);
    assert_eq!((flushed.unsent, flushed.is_congested), (1, false));
    let mut bytes = [0; 64];
    assert_eq!(receiver.recv(&mut bytes).expect("datagram"), 16);
}
