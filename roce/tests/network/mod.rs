//! Two nodes and a bad network in one thread, under virtual time and a seed.

#![allow(dead_code, reason = "every test file uses another part")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};

use roce::cm::{Accept, CmConfig, Connect, ConnectRequest, ConnectionId, Event, tcp_service_id};
use roce::memory::{Access, Key, Pd, Region, RegionHandle};
use roce::packet::UDP_PORT;
use roce::qp::{Path, PathMtu, QueuePairConfig, Tuning};
use roce::{Completion, Datagram, Node, NodeConfig, QueuePairNumber, RecvRequest, Sge};

pub(crate) const PD: Pd = Pd(3);
pub(crate) const BASE: u64 = 0x7000_0000;
pub(crate) const MEMORY: usize = 1 << 20;
pub(crate) const PORT: u16 = 5555;

/// Splitmix64: small, seeded, good enough for a network.
#[derive(Clone)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next() as u8;
        }
    }
}

/// How bad the network is, in thousandths and microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) corruption: u64,
    pub(crate) jitter_us: u64,
}

pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) memory: Vec<Vec<u8>>,
    pub(crate) ip: IpAddr,
    pub(crate) key: Key,
    pub(crate) completions: Vec<Completion>,
    pub(crate) events: Vec<Event>,
    pub(crate) alive: bool,
}

impl Host {
    pub(crate) fn new(ip: &str, secret: u64, tuning: Tuning, cm: CmConfig) -> Self {
        let cm = CmConfig {
            max_mtu: PathMtu::Mtu4096,
            ..cm
        };
        let mut node = Node::new(NodeConfig { secret, cm, tuning });
        let access = Access::LOCAL_WRITE
            .or(Access::REMOTE_READ)
            .or(Access::REMOTE_WRITE);
        let key = node
            .register(Region {
                pd: PD,
                handle: RegionHandle(0),
                offset: 0,
                address: BASE,
                length: MEMORY as u64,
                access,
            })
            .expect("room for a key");
        Self {
            node,
            memory: vec![vec![0; MEMORY]],
            ip: ip.parse().expect("address"),
            key,
            completions: Vec::new(),
            events: Vec::new(),
            alive: true,
        }
    }

    pub(crate) fn sge(&self, offset: usize, length: usize) -> Sge {
        Sge {
            address: BASE + offset as u64,
            length: length as u32,
            key: self.key,
        }
    }

    pub(crate) fn post_recv(
        &mut self,
        qp: QueuePairNumber,
        wr_id: u64,
        offset: usize,
        length: usize,
    ) {
        let sges = [self.sge(offset, length)];
        self.node
            .post_recv(qp, &RecvRequest { wr_id, sges: &sges })
            .expect("posted");
    }

    pub(crate) fn queue_pair(&mut self) -> QueuePairNumber {
        let config = QueuePairConfig {
            pd: PD,
            access: Access::REMOTE_READ.or(Access::REMOTE_WRITE),
            send_capacity: 256,
            recv_capacity: 256,
        };
        self.node.create_queue_pair(config, None).expect("room")
    }
}

struct Flying {
    to: usize,
    from: SocketAddr,
    at: SocketAddr,
    bytes: Vec<u8>,
}

pub(crate) struct Network {
    pub(crate) hosts: Vec<Host>,
    pub(crate) now_us: u64,
    pub(crate) random: Random,
    pub(crate) weather: Weather,
    /// Packets for which this says so are lost.
    pub(crate) lose: Option<fn(&[u8]) -> bool>,
    flying: BinaryHeap<Reverse<(u64, u64)>>,
    packets: std::collections::HashMap<u64, Flying>,
    sequence: u64,
}

impl Network {
    pub(crate) fn new(seed: u64, weather: Weather, tuning: Tuning) -> Self {
        Self::with_config(seed, weather, tuning, CmConfig::default())
    }

