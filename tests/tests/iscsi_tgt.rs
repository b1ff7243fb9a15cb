//! The project's own initiator over TCP against Debian's `tgt`, natively: the two were written from the same standard by
//! different people, so what works there is the wire format.

use initiator::iscsi::machine::{CloseReason, LoginOptions, TaskFunction};
use initiator::iscsi::{ConnectOptions, Session};
use initiator::{ConnectError, Data, ExecuteError, Lun, Scsi, cdb};
use target_core::sense::AdditionalSense;
use tests::login::{self, chap_by_md5, credentials};
use tests::sweep::{Sweep, verify_blocks};
use tests::tgt::{MEDIUM_BYTES, TARGET, Tgt};
use transport_iser::login::{Datamover, Digest, LoginError};
use transport_iser::pdu::{LoginStatus, TaskManagementCode, TaskManagementResult};

const INITIATOR: &str = "iqn.2026-11.test.initiator:native";
const LUN: Lun = Lun([0, 1, 0, 0, 0, 0, 0, 0]);
const DEPTH: usize = 32;

fn options(tgt: &Tgt) -> ConnectOptions {
    options_for(tgt, Some(TARGET))
}

fn options_for(tgt: &Tgt, target: Option<&str>) -> ConnectOptions {
    let login = LoginOptions {
        // This target ends a sequence with the command only.
        long_sequences: true,
        ..LoginOptions::new(Datamover::Tcp, INITIATOR, target)
    };
    ConnectOptions::new(tgt.address, login)
}

#[track_caller]
fn log_in(options: &ConnectOptions) -> Session {
    login::ready(Session::connect_tcp(options), LUN)
}

fn sweep(seed: u64) -> Sweep {
    Sweep {
        lun: LUN,
        bytes: MEDIUM_BYTES,
        depth: DEPTH,
        seed,
    }
}

#[test]
fn data_goes_out_in_all_four_ways() {
    let tgt = Tgt::start();
    tgt.set_key("InitialR2T", "No");
    tgt.set_key("MaxOutstandingR2T", "8");
    for (seed, (initial_r2t, immediate_data)) in
        (1..).zip([(false, false), (false, true), (true, false), (true, true)])
    {
        let mut options = options(&tgt);
        options.login.limits.initial_r2t = initial_r2t;
        options.login.limits.immediate_data = immediate_data;
        options.login.limits.max_outstanding_r2t = 4;
        let mut session = log_in(&options);
        let agreed = session.agreed().expect("a live session");
        assert_eq!(
            (agreed.initial_r2t, agreed.immediate_data),
            (initial_r2t, immediate_data)
        );
        verify_blocks(&mut session, LUN);
        sweep(seed).verify(&mut session);
        session.logout();
    }
}

#[test]
fn digests_guard_headers_and_data() {
    let tgt = Tgt::start();
    tgt.set_key("HeaderDigest", "CRC32C,None");
    tgt.set_key("DataDigest", "CRC32C,None");
    for (seed, (header, data)) in (1..).zip([
        (Digest::Crc32c, Digest::None),
        (Digest::None, Digest::Crc32c),
        (Digest::Crc32c, Digest::Crc32c),
    ]) {
        let mut options = options(&tgt);
        options.login.limits.header_digest = header == Digest::Crc32c;
        options.login.limits.data_digest = data == Digest::Crc32c;
        let mut session = log_in(&options);
        let agreed = session.agreed().expect("a live session");
        assert_eq!((agreed.header_digest, agreed.data_digest), (header, data));
        verify_blocks(&mut session, LUN);
        sweep(seed).verify(&mut session);
        session.logout();
    }
}

#[test]
fn short_segments_and_bursts_carry_the_same_bytes() {
    let tgt = Tgt::start();
    tgt.set_key("InitialR2T", "No");
    let mut options = options(&tgt);
    let keys = &mut options.login.limits;
    keys.max_recv_data_segment_length = 8192;
    keys.max_burst_length = 16 << 10;
    keys.first_burst_length = 4096;
    let mut session = log_in(&options);
    let agreed = session.agreed().expect("a live session");
    assert_eq!(
        (agreed.max_burst_length, agreed.first_burst_length),
        (16 << 10, 4096)
    );
    sweep(1).verify(&mut session);
    session.logout();
}

