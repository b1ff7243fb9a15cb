//! The target: real channels and the real SCSI core, a model disk, and one turn of what lies between them.

mod carrier;
mod endings;
mod hops;
mod iscsi;
mod login;
mod nic;
mod room;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use roce::cm::{CmConfig, Event, tcp_service_id};
use roce::qp::Tuning;
use roce::{Datagram, Node, NodeConfig, SharedReceiveQueueId};
use target_core::Target;
use target_core::backend::MediumId;
use target_core::target::{LuId, NexusId, TargetLimits};
use transport_iser::connection::Settings;
use transport_iser::login::Datamover;
use transport_srp::{LoginPolicy, TargetPortId};

use self::carrier::{Carrier, Machine};
use self::iscsi::settings;
use self::nic::{Nic, PD};
use self::room::{Pools, logical_unit};
use super::disk::Disk;
use super::journal::Journal;
use super::network::Packet;
use super::random::Random;
use super::scenario::Scenario;
use super::stream::Streams;

pub(crate) const PORT: u16 = 5555;
pub(crate) const ISER_PORT: u16 = 3260;

/// Places of their receive queues.
const SRP: usize = 0;
const ISER: usize = 1;
pub(crate) const TARGET_PORT: TargetPortId = TargetPortId {
    id_ext: 0x11,
    ioc_guid: 0x22,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Live,
    /// Its last messages are on their way until then.
    Leaving(u64),
    /// Disconnected; the NIC gives back what it holds.
    Draining,
}

struct Connection {
    carrier: Carrier,
    channel: Machine,
    phase: Phase,
    /// From the end of its login on.
    member: Option<(Port, NexusId)>,
    /// It has something to send, and there was no buffer for it.
    starves: bool,
}

/// An initiator port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Port {
    Srp([u8; 16]),
    Iscsi(String, [u8; 6]),
}

/// Of channels that are gone.
#[derive(Default)]
struct Past {
    immediate: u64,
    tables: u64,
    offers: u64,
    iscsi: transport_iser::connection::Counters,
    reinstated: u64,
    invalidated: u64,
    /// Waits of what is to be sent for a buffer.
    unsent: u64,
}

struct Session {
    nexus: NexusId,
    /// Never used again.
    number: u32,
    links: Vec<u32>,
}

/// The target's side of the network.
pub(crate) struct TargetSide {
    pub(crate) ip: IpAddr,
    pub(crate) node: Node,
    pub(crate) target: Target,
    pub(crate) disk: Disk,
    pub(crate) pools: Pools,
    nic: Nic,
    /// Of SRP and of iSER.
    receives: [SharedReceiveQueueId; 2],
    streams: Streams,
    /// Of iSER and of TCP.
    settings: [Arc<Settings>; 2],
    /// The target's device can send with invalidate.
    invalidates: bool,
    policy: LoginPolicy,
    units: Vec<LuId>,
    connections: BTreeMap<u32, Connection>,
    sessions: BTreeMap<Port, Session>,
    /// Sessions so far.
    opened: u32,
    journal: Journal,
    is_closed: bool,
    past: Past,
}

impl TargetSide {
    pub(crate) fn new(
        scenario: &Scenario,
        random: &mut Random,
        journal: &Journal,
        streams: &Streams,
    ) -> Self {
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
        node.listen(tcp_service_id(ISER_PORT));
        let nic = Nic::new(&mut node, &arena);
        let receives = [(); 2].map(|()| node.create_shared_receive_queue(PD, scenario.receives));
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
            streams: streams.clone(),
            settings: [Datamover::Iser, Datamover::Tcp].map(|of| settings(scenario, of)),
            invalidates: scenario.iscsi.invalidate[0],
            policy,
            units,
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            opened: 0,
            journal: journal.clone(),
            is_closed: false,
            past: Past::default(),
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
            if self.run_completions(now_us) {
                self.target.handle_buffers_freed();
                moved = true;
            }
            moved |= self.accept_streams(now_us);
            if self.run_streams(now_us) {
                self.target.handle_buffers_freed();
                moved = true;
            }
            moved |= self.settle(now_us);
            moved |= self.transmit(now_us);
            // Channels give back the buffers of unsolicited data when the core asks for data, and when they answer.
            if self.target.waits_for_buffer() {
                self.target.handle_buffers_freed();
                moved |= self.target.has_next();
            }
            moved |= self.tend_endings(now_us);
            if !moved {
                break;
            }
        }
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
                Event::ConnectRequest(request)
                    if request.service_id == tcp_service_id(ISER_PORT) =>
                {
                    self.handle_iser_request(&request, now_us);
                    None
                }
                Event::ConnectRequest(request) => {
                    self.handle_connect_request(&request, now_us);
                    None
                }
                // Rejected: a request came so late that its initiator had given it up.
                Event::Disconnected { connection, .. }
                | Event::Unreachable { connection, .. }
                | Event::Rejected { connection, .. } => {
                    self.link_of(|c| c.carrier.cm() == Some(connection))
                }
                Event::QueuePairError(qp) => self.link_of(|c| c.carrier.qp() == Some(qp)),
                Event::Connected { .. } | Event::SendQueueDrained(_) => None,
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

