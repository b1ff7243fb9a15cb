//! The target: real channels and the real SCSI core, and the order of hops between them, a model disk and `roce`.

mod login;
mod nic;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use iobuf::{Arena, Pool};
use roce::cm::{CmConfig, ConnectionId, Event, tcp_service_id};
use roce::qp::Tuning;
use roce::{
    Completion, CompletionKind, Datagram, Node, NodeConfig, QueuePairNumber, RecvRequest,
    SharedReceiveQueueId, Status,
};
use target_core::Target;
use target_core::backend::{Backend, MediumId};
use target_core::command::TaskManagementFunction;
use target_core::logical_unit::{Geometry, Identity, LogicalUnit};
use target_core::lun::Lun;
use target_core::port::{Channel as _, ChannelEvent, Transmit};
use target_core::target::{LuId, Next, NexusId, TargetLimits};
use transport_srp::{Channel, LoginPolicy, RecvLayout, TargetPortId, recv_layout};

use self::nic::{Nic, PD, Returned, SendQueue};
use super::disk::Disk;
use super::journal::{Entry, Journal, Scope};
use super::network::Packet;
use super::random::Random;
use super::scenario::Scenario;

pub(crate) const PORT: u16 = 5555;
pub(crate) const TARGET_PORT: TargetPortId = TargetPortId {
    id_ext: 0x11,
    ioc_guid: 0x22,
};

/// How long a goodbye may take.
const GOODBYE_US: u64 = 1_000_000;

const MESSAGE_BYTES: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Live,
    /// Its last messages are on their way until then.
    Leaving(u64),
    /// Disconnected; the NIC gives back what it holds.
    Draining,
}

struct Connection {
    cm: ConnectionId,
    qp: QueuePairNumber,
    channel: Channel,
    sends: SendQueue,
    phase: Phase,
    port: [u8; 16],
    nexus: NexusId,
}

struct Session {
    nexus: NexusId,
    /// Never used again.
    number: u32,
    links: Vec<u32>,
}

/// The pools that all buffers come from.
pub(crate) struct Pools {
    pub(crate) data: Pool,
    pub(crate) messages: Pool,
    pub(crate) receives: Pool,
    layout: RecvLayout,
    recv_len: usize,
}

impl Pools {
    fn new(scenario: &Scenario, policy: &LoginPolicy) -> (Arc<Arena>, Self) {
        let layout = recv_layout(policy.max_it_iu_len);
        let data = 0..scenario.data_bytes;
        let receives = data.end..data.end + scenario.receives * layout.slot_len;
        let messages = receives.end..receives.end + scenario.messages * MESSAGE_BYTES;
        let arena = Arena::new(messages.end).expect("memory");
        let pools = Self {
            data: Pool::buddy(&arena, data, Scenario::MAX_TRANSFER),
            receives: Pool::slots(&arena, receives, layout.slot_len),
            messages: Pool::slots(&arena, messages, MESSAGE_BYTES),
            layout,
            recv_len: policy.max_it_iu_len as usize,
        };
        (arena, pools)
    }
}

/// The target's side of the network.
pub(crate) struct TargetSide {
    pub(crate) ip: IpAddr,
    pub(crate) node: Node,
    pub(crate) target: Target,
    pub(crate) disk: Disk,
    pub(crate) pools: Pools,
    nic: Nic,
    receives: SharedReceiveQueueId,
    policy: LoginPolicy,
    units: Vec<LuId>,
    connections: BTreeMap<u32, Connection>,
    sessions: BTreeMap<[u8; 16], Session>,
    /// Sessions so far.
    opened: u32,
    journal: Journal,
    is_closed: bool,
}

impl TargetSide {
    pub(crate) fn new(scenario: &Scenario, random: &mut Random, journal: &Journal) -> Self {
        let policy = LoginPolicy {
            request_limit: scenario.request_limit,
            immediate_data: scenario.immediate[0],
            ..LoginPolicy::new(TARGET_PORT)
        };
        let (arena, pools) = Pools::new(scenario, &policy);
        let mut node = Node::new(NodeConfig {
            secret: random.next(),
            cm: CmConfig {
                max_mtu: scenario.path_mtu,
                ca_guid: 0xff,
                ..CmConfig::default()
            },
            tuning: Tuning::default(),
        });
        node.listen(tcp_service_id(PORT));
        let nic = Nic::new(&mut node, &arena);
        let receives = node.create_shared_receive_queue(PD, scenario.receives);
        let limits = TargetLimits {
            tasks: scenario.tasks,
        };
        let mut target = Target::new(limits, pools.data.clone());
        let units = (0..).zip(&scenario.luns).map(|(number, &blocks)| {
            let unit = logical_unit(number, scenario.block_size, blocks);
            target.lu_add(Arc::new(unit), MediumId(number.into()))
        });
        let units = units.collect();
        let mut side = Self {
            ip: IpAddr::from([10, 0, 0, 1]),
            node,
            target,
            disk: Disk::new(
                scenario.disk,
                scenario.block_size,
                &scenario.luns,
                random.fork(),
                journal.clone(),
            ),
            pools,
            nic,
            receives,
            policy,
            units,
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            opened: 0,
            journal: journal.clone(),
            is_closed: false,
        };
        side.refill();
        side
    }

