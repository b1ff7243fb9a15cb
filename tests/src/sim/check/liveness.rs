//! Time goes on: no moment takes for ever, no command stays at the target without a cause, and everything settles.

use std::collections::BTreeMap;

use super::View;
use crate::sim::journal::Entry;

/// Turns in one microsecond of virtual time.
const MOST_TURNS: u32 = 2_000;

/// Virtual time of a whole run: steps and stalls, half-dead connections, timeouts of commands one behind the other.
const MOST_US: u64 = 3_600_000_000;

/// How long a command may be at the target when nothing holds it up: many turns of the slowest disk.
const MOST_STAY_US: u64 = 400_000;

#[derive(Debug, Default)]
pub(super) struct Liveness {
    moment_us: u64,
    turns: u32,
    /// By link and exchange: the arrivals that the next look finds, and those that have been seen.
    arrived: BTreeMap<(u32, u32), Option<u64>>,
}

impl Liveness {
    pub(super) fn read(&mut self, entry: &Entry) {
        match *entry {
            Entry::Arrived { link, exchange, .. } => {
                self.arrived.insert((link, exchange), None);
            }
            Entry::Finished { link, exchange } | Entry::Stopped { link, exchange } => {
                self.arrived.remove(&(link, exchange));
            }
            Entry::Closed { link } => self.arrived.retain(|(of, _), _| *of != link),
            _ => {}
        }
    }

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
        if view.scenario.is_smooth() {
            self.look_at_stays(view.now_us);
        }
    }

    fn look_at_stays(&mut self, now_us: u64) {
        for ((link, exchange), arrived) in &mut self.arrived {
            let stay_us = now_us - *arrived.get_or_insert(now_us);
            assert!(
                stay_us < MOST_STAY_US,
                "exchange {exchange:#x} of link {link} is at the target for {stay_us} us"
            );
        }
    }
}
