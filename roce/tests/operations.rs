//! Every operation between two nodes, on a good network and on bad ones.

mod network;

use network::{BASE, Network, Pair, Weather};
use roce::packet::UDP_PORT;
use roce::packet::icrc::{self, Ends};
use roce::qp::{PathMtu, State, Tuning};
use roce::{CompletionKind, Key, Operation, Remote, SendRequest, Status};

const FAIR: Weather = Weather {
    loss: 0,
    duplication: 0,
    corruption: 0,
    jitter_us: 0,
};

const FOUL: Weather = Weather {
    loss: 30,
    duplication: 30,
    corruption: 10,
    jitter_us: 400,
};

const MTUS: [PathMtu; 5] = [
    PathMtu::Mtu256,
    PathMtu::Mtu512,
    PathMtu::Mtu1024,
    PathMtu::Mtu2048,
    PathMtu::Mtu4096,
];

fn remote(network: &Network, offset: usize) -> Remote {
    Remote {
        address: BASE + offset as u64,
        key: network.hosts[1].key,
    }
}

/// Posts from host 0 and waits for the completion.
fn run(
    network: &mut Network,
    pair: &Pair,
    operation: Operation,
    offset: usize,
    length: usize,
) -> Status {
    let sges = [network.hosts[0].sge(offset, length)];
    let request = SendRequest {
        wr_id: 77,
        operation,
        sges: &sges,
        signaled: true,
        fence: false,
        solicited: false,
    };
    network.hosts[0]
        .node
        .post_send(pair.near, &request)
        .expect("posted");
    let before = network.hosts[0].completions.len();
    network.run_until(200_000_000, |network| {
        network.hosts[0].completions.len() > before
    });
    let completion = network.hosts[0].completions[before];
    assert_eq!((completion.wr_id, completion.qp), (77, pair.near));
    completion.status
}

fn lengths(mtu: usize) -> Vec<usize> {
    let mut lengths = vec![0, 1, 2, 3, 4, 5];
    for count in [1, 2, 3, 70] {
        lengths.extend([count * mtu - 1, count * mtu, count * mtu + 1]);
    }
    lengths
}

fn every_size(mtu: PathMtu, weather: Weather, seed: u64) {
    let mut network = Network::new(seed, weather, Tuning::default());
    let pair = network.connect(mtu, 2);
    for length in lengths(mtu.bytes() as usize) {
        let mut data = vec![0; length];
        network.random.fill(&mut data);
        network.hosts[0].memory[0][..length].copy_from_slice(&data);

        let write = Operation::Write(remote(&network, 100));
        assert_eq!(run(&mut network, &pair, write, 0, length), Status::Success);
        assert_eq!(
            network.hosts[1].memory[0][100..100 + length],
            data,
            "write {length}"
        );

        let read = Operation::Read(remote(&network, 100));
        assert_eq!(
            run(&mut network, &pair, read, 500_000, length),
            Status::Success
        );
        assert_eq!(
            network.hosts[0].memory[0][500_000..500_000 + length],
            data,
            "read {length}"
        );

        network.hosts[1].post_recv(pair.far, 5, 600_000, length + 7);
        assert_eq!(
            run(&mut network, &pair, Operation::Send, 0, length),
            Status::Success
        );
        let received = network.hosts[1].completions.pop().expect("received");
        assert_eq!((received.length as usize, received.wr_id), (length, 5));
        assert_eq!(
            network.hosts[1].memory[0][600_000..600_000 + length],
            data,
            "send {length}"
        );

        network.hosts[1].post_recv(pair.far, 6, 0, 0);
        let write = Operation::WriteWithImmediate(remote(&network, 200), 0xfeed);
        assert_eq!(run(&mut network, &pair, write, 0, length), Status::Success);
        let received = network.hosts[1].completions.pop().expect("received");
        assert_eq!(received.kind, CompletionKind::RecvWriteWithImmediate);
        assert_eq!(
            (received.length as usize, received.immediate),
            (length, Some(0xfeed))
        );
        assert_eq!(
            network.hosts[1].memory[0][200..200 + length],
            data,
            "write {length}"
        );
    }
}

#[test]
fn every_operation_at_every_size_around_the_mtu() {
    for (seed, mtu) in MTUS.into_iter().enumerate() {
        every_size(mtu, FAIR, seed as u64);
    }
}

#[test]
fn every_operation_survives_foul_weather() {
    for seed in 0..12 {
        every_size(MTUS[seed as usize % 3], FOUL, 1000 + seed);
    }
}

