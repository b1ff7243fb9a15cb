//! Runs of one seed: what came of them, and how to see it again.

use std::any::Any;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::scenario::Scenario;
use super::world::World;

/// Seeds below this have nothing but SRP in their worlds.
pub const FIRST_MIXED_SEED: u64 = 1 << 40;

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Commands that were sent.
    pub commands: u64,
    /// Packets on the network.
    pub packets: u64,
    /// Virtual time in microseconds.
    pub time_us: u64,
    /// Changes with any difference in what happened, or when.
    pub fingerprint: u64,
    /// How often things happened that not every seed brings about, by name.
    pub corners: Vec<(&'static str, u64)>,
}

/// A rule was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Under this seed.
    pub seed: u64,
    /// Which, and how.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, what } = self;
        write!(
            f,
            "seed {seed}: {what}\nsee it again with: cargo xtask sim --seed {seed}"
        )
    }
}

/// Runs one seed to its end.
///
/// # Errors
/// A checker, or an assertion of the code under test, found something wrong.
pub fn run(seed: u64) -> Result<Summary, Failure> {
    let scenario = Scenario::of(seed);
    let story = || World::new(scenario).run();
    catch_unwind(AssertUnwindSafe(story)).map_err(|panic| Failure {
        seed,
        what: message(&*panic),
    })
}

/// A seed that nobody has chosen, for a world with nothing but SRP.
pub fn fresh_seed() -> u64 {
    // Short enough to be typed.
    RandomState::new().hash_one(0) >> 24
}

/// A seed that nobody has chosen, for a world in which initiators speak SRP, iSER or iSCSI over TCP.
pub fn fresh_mixed_seed() -> u64 {
    FIRST_MIXED_SEED + fresh_seed()
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    text.unwrap_or_else(|| "a panic without words".to_owned())
}
