//! Connections: made, refused, ended, forgotten, flooded.

mod network;

use std::collections::HashSet;
use std::net::SocketAddr;

use network::{Host, Network, PORT, Weather};
use roce::cm::{
    Accept, CmConfig, CmError, Connect, ConnectionId, Event, Ids, MAD_LEN, Mad, Message,
    PrivateData, RejectReason, Req, tcp_service_id,
};
use roce::packet::icrc::{self, Ends};
use roce::packet::{Bth, DEFAULT_P_KEY, Deth, Extension, GSI_Q_KEY, HeaderBytes, Opcode, UDP_PORT};
use roce::qp::{PathMtu, State, Tuning};
use roce::{Datagram, Operation, Psn, QueuePairNumber, SendRequest, Status};

fn network(seed: u64) -> Network {
    Network::new(seed, Weather::default(), Tuning::default())
}

fn begin(network: &mut Network, port: u16) -> (QueuePairNumber, ConnectionId) {
    let qp = network.hosts[0].queue_pair();
    let connect = Connect {
        path: network.path(0, 1),
        service_id: tcp_service_id(port),
        rdma_cm_port: Some(1234),
        path_mtu: PathMtu::Mtu1024,
        responder_resources: 4,
        initiator_depth: 5,
        private_data: b"login",
    };
    let now = network.now_us;
    let id = network.hosts[0]
        .node
        .connect(qp, &connect, now)
        .expect("begun");
    (qp, id)
}

/// A REQ of a stranger at 10.0.0.2, seen by host 0.
fn stranger() -> Req {
    Req {
        local_id: 1,
        service_id: tcp_service_id(PORT),
        ca_guid: 99,
        qpn: 50,
        responder_resources: 1,
        initiator_depth: 1,
        remote_response_timeout: 20,
        transport_type: 0,
        flow_control: false,
        starting_psn: Psn::new(5),
        local_response_timeout: 20,
        retry_count: 7,
        p_key: DEFAULT_P_KEY,
        path_mtu: 3,
        rnr_retry: 7,
        max_retries: 15,
        srq: false,
        local_gid: [0; 16],
        remote_gid: [0; 16],
        flow_label: 0,
        traffic_class: 0,
        hop_limit: 64,
        ack_timeout: 17,
        private_data: PrivateData::default(),
    }
}

fn stranger_address() -> SocketAddr {
    "10.0.0.2:4791".parse().expect("address")
}

/// Hands a MAD to a host as if it had come over the wire, and returns what the host answers.
fn ask(host: &mut Host, source: SocketAddr, message: Message, now_us: u64) -> Vec<Message> {
    let mad = Mad {
        transaction_id: 7,
        message,
    };
    let extension = Extension {
        deth: Some(Deth {
            q_key: GSI_Q_KEY,
            source: 1,
        }),
        ..Extension::default()
    };
    let header = HeaderBytes::emit(Bth::new(Opcode::UD_SEND_ONLY, 1, Psn::new(0)), &extension);
    let ends = Ends {
        source,
        destination: SocketAddr::new(host.ip, UDP_PORT),
    };
    let mut bytes = [header.as_slice(), mad.emit().as_slice()].concat();
    let body = std::iter::empty();
    let crc = icrc::compute(&ends, &bytes, body, 0, bytes.len() + 4);
    bytes.extend(crc.to_le_bytes());
    let datagram = Datagram {
        source: ends.source,
        destination: ends.destination,
        ipv4_identification: None,
        payload: &bytes,
    };
    host.node
        .handle_datagram(&datagram, &mut host.memory, now_us);
    answers(host, now_us)
}

fn answers(host: &mut Host, now_us: u64) -> Vec<Message> {
    let mut answers = Vec::new();
    while let Some(transmit) = host.node.poll_transmit(&host.memory, now_us) {
        let mad = &transmit.header[20..20 + MAD_LEN];
        answers.push(Mad::parse(mad).expect("MAD").message);
    }
    while let Some(event) = host.node.poll_event() {
        host.events.push(event);
    }
    answers
}

fn reason(answers: &[Message]) -> Option<RejectReason> {
    match answers {
        [Message::Rej(rej)] => Some(rej.reason),
        _ => None,
    }
}

