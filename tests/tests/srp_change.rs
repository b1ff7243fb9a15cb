//! LUNs change while another one is under load: the initiator sees each change, the load sees nothing.

use tests::command::{attempt, run};
use tests::fio::Fio;
use tests::rxe::Rxe;
use tests::srptgt::Srptgt;
use tests::trial;
use tests::vm::{Options, scenario};

#[test]
fn a_lun_is_added_grown_protected_and_removed_under_load() {
    scenario(
        "a_lun_is_added_grown_protected_and_removed_under_load",
        Options::default(),
        || {
            let rxe = Rxe::on_dummy(0);
            let target = Srptgt::serving(&rxe, &["--ram --size 32M"]);
            let session = target.login(&rxe, rxe.address).succeed();
            let busy = session.disk(0);
            let job = Fio::random_write(&busy.path())
                .verified()
                .with("bs", "4k")
                .with("iodepth", 4);
            let mut load = job.with("size", "32m").start();

            let disk = trial::lun_comes_and_grows(&target, &session);
            target.run("lun set extra --read-only on");
            disk.rescan();
            assert!(disk.is_read_only());
            assert!(
                !attempt(&format!(
                    "dd if=/dev/zero of={} bs=4k count=1 oflag=direct",
                    disk.path()
                ))
                .succeeded()
            );
            target.run("lun set extra --read-only off");
            disk.rescan();
            run(&format!(
                "dd if=/dev/zero of={} bs=4k count=1 oflag=direct",
                disk.path()
            ));

            trial::lun_goes(&target, &session, disk);

            assert!(
                load.is_running(),
                "the load was over before the changes were"
            );
            load.finish();
            assert_eq!(session.state().as_deref(), Some("running"));
        },
    );
}
