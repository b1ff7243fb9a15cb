//! The world: everybody, the clock, and what happens when.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::check::{Checkers, View};
use super::initiator::{Initiator, Stage};
use super::journal::{End, Entry, Journal};
use super::network::{Network, Packet};
use super::random::Random;
use super::scenario::{DiskHabits, Scenario, Weather};
use super::seeds::Summary;
use super::stream::Streams;
use super::target::TargetSide;

/// How long it has been quiet before everything has to work: longer than any packet is late.
const QUIET_US: u64 = 2_000_000;

/// Latest entries of the journal, which a failure shows.
const SHOWN: usize = 60;

/// What the checkers may look at, beside the checkers themselves.
macro_rules! view {
    ($world:expr) => {
        View {
            scenario: &$world.scenario,
            target: &$world.target,
            initiators: &$world.initiators,
            network: &$world.network,
            streams: &$world.streams,
            now_us: $world.now_us,
        }
    };
}

pub(super) struct World {
    scenario: Scenario,
    now_us: u64,
    target: TargetSide,
    initiators: Vec<Initiator>,
    network: Network,
    streams: Streams,
    journal: Journal,
    checkers: Checkers,
    random: Random,
    next_kick_us: u64,
    latest: VecDeque<(u64, Entry)>,
    commands: u64,
    /// Answers that say no, lost, overtaken, too long.
    ends: [u64; 4],
    fingerprint: DefaultHasher,
}

