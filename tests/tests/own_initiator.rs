//! What other scenarios ask of srptgt through the kernel's initiator, asked through our own: so it runs natively too.

use std::thread;

use initiator::machine::{LoginError, TaskFunction};
use initiator::scsi::Capacity;
use initiator::{ConnectError, ConnectOptions, ExecuteError, Lun, Scsi, Session};
use serde_json::Value;
use srptgt::exercise::Pattern;
use target_core::sense::AdditionalSense;
use tests::bed::{Bed, Peer, natively};
use tests::bystander::Bystander;
use tests::deadline::{until, until_true};
use tests::srptgt::{Home, Srptgt};
use tests::sweep::Sweep;
use transport_srp::wire::login::LoginRejReason;
use transport_srp::wire::rsp::RspCode;

const BLOCK_BYTES: u32 = 512;

tests::on_both_beds! {
    the_listed_get_in_and_the_refused_are_pending_until_allowed,
    a_lun_of_another_host_cannot_be_guessed,
    a_lun_is_grown_protected_and_removed_beside_a_load,
    sixty_four_logins_leave_no_memory_behind,
    thirty_two_sessions_at_once,
    acknowledged_writes_survive_kill_9_without_a_write_cache,
    flushed_writes_survive_kill_9_with_a_write_cache,
    resets_end_what_is_stuck_and_the_other_lun_goes_on,
}

/// Of most users, who may lock less memory than the daemon has.
#[test]
fn without_the_right_to_lock_memory_the_soft_fabric_serves() {
    natively(|bed| {
        let peer = bed.peer();
        let target = Srptgt::start_at(Home {
            memory_lock_bytes: Some(8 << 20),
            ..bed.home()
        });
        target.run(&format!("host add initiator --guid {:#018x}", peer.guid));
        let path = bed.path("ds.img");
        target.add_luns(&[&format!("--file {path} --size 8M")]);
        let mut session = ready(&peer, &Sweep::options(4, peer.options()), 0);
        let sweep = Sweep {
            lun: lun(0),
            bytes: 8 << 20,
            depth: 4,
            seed: 3,
        };
        sweep.verify(&mut session);
        session.logout();
        let log = target.log();
        assert!(log.contains("RLIMIT_MEMLOCK is 8388608 bytes"), "{log}");
    });
}

fn lun(number: u8) -> Lun {
    Lun::peripheral(number)
}

fn ready(peer: &Peer, options: &ConnectOptions, number: u8) -> Session {
    let mut session = peer.log_in(options);
    session.await_ready(lun(number)).expect("ready");
    session
}

/// The additional sense of a refusal.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T, ExecuteError>) -> AdditionalSense {
    match result {
        Err(ExecuteError::Answer(answer)) => answer.additional_sense().expect("sense"),
        other => panic!("not a refusal: {other:?}"),
    }
}

fn the_listed_get_in_and_the_refused_are_pending_until_allowed(bed: &Bed) {
    let (listed, stranger) = (bed.peer(), bed.peer());
    let target = bed.serving(&["--ram --size 16M", "--ram --size 8M"], &[&listed]);
    let bystander = Bystander::on(bed, &target, listed);
    match stranger.try_log_in(&stranger.options()) {
        Err(ConnectError::Login {
            error: LoginError::Rejected(reject),
            ..
        }) => assert_eq!(reject.reason, LoginRejReason::UNABLE_TO_ASSOCIATE_CHANNEL),
        other => panic!("a stranger got in: {:?}", other.err()),
    }
    let guid = format!("{:#018x}", stranger.guid);
    let row = target.pending(&guid, |_| true);
    let fix = row["fix"].as_str().expect("the row has a fix");
    target.run(fix.strip_prefix("srptgt ").expect("the fix is a command"));
    let hosts: Vec<Value> = target.json("host list");
    let lists = |host: &&Value| host["guids"] == serde_json::json!([guid]);
    let host = hosts.iter().find(lists).expect("a host with this GUID");
    let name = host["name"].as_str().expect("a name");
    target.run(&format!("map lun1 --host {name} --lun 0"));

    let mut admitted = ready(&stranger, &stranger.options(), 0);
    let capacity = admitted.read_capacity(lun(0)).expect("capacity");
    assert_eq!(capacity.bytes(), 8 << 20);
    assert!(target.json::<Vec<Value>>("pending").is_empty());
    admitted.logout();
    bystander.leave(&target);
}

