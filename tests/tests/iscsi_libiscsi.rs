//! libiscsi over iSER: its initiator in user space, on verbs of its own, in those of its tools that take such URLs, and in
//! those tests of its suite that pass over TCP. A test has a process of its own, in which it logs in at least twice.
//!
//! libiscsi 1.19 never disconnects: it frees what the handler of its connection manager's events needs, and whoever is the
//! first to disconnect breaks its process. So this shows, too, that the target leaves that to the initiator.

use std::collections::HashSet;

use tests::command::run;
use tests::libiscsi::{INITIATOR, Outcome, SECOND_INITIATOR, list, run_test, tests};
use tests::rxe::Rxe;
use tests::srptgt::{Home, Srptgt};
use tests::vm::{Options, scenario};

#[test]
fn libiscsis_tools_and_its_suite_over_iser() {
    let name = "libiscsis_tools_and_its_suite_over_iser";
    let options = Options {
        time_limit_s: 900,
        ..Options::default()
    };
    scenario(name, options, || {
        let rxe = Rxe::on_dummy(0);
        let mut target = Srptgt::start_at(Home::in_guest("verbs"));
        target.run(&format!(
            "host add initiator --iqn {INITIATOR} --iqn {SECOND_INITIATOR}"
        ));
        target.listen_for_iscsi();
        target.add_luns(&["--ram --size 100M"]);
        let lun = format!("iser://{}:3260/{}/0", rxe.address, target.iqn());
        let inquiry = run(&format!("iscsi-inq -i {INITIATOR} {lun}"));
        assert!(inquiry.contains("SRPTGT"), "{inquiry}");
        let capacity = run(&format!("iscsi-readcapacity16 -i {INITIATOR} {lun}"));
        assert!(capacity.contains("ADDRESS:204799"), "{capacity}");
        let mut found = String::new();
        for test in tests_of_the_data_path() {
            let outcome = run_test(&test, std::slice::from_ref(&lun));
            assert!(target.is_running(), "{test}: the daemon has ended");
            println!("{test} {outcome}");
            if outcome != Outcome::Passed {
                found += &format!("{test} {outcome}\n");
            }
        }
        list::compare("iser", &found);
        target.wait_until_idle();
        assert_eq!(target.counters().pool_used_bytes, 0);
    });
}

/// Those that a data path is in. The others try commands that there are not, or find faults of the suite.
fn tests_of_the_data_path() -> Vec<String> {
    /// To a datamover these are what commands of ten bytes are; and there is one path.
    const DOUBLES: [&str; 4] = ["Read6.", "Read12.", "Write12.", "MultipathIO."];
    let known = list::entries(&list::read("thick-512"));
    let fail_over_tcp: HashSet<_> = known
        .iter()
        .filter_map(|(known, _)| known.split(' ').next())
        .collect();
    let mut tests = tests();
    tests.retain(|test| {
        let is_double = DOUBLES.iter().any(|family| test.starts_with(family));
        !is_double && !fail_over_tcp.contains(test.as_str())
    });
    tests
}
