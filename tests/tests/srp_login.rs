//! Logging in, and what the initiator's tools say of the LUNs that it finds.

use serde::Deserialize;
use tests::command::run;
use tests::disk::Disk;
use tests::rxe::Rxe;
use tests::srptgt::Srptgt;
use tests::vm::{Options, scenario};

/// Identity of a LUN as `srptgt lun show` prints it.
#[derive(Deserialize)]
struct Lun {
    naa: String,
    serial: String,
}

#[test]
fn login_with_the_guid_that_ibstat_printed() {
    scenario(
        "login_with_the_guid_that_ibstat_printed",
        Options::default(),
        || {
            let rxe = Rxe::on_dummy(0);
            let target = Srptgt::start();
            target.run("lun add ds1 --ram --size 64M");
            target.run("lun add ds2 --file /run/ds2.img --size 96M --block-size 4096");
            target.run(&format!("host add esx01 --guid {}", rxe.port_guid()));
            target.run("map ds1 --host esx01");
            target.run("map ds2 --host esx01 --lun 7");

            let session = target.login(&rxe, rxe.address).succeed();
            assert_eq!(
                session.attribute("ch_count"),
                "2",
                "one channel for each processor"
            );
            let (first, second) = (session.disk(0), session.disk(7));
            assert_eq!(session.disks().len(), 2);
            assert_eq!((first.bytes(), second.bytes()), (64 << 20, 96 << 20));
            tools_agree(&first, &target.json("lun show ds1"), 512);
            tools_agree(&second, &target.json("lun show ds2"), 4096);
            reports_luns(&first);
            session.logout();
        },
    );
}

fn tools_agree(disk: &Disk, lun: &Lun, block_bytes: u64) {
    let path = disk.path();
    assert!(run(&format!("sg_inq {path}")).contains("Peripheral device type: disk"));
    assert!(run(&format!("sg_inq --page=sn {path}")).contains(&lun.serial));
    let identification = run(&format!("sg_vpd --page=di {path}")).to_lowercase();
    let naa = lun.naa.trim_start_matches("naa.").trim_start_matches("0x");
    assert!(identification.contains(naa), "{naa} is not in VPD page 83");
    for page in ["sv", "bl", "bdc", "lbpv"] {
        run(&format!("sg_vpd --page={page} {path}"));
    }

    let capacity = run(&format!("sg_readcap --16 {path}"));
    let blocks = disk.bytes() / block_bytes;
    assert!(
        capacity.contains(&format!("Number of logical blocks={blocks}")),
        "{blocks} blocks"
    );
    assert!(capacity.contains(&format!("Logical block length={block_bytes} bytes")));

    let commands = run(&format!("sg_opcodes {path}"));
    for command in [
        "Inquiry",
        "Read(10)",
        "Write(16)",
        "Synchronize cache(10)",
        "Report luns",
    ] {
        assert!(commands.contains(command), "{command} is not in sg_opcodes");
    }
    run(&format!("sg_turs {path}"));
    run(&format!("sg_sync {path}"));
    run(&format!("sg_modes --all {path}"));
}

fn reports_luns(disk: &Disk) {
    let luns = run(&format!("sg_luns {}", disk.path()));
    assert!(luns.contains("0000000000000000") && luns.contains("0007000000000000"));
}

#[test]
fn a_second_wire_a_second_path() {
    scenario("a_second_wire_a_second_path", Options::default(), || {
        let (near, wire) = (Rxe::on_dummy(0), tests::rxe::Wire::new(1));
        let target = Srptgt::start();
        target.run("lun add ds1 --ram --size 64M");
        target.add_host("esx01", &near);
        target.run(&format!(
            "host set esx01 --guid {}",
            wire.initiator.port_guid()
        ));
        target.run("map ds1 --host esx01 --lun 3");

        let first = target.login(&near, near.address).succeed();
        let second = target.login(&wire.initiator, wire.target.address).succeed();
        let (first_path, second_path) = (first.disk(3), second.disk(3));
        let identification = |disk: &Disk| run(&format!("sg_vpd --page=di_lu {}", disk.path()));
        assert_eq!(
            identification(&first_path),
            identification(&second_path),
            "one LUN, two paths"
        );

        run(&format!(
            "dd if=/dev/urandom of={} bs=64k count=16 oflag=direct",
            first_path.path()
        ));
        let compare = format!(
            "cmp --bytes=1M {} {}",
            first_path.path(),
            second_path.path()
        );
        run(&compare);
        first.logout();
        second.logout();
    });
}