fn a_lun_of_another_host_cannot_be_guessed(bed: &Bed) {
    let (first, second) = (bed.peer(), bed.peer());
    let target = bed.target();
    for (name, peer, number) in [("first", &first, 0), ("second", &second, 5)] {
        target.run(&format!("lun add of-{name} --ram --size 8M"));
        target.run(&format!("host add {name} --guid {:#018x}", peer.guid));
        target.run(&format!("map of-{name} --host {name} --lun {number}"));
    }
    let mut session = ready(&first, &first.options(), 0);
    assert_eq!(session.report_luns().expect("LUNs"), [lun(0)]);
    for number in [1, 5, 255] {
        let mut block = [0; 512];
        let read = session.read(lun(number), 0, BLOCK_BYTES, &mut block);
        let expected = AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED;
        assert_eq!(refusal(read), expected, "LUN {number}");
    }
    session.logout();
}

fn a_lun_is_grown_protected_and_removed_beside_a_load(bed: &Bed) {
    let (busy, other) = (bed.peer(), bed.peer());
    let target = bed.serving(&["--ram --size 16M"], &[&busy]);
    let bystander = Bystander::on(bed, &target, busy);
    target.run(&format!("host add other --guid {:#018x}", other.guid));
    target.run("map lun0 --host other --lun 0");
    let mut session = ready(&other, &other.options(), 0);
    let path = bed.path("extra.img");
    target.run(&format!("lun add extra --file {path} --size 8M"));
    target.run("map extra --host other --lun 1");
    session.await_ready(lun(0)).expect("ready");
    assert_eq!(session.report_luns().expect("LUNs"), [lun(0), lun(1)]);
    session.await_ready(lun(1)).expect("ready");

    target.run("lun resize extra 12M");
    let block = [7; 512];
    let mut told = [0; 512];
    let first = session.read(lun(1), 0, BLOCK_BYTES, &mut told);
    let expected = AdditionalSense::CAPACITY_DATA_HAS_CHANGED;
    assert_eq!(refusal(first), expected);
    let capacity: Capacity = session.read_capacity(lun(1)).expect("capacity");
    assert_eq!(capacity.bytes(), 12 << 20);

    target.run("lun set extra --read-only on");
    session.await_ready(lun(1)).expect("ready");
    let write = session.write(lun(1), 0, BLOCK_BYTES, &block);
    assert_eq!(refusal(write), AdditionalSense::WRITE_PROTECTED);
    target.run("lun set extra --read-only off");
    session.await_ready(lun(1)).expect("ready");
    session
        .write(lun(1), 0, BLOCK_BYTES, &block)
        .expect("write");

    target.run("unmap extra --host other");
    target.run("lun remove extra");
    session.await_ready(lun(0)).expect("ready");
    let gone = session.read(lun(1), 0, BLOCK_BYTES, &mut told);
    assert_eq!(refusal(gone), AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED);
    assert_eq!(session.report_luns().expect("LUNs"), [lun(0)]);
    session.logout();
    bystander.leave(&target);
}

fn sixty_four_logins_leave_no_memory_behind(bed: &Bed) {
    let peer = bed.peer();
    let target = bed.serving(&["--ram --size 8M"], &[&peer]);
    let fabric = peer.fabric();
    let log_in_and_out = |times| {
        for _ in 0..times {
            let mut session = Session::connect_on(&fabric, &peer.options()).expect("a session");
            session.await_ready(lun(0)).expect("ready");
            session.logout();
        }
        let sessions = || target.json::<Vec<Value>>("session list").len();
        until_true("all sessions to end", 20, || sessions() == 0);
    };
    log_in_and_out(16);
    let resident = target.resident_kib();
    log_in_and_out(48);
    let after = target.resident_kib();
    println!("resident memory: {resident} KiB after 16 logins, {after} KiB after 64");
    assert!(after <= resident + 1024, "{} KiB more", after - resident);
    assert_eq!(target.counters().pool_used_bytes, 0);
}

fn thirty_two_sessions_at_once(bed: &Bed) {
    let peer = bed.peer();
    let target = bed.serving(&["--ram --size 8M"], &[&peer]);
    let fabric = peer.fabric();
    let log_in = |extension| {
        let options = ConnectOptions {
            initiator_extension: extension,
            keep_other_channels: true,
            outstanding: 8,
            data_bytes: 1 << 20,
            ..peer.options()
        };
        let session = Session::connect_on(&fabric, &options);
        let mut session = session.unwrap_or_else(|error| panic!("session {extension}: {error}"));
        session.await_ready(lun(0)).expect("ready");
        session
    };
    let mut sessions: Vec<_> = (0..32).map(log_in).collect();
    assert_eq!(target.json::<Vec<Value>>("session list").len(), 32);
    for (number, session) in (0..).zip(&mut sessions) {
        let block = [number as u8; 512];
        let place = number * 8;
        session
            .write(lun(0), place, BLOCK_BYTES, &block)
            .expect("write");
    }
    sessions.reverse();
    for (number, session) in (0..).zip(&mut sessions) {
        let mut block = [0; 512];
        session
            .read(lun(0), number * 8, BLOCK_BYTES, &mut block)
            .expect("read");
        assert_eq!(block, [number as u8; 512], "what another session wrote");
    }
    sessions.into_iter().for_each(Session::logout);
    until_true("all sessions to end", 20, || {
        target.json::<Vec<Value>>("session list").is_empty()
    });
}

