//! The soft provider on the loopback interface: the same scenarios as over a real device, and what only it has to
//! stand: a bad wire, and strangers.

#[path = "objects/bed.rs"]
mod bed;
#[path = "objects/scenarios.rs"]
mod scenarios;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bed::Bed;
use rdma::*;
use roce::cm::{Connect, tcp_service_id};
use roce::packet::UDP_PORT;
use roce::qp::{Path, PathMtu};
use roce::{Access, Node, NodeConfig, Pd};
use scenarios::pattern;

/// An address of the loopback interface that no other test of this process has.
fn address() -> IpAddr {
    static LAST: AtomicU8 = AtomicU8::new(0);
    Ipv4Addr::new(127, 50, 0, LAST.fetch_add(1, Ordering::Relaxed) + 1).into()
}

fn bed_on(ip: IpAddr, config: SoftConfig) -> Bed {
    let addresses = vec![ip];
    let fabric = Fabric::soft(SoftConfig {
        addresses,
        ..config
    });
    Bed::new(fabric, "soft_lo", ip, None)
}

fn bed(_test: &str) -> Option<Bed> {
    Some(bed_on(address(), SoftConfig::default()))
}

scenarios::on_each_scenario!(bed);

/// 2 MiB to the initiator and back, in pieces.
fn transfer(bed: &mut Bed) {
    let (mut initiator, mut target) = bed.connected();
    let len = 2 << 20;
    let mut region = bed.expose(len);
    let data = pattern(len, 9);
    let (whole, message) = (bed.buf(&data), bed.buf(b"done"));
    let segments = [region.segment()];
    let queued = target
        .qp
        .queue_respond(Some(whole), &segments, message, None);
    queued.expect("queue");
    bed.run(&mut [&mut initiator, &mut target], |bed, _| {
        !bed.received.is_empty()
    });
    let mut got = vec![0; len];
    assert!(region.read(0, &mut got));
    assert!(got == data, "the bytes that were written");
    let back = bed.pool.take(len).expect("room");
    target.qp.queue_pull(7, back, &segments).expect("queue");
    bed.run(&mut [&mut initiator, &mut target], |_, ends| {
        ends[1].completed.len() == 2
    });
    match &target.completed[..] {
        [Completed::Sent, Completed::Pulled { token: 7, buf }] => assert!(**buf == data[..]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wire_that_loses_one_packet_in_fifty_changes_no_byte() {
    let impairment = Some(Impairment {
        loss_per_mille: 20,
        seed: 7,
    });
    let mut bed = bed_on(
        address(),
        SoftConfig {
            impairment,
            ..SoftConfig::default()
        },
    );
    transfer(&mut bed);
    let counters = bed.fabric.counters();
    assert!(counters.retries > 0, "{counters:?}");
}

#[test]
fn every_path_mtu_carries_every_byte() {
    for bytes in [256, 512, 1024, 2048, 4096] {
        let max_mtu_bytes = Some(bytes);
        let mut bed = bed_on(
            address(),
            SoftConfig {
                max_mtu_bytes,
                ..SoftConfig::default()
            },
        );
        assert_eq!(bed.device.info().ports[0].active_mtu_bytes, bytes);
        transfer(&mut bed);
    }
}

#[test]
fn the_other_family_of_addresses_works_too() {
    let mut bed = bed_on(Ipv6Addr::LOCALHOST.into(), SoftConfig::default());
    transfer(&mut bed);
}

#[test]
fn system_calls_are_few_and_packets_are_many() {
    let mut bed = bed_on(address(), SoftConfig::default());
    transfer(&mut bed);
    // The connection's goodbyes, and the answers to them.
    for _ in 0..4 {
        bed.fabric.wait(&[], Duration::ZERO).expect("wait");
    }
    let FabricCounters {
        receive_calls,
        send_calls,
        sent_packets,
        received_packets,
        unsent_packets,
        ..
    } = bed.fabric.counters();
    assert_eq!(unsent_packets, 0);
    assert_eq!(sent_packets, received_packets);
    assert!(sent_packets > 1024, "{sent_packets} packets for 4 MiB");
    let calls = receive_calls + send_calls;
    assert!(
        calls * 8 < sent_packets,
        "{calls} calls for {sent_packets} packets"
    );
}

#[test]
fn two_fabrics_meet() {
    let mut bed = bed_on(address(), SoftConfig::default());
    let far = Fabric::soft(SoftConfig {
        addresses: vec![address()],
        ..SoftConfig::default()
    });
    bed.beside = Some(far.clone());
    let channel = EventChannel::new(&far).expect("channel");
    let connection = Connection::resolve(&channel, None, bed.address, 2000).expect("resolve");
    let event = channel.next_event().expect("event");
    assert!(matches!(event, Some(CmEvent::AddressResolved(id)) if id == connection.id()));
    connection.resolve_route(2000).expect("route");
    let event = channel.next_event().expect("event");
    assert!(matches!(event, Some(CmEvent::RouteResolved(_))));
    let name = connection.device_name().expect("resolved");
    let device = Device::open(&far, &name).expect("device");
    let domain = ProtectionDomain::new(&device).expect("domain");
    let cq = CompletionQueue::new(&device, 1, None).expect("cq");
    let srq = SharedReceiveQueue::new(&domain, 1).expect("srq");
    let config = QueuePairConfig::default();
    let mut qp = QueuePair::new(&domain, &cq, &cq, &srq, config).expect("queue pair");
    let parameters = ConnectParameters {
        private_data: b"from afar",
        responder_resources: 3,
        initiator_depth: 2,
        retry_count: 7,
        rnr_retry_count: 7,
    };
    // Objects of two fabrics do not mix.
    let mixed = QueuePair::new(&domain, &cq, &bed.cq, &srq, config);
    assert!(matches!(mixed, Err(Error::OtherFabric)), "{mixed:?}");
    connection.connect(&mut qp, &parameters).expect("connect");
    let request = match bed.event() {
        CmEvent::ConnectRequest(request) => request,
        other => panic!("{other:?}"),
    };
    assert_eq!(request.private_data[..9], *b"from afar");
    assert_eq!(
        (request.initiator_depth, request.responder_resources),
        (3, 2)
    );
    assert_eq!(request.peer().socket, connection.local().socket);
    assert_eq!(request.local(), connection.peer());
    request.connection.reject(b"no").expect("reject");
    for _ in 0..100 {
        bed.wait(None);
        if let Some(event) = channel.next_event().expect("event") {
            assert!(
                matches!(event, CmEvent::Rejected { reason: 28, .. }),
                "{event:?}"
            );
            return;
        }
    }
    panic!("the refusal did not arrive");
}

#[test]
fn errors_say_what_to_do() {
    let bed = bed_on(address(), SoftConfig::default());
    let again = Listener::bind(&bed.channel, &ListenAddress::Ip(bed.address), 8);
    let error = again.expect_err("in use").to_string();
    assert!(error.contains("another program listens there"), "{error}");
    let elsewhere = ListenAddress::Ip("192.0.2.1:5555".parse().expect("address"));
    let error = Listener::bind(&bed.channel, &elsewhere, 8)
        .expect_err("not here")
        .to_string();
    assert!(error.contains("192.0.2.1; ip address shows"), "{error}");
    let native = ListenAddress::InfiniBand {
        device: "mlx4_0".to_owned(),
        port: 1,
        service: 0,
        pkey: 0xffff,
    };
    let error = Listener::bind(&bed.channel, &native, 8)
        .expect_err("no such thing")
        .to_string();
    assert!(error.contains("mlx4_0:1"), "{error}");
    let error = Device::open(&bed.fabric, "mlx4_0")
        .expect_err("absent")
        .to_string();
    assert!(error.contains("soft_lo"), "{error}");
    let stranger = Fabric::soft(SoftConfig::default());
    let channel = EventChannel::new(&stranger).expect("channel");
    let taken = Listener::bind(&channel, &ListenAddress::Ip(bed.address), 8);
    let error = taken.expect_err("in use").to_string();
    assert!(error.contains("UDP port 4791"), "{error}");
}

#[test]
fn devices_are_listed_by_interface() {
    let bed = bed_on(address(), SoftConfig::default());
    assert!(bed.fabric.is_driven() && !Fabric::verbs().is_driven());
    let devices = bed.fabric.devices().expect("devices");
    assert!(devices.contains(bed.device.info()));
    let port_guid = Some(0x0002_c903_000e_0b73);
    let config = SoftConfig {
        port_guid,
        ..SoftConfig::default()
    };
    let named = soft_devices(&config).expect("devices");
    assert!(
        named
            .iter()
            .all(|device| Some(device.ports[0].port_guid) == port_guid)
    );
}

/// Asks for many connections at once, and answers nothing.
struct Flood {
    node: Node,
    socket: UdpSocket,
}

impl Flood {
    fn new() -> Self {
        let local = SocketAddr::new(address(), UDP_PORT);
        Self {
            node: Node::new(NodeConfig::default()),
            socket: UdpSocket::bind(local).expect("free"),
        }
    }

    fn ask(&mut self, target: SocketAddr, count: usize) {
        let path = Path {
            local: self.socket.local_addr().expect("bound"),
            remote: SocketAddr::new(target.ip(), UDP_PORT),
        };
        let memory: Vec<Vec<u8>> = Vec::new();
        for _ in 0..count {
            let config = roce::qp::QueuePairConfig {
                pd: Pd(1),
                access: Access::LOCAL_READ,
                send_capacity: 1,
                recv_capacity: 1,
            };
            let qp = self.node.create_queue_pair(config, None).expect("room");
            let connect = Connect {
                path,
                service_id: tcp_service_id(target.port()),
                rdma_cm_port: Some(1),
                path_mtu: PathMtu::Mtu1024,
                responder_resources: 1,
                initiator_depth: 1,
                private_data: b"",
            };
            self.node.connect(qp, &connect, 0).expect("room");
            while let Some(packet) = self.node.poll_transmit(&memory, 0) {
                let mut bytes = Vec::new();
                packet.append_to(&memory, &mut bytes).expect("memory");
                self.socket.send_to(&bytes, path.remote).expect("send");
            }
        }
    }
}

#[test]
fn strangers_harm_nobody() {
    let mut bed = bed_on(address(), SoftConfig::default());
    let (mut initiator, mut target) = bed.connected();
    let stranger = UdpSocket::bind(SocketAddr::new(address(), 0)).expect("free");
    let port = SocketAddr::new(bed.address.ip(), UDP_PORT);
    let mut sent = 0;
    for len in (1..1500).step_by(7) {
        for seed in 0..4 {
            stranger.send_to(&pattern(len, seed), port).expect("send");
            sent += 1;
        }
        bed.fabric.wait(&[], Duration::ZERO).expect("wait");
    }
    let refused = bed.fabric.counters().refused_packets;
    assert_eq!(refused, sent);
    let mut flood = Flood::new();
    for _ in 0..4 {
        flood.ask(bed.address, 100);
        bed.fabric.wait(&[], Duration::ZERO).expect("wait");
    }
    let mut requests = Vec::new();
    for _ in 0..1000 {
        if let Some(CmEvent::ConnectRequest(request)) = bed.channel.next_event().expect("event") {
            requests.push(request);
        }
    }
    assert!(
        (1..=128).contains(&requests.len()),
        "{} requests",
        requests.len()
    );
    let ping = bed.buf(b"still here");
    initiator
        .qp
        .queue_respond(None, &[], ping, None)
        .expect("queue");
    bed.run(&mut [&mut initiator, &mut target], |bed, _| {
        !bed.received.is_empty()
    });
    assert_eq!(*bed.received[0].buf, *b"still here");
}
