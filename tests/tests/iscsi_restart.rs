//! The daemon killed under load: open-iscsi comes back by itself and finds every byte it was promised.

use tests::command::run;
use tests::deadline::until_true;
use tests::fio::Fio;
use tests::open_iscsi::{OpenIscsi, Transport};
use tests::rxe::Rxe;
use tests::srptgt::{Home, Srptgt};
use tests::vm::{Options, scenario};

#[test]
fn kill_9_during_verified_writes_over_tcp() {
    let name = "kill_9_during_verified_writes_over_tcp";
    scenario(name, Options::default(), || {
        kill_9_under_load(Transport::Tcp)
    });
}

#[test]
fn kill_9_during_verified_writes_over_iser() {
    let name = "kill_9_during_verified_writes_over_iser";
    scenario(name, Options::default(), || {
        kill_9_under_load(Transport::Iser)
    });
}

fn kill_9_under_load(transport: Transport) {
    let rxe = Rxe::on_dummy(0);
    let luns = ["--file /run/ds.img --size 48M --write-cache off"];
    let mut target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &luns);
    let session = OpenIscsi::start().discover(transport, rxe.address).log_in();
    let disk = session.disk(0);
    let job = Fio::random_write(&disk.path())
        .verified()
        .with("bs", "8k")
        .with("iodepth", 16);
    let mut load = job.with("size", "48m").start();
    until_true("a part of the load to be written", 30, || {
        target.counters().written_bytes > 8 << 20
    });
    target.kill();
    assert!(
        load.is_running(),
        "the load was over before the daemon was killed"
    );
    session.wait_for_state("FAILED", 60);
    target.start_again();
    session.wait_for_state("LOGGED_IN", 60);

    // Every block that was acknowledged before, during and after is read back and compared.
    let report = load.finish();
    assert_eq!(report.read.io_bytes, 48 << 20);
    run(&format!("sg_turs {}", disk.path()));
    session.log_out();
}
