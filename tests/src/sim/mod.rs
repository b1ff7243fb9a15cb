//! A simulator: initiators and the target over `roce` and byte streams in one thread, under a seed and a virtual clock.
//!
//! Room: a [`scenario`](scenario::Scenario) is what a seed chooses; the target's side is the order of hops between the
//! real channel, core and queue pairs; each initiator is the real session machine; disk and network are models. Every
//! one of them writes the journal, and the checkers read it. Nothing here asks the operating system for anything but
//! memory, so that a seed always tells the same story.

mod block;
mod check;
mod disk;
mod initiator;
mod journal;
mod network;
mod random;
mod scenario;
mod seeds;
mod stream;
mod target;
mod world;

pub use seeds::{FIRST_MIXED_SEED, Failure, Summary, fresh_mixed_seed, fresh_seed, run};