    pub(crate) fn handle_packet(&mut self, packet: &Packet, now_us: u64) {
        let datagram = Datagram {
            source: packet.from,
            destination: packet.at,
            ipv4_identification: Some(0),
            payload: &packet.bytes,
        };
        self.node.handle_datagram(&datagram, &mut self.nic, now_us);
    }

    pub(crate) fn poll_packet(&mut self, now_us: u64) -> Option<Packet> {
        let transmit = self.node.poll_transmit(&self.nic, now_us)?;
        let mut bytes = Vec::with_capacity(transmit.length);
        transmit.append_to(&self.nic, &mut bytes)?;
        Some(Packet {
            from: transmit.path.local,
            at: transmit.path.remote,
            bytes,
        })
    }

    /// All hops, until nothing moves.
    pub(crate) fn turn(&mut self, now_us: u64) {
        self.disk.now_us = now_us;
        self.node.handle_timeout(now_us);
        self.tend_times(now_us);
        loop {
            let mut moved = self.run_events(now_us);
            moved |= self.run_completions(now_us);
            if self.target.waits_for_buffer() {
                self.target.handle_buffers_freed();
            }
            moved |= self.settle();
            moved |= self.transmit();
            if !moved {
                break;
            }
        }
        self.tend_endings(now_us);
    }

    fn run_events(&mut self, now_us: u64) -> bool {
        let mut moved = false;
        while let Some(event) = self.node.poll_event() {
            moved = true;
            let link = match event {
                Event::ConnectRequest(request) if self.is_closed => {
                    self.refuse(&request);
                    None
                }
                Event::ConnectRequest(request) => {
                    self.handle_connect_request(&request, now_us);
                    None
                }
                Event::Disconnected { connection, .. } | Event::Unreachable { connection, .. } => {
                    self.link_of(|c| c.cm == connection)
                }
                Event::QueuePairError(qp) => self.link_of(|c| c.qp == qp),
                Event::Connected { .. } | Event::Rejected { .. } | Event::SendQueueDrained(_) => {
                    None
                }
            };
            if let Some(link) = link {
                self.end_connection(link, now_us);
            }
        }
        moved
    }

    fn link_of(&self, is_it: impl Fn(&Connection) -> bool) -> Option<u32> {
        let mut all = self.connections.iter();
        all.find_map(|(link, connection)| is_it(connection).then_some(*link))
    }

    /// Hops 1 and 2.
    fn run_completions(&mut self, now_us: u64) -> bool {
        let mut moved = false;
        while let Some(completion) = self.node.poll_completion() {
            moved = true;
            let link = self.link_of(|c| c.qp == completion.qp);
            match completion.kind {
                CompletionKind::Recv | CompletionKind::RecvWriteWithImmediate => {
                    self.handle_received(link, &completion, now_us);
                }
                CompletionKind::Send | CompletionKind::Write | CompletionKind::Read => {
                    let link = link.expect("a connection of this queue pair");
                    self.handle_sent(link, &completion, now_us);
                }
            }
        }
        self.refill();
        moved
    }

    fn handle_received(&mut self, link: Option<u32>, completion: &Completion, now_us: u64) {
        let mut buf = self.nic.take(completion.wr_id);
        buf.truncate(completion.length as usize);
        let connection = link.and_then(|link| self.connections.get_mut(&link));
        if let (Some(link), Some(connection)) = (link, connection)
            && completion.status == Status::Success
            && connection.phase == Phase::Live
        {
            connection.channel.handle_recv(buf, now_us / 1000);
            self.run_channel(link, now_us);
        }
    }

    fn handle_sent(&mut self, link: u32, completion: &Completion, now_us: u64) {
        let Some(connection) = self.connections.get_mut(&link) else {
            return;
        };
        let returned = connection.sends.complete(completion.wr_id, &mut self.nic);
        if completion.status != Status::Success {
            return self.end_connection(link, now_us);
        }
        for returned in returned {
            if let Returned::Pulled(exchange, buf) = returned {
                connection.channel.handle_pulled(exchange, buf);
            }
        }
        self.run_channel(link, now_us);
    }

