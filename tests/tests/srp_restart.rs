//! The daemon killed under load: the initiator comes back by itself and finds every byte it was promised.

use tests::fio::Fio;
use tests::rxe::Rxe;
use tests::srptgt::Srptgt;
use tests::trial;
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
    let job = Fio::random_write(&session.disk(0).path())
        .verified()
        .with("bs", "8k")
        .with("iodepth", 16)
        .with("size", "64m");
    let job = more
        .iter()
        .fold(job, |job, (name, value)| job.with(name, value));
    trial::kill_9_under_load(&mut target, &session, &job, 64 << 20);
    session.logout();
}
