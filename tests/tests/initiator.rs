//! The project's own initiator. Against the kernel's target: the two were written from the same standard by different
//! people, so what works there is the wire format. Against srptgt: what the kernel's target does not have.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use initiator::machine::{CloseReason, LoginError, Outcome, TaskFunction};
use initiator::{ConnectError, ConnectOptions, Data, ExecuteError, Lun, Session, TargetPortId};
use initiator::{Request, Scsi, Transfer, cdb};
use rdma::Fabric;
use target_core::sense::AdditionalSense;
use tests::bed::Bed;
use tests::lio;
use tests::rxe::Rxe;
use tests::vm::{Options, scenario};
use transport_srp::wire::login::LoginRejReason;
use transport_srp::wire::rsp::RspCode;

const LUN: Lun = Lun([0; 8]);
const BLOCK_BYTES: u32 = 512;

/// LIO on a device of its own, and how to log in to it.
fn lio_on_dummy() -> ConnectOptions {
    let rxe = Rxe::on_dummy(0);
    lio::export("/dev/ram0", &rxe);
    let address = SocketAddr::new(IpAddr::V4(rxe.address), lio::PORT);
    options(address, &rxe.port_guid(), &rxe.port_guid())
}

fn options(address: SocketAddr, id_ext: &str, ioc_guid: &str) -> ConnectOptions {
    let hex = |guid: &str| u64::from_str_radix(guid.trim_start_matches("0x"), 16);
    let target_port = TargetPortId {
        id_ext: hex(id_ext).expect("an identifier extension in hex"),
        ioc_guid: hex(ioc_guid).expect("a GUID in hex"),
    };
    ConnectOptions {
        connect_timeout_ms: 5000,
        command_timeout_ms: 10_000,
        ..ConnectOptions::new(address, target_port)
    }
}

fn connect(options: &ConnectOptions) -> Session {
    connect_on(&Fabric::verbs(), options)
}

fn connect_on(fabric: &Fabric, options: &ConnectOptions) -> Session {
    let session = Session::connect_on(fabric, options);
    let mut session = session.unwrap_or_else(|error| panic!("no session: {error}"));
    println!("granted: {:?}", session.granted(0));
    session.await_ready(LUN).expect("ready");
    session
}

/// Bytes that differ everywhere.
fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let number = |index: usize| {
        (index as u32)
            .wrapping_mul(2_654_435_761)
            .wrapping_add(seed)
    };
    (0..len).map(|index| (number(index) >> 13) as u8).collect()
}

/// Writes at several places in several lengths, and reads all of it back.
fn verify(session: &mut Session, seed: u32) {
    let places = [
        (0, 512),
        (8, 4096),
        (100, 8192),
        (1000, 65536),
        (2000, 131_072),
    ];
    for (lba, len) in places {
        let data = pattern(len, seed + lba as u32);
        session.write(LUN, lba, BLOCK_BYTES, &data).expect("write");
    }
    session.flush(LUN).expect("flush");
    for (lba, len) in places {
        let mut data = vec![0; len];
        session
            .read(LUN, lba, BLOCK_BYTES, &mut data)
            .expect("read");
        assert!(data == pattern(len, seed + lba as u32), "bytes at {lba}");
    }
}

#[test]
fn a_session_with_lio() {
    scenario("a_session_with_lio", Options::default(), || {
        let options = lio_on_dummy();
        let mut session = connect(&options);
        let inquiry = session.inquiry(LUN).expect("inquiry");
        assert_eq!((&*inquiry.vendor, inquiry.peripheral), ("LIO-ORG", 0));
        assert_eq!(session.report_luns().expect("LUNs"), [LUN]);
        let capacity = session.read_capacity(LUN).expect("capacity");
        assert_eq!(capacity.block_bytes, BLOCK_BYTES);
        verify(&mut session, 1);

        let beyond = session.read(LUN, capacity.blocks, BLOCK_BYTES, &mut [0; 512]);
        match beyond {
            Err(ExecuteError::Answer(answer)) => assert_eq!(
                answer.additional_sense(),
                Some(AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE)
            ),
            other => panic!("{other:?}"),
        }
        let reset = session.task_management(TaskFunction::LogicalUnitReset(LUN));
        assert_eq!(
            reset.expect("an answer"),
            RspCode::TASK_MANAGEMENT_FUNCTION_COMPLETE
        );
        session.await_ready(LUN).expect("ready");
        verify(&mut session, 2);
        session.logout();

        let mut again = connect(&options);
        let mut data = vec![0; 4096];
        again.read(LUN, 8, BLOCK_BYTES, &mut data).expect("read");
        assert!(data == pattern(4096, 2 + 8), "what the first session wrote");
        again.logout();
    });
}

#[test]
fn forms_of_buffers_and_channels_with_lio() {
    let name = "forms_of_buffers_and_channels_with_lio";
    scenario(name, Options::default(), || {
        let usual = lio_on_dummy();
        let indirect = ConnectOptions {
            pieces: 12,
            immediate_data: false,
            ..usual.clone()
        };
        let direct = ConnectOptions {
            immediate_data: false,
            ..usual.clone()
        };
        let two_channels = ConnectOptions {
            channels: 2,
            ..usual.clone()
        };
        for (seed, options) in (10..).zip([indirect, direct, two_channels]) {
            let mut session = connect(&options);
            verify(&mut session, seed * 1000);
            session.logout();
        }
        queue_of_sixteen(&mut connect(&usual));
    });
}