#[test]
fn both_sides_learn_who_connects_and_on_which_terms() {
    let mut network = network(1);
    let pair = network.connect(PathMtu::Mtu2048, 7);
    let request = network.request(1).expect("asked");
    let header = request.rdma_cm.expect("header");
    assert_eq!(header.source, "10.0.0.1:1234".parse().expect("address"));
    assert_eq!(header.destination, network.hosts[1].ip);
    assert_eq!(&request.private_data.as_slice()[..5], b"hello");
    assert_eq!(request.private_data.as_slice().len(), 56);
    assert_eq!(
        (request.responder_resources, request.initiator_depth),
        (7, 7)
    );
    assert_eq!(request.service_id, tcp_service_id(PORT));
    network.settle(10_000);
    for (host, qp, peer) in [(0, pair.near, pair.far), (1, pair.far, pair.near)] {
        let node = &network.hosts[host].node;
        assert_eq!(node.state(qp), Some(State::ReadyToSend));
        let attributes = node.attributes(qp).expect("connected");
        assert_eq!(attributes.remote_qp, peer.0);
        assert_eq!(attributes.path_mtu, PathMtu::Mtu2048);
    }
    let welcome = network.hosts[0]
        .events
        .iter()
        .find_map(|event| match event {
            Event::Connected { private_data, .. } => Some(*private_data),
            _ => None,
        });
    assert_eq!(&welcome.expect("connected").as_slice()[..7], b"welcome");
    assert!(network.connected(1, pair.far_id));
}

#[test]
fn either_side_ends_a_connection_and_work_is_flushed() {
    for ender in [0, 1] {
        let mut network = network(2);
        let pair = network.connect(PathMtu::Mtu1024, 1);
        network.settle(10_000);
        network.hosts[0].post_recv(pair.near, 1, 0, 10);
        network.hosts[1].post_recv(pair.far, 2, 0, 10);
        let id = [pair.near_id, pair.far_id][ender];
        let now = network.now_us;
        network.hosts[ender]
            .node
            .disconnect(id, now)
            .expect("stands");
        network.run_until(1_000_000, |network| {
            network.disconnected(0, pair.near_id) && network.disconnected(1, pair.far_id)
        });
        for (host, qp) in [(0, pair.near), (1, pair.far)] {
            let host = &network.hosts[host];
            assert_eq!(host.node.state(qp), Some(State::Error));
            assert_eq!(host.completions[0].status, Status::Flushed);
        }
        network.settle(2_000_000);
        let gone = network.hosts[0].node.disconnect(pair.near_id, now);
        assert_eq!(gone, Err(CmError::Unknown), "time-wait is over");
    }
}

#[test]
fn connections_are_made_and_ended_in_foul_weather() {
    for seed in 0..40 {
        let weather = Weather {
            loss: 250,
            duplication: 100,
            corruption: 50,
            jitter_us: 900_000,
        };
        let mut network = Network::new(seed, weather, Tuning::default());
        let pair = network.connect(PathMtu::Mtu1024, 1);
        network.run_until(30_000_000, |network| network.connected(1, pair.far_id));
        let now = network.now_us;
        network.hosts[1]
            .node
            .disconnect(pair.far_id, now)
            .expect("stands");
        network.run_until(30_000_000, |network| {
            network.disconnected(0, pair.near_id) && network.disconnected(1, pair.far_id)
        });
    }
}

#[test]
fn a_refusal_carries_reason_and_private_data() {
    let mut network = network(3);
    network.hosts[1].node.listen(tcp_service_id(PORT));
    let (qp, id) = begin(&mut network, PORT);
    network.run_until(1_000_000, |network| network.request(1).is_some());
    let asked = network.request(1).expect("asked").connection;
    let node = &mut network.hosts[1].node;
    node.delay(asked).expect("waiting");
    node.reject(asked, RejectReason::CONSUMER_DEFINED, b"go away")
        .expect("waiting");
    assert_eq!(
        node.reject(asked, RejectReason::NO_QP, b""),
        Err(CmError::Unknown)
    );
    network.settle(100_000);
    let Some(Event::Rejected {
        connection,
        qp: rejected,
        reason,
        private_data,
    }) = network.hosts[0].events.first()
    else {
        panic!("{:?}", network.hosts[0].events);
    };
    assert_eq!((*connection, *rejected), (id, Some(qp)));
    assert_eq!(*reason, RejectReason::CONSUMER_DEFINED);
    assert_eq!(&private_data.as_slice()[..7], b"go away");
    assert_eq!(network.hosts[0].node.state(qp), Some(State::Error));
}

