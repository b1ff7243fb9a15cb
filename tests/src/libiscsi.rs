//! libiscsi's test suite, `iscsi-test-cu`: which tests it has, and what becomes of one of them.
//!
//! A test gets a process of its own with a time limit, so that what one leaves behind is not the next one's. The suite
//! counts a test that it skipped among those that passed; here a skipped test is one of its own kind, with the reason
//! that the suite gave.

use std::fmt;
use std::process::{Command, Stdio};

use crate::command::run;

pub mod list;

/// The suite's own name, which a host must list.
pub const INITIATOR: &str = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test";

/// And its second one.
pub const SECOND_INITIATOR: &str = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test-2";

/// A test takes a second at most, on a machine that does nothing else.
const TEST_LIMIT_S: u32 = 150;

/// Over iSER, libiscsi 1.19 takes memory that it has not written for pointers, from the second login of a process on. With
/// this, the C library gives out memory that is zero, which is what such a login wants.
const ZEROED_MEMORY: [(&str, &str); 1] = [("MALLOC_PERTURB_", "255")];

/// Over iSER, libiscsi 1.19 has a thread for the events of its connection manager, which reads its connection once more after
/// it has told the main thread of an event, and nobody waits for it before the connection is freed. On one processor and
/// in real time, it runs until it sleeps for the next event.
const IN_ORDER: [&str; 6] = ["taskset", "--cpu-list", "0", "chrt", "--fifo", "1"];

/// With what status `timeout` ends when it had to end the command.
const TIMED_OUT: i32 = 124;

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it is for, and found nothing.
    Passed,
    /// It did not, or not all of it, for this reason.
    Skipped(String),
    /// It found a fault, or did not come to its end.
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

/// The names of all tests, such as `Read10.Simple`.
///
/// # Panics
///
/// The suite is not installed, or is empty.
pub fn tests() -> Vec<String> {
    let list = run("iscsi-test-cu --list");
    let names = list.lines().filter_map(|line| line.strip_prefix("ALL."));
    let tests: Vec<String> = names
        .filter(|name| name.contains('.'))
        .map(str::to_owned)
        .collect();
    assert!(tests.len() > 200, "a suite of {} tests", tests.len());
    tests
}

/// Runs a test on a LUN, which the URLs name by one or two paths.
///
/// # Panics
///
/// It cannot be started.
pub fn run_test(name: &str, paths: &[String]) -> Outcome {
    let limit = TEST_LIMIT_S.to_string();
    let mut command = Command::new("timeout");
    command.arg(&limit);
    if paths.iter().any(|path| path.starts_with("iser:")) {
        command.envs(ZEROED_MEMORY).args(IN_ORDER);
    }
    command.args(["iscsi-test-cu", "--dataloss", "--allow-sanitize"]);
    command.arg("--test").arg(format!("ALL.{name}")).args(paths);
    // What it says of a test is on standard output; the rest is chatter about paths.
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    match output.status.code() {
        Some(TIMED_OUT) => Outcome::Failed(format!("no end in {TEST_LIMIT_S} s")),
        Some(_) => judge(&String::from_utf8_lossy(&output.stdout)),
        None => Outcome::Failed("a signal ended it".to_owned()),
    }
}

/// What the suite's output says of the one test that it ran.
fn judge(output: &str) -> Outcome {
    let Some((_, told)) = output.split_once("  Test: ") else {
        let last = output.lines().rfind(|line| !line.trim().is_empty());
        let last = last.unwrap_or("it said nothing");
        return Outcome::Failed(format!("it did not begin: {}", last.trim()));
    };
    let Some((body, summary)) = told.split_once("Run Summary:") else {
        return Outcome::Failed("it broke off".to_owned());
    };
    match failed_tests(summary) {
        Some(0) => {}
        Some(_) => return Outcome::Failed(first_fault(body)),
        None => return Outcome::Failed("its summary has no count of failed tests".to_owned()),
    }
    // What follows the verdict is said by the suite when it clears up.
    let body = body
        .rsplit_once("passed")
        .map_or(body, |(before, _)| before);
    match body.split_once("[SKIPPED]") {
        Some((_, reason)) => Outcome::Skipped(first_line(reason)),
        None => Outcome::Passed,
    }
}

/// The column "Failed" in the line "tests".
fn failed_tests(summary: &str) -> Option<u32> {
    let tests = summary
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("tests "))?;
    tests.split_whitespace().nth(3)?.parse().ok()
}

/// The first assertion that did not hold; the suite numbers them.
fn first_fault(body: &str) -> String {
    let fault = body.split_once("\n    1. ").map(|(_, fault)| fault);
    fault.map_or_else(|| "no assertion".to_owned(), first_line)
}

/// A line may go on with what the suite says next, which begins by a bracket.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.split("    [").next().unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(body: &str, failed: u32) -> String {
        format!(
            "    [SKIPPED] PERSISTENT RESERVE IN is not implemented.\n\nSuite: Read10\n  Test: Simple ...{body}    \
             [SKIPPED] PERSISTENT RESERVE IN is not implemented.\n\nRun Summary:    Type  Total    Ran Passed Failed \
             Inactive\n              suites      1      1    n/a      0        0\n               tests      1      1      \
             0      {failed}        0\n             asserts      4      4      3      1      n/a\n"
        )
    }

    #[test]
    fn what_the_suite_says_before_and_after_a_test_is_not_of_it() {
        assert_eq!(judge(&output("passed", 0)), Outcome::Passed);
    }

    #[test]
    fn a_skipped_test_is_told_from_one_that_passed() {
        let body = "    [SKIPPED] UNMAP is not  implemented.\n    [SKIPPED] more\npassed";
        let expected = Outcome::Skipped("UNMAP is not implemented.".to_owned());
        assert_eq!(judge(&output(body, 0)), expected);
    }

    #[test]
    fn a_failed_test_is_known_by_its_first_assertion() {
        let body = "    [FAILED] WRITE10 failed\nFAILED\n    1. test_a.c:133  - CU_ASSERT_NOT_EQUAL(ret,0)\n    2. test_a.c:7 - no";
        let expected = Outcome::Failed("test_a.c:133 - CU_ASSERT_NOT_EQUAL(ret,0)".to_owned());
        assert_eq!(judge(&output(body, 1)), expected);
    }

    #[test]
    fn a_test_without_an_end_has_failed() {
        assert_eq!(
            judge("  Test: Simple ..."),
            Outcome::Failed("it broke off".to_owned())
        );
        let refused = judge("x\nFailed to log in\n\n");
        assert_eq!(
            refused,
            Outcome::Failed("it did not begin: Failed to log in".to_owned())
        );
    }
}
