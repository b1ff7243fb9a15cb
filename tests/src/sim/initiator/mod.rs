//! An initiator: the pure session machine over `roce`, and somebody at the keyboard who has no patience.

mod command;
mod iscsi;
mod link;
mod memory;
mod session;
mod trouble;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use initiator::iscsi::machine as iscsi_machine;
use initiator::machine::{ChannelNumber, LoginOptions, RequestId, TaskFunction};
use roce::cm::CmConfig;
use roce::qp::{PathMtu, Tuning};
use roce::{Datagram, Node, NodeConfig};
use target_core::lun::Lun;
use transport_iser::Sn;
use transport_iser::iser::CmHeader;
use transport_iser::login::Datamover;

use self::command::Op;
use self::link::Link;
use self::memory::{Memory, Slot};
use self::session::{News, Outcome, Session};
use super::journal::{End, Entry, Journal};
use super::network::Packet;
use super::random::Random;
use super::scenario::{Protocol, Scenario, Trouble};
use super::stream::Streams;
use super::target::TARGET_PORT;

/// After this time a task management request has failed, and the connection goes.
const MANAGEMENT_TIMEOUT_MS: u64 = 5_000;

/// How long a command may take when nothing is wrong any more: longer than the longest stall of the disk.
const CALM_TIMEOUT_MS: u64 = 60_000;

/// How often somebody looks who has no connection.
const IDLE_US: u64 = 20_000;

