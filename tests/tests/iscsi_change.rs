//! LUNs change while another one is under load: the initiator sees each change, the load sees nothing.

use tests::fio::Fio;
use tests::open_iscsi::{OpenIscsi, Transport};
use tests::rxe::Rxe;
use tests::srptgt::{Home, Srptgt};
use tests::trial;
use tests::vm::{Options, scenario};

#[test]
fn a_lun_is_added_grown_and_removed_under_load() {
    let name = "a_lun_is_added_grown_and_removed_under_load";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &["--ram --size 32M"]);
        let mut initiator = OpenIscsi::start();
        for transport in Transport::ALL {
            let session = initiator.discover(transport, rxe.address).log_in();
            let busy = session.disk(0);
            let job = Fio::random_write(&busy.path())
                .verified()
                .with("bs", "4k")
                .with("iodepth", 4);
            let mut load = job.with("size", "32m").start();

            let disk = trial::lun_comes_and_grows(&target, &session);
            trial::lun_goes(&target, &session, disk);

            assert!(
                load.is_running(),
                "the load was over before the changes were"
            );
            load.finish();
            assert_eq!(session.state().as_deref(), Some("LOGGED_IN"));
            session.log_out();
        }
        target.wait_until_idle();
    });
}
