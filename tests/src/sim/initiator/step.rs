//! What an initiator has in mind, and does when its time comes.

use initiator::machine::ChannelNumber;

use super::{Initiator, Stage};

/// How often somebody looks who has no connection.
const IDLE_US: u64 = 20_000;

/// What an initiator has in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
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

impl Initiator {
    pub(super) fn carry_out(&mut self, step: Step, now_us: u64) {
        match step {
            Step::Act if self.stage == Stage::Busy && !self.links.iter().any(|l| l.is_live) => {
                self.plans.insert((now_us + IDLE_US, Step::Act));
            }
            Step::Act if self.stage == Stage::Busy => {
                self.act(now_us);
                self.steps_left = self.steps_left.saturating_sub(1);
                let pause = 1 + self.random.below(self.pause_us);
                // Who has done its part does little more until the others have.
                let pause = match self.has_steps() {
                    true => pause,
                    false => pause.max(self.rest_us),
                };
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
}