#[test]
fn nobody_listens() {
    let mut network = network(3);
    begin(&mut network, PORT);
    network.settle(100_000);
    let rejected = network.hosts[0].events.first();
    let reason = RejectReason::INVALID_SERVICE_ID;
    assert!(matches!(rejected, Some(Event::Rejected { reason: r, .. }) if *r == reason));
}

#[test]
fn a_silent_peer_is_given_up_after_all_repetitions() {
    let mut network = network(3);
    network.hosts[1].alive = false;
    let (qp, id) = begin(&mut network, PORT);
    let start = network.now_us;
    network.run_until(100_000_000, |network| !network.hosts[0].events.is_empty());
    let expected = Event::Unreachable {
        connection: id,
        qp: Some(qp),
    };
    assert_eq!(network.hosts[0].events, [expected]);
    assert!(network.now_us - start > 8_000_000, "16 times 537 ms");
}

#[test]
fn a_lost_rtu_is_replaced_by_the_first_packet() {
    let mut network = network(3);
    network.lose = Some(|bytes| bytes[0] == 0x64 && bytes[20 + 17] == 0x14);
    let pair = network.connect(PathMtu::Mtu1024, 1);
    network.settle(100_000);
    assert!(!network.connected(1, pair.far_id));
    network.hosts[1].post_recv(pair.far, 1, 0, 100);
    let sges = [network.hosts[0].sge(0, 100)];
    let request = SendRequest {
        wr_id: 1,
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
    network.settle(100_000);
    assert!(network.connected(1, pair.far_id));
    assert_eq!(network.hosts[1].completions[0].status, Status::Success);
}

#[test]
fn a_slow_consumer_makes_the_peer_wait() {
    let mut network = network(3);
    network.hosts[1].node.listen(tcp_service_id(PORT));
    let (_, id) = begin(&mut network, PORT);
    network.settle(20_000_000);
    assert!(
        network.hosts[0].events.is_empty(),
        "an MRA answers every repetition"
    );
    let asked = network.request(1).expect("asked").connection;
    let qp = network.hosts[1].queue_pair();
    let accept = Accept {
        responder_resources: 1,
        initiator_depth: 1,
        private_data: b"",
    };
    let now = network.now_us;
    network.hosts[1]
        .node
        .accept(asked, qp, &accept, now)
        .expect("waiting");
    network.settle(100_000);
    assert!(network.connected(0, id));
}

#[test]
fn a_consumer_that_never_decides_is_not_waited_for() {
    let mut network = network(3);
    network.hosts[1].node.listen(tcp_service_id(PORT));
    begin(&mut network, PORT);
    network.run_until(100_000_000, |network| network.hosts[1].events.len() == 2);
    assert!(matches!(
        network.hosts[1].events[1],
        Event::Unreachable { .. }
    ));
    network.settle(100_000);
    assert!(matches!(network.hosts[0].events[0], Event::Rejected { .. }));
}

#[test]
fn a_flood_fills_no_memory_and_keeps_nobody_out_for_long() {
    let cm = CmConfig {
        max_half_open: 8,
        ..CmConfig::default()
    };
    let mut network = Network::with_config(3, Weather::default(), Tuning::default(), cm);
    let host = &mut network.hosts[0];
    host.node.listen(tcp_service_id(PORT));
    let mut refused = 0;
    for number in 0..2000 {
        let req = Req {
            local_id: 100 + number,
            qpn: 100 + number,
            ca_guid: u64::from(number),
            ..stranger()
        };
        let answer = ask(host, stranger_address(), Message::Req(req), 1000);
        refused += u64::from(reason(&answer) == Some(RejectReason::NO_RESOURCES));
    }
    assert_eq!(host.events.len(), 8);
    assert_eq!(refused, 1992);
    assert_eq!(host.node.statistics().cm_overload, 1992);
    for event in std::mem::take(&mut host.events) {
        let Event::ConnectRequest(request) = event else {
            panic!("{event:?}");
        };
        host.node
            .reject(request.connection, RejectReason::NO_QP, b"")
            .expect("waiting");
    }
    answers(host, 1000);
    let answer = ask(host, stranger_address(), Message::Req(stranger()), 1000);
    assert!(answer.is_empty());
    assert_eq!(host.events.len(), 1);
}

#[test]
fn requests_that_cannot_be_met_are_refused_with_the_reason() {
    let mut network = network(3);
    let host = &mut network.hosts[0];
    host.node.listen(tcp_service_id(PORT));
    type Change = fn(&mut Req);
    let cases: [(Change, RejectReason); 4] = [
        (
            |req| req.transport_type = 1,
            RejectReason::INVALID_TRANSPORT_TYPE,
        ),
        (|req| req.service_id += 1, RejectReason::INVALID_SERVICE_ID),
        (|req| req.path_mtu = 0, RejectReason::INVALID_MTU),
        (|req| req.path_mtu = 6, RejectReason::INVALID_MTU),
    ];
    for (change, expected) in cases {
        let mut req = stranger();
        change(&mut req);
        let answer = ask(host, stranger_address(), Message::Req(req), 1000);
        assert_eq!(reason(&answer), Some(expected));
    }
    assert!(host.events.is_empty());
}

#[test]
fn alternate_paths_and_resolution_are_refused_and_goodbyes_answered() {
    let mut network = network(3);
    let host = &mut network.hosts[0];
    let sidr = Message::SidrReq {
        request_id: 8,
        service_id: 9,
    };
    let refused = Message::SidrRep {
        request_id: 8,
        status: 1,
        service_id: 9,
    };
    assert_eq!(ask(host, stranger_address(), sidr, 0), [refused]);
    let ids = Ids {
        local: 4,
        remote: 5,
    };
    let back = Ids {
        local: 5,
        remote: 4,
    };
    let dreq = Message::Dreq {
        ids,
        remote_qpn: 77,
    };
    assert_eq!(
        ask(host, stranger_address(), dreq, 0),
        [Message::Drep { ids: back }]
    );
    assert_eq!(ask(host, stranger_address(), Message::Lap { ids }, 0), []);
    let apr = Message::Apr { ids, status: 0 };
    assert_eq!(ask(host, stranger_address(), apr, 0), []);
    assert_eq!(host.node.statistics().cm_ignored, 2);
    host.node.listen(tcp_service_id(PORT));
    ask(host, stranger_address(), Message::Req(stranger()), 0);
    let Some(Event::ConnectRequest(request)) = host.events.first().copied() else {
        panic!("{:?}", host.events);
    };
    let ids = Ids {
        local: 1,
        remote: request.connection.0,
    };
    let back = Ids {
        local: request.connection.0,
        remote: 1,
    };
    let refused = Message::Apr {
        ids: back,
        status: 2,
    };
    assert_eq!(
        ask(host, stranger_address(), Message::Lap { ids }, 0),
        [refused]
    );
}

#[test]
fn messages_from_another_address_do_not_touch_a_connection() {
    let mut network = network(3);
    let pair = network.connect(PathMtu::Mtu1024, 1);
    network.settle(10_000);
    let forger: SocketAddr = "10.0.0.66:4791".parse().expect("address");
    let ids = Ids {
        local: pair.far_id.0,
        remote: pair.near_id.0,
    };
    let dreq = Message::Dreq {
        ids,
        remote_qpn: pair.near.0,
    };
    let host = &mut network.hosts[0];
    ask(host, forger, dreq, 20_000);
    ask(host, forger, Message::Drep { ids }, 20_000);
    let rej = roce::cm::Rej {
        ids,
        answered: roce::cm::Answered::Other,
        reason: RejectReason::STALE_CONNECTION,
        additional: 0,
        private_data: PrivateData::default(),
    };
    ask(host, forger, Message::Rej(rej), 20_000);
    assert_eq!(host.node.state(pair.near), Some(State::ReadyToSend));
    assert!(!network.disconnected(0, pair.near_id));
}

/// A machine again that has the bad luck to begin with the queue pair number of its former life: same GUID, another
/// secret, and therefore other communication ids.
fn started_again(ip: &str, ca_guid: u64, number: QueuePairNumber) -> Host {
    let cm = CmConfig {
        ca_guid,
        ..CmConfig::default()
    };
    let host = |secret| Host::new(ip, secret, Tuning::default(), cm);
    let secret = (77..100_000).find(|secret| host(*secret).queue_pair() == number);
    host(secret.expect("one in a thousand begins there"))
}

#[test]
fn a_restarted_peer_gets_rid_of_its_stale_connection() {
    let mut network = network(3);
    let pair = network.connect(PathMtu::Mtu1024, 1);
    network.settle(10_000);
    network.hosts[0] = started_again("10.0.0.1", 1, pair.near);
    let (_, _) = begin(&mut network, PORT);
    network.settle(100_000);
    let stale = RejectReason::STALE_CONNECTION;
    let first = network.hosts[0].events.first();
    assert!(
        matches!(first, Some(Event::Rejected { reason, .. }) if *reason == stale),
        "{first:?}"
    );
    assert!(network.disconnected(1, pair.far_id));
    assert_eq!(network.hosts[1].node.state(pair.far), Some(State::Error));
    network.settle(10_000_000);
    network.hosts[1].events.clear();
    let again = network.connect(PathMtu::Mtu1024, 1);
    assert_eq!(
        network.hosts[0].node.state(again.near),
        Some(State::ReadyToSend)
    );
}

#[test]
fn a_restarted_listener_is_not_taken_for_its_former_self() {
    let mut network = network(3);
    let pair = network.connect(PathMtu::Mtu1024, 1);
    network.settle(10_000);
    network.hosts[1] = started_again("10.0.0.2", 2, pair.far);
    network.hosts[1].node.listen(tcp_service_id(PORT));
    network.hosts[0].events.clear();
    let (_, id) = begin(&mut network, PORT);
    network.run_until(1_000_000, |network| network.request(1).is_some());
    let asked = network.request(1).expect("asked").connection;
    let qp = network.hosts[1].queue_pair();
    assert_eq!(qp, pair.far, "the number of its former life");
    let accept = Accept {
        responder_resources: 1,
        initiator_depth: 1,
        private_data: b"",
    };
    let now = network.now_us;
    network.hosts[1]
        .node
        .accept(asked, qp, &accept, now)
        .expect("waiting");
    network.settle(100_000);
    let stale = RejectReason::STALE_CONNECTION;
    assert!(network.hosts[0].events.iter().any(|event| {
        matches!(event, Event::Rejected { connection, reason, .. }
            if *connection == id && *reason == stale)
    }));
    assert!(network.disconnected(0, pair.near_id));
    assert_eq!(network.hosts[1].node.state(qp), Some(State::Error));
}

#[test]
fn a_peer_may_use_its_queue_pair_again_when_the_connection_is_over() {
    let mut network = network(3);
    let host = &mut network.hosts[0];
    host.node.listen(tcp_service_id(PORT));
    ask(host, stranger_address(), Message::Req(stranger()), 0);
    let Some(Event::ConnectRequest(request)) = host.events.pop() else {
        panic!("{:?}", host.events);
    };
    let qp = host.queue_pair();
    let accept = Accept {
        responder_resources: 1,
        initiator_depth: 1,
        private_data: b"",
    };
    host.node
        .accept(request.connection, qp, &accept, 0)
        .expect("waiting");
    answers(host, 0);
    let again = Req {
        local_id: 2,
        ..stranger()
    };
    let refused = ask(host, stranger_address(), Message::Req(again), 0);
    assert_eq!(reason(&refused), Some(RejectReason::STALE_CONNECTION));
    let ids = Ids {
        local: 1,
        remote: request.connection.0,
    };
    let dreq = Message::Dreq {
        ids,
        remote_qpn: qp.0,
    };
    ask(host, stranger_address(), dreq, 0);
    host.events.clear();
    ask(host, stranger_address(), Message::Req(again), 0);
    assert!(matches!(host.events[0], Event::ConnectRequest(_)));
}

#[test]
fn patience_is_granted_once_per_repetition() {
    let mut network = network(3);
    network.hosts[1].alive = false;
    let (_, id) = begin(&mut network, PORT);
    let host = &mut network.hosts[0];
    answers_of_any_kind(host, 1000);
    let mra = Message::Mra {
        ids: Ids {
            local: 5,
            remote: id.0,
        },
        answered: roce::cm::Answered::Req,
        service_timeout: 31,
    };
    for now_us in 1000..3000 {
        ask(host, stranger_address(), mra, now_us);
    }
    network.run_until(200_000_000, |network| {
        network.hosts[0].node.statistics().sent_packets == 2
    });
    assert!(network.now_us > 60_000_000, "the first MRA counts");
    assert!(network.now_us < 80_000_000, "within reason");
    network.run_until(20_000_000, |network| !network.hosts[0].events.is_empty());
}

/// Lets a host say what it has to say to nobody.
fn answers_of_any_kind(host: &mut Host, now_us: u64) {
    while host.node.poll_transmit(&host.memory, now_us).is_some() {}
}

#[test]
fn a_node_connects_to_itself() {
    let mut network = network(3);
    let node = &mut network.hosts[0].node;
    node.listen(tcp_service_id(PORT));
    let (near, far) = (network.hosts[0].queue_pair(), network.hosts[0].queue_pair());
    let path = network.path(0, 0);
    let connect = Connect {
        path,
        service_id: tcp_service_id(PORT),
        rdma_cm_port: Some(1),
        path_mtu: PathMtu::Mtu1024,
        responder_resources: 1,
        initiator_depth: 1,
        private_data: b"",
    };
    let now = network.now_us;
    let id = network.hosts[0]
        .node
        .connect(near, &connect, now)
        .expect("begun");
    network.run_until(1_000_000, |network| network.request(0).is_some());
    let asked = network.request(0).expect("asked").connection;
    let accept = Accept {
        responder_resources: 1,
        initiator_depth: 1,
        private_data: b"",
    };
    network.hosts[0]
        .node
        .accept(asked, far, &accept, now)
        .expect("waiting");
    network.run_until(1_000_000, |network| {
        network.connected(0, id) && network.connected(0, asked)
    });
    network.hosts[0]
        .node
        .disconnect(asked, now)
        .expect("stands");
    network.run_until(1_000_000, |network| {
        network.disconnected(0, id) && network.disconnected(0, asked)
    });
    assert_eq!(network.hosts[0].node.state(near), Some(State::Error));
    assert_eq!(network.hosts[0].node.state(far), Some(State::Error));
}

#[test]
fn too_much_private_data_is_the_callers_fault() {
    let mut network = network(3);
    let qp = network.hosts[0].queue_pair();
    let mut connect = Connect {
        path: network.path(0, 1),
        service_id: 1,
        rdma_cm_port: Some(1),
        path_mtu: PathMtu::Mtu1024,
        responder_resources: 1,
        initiator_depth: 1,
        private_data: &[0; 57],
    };
    let node = &mut network.hosts[0].node;
    let refused = CmError::PrivateData { got: 57, limit: 56 };
    assert_eq!(node.connect(qp, &connect, 0), Err(refused));
    connect.private_data = &[0; 56];
    assert!(node.connect(qp, &connect, 0).is_ok());
    assert_eq!(
        node.connect(qp, &connect, 0),
        Err(CmError::QueuePair),
        "connected before"
    );
}

#[test]
fn what_has_arrived_is_acknowledged_before_the_goodbye() {
    let mut network = network(31);
    let pair = network.connect(PathMtu::Mtu1024, 1);
    let [near, far] = &mut network.hosts[..] else {
        panic!("two hosts");
    };
    far.post_recv(pair.far, 1, 0, 64);
    let sges = [near.sge(0, 64)];
    let request = SendRequest {
        wr_id: 2,
        operation: Operation::Send,
        sges: &sges,
        signaled: true,
        fence: false,
        solicited: false,
    };
    near.node.post_send(pair.near, &request).expect("posted");
    let now_us = network.now_us;
    let transmit = near.node.poll_transmit(&near.memory, now_us);
    let transmit = transmit.expect("the message");
    let mut payload = Vec::new();
    transmit
        .append_to(&near.memory, &mut payload)
        .expect("memory");
    let datagram = Datagram {
        source: transmit.path.local,
        destination: transmit.path.remote,
        ipv4_identification: Some(0),
        payload: &payload,
    };
    far.node.handle_datagram(&datagram, &mut far.memory, now_us);
    // In the same turn, before anything was sent.
    far.node.disconnect(pair.far_id, now_us).expect("connected");
    assert!(far.node.destroy_queue_pair(pair.far));
    assert!(far.node.wants_transmit());
    network.run_until(10_000_000, |network| {
        let ended = |event: &Event| matches!(event, Event::Disconnected { .. });
        network.hosts[0].events.iter().any(ended)
    });
    let statuses = network.hosts[0].completions.iter();
    let statuses: Vec<_> = statuses.map(|completion| completion.status).collect();
    assert_eq!(statuses, [Status::Success]);
}

#[test]
fn queue_pair_numbers_begin_elsewhere_in_each_life_of_a_node() {
    let host = |secret| Host::new("10.0.0.1", secret, Tuning::default(), CmConfig::default());
    let numbers: HashSet<u32> = (0..16).map(|secret| host(secret).queue_pair().0).collect();
    assert!(numbers.len() > 12, "{numbers:?}");
    assert!(
        numbers
            .iter()
            .all(|number| *number > 1 && *number < 1 << 24)
    );
}
