//! The project's own initiator against srptgt over both datamovers of iSCSI: in a guest over the kernel's soft RDMA, and
//! natively over the soft fabric.

use std::net::SocketAddr;
use std::time::Duration;

use initiator::iscsi::machine::{CloseReason, LoginOptions, TaskFunction};
use initiator::iscsi::{ConnectOptions, RawStream, RawStreamState, Session};
use initiator::{ConnectError, ExecuteError, Lun, RawLogin, RawReceived, Scsi};
use rdma::Fabric;
use target_core::sense::AdditionalSense;
use tests::bed::{Bed, Peer};
use tests::login;
use tests::on_both_beds;
use tests::srptgt::Srptgt;
use tests::sweep::{Sweep, verify_blocks};
use transport_iser::iser::CmHeader;
use transport_iser::login::{Datamover, Digest, LoginError};
use transport_iser::pdu::{LoginStatus, TaskManagementCode, TaskManagementResult};

on_both_beds!(
    data_over_tcp,
    data_over_iser,
    sessions_and_tasks,
    strangers_are_refused,
    what_is_no_pdu_ends_its_connection_alone,
);

const INITIATOR: &str = "iqn.2026-11.test.initiator:own";
const LUN: Lun = Lun([0; 8]);
const DEPTH: usize = 32;
const SWEEP_BYTES: u64 = 8 << 20;

/// A daemon with a portal for each datamover and one LUN for the initiator.
struct Bench {
    peer: Peer,
    /// One for all sessions, as one port has.
    fabric: Fabric,
    target: Srptgt,
    name: String,
}

impl Bench {
    fn new(bed: &Bed) -> Self {
        let peer = bed.peer();
        let target = bed.target();
        target.run(&format!("host add initiator --iqn {INITIATOR}"));
        target.add_luns(&["--ram --size 16M"]);
        let shown: serde_json::Value = target.json("target show");
        let name = shown["iqn"].as_str().expect("the target's iSCSI name");
        let bench = Self {
            fabric: peer.fabric(),
            peer,
            target,
            name: name.to_owned(),
        };
        for (protocol, datamover) in [("tcp", Datamover::Tcp), ("iser", Datamover::Iser)] {
            let address = bench.address(datamover);
            bench
                .target
                .run(&format!("portal add {protocol} {address}"));
        }
        bench
    }

    fn address(&self, datamover: Datamover) -> SocketAddr {
        SocketAddr::new(self.peer.target.ip(), login::port(datamover))
    }

    fn options(&self, datamover: Datamover) -> ConnectOptions {
        let login = LoginOptions::new(datamover, INITIATOR, Some(&self.name));
        ConnectOptions {
            data_bytes: (DEPTH + 2) * (2 << 20),
            ..ConnectOptions::new(self.address(datamover), login)
        }
    }

    fn connect(&self, options: &ConnectOptions) -> Result<Session, ConnectError> {
        login::connect(&self.fabric, options)
    }

    #[track_caller]
    fn log_in(&self, options: &ConnectOptions) -> Session {
        login::ready(self.connect(options), LUN)
    }
}

fn sweep(seed: u64) -> Sweep {
    Sweep {
        lun: LUN,
        bytes: SWEEP_BYTES,
        depth: DEPTH,
        seed,
    }
}

fn data_over_tcp(bed: &Bed) {
    let bench = Bench::new(bed);
    for (seed, (initial_r2t, immediate_data)) in
        (1..).zip([(false, false), (false, true), (true, false), (true, true)])
    {
        let mut options = bench.options(Datamover::Tcp);
        let limits = &mut options.login.limits;
        limits.initial_r2t = initial_r2t;
        limits.immediate_data = immediate_data;
        // Both ends check digests every other time.
        (limits.header_digest, limits.data_digest) = (immediate_data, initial_r2t);
        let mut session = bench.log_in(&options);
        let agreed = session.agreed().expect("a live session");
        assert_eq!(agreed.initial_r2t, initial_r2t);
        assert_eq!(agreed.immediate_data, immediate_data);
        assert_eq!(agreed.header_digest == Digest::Crc32c, immediate_data);
        assert_eq!(agreed.data_digest == Digest::Crc32c, initial_r2t);
        verify_blocks(&mut session, LUN);
        sweep(seed).verify(&mut session);
        session.logout();
    }
}