    fn refill(&mut self) {
        let layout = self.pools.layout;
        while let Some(mut buf) = self.pools.receives.take(layout.slot_len) {
            assert!(buf.set_window(layout.window_start, self.pools.recv_len));
            let sge = self.nic.hold(buf);
            let request = RecvRequest {
                wr_id: sge.address,
                sges: &[sge],
            };
            let posted = self.node.post_shared_recv(self.receives, &request);
            posted.unwrap_or_else(|error| panic!("a receive is not taken: {error}"));
        }
    }

    /// Hops 2 and 3.
    fn run_channel(&mut self, link: u32, now_us: u64) {
        while let Some(connection) = self.connections.get_mut(&link)
            && let Some(event) = connection.channel.poll_event()
        {
            let nexus = connection.nexus;
            match event {
                ChannelEvent::Command(command) => {
                    self.journal.write(Entry::Arrived {
                        link,
                        exchange: command.exchange.0,
                        tag: command.tag,
                    });
                    self.target.submit(nexus, command);
                }
                ChannelEvent::TaskManagement(request) => {
                    self.journal.write(Entry::ManagementArrived {
                        link,
                        exchange: request.exchange.0,
                        lun: number(request.lun),
                        scope: scope(request.function),
                    });
                    self.target.task_management(nexus, request);
                }
                ChannelEvent::DataOut { task, buf } => self.target.data_out_ready(task, buf),
                ChannelEvent::Recycle(buf) => drop(buf),
                ChannelEvent::Close(reason) => {
                    let is_fault = matches!(reason, target_core::port::CloseReason::Protocol(_));
                    assert!(!is_fault, "an initiator broke the protocol: {reason:?}");
                    if connection.phase == Phase::Live {
                        connection.phase = Phase::Leaving(now_us + GOODBYE_US);
                        self.forget(link);
                    }
                }
            }
        }
    }

    /// Hops 3 to 6.
    fn settle(&mut self) -> bool {
        let mut moved = false;
        loop {
            let mut quiet = true;
            while let Some(completion) = self.disk.poll() {
                self.target.complete(completion);
                quiet = false;
            }
            while let Some(next) = self.target.poll_next() {
                self.carry_out(next);
                quiet = false;
            }
            moved |= !quiet;
            if quiet {
                return moved;
            }
        }
    }

    fn carry_out(&mut self, next: Next) {
        match next {
            Next::Execute(request) => self.disk.submit(request),
            Next::Cancel(task) => self.disk.cancel(task),
            Next::PullDataOut {
                channel,
                exchange,
                task,
                offset,
                buf,
            } => {
                let channel = self.channel(channel.0);
                channel.pull_data_out(exchange, task, offset, buf);
            }
            Next::Done {
                channel,
                exchange,
                outcome,
                ..
            } => {
                let (link, number) = (channel.0, exchange.0);
                self.journal.write(Entry::Finished {
                    link,
                    exchange: number,
                });
                self.channel(link).handle_outcome(exchange, outcome);
            }
            Next::Aborted { channel, exchange } => {
                let (link, number) = (channel.0, exchange.0);
                self.journal.write(Entry::Stopped {
                    link,
                    exchange: number,
                });
                self.channel(link).handle_aborted(exchange);
            }
            Next::TaskManagementDone {
                channel,
                exchange,
                response,
            } => {
                let (link, number) = (channel.0, exchange.0);
                self.journal.write(Entry::ManagementFinished {
                    link,
                    exchange: number,
                });
                self.channel(link)
                    .handle_task_management(exchange, response);
            }
        }
    }

    fn channel(&mut self, link: u32) -> &mut Channel {
        let connection = self.connections.get_mut(&link);
        let connection = connection.filter(|connection| connection.phase == Phase::Live);
        &mut connection
            .expect("the core speaks to a channel that lives")
            .channel
    }

    /// Hop 7.
    fn transmit(&mut self) -> bool {
        let mut moved = false;
        for connection in self.connections.values_mut() {
            if connection.phase == Phase::Draining {
                continue;
            }
            let (node, nic) = (&mut self.node, &mut self.nic);
            while let Some(transmit) = connection.channel.poll_transmit() {
                moved = true;
                match transmit {
                    Transmit::Respond {
                        data,
                        segments,
                        message,
                    } => connection.sends.respond(node, nic, data, segments, message),
                    Transmit::Pull {
                        exchange,
                        buf,
                        segments,
                    } => connection.sends.pull(node, nic, exchange, buf, segments),
                }
            }
        }
        moved
    }

