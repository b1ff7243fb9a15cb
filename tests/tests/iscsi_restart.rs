//! The daemon killed under load: open-iscsi comes back by itself and finds every byte it was promised.

use tests::fio::Fio;
use tests::open_iscsi::{OpenIscsi, Transport};
use tests::rxe::Rxe;
use tests::srptgt::{Home, Srptgt};
use tests::trial;
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
    let job = Fio::random_write(&session.disk(0).path())
        .verified()
        .with("bs", "8k")
        .with("iodepth", 16)
        .with("size", "48m");
    trial::kill_9_under_load(&mut target, &session, &job, 48 << 20);
    session.log_out();
}
