//! `srptgt selftest` and `srptgt bench` against targets that run, over each transport: our daemon over soft RDMA of the
//! kernel, and the kernel's own target. What our initiator takes for the standard is then what two targets of different
//! people do.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use tests::command::{Finished, attempt};
use tests::lio;
use tests::rxe::Rxe;
use tests::srptgt::{self, Srptgt, program};
use tests::vm::{Options, scenario};

/// Checks that the kernel's target does not pass: it refuses a WRITE whose data is longer than what its CDB says, and
/// a READ whose buffer is shorter.
const NOT_BY_LIO: &str = "residual-out,residual-overflow";

/// Who our initiator is over iSCSI when nothing else is said.
const INITIATOR: &str = "iqn.2026-11.io.srptgt:initiator";

/// TCP, and RDMA-CM beside it.
const ISCSI: [(&str, u16); 2] = [("tcp", 3260), ("iser", 3261)];

/// A command of ours over iSCSI, with the only target that is found there.
fn over_iscsi(command: &str, (transport, port): (&str, u16), rxe: &Rxe) -> Finished {
    let (program, address) = (program(), rxe.address);
    let program = program.display();
    attempt(&format!(
        "{program} {command} --target {address}:{port} --transport {transport}"
    ))
}

/// A command of ours with the device's own target as its peer.
fn against(command: &str, rxe: &Rxe, id_ext: &str, ioc_guid: &str) -> Finished {
    let (program, address) = (program(), rxe.address);
    let program = program.display();
    attempt(&format!(
        "{program} {command} --target {address}:{} --fabric verbs --id-ext {id_ext} --ioc-guid {ioc_guid}",
        srptgt::PORT
    ))
}

#[track_caller]
fn assert_passed(told: &str) {
    assert!(
        told.contains("\n19 passed, 0 failed, 1 skipped\n"),
        "{told}"
    );
}

/// Both of two depths have figures.
#[track_caller]
fn assert_measured(told: &str) {
    let report: Value = serde_json::from_str(told).expect("JSON");
    let rows = report["measured"].as_array().expect("a list");
    assert_eq!(rows.len(), 2, "{told}");
    let moves = |row: &Value| row["iops"].as_f64() > Some(0.0);
    assert!(rows.iter().all(moves), "{told}");
}

#[test]
fn srptgt_passes_every_check_over_rxe() {
    let name = "srptgt_passes_every_check_over_rxe";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::serving(
            &rxe,
            &["--ram --size 32M", "--ram --size 32M --block-size 4096"],
        );
        for lun in 0..2 {
            let command = format!("selftest --lun {lun} --destroy-data");
            let told = against(&command, &rxe, srptgt::ID_EXT, srptgt::IOC_GUID).output();
            assert_passed(&told);
        }
        target.wait_until_idle();

        let command = "bench --seconds 0.3 --depth 1,16 --sessions 2 --output json";
        let told = against(command, &rxe, srptgt::ID_EXT, srptgt::IOC_GUID).output();
        assert_measured(&told);
    });
}

#[test]
fn the_kernels_target_passes_what_it_keeps_to() {
    let name = "the_kernels_target_passes_what_it_keeps_to";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        lio::export("/dev/ram0", &rxe);
        let guid = rxe.port_guid();
        let command = format!("selftest --destroy-data --skip {NOT_BY_LIO}");
        let told = against(&command, &rxe, &guid, &guid).output();
        assert!(told.contains(" 0 failed, "), "{told}");
    });
}

#[test]
fn srptgt_passes_every_check_over_iscsi() {
    let name = "srptgt_passes_every_check_over_iscsi";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::start();
        target.run(&format!("host add initiator --iqn {INITIATOR}"));
        target.add_luns(&["--ram --size 32M"]);
        for (transport, port) in ISCSI {
            target.run(&format!("portal add {transport} {}:{port}", rxe.address));
            let command = "selftest --destroy-data";
            let told = over_iscsi(command, (transport, port), &rxe).output();
            assert_passed(&told);
            let command = "bench --seconds 0.3 --depth 1,16 --sessions 2 --output json";
            let told = over_iscsi(command, (transport, port), &rxe).output();
            assert_measured(&told);
        }
    });
}

#[test]
fn the_kernels_iscsi_target_passes_what_it_keeps_to() {
    let name = "the_kernels_iscsi_target_passes_what_it_keeps_to";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = lio::iscsi::Target::export("/dev/ram0");
        let [tcp, iser] = ISCSI.map(|(_, port)| SocketAddr::new(IpAddr::V4(rxe.address), port));
        target.listen_tcp(tcp);
        target.listen_iser(iser);
        for transport in ISCSI {
            let command = format!("selftest --destroy-data --skip {NOT_BY_LIO}");
            let told = over_iscsi(&command, transport, &rxe).output();
            assert!(told.contains(" 0 failed, "), "{told}");
        }
    });
}
