//! libiscsi's test suite against srptgt over TCP, natively: every test in a process of its own, on LUNs of several
//! shapes, and what does not pass yet is committed.
//!
//! The lists in `tests/libiscsi/` may only shrink. A test that fails or is skipped and is not on its list fails here;
//! one that is on it and passes is to be cut from it.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::bed::{loopback_address, natively};
use tests::deadline::until_true;
use tests::libiscsi::{INITIATOR, Outcome, SECOND_INITIATOR, list, run_test, tests};
use tests::srptgt::Srptgt;

/// A LUN that lets tests run which others skip.
struct Shape {
    /// The name of its list.
    name: &'static str,
    /// Options of `srptgt lun add`.
    options: &'static str,
    /// Which tests run on it.
    wants: fn(&str) -> bool,
}

const SHAPES: [&str; 4] = ["thick-512", "thin-512", "thin-4096", "read-only"];

#[test]
fn thick_512() {
    hold(&Shape {
        name: "thick-512",
        options: "--ram --size 100M",
        wants: |_| true,
    });
}

#[test]
fn thin_512() {
    hold(&Shape {
        name: "thin-512",
        options: "--ram --size 100M --thin",
        wants: |_| true,
    });
}

#[test]
fn thin_4096() {
    hold(&Shape {
        name: "thin-4096",
        options: "--ram --size 100M --block-size 4096 --thin",
        wants: |_| true,
    });
}

/// Most tests write, and do not ask whether they may.
#[test]
fn read_only() {
    const FAMILIES: [&str; 4] = ["Inquiry.", "ModeSense6.", "ReadCapacity", "ReadOnly."];
    hold(&Shape {
        name: "read-only",
        options: "--ram --size 100M --read-only",
        wants: |test| FAMILIES.iter().any(|family| test.starts_with(family)),
    });
}

/// The families of iSCSI itself are on no list, whatever is done to the lists. What is here is the suite's own fault.
#[test]
fn what_concerns_iscsi_itself_passes() {
    // It asserts that an answer has come before it has waited for one; later versions do not.
    const FAULTS: [&str; 1] = ["iSCSITMF.LUNResetSimpleAsync"];
    for shape in SHAPES {
        for (known, line) in list::entries(&list::read(shape)) {
            let test = known.split(' ').next().unwrap_or_default();
            let is_iscsi = test.starts_with("iSCSI") && !FAULTS.contains(&test);
            let wants_what_is_not_there = line.ends_with("is not implemented.");
            assert!(!is_iscsi || wants_what_is_not_there, "{shape}: {line}");
        }
    }
}

/// Runs the suite on a LUN of this shape, by two paths, and compares with its list.
fn hold(shape: &Shape) {
    natively(|bed| {
        let mut target = bed.target();
        let paths = serve(&target, shape.options);
        let mut found = String::new();
        for test in tests().iter().filter(|test| (shape.wants)(test)) {
            let outcome = run_test(test, &paths);
            assert!(target.is_running(), "{test}: the daemon has ended");
            if outcome != Outcome::Passed {
                found += &format!("{test} {outcome}\n");
            }
            // What a test that broke off has left behind is not the next one's.
            if matches!(outcome, Outcome::Failed(_)) {
                target.terminate();
                target.start_again();
            }
        }
        assert_nothing_is_left(&target);
        compare(shape.name, &found);
    });
}

/// Two portals, and a LUN for the suite's initiators. The URLs of the LUN.
fn serve(target: &Srptgt, options: &str) -> Vec<String> {
    let portals = [loopback_address(), loopback_address()];
    for portal in portals {
        target.run(&format!("portal add tcp {portal}"));
    }
    target.run(&format!(
        "host add initiator --iqn {INITIATOR} --iqn {SECOND_INITIATOR}"
    ));
    target.add_luns(&[options]);
    let shown: Value = target.json("target show");
    let name = shown["iqn"].as_str().expect("an iSCSI name");
    portals
        .map(|portal| format!("iscsi://{portal}:3260/{name}/0"))
        .to_vec()
}

fn assert_nothing_is_left(target: &Srptgt) {
    until_true("everybody to be gone", 60, || {
        target.json::<Vec<Value>>("session list").is_empty()
    });
    target.wait_until_idle();
    assert_eq!(target.counters().pool_used_bytes, 0);
}

/// Compares with the list, and leaves what was found beside the test's executable.
fn compare(name: &str, found: &str) {
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.txt"));
    fs::write(&fresh, found).expect("writing what was found");
    list::compare(name, found);
}