/// What an initiator has in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Act,
    LogIn,
    Rejoin(ChannelNumber),
    /// After a goodbye.
    HangUp,
    /// After an answer that asks for another try.
    TryAgain,
    /// Patience with a command whose abort was answered ends, if the command has not.
    GiveUp(u64),
}

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
    pause_us: u64,
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
            pause_us: scenario.pause_us,
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

    /// A session that has said nothing yet.
    fn session(&mut self) -> Session {
        if self.protocol == Protocol::Srp {
            return Session::srp(self.options, self.channels);
        }
        let mut options = self.iscsi_options.clone();
        options.first_cmd_sn = Sn(self.random.pick(&[1, u32::MAX - 5, 0x7fff_fffa]));
        Session::iscsi(options)
    }

    /// What it says of itself when it connects over iSER.
    fn own_header(&self) -> CmHeader {
        CmHeader {
            zero_based_addresses: false,
            send_with_invalidate: self.invalidates,
        }
    }

    fn run_machine(&mut self, now_us: u64) {
        while let Some(news) = self.machine.poll() {
            match news {
                News::LoggedIn => self.links.iter_mut().for_each(|link| link.is_live = true),
                News::Done(request, outcome) => self.handle_done(request, outcome, now_us),
                News::TimedOut(request) => self.handle_timed_out(request, now_us),
                News::Closed(channel) => self.lose(|link| link.channel == channel, now_us),
            }
        }
    }

    fn handle_done(&mut self, request: RequestId, outcome: Outcome, now_us: u64) {
        if let Some((_, function)) = self.managements.remove(&request.0) {
            // Somebody else's reset may have ended the command without a word, and a refused abort says nothing of it.
            if let TaskFunction::AbortTask(task) = function
                && self.ops.contains_key(&task.0)
            {
                let at = now_us + MANAGEMENT_TIMEOUT_MS * 1000;
                self.plans.insert((at, Step::GiveUp(task.0)));
            }
            return;
        }
        let op = self.ops.remove(&request.0);
        let op = op.expect("an end of a command that runs");
        let end = self.meaning_of(request, &op, outcome);
        self.end(op, end, outcome, now_us);
    }

    /// A reset that went by another channel may have overtaken the command.
    fn meaning_of(&self, request: RequestId, op: &Op, outcome: Outcome) -> End {
        let lun = Lun::peripheral(op.lun);
        let mut reasons = self
            .managements
            .values()
            .filter(|(_, function)| match *function {
                TaskFunction::AbortTask(task) => task == request,
                TaskFunction::ClearAca(_) => false,
                TaskFunction::AbortTaskSet(of)
                | TaskFunction::ClearTaskSet(of)
                | TaskFunction::LogicalUnitReset(of) => of == lun,
            });
        match outcome {
            Outcome::Answered(answer) if answer.is_good() => End::Good,
            Outcome::Answered(_) => End::Failed,
            Outcome::Managed | Outcome::Refused => panic!("command {} is rejected", op.number),
            Outcome::Aborted if reasons.all(|(channel, _)| *channel == op.channel) => End::Aborted,
            Outcome::Aborted => End::Overtaken,
            Outcome::ChannelLost => End::Lost,
        }
    }

    fn handle_timed_out(&mut self, request: RequestId, now_us: u64) {
        let Some(op) = self.ops.get(&request.0) else {
            // Task management has failed: only a new login helps.
            self.plans.insert((now_us, Step::LogIn));
            return;
        };
        let number = op.number;
        self.journal.write(Entry::TimedOut { op: number });
        assert!(
            self.stage < Stage::Verifying,
            "command {number} was not answered in {CALM_TIMEOUT_MS} ms although nothing is wrong"
        );
        self.manage(op.channel, TaskFunction::AbortTask(request), now_us);
    }

    fn carry_out(&mut self, step: Step, now_us: u64) {
        match step {
            Step::Act if self.stage == Stage::Busy && !self.links.iter().any(|l| l.is_live) => {
                self.plans.insert((now_us + IDLE_US, Step::Act));
            }
            Step::Act if self.stage == Stage::Busy => {
                self.act(now_us);
                self.steps_left = self.steps_left.saturating_sub(1);
                let pause = 1 + self.random.below(self.pause_us);
                self.plans.insert((now_us + pause, Step::Act));
            }
            Step::Act => {}
            Step::LogIn => self.log_in(now_us),
            Step::Rejoin(channel) => {
                let is_alone = self.link_of(channel).is_none()
                    && self.link_of(ChannelNumber(0)).is_some_and(|l| l.is_live);
                match is_alone {
                    true => self.connect(channel, now_us),
                    false => self.log_in(now_us),
                }
            }
            Step::HangUp => self.log_in(now_us),
            Step::GiveUp(task) if self.ops.contains_key(&task) => self.log_in(now_us),
            Step::TryAgain | Step::GiveUp(_) => {}
        }
    }

    /// Drops all connections and begins again.
    fn log_in(&mut self, now_us: u64) {
        self.hang_up(now_us);
        self.plans.retain(|(_, step)| *step == Step::Act);
        self.machine = self.session();
        if self.stage < Stage::Leaving {
            self.connect(ChannelNumber(0), now_us);
        }
    }

    fn hang_up(&mut self, now_us: u64) {
        while !self.links.is_empty() {
            self.lose(|_| true, now_us);
        }
    }

    pub(crate) fn next_time(&self) -> Option<u64> {
        let plan = self.plans.first().map(|(at, _)| *at);
        let machine = self.machine.poll_timeout().map(|ms| ms * 1000);
        let node = self.node.poll_timeout();
        plan.into_iter().chain(machine).chain(node).min()
    }

    pub(crate) fn has_steps(&self) -> bool {
        self.steps_left > 0
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

    fn finish_op(&mut self, number: u64, end: End) {
        self.journal.write(Entry::Ended { op: number, end });
    }
}

fn iscsi_options(
    index: u64,
    protocol: Protocol,
    scenario: &Scenario,
) -> iscsi_machine::LoginOptions {
    let datamover = match protocol {
        Protocol::Iser => Datamover::Iser,
        Protocol::Srp | Protocol::Tcp => Datamover::Tcp,
    };
    let name = format!("iqn.2026-11.model:initiator{index}");
    let target = Some("iqn.2026-11.model:target");
    iscsi_machine::LoginOptions {
        limits: scenario.iscsi.limits(1, datamover),
        ..iscsi_machine::LoginOptions::new(datamover, &name, target)
    }
}

fn machine_room(index: u64, path_mtu: PathMtu, random: &mut Random) -> (Node, Memory) {
    let mut node = Node::new(NodeConfig {
        secret: random.next(),
        cm: CmConfig {
            max_mtu: path_mtu,
            ca_guid: 0x100 + index,
            ..CmConfig::default()
        },
        tuning: Tuning::default(),
    });
    let memory = Memory::new(&mut node);
    (node, memory)
}
