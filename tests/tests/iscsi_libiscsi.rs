//! libiscsi over iSER: its initiator in user space, on verbs of its own, in those of its tools that take such URLs. Its test
//! suite runs natively over TCP only: over iSER it logs in twice in one process, and does not survive the second time.

use tests::command::run;
use tests::libiscsi::INITIATOR;
use tests::rxe::Rxe;
use tests::srptgt::{Home, Srptgt};
use tests::vm::{Options, scenario};

#[test]
fn libiscsis_tools_over_iser() {
    let name = "libiscsis_tools_over_iser";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::start_at(Home::in_guest("verbs"));
        target.run(&format!("host add initiator --iqn {INITIATOR}"));
        target.listen_for_iscsi();
        target.add_luns(&["--ram --size 100M"]);
        let lun = format!("iser://{}:3260/{}/0", rxe.address, target.iqn());
        let inquiry = run(&format!("iscsi-inq -i {INITIATOR} {lun}"));
        assert!(inquiry.contains("SRPTGT"), "{inquiry}");
        let capacity = run(&format!("iscsi-readcapacity16 -i {INITIATOR} {lun}"));
        assert!(capacity.contains("ADDRESS:204799"), "{capacity}");
        target.wait_until_idle();
    });
}
