//! The daemon killed under load: the initiator comes back by itself and finds every byte it was promised.

use tests::command::run;
use tests::deadline::until_true;
use tests::fio::Fio;
use tests::rxe::Rxe;
use tests::srptgt::Srptgt;
use tests::vm::{Options, scenario};

#[test]
fn kill_9_during_verified_writes_without_a_write_cache() {
    scenario(
        "kill_9_during_verified_writes_without_a_write_cache",
        Options::default(),
        || {
            kill_9_under_load("--write-cache off", &[]);
        },
    );
}

#[test]
fn kill_9_during_verified_writes_with_a_write_cache() {
    scenario(
        "kill_9_during_verified_writes_with_a_write_cache",
        Options::default(),
        || {
            kill_9_under_load("--write-cache on", &[("fsync", "32")]);
        },
    );
}

fn kill_9_under_load(write_cache: &str, more: &[(&str, &str)]) {
    let rxe = Rxe::on_dummy(0);
    let lun = format!("--file /run/ds.img --size 64M {write_cache}");
    let mut target = Srptgt::serving(&rxe, &[&lun]);
    let session = target.login(&rxe, rxe.address).succeed();
    session.set_timeout("reconnect_delay", 1);
    session.set_timeout("fast_io_fail_tmo", "off");
    let disk = session.disk(0);

    let job = Fio::random_write(&disk.path())
        .verified()
        .with("bs", "8k")
        .with("iodepth", 16)
        .with("size", "64m");
    let mut load = more
        .iter()
        .fold(job, |job, (name, value)| job.with(name, value))
        .start();
    until_true("a part of the load to be written", 30, || {
        target.counters().written_bytes > 8 << 20
    });
    target.kill();
    assert!(
        load.is_running(),
        "the load was over before the daemon was killed"
    );
    session.wait_for_state("blocked", 20);
    target.start_again();
    session.wait_for_state("running", 30);

    // Every block that was acknowledged before, during and after is read back and compared.
    let report = load.finish();
    assert_eq!(report.read.io_bytes, 64 << 20);
    run(&format!("sg_turs {}", disk.path()));
    session.logout();
}
