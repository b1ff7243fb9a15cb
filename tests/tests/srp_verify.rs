//! Every byte, over every kind of store and every way in which `ib_srp` describes a buffer.

use tests::command::run;
use tests::disk::Disk;
use tests::fio::Fio;
use tests::ib_srp::set_parameter;
use tests::rxe::Rxe;
use tests::srptgt::Srptgt;
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
    assert_eq!(
        report.write.io_bytes,
        u64::from(mib) << 20,
        "fio wrote less than the LUN"
    );
    assert_eq!(
        report.read.io_bytes, report.write.io_bytes,
        "fio checked less than it wrote"
    );
}

#[test]
fn every_store_with_and_without_immediate_data() {
    scenario(
        "every_store_with_and_without_immediate_data",
        Options::default(),
        || {
            let rxe = Rxe::on_dummy(0);
            run("truncate --size=24M /run/loop.img");
            let loop_device = run("losetup --find --show --direct-io=on /run/loop.img");
            let block = format!("--block {loop_device}");
            let target = Srptgt::serving(
                &rxe,
                &["--file /run/ds.img --size 24M", &block, "--ram --size 24M"],
            );
            for immediate_data in ["N", "Y"] {
                set_parameter("use_imm_data", immediate_data);
                let session = target.login(&rxe, rxe.address).succeed();
                for lun in 0..3 {
                    verify(&session.disk(lun), 24);
                }
                session.logout();
            }
            target.wait_until_idle();
        },
    );
}

#[test]
fn every_length_of_descriptor_table() {
    // Without memory registration every page of a buffer is a descriptor of its own.
    let kernel_arguments = vec!["ib_srp.never_register=1"];
    let options = Options {
        kernel_arguments,
        ..Options::default()
    };
    scenario("every_length_of_descriptor_table", options, || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::serving(&rxe, &["--ram --size 16M"]);
        // Where the command carries fewer descriptors than there are, the target fetches the table by RDMA READ.
        for (in_the_command, in_all) in [(1, 1), (12, 12), (255, 255), (1, 255), (12, 255)] {
            let login = target
                .login(&rxe, rxe.address)
                .option("cmd_sg_entries", in_the_command)
                .option("sg_tablesize", in_all)
                .option("allow_ext_sg", u8::from(in_the_command < in_all));
            let session = login.succeed();
            verify(&session.disk(0), 16);
            session.logout();
        }
        target.wait_until_idle();
    });
}
