//! The verbs provider against a real device, such as the kernel's `rdma_rxe`: both ends of each connection
//! in one process.
//!
//! Without a device each test prints why it does nothing. The device needs an IPv4 address.

#[path = "rxe/bed.rs"]
mod bed;

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::thread;

use bed::{RECEIVE_BYTES, RECEIVES, bed};
use iobuf::{Arena, Pool, RemoteSegment};
use rdma::*;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

macro_rules! bed_or_skip {
    ($test:literal) => {
        match bed($test) {
            Some(bed) => bed,
            None => return,
        }
    };
}

/// Bytes that differ everywhere.
fn pattern(len: usize, seed: u32) -> Vec<u8> {
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

#[test]
fn a_device_says_what_it_is() {
    let bed = bed_or_skip!("a_device_says_what_it_is");
    let info = bed.device.info();
    let port = info.port(1).expect("port 1");
    let file = format!("/sys/class/infiniband/{}/ports/1/gids/0", info.name);
    let text = fs::read_to_string(file).expect("gid").replace(':', "");
    let gid = u128::from_str_radix(text.trim(), 16).expect("hex");
    assert_eq!(port.port_guid, gid as u64);
    assert_eq!(port.state, PortState::Active);
    assert_eq!(port.link_layer, LinkLayer::Ethernet);
    assert!(port.active_mtu_bytes >= 1024);
    assert!(info.limits.completions > 1000 && info.limits.initiator_depth > 0);
    assert!(info.node_guid != 0);
    assert!(devices().expect("devices").contains(info));
    let error = Device::open("no_such0").expect_err("absent").to_string();
    assert!(error.contains(&info.name), "{error}");
}

#[test]
fn private_data_and_addresses_arrive_on_both_sides() {
    let bed = bed_or_skip!("private_data_and_addresses_arrive_on_both_sides");
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
    let gids = &bed.device.info().port(1).expect("port").gids;
    assert!(gids.iter().any(|entry| entry.gid == peer.gid), "{peer:?}");
    let (target, told) = bed.accept(&mut initiator, *request, &pattern(196, 2));
    assert_eq!(told, pattern(196, 2));
    assert_ne!(target.qp.number(), initiator.qp.number());
}

#[test]
fn a_refusal_carries_private_data() {
    let bed = bed_or_skip!("a_refusal_carries_private_data");
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

#[test]
fn a_dropped_request_and_a_missing_listener_refuse() {
    let bed = bed_or_skip!("a_dropped_request_and_a_missing_listener_refuse");
    let (_initiator, request) = bed.request(b"let me in");
    drop(request);
    assert!(matches!(bed.event(), CmEvent::Rejected { .. }));
    let nobody = SocketAddr::new(bed.address.ip(), 9);
    let _initiator = bed.connecting(nobody, b"anyone?");
    assert!(matches!(bed.event(), CmEvent::Rejected { reason: 8, .. }));
}

#[test]
fn an_address_in_use_is_refused() {
    let bed = bed_or_skip!("an_address_in_use_is_refused");
    let again = Listener::bind(&bed.channel, &ListenAddress::Ip(bed.address), 8);
    let error = again.expect_err("in use").to_string();
    assert!(error.contains("another program listens there"), "{error}");
    let elsewhere = ListenAddress::Ip("192.0.2.1:5555".parse().expect("address"));
    let error = Listener::bind(&bed.channel, &elsewhere, 8)
        .expect_err("no such address")
        .to_string();
    assert!(error.contains("no RDMA device has this address"), "{error}");
}

#[test]
fn messages_go_both_ways_and_are_cut_to_their_length() {
    let mut bed = bed_or_skip!("messages_go_both_ways_and_are_cut_to_their_length");
    let (mut initiator, mut target) = bed.connected();
    for len in [0, 1, 36, 48, 49, 500, RECEIVE_BYTES] {
        let bytes = pattern(len, 4);
        for end in [&mut initiator, &mut target] {
            end.qp
                .queue_respond(None, &[], bed.buf(&bytes))
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

#[test]
fn data_for_255_segments_arrives_before_its_message() {
    let mut bed = bed_or_skip!("data_for_255_segments_arrives_before_its_message");
    let (mut initiator, mut target) = bed.connected();
    let mut region = bed.expose(255 * 512);
    let data = pattern(255 * 512, 5);
    let segments = pieces_backwards(&region, 255);
    let before = bed.device.counters();
    let message = bed.buf(b"done");
    target
        .qp
        .queue_respond(Some(bed.buf(&data)), &segments, message)
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

#[test]
fn pulls_larger_than_the_queue_come_back_in_order() {
    let mut bed = bed_or_skip!("pulls_larger_than_the_queue_come_back_in_order");
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
    target.qp.queue_respond(None, &[], reply).expect("queue");
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

#[test]
fn a_pull_longer_than_a_message_is_split() {
    let mut bed = bed_or_skip!("a_pull_longer_than_a_message_is_split");
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

#[test]
fn a_wrong_key_fails_the_queue_pair_and_gives_all_back() {
    let mut bed = bed_or_skip!("a_wrong_key_fails_the_queue_pair_and_gives_all_back");
    let (mut initiator, mut target) = bed.connected();
    let region = bed.expose(4096);
    let in_use = bed.pool.level().in_use_bytes;
    let mut wrong = region.segment();
    wrong.key ^= 0xffff_ff00;
    let bytes = pattern(4096, 8);
    for segment in [region.segment(), wrong, region.segment()] {
        let (data, message) = (Some(bed.buf(&bytes)), bed.buf(&bytes[..100]));
        let queued = target.qp.queue_respond(data, &[segment], message);
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
    let refused = target.qp.queue_respond(None, &[], late);
    assert_eq!(refused, Err(PostError::QueuePairFailed));
}

#[test]
fn a_target_cannot_be_read_or_written_by_its_peer() {
    let mut bed = bed_or_skip!("a_target_cannot_be_read_or_written_by_its_peer");
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

#[test]
fn an_unregistered_buffer_is_refused() {
    let bed = bed_or_skip!("an_unregistered_buffer_is_refused");
    let mut qp = bed.queue_pair(false);
    let stranger = Pool::slots(&Arena::new(1).expect("map"), 0..8192, 4096);
    let buf = stranger.take(16).expect("room");
    let refused = qp.queue_respond(None, &[], buf);
    assert_eq!(refused, Err(PostError::NotRegistered));
    let buf = stranger.take(16).expect("room");
    let refused = bed.srq.post(buf);
    assert!(matches!(refused, Err(ReceivePostError::NotRegistered(buf)) if buf.len() == 16));
}

#[test]
fn the_error_state_drains_and_reports_the_last_receive() {
    let mut bed = bed_or_skip!("the_error_state_drains_and_reports_the_last_receive");
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

#[test]
fn dropping_everything_at_once_is_safe() {
    let bed = bed_or_skip!("dropping_everything_at_once_is_safe");
    let (initiator, mut target) = bed.connected();
    let region = bed.expose(1 << 20);
    let buf = bed.pool.take(1 << 20).expect("room");
    let queued = target.qp.queue_pull(1, buf, &[region.segment()]);
    queued.expect("queue");
    target.qp.flush().expect("flush");
    drop((target, initiator));
}

#[test]
fn completions_are_reported_through_a_ring() {
    let mut bed = bed_or_skip!("completions_are_reported_through_a_ring");
    let (mut initiator, mut target) = bed.connected();
    let mut ring = io_uring::IoUring::new(4).expect("ring");
    for round in 1..=3 {
        bed.cq.arm().expect("arm");
        assert_eq!(bed.reap(&mut [&mut initiator, &mut target]), 0);
        let mut event = [0_u8; 8];
        let fd = io_uring::types::Fd(bed.cq_channel.as_fd().as_raw_fd());
        let read = io_uring::opcode::Read::new(fd, event.as_mut_ptr(), 8).build();
        // SAFETY: descriptor and memory live until the completion, which is awaited below.
        unsafe { ring.submission().push(&read) }.expect("room");
        ring.submit().expect("submit");
        let ping = bed.buf(b"ping");
        initiator.qp.queue_respond(None, &[], ping).expect("queue");
        initiator.qp.flush().expect("flush");
        ring.submit_and_wait(1).expect("wait");
        let read = ring.completion().next().expect("completion").result();
        assert_eq!(read, 8);
        let id = bed.cq_channel.event_from_raw(u64::from_ne_bytes(event));
        assert_eq!(id, Some(bed.cq.id()));
        bed.run(&mut [&mut initiator, &mut target], |bed, ends| {
            bed.received.len() == round && ends[0].completed.len() == round
        });
    }
}

#[test]
fn a_completion_queue_grows_with_its_queue_pairs() {
    let mut bed = bed_or_skip!("a_completion_queue_grows_with_its_queue_pairs");
    let (mut initiator, mut target) = bed.connected();
    let crowd: Vec<_> = (0..20).map(|_| bed.queue_pair(false)).collect();
    let ping = bed.buf(b"ping");
    initiator.qp.queue_respond(None, &[], ping).expect("queue");
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

#[test]
fn queues_deeper_than_the_device_are_refused() {
    let bed = bed_or_skip!("queues_deeper_than_the_device_are_refused");
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

#[test]
fn a_message_longer_than_its_receive_fails_that_connection() {
    let mut bed = bed_or_skip!("a_message_longer_than_its_receive_fails_that_connection");
    let (mut initiator, mut target) = bed.connected();
    let long = bed.buf(&[1; RECEIVE_BYTES + 1]);
    initiator.qp.queue_respond(None, &[], long).expect("queue");
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

#[test]
fn a_limit_of_locked_memory_is_named() {
    let bed = bed_or_skip!("a_limit_of_locked_memory_is_named");
    let name = bed.device.info().name.clone();
    let mut limit = getrlimit(Resource::Memlock);
    limit.current = Some(1 << 20);
    setrlimit(Resource::Memlock, limit).expect("limit");
    // Rights belong to a thread, so only this one loses those that lift the limit.
    let unprivileged = thread::spawn(move || {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none).expect("capabilities");
        let domain = ProtectionDomain::new(&Device::open(&name)?)?;
        let arena = Arena::new(16 << 20).expect("arena");
        MemoryRegion::register(&domain, &arena).map(drop)
    });
    let error = unprivileged.join().expect("thread").expect_err("limited");
    let text = error.to_string();
    assert!(matches!(error, Error::LockedMemory { .. }), "{text}");
    assert!(text.contains("RLIMIT_MEMLOCK is 1048576 bytes"), "{text}");
}

#[test]
fn a_full_receive_queue_gives_the_buffer_back() {
    let bed = bed_or_skip!("a_full_receive_queue_gives_the_buffer_back");
    assert_eq!((bed.srq.depth(), bed.srq.room()), (RECEIVES, 0));
    let buf = bed.buf(b"one too many");
    assert!(matches!(bed.srq.post(buf), Err(ReceivePostError::Full(_))));
}

/// What the kernel holds, such as `pd 1 cq 1 qp 3 cm_id 2 mr 1`, of all devices.
fn kernel_resources() -> String {
    let output = Command::new("rdma").args(["resource", "show"]).output();
    let output = output.expect("the rdma program of iproute2");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn two_hundred_connections_leave_nothing_behind() {
    let mut bed = bed_or_skip!("two_hundred_connections_leave_nothing_behind");
    let (initiator, target) = bed.connected();
    bed.disconnect(initiator, target);
    let open_files = || fs::read_dir("/proc/self/fd").expect("proc").count();
    let before = (kernel_resources(), open_files());
    for _ in 0..200 {
        let (mut initiator, mut target) = bed.connected();
        let ping = bed.buf(b"ping");
        initiator.qp.queue_respond(None, &[], ping).expect("queue");
        bed.run(&mut [&mut initiator, &mut target], |bed, _| {
            !bed.received.is_empty()
        });
        bed.received.clear();
        bed.post_receives();
        bed.disconnect(initiator, target);
    }
    assert_eq!((kernel_resources(), open_files()), before);
    assert_eq!(bed.pool.level().in_use_bytes, 0);
}
