//! Two ways to one LUN, SRP and iSER: one disk to the host, and a cable that is pulled costs no byte.

use serde_json::Value;
use tests::command::run;
use tests::deadline::until_true;
use tests::disk::Disk;
use tests::fio::Fio;
use tests::multipath::Multipath;
use tests::open_iscsi::{INITIATOR, OpenIscsi, Transport};
use tests::rxe::Wire;
use tests::srptgt::{Home, Srptgt};
use tests::vm::{Options, scenario};

#[test]
fn a_lun_over_srp_and_iser_survives_the_loss_of_either() {
    let name = "a_lun_over_srp_and_iser_survives_the_loss_of_either";
    scenario(name, Options::default(), || {
        let [by_srp, by_iser] = [0, 1].map(Wire::turned);
        let target = Srptgt::start_at(Home::in_guest("verbs").beside(&by_srp.target));
        target.listen_for_iscsi();
        target.add_host("initiator", &by_srp.initiator);
        target.run(&format!("host set initiator --iqn {INITIATOR}"));
        target.add_luns(&["--file /run/ds.img --size 32M"]);

        let login = target.login(&by_srp.initiator, by_srp.target.address);
        let srp = login.option("tl_retry_count", 2).succeed();
        // In this order: while `ib_srp` tries to come back it fails no command.
        srp.set_timeout("fast_io_fail_tmo", 2);
        srp.set_timeout("reconnect_delay", 6);
        let node = OpenIscsi::start().discover(Transport::Iser, by_iser.target.address);
        node.set("node.session.timeo.replacement_timeout", 2);
        node.set("node.conn[0].timeo.noop_out_interval", 1);
        node.set("node.conn[0].timeo.noop_out_timeout", 2);
        let iser = node.log_in();
        let paths = [srp.disk(0), iser.disk(0)];
        assert_one_identity(&paths);
        assert_both_listed(&target);

        let disk = Multipath::of("ds", &paths.each_ref());
        for (wire, path) in [&by_srp, &by_iser].into_iter().zip(&paths) {
            let mut load = verified_load(&disk).start();
            wait_for_writes(&target);
            assert!(disk.uses(path));
            wire.pull();
            disk.wait_for_failure_of(path);
            assert!(
                load.is_running(),
                "the load was over before the cable was pulled"
            );
            wait_for_writes(&target);
            wire.plug();
            disk.reinstate(path);
            load.finish();
        }
        verified_load(&disk).run();
        assert!(paths.iter().all(|path| disk.uses(path)));
        disk.remove();
        iser.log_out();
        srp.logout();
        target.wait_until_idle();
    });
}

fn verified_load(disk: &Multipath) -> Fio {
    Fio::random_write(&disk.path())
        .verified()
        .with("bs", "8k")
        .with("iodepth", 8)
        .with("size", "32m")
}

/// The load makes progress.
fn wait_for_writes(target: &Srptgt) {
    let before = target.counters().written_bytes;
    until_true("a part of the load to be written", 60, || {
        target.counters().written_bytes > before + (1 << 20)
    });
}

/// Both paths show the same designators, which is how a host knows that they lead to one LUN.
fn assert_one_identity(paths: &[Disk; 2]) {
    let [first, second] = paths
        .each_ref()
        .map(|path| run(&format!("sg_inq --page=0x83 {}", path.path())));
    let of_unit = |page: &str| {
        let unit = page
            .split("associated with the")
            .filter(|part| part.trim_start().starts_with("Addressed logical unit"));
        unit.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(!of_unit(&first).is_empty(), "{first}");
    assert_eq!(of_unit(&first), of_unit(&second));
    let [first, second] = paths.each_ref().map(Disk::wwid);
    assert!(first.starts_with("naa."), "{first}");
    assert_eq!(first, second);
}

fn assert_both_listed(target: &Srptgt) {
    println!("{}", target.run("session list"));
    let sessions: Vec<Value> = target.json("session list");
    let mut transports: Vec<&str> = sessions
        .iter()
        .filter_map(|session| session["transport"].as_str())
        .collect();
    transports.sort_unstable();
    assert_eq!(transports, ["iser", "srp"]);
    assert!(
        sessions
            .iter()
            .all(|session| session["host"] == "initiator")
    );
}
