//! What the state machine alone costs: two nodes in one thread, a network that is a function call, no sockets.
//!
//! `cargo run --release -p roce --example turnaround`

use std::net::SocketAddr;
use std::time::Instant;

use roce::memory::{Access, Key, Pd, Region, RegionHandle};
use roce::packet::UDP_PORT;
use roce::qp::{Path, PathMtu, QueuePairConfig, RtrAttributes, RtsAttributes};
use roce::{Datagram, Node, NodeConfig, Operation, QueuePairNumber, Remote, SendRequest, Sge};

const PD: Pd = Pd(1);
const BASE: u64 = 0x10_0000;
const MEMORY: usize = 8 << 20;
const MIB: u32 = 1 << 20;

struct Side {
    node: Node,
    memory: Vec<Vec<u8>>,
    key: Key,
    qp: QueuePairNumber,
    address: SocketAddr,
}

impl Side {
    fn new(host: u8) -> Self {
        let mut node = Node::new(NodeConfig::default());
        let access = Access::REMOTE_READ.or(Access::REMOTE_WRITE);
        let region = Region {
            pd: PD,
            handle: RegionHandle(0),
            offset: 0,
            address: BASE,
            length: MEMORY as u64,
            access: access.or(Access::LOCAL_WRITE),
        };
        let key = node.register(region).expect("room");
        let config = QueuePairConfig {
            pd: PD,
            access,
            send_capacity: 64,
            recv_capacity: 64,
        };
        let qp = node.create_queue_pair(config, None).expect("room");
        Self {
            node,
            memory: vec![vec![0; MEMORY]],
            key,
            qp,
            address: SocketAddr::new([10, 0, 0, host].into(), UDP_PORT),
        }
    }

    fn join(&mut self, peer: SocketAddr, peer_qp: QueuePairNumber) {
        let rtr = RtrAttributes {
            path: Path {
                local: self.address,
                remote: peer,
            },
            path_mtu: PathMtu::Mtu4096,
            remote_qp: peer_qp.0,
            responder_resources: 16,
            ..RtrAttributes::default()
        };
        self.node.make_ready_to_receive(self.qp, rtr).expect("RTR");
        let rts = RtsAttributes {
            timeout: 14,
            retry_count: 7,
            rnr_retry: 7,
            initiator_depth: 16,
            ..RtsAttributes::default()
        };
        self.node.make_ready_to_send(self.qp, rts).expect("RTS");
    }
}

/// Carries everything that `from` has to say. Returns the number of packets.
fn carry(from: &mut Side, to: &mut Side, bytes: &mut Vec<u8>, now_us: u64) -> u64 {
    let mut packets = 0;
    while let Some(transmit) = from.node.poll_transmit(&from.memory, now_us) {
        bytes.clear();
        transmit.append_to(&from.memory, bytes).expect("memory");
        let datagram = Datagram {
            source: transmit.path.local,
            destination: transmit.path.remote,
            ipv4_identification: None,
            payload: bytes,
        };
        to.node.handle_datagram(&datagram, &mut to.memory, now_us);
        packets += 1;
    }
    packets
}

fn measure(name: &str, operation: fn(Remote) -> Operation, length: u32, count: u32) {
    let (mut near, mut far) = (Side::new(1), Side::new(2));
    let (near_qp, far_qp) = (near.qp, far.qp);
    near.join(far.address, far_qp);
    far.join(near.address, near_qp);
    let sges = [Sge {
        address: BASE,
        length,
        key: near.key,
    }];
    let remote = Remote {
        address: BASE,
        key: far.key,
    };
    let request = SendRequest {
        wr_id: 0,
        operation: operation(remote),
        sges: &sges,
        signaled: true,
        fence: false,
        solicited: false,
    };
    let (mut posted, mut done, mut packets) = (0, 0, 0);
    let mut bytes = Vec::with_capacity(8192);
    let start = Instant::now();
    while done < count {
        while posted < count && posted - done < 32 {
            near.node.post_send(near_qp, &request).expect("room");
            posted += 1;
        }
        let now_us = u64::from(done);
        packets += carry(&mut near, &mut far, &mut bytes, now_us);
        packets += carry(&mut far, &mut near, &mut bytes, now_us);
        while near.node.poll_completion().is_some() {
            done += 1;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let rate = f64::from(count) / seconds;
    let bandwidth = rate * f64::from(length) / 1e6;
    let cost = seconds * 1e9 / packets as f64;
    println!("{name:24} {rate:10.0} op/s {bandwidth:8.0} MB/s {cost:7.0} ns/packet, both sides");
}

fn main() {
    measure("RDMA WRITE 64 B", Operation::Write, 64, 300_000);
    measure("RDMA READ 64 B", Operation::Read, 64, 300_000);
    measure("RDMA WRITE 4 KiB", Operation::Write, 4096, 200_000);
    measure("RDMA READ 4 KiB", Operation::Read, 4096, 200_000);
    measure("RDMA WRITE 1 MiB", Operation::Write, MIB, 2000);
    measure("RDMA READ 1 MiB", Operation::Read, MIB, 2000);
}