fn acknowledged_writes_survive_kill_9_without_a_write_cache(bed: &Bed) {
    kill_9_under_load(bed, "--write-cache off", 1);
}

fn flushed_writes_survive_kill_9_with_a_write_cache(bed: &Bed) {
    kill_9_under_load(bed, "--write-cache on", 16);
}

/// Writes until the daemon is killed, then logs in anew and reads what it was promised. With a cache, a promise is a
/// flush, made after every `flush_each` writes.
fn kill_9_under_load(bed: &Bed, write_cache: &str, flush_each: u64) {
    const WRITE_BYTES: usize = 8 << 10;
    const BLOCKS: u64 = WRITE_BYTES as u64 / BLOCK_BYTES as u64;
    let pattern = Pattern { seed: 9 };
    let peer = bed.peer();
    let path = bed.path("ds.img");
    let lun0 = format!("--file {path} --size 64M {write_cache}");
    let mut target = bed.serving(&[&lun0], &[&peer]);
    let load = thread::spawn(move || {
        // Nobody says goodbye for a process that was killed: its silence has to be noticed.
        let hasty = ConnectOptions {
            command_timeout_ms: 2000,
            ..peer.options()
        };
        let mut session = ready(&peer, &hasty, 0);
        let mut data = vec![0; WRITE_BYTES];
        let mut promised = 0;
        for write in 0..8192 {
            pattern.fill(write * WRITE_BYTES as u64, &mut data);
            if session
                .write(lun(0), write * BLOCKS, BLOCK_BYTES, &data)
                .is_err()
            {
                break;
            }
            if flush_each == 1 {
                promised = write + 1;
            } else if (write + 1) % flush_each == 0 {
                if session.flush(lun(0)).is_err() {
                    break;
                }
                promised = write + 1;
            }
        }
        promised
    });
    until_true("a part of the load to be written", 60, || {
        target.counters().written_bytes > 2 << 20
    });
    target.kill();
    let promised = load.join().expect("the load");
    println!("{promised} writes were promised");
    assert!((32..8192).contains(&promised));
    target.start_again();

    let mut session = until("the target to let the initiator in again", 60, || {
        let mut session = peer.try_log_in(&peer.options()).ok()?;
        session.await_ready(lun(0)).ok()?;
        Some(session)
    });
    let mut data = vec![0; WRITE_BYTES];
    for write in 0..promised {
        let place = write * WRITE_BYTES as u64;
        let read = session.read(lun(0), write * BLOCKS, BLOCK_BYTES, &mut data);
        read.expect("read");
        pattern.check(place, &data).expect("a promised write");
    }
    session.logout();
}

fn resets_end_what_is_stuck_and_the_other_lun_goes_on(bed: &Bed) {
    let (busy, other) = (bed.peer(), bed.peer());
    let luns = ["--ram --size 16M", "--ram --size 8M"];
    let target = bed.serving(&luns, &[&busy, &other]);
    let bystander = Bystander::on(bed, &target, busy);
    let hasty = ConnectOptions {
        command_timeout_ms: 2000,
        ..other.options()
    };
    let mut session = ready(&other, &hasty, 1);
    reset_while_stuck(&target, &mut session);
    let sweep = Sweep {
        lun: lun(1),
        bytes: 2 << 20,
        depth: 2,
        seed: 5,
    };
    session.logout();
    let mut session = ready(&other, &Sweep::options(2, other.options()), 1);
    sweep.verify(&mut session);
    session.logout();
    assert!(target.counters().task_management >= 2);
    bystander.leave(&target);
}

/// A read is stuck and is aborted by its own time-out; a reset is answered.
fn reset_while_stuck(target: &Srptgt, session: &mut Session) {
    let mut data = [0; 4096];
    target.run("lun stall lun1 on");
    let stuck = session.read(lun(1), 0, BLOCK_BYTES, &mut data);
    let error = stuck.expect_err("a stalled LUN").to_string();
    assert!(error.ends_with("it was aborted"), "{error}");
    target.run("lun stall lun1 off");
    let reset = session.task_management(TaskFunction::LogicalUnitReset(lun(1)));
    let complete = RspCode::TASK_MANAGEMENT_FUNCTION_COMPLETE;
    assert_eq!(reset.expect("an answer"), complete);
    session.await_ready(lun(1)).expect("ready");
}
