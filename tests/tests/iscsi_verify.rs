//! Every byte, over both datamovers, in every way that the initiator can be told to send its data.

use std::fmt::Display;

use tests::disk::Disk;
use tests::fio::Fio;
use tests::open_iscsi::{Node, OpenIscsi, Session, Transport};
use tests::rxe::{Rxe, Wire};
use tests::srptgt::{Home, Srptgt};
use tests::vm::{Options, scenario};

/// Blocks of 4 KiB to 1 MiB, mixed, at depth 32: written, then read back and checked.
fn verify(disk: &Disk, mib: u32) {
    let job = Fio::random_write(&disk.path())
        .verified()
        .with("bsrange", "4k-1m")
        .with("blockalign", "4k");
    let report = job
        .with("iodepth", 32)
        .with("size", format!("{mib}m"))
        .run();
    let expected = u64::from(mib) << 20;
    assert_eq!(
        (report.write.io_bytes, report.read.io_bytes),
        (expected, expected)
    );
}

/// Logs in with these values of the record, and sees that the kernel agreed to what was asked for.
fn log_in_with(node: &Node, asked: &[(&str, &str)], agreed: &[(&str, &dyn Display)]) -> Session {
    for (name, value) in asked {
        node.set(name, value);
    }
    let session = node.log_in();
    for (attribute, expected) in agreed {
        assert_eq!(
            session.attribute(attribute),
            expected.to_string(),
            "{attribute}"
        );
    }
    session
}

/// The four combinations of InitialR2T and ImmediateData.
const WAYS_OUT: [(bool, bool); 4] = [(true, false), (true, true), (false, false), (false, true)];

fn log_in_to_send(node: &Node, (initial_r2t, immediate_data): (bool, bool)) -> Session {
    let word = |value| if value { "Yes" } else { "No" };
    log_in_with(
        node,
        &[
            ("node.session.iscsi.InitialR2T", word(initial_r2t)),
            ("node.session.iscsi.ImmediateData", word(immediate_data)),
        ],
        &[
            ("initial_r2t", &u8::from(initial_r2t)),
            ("immediate_data", &u8::from(immediate_data)),
        ],
    )
}

#[test]
fn data_goes_out_over_tcp_in_all_four_ways() {
    let name = "data_goes_out_over_tcp_in_all_four_ways";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &["--ram --size 16M"]);
        let node = OpenIscsi::start().discover(Transport::Tcp, rxe.address);
        for way in WAYS_OUT {
            let session = log_in_to_send(&node, way);
            verify(&session.disk(0), 16);
            session.log_out();
        }
        target.wait_until_idle();
    });
}

#[test]
fn digests_and_short_bursts_over_tcp() {
    let name = "digests_and_short_bursts_over_tcp";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let luns = ["--file /run/ds.img --size 16M"];
        let target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &luns);
        let node = OpenIscsi::start().discover(Transport::Tcp, rxe.address);
        let digests = [
            ("node.conn[0].iscsi.HeaderDigest", "CRC32C"),
            ("node.conn[0].iscsi.DataDigest", "CRC32C"),
        ];
        let short = [
            ("node.session.iscsi.FirstBurstLength", "8192"),
            ("node.session.iscsi.MaxBurstLength", "65536"),
            ("node.conn[0].iscsi.MaxRecvDataSegmentLength", "8192"),
        ];
        let are_on: [(&str, &dyn Display); 2] = [("header_digest", &1), ("data_digest", &1)];
        let session = log_in_with(&node, &digests, &are_on);
        verify(&session.disk(0), 16);
        session.log_out();

        let are_short: [(&str, &dyn Display); 2] =
            [("first_burst_len", &8192), ("max_burst_len", &65536)];
        let session = log_in_with(&node, &short, &are_short);
        assert_eq!(session.attribute("data_digest"), "1");
        verify(&session.disk(0), 16);
        session.log_out();
        target.wait_until_idle();
    });
}

#[test]
fn data_goes_out_over_iser_on_verbs() {
    let name = "data_goes_out_over_iser_on_verbs";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let luns = ["--ram --size 16M", "--file /run/ds.img --size 16M"];
        let target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &luns);
        let node = OpenIscsi::start().discover(Transport::Iser, rxe.address);
        for (lun, way) in [(0, WAYS_OUT[0]), (1, WAYS_OUT[3])] {
            let session = log_in_to_send(&node, way);
            verify(&session.disk(lun), 16);
            session.log_out();
        }
        target.wait_until_idle();
    });
}

#[test]
fn data_goes_out_over_iser_to_a_target_without_rdma() {
    let name = "data_goes_out_over_iser_to_a_target_without_rdma";
    scenario(name, Options::default(), || {
        let wire = Wire::turned_with_bare_target(0);
        let home = Home::in_guest("soft").beside(&wire.target);
        let target = Srptgt::serving_iscsi(home, &["--ram --size 16M"]);
        let node = OpenIscsi::start().discover(Transport::Iser, wire.target.address);
        for way in [WAYS_OUT[0], WAYS_OUT[3]] {
            let session = log_in_to_send(&node, way);
            verify(&session.disk(0), 16);
            session.log_out();
        }
        target.wait_until_idle();
        let counters = target.counters();
        println!("{counters:?}");
        assert_eq!(counters.packets_refused, 0);
    });
}