    pub(crate) fn with_config(seed: u64, weather: Weather, tuning: Tuning, cm: CmConfig) -> Self {
        let host = |ip: &str, number: u64| {
            let cm = CmConfig {
                ca_guid: number,
                ..cm
            };
            Host::new(ip, seed * 2 + number, tuning, cm)
        };
        let hosts = vec![host("10.0.0.1", 1), host("10.0.0.2", 2)];
        Self {
            hosts,
            now_us: 1000,
            random: Random(seed),
            weather,
            lose: None,
            flying: BinaryHeap::new(),
            packets: std::collections::HashMap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn path(&self, from: usize, to: usize) -> Path {
        Path {
            local: SocketAddr::new(self.hosts[from].ip, UDP_PORT),
            remote: SocketAddr::new(self.hosts[to].ip, UDP_PORT),
        }
    }

    /// Puts a datagram on the wire, through the weather.
    pub(crate) fn inject(&mut self, from: SocketAddr, at: SocketAddr, mut bytes: Vec<u8>) {
        let Some(to) = self.hosts.iter().position(|host| host.ip == at.ip()) else {
            return;
        };
        let lost = self.lose.is_some_and(|lose| lose(&bytes));
        if lost || self.random.chance(self.weather.loss) {
            return;
        }
        if self.random.chance(self.weather.corruption) {
            let bit = self.random.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let copies = 1 + u64::from(self.random.chance(self.weather.duplication));
        for _ in 0..copies {
            let jitter = match self.weather.jitter_us {
                0 => 0,
                most => self.random.below(most),
            };
            self.sequence += 1;
            self.flying
                .push(Reverse((self.now_us + 10 + jitter, self.sequence)));
            let bytes = bytes.clone();
            self.packets.insert(
                self.sequence,
                Flying {
                    to,
                    from,
                    at,
                    bytes,
                },
            );
        }
    }

    fn collect(&mut self) {
        for index in 0..self.hosts.len() {
            loop {
                let host = &mut self.hosts[index];
                if !host.alive {
                    break;
                }
                let Some(transmit) = host.node.poll_transmit(&host.memory, self.now_us) else {
                    break;
                };
                let mut bytes = Vec::new();
                transmit
                    .append_to(&host.memory, &mut bytes)
                    .expect("memory");
                assert_eq!(bytes.len(), transmit.length);
                let Path { local, remote } = transmit.path;
                self.inject(local, remote, bytes);
            }
            let host = &mut self.hosts[index];
            while let Some(completion) = host.node.poll_completion() {
                host.completions.push(completion);
            }
            while let Some(event) = host.node.poll_event() {
                host.events.push(event);
            }
        }
    }

    /// One moment of virtual time. False when nothing will ever happen again.
    pub(crate) fn step(&mut self) -> bool {
        self.collect();
        let timers = self.hosts.iter().filter(|host| host.alive);
        let timer = timers.filter_map(|host| host.node.poll_timeout()).min();
        let arrival = self.flying.peek().map(|Reverse((when, _))| *when);
        let Some(next) = timer.into_iter().chain(arrival).min() else {
            return false;
        };
        self.now_us = self.now_us.max(next);
        while let Some(&Reverse((when, sequence))) = self.flying.peek() {
            if when > self.now_us {
                break;
            }
            self.flying.pop();
            let packet = self.packets.remove(&sequence).expect("in flight");
            self.deliver(&packet);
        }
        for host in self.hosts.iter_mut().filter(|host| host.alive) {
            host.node.handle_timeout(self.now_us);
        }
        self.collect();
        true
    }

    fn deliver(&mut self, packet: &Flying) {
        let host = &mut self.hosts[packet.to];
        if !host.alive {
            return;
        }
        let datagram = Datagram {
            source: packet.from,
            destination: packet.at,
            ipv4_identification: Some(0),
            payload: &packet.bytes,
        };
        host.node
            .handle_datagram(&datagram, &mut host.memory, self.now_us);
    }

    /// Steps until `done`, which must come about within `limit_us`.
    pub(crate) fn run_until(&mut self, limit_us: u64, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now_us + limit_us;
        while !done(self) {
            assert!(self.step(), "nothing moves any more");
            assert!(self.now_us < end, "not done after {limit_us} us");
        }
    }

    /// Steps until nothing moves, or the time is over.
    pub(crate) fn settle(&mut self, limit_us: u64) {
        let end = self.now_us + limit_us;
        while self.now_us < end && self.step() {}
    }

    /// Connects a queue pair of host 0 to one of host 1.
    pub(crate) fn connect(&mut self, mtu: PathMtu, depth: u8) -> Pair {
        self.hosts[1].node.listen(tcp_service_id(PORT));
        let near = self.hosts[0].queue_pair();
        let path = self.path(0, 1);
        let connect = Connect {
            path,
            service_id: tcp_service_id(PORT),
            rdma_cm_port: Some(1234),
            path_mtu: mtu,
            responder_resources: depth,
            initiator_depth: depth,
            private_data: b"hello",
        };
        let now = self.now_us;
        let near_id = self.hosts[0]
            .node
            .connect(near, &connect, now)
            .expect("connect");
        let mut accepted = None;
        self.run_until(100_000_000, |network| {
            accepted = accepted.or_else(|| network.accept_one(depth));
            network.connected(0, near_id)
        });
        let (far, far_id) = accepted.expect("accepted");
        Pair {
            near,
            near_id,
            far,
            far_id,
        }
    }

    fn accept_one(&mut self, depth: u8) -> Option<(QueuePairNumber, ConnectionId)> {
        let now = self.now_us;
        let request = self.request(1)?;
        let host = &mut self.hosts[1];
        let far = host.queue_pair();
        let accept = Accept {
            responder_resources: depth,
            initiator_depth: depth,
            private_data: b"welcome",
        };
        host.node
            .accept(request.connection, far, &accept, now)
            .expect("accept");
        Some((far, request.connection))
    }

    pub(crate) fn connected(&self, host: usize, id: ConnectionId) -> bool {
        self.hosts[host]
            .events
            .iter()
            .any(|event| matches!(event, Event::Connected { connection, .. } if *connection == id))
    }

    pub(crate) fn request(&self, host: usize) -> Option<ConnectRequest> {
        self.hosts[host]
            .events
            .iter()
            .find_map(|event| match event {
                Event::ConnectRequest(request) => Some(*request),
                _ => None,
            })
    }

    pub(crate) fn disconnected(&self, host: usize, id: ConnectionId) -> bool {
        self.hosts[host].events.iter().any(
            |event| matches!(event, Event::Disconnected { connection, .. } if *connection == id),
        )
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) near: QueuePairNumber,
    pub(crate) near_id: ConnectionId,
    pub(crate) far: QueuePairNumber,
    pub(crate) far_id: ConnectionId,
}