#[test]
fn fair_weather_needs_no_retries() {
    let mut network = Network::new(4, FAIR, Tuning::default());
    let pair = network.connect(PathMtu::Mtu1024, 4);
    for _ in 0..20 {
        let read = Operation::Read(remote(&network, 0));
        assert_eq!(run(&mut network, &pair, read, 0, 300_000), Status::Success);
        let write = Operation::Write(remote(&network, 0));
        assert_eq!(run(&mut network, &pair, write, 0, 300_000), Status::Success);
    }
    for host in &network.hosts {
        let statistics = host.node.statistics();
        assert_eq!((statistics.retries, statistics.timeouts), (0, 0));
        assert_eq!(statistics.stale_responses, 0);
        assert_eq!(statistics.duplicate_requests, 0);
    }
}

#[test]
fn immediate_and_invalidate_travel_with_the_message() {
    let mut network = Network::new(4, FAIR, Tuning::default());
    let pair = network.connect(PathMtu::Mtu256, 1);
    network.hosts[1].post_recv(pair.far, 1, 0, 1000);
    let send = Operation::SendWithImmediate(0x0102_0304);
    assert_eq!(run(&mut network, &pair, send, 0, 700), Status::Success);
    assert_eq!(network.hosts[1].completions[0].immediate, Some(0x0102_0304));

    let window = roce::Region {
        pd: network::PD,
        handle: roce::RegionHandle(0),
        offset: 0,
        address: 0x1000,
        length: 4096,
        access: roce::Access::REMOTE_WRITE.or(roce::Access::REMOTE_INVALIDATE),
    };
    let key = network.hosts[1].node.register(window).expect("room");
    let there = Remote {
        address: 0x1000,
        key,
    };
    assert_eq!(
        run(&mut network, &pair, Operation::Write(there), 0, 4096),
        Status::Success
    );
    network.hosts[1].post_recv(pair.far, 2, 0, 1000);
    let send = Operation::SendWithInvalidate(key);
    assert_eq!(run(&mut network, &pair, send, 0, 10), Status::Success);
    assert_eq!(network.hosts[1].completions[1].invalidated, Some(key));
    let status = run(&mut network, &pair, Operation::Write(there), 0, 1);
    assert_eq!(status, Status::RemoteAccessError);
    assert_eq!(network.hosts[1].node.state(pair.far), Some(State::Error));
}

#[test]
fn a_fixed_key_is_not_the_peers_to_invalidate() {
    let mut network = Network::new(4, FAIR, Tuning::default());
    let pair = network.connect(PathMtu::Mtu256, 1);
    let key = network.hosts[1].key;
    network.hosts[1].post_recv(pair.far, 2, 0, 1000);
    let status = run(
        &mut network,
        &pair,
        Operation::SendWithInvalidate(key),
        0,
        10,
    );
    assert_eq!(status, Status::RemoteAccessError);
    assert_eq!(
        network.hosts[1].completions[0].status,
        Status::RemoteAccessError
    );
}

#[test]
fn a_message_that_is_too_long_ends_both_sides() {
    let mut network = Network::new(4, FAIR, Tuning::default());
    let pair = network.connect(PathMtu::Mtu256, 1);
    network.hosts[1].post_recv(pair.far, 2, 0, 300);
    network.hosts[1].post_recv(pair.far, 3, 0, 300);
    let status = run(&mut network, &pair, Operation::Send, 0, 301);
    assert_eq!(status, Status::RemoteInvalidRequestError);
    let seen: Vec<_> = network.hosts[1]
        .completions
        .iter()
        .map(|c| (c.wr_id, c.status))
        .collect();
    assert_eq!(seen, [(2, Status::LocalLengthError), (3, Status::Flushed)]);
}

