//! An initiator: the pure session machine over `roce`, and somebody at the keyboard who has no patience.

mod command;
mod end;
mod iscsi;
mod link;
mod login;
mod memory;
mod reader;
mod session;
mod step;
mod trouble;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use initiator::iscsi::machine as iscsi_machine;
use initiator::machine::{ChannelNumber, LoginOptions, TaskFunction};
use roce::qp::PathMtu;
use roce::{Datagram, Node};

use self::command::Op;
use self::link::Link;
use self::login::{iscsi_options, machine_room};
use self::memory::{Memory, Slot};
use self::reader::Reader;
use self::session::Session;
use self::step::Step;
use super::journal::Journal;
use super::network::Packet;
use super::random::Random;
use super::scenario::{Protocol, Scenario, Trouble};
use super::stream::Streams;
use super::target::TARGET_PORT;

/// After this time a task management request has failed, and the connection goes.
const MANAGEMENT_TIMEOUT_MS: u64 = 5_000;

/// How long a command may take when nothing is wrong any more: longer than the longest stall of the disk.
const CALM_TIMEOUT_MS: u64 = 60_000;

/// How far an initiator has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Everything may go wrong.
    Busy,
    /// No new trouble; what runs may end.
    Calm,
    /// Looks whether its channels work.
    Probing,
    /// Everything has to work.
    Verifying,
    Verified,
    Leaving,
}

pub(crate) struct Initiator {
    pub(crate) ip: IpAddr,
    target: IpAddr,
    index: u64,
    pub(crate) node: Node,
    memory: Memory,
    machine: Session,
    protocol: Protocol,
    streams: Streams,
    reader: Reader,
    links: Vec<Link>,
    /// By tag.
    ops: BTreeMap<u64, Op>,
    /// By tag: where it went, and what for.
    managements: BTreeMap<u64, (ChannelNumber, TaskFunction)>,
    /// Memory of aborted commands whose connection may still carry something for them.
    late: Vec<(u32, Slot)>,
    plans: BTreeSet<(u64, Step)>,
    /// What is to be verified: channel, logical unit, command.
    todo: VecDeque<command::Check>,
    checking: Option<(u64, command::Check)>,
    pub(crate) stage: Stage,
    restarts: u32,
    steps_left: u64,
    random: Random,
    journal: Journal,
    options: LoginOptions,
    iscsi_options: iscsi_machine::LoginOptions,
    /// Takes messages that make its keys invalid.
    invalidates: bool,
    channels: u16,
    path_mtu: PathMtu,
    block_size: u64,
    luns: Vec<u64>,
    trouble: Trouble,
    /// Pings that may be under way, and bytes of the longest.
    pings: (usize, u64),
    pause_us: u64,
    rest_us: u64,
    command_timeout_ms: u64,
    /// Refused requests of earlier lives.
    refused_before: u64,
}

impl Initiator {
    pub(crate) fn new(
        index: u64,
        target: IpAddr,
        (scenario, journal, streams): (&Scenario, &Journal, &Streams),
        random: &mut Random,
    ) -> Self {
        let mut options = LoginOptions::new(TARGET_PORT, 0x100 + index);
        if !scenario.immediate[1] {
            options.imm_data_offset = None;
        }
        let mut random = random.fork();
        let (node, memory) = machine_room(index, scenario.path_mtu, &mut random);
        let protocol = scenario.protocols[index as usize];
        let iscsi_options = iscsi_options(index, protocol, scenario);
        let channels = match protocol {
            Protocol::Srp => scenario.channels,
            Protocol::Iser | Protocol::Tcp => 1,
        };
        let machine = match protocol {
            Protocol::Srp => Session::srp(options, channels),
            Protocol::Iser | Protocol::Tcp => Session::iscsi(iscsi_options.clone()),
        };
        Self {
            ip: IpAddr::from([10, 0, 0, 2 + index as u8]),
            target,
            index,
            node,
            memory,
            machine,
            protocol,
            streams: streams.clone(),
            reader: Reader::new(scenario.reading),
            links: Vec::new(),
            ops: BTreeMap::new(),
            managements: BTreeMap::new(),
            late: Vec::new(),
            plans: BTreeSet::from([(1, Step::LogIn), (2, Step::Act)]),
            todo: VecDeque::new(),
            checking: None,
            stage: Stage::Busy,
            restarts: 0,
            steps_left: scenario.steps,
            random,
            journal: journal.clone(),
            options,
            iscsi_options,
            invalidates: scenario.iscsi.invalidate[1],
            channels,
            path_mtu: scenario.path_mtu,
            block_size: scenario.block_size.into(),
            luns: scenario.luns.clone(),
            trouble: scenario.trouble,
            pings: scenario.iscsi.pings(protocol),
            pause_us: scenario.pause_us,
            rest_us: scenario.rest_us,
            command_timeout_ms: scenario.command_timeout_ms,
            refused_before: 0,
        }
    }