    /// Takes a channel out of the core; what runs for it is abandoned.
    fn forget(&mut self, link: u32) {
        let Some(connection) = self.connections.get(&link) else {
            return;
        };
        let (nexus, port) = (connection.nexus, connection.port);
        self.target
            .channel_close(nexus, target_core::command::ChannelId(link));
        self.journal.write(Entry::Closed { link });
        if let Some(session) = self.sessions.get_mut(&port) {
            session.links.retain(|&other| other != link);
        }
        self.close_session_if_empty(&port);
    }

    fn end_connection(&mut self, link: u32, now_us: u64) {
        let Some(connection) = self.connections.get_mut(&link) else {
            return;
        };
        let was = std::mem::replace(&mut connection.phase, Phase::Draining);
        if was == Phase::Draining {
            return;
        }
        self.node.fail_queue_pair(connection.qp).ok();
        self.node.disconnect(connection.cm, now_us).ok();
        if was == Phase::Live {
            self.forget(link);
        }
    }

    fn tend_endings(&mut self, now_us: u64) {
        let links: Vec<_> = self.connections.keys().copied().collect();
        for link in links {
            let connection = &self.connections[&link];
            let is_empty = connection.sends.is_empty();
            match connection.phase {
                Phase::Leaving(until)
                    if now_us >= until || is_empty && !connection.channel.has_transmit() =>
                {
                    self.end_connection(link, now_us);
                }
                Phase::Draining if is_empty => {
                    self.node.destroy_queue_pair(connection.qp);
                    self.connections.remove(&link);
                }
                _ => {}
            }
        }
    }

    fn tend_times(&mut self, now_us: u64) {
        let links: Vec<_> = self.connections.keys().copied().collect();
        for link in links {
            let channel = self.connections.get_mut(&link).map(|c| &mut c.channel);
            if let Some(channel) = channel
                && channel.poll_timeout().is_some_and(|at| at <= now_us / 1000)
            {
                channel.handle_timeout(now_us / 1000);
                self.run_channel(link, now_us);
            }
        }
    }

    pub(crate) fn next_time(&self) -> Option<u64> {
        let connections = self.connections.values().flat_map(|connection| {
            let channel = connection.channel.poll_timeout().map(|ms| ms * 1000);
            let leaving = match connection.phase {
                Phase::Leaving(until) => Some(until),
                _ => None,
            };
            let channel = channel.filter(|_| connection.phase == Phase::Live);
            channel.into_iter().chain(leaving)
        });
        let node = self.node.poll_timeout();
        let disk = self.disk.next_completion();
        connections.chain(node).chain(disk).min()
    }

    /// The operator ends one channel, whichever `nth` chooses.
    pub(crate) fn kick(&mut self, nth: u64, now_us: u64) {
        let place = nth.checked_rem(self.connections.len() as u64).unwrap_or(0);
        let Some(&link) = self.connections.keys().nth(place as usize) else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.channel.handle_shutdown();
        }
        self.run_channel(link, now_us);
    }

    /// Refuses logins from now on.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    pub(crate) fn live_links(&self) -> usize {
        self.connections.len()
    }

    /// Receive buffers that wait for messages.
    pub(crate) fn posted_receives(&self) -> usize {
        self.node.shared_receives(self.receives)
    }

    /// Heap bytes and exchanges of each channel.
    pub(crate) fn channel_sizes(&self) -> impl Iterator<Item = (usize, u32)> {
        let channels = self.connections.values().map(|c| &c.channel);
        channels.map(|channel| (channel.heap_bytes(), channel.exchanges_in_use()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.sessions.is_empty()
    }
}

fn number(lun: Lun) -> u8 {
    lun.flat()
        .and_then(|flat| flat.try_into().ok())
        .unwrap_or(u8::MAX)
}

fn scope(function: TaskManagementFunction) -> Scope {
    match function {
        TaskManagementFunction::AbortTask { tag } => Scope::Task(tag),
        TaskManagementFunction::AbortTaskSet => Scope::Nexus,
        TaskManagementFunction::ClearTaskSet | TaskManagementFunction::LogicalUnitReset => {
            Scope::Everybody
        }
        TaskManagementFunction::ClearAca | TaskManagementFunction::Unknown(_) => Scope::Nothing,
    }
}

fn logical_unit(number: u8, block_size: u32, blocks: u64) -> LogicalUnit {
    let identity = Identity {
        name: format!("model{number}"),
        serial: format!("{number:04}"),
        naa: [0x60 + number; 16],
        vendor: *b"MODEL   ",
        product: *b"DISK            ",
        revision: *b"0001",
    };
    let geometry = Geometry {
        block_size,
        physical_block_exponent: 0,
        max_transfer_bytes: Scenario::MAX_TRANSFER as u32,
        unmap_granularity_bytes: 0,
        rotational: false,
        thin: false,
    };
    LogicalUnit::new(identity, geometry, blocks)
}
