//! The project's own initiator against the kernel's target, over TCP and over soft RDMA.

use std::net::{IpAddr, SocketAddr};

use initiator::iscsi::machine::{CloseReason, LoginOptions, TaskFunction};
use initiator::iscsi::{ConnectOptions, Session};
use initiator::{ConnectError, Lun, Scsi};
use rdma::Fabric;
use tests::lio::iscsi::{TARGET, Target};
use tests::login::{self, chap_by_md5, credentials};
use tests::rxe::Rxe;
use tests::sweep::{Sweep, verify_blocks};
use tests::vm::{Options, scenario};
use transport_iser::login::{Datamover, Digest, LoginError};
use transport_iser::pdu::{LoginStatus, TaskManagementCode, TaskManagementResult};

const INITIATOR: &str = "iqn.2026-11.test.initiator:guest";
const LUN: Lun = Lun([0; 8]);
const DEPTH: usize = 32;
const SWEEP_BYTES: u64 = 8 << 20;

/// The target on a device of its own, with a portal for each datamover.
struct Bench {
    rxe: Rxe,
    target: Target,
}

impl Bench {
    fn new() -> Self {
        let rxe = Rxe::on_dummy(0);
        let target = Target::export("/dev/ram0");
        target.be_patient_with(INITIATOR);
        let bench = Self { rxe, target };
        bench.target.listen_tcp(bench.address(Datamover::Tcp));
        bench.target.listen_iser(bench.address(Datamover::Iser));
        bench
    }

    fn address(&self, datamover: Datamover) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.rxe.address), login::port(datamover))
    }

    fn options(&self, datamover: Datamover) -> ConnectOptions {
        let login = LoginOptions::new(datamover, INITIATOR, Some(TARGET));
        ConnectOptions {
            data_bytes: (DEPTH + 2) * (2 << 20),
            ..ConnectOptions::new(self.address(datamover), login)
        }
    }
}

fn connect(options: &ConnectOptions) -> Result<Session, ConnectError> {
    login::connect(&Fabric::verbs(), options)
}

#[track_caller]
fn log_in(options: &ConnectOptions) -> Session {
    login::ready(connect(options), LUN)
}

fn sweep(seed: u64) -> Sweep {
    Sweep {
        lun: LUN,
        bytes: SWEEP_BYTES,
        depth: DEPTH,
        seed,
    }
}

#[test]
fn data_over_tcp() {
    scenario("data_over_tcp", Options::default(), || {
        let bench = Bench::new();
        bench.target.set_key("InitialR2T", "No");
        bench.target.set_key("MaxOutstandingR2T", "4");
        for (seed, (initial_r2t, immediate_data)) in
            (1..).zip([(false, false), (false, true), (true, false), (true, true)])
        {
            let mut options = bench.options(Datamover::Tcp);
            let limits = &mut options.login.limits;
            limits.initial_r2t = initial_r2t;
            limits.immediate_data = immediate_data;
            // Both ends check digests every other time.
            (limits.header_digest, limits.data_digest) = (immediate_data, initial_r2t);
            let mut session = log_in(&options);
            let agreed = session.agreed().expect("a live session");
            assert_eq!(agreed.initial_r2t, initial_r2t);
            assert_eq!(agreed.immediate_data, immediate_data);
            assert_eq!(agreed.header_digest == Digest::Crc32c, immediate_data);
            assert_eq!(agreed.data_digest == Digest::Crc32c, initial_r2t);
            verify_blocks(&mut session, LUN);
            sweep(seed).verify(&mut session);
            session.logout();
        }
    });
}

#[test]
fn data_over_iser() {
    scenario("data_over_iser", Options::default(), || {
        let bench = Bench::new();
        for (seed, immediate_data) in (1..).zip([true, false]) {
            let mut options = bench.options(Datamover::Iser);
            options.login.limits.immediate_data = immediate_data;
            let mut session = log_in(&options);
            verify_blocks(&mut session, LUN);
            sweep(seed).verify(&mut session);
            session.ping(b"are you there?").expect("a ping");
            session.logout();
        }
    });
}

#[test]
fn sessions_and_tasks() {
    scenario("sessions_and_tasks", Options::default(), || {
        let bench = Bench::new();
        for datamover in [Datamover::Tcp, Datamover::Iser] {
            let options = bench.options(datamover);
            let mut session = log_in(&options);
            let inquiry = session.inquiry(LUN).expect("inquiry");
            assert_eq!((&*inquiry.vendor, inquiry.peripheral), ("LIO-ORG", 0));
            let reset = TaskFunction::Of(TaskManagementCode::LOGICAL_UNIT_RESET, LUN);
            assert_eq!(
                session.task_management(reset).expect("an answer"),
                TaskManagementResult::FUNCTION_COMPLETE
            );
            session.await_ready(LUN).expect("ready after a reset");
            // The same name and ISID again: the new session ends the old one.
            let mut new = log_in(&options);
            verify_blocks(&mut new, LUN);
            assert!(
                session.read_capacity(LUN).is_err(),
                "the old session lives on"
            );
            new.logout();
            let mut discovery = options.clone();
            discovery.login = LoginOptions::new(datamover, INITIATOR, None);
            let mut session = connect(&discovery).expect("a discovery session");
            let targets = session.discover().expect("a list");
            assert!(
                targets.iter().any(|target| target.name == TARGET),
                "{targets:?}"
            );
            session.logout();
        }
    });
}

#[test]
fn chap_over_both() {
    scenario("chap_over_both", Options::default(), || {
        let bench = Bench::new();
        let (alice, lio) = (("alice", "alice's password"), ("lio", "the target's one"));
        bench.target.require_chap(alice, lio);
        for datamover in [Datamover::Tcp, Datamover::Iser] {
            let mut options = bench.options(datamover);
            let good = credentials(alice.0, alice.1);
            for target in [None, Some(credentials(lio.0, lio.1))] {
                options.login.chap = chap_by_md5(good.clone(), target);
                let mut session = log_in(&options);
                verify_blocks(&mut session, LUN);
                session.logout();
            }
            options.login.chap = chap_by_md5(credentials(alice.0, "another's"), None);
            match (datamover, refusal(&options)) {
                (_, CloseReason::Login(failure)) => assert_eq!(
                    failure.error,
                    LoginError::Refused(LoginStatus::AUTHENTICATION_FAILURE)
                ),
                // Over RDMA this target does not wait until its answer has left.
                (Datamover::Iser, CloseReason::Disconnected) => {}
                (_, reason) => panic!("{reason}"),
            }
            options.login.chap = chap_by_md5(good.clone(), Some(credentials(lio.0, "another's")));
            match refusal(&options) {
                CloseReason::Login(failure) => assert!(failure.chap().is_some(), "{failure}"),
                reason => panic!("{reason}"),
            }
        }
    });
}

#[track_caller]
fn refusal(options: &ConnectOptions) -> CloseReason {
    match connect(options) {
        Err(ConnectError::Iscsi(reason)) => reason,
        other => panic!("{:?}", other.map(|_| "a session")),
    }
}