fn data_over_iser(bed: &Bed) {
    let bench = Bench::new(bed);
    for (seed, (initial_r2t, immediate_data)) in
        (1..).zip([(false, false), (false, true), (true, false), (true, true)])
    {
        let mut options = bench.options(Datamover::Iser);
        options.login.limits.initial_r2t = initial_r2t;
        options.login.limits.immediate_data = immediate_data;
        let mut session = bench.log_in(&options);
        verify_blocks(&mut session, LUN);
        sweep(seed).verify(&mut session);
        session.ping(b"are you there?").expect("a ping");
        session.logout();
    }
}

fn sessions_and_tasks(bed: &Bed) {
    let bench = Bench::new(bed);
    for datamover in [Datamover::Tcp, Datamover::Iser] {
        let options = bench.options(datamover);
        let mut session = bench.log_in(&options);
        let capacity = session.read_capacity(LUN).expect("capacity");
        match session.read(LUN, capacity.blocks, 512, &mut [0; 512]) {
            Err(ExecuteError::Answer(answer)) => assert_eq!(
                answer.additional_sense(),
                Some(AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE)
            ),
            other => panic!("{other:?}"),
        }
        let reset = TaskFunction::Of(TaskManagementCode::LOGICAL_UNIT_RESET, LUN);
        assert_eq!(
            session.task_management(reset).expect("an answer"),
            TaskManagementResult::FUNCTION_COMPLETE
        );
        session.await_ready(LUN).expect("ready after a reset");
        // The same name and ISID again: the new session ends the old one.
        let mut new = bench.log_in(&options);
        verify_blocks(&mut new, LUN);
        assert!(
            session.read_capacity(LUN).is_err(),
            "the old session lives on"
        );
        new.logout();
        let mut discovery = options.clone();
        discovery.login = LoginOptions::new(datamover, INITIATOR, None);
        let mut session = bench.connect(&discovery).expect("a discovery session");
        let targets = session.discover().expect("a list");
        let [target] = &*targets else {
            panic!("{targets:?}");
        };
        assert_eq!(target.name, bench.name);
        let portal = format!("{},1", bench.address(datamover));
        assert_eq!(target.addresses, [portal]);
        session.logout();
    }
}

fn strangers_are_refused(bed: &Bed) {
    let bench = Bench::new(bed);
    for datamover in [Datamover::Tcp, Datamover::Iser] {
        let mut options = bench.options(datamover);
        options.login.identity.initiator_name = "iqn.2026-11.test.initiator:stranger".to_owned();
        assert_eq!(
            refusal(&bench, &options),
            LoginStatus::AUTHORIZATION_FAILURE
        );
        let mut options = bench.options(datamover);
        options.login.identity.target_name = Some("iqn.2026-11.test:other".to_owned());
        assert_eq!(refusal(&bench, &options), LoginStatus::NOT_FOUND);
    }
}

/// A busy machine may take this long to end a connection.
const PATIENCE: Duration = Duration::from_secs(60);

fn what_is_no_pdu_ends_its_connection_alone(bed: &Bed) {
    let bench = Bench::new(bed);
    let options = bench.options(Datamover::Tcp);
    let mut honest = bench.log_in(&options);
    for garbage in [[0xff; 48], [0; 48], [0x05; 48]] {
        let stream = RawStream::connect(bench.address(Datamover::Tcp), PATIENCE);
        let mut stream = stream.expect("a connection");
        // The target may end the connection before it has read all.
        stream.send(&garbage.repeat(20), PATIENCE);
        let state = stream.receive(usize::MAX, PATIENCE);
        assert_eq!(state, RawStreamState::Disconnected, "{garbage:x?}");

        let address = bench.address(Datamover::Iser);
        let header = CmHeader::default().encode();
        let login = RawLogin::attempt_on(&bench.fabric, address, &header, 20_000);
        let Ok(RawLogin::Accepted(mut channel)) = login else {
            panic!("{login:?}");
        };
        channel.send(&garbage).expect("a message");
        // A reject, or a refused login, may come before the end.
        while let came = channel.receive(PATIENCE).expect("RDMA")
            && came != RawReceived::Disconnected
        {
            assert_ne!(came, RawReceived::Nothing, "{garbage:x?}");
        }
    }
    verify_blocks(&mut honest, LUN);
    honest.logout();
}

#[track_caller]
fn refusal(bench: &Bench, options: &ConnectOptions) -> LoginStatus {
    match bench.connect(options) {
        Err(ConnectError::Iscsi(CloseReason::Login(failure))) => match failure.error {
            LoginError::Refused(status) => status,
            error => panic!("{error}"),
        },
        other => panic!("{:?}", other.map(|_| "a session")),
    }
}
