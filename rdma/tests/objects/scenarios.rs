//! What the objects do, over whichever fabric the bed is on.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use iobuf::{Arena, Pool, RemoteSegment};
use rdma::*;

use crate::bed::{Bed, RECEIVE_BYTES, RECEIVES};

/// Makes a test of every scenario here. `$bed` gives the bed for a test's name, or `None` after saying why.
macro_rules! on_each_scenario {
    ($bed:path) => {
        crate::scenarios::on_each_scenario!($bed:
            private_data_and_addresses_arrive_on_both_sides
            a_refusal_carries_private_data
            a_dropped_request_and_a_missing_listener_refuse
            messages_go_both_ways_and_are_cut_to_their_length
            data_for_255_segments_arrives_before_its_message
            pulls_larger_than_the_queue_come_back_in_order
            a_pull_longer_than_a_message_is_split
            a_wrong_key_fails_the_queue_pair_and_gives_all_back
            a_target_cannot_be_read_or_written_by_its_peer
            an_unregistered_buffer_is_refused
            the_error_state_drains_and_reports_the_last_receive
            dropping_everything_at_once_is_safe
            a_completion_queue_grows_with_its_queue_pairs
            queues_deeper_than_the_device_are_refused
            a_message_longer_than_its_receive_fails_that_connection
            a_full_receive_queue_gives_the_buffer_back
            connections_give_everything_back
        );
    };
    ($bed:path: $($scenario:ident)*) => {
        $(
            #[test]
            fn $scenario() {
                if let Some(bed) = $bed(stringify!($scenario)) {
                    crate::scenarios::$scenario(bed);
                }
            }
        )*
    };
}

pub(crate) use on_each_scenario;

/// Bytes that differ everywhere.
pub(crate) fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let byte = |index: usize| {
        (index as u32)
            .wrapping_mul(2_654_435_761)
            .wrapping_add(seed)
    };
    (0..len).map(|index| (byte(index) >> 13) as u8).collect()
}

/// Equal pieces of a region, the last first, so that order matters.
fn pieces_backwards(region: &ExposedRegion, count: u32) -> Vec<RemoteSegment> {
    let whole = region.segment();
    let length = whole.length / count;
    let piece = |index: u32| RemoteSegment {
        address: whole.address + u64::from(index * length),
        length,
        ..whole
    };
    (0..count).rev().map(piece).collect()
}

pub(crate) fn private_data_and_addresses_arrive_on_both_sides(bed: Bed) {
    let login = pattern(56, 1);
    let (mut initiator, request) = bed.request(&login);
    assert_eq!(request.private_data, login);
    assert_eq!(request.listener, bed.listener.id());
    assert_eq!(
        (request.initiator_depth, request.responder_resources),
        (4, 4)
    );
    let name = request.connection.device_name();
    assert_eq!(name.as_ref(), Some(&bed.device.info().name));
    assert_eq!(
        (request.connection.port(), request.connection.pkey()),
        (1, Some(0xffff))
    );
    assert_eq!(request.local().socket, Some(bed.address));
    let peer = request.peer();
    assert_eq!(
        peer.socket.map(|socket| socket.ip()),
        Some(bed.address.ip())
    );
    // The GID of a RoCEv2 port is its address.
    let mapped = Ipv6Addr::from(peer.gid.0).to_ipv4_mapped();
    assert_eq!(mapped.map(IpAddr::V4), Some(bed.address.ip()));
    let (target, told) = bed.accept(&mut initiator, *request, &pattern(196, 2));
    assert_eq!(told, pattern(196, 2));
    assert_ne!(target.qp.number(), initiator.qp.number());
}

