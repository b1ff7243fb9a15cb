//! What an initiator does besides reading and writing: it aborts, resets, hangs up and dies.

use initiator::machine::{ChannelNumber, RequestId, TaskFunction};
use target_core::lun::Lun;

use super::session::Session;
use super::{Initiator, MANAGEMENT_TIMEOUT_MS, Stage, Step, machine_room};
use crate::sim::scenario::Protocol;

/// Messages of a connection without acknowledge, beyond which nothing more is sent but answers.
pub(super) const MOST_FLYING: u32 = 48;

impl Initiator {
    /// The machine stops, and comes back with nothing.
    pub(super) fn die(&mut self, now_us: u64) {
        for link in std::mem::take(&mut self.links) {
            self.streams.die(link.number);
            self.machine.handle_disconnected(link.channel);
        }
        self.run_machine(now_us);
        assert!(self.ops.is_empty(), "a command outlives its initiator");
        self.late.clear();
        self.managements.clear();
        self.refused_before += self.node.statistics().refused_requests;
        (self.node, self.memory) = machine_room(self.index, self.path_mtu, &mut self.random);
        self.plans.retain(|(_, step)| *step == Step::Act);
        let back = now_us + self.random.below(3_000_000);
        self.machine = self.session();
        self.plans.insert((back, Step::LogIn));
    }

    /// One step of a busy initiator.
    pub(super) fn act(&mut self, now_us: u64) {
        let trouble = self.trouble;
        let dice = self.random.below(1000);
        let choices = [
            trouble.abort,
            trouble.manage,
            trouble.death,
            trouble.cut,
            trouble.logout,
            if self.protocol == Protocol::Tcp {
                trouble.deaf
            } else {
                0
            },
        ];
        let mut sum = 0;
        let choice = choices.iter().position(|weight| {
            sum += weight;
            dice < sum
        });
        match choice {
            Some(0) => self.abort_any(now_us),
            Some(1) => self.manage_any(now_us),
            Some(2) => self.die(now_us),
            Some(3) => {
                let nth = self.random.below(self.links.len() as u64) as usize;
                if let Some(number) = self.links.get(nth).map(|link| link.number) {
                    self.lose(|link| link.number == number, now_us);
                }
            }
            Some(4) if self.plans.iter().any(|(_, step)| *step == Step::HangUp) => {}
            Some(4) => {
                self.machine.logout();
                self.plans.insert((now_us + 200_000, Step::HangUp));
            }
            Some(5) => {
                self.reader.turn_away(&mut self.random, now_us);
                while self.random.chance(995) && self.ping() {}
            }
            _ => {
                for _ in 0..self.random.within(1, 4) {
                    self.submit_any(now_us);
                }
            }
        }
    }

    /// Asks for an echo, unless enough are on their way.
    pub(super) fn ping(&mut self) -> bool {
        let (most, longest) = self.pings;
        let Session::Iscsi(session) = &mut self.machine else {
            return false;
        };
        let has_room = session.aside() < most;
        if has_room {
            let len = self.random.below(longest);
            session.ping((0..len).map(|place| place as u8).collect());
        }
        has_room
    }

    pub(super) fn abort_any(&mut self, now_us: u64) {
        let nth = self.random.below(self.ops.len() as u64) as usize;
        if let Some((&tag, op)) = self.ops.iter().nth(nth) {
            self.manage(op.channel, TaskFunction::AbortTask(RequestId(tag)), now_us);
        }
    }

    pub(super) fn manage_any(&mut self, now_us: u64) {
        let lun = Lun::peripheral(self.random.below(self.luns.len() as u64) as u8);
        let function = self.random.pick(&[
            TaskFunction::AbortTaskSet(lun),
            TaskFunction::ClearTaskSet(lun),
            TaskFunction::LogicalUnitReset(lun),
            TaskFunction::ClearAca(lun),
        ]);
        let channel = ChannelNumber(self.random.below(self.channels.into()) as u16);
        self.manage(channel, function, now_us);
    }

    pub(super) fn manage(&mut self, channel: ChannelNumber, function: TaskFunction, now_us: u64) {
        // What has no room on the wire is like what nobody answers.
        if self.links.iter().any(|link| link.flying > MOST_FLYING) {
            let at = now_us + MANAGEMENT_TIMEOUT_MS * 1000;
            self.plans.insert((at, Step::LogIn));
            return;
        }
        let deadline = now_us / 1000 + MANAGEMENT_TIMEOUT_MS;
        let mut out = [0; 64];
        let sent = match &mut self.machine {
            Session::Srp(machine) => machine
                .task_management(channel, function, Some(deadline), &mut out)
                .ok(),
            Session::Iscsi(session) => {
                let request = session.task_management(function, deadline).ok();
                request.map(|request| (request, channel, 0))
            }
        };
        match sent {
            Some((request, channel, len)) => {
                self.managements.insert(request.0, (channel, function));
                if len > 0 {
                    self.send(channel, &out[..len]);
                }
            }
            // No credit is left for it: as bad as no answer.
            None if self.link_of(channel).is_some_and(|link| link.is_live) => {
                self.plans
                    .insert((now_us + MANAGEMENT_TIMEOUT_MS * 1000, Step::LogIn));
            }
            None => {}
        }
    }

    /// Goes for good: with a goodbye, or without.
    pub(crate) fn leave(&mut self, now_us: u64) {
        self.stage = Stage::Leaving;
        if self.random.chance(500) {
            self.machine.logout();
            self.plans.insert((now_us + 200_000, Step::HangUp));
        } else {
            self.hang_up(now_us);
        }
    }
}
