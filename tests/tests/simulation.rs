//! The simulator: fresh seeds of SRP alone in every run, a row of seeds that mix all protocols, and the seeds that have found
//! something.
//!
//! A seed that fails is printed with the command that shows it again. When its fault is mended, it gets a name here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use tests::sim;

/// Fresh seeds of one run.
const SEEDS: u32 = 500;

/// Seeds of mixed worlds, from the first on.
const MIXED_SEEDS: u32 = 300;

fn told(seed: u64) -> sim::Summary {
    sim::run(seed).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Runs so many seeds on all processors and shows that no corner is left out.
fn tell_all(seeds: u32, seed: impl Fn(u32) -> u64 + Sync) {
    let begun = AtomicU32::new(0);
    let work = || {
        let mut corners = BTreeMap::new();
        loop {
            let place = begun.fetch_add(1, Ordering::Relaxed);
            if place >= seeds {
                return corners;
            }
            for (corner, times) in told(seed(place)).corners {
                *corners.entry(corner).or_insert(0) += times;
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut corners = BTreeMap::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            for (corner, times) in worker.join().expect("no rule is broken") {
                *corners.entry(corner).or_insert(0) += times;
            }
        }
    });
    println!("{corners:#?}");
    for (corner, times) in corners {
        assert!(times > 0, "{seeds} seeds without {corner}");
    }
}

#[test]
fn fresh_seeds_break_no_rule_and_leave_no_corner_out() {
    tell_all(SEEDS, |_| sim::fresh_seed());
}

/// Always the same ones: `cargo xtask sim --mixed` takes fresh ones.
#[test]
fn initiators_of_all_protocols_share_a_target() {
    tell_all(MIXED_SEEDS, |place| {
        sim::FIRST_MIXED_SEED + u64::from(place)
    });
}

#[test]
fn a_seed_always_tells_the_same_story() {
    for seed in (0..8).chain(sim::FIRST_MIXED_SEED..sim::FIRST_MIXED_SEED + 8) {
        assert_eq!(told(seed), told(seed), "seed {seed}");
    }
}

/// A copy of an RDMA READ request came after the initiator had its answer and had taken the memory key away: the
/// connection ended with a remote access error.
#[test]
fn a_late_copy_of_a_read_request_finds_its_key_gone() {
    told(9);
    told(27);
}

/// A reset on one channel overtook a write on the other, which was carried out after the answer to the reset.
#[test]
fn a_reset_on_another_channel_overtakes_a_write() {
    for seed in [36, 56] {
        let corners = BTreeMap::from_iter(told(seed).corners);
        assert!(corners["commands that a reset overtook"] > 0, "seed {seed}");
    }
}

/// ABORT TASK was refused, because as many requests waited as there are tasks; the command went on, as it may.
#[test]
fn a_refused_abort_ends_nothing() {
    told(261_409_996_899);
}

/// Packets that overtook each other made the target wait for acknowledges six times, with the only data buffer in use:
/// the commands behind it were long at the target, though each had its turn.
#[test]
fn late_packets_hold_up_who_waits_for_the_only_buffer() {
    let corners = BTreeMap::from_iter(told(622_494_827_451).corners);
    assert!(corners["waits for a buffer"] > 0);
}

/// The table of a command's segments came in the moment in which its connection ended: the command was let in though its
/// initiator had given it up.
#[test]
fn a_command_whose_connection_has_ended_is_not_let_in() {
    told(926_853_620_004);
}

/// Answers that were never sent kept their data until their connection was gone, and then nobody told who waited.
#[test]
fn buffers_of_a_connection_that_ends_go_to_who_waits() {
    told(416_932_275_969);
}

/// Another initiator's CLEAR TASK SET had ended two commands without a word, and their aborts were refused, because as many
/// requests waited as there are tasks: only a new login helps.
#[test]
fn who_is_refused_an_abort_logs_in_anew() {
    told(548_687_340_189);
}

/// A connection request came so late that its initiator had given it up, and said so when it was answered.
#[test]
fn a_request_that_was_given_up_leaves_nobody_behind() {
    told(159_915_487_691);
}

/// An initiator pinged while its stream stood still: nothing more was read when half a MiB of answers waited, in a queue that
/// had grown with them.
#[test]
fn pings_that_are_not_read_are_bounded() {
    told(2_075_455_911_332);
}

/// Channels gave back the buffers of unsolicited data, when they had copied it and when its commands were answered, and nobody
/// told who waited for them.
#[test]
fn buffers_of_unsolicited_data_go_to_who_waits() {
    for place in [280, 294, 527] {
        told(sim::FIRST_MIXED_SEED + place);
    }
}
