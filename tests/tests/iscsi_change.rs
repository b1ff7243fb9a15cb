//! LUNs change while another one is under load: the initiator sees each change, the load sees nothing.

use tests::command::{attempt, run};
use tests::deadline::until_true;
use tests::fio::Fio;
use tests::kernel_log::Mark;
use tests::open_iscsi::{OpenIscsi, Transport};
use tests::rxe::Rxe;
use tests::srptgt::{Home, Srptgt};
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

            let mark = Mark::set();
            target.run("lun add extra --file /run/extra.img --size 16M");
            target.run("map extra --host initiator --lun 1");
            until_true("the kernel to log that LUNs have changed", 30, || {
                mark.since().contains("LUN assignments on this target")
            });
            session.rescan();
            let disk = session.disk(1);
            assert_eq!(disk.bytes(), 16 << 20);

            let mark = Mark::set();
            target.run("lun resize extra 24M");
            // The next command is answered with the attention; the administrator's rescan reads the new size.
            attempt(&format!(
                "dd if={} of=/dev/null bs=4k count=1 iflag=direct",
                disk.path()
            ));
            until_true("the kernel to log the attention", 30, || {
                mark.since().contains("apacity data has changed")
            });
            session.rescan();
            assert_eq!(disk.bytes(), 24 << 20);

            target.run("unmap extra --host initiator");
            target.run("lun remove extra");
            run("rm /run/extra.img");
            let ready = attempt(&format!("sg_turs {}", disk.path()));
            assert!(!ready.succeeded(), "a removed LUN still answers");
            assert!(!run(&format!("sg_luns {}", busy.path())).contains("0001000000000000"));
            disk.delete();

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
