//! Resets and a stuck command over iSCSI: bounded, nothing hangs, no task leaks.

use serde_json::Value;
use tests::fio::Fio;
use tests::open_iscsi::{OpenIscsi, Transport};
use tests::rxe::Rxe;
use tests::srptgt::{Home, Srptgt};
use tests::trial;
use tests::vm::{Options, scenario};

#[test]
fn resets_under_load_lose_nothing_over_tcp() {
    let name = "resets_under_load_lose_nothing_over_tcp";
    scenario(name, Options::default(), || resets(Transport::Tcp));
}

#[test]
fn resets_under_load_lose_nothing_over_iser() {
    let name = "resets_under_load_lose_nothing_over_iser";
    scenario(name, Options::default(), || resets(Transport::Iser));
}

fn resets(transport: Transport) {
    let rxe = Rxe::on_dummy(0);
    let target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &["--ram --size 32M"]);
    let session = OpenIscsi::start().discover(transport, rxe.address).log_in();
    let disk = session.disk(0);
    // One round would be over on a fast machine before the last reset.
    let job = Fio::random_write(&disk.path())
        .verified()
        .with("bs", "16k")
        .with("iodepth", 16)
        .with("loops", 4);
    let listed = target.json::<Vec<Value>>("session list");
    // The kernel would make the session anew if the target refused the TARGET WARM RESET that `--target` is.
    trial::resets_under_load(&disk, &job.with("size", "32m"));
    let counters = target.counters();
    assert!(counters.task_management >= 3, "{counters:?}");
    target.wait_until_idle();
    let sessions = |list: &[Value]| -> Vec<Value> {
        list.iter().map(|session| session["id"].clone()).collect()
    };
    let still = target.json::<Vec<Value>>("session list");
    assert_eq!(
        sessions(&still),
        sessions(&listed),
        "a session was made anew"
    );
    assert_eq!(session.state().as_deref(), Some("LOGGED_IN"));
    session.log_out();
}

#[test]
fn a_stuck_command_is_aborted_and_the_other_lun_goes_on() {
    let name = "a_stuck_command_is_aborted_and_the_other_lun_goes_on";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let luns = ["--ram --size 16M", "--ram --size 16M"];
        let target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &luns);
        let mut initiator = OpenIscsi::start();
        for transport in Transport::ALL {
            let session = initiator.discover(transport, rxe.address).log_in();
            trial::stuck_command(&target, &session);
            assert_eq!(session.state().as_deref(), Some("LOGGED_IN"));
            session.log_out();
        }
    });
}