    /// Refuses logins from now on.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// What is left of connections and sessions, for who cannot go on.
    pub(crate) fn phases(&self) -> String {
        let phases = self.connections.iter();
        let phases: Vec<_> = phases
            .map(|(link, c)| (link, c.phase, c.carrier.is_empty()))
            .collect();
        let sessions: Vec<_> = self.sessions.values().map(|s| &s.links).collect();
        format!("{phases:?}, sessions {sessions:?}")
    }

    pub(crate) fn live_links(&self) -> usize {
        self.connections.len()
    }

    /// Receive buffers that wait for messages.
    pub(crate) fn posted_receives(&self) -> [usize; 2] {
        self.receives
            .map(|receives| self.node.shared_receives(receives))
    }

    /// Heap bytes and exchanges of each channel.
    pub(crate) fn channel_sizes(&self) -> impl Iterator<Item = (usize, u32)> {
        self.connections.values().map(|c| c.channel.size())
    }

    /// How often things happened that a seed may or may not bring about.
    pub(crate) fn corners(&self) -> Vec<(&'static str, u64)> {
        let totals = self.target.counters().totals;
        let wire = self.node.statistics();
        let past = &self.past;
        vec![
            ("writes with immediate data", past.immediate),
            ("fetched tables", past.tables),
            ("offered credits", past.offers),
            ("aborted commands", totals.aborted),
            ("abandoned commands", totals.abandoned),
            ("full task sets", totals.task_set_full),
            ("waits for a buffer", totals.buffer_waits),
            ("waits for an orphaned write", totals.orphan_waits),
            ("unit attentions", totals.unit_attentions),
            ("resets", totals.logical_unit_reset),
            ("duplicate requests", wire.duplicate_requests),
            ("packets behind a gap", wire.out_of_sequence_requests),
            ("messages without a receive buffer", wire.rnr_naks_sent),
            ("damaged packets", wire.bad_icrc + wire.malformed),
        ]
    }

    /// How often things happened that only iSCSI has.
    pub(crate) fn iscsi_corners(&self) -> Vec<(&'static str, u64)> {
        let past = &self.past;
        let iscsi = &past.iscsi;
        let resets = self.target.counters().totals.target_reset;
        vec![
            ("iSCSI: target resets", resets),
            ("iSCSI: immediate writes", iscsi.immediate_writes),
            ("iSCSI: Data-Out PDUs", iscsi.data_out_pdus),
            ("iSCSI: R2Ts", iscsi.r2ts),
            ("iSCSI: phase collapses", iscsi.phase_collapses),
            ("iSCSI: pings of the target", iscsi.pings),
            ("iSCSI: rejects", iscsi.rejects),
            ("iSCSI: waits for a data buffer", iscsi.buffer_waits),
            ("iSCSI: no data buffer for too long", iscsi.buffer_timeouts),
            ("iSCSI: waits for a message buffer", past.unsent),
            ("iSCSI: unread answers stop the reading", iscsi.unread),
            ("iSCSI: reinstated sessions", past.reinstated),
            ("iSER: invalidated keys", past.invalidated),
        ]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.sessions.is_empty()
    }
}
