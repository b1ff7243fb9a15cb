//! iSCSI against srptgt by the project's own initiator, over TCP and over iSER on the soft fabric: what a session does,
//! and what ends it. Natively.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use initiator::iscsi::machine::{CloseReason, LoginOptions, TaskFunction};
use initiator::iscsi::{ConnectOptions, Session};
use initiator::{ConnectError, Lun, Nexus, Scsi};
use rdma::{Fabric, SoftConfig};
use serde_json::Value;
use tests::bed::{Bed, loopback_address, natively};
use tests::deadline::until_true;
use tests::srptgt::Srptgt;
use tests::sweep::Sweep;
use transport_iser::login::{Datamover, Digest, LoginError};
use transport_iser::pdu::{LoginStatus, TaskManagementCode, TaskManagementResult};

const INITIATOR: &str = "iqn.2026-11.example:native";
const LUN: Lun = Lun([0; 8]);
const DEPTH: usize = 16;
const MEDIUM_BYTES: u64 = 32 << 20;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that listens for both, with one LUN for [`INITIATOR`].
struct Target {
    srptgt: Srptgt,
    address: IpAddr,
    name: String,
}

impl Target {
    fn serving(bed: &Bed) -> Self {
        let srptgt = bed.target();
        let address = loopback_address();
        srptgt.run(&format!("portal add tcp {address}"));
        srptgt.run(&format!("portal add iser {address}:3261"));
        srptgt.run(&format!("allow {INITIATOR} --as initiator"));
        srptgt.add_luns(&["--ram --size 32M"]);
        let target: Value = srptgt.json("target show");
        let name = target["iqn"].as_str().expect("an iSCSI name").to_owned();
        Self {
            srptgt,
            address,
            name,
        }
    }

    fn options(&self, datamover: Datamover) -> ConnectOptions {
        let port = match datamover {
            Datamover::Tcp => 3260,
            Datamover::Iser => 3261,
        };
        let mut login = LoginOptions::new(datamover, INITIATOR, Some(&self.name));
        login.outstanding = DEPTH as u32;
        let mut options = ConnectOptions::new(SocketAddr::new(self.address, port), login);
        options.data_bytes = (DEPTH + 1) * (2 << 20);
        options
    }

    fn try_log_in(&self, options: &ConnectOptions) -> Result<Session, ConnectError> {
        match options.login.limits.datamover {
            Datamover::Tcp => Session::connect_tcp(options),
            Datamover::Iser => Session::connect_iser(&fabric(), options),
        }
    }

    #[track_caller]
    fn log_in(&self, options: &ConnectOptions) -> Session {
        let session = self.try_log_in(options);
        let mut session = session.unwrap_or_else(|error| panic!("no session: {error}"));
        session.await_ready(LUN).expect("ready");
        session
    }

    fn sessions(&self) -> Vec<Value> {
        self.srptgt.json("session list")
    }

    #[track_caller]
    fn wait_until_empty(&self) {
        until_true("nobody to be in", 60, || self.sessions().is_empty());
        self.srptgt.wait_until_idle();
        let status: Value = self.srptgt.json("status");
        assert_eq!(status["counters"]["pool_used_bytes"], 0, "{status}");
    }
}

/// The soft fabric with an address of its own.
fn fabric() -> Fabric {
    Fabric::soft(SoftConfig {
        addresses: vec![loopback_address()],
        ..SoftConfig::default()
    })
}

fn sweep(seed: u64) -> Sweep {
    Sweep {
        lun: LUN,
        bytes: MEDIUM_BYTES,
        depth: DEPTH,
        seed,
    }
}

/// The session must be over, for this reason. Nothing is sent before: a target that has gone would answer by a reset,
/// which is faster than its last word.
#[track_caller]
fn assert_ended(session: &mut Session, is_right: impl Fn(&CloseReason) -> bool) {
    let ended = session.next_ended(PATIENCE);
    assert!(ended.is_err(), "{ended:?}");
    let reason = session.closed();
    assert!(reason.is_some_and(is_right), "{reason:?}");
}

const BOTH: [Datamover; 2] = [Datamover::Tcp, Datamover::Iser];

#[test]
fn data_goes_out_in_all_ways_and_comes_back() {
    natively(|bed| {
        let target = Target::serving(bed);
        for datamover in BOTH {
            for (seed, (initial_r2t, immediate_data)) in
                (1..).zip([(false, true), (true, true), (true, false), (false, false)])
            {
                let mut options = target.options(datamover);
                options.login.limits.initial_r2t = initial_r2t;
                options.login.limits.immediate_data = immediate_data;
                let mut session = target.log_in(&options);
                sweep(seed).verify(&mut session);
                let listed = target.sessions();
                let transport = match datamover {
                    Datamover::Tcp => "tcp",
                    Datamover::Iser => "iser",
                };
                assert_eq!(listed[0]["transport"], transport, "{listed:?}");
                assert_eq!(listed[0]["identity"], INITIATOR, "{listed:?}");
                assert_eq!(
                    listed[0]["channels"][0]["immediate_data"], immediate_data,
                    "{listed:?}"
                );
                session.logout();
            }
        }
        target.wait_until_empty();
    });
}

