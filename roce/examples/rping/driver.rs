//! The smallest driver of a node: one UDP socket, one thread, everything by copies.

use std::error::Error;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use roce::cm::{CmConfig, Event};
use roce::memory::{Access, Key, Pd, Region, RegionHandle};
use roce::packet::UDP_PORT;
use roce::qp::{PathMtu, QueuePairConfig};
use roce::{
    Completion, Datagram, Node, NodeConfig, Operation, QueuePairNumber, RecvRequest, SendRequest,
    Sge,
};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery};

/// Where in the memory what is.
pub(crate) const RECV: usize = 0;
pub(crate) const SEND: usize = 64;
pub(crate) const DATA: usize = 4096;
pub(crate) const SINK: usize = 2 << 20;
const MEMORY: usize = 4 << 20;

/// The virtual address of the memory's first byte: any will do.
const BASE: u64 = 0x5000_0000;
const PD: Pd = Pd(1);

pub(crate) struct Driver {
    pub(crate) node: Node,
    pub(crate) memory: Vec<Vec<u8>>,
    pub(crate) local: SocketAddr,
    pub(crate) key: Key,
    socket: UdpSocket,
    start: Instant,
    packet: Vec<u8>,
}

/// Standard input, when it is a socket with that address. On IPv6 a kernel sends no UDP checksum, and the option that
/// lets such datagrams through (`UDP_NO_CHECK6_RX`) has no safe name in Rust: whoever starts this program can set it.
fn inherited(local: SocketAddr) -> Option<UdpSocket> {
    let socket = UdpSocket::from(std::io::stdin().as_fd().try_clone_to_owned().ok()?);
    (socket.local_addr().ok()? == local).then_some(socket)
}

impl Driver {
    pub(crate) fn bind(ip: IpAddr, max_mtu: PathMtu) -> Result<Self, Box<dyn Error>> {
        let local = SocketAddr::new(ip, UDP_PORT);
        let socket = match inherited(local) {
            Some(socket) => socket,
            None => UdpSocket::bind(local)?,
        };
        if ip.is_ipv4() {
            sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DO)?;
        }
        sockopt::set_socket_recv_buffer_size(&socket, 4 << 20)?;
        let cm = CmConfig {
            ca_guid: 0x0200_00ff_fe00_0001,
            max_mtu,
            ..CmConfig::default()
        };
        let mut node = Node::new(NodeConfig {
            secret: u64::from(std::process::id()),
            cm,
            ..NodeConfig::default()
        });
        let access = Access::LOCAL_WRITE
            .or(Access::REMOTE_READ)
            .or(Access::REMOTE_WRITE);
        let key = node.register(Region {
            pd: PD,
            handle: RegionHandle(0),
            offset: 0,
            address: BASE,
            length: MEMORY as u64,
            access,
        })?;
        Ok(Self {
            node,
            memory: vec![vec![0; MEMORY]],
            local,
            key,
            socket,
            start: Instant::now(),
            packet: Vec::with_capacity(8192),
        })
    }

    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn address(&self, at: usize) -> u64 {
        BASE + at as u64
    }

    pub(crate) fn queue_pair(&mut self) -> Result<QueuePairNumber, Box<dyn Error>> {
        let config = QueuePairConfig {
            pd: PD,
            access: Access::REMOTE_READ.or(Access::REMOTE_WRITE),
            send_capacity: 16,
            recv_capacity: 16,
        };
        self.node
            .create_queue_pair(config, None)
            .ok_or_else(|| "no queue pair left".into())
    }

    fn sge(&self, at: usize, length: u32) -> Sge {
        Sge {
            address: self.address(at),
            length,
            key: self.key,
        }
    }

    pub(crate) fn post_recv(&mut self, qp: QueuePairNumber) -> Result<(), Box<dyn Error>> {
        let sges = [self.sge(RECV, 64)];
        let request = RecvRequest {
            wr_id: 1,
            sges: &sges,
        };
        Ok(self.node.post_recv(qp, &request)?)
    }

    pub(crate) fn post_send(
        &mut self,
        qp: QueuePairNumber,
        operation: Operation,
        at: usize,
        length: u32,
    ) -> Result<(), Box<dyn Error>> {
        let sges = [self.sge(at, length)];
        let request = SendRequest {
            wr_id: 2,
            operation,
            sges: &sges,
            signaled: true,
            fence: false,
            solicited: false,
        };
        Ok(self.node.post_send(qp, &request)?)
    }

    pub(crate) fn wait_event(&mut self) -> Result<Event, Box<dyn Error>> {
        loop {
            if let Some(event) = self.node.poll_event() {
                return Ok(event);
            }
            self.turn(1_000_000)?;
        }
    }

    pub(crate) fn wait_completion(&mut self) -> Result<Completion, Box<dyn Error>> {
        loop {
            if let Some(completion) = self.node.poll_completion() {
                return Ok(completion);
            }
            self.turn(1_000_000)?;
        }
    }

    /// Goes on for a while, for the last acknowledges.
    pub(crate) fn linger(&mut self, wait_us: u64) -> Result<(), Box<dyn Error>> {
        let end = self.now_us() + wait_us;
        while self.now_us() < end {
            self.turn(10_000)?;
        }
        Ok(())
    }

    /// Sends what there is to send, then waits for a datagram or a timer, but not longer than `most_us`.
    fn turn(&mut self, most_us: u64) -> Result<(), Box<dyn Error>> {
        let now_us = self.now_us();
        self.node.handle_timeout(now_us);
        while let Some(transmit) = self.node.poll_transmit(&self.memory, now_us) {
            self.packet.clear();
            if transmit.append_to(&self.memory, &mut self.packet).is_some() {
                self.socket.send_to(&self.packet, transmit.path.remote)?;
            }
        }
        let due = self.node.poll_timeout().unwrap_or(u64::MAX);
        let wait = due.saturating_sub(now_us).clamp(100, most_us);
        self.socket
            .set_read_timeout(Some(Duration::from_micros(wait)))?;
        self.receive()
    }

    fn receive(&mut self) -> Result<(), Box<dyn Error>> {
        let mut bytes = [0; 8192];
        let (length, source) = match self.socket.recv_from(&mut bytes) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let datagram = Datagram {
            source,
            destination: self.local,
            ipv4_identification: None,
            payload: bytes.get(..length).unwrap_or(&[]),
        };
        let now_us = self.now_us();
        self.node
            .handle_datagram(&datagram, &mut self.memory, now_us);
        Ok(())
    }
}
