//! A peer that says nothing any more, and a cable that is pulled: noticed at either end, and no byte is lost.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::command::run;
use tests::deadline::until_true;
use tests::disk::Disk;
use tests::fio::Fio;
use tests::open_iscsi::{Node, OpenIscsi, Session, Transport};
use tests::rxe::{Rxe, Wire};
use tests::srptgt::{Home, Srptgt};
use tests::trial;
use tests::vm::{Options, scenario};

/// The target asks after 15 s of silence, and waits another 15 s for the answer.
const DROPPED_AFTER_S: std::ops::Range<u64> = 14..60;

/// Sets how often the initiator asks whether the target is there, and how long it waits for the answer; never, by 0.
fn set_pings(node: &Node, interval_s: impl fmt::Display, timeout_s: impl fmt::Display) {
    node.set("node.conn[0].timeo.noop_out_interval", interval_s);
    node.set("node.conn[0].timeo.noop_out_timeout", timeout_s);
}

/// One block, by the kernel, which knows what to make of a unit attention.
fn read(disk: &Disk) {
    let path = disk.path();
    run(&format!(
        "dd if={path} of=/dev/null bs=4k count=1 iflag=direct"
    ));
}

#[test]
fn a_daemon_that_stands_still_is_noticed_and_found_again() {
    let name = "a_daemon_that_stands_still_is_noticed_and_found_again";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &["--ram --size 16M"]);
        let mut initiator = OpenIscsi::start();
        let sessions = Transport::ALL.map(|transport| {
            let node = initiator.discover(transport, rxe.address);
            set_pings(&node, 1, 2);
            node.log_in()
        });
        let disks = sessions.each_ref().map(|session| session.disk(0));
        let process = target.process();
        run(&format!("kill -STOP {process}"));
        for session in &sessions {
            session.wait_for_state("FAILED", 60);
        }
        run(&format!("kill -CONT {process}"));
        for (session, disk) in sessions.iter().zip(disks) {
            session.wait_for_state("LOGGED_IN", 60);
            read(&disk);
        }
        // The old sessions have ended where the new ones began.
        assert_eq!(target.json::<Vec<Value>>("session list").len(), 2);
        sessions.into_iter().for_each(Session::log_out);
        target.wait_until_idle();
    });
}

#[test]
fn an_initiator_that_falls_silent_is_dropped() {
    let name = "an_initiator_that_falls_silent_is_dropped";
    scenario(name, Options::default(), || {
        let wire = Wire::turned(0);
        let home = Home::in_guest("verbs").beside(&wire.target);
        let target = Srptgt::serving_iscsi(home, &["--ram --size 16M"]);
        let mut initiator = OpenIscsi::start();
        let sessions = Transport::ALL.map(|transport| {
            let node = initiator.discover(transport, wire.target.address);
            set_pings(&node, 0, 0);
            node.log_in()
        });
        for session in &sessions {
            session.disk(0);
        }
        assert_eq!(target.json::<Vec<Value>>("session list").len(), 2);
        wire.impair("loss 100%");
        let fell_silent = Instant::now();
        until_true("both sessions to be dropped", DROPPED_AFTER_S.end, || {
            target.json::<Vec<Value>>("session list").is_empty()
        });
        let after_s = fell_silent.elapsed().as_secs();
        assert!(
            after_s >= DROPPED_AFTER_S.start,
            "already after {after_s} s"
        );
        target.wait_until_idle();
        let counters = target.counters();
        assert_eq!((counters.peers_silent, counters.protocol_errors), (2, 0));

        // The way is free again: the initiator finds out by its next command, and comes back.
        wire.impair("delay 0");
        for session in sessions {
            read(&session.disk(0));
            session.log_out();
        }
    });
}

#[test]
fn a_pulled_cable_is_survived_over_tcp() {
    let name = "a_pulled_cable_is_survived_over_tcp";
    scenario(name, Options::default(), || {
        survive_a_pulled_cable(Transport::Tcp)
    });
}

#[test]
fn a_pulled_cable_is_survived_over_iser() {
    let name = "a_pulled_cable_is_survived_over_iser";
    scenario(name, Options::default(), || {
        survive_a_pulled_cable(Transport::Iser)
    });
}

fn survive_a_pulled_cable(transport: Transport) {
    let wire = Wire::turned(0);
    let home = Home::in_guest("verbs").beside(&wire.target);
    let target = Srptgt::serving_iscsi(home, &["--ram --size 32M"]);
    let node = OpenIscsi::start().discover(transport, wire.target.address);
    set_pings(&node, 1, 2);
    let session = node.log_in();
    let job = Fio::random_write(&session.disk(0).path())
        .verified()
        .with("bs", "4k")
        .with("iodepth", 8);
    let mut load = trial::begin_load(&target, &job.with("size", "32m"), 2 << 20);
    wire.pull();
    session.wait_for_state("FAILED", 60);
    thread::sleep(Duration::from_secs(1));
    wire.plug();
    assert!(
        load.is_running(),
        "the load was over before the cable was pulled"
    );
    load.finish();
    session.wait_for_state("LOGGED_IN", 60);
    target.wait_until_idle();
    assert_eq!(target.json::<Vec<Value>>("session list").len(), 1);
    session.log_out();
}