/// Reads of one block each, sixteen outstanding, all checked.
fn queue_of_sixteen(session: &mut Session) {
    const BLOCKS: u64 = 256;
    let data = pattern(BLOCKS as usize * 512, 99);
    for (index, chunk) in data.chunks(65536).enumerate() {
        session
            .write(LUN, index as u64 * 128, BLOCK_BYTES, chunk)
            .expect("write");
    }
    let mut buffers: Vec<_> = (0..16)
        .map(|_| session.buffer(512).expect("room"))
        .collect();
    let mut running = std::collections::HashMap::new();
    let mut next = 0;
    let mut checked = 0;
    while checked < BLOCKS {
        while let (Some(buffer), true) = (buffers.pop(), next < BLOCKS) {
            let request = Request {
                lun: LUN,
                cdb: &cdb::read(next, 1),
                transfer: Transfer::In(buffer),
            };
            let id = session.submit(request).expect("room");
            running.insert(id, next);
            next += 1;
        }
        let finished = session.wait(Duration::from_secs(10)).expect("a session");
        let finished = finished.expect("an answer in time");
        let lba = running
            .remove(&finished.request)
            .expect("a running request");
        let Some(Outcome::Answered(answer)) = finished.outcome else {
            panic!("{finished:?}");
        };
        assert!(answer.is_good(), "{answer}");
        let Transfer::In(mut buffer) = finished.transfer else {
            panic!("the buffer did not come back");
        };
        let mut block = [0; 512];
        assert!(buffer.read(0, &mut block));
        assert!(block == data[lba as usize * 512..][..512], "block {lba}");
        buffers.push(buffer);
        checked += 1;
    }
}

#[test]
fn what_cannot_be_reached_is_said() {
    scenario("what_cannot_be_reached_is_said", Options::default(), || {
        let options = lio_on_dummy();
        let stranger = ConnectOptions {
            target_port: TargetPortId {
                id_ext: 1,
                ioc_guid: 2,
            },
            ..options.clone()
        };
        match Session::connect(&stranger) {
            Err(ConnectError::Login {
                error: LoginError::Rejected(reject),
                ..
            }) => assert_eq!(reject.reason, LoginRejReason::UNABLE_TO_ASSOCIATE_CHANNEL),
            other => panic!("{:?}", other.err()),
        }
        let mut nobody = options.clone();
        nobody.address.set_port(9);
        let error = Session::connect(&nobody).expect_err("nobody");
        assert!(matches!(error, ConnectError::NobodyListens(_)), "{error}");

        let mut session = connect(&options);
        let mut data = [0; 512];
        let elsewhere = session.execute(Lun::peripheral(7), &cdb::read(0, 1), Data::In(&mut data));
        let answer = elsewhere.expect("an answer");
        assert_eq!(
            answer.additional_sense(),
            Some(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED)
        );
    });
}

tests::on_both_beds! {
    every_form_of_buffer_with_srptgt,
    a_stuck_command_is_aborted_and_a_stopping_target_says_goodbye,
}

fn every_form_of_buffer_with_srptgt(bed: &Bed) {
    let peer = bed.peer();
    let target = bed.serving(&["--ram --size 16M"], &[&peer]);
    let usual = peer.options();
    let external = ConnectOptions {
        pieces: 40,
        inline_pieces: 2,
        immediate_data: false,
        ..usual.clone()
    };
    let two_channels = ConnectOptions {
        channels: 2,
        pieces: 3,
        ..usual.clone()
    };
    let fabric = peer.fabric();
    for (seed, options) in (20..).zip([usual, external, two_channels]) {
        let mut session = connect_on(&fabric, &options);
        let immediate = session.granted(0).expect("a channel").imm_data_offset;
        assert_eq!(immediate.is_some(), options.immediate_data);
        verify(&mut session, seed * 1000);
        queue_of_sixteen(&mut session);
        session.logout();
    }
    target.wait_until_idle();
}

fn a_stuck_command_is_aborted_and_a_stopping_target_says_goodbye(bed: &Bed) {
    let peer = bed.peer();
    let mut target = bed.serving(&["--ram --size 16M"], &[&peer]);
    let hasty = ConnectOptions {
        command_timeout_ms: 2000,
        ..peer.options()
    };
    let mut session = peer.log_in(&hasty);
    session.await_ready(LUN).expect("ready");
    target.run("lun stall lun0 on");
    let error = session.read(LUN, 0, BLOCK_BYTES, &mut [0; 4096]);
    let error = error.expect_err("a stalled LUN").to_string();
    assert!(error.ends_with("it was aborted"), "{error}");
    target.run("lun stall lun0 off");
    verify(&mut session, 7);
    assert_eq!(target.counters().commands_aborted, 1);

    let error = thread::scope(|scope| {
        scope.spawn(|| target.terminate());
        let mut read = || session.read(LUN, 0, BLOCK_BYTES, &mut [0; 4096]);
        std::iter::repeat_with(&mut read).find_map(Result::err)
    });
    println!("at the end of the target: {}", error.expect("an end"));
    let closed = session.closed().expect("the session is over");
    assert!(matches!(closed, CloseReason::TargetLogout(_)), "{closed}");
}
