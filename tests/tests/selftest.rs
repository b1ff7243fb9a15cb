//! `srptgt selftest` and `srptgt bench` against targets that run: our daemon over soft RDMA of the kernel, and the
//! kernel's own target. What our initiator takes for the standard is then what two targets of different people do.

use serde_json::Value;
use tests::command::{Finished, attempt};
use tests::lio;
use tests::rxe::Rxe;
use tests::srptgt::{self, Srptgt, program};
use tests::vm::{Options, scenario};

/// Checks that the kernel's target does not pass: it refuses a WRITE whose data is longer than what its CDB says, and
/// a READ whose buffer is shorter.
const NOT_BY_LIO: &str = "residual-out,residual-overflow";

/// A command of ours with the device's own target as its peer.
fn against(command: &str, rxe: &Rxe, id_ext: &str, ioc_guid: &str) -> Finished {
    let (program, address) = (program(), rxe.address);
    let program = program.display();
    attempt(&format!(
        "{program} {command} --target {address}:{} --fabric verbs --id-ext {id_ext} --ioc-guid {ioc_guid}",
        srptgt::PORT
    ))
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
            assert!(
                told.contains("\n19 passed, 0 failed, 1 skipped\n"),
                "{told}"
            );
        }
        target.wait_until_idle();

        let command = "bench --seconds 0.3 --depth 1,16 --sessions 2 --output json";
        let told = against(command, &rxe, srptgt::ID_EXT, srptgt::IOC_GUID).output();
        let report: Value = serde_json::from_str(&told).expect("JSON");
        let rows = report["measured"].as_array().expect("a list");
        assert_eq!(rows.len(), 2, "{told}");
        assert!(
            rows.iter().all(|row| row["iops"].as_f64() > Some(0.0)),
            "{told}"
        );
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