#[test]
fn forged_keys_and_bounds_are_refused() {
    type Forge = fn(&mut Remote);
    let forgeries: [Forge; 4] = [
        |there| there.key = Key(there.key.0 ^ 1),
        |there| there.key = Key(0),
        |there| there.address -= 1,
        |there| there.address = u64::MAX,
    ];
    for forge in forgeries {
        for read in [false, true] {
            let mut network = Network::new(4, FAIR, Tuning::default());
            let pair = network.connect(PathMtu::Mtu256, 1);
            let mut there = remote(&network, 0);
            forge(&mut there);
            let operation = if read {
                Operation::Read(there)
            } else {
                Operation::Write(there)
            };
            let status = run(&mut network, &pair, operation, 0, 64);
            assert_eq!(status, Status::RemoteAccessError);
            assert!(network.hosts[1].memory[0].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn without_a_receive_buffer_the_sender_waits() {
    let mut network = Network::new(4, FAIR, Tuning::default());
    let pair = network.connect(PathMtu::Mtu256, 1);
    let sges = [network.hosts[0].sge(0, 1000)];
    for wr_id in 0..3 {
        let request = SendRequest {
            wr_id,
            operation: Operation::Send,
            sges: &sges,
            signaled: true,
            fence: false,
            solicited: false,
        };
        network.hosts[0]
            .node
            .post_send(pair.near, &request)
            .expect("posted");
    }
    network.settle(50_000);
    assert!(network.hosts[0].completions.is_empty());
    assert!(network.hosts[1].node.statistics().rnr_naks_sent > 10);
    for wr_id in 0..3 {
        network.hosts[1].post_recv(pair.far, wr_id, 0, 1000);
    }
    network.run_until(10_000_000, |network| {
        network.hosts[0].completions.len() == 3
    });
    assert_eq!(network.hosts[1].completions.len(), 3);
}

#[test]
fn a_dead_peer_is_noticed_and_everything_is_flushed() {
    let mut network = Network::new(4, FAIR, Tuning::default());
    let pair = network.connect(PathMtu::Mtu1024, 1);
    network.hosts[0].post_recv(pair.near, 9, 0, 100);
    network.hosts[1].alive = false;
    for wr_id in 0..3 {
        let sges = [network.hosts[0].sge(0, 1000)];
        let request = SendRequest {
            wr_id,
            operation: Operation::Send,
            sges: &sges,
            signaled: false,
            fence: false,
            solicited: false,
        };
        network.hosts[0]
            .node
            .post_send(pair.near, &request)
            .expect("posted");
    }
    network.run_until(60_000_000, |network| {
        network.hosts[0].completions.len() == 4
    });
    let seen: Vec<_> = network.hosts[0]
        .completions
        .iter()
        .map(|c| (c.wr_id, c.status))
        .collect();
    let flushed = Status::Flushed;
    let expected = [
        (0, Status::TransportRetryExceeded),
        (1, flushed),
        (2, flushed),
        (9, flushed),
    ];
    assert_eq!(seen, expected);
    assert_eq!(network.hosts[0].node.state(pair.near), Some(State::Error));
    network.hosts[0].post_recv(pair.near, 10, 0, 100);
    network.settle(1000);
    assert_eq!(network.hosts[0].completions[4].status, flushed);
}

#[test]
fn packet_numbers_wrap() {
    let mut network = Network::new(4, FAIR, Tuning::default());
    let (near, far) = (network.hosts[0].queue_pair(), network.hosts[1].queue_pair());
    for (host, qp, peer) in [(0, near, far), (1, far, near)] {
        let path = network.path(host, 1 - host);
        let node = &mut network.hosts[host].node;
        let rtr = roce::qp::RtrAttributes {
            path,
            path_mtu: PathMtu::Mtu256,
            remote_qp: peer.0,
            expected_psn: roce::Psn::new(0xff_fffa),
            responder_resources: 4,
            min_rnr_timer: 1,
        };
        node.make_ready_to_receive(qp, rtr).expect("RTR");
        let rts = roce::qp::RtsAttributes {
            starting_psn: roce::Psn::new(0xff_fffa),
            timeout: 14,
            retry_count: 7,
            rnr_retry: 7,
            initiator_depth: 4,
        };
        node.make_ready_to_send(qp, rts).expect("RTS");
    }
    network.weather = FOUL;
    let pair = Pair {
        near,
        far,
        near_id: roce::cm::ConnectionId(0),
        far_id: roce::cm::ConnectionId(0),
    };
    let mut data = vec![0; 10_000];
    network.random.fill(&mut data);
    network.hosts[0].memory[0][..10_000].copy_from_slice(&data);
    for round in 0..4 {
        let there = remote(&network, 100_000 * round);
        assert_eq!(
            run(&mut network, &pair, Operation::Write(there), 0, 10_000),
            Status::Success
        );
        let status = run(&mut network, &pair, Operation::Read(there), 200_000, 10_000);
        assert_eq!(status, Status::Success);
        assert_eq!(network.hosts[0].memory[0][200_000..210_000], data);
    }
}

#[test]
fn a_draining_queue_finishes_what_it_began() {
    let mut network = Network::new(
        4,
        FAIR,
        Tuning {
            window: 8,
            ack_interval: 3,
            read_chunk: 4,
        },
    );
    let pair = network.connect(PathMtu::Mtu256, 1);
    let sges = [network.hosts[0].sge(0, 10_000)];
    for wr_id in 0..2 {
        let request = SendRequest {
            wr_id,
            operation: Operation::Write(remote(&network, 0)),
            sges: &sges,
            signaled: true,
            fence: false,
            solicited: false,
        };
        network.hosts[0]
            .node
            .post_send(pair.near, &request)
            .expect("posted");
    }
    network.step();
    network.hosts[0]
        .node
        .drain_send_queue(pair.near)
        .expect("drain");
    network.settle(1_000_000);
    assert_eq!(network.hosts[0].completions.len(), 1);
    let drained = roce::cm::Event::SendQueueDrained(pair.near);
    assert!(network.hosts[0].events.contains(&drained));
    let rts = roce::qp::RtsAttributes::default();
    network.hosts[0]
        .node
        .make_ready_to_send(pair.near, rts)
        .expect("RTS");
    network.run_until(1_000_000, |network| network.hosts[0].completions.len() == 2);
}

#[test]
fn the_segments_of_one_send_are_numbered() {
    let mut network = Network::new(4, FAIR, Tuning::default());
    let pair = network.connect(PathMtu::Mtu256, 1);
    network.settle(1000);
    let there = remote(&network, 0);
    let near = &mut network.hosts[0];
    let sges = [near.sge(0, 1000)];
    let request = SendRequest {
        wr_id: 1,
        operation: Operation::Write(there),
        sges: &sges,
        signaled: true,
        fence: false,
        solicited: false,
    };
    near.node.post_send(pair.near, &request).expect("posted");
    let mut sent = Vec::new();
    while let Some(transmit) = near.node.poll_transmit(&near.memory, 0) {
        let number = u16::try_from(sent.len()).expect("few");
        let mut bytes = Vec::new();
        transmit
            .append_to(&near.memory, &mut bytes)
            .expect("memory");
        let end = bytes.len() - 4;
        bytes[end..].copy_from_slice(&transmit.icrc_for(number));
        sent.push((bytes, transmit.path));
    }
    assert_eq!(sent.len(), 4);
    let far = &mut network.hosts[1];
    for (number, (bytes, path)) in sent.iter().enumerate() {
        let datagram = roce::Datagram {
            source: path.local,
            destination: path.remote,
            ipv4_identification: Some(number as u16),
            payload: bytes,
        };
        far.node.handle_datagram(&datagram, &mut far.memory, 0);
    }
    assert_eq!(far.node.statistics().bad_icrc, 0);
    network.run_until(1_000_000, |network| network.hosts[0].completions.len() == 1);
}

#[test]
fn packets_of_strangers_are_counted_and_dropped() {
    let mut network = Network::new(4, FAIR, Tuning::default());
    let pair = network.connect(PathMtu::Mtu256, 1);
    let host = &mut network.hosts[0];
    let sges = [host.sge(0, 10)];
    let request = SendRequest {
        wr_id: 1,
        operation: Operation::Write(Remote {
            address: BASE,
            key: Key(0),
        }),
        sges: &sges,
        signaled: true,
        fence: false,
        solicited: false,
    };
    host.node.post_send(pair.near, &request).expect("posted");
    let transmit = host.node.poll_transmit(&host.memory, 0).expect("packet");
    let mut bytes = Vec::new();
    transmit
        .append_to(&host.memory, &mut bytes)
        .expect("memory");
    let stranger = "10.0.0.9:4791".parse().expect("address");
    let here = std::net::SocketAddr::new(network.hosts[1].ip, UDP_PORT);
    let body = bytes.len() - 4;
    let mut forged = bytes[..body].to_vec();
    let ends = Ends {
        source: stranger,
        destination: here,
    };
    let crc = icrc::compute(&ends, &forged, std::iter::empty(), 0, bytes.len());
    forged.extend(crc.to_le_bytes());
    network.inject(stranger, here, forged);
    network.inject(stranger, here, bytes);
    network.inject(stranger, here, vec![0x55; 40]);
    network.inject(stranger, here, Vec::new());
    network.settle(100);
    let statistics = network.hosts[1].node.statistics();
    assert_eq!(
        statistics.bad_icrc, 1,
        "the source address is part of the ICRC"
    );
    assert_eq!(
        statistics.foreign, 1,
        "the peer of a queue pair has an address"
    );
    assert_eq!(statistics.malformed, 2);
    assert_eq!(statistics.refused_requests, 0);
    assert_eq!(
        network.hosts[1].node.state(pair.far),
        Some(State::ReadyToSend)
    );
}
