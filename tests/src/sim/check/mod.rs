//! What must hold whatever happens, one rule in each file. A checker that finds it broken panics and says how.
//!
//! Checkers read the journal, entry by entry, and look at both sides from outside; they know nothing of each other.

mod aborts;
mod answers;
mod bounds;
mod buffers;
mod credits;
mod data;
mod liveness;

use super::initiator::Initiator;
use super::journal::Entry;
use super::network::Network;
use super::scenario::Scenario;
use super::stream::Streams;
use super::target::TargetSide;

/// Both sides and what is between them.
pub(crate) struct View<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) target: &'a TargetSide,
    pub(crate) initiators: &'a [Initiator],
    pub(crate) network: &'a Network,
    pub(crate) streams: &'a Streams,
    pub(crate) now_us: u64,
}

#[derive(Default)]
pub(crate) struct Checkers {
    answers: answers::Answers,
    aborts: aborts::Aborts,
    data: data::Data,
    liveness: liveness::Liveness,
}

impl Checkers {
    pub(crate) fn read(&mut self, entry: &Entry) {
        self.answers.read(entry);
        self.aborts.read(entry);
        self.data.read(entry);
        self.liveness.read(entry);
    }

    /// After every moment.
    pub(crate) fn look(&mut self, view: &View<'_>) {
        self.liveness.look(view);
        bounds::look(view);
        buffers::look(view);
        credits::look(view);
    }

    /// Everything was verified; connections stand, and nothing runs.
    pub(crate) fn look_at_rest(&self, view: &View<'_>) {
        credits::look_at_rest(view);
        self.data.look_at_rest(view);
    }

    /// Everybody has gone.
    pub(crate) fn look_at_end(&self, view: &View<'_>) {
        self.answers.look_at_end();
        buffers::look_at_end(view);
    }
}