    pub(crate) fn handle_packet(&mut self, packet: &Packet, now_us: u64) {
        let datagram = Datagram {
            source: packet.from,
            destination: packet.at,
            ipv4_identification: Some(0),
            payload: &packet.bytes,
        };
        self.node
            .handle_datagram(&datagram, &mut self.memory.regions, now_us);
    }

    pub(crate) fn poll_packet(&mut self, now_us: u64) -> Option<Packet> {
        let transmit = self.node.poll_transmit(&self.memory.regions, now_us)?;
        let mut bytes = Vec::with_capacity(transmit.length);
        transmit.append_to(&self.memory.regions, &mut bytes)?;
        Some(Packet {
            from: transmit.path.local,
            at: transmit.path.remote,
            bytes,
        })
    }

    pub(crate) fn turn(&mut self, now_us: u64) {
        self.node.handle_timeout(now_us);
        self.run_events(now_us);
        self.run_completions(now_us);
        self.run_streams(now_us);
        self.machine.handle_timeout(now_us / 1000);
        self.run_machine(now_us);
        while self.plans.first().is_some_and(|(at, _)| *at <= now_us) {
            if let Some((_, step)) = self.plans.pop_first() {
                self.carry_out(step, now_us);
            }
        }
        self.advance(now_us);
        self.say(now_us);
    }

    /// Answers to the target.
    fn say(&mut self, now_us: u64) {
        let mut out = [0; 64];
        while let Session::Srp(machine) = &mut self.machine {
            let Some((channel, len)) = machine.poll_transmit(&mut out) else {
                return;
            };
            self.send(channel, &out[..len]);
        }
        self.say_pdus(now_us);
    }

    pub(crate) fn next_time(&self, now_us: u64) -> Option<u64> {
        let plan = self.plans.first().map(|(at, _)| *at);
        let machine = self.machine.poll_timeout().map(|ms| ms * 1000);
        let node = self.node.poll_timeout();
        let reader = self.reader.next_time(now_us);
        let times = [plan, machine, node, reader];
        times.into_iter().flatten().min()
    }

    /// Nothing more goes wrong.
    pub(crate) fn calm(&mut self) {
        self.stage = Stage::Calm;
        self.reader.calm();
    }

    pub(crate) fn has_steps(&self) -> bool {
        self.steps_left > 0
    }

    /// Requests under way.
    pub(crate) fn requests(&self) -> usize {
        let aside = match &self.machine {
            Session::Srp(_) => 0,
            Session::Iscsi(session) => session.aside(),
        };
        self.ops.len() + self.managements.len() + aside
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.ops.is_empty() && self.managements.is_empty()
    }

    /// Requests of the target that named memory which is not, or not any more, the target's to use.
    pub(crate) fn refused_accesses(&self) -> u64 {
        self.refused_before + self.node.statistics().refused_requests
    }

    /// Credits of each live channel.
    pub(crate) fn credits(&self) -> impl Iterator<Item = (u16, i64)> {
        let live = self.links.iter().filter(|link| link.is_live);
        live.map(|link| (link.channel.0, self.machine.credits(link.channel)))
    }

    pub(crate) fn has_links(&self) -> bool {
        !self.links.is_empty()
    }
}