pub(crate) fn a_refusal_carries_private_data(bed: Bed) {
    let (initiator, request) = bed.request(b"let me in");
    request.connection.reject(&pattern(32, 3)).expect("reject");
    match bed.event() {
        CmEvent::Rejected {
            id,
            reason: 28,
            private_data,
        } => {
            assert_eq!(id, initiator.connection.id());
            assert_eq!(private_data[..32], pattern(32, 3));
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn a_dropped_request_and_a_missing_listener_refuse(bed: Bed) {
    let (_initiator, request) = bed.request(b"let me in");
    drop(request);
    assert!(matches!(bed.event(), CmEvent::Rejected { .. }));
    let nobody = SocketAddr::new(bed.address.ip(), 9);
    let _initiator = bed.connecting(nobody, b"anyone?");
    assert!(matches!(bed.event(), CmEvent::Rejected { reason: 8, .. }));
}

pub(crate) fn messages_go_both_ways_and_are_cut_to_their_length(mut bed: Bed) {
    let (mut initiator, mut target) = bed.connected();
    for len in [0, 1, 36, 48, 49, 500, RECEIVE_BYTES] {
        let bytes = pattern(len, 4);
        for end in [&mut initiator, &mut target] {
            end.qp
                .queue_respond(None, &[], bed.buf(&bytes), None)
                .expect("queue");
        }
        bed.run(&mut [&mut initiator, &mut target], |bed, _| {
            bed.received.len() == 2
        });
        for received in bed.received.drain(..) {
            assert_eq!(received.status, WorkStatus::Success);
            assert_eq!(*received.buf, bytes);
        }
        bed.post_receives();
    }
    assert_eq!(initiator.failures() + target.failures(), 0);
}

pub(crate) fn data_for_255_segments_arrives_before_its_message(mut bed: Bed) {
    let (mut initiator, mut target) = bed.connected();
    let mut region = bed.expose(255 * 512);
    let data = pattern(255 * 512, 5);
    let segments = pieces_backwards(&region, 255);
    let before = bed.device.counters();
    let message = bed.buf(b"done");
    target
        .qp
        .queue_respond(Some(bed.buf(&data)), &segments, message, None)
        .expect("queue");
    bed.run(&mut [&mut initiator, &mut target], |bed, _| {
        !bed.received.is_empty()
    });
    for (index, piece) in data.chunks(512).rev().enumerate() {
        let mut got = [0; 512];
        assert!(region.read(index * 512, &mut got));
        assert_eq!(got, piece);
    }
    bed.run(&mut [&mut target], |_, ends| ends[0].completed.len() == 1);
    let counters = bed.device.counters();
    assert_eq!(counters.sends_posted - before.sends_posted, 256);
    let doorbells = counters.doorbells - before.doorbells;
    assert!((3..=12).contains(&doorbells), "{doorbells} doorbells");
}

pub(crate) fn pulls_larger_than_the_queue_come_back_in_order(mut bed: Bed) {
    let (mut initiator, mut target) = bed.connected();
    let mut region = bed.expose(300 * 1024);
    let data = pattern(300 * 1024, 6);
    assert!(region.write(0, &data));
    let segments = pieces_backwards(&region, 300);
    for token in 0..3 {
        let buf = bed.pool.take(300 * 1024).expect("room");
        target.qp.queue_pull(token, buf, &segments).expect("queue");
    }
    let (reply, done) = (bed.buf(b"reply"), 4);
    target
        .qp
        .queue_respond(None, &[], reply, None)
        .expect("queue");
    bed.run(&mut [&mut initiator, &mut target], |_, ends| {
        ends[1].completed.len() == done
    });
    let expected: Vec<_> = data.chunks(1024).rev().flatten().copied().collect();
    for (wanted, completed) in (0..3).zip(&target.completed) {
        match completed {
            Completed::Pulled { token, buf } => {
                assert_eq!(*token, wanted);
                assert!(**buf == expected[..], "the bytes of pull {token}");
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn a_pull_longer_than_a_message_is_split(mut bed: Bed) {
    let (mut initiator, mut target) = bed.connected();
    let len = 9 << 20;
    let mut region = bed.expose(len);
    let data = pattern(len, 7);
    assert!(region.write(0, &data));
    let buf = bed.pool.take(len).expect("room");
    let segments = [region.segment()];
    target.qp.queue_pull(1, buf, &segments).expect("queue");
    bed.run(&mut [&mut initiator, &mut target], |_, ends| {
        !ends[1].completed.is_empty()
    });
    match &target.completed[..] {
        [Completed::Pulled { buf, .. }] => assert!(**buf == data[..]),
        other => panic!("{other:?}"),
    }
    let posted = bed.device.counters().sends_posted;
    let max_message = bed.device.info().ports[0].max_message_bytes as usize;
    assert_eq!(posted, len.div_ceil(max_message) as u64);
}

pub(crate) fn a_wrong_key_fails_the_queue_pair_and_gives_all_back(mut bed: Bed) {
    let (mut initiator, mut target) = bed.connected();
    let region = bed.expose(4096);
    let in_use = bed.pool.level().in_use_bytes;
    let mut wrong = region.segment();
    wrong.key ^= 0xffff_ff00;
    let bytes = pattern(4096, 8);
    for segment in [region.segment(), wrong, region.segment()] {
        let (data, message) = (Some(bed.buf(&bytes)), bed.buf(&bytes[..100]));
        let queued = target.qp.queue_respond(data, &[segment], message, None);
        queued.expect("queue");
    }
    bed.run(&mut [&mut initiator, &mut target], |_, ends| {
        ends[1].qp.is_drained() && ends[1].completed.len() == 3
    });
    assert!(target.qp.has_failed());
    let failed = target
        .completed
        .iter()
        .find_map(|completed| match completed {
            Completed::Failed { status, .. } => Some(*status),
            _ => None,
        });
    assert_eq!(failed, Some(WorkStatus::RemoteAccess));
    assert_eq!(bed.pool.level().in_use_bytes, in_use);
    let late = bed.buf(b"late");
    let refused = target.qp.queue_respond(None, &[], late, None);
    assert_eq!(refused, Err(PostError::QueuePairFailed));
}

pub(crate) fn a_target_cannot_be_read_or_written_by_its_peer(mut bed: Bed) {
    let (mut initiator, mut target) = bed.connected();
    // Even a region that may be accessed is closed on a queue pair without remote access.
    let region = bed.expose(4096);
    let buf = bed.pool.take(4096).expect("room");
    let queued = initiator.qp.queue_pull(1, buf, &[region.segment()]);
    queued.expect("queue");
    bed.run(&mut [&mut initiator, &mut target], |_, ends| {
        !ends[0].completed.is_empty()
    });
    assert_eq!(initiator.failures(), 1);
}

pub(crate) fn an_unregistered_buffer_is_refused(bed: Bed) {
    let mut qp = bed.queue_pair(false);
    let stranger = Pool::slots(&Arena::new(1).expect("map"), 0..8192, 4096);
    let buf = stranger.take(16).expect("room");
    let refused = qp.queue_respond(None, &[], buf, None);
    assert_eq!(refused, Err(PostError::NotRegistered));
    let buf = stranger.take(16).expect("room");
    let refused = bed.srq.post(buf);
    assert!(matches!(refused, Err(ReceivePostError::NotRegistered(buf)) if buf.len() == 16));
}

pub(crate) fn the_error_state_drains_and_reports_the_last_receive(mut bed: Bed) {
    let (mut initiator, mut target) = bed.connected();
    let region = bed.expose(1 << 20);
    let in_use = bed.pool.level().in_use_bytes;
    for token in 0..8 {
        let buf = bed.pool.take(1 << 20).expect("room");
        let queued = target.qp.queue_pull(token, buf, &[region.segment()]);
        queued.expect("queue");
    }
    target.qp.flush().expect("flush");
    target.qp.to_error().expect("error state");
    bed.run(&mut [&mut initiator, &mut target], |_, ends| {
        ends[1].qp.is_drained()
    });
    assert_eq!(target.completed.len(), 8);
    assert!(target.failures() > 0);
    target.completed.clear();
    assert_eq!(bed.pool.level().in_use_bytes, in_use);
    let number = target.qp.number();
    assert!(bed.device_event(DeviceEvent::LastReceiveReached(number)));
}

pub(crate) fn dropping_everything_at_once_is_safe(bed: Bed) {
    let (initiator, mut target) = bed.connected();
    let region = bed.expose(1 << 20);
    let buf = bed.pool.take(1 << 20).expect("room");
    let queued = target.qp.queue_pull(1, buf, &[region.segment()]);
    queued.expect("queue");
    target.qp.flush().expect("flush");
    drop((target, initiator));
}

pub(crate) fn a_completion_queue_grows_with_its_queue_pairs(mut bed: Bed) {
    let (mut initiator, mut target) = bed.connected();
    let crowd: Vec<_> = (0..20).map(|_| bed.queue_pair(false)).collect();
    let ping = bed.buf(b"ping");
    initiator
        .qp
        .queue_respond(None, &[], ping, None)
        .expect("queue");
    bed.run(&mut [&mut initiator, &mut target], |bed, _| {
        bed.received.len() == 1
    });
    drop(crowd);
    let most = bed.device.info().limits.completions;
    let error = CompletionQueue::new(&bed.device, most + 1, None).expect_err("too deep");
    assert!(
        matches!(error, Error::CompletionQueueFull { .. }),
        "{error}"
    );
}

pub(crate) fn queues_deeper_than_the_device_are_refused(bed: Bed) {
    let limits = bed.device.info().limits;
    let config = QueuePairConfig {
        send_depth: limits.work_requests + 1,
        ..QueuePairConfig::default()
    };
    let qp = QueuePair::new(&bed.domain, &bed.cq, &bed.cq, &bed.srq, config);
    let error = qp.expect_err("too deep");
    assert!(matches!(error, Error::DeviceLimit { .. }), "{error}");
    let srq = SharedReceiveQueue::new(&bed.domain, limits.shared_receives + 1);
    let error = srq.expect_err("too deep");
    assert!(matches!(error, Error::DeviceLimit { .. }), "{error}");
}

pub(crate) fn a_message_longer_than_its_receive_fails_that_connection(mut bed: Bed) {
    let (mut initiator, mut target) = bed.connected();
    let long = bed.buf(&[1; RECEIVE_BYTES + 1]);
    initiator
        .qp
        .queue_respond(None, &[], long, None)
        .expect("queue");
    bed.run(&mut [&mut initiator, &mut target], |bed, ends| {
        !ends[0].completed.is_empty() && !bed.received.is_empty()
    });
    assert_eq!(initiator.failures(), 1);
    let received = bed.received.pop_front().expect("a receive");
    assert_eq!(received.queue_pair, target.qp.number());
    // The architecture asks for the first, soft devices say the second.
    let status = received.status;
    let expected = [WorkStatus::LocalLength, WorkStatus::LocalOperation];
    assert!(expected.contains(&status), "{status}");
    assert_eq!(received.buf.len(), RECEIVE_BYTES);
}

pub(crate) fn a_full_receive_queue_gives_the_buffer_back(bed: Bed) {
    assert_eq!((bed.srq.depth(), bed.srq.room()), (RECEIVES, 0));
    let buf = bed.buf(b"one too many");
    assert!(matches!(bed.srq.post(buf), Err(ReceivePostError::Full(_))));
}

pub(crate) fn connections_give_everything_back(mut bed: Bed) {
    for _ in 0..200 {
        let (mut initiator, mut target) = bed.connected();
        let ping = bed.buf(b"ping");
        initiator
            .qp
            .queue_respond(None, &[], ping, None)
            .expect("queue");
        bed.run(&mut [&mut initiator, &mut target], |bed, _| {
            !bed.received.is_empty()
        });
        bed.received.clear();
        bed.post_receives();
        bed.disconnect(initiator, target);
    }
    assert_eq!(bed.pool.level().in_use_bytes, 0);
}
