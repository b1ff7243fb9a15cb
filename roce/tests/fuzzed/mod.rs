//! What the fuzz targets run, and what must hold whatever the bytes are.

use std::net::SocketAddr;

use roce::cm::{Accept, CmConfig, Event, Mad, RdmaCmHeader, RejectReason, tcp_service_id};
use roce::memory::{Access, Pd, Region, RegionHandle};
use roce::packet::icrc::{self, Ends};
use roce::packet::{
    Bth, Deth, Extension, Family, GSI_Q_KEY, HeaderBytes, Opcode, Packet, UDP_PORT,
};
use roce::qp::{Path, QueuePairConfig, RtrAttributes, RtsAttributes};
use roce::{
    Datagram, Node, NodeConfig, Operation, Psn, QueuePairNumber, RecvRequest, SendRequest, Sge,
};

const PD: Pd = Pd(1);
const BASE: u64 = 0x1000;
const REGION: usize = 4096;
const GUARD: usize = 64;
const PORT: u16 = 7;
const MAX_HALF_OPEN: usize = 4;

fn path() -> Path {
    Path {
        local: SocketAddr::new([10, 0, 0, 1].into(), UDP_PORT),
        remote: SocketAddr::new([10, 0, 0, 2].into(), UDP_PORT),
    }
}

/// A node with one connected queue pair, a region in the middle of its memory, and work on both queues.
struct Bench {
    node: Node,
    memory: Vec<Vec<u8>>,
    qp: QueuePairNumber,
    now_us: u64,
}

impl Bench {
    fn new() -> Self {
        let cm = CmConfig {
            max_half_open: MAX_HALF_OPEN,
            ..CmConfig::default()
        };
        let mut node = Node::new(NodeConfig {
            secret: 1,
            cm,
            ..NodeConfig::default()
        });
        node.listen(tcp_service_id(PORT));
        let access = Access::REMOTE_READ.or(Access::REMOTE_WRITE);
        let config = QueuePairConfig {
            pd: PD,
            access,
            send_capacity: 8,
            recv_capacity: 8,
        };
        let qp = node.create_queue_pair(config, None).expect("room");
        let mut bench = Self {
            node,
            memory: vec![vec![0x5a; REGION + 2 * GUARD]],
            qp,
            now_us: 0,
        };
        bench.make_busy(access.or(Access::LOCAL_WRITE));
        bench
    }

    fn make_busy(&mut self, access: Access) {
        let region = Region {
            pd: PD,
            handle: RegionHandle(0),
            offset: GUARD as u64,
            address: BASE,
            length: REGION as u64,
            access,
        };
        let key = self.node.register(region).expect("room");
        let rtr = RtrAttributes {
            path: path(),
            remote_qp: 9,
            responder_resources: 2,
            ..RtrAttributes::default()
        };
        self.node.make_ready_to_receive(self.qp, rtr).expect("RTR");
        let rts = RtsAttributes {
            timeout: 14,
            retry_count: 7,
            rnr_retry: 7,
            initiator_depth: 2,
            ..RtsAttributes::default()
        };
        self.node.make_ready_to_send(self.qp, rts).expect("RTS");
        let sges = [Sge {
            address: BASE,
            length: 600,
            key,
        }];
        let remote = roce::Remote { address: BASE, key };
        for wr_id in 0..4 {
            let recv = RecvRequest { wr_id, sges: &sges };
            self.node.post_recv(self.qp, &recv).expect("room");
            let operation = match wr_id {
                0 => Operation::Send,
                1 => Operation::Read(remote),
                _ => Operation::Write(remote),
            };
            let send = SendRequest {
                wr_id,
                operation,
                sges: &sges,
                signaled: true,
                fence: false,
                solicited: false,
            };
            self.node.post_send(self.qp, &send).expect("room");
        }
        self.drain();
    }

    /// Hands in what stands before an ICRC, with the right one behind it.
    fn receive(&mut self, body: &[u8]) {
        let ends = Ends {
            source: path().remote,
            destination: path().local,
        };
        let mut bytes = body.to_vec();
        let crc = icrc::compute(&ends, body, std::iter::empty(), 0, body.len() + 4);
        bytes.extend(crc.to_le_bytes());
        let datagram = Datagram {
            source: ends.source,
            destination: ends.destination,
            ipv4_identification: None,
            payload: &bytes,
        };
        self.now_us += 1000;
        self.node
            .handle_datagram(&datagram, &mut self.memory, self.now_us);
        self.node.handle_timeout(self.now_us);
        self.drain();
    }