impl World {
    pub(super) fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed ^ 0x5eed);
        let journal = Journal::default();
        let streams = Streams::new(scenario.weather, Random::new(scenario.seed ^ 0x57eea));
        let target = TargetSide::new(&scenario, &mut random, &journal, &streams);
        let world = (&scenario, &journal, &streams);
        let initiators = (0..scenario.initiators as u64)
            .map(|index| Initiator::new(index, target.ip, world, &mut random))
            .collect();
        Self {
            now_us: 1,
            target,
            initiators,
            streams,
            network: Network::new(scenario.weather, random.fork()),
            journal,
            checkers: Checkers::default(),
            random,
            next_kick_us: 0,
            latest: VecDeque::new(),
            commands: 0,
            ends: [0; 4],
            fingerprint: DefaultHasher::new(),
            scenario,
        }
    }

    pub(super) fn run(mut self) -> Summary {
        self.run_until(|world| !world.initiators.iter().any(Initiator::has_steps));
        self.calm();
        self.run_until(|world| world.initiators.iter().all(Initiator::is_quiet));
        self.wait(QUIET_US);
        self.initiators.iter_mut().for_each(Initiator::probe);
        self.run_until(|world| world.initiators.iter().all(|i| i.stage == Stage::Verified));
        self.wait(QUIET_US);
        self.checkers.look_at_rest(&view!(self));
        self.target.close();
        for initiator in &mut self.initiators {
            initiator.leave(self.now_us);
        }
        self.run_until(|world| {
            let is_alone = !world.initiators.iter().any(Initiator::has_links);
            is_alone
                && world.streams.len() == 0
                && world.target.is_empty()
                && world.target.disk.in_flight() == 0
        });
        self.wait(QUIET_US);
        self.checkers.look_at_end(&view!(self));
        Summary {
            commands: self.commands,
            packets: self.network.packets(),
            time_us: self.now_us,
            fingerprint: self.fingerprint.finish(),
            corners: self.corners(),
        }
    }

    fn corners(&self) -> Vec<(&'static str, u64)> {
        let mut corners = self.target.corners();
        corners.extend([
            ("answers that say no", self.ends[0]),
            ("commands without their channel", self.ends[1]),
            ("commands that a reset overtook", self.ends[2]),
            ("commands that took too long", self.ends[3]),
        ]);
        if self.scenario.is_mixed() {
            corners.extend(self.target.iscsi_corners());
            corners.extend(self.streams.corners());
        }
        corners
    }

    fn count(&mut self, entry: &Entry) {
        let place = match entry {
            Entry::Ended { end, .. } => match end {
                End::Failed => 0,
                End::Lost => 1,
                End::Overtaken => 2,
                End::Good | End::Aborted => return,
            },
            Entry::TimedOut { .. } => 3,
            Entry::Submitted { .. } => return self.commands += 1,
            _ => return,
        };
        self.ends[place] += 1;
    }

    /// Nothing more goes wrong.
    fn calm(&mut self) {
        self.network.weather = Weather::default();
        self.streams.calm();
        self.target.disk.habits = DiskHabits {
            errors: 0,
            stalls: 0,
            ..self.scenario.disk
        };
        self.initiators.iter_mut().for_each(Initiator::calm);
    }

    fn wait(&mut self, time_us: u64) {
        let until = self.now_us + time_us;
        self.run_until(|world| {
            world.now_us >= until || world.next_time().is_none_or(|at| at > until)
        });
        self.now_us = self.now_us.max(until);
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        loop {
            self.moment();
            if done(self) {
                return;
            }
            let next = self.next_time();
            let states = || -> Vec<_> {
                let state = |i: &Initiator| (i.stage, i.credits().collect::<Vec<_>>());
                self.initiators.iter().map(state).collect()
            };
            let next = next.unwrap_or_else(|| {
                let phases = self.target.phases();
                panic!("nothing moves any more: {:?}, target: {phases}", states())
            });
            self.now_us = self.now_us.max(next);
        }
    }

    fn next_time(&self) -> Option<u64> {
        let initiators = self.initiators.iter();
        let initiators = initiators.filter_map(|initiator| initiator.next_time(self.now_us));
        let arrival = self.network.next_arrival();
        initiators
            .chain(self.target.next_time())
            .chain(arrival)
            .chain(self.streams.next_time(self.now_us))
            .min()
    }

    /// Everything that happens now.
    fn moment(&mut self) {
        let now_us = self.now_us;
        while let Some(packet) = self.network.arrival(now_us) {
            self.deliver(&packet);
        }
        self.maybe_kick();
        self.target.turn(now_us);
        for initiator in &mut self.initiators {
            initiator.turn(now_us);
        }
        while let Some(packet) = self.target.poll_packet(now_us) {
            self.network.send(packet, now_us);
        }
        for initiator in &mut self.initiators {
            while let Some(packet) = initiator.poll_packet(now_us) {
                self.network.send(packet, now_us);
            }
        }
        self.check();
    }

    fn deliver(&mut self, packet: &Packet) {
        if packet.at.ip() == self.target.ip {
            return self.target.handle_packet(packet, self.now_us);
        }
        let mut initiators = self.initiators.iter_mut();
        if let Some(initiator) = initiators.find(|i| i.ip == packet.at.ip()) {
            initiator.handle_packet(packet, self.now_us);
        }
    }

    /// The operator throws somebody out now and then.
    fn maybe_kick(&mut self) {
        let is_busy = self.initiators.iter().any(|i| i.stage == Stage::Busy);
        if !is_busy || self.now_us < self.next_kick_us {
            return;
        }
        self.next_kick_us = self.now_us + self.scenario.pause_us;
        if self.random.chance(self.scenario.trouble.kick) {
            self.target.kick(self.random.next(), self.now_us);
        }
    }

    fn check(&mut self) {
        for entry in self.journal.take() {
            self.count(&entry);
            (self.now_us, format!("{entry:?}")).hash(&mut self.fingerprint);
            self.latest.push_back((self.now_us, entry));
            if self.latest.len() > SHOWN {
                self.latest.pop_front();
            }
            if let Some((_, entry)) = self.latest.back() {
                self.checkers.read(entry);
            }
        }
        self.checkers.look(&view!(self));
    }
}

/// A story that ends badly tells how.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:#?}", self.scenario);
            for (at_us, entry) in &self.latest {
                eprintln!("{at_us:>12} us  {entry:?}");
            }
        }
    }
}
