//! Resets, a stuck command and a pulled cable: bounded, nothing hangs, no task leaks.

use std::thread;
use std::time::Duration;

use tests::deadline::until_true;
use tests::fio::Fio;
use tests::rxe::{Rxe, Wire};
use tests::srptgt::Srptgt;
use tests::trial;
use tests::vm::{Options, scenario};

#[test]
fn resets_under_load_lose_nothing() {
    let options = Options {
        time_limit_s: 360,
        ..Options::default()
    };
    scenario("resets_under_load_lose_nothing", options, || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::serving(&rxe, &["--ram --size 32M"]);
        let session = target.login(&rxe, rxe.address).succeed();
        let disk = session.disk(0);
        let job = Fio::random_write(&disk.path())
            .verified()
            .with("bs", "16k")
            .with("iodepth", 16);
        trial::resets_under_load(&disk, &job.with("size", "32m"));
        assert!(
            target.counters().task_management > 0,
            "no task management function arrived"
        );
        target.wait_until_idle();
        session.logout();
    });
}

#[test]
fn a_stuck_command_is_aborted_and_the_other_lun_goes_on() {
    scenario(
        "a_stuck_command_is_aborted_and_the_other_lun_goes_on",
        Options::default(),
        || {
            let rxe = Rxe::on_dummy(0);
            let target = Srptgt::serving(&rxe, &["--ram --size 16M", "--ram --size 16M"]);
            let session = target.login(&rxe, rxe.address).succeed();
            trial::stuck_command(&target, &session);
            session.logout();
        },
    );
}

#[test]
fn a_pulled_cable_is_survived() {
    scenario("a_pulled_cable_is_survived", Options::default(), || {
        let wire = Wire::new(0);
        let target = Srptgt::serving(&wire.initiator, &["--ram --size 32M"]);
        let session = target.login(&wire.initiator, wire.target.address).succeed();
        session.set_timeout("reconnect_delay", 1);
        let disk = session.disk(0);
        let job = Fio::random_write(&disk.path())
            .verified()
            .with("bs", "4k")
            .with("iodepth", 8);
        let mut load = trial::begin_load(&target, &job.with("size", "32m"), 2 << 20);
        wire.pull();
        thread::sleep(Duration::from_secs(3));
        wire.plug();
        assert!(
            load.is_running(),
            "the load was over before the cable was pulled"
        );
        load.finish();
        session.wait_for_state("running", 30);
        target.wait_until_idle();
        session.logout();
    });
}

#[test]
fn a_goodbye_waits_for_a_cable_that_nobody_has_told_of() {
    scenario(
        "a_goodbye_waits_for_a_cable_that_nobody_has_told_of",
        Options::default(),
        || {
            let wire = Wire::new(0);
            wire.lay_other_cable();
            let target = Srptgt::serving(&wire.initiator, &["--ram --size 32M"]);
            let session = target.login(&wire.initiator, wire.target.address).succeed();
            session.set_timeout("reconnect_delay", 1);
            let disk = session.disk(0);
            let job = Fio::random_write(&disk.path())
                .verified()
                .with("bs", "4k")
                .with("iodepth", 8);
            let load = job.with("size", "32m").start();

            // The answers fail, and their connection with them. A goodbye at once would be the last one of this device,
            // and the initiator, all of whose requests are acknowledged, would never hear of the end. Once the kernel
            // has told of the cable it keeps answers for later, so on a slow machine this may need some trials.
            let mut trials = 0..10;
            let lost = trials.any(|_| {
                let before = target.counters().written_bytes;
                until_true("a part of the load to be written", 30, || {
                    target.counters().written_bytes > before + (1 << 20)
                });
                stall(&target);
                wire.pull_unheard();
                target.run("lun stall lun0 off");
                target.wait_until_idle();
                let lost = wire.target.has_failed_queue_pair();
                thread::sleep(Duration::from_secs(2));
                wire.plug();
                lost
            });
            assert!(lost, "no connection was lost by a pulled cable");
            load.finish();
            session.wait_for_state("running", 30);
            target.wait_until_idle();
            session.logout();
        },
    );
}

/// Stalls the store in the middle of a load.
fn stall(target: &Srptgt) {
    target.run("lun stall lun0 on");
    until_true("commands to be stuck in the store", 30, || {
        let counters = target.counters();
        counters.commands_started > counters.commands_finished
    });
}
