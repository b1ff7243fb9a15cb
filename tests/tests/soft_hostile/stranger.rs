//! Somebody on the wire who makes every packet himself: a socket, a node for what has to be right, and forgery.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use roce::cm::{Connect, ConnectionId, Event, tcp_service_id};
use roce::packet::icrc::{self, Ends};
use roce::packet::{Bth, Extension, HeaderBytes, ICRC_LEN, UDP_PORT, pad_count};
use roce::qp::{Path, PathMtu, QueuePairConfig};
use roce::{
    Access, Completion, Datagram, Key, Node, NodeConfig, Operation, Pd, QueuePairNumber, Region,
    RegionHandle, SendRequest, Sge,
};
use tests::bed::loopback_address;
use tests::srptgt::PORT;

const PATIENCE: Duration = Duration::from_secs(30);
/// Of his one region.
const ADDRESS: u64 = 0x7000_0000;
const REGION_BYTES: usize = 64 << 10;
/// What his memory holds.
const FILLING: u8 = 0x5a;
const PD: Pd = Pd(1);

pub(crate) struct Stranger {
    pub(crate) ends: Ends,
    socket: UdpSocket,
    node: Node,
    memory: Vec<Vec<u8>>,
    key: Key,
    start: Instant,
    /// What the target has sent.
    pub(crate) heard: Vec<Vec<u8>>,
}

/// A connection that the target has granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    pub(crate) qp: QueuePairNumber,
    connection: ConnectionId,
}

impl Stranger {
    /// With an address of his own, and the port that every queue pair answers to.
    pub(crate) fn new(target: IpAddr) -> Self {
        Self::at(SocketAddr::new(loopback_address(), UDP_PORT), target)
    }

    /// With somebody else's address, and any port that is free there.
    pub(crate) fn posing_as(victim: IpAddr, target: IpAddr) -> Self {
        Self::at(SocketAddr::new(victim, 0), target)
    }

    fn at(source: SocketAddr, target: IpAddr) -> Self {
        let socket = UdpSocket::bind(source).expect("a free address");
        let option = rustix::net::sockopt::Ipv4PathMtuDiscovery::DO;
        rustix::net::sockopt::set_ip_mtu_discover(&socket, option).expect("an option");
        socket
            .set_read_timeout(Some(Duration::from_millis(1)))
            .expect("a timeout");
        let mut node = Node::new(NodeConfig {
            secret: u64::from(std::process::id()),
            ..NodeConfig::default()
        });
        let region = Region {
            pd: PD,
            handle: RegionHandle(0),
            offset: 0,
            address: ADDRESS,
            length: REGION_BYTES as u64,
            access: Access::LOCAL_WRITE,
        };
        Self {
            ends: Ends {
                source: socket.local_addr().expect("bound"),
                destination: SocketAddr::new(target, UDP_PORT),
            },
            socket,
            key: node.register(region).expect("a key"),
            node,
            memory: vec![vec![FILLING; REGION_BYTES]],
            start: Instant::now(),
            heard: Vec::new(),
        }
    }

    /// A packet with the right ICRC.
    pub(crate) fn packet(&self, bth: Bth, extension: &Extension, payload: &[u8]) -> Vec<u8> {
        let pad = pad_count(payload.len());
        let bth = Bth {
            pad_count: pad,
            ..bth
        };
        let headers = HeaderBytes::emit(bth, extension);
        let mut bytes = [headers.as_slice(), payload].concat();
        bytes.resize(bytes.len() + usize::from(pad), 0);
        self.sealed(bytes)
    }