    /// Everything that comes out is well formed, and there is an end to it.
    fn drain(&mut self) {
        let mut sent = 0;
        while let Some(transmit) = self.node.poll_transmit(&self.memory, self.now_us) {
            let mut bytes = Vec::new();
            transmit
                .append_to(&self.memory, &mut bytes)
                .expect("memory");
            Packet::parse(&bytes).expect("own packets are well formed");
            sent += 1;
            assert!(sent < 10_000, "a peer must not make a node talk for ever");
        }
        while self.node.poll_completion().is_some() {}
    }

    fn check(&self) {
        assert_eq!(self.node.statistics().bad_icrc, 0);
        let memory = &self.memory[0];
        assert_eq!(memory[..GUARD], [0x5a; GUARD]);
        assert_eq!(memory[GUARD + REGION..], [0x5a; GUARD]);
    }
}

/// Any bytes as a datagram, then as a series of packets to a busy queue pair, with the right ICRC.
pub fn packet(bytes: &[u8]) {
    if let Ok(packet) = Packet::parse(bytes) {
        let header = HeaderBytes::emit(packet.bth, &packet.extension);
        let atomic = matches!(
            packet.shape.family,
            Family::Atomic | Family::AtomicAcknowledge
        );
        assert!(atomic || bytes.len() >= header.as_slice().len() + packet.payload.len() + 4);
    }
    let mut bench = Bench::new();
    let mut rest = bytes;
    while let Some((&[length, near], after)) = rest.split_first_chunk::<2>() {
        let (body, after) = after.split_at(after.len().min(usize::from(length)));
        rest = after;
        let mut body = body.to_vec();
        if let (Some(place), true) = (body.get_mut(5..8), near & 1 != 0) {
            place.copy_from_slice(&bench.qp.0.to_be_bytes()[1..]);
        }
        if let (Some(place), true) = (body.get_mut(9..11), near & 2 != 0) {
            place.fill(0);
        }
        if let (Some(place), true) = (body.get_mut(1..4), near & 4 != 0) {
            place.copy_from_slice(&[0, 0xff, 0xff]);
        }
        bench.receive(&body);
    }
    bench.check();
}

/// Any bytes as a MAD, then as a series of MADs to a listening node whose consumer accepts or refuses by turns.
pub fn cm(bytes: &[u8]) {
    if let Ok(mad) = Mad::parse(bytes) {
        assert_eq!(Mad::parse(&mad.emit()), Ok(mad));
    }
    RdmaCmHeader::parse(bytes);
    let mut bench = Bench::new();
    let mut pending = Vec::new();
    for chunk in bytes.chunks(40) {
        let mut mad = [0; 256];
        mad[..18].copy_from_slice(&[1, 7, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
        mad[17] += chunk.first().copied().unwrap_or(0) % 12;
        mad[24 + 8..24 + 16].copy_from_slice(&tcp_service_id(PORT).to_be_bytes());
        mad[24 + 50] = 0x10;
        for (slot, byte) in mad[24..].iter_mut().zip(chunk.iter().skip(2)) {
            *slot ^= byte;
        }
        let header = mad_header();
        bench.receive(&[header.as_slice(), &mad].concat());
        decide(&mut bench, &mut pending, chunk.get(1).copied().unwrap_or(0));
        assert!(pending.len() <= MAX_HALF_OPEN);
    }
    bench.check();
}

fn mad_header() -> HeaderBytes {
    let extension = Extension {
        deth: Some(Deth {
            q_key: GSI_Q_KEY,
            source: 1,
        }),
        ..Extension::default()
    };
    HeaderBytes::emit(Bth::new(Opcode::UD_SEND_ONLY, 1, Psn::new(0)), &extension)
}

fn decide(bench: &mut Bench, pending: &mut Vec<roce::cm::ConnectionId>, choice: u8) {
    while let Some(event) = bench.node.poll_event() {
        match event {
            Event::ConnectRequest(request) => pending.push(request.connection),
            Event::Rejected { connection, .. } | Event::Unreachable { connection, .. } => {
                pending.retain(|waiting| *waiting != connection);
            }
            _ => {}
        }
    }
    let Some(connection) = pending.pop() else {
        return;
    };
    match choice % 3 {
        0 => pending.push(connection),
        1 => {
            let refused = bench.node.reject(connection, RejectReason::NO_QP, b"no");
            refused.expect("a request that waits can be refused");
        }
        _ => {
            let config = QueuePairConfig {
                pd: PD,
                access: Access::default(),
                send_capacity: 1,
                recv_capacity: 1,
            };
            let qp = bench.node.create_queue_pair(config, None).expect("room");
            let accept = Accept {
                responder_resources: 1,
                initiator_depth: 1,
                private_data: b"yes",
            };
            let accepted = bench.node.accept(connection, qp, &accept, bench.now_us);
            accepted.expect("a request that waits can be accepted");
        }
    }
    bench.drain();
}