#[test]
fn digests_guard_what_goes_over_tcp() {
    natively(|bed| {
        let target = Target::serving(bed);
        let mut options = target.options(Datamover::Tcp);
        options.login.limits.header_digest = true;
        options.login.limits.data_digest = true;
        let mut session = target.log_in(&options);
        let agreed = session.agreed().expect("a live session");
        assert_eq!(agreed.header_digest, Digest::Crc32c);
        assert_eq!(agreed.data_digest, Digest::Crc32c);
        let agreed_burst = agreed.max_burst_length;
        let listed = target.sessions();
        let values = &listed[0]["channels"][0]["iscsi"];
        assert_eq!(values["header_digest"], true, "{listed:?}");
        assert_eq!(values["data_digest"], true, "{listed:?}");
        assert_eq!(values["max_burst_bytes"], agreed_burst, "{listed:?}");
        sweep(9).verify(&mut session);
        session.logout();
        target.wait_until_empty();
    });
}

#[test]
fn a_login_of_the_same_port_ends_the_session_before() {
    natively(|bed| {
        let target = Target::serving(bed);
        for datamover in BOTH {
            let options = target.options(datamover);
            let mut former = target.log_in(&options);
            let mut other = options.clone();
            other.login.identity.isid[5] = 2;
            let mut neighbour = target.log_in(&other);
            let mut later = target.log_in(&options);
            assert_ended(&mut former, |reason| {
                matches!(reason, CloseReason::Disconnected | CloseReason::Dropped)
            });
            neighbour
                .await_ready(LUN)
                .expect("another port is another session");
            later.await_ready(LUN).expect("the new session");
            assert_eq!(target.sessions().len(), 2);
            neighbour.logout();
            later.logout();
            target.wait_until_empty();
        }
    });
}

#[test]
fn a_dropped_session_is_told_so() {
    natively(|bed| {
        let target = Target::serving(bed);
        for datamover in BOTH {
            let mut session = target.log_in(&target.options(datamover));
            let id = target.sessions()[0]["id"].clone();
            target.srptgt.run(&format!("session drop {id}"));
            assert!(target.sessions().is_empty());
            assert_ended(&mut session, |reason| *reason == CloseReason::Dropped);
        }
        target.wait_until_empty();
    });
}

#[test]
fn who_is_not_listed_any_more_is_out() {
    natively(|bed| {
        let target = Target::serving(bed);
        let mut sessions = BOTH.map(|datamover| target.log_in(&target.options(datamover)));
        let [_, second] = &mut sessions;
        second
            .await_ready(LUN)
            .expect("it has taken the place of the first");
        target.srptgt.run("host remove initiator --force");
        target.wait_until_empty();
        assert_ended(&mut sessions[1], |reason| *reason == CloseReason::Dropped);
        let refused = target.try_log_in(&target.options(Datamover::Tcp));
        match refused.map(|_| "a session") {
            Err(ConnectError::Iscsi(CloseReason::Login(failure))) => assert!(
                matches!(failure.error, LoginError::Refused(status) if status == LoginStatus::AUTHORIZATION_FAILURE),
                "{failure}"
            ),
            other => panic!("{other:?}"),
        }
        target.srptgt.pending(INITIATOR, |_| true);
    });
}

#[test]
fn a_daemon_that_ends_says_goodbye() {
    natively(|bed| {
        let mut target = Target::serving(bed);
        let mut other = target.options(Datamover::Iser);
        other.login.identity.isid[5] = 2;
        let mut sessions = [
            target.log_in(&target.options(Datamover::Tcp)),
            target.log_in(&other),
        ];
        target.srptgt.terminate();
        for session in &mut sessions {
            assert_ended(session, |reason| *reason == CloseReason::Dropped);
        }
    });
}

#[test]
fn task_management_is_answered() {
    natively(|bed| {
        let target = Target::serving(bed);
        for datamover in BOTH {
            let mut session = target.log_in(&target.options(datamover));
            for code in [
                TaskManagementCode::ABORT_TASK_SET,
                TaskManagementCode::LOGICAL_UNIT_RESET,
                TaskManagementCode::TARGET_WARM_RESET,
            ] {
                let result = session.task_management(TaskFunction::Of(code, LUN));
                let result = result.expect("an answer");
                assert_eq!(result, TaskManagementResult::FUNCTION_COMPLETE, "{code:?}");
            }
            session.await_ready(LUN).expect("ready after a reset");
            session.ping(b"are you there?").expect("a ping");
            session.logout();
        }
        target.wait_until_empty();
    });
}