#[test]
fn scsi_answers_come_whole() {
    let tgt = Tgt::start();
    let mut session = log_in(&options(&tgt));
    let inquiry = session.inquiry(LUN).expect("inquiry");
    assert_eq!((&*inquiry.vendor, inquiry.peripheral), ("IET", 0));
    assert!(session.report_luns().expect("LUNs").contains(&LUN));
    let capacity = session.read_capacity(LUN).expect("capacity");
    assert_eq!(capacity.bytes(), MEDIUM_BYTES);
    // Less comes than there is room for.
    let mut long = [0; 1024];
    let cdb = cdb::inquiry(None, 1024);
    let got = session.execute_good(LUN, &cdb, Data::In(&mut long));
    assert!((36..1024).contains(&got.expect("inquiry")));
    let beyond = session.read(LUN, capacity.blocks, 512, &mut [0; 512]);
    match beyond {
        Err(ExecuteError::Answer(answer)) => assert_eq!(
            answer.additional_sense(),
            Some(AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE)
        ),
        other => panic!("{other:?}"),
    }
    session.ping(b"are you there?").expect("a ping");
    session.logout();
}

#[test]
fn task_management_is_answered() {
    let tgt = Tgt::start();
    let mut session = log_in(&options(&tgt));
    for code in [
        TaskManagementCode::ABORT_TASK_SET,
        TaskManagementCode::LOGICAL_UNIT_RESET,
    ] {
        let result = session.task_management(TaskFunction::Of(code, LUN));
        assert_eq!(
            result.expect("an answer"),
            TaskManagementResult::FUNCTION_COMPLETE,
            "{code:?}"
        );
    }
    session.await_ready(LUN).expect("ready after a reset");
    verify_blocks(&mut session, LUN);
    session.logout();
}

#[test]
fn a_discovery_session_finds_the_target() {
    let tgt = Tgt::start();
    let options = options_for(&tgt, None);
    let mut session = Session::connect_tcp(&options).expect("a discovery session");
    let targets = session.discover().expect("a list");
    let [target] = &*targets else {
        panic!("{targets:?}");
    };
    assert_eq!(target.name, TARGET);
    let portal = format!("{},1", tgt.address);
    assert!(target.addresses.contains(&portal), "{target:?}");
    session.logout();
}

#[test]
fn a_session_can_be_made_again() {
    let tgt = Tgt::start();
    let options = options(&tgt);
    for _ in 0..3 {
        let mut session = log_in(&options);
        verify_blocks(&mut session, LUN);
        session.logout();
    }
}

#[test]
fn chap_is_shown_and_asked_for() {
    let tgt = Tgt::start();
    tgt.add_account("alice", "alice's password", false);
    tgt.add_account("target", "target's password", true);
    let alice = credentials("alice", "alice's password");
    let target = credentials("target", "target's password");
    let mut options = options(&tgt);
    for (own, asked) in [(alice.clone(), None), (alice.clone(), Some(target))] {
        options.login.chap = chap_by_md5(own, asked);
        let mut session = log_in(&options);
        verify_blocks(&mut session, LUN);
        session.logout();
    }
}

#[test]
fn a_wrong_secret_is_refused_by_either_end() {
    let tgt = Tgt::start();
    tgt.add_account("alice", "alice's password", false);
    tgt.add_account("target", "target's password", true);
    let alice = credentials("alice", "alice's password");
    let mut options = options(&tgt);

    options.login.chap = chap_by_md5(credentials("alice", "somebody else's"), None);
    let refused = refusal(&options);
    assert!(
        matches!(refused, LoginError::Refused(status) if status.class() == 2),
        "{refused}"
    );

    options.login.chap = chap_by_md5(alice.clone(), Some(credentials("target", "not this one")));
    let refused = refusal(&options);
    assert!(matches!(refused, LoginError::Chap(_)), "{refused}");

    options.login.chap = None;
    let refused = refusal(&options);
    assert!(
        matches!(refused, LoginError::Refused(status) if status == LoginStatus::AUTHENTICATION_FAILURE),
        "{refused}"
    );
}

#[track_caller]
fn refusal(options: &ConnectOptions) -> LoginError {
    match Session::connect_tcp(options) {
        Err(ConnectError::Iscsi(CloseReason::Login(failure))) => failure.error,
        other => panic!("{:?}", other.map(|_| "a session")),
    }
}

#[test]
fn a_target_that_is_not_there_is_not_found() {
    let tgt = Tgt::start();
    let options = options_for(&tgt, Some("iqn.2026-11.test:other"));
    let refused = refusal(&options);
    assert!(
        matches!(refused, LoginError::Refused(status) if status == LoginStatus::NOT_FOUND),
        "{refused}"
    );
}
