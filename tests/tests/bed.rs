//! The bed itself: with the kernel's own target in srptgt's place, every piece of a scenario works.

use std::fs;
use std::panic;

use tests::command::run;
use tests::fio::Fio;
use tests::ib_srp::Login;
use tests::lio;
use tests::rxe::Rxe;
use tests::vm::{Options, scenario};

#[test]
fn a_failed_scenario_says_why_and_shows_the_kernels_log() {
    let failed = panic::catch_unwind(|| {
        let name = "a_failed_scenario_says_why_and_shows_the_kernels_log";
        scenario(name, Options::default(), || {
            fs::write("/dev/kmsg", "said by the kernel").unwrap();
            panic!("said by the body");
        });
    });
    let report = failed.unwrap_err().downcast::<String>().unwrap();
    assert!(report.contains("said by the body"), "{report}");
    assert!(report.contains("said by the kernel"), "{report}");
}

#[test]
fn kernel_target_and_initiator_meet() {
    scenario(
        "kernel_target_and_initiator_meet",
        Options::default(),
        || {
            let rxe = Rxe::on_dummy(0);
            assert!(
                rxe.ibstat()
                    .contains(&format!("Port GUID: {}", rxe.port_guid()))
            );
            lio::export("/dev/ram0", &rxe);

            let destination = format!("{}:{}", rxe.address, lio::PORT);
            let session =
                Login::new(&rxe, &destination, &rxe.port_guid(), &rxe.port_guid()).succeed();
            assert_eq!(session.attribute("ch_count"), "2");
            let disk = session.disk(0);
            assert!(run(&format!("sg_inq {}", disk.path())).contains("LIO-ORG"));

            let report = Fio::random_write(&disk.path())
                .verified()
                .with("bs", "4k")
                .with("iodepth", 8)
                .with("size", "4m")
                .run();
            assert_eq!(
                (report.error, report.write.io_bytes, report.read.io_bytes),
                (0, 4 << 20, 4 << 20)
            );
            session.logout();
            assert!(
                !std::path::Path::new(&disk.path()).exists(),
                "the disk outlived its session"
            );
        },
    );
}