#[test]
fn a_cold_reset_ends_everybodys_session_and_all_may_come_again() {
    natively(|bed| {
        let target = Target::serving(bed);
        for datamover in BOTH {
            let other = match datamover {
                Datamover::Tcp => Datamover::Iser,
                Datamover::Iser => Datamover::Tcp,
            };
            let mut bystander = target.options(other);
            bystander.login.identity.isid[5] = 2;
            let mut sessions = [
                target.log_in(&target.options(datamover)),
                target.log_in(&bystander),
            ];
            let reset = TaskFunction::Of(TaskManagementCode::TARGET_COLD_RESET, LUN);
            let result = sessions[0].task_management(reset).expect("an answer");
            assert_eq!(result, TaskManagementResult::FUNCTION_COMPLETE);
            for session in &mut sessions {
                assert_ended(session, |reason| *reason == CloseReason::Dropped);
            }
            target.wait_until_empty();
            target.log_in(&target.options(datamover)).logout();
        }
        target.wait_until_empty();
    });
}

#[test]
fn discovery_tells_where_to_go() {
    natively(|bed| {
        let target = Target::serving(bed);
        for datamover in BOTH {
            let mut options = target.options(datamover);
            options.login = LoginOptions::new(datamover, INITIATOR, None);
            let session = target.try_log_in(&options);
            let mut session = session.unwrap_or_else(|error| panic!("no discovery: {error}"));
            let targets = session.discover().expect("a list");
            let [found] = &*targets else {
                panic!("{targets:?}");
            };
            assert_eq!(found.name, target.name);
            assert_eq!(found.addresses, [format!("{},1", options.address)]);
            session.logout();
        }
        assert!(target.sessions().is_empty());
    });
}

/// More than may be on their way in at once, and nobody says a word: each costs little, and not for long.
#[test]
fn a_thousand_connections_that_say_nothing_end_by_themselves() {
    natively(|bed| {
        let target = Target::serving(bed);
        let mut session = target.log_in(&target.options(Datamover::Tcp));
        let before_kib = target.srptgt.resident_kib();
        let address = SocketAddr::new(target.address, 3260);
        let mut silent: Vec<_> = (0..1000)
            .map(|_| TcpStream::connect(address).expect("connected"))
            .collect();
        session.await_ready(LUN).expect("others go on");
        let kib = target.srptgt.resident_kib() - before_kib;
        assert!(kib < 32 << 10, "{kib} KiB for 1000 connections");
        for socket in &mut silent {
            socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            let ended = match socket.read(&mut [0; 64]) {
                Ok(count) => count == 0,
                Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            };
            assert!(ended, "the target does not wait for ever");
        }
        session.await_ready(LUN).expect("others go on");
        let counters = target.srptgt.counters();
        assert!(counters.peers_silent > 0, "{counters:?}");
        assert_eq!(
            counters.protocol_errors, 0,
            "who says nothing says nothing wrong"
        );
        let again = target.options(Datamover::Tcp);
        target.log_in(&again).logout();
    });
}

/// More is written at once than there is memory for, by several sessions, while the medium does nothing: whoever has no
/// buffer is not read, and nobody starves for it when the medium goes on.
#[test]
fn writers_that_find_no_buffers_wait_and_lose_nothing() {
    const WRITERS: u8 = 8;
    natively(|bed| {
        let target = Target::serving(bed);
        let mut options = target.options(Datamover::Tcp);
        options.login.outstanding = 128;
        options.command_timeout_ms = 120_000;
        target.srptgt.run("lun stall lun0 on");
        let pauses = || -> u64 {
            let status: Value = target.srptgt.json("status");
            status["counters"]["stream_pauses"]
                .as_u64()
                .expect("a counter")
        };
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|number| {
                    let mut options = options.clone();
                    options.login.identity.isid[5] = number;
                    scope.spawn(move || {
                        let mut session = Session::connect_tcp(&options).expect("a session");
                        session.await_ready(LUN).expect("ready");
                        // All of them write the same.
                        Sweep {
                            depth: 128,
                            ..sweep(3)
                        }
                        .verify(&mut session);
                        session.logout();
                    })
                })
                .collect();
            until_true("a connection that is not read", 60, || pauses() > 0);
            target.srptgt.run("lun stall lun0 off");
            for writer in writers {
                writer.join().expect("a writer");
            }
        });
        target.wait_until_empty();
    });
}

/// Each has timers that run, and nobody looks at them at each turn.
#[test]
fn eight_hundred_idle_sessions_cost_next_to_nothing() {
    const SESSIONS: u16 = 800;
    const SECONDS: u32 = 5;
    natively(|bed| {
        let target = Target::serving(bed);
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|number| {
                let mut options = target.options(Datamover::Tcp);
                let [high, low] = number.to_be_bytes();
                options.login.identity.isid = [0x80, 0, 0, 1, high, low];
                let session = target.try_log_in(&options);
                session.unwrap_or_else(|error| panic!("session {number}: {error}"))
            })
            .collect();
        let before_ms = target.srptgt.cpu_ms();
        std::thread::sleep(Duration::from_secs(SECONDS.into()));
        let used_ms = target.srptgt.cpu_ms() - before_ms;
        println!("{used_ms} ms of processor time in {SECONDS} s");
        assert!(
            used_ms < u64::from(SECONDS) * 50,
            "{used_ms} ms in {SECONDS} s"
        );
        drop(sessions);
        target.wait_until_empty();
    });
}
