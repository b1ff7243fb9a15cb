//! Who gets in: the listed, the refused, and the one who is allowed while others work.

use serde_json::Value;
use tests::fio::Fio;
use tests::rxe::Rxe;
use tests::srptgt::Srptgt;
use tests::vm::{Options, scenario};

#[test]
fn a_refused_host_is_pending_until_it_is_allowed() {
    scenario(
        "a_refused_host_is_pending_until_it_is_allowed",
        Options::default(),
        || {
            let (listed, stranger) = (Rxe::on_dummy(0), Rxe::on_dummy(1));
            let target = Srptgt::start();
            target.run("lun add ds1 --ram --size 32M");
            target.run("lun add ds2 --ram --size 32M");
            target.add_host("esx01", &listed);
            target.run("map ds1 --host esx01 --lun 0");
            let session = target.login(&listed, listed.address).succeed();
            let disk = session.disk(0);
            let load = Fio::random_write(&disk.path())
                .verified()
                .with("bs", "4k")
                .with("iodepth", 4)
                .with("size", "8m")
                .start();

            let refused = target
                .login(&stranger, stranger.address)
                .attempt()
                .expect_err("a stranger got in");
            assert!(
                refused.kernel_log.contains("REJECTED, reason 0x00010003"),
                "{}",
                refused.kernel_log
            );
            let fix = fix_for(&target, &stranger.port_guid());
            target.run(fix.strip_prefix("srptgt ").expect("the fix is a command"));
            target.run(&format!(
                "map ds2 --host {} --lun 0",
                host_of(&target, &stranger.port_guid())
            ));

            let admitted = target.login(&stranger, stranger.address).succeed();
            assert_eq!(admitted.disk(0).bytes(), 32 << 20);
            assert!(
                target.json::<Vec<Value>>("pending").is_empty(),
                "an admitted host is still pending"
            );
            load.finish();
            assert_eq!(
                session.state().as_deref(),
                Some("running"),
                "another session was disturbed"
            );
        },
    );
}

/// The command that `srptgt pending` gives for a GUID.
fn fix_for(target: &Srptgt, guid: &str) -> String {
    let row = target.pending(guid, |_| true);
    let shown = target.run("pending");
    assert!(shown.contains(guid), "srptgt pending does not show {guid}");
    row["fix"].as_str().expect("the row has a fix").to_string()
}

fn host_of(target: &Srptgt, guid: &str) -> String {
    let hosts: Vec<Value> = target.json("host list");
    let lists = |host: &Value| {
        host["guids"]
            .as_array()
            .is_some_and(|guids| guids.contains(&guid.into()))
    };
    let host = hosts
        .iter()
        .find(|host| lists(host))
        .expect("the allowed GUID belongs to a host");
    host["name"]
        .as_str()
        .expect("a host has a name")
        .to_string()
}

#[test]
fn a_lun_of_another_host_cannot_be_guessed() {
    scenario(
        "a_lun_of_another_host_cannot_be_guessed",
        Options::default(),
        || {
            let (first, second) = (Rxe::on_dummy(0), Rxe::on_dummy(1));
            let target = Srptgt::start();
            target.run("lun add own --ram --size 16M");
            target.run("lun add other --ram --size 16M");
            target.add_host("first", &first);
            target.add_host("second", &second);
            target.run("map own --host first --lun 0");
            target.run("map other --host second --lun 5");

            let session = target.login(&first, first.address).succeed();
            session.disk(0);
            for lun in [1, 5, 255] {
                session.probe(lun);
            }
            let seen: Vec<u64> = session.disks().iter().map(|disk| disk.lun).collect();
            assert_eq!(seen, [0], "a LUN that is not mapped answered");
        },
    );
}