    /// These bytes with an ICRC that is right for them.
    pub(crate) fn sealed(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let len = bytes.len() + ICRC_LEN;
        let crc = icrc::compute(&self.ends, &bytes, std::iter::empty(), 0, len);
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    /// Sends a datagram as it is. The target's kernel may have no room; a flood is not slowed down by that.
    pub(crate) fn send(&self, bytes: &[u8]) {
        let sent = self.socket.send_to(bytes, self.ends.destination);
        sent.expect("a datagram of a size that the interface carries");
    }

    /// Asks for a connection, and does not wait for the answer.
    pub(crate) fn ask(&mut self, private_data: &[u8]) -> Granted {
        let config = QueuePairConfig {
            pd: PD,
            access: Access::REMOTE_READ,
            send_capacity: 16,
            recv_capacity: 16,
        };
        let qp = self.node.create_queue_pair(config, None).expect("room");
        let connect = Connect {
            path: Path {
                local: self.ends.source,
                remote: self.ends.destination,
            },
            service_id: tcp_service_id(PORT),
            rdma_cm_port: Some(40_000),
            path_mtu: PathMtu::Mtu1024,
            responder_resources: 4,
            initiator_depth: 4,
            private_data,
        };
        let now_us = self.now_us();
        let connection = self.node.connect(qp, &connect, now_us).expect("room");
        self.transmit();
        Granted { qp, connection }
    }

    /// The next event of his own connections.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        self.wait_for(|node| node.poll_event())
    }

    /// The next completion of his own requests.
    #[track_caller]
    pub(crate) fn completion(&mut self) -> Completion {
        self.wait_for(Node::poll_completion)
    }

    /// Whether no READ has brought him anything.
    pub(crate) fn has_learnt_nothing(&self) -> bool {
        self.memory.iter().flatten().all(|byte| *byte == FILLING)
    }

    /// Posts a request of this many bytes.
    pub(crate) fn post(&mut self, qp: QueuePairNumber, operation: Operation, length: u32) {
        let sges = [Sge {
            address: ADDRESS,
            length,
            key: self.key,
        }];
        let request = SendRequest {
            wr_id: 1,
            operation,
            sges: &sges,
            signaled: true,
            fence: false,
            solicited: false,
        };
        self.node.post_send(qp, &request).expect("room");
        self.transmit();
    }

    /// Ends a connection, and waits until the target has agreed.
    pub(crate) fn disconnect(&mut self, granted: Granted) {
        let now_us = self.now_us();
        // The target may have ended it first.
        let _ = self.node.disconnect(granted.connection, now_us);
        self.transmit();
        self.listen(Duration::from_millis(20));
    }

    /// Takes in what comes for a while, but answers nothing.
    pub(crate) fn listen(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.receive();
        }
    }

    #[track_caller]
    fn wait_for<T>(&mut self, mut poll: impl FnMut(&mut Node) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = poll(&mut self.node) {
                return found;
            }
            assert!(Instant::now() < end, "the target does not answer");
            self.transmit();
            if let Some(bytes) = self.receive() {
                self.take_in(&bytes);
            }
            let now_us = self.now_us();
            self.node.handle_timeout(now_us);
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).expect("less than 500,000 years")
    }

    fn transmit(&mut self) {
        let now_us = self.now_us();
        let mut bytes = Vec::new();
        while let Some(packet) = self.node.poll_transmit(&self.memory, now_us) {
            bytes.clear();
            packet.append_to(&self.memory, &mut bytes).expect("memory");
            self.socket
                .send_to(&bytes, self.ends.destination)
                .expect("send");
        }
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 8192];
        match self.socket.recv(&mut bytes) {
            Ok(len) => {
                bytes.truncate(len);
                self.heard.push(bytes.clone());
                Some(bytes)
            }
            Err(error) => {
                let kind = error.kind();
                assert!(
                    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "{error}"
                );
                None
            }
        }
    }

    fn take_in(&mut self, payload: &[u8]) {
        let datagram = Datagram {
            source: self.ends.destination,
            destination: self.ends.source,
            ipv4_identification: None,
            payload,
        };
        let now_us = self.now_us();
        self.node
            .handle_datagram(&datagram, &mut self.memory, now_us);
    }
}
