//! Time goes on: no moment takes for ever, and everything settles within a bound.

use super::View;

/// Turns in one microsecond of virtual time.
const MOST_TURNS: u32 = 2_000;

/// Virtual time of a whole run: steps and stalls, half-dead connections, timeouts of commands one behind the other.
const MOST_US: u64 = 3_600_000_000;

#[derive(Debug, Default)]
pub(super) struct Liveness {
    moment_us: u64,
    turns: u32,
}

impl Liveness {
    pub(super) fn look(&mut self, view: &View<'_>) {
        if self.moment_us != view.now_us {
            (self.moment_us, self.turns) = (view.now_us, 0);
        }
        self.turns += 1;
        assert!(self.turns < MOST_TURNS, "time stands still");
        let stages: Vec<_> = view.initiators.iter().map(|i| i.stage).collect();
        assert!(
            view.now_us < MOST_US,
            "nothing settles: initiators are {stages:?}"
        );
    }
}
