//! Does a target do what the standards say (SAM-5, SPC-4, SBC-3)? A list of checks over sessions of ours.
//!
//! Room: between a target, ours or another, and who wants to know whether its data path is right. It may touch
//! sessions, and writes to the beginning of one logical unit. It names no transport beyond how to log in.

use std::fmt;

use initiator::scsi::Capacity;
use initiator::{ConnectError, ExecuteError, Lun, Nexus};
use serde::Serialize;

use crate::exercise::{Dial, ExerciseError, Line};
use crate::portal::Protocol;

mod access;
mod commands;
mod data;
mod tasks;

/// Lets commands for the medium wait, or go on.
pub type Stall = Box<dyn Fn(bool) -> anyhow::Result<()> + Send>;

/// What is examined.
pub struct Target {
    /// How to reach it.
    pub dial: Dial,
    /// The logical unit, whose first 16 MiB are written over.
    pub lun: Lun,
    /// Whom it must not let in, if there is such a one.
    pub stranger: Option<Dial>,
    /// How commands are held up, when that is possible: then an abort finds something to end.
    pub stall: Option<Stall>,
}

/// One check.
#[derive(Clone, Copy)]
struct Check {
    name: &'static str,
    run: fn(&mut Subject) -> Result<String, Failed>,
}

const fn check(name: &'static str, run: fn(&mut Subject) -> Result<String, Failed>) -> Check {
    Check { name, run }
}

/// All checks, in their order: each finds the target as the ones before have left it.
const CHECKS: [Check; 20] = [
    check("login", access::login),
    check("stranger", access::stranger),
    check("inquiry", commands::inquiry),
    check("vital-product-data", commands::vital_product_data),
    check("capacity", commands::capacity),
    check("report-luns", commands::report_luns),
    check("unknown-lun", commands::unknown_lun),
    check("unknown-command", commands::unknown_command),
    check("out-of-range", commands::out_of_range),
    check("residual-in", commands::residual_in),
    check("residual-out", commands::residual_out),
    check("residual-overflow", commands::residual_overflow),
    check("write-and-read", data::write_and_read),
    check("force-unit-access", data::force_unit_access),
    check("synchronize-cache", data::synchronize_cache),
    check("queue", data::queue),
    check("abort", tasks::abort),
    check("lun-reset", tasks::lun_reset),
    check("two-sessions", access::two_sessions),
    check("relogin", access::relogin),
];

/// Names of all checks.
pub fn names() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().map(|check| check.name)
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As the standards have it.
    Pass,
    /// Not so.
    Fail,
    /// Not asked for, or not possible on this target.
    Skip,
}

/// What a check has found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What carried the session.
    pub transport: Protocol,
    /// Of the check.
    pub name: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was expected, when it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What came; or why it was skipped.
    pub came: String,
}

impl Finding {
    fn of(transport: Protocol, name: &'static str, result: Result<String, Failed>) -> Self {
        let (verdict, expected, came) = match result {
            Ok(came) => (Verdict::Pass, None, came),
            Err(Failed::Impossible(why)) => (Verdict::Skip, None, why.to_owned()),
            Err(Failed::Differs { expected, came }) => (Verdict::Fail, Some(expected), came),
        };
        Self {
            transport,
            name,
            verdict,
            expected,
            came,
        }
    }
}

/// A check did not pass.
#[derive(Debug)]
enum Failed {
    /// Something else came.
    Differs { expected: String, came: String },
    /// It says nothing about this target.
    Impossible(&'static str),
}

/// Fails unless both are the same.
fn expect<T: PartialEq + fmt::Debug>(what: &str, expected: &T, came: &T) -> Result<(), Failed> {
    match expected == came {
        true => Ok(()),
        false => Err(differs(format!("{what} {expected:?}"), format!("{came:?}"))),
    }
}

fn differs(expected: impl Into<String>, came: impl Into<String>) -> Failed {
    Failed::Differs {
        expected: expected.into(),
        came: came.into(),
    }
}

impl From<ExecuteError> for Failed {
    fn from(error: ExecuteError) -> Self {
        differs("status GOOD", error.to_string())
    }
}

impl From<ExerciseError> for Failed {
    fn from(error: ExerciseError) -> Self {
        let expected = match error {
            ExerciseError::Mismatch(_) => "the bytes that were written",
            _ => "status GOOD",
        };
        differs(expected, error.to_string())
    }
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        differs("a login", error.to_string())
    }
}

/// What the checks work on.
struct Subject {
    target: Target,
    line: Line,
    session: Option<Box<dyn Nexus>>,
    capacity: Capacity,
}

impl Subject {
    fn new(target: Target) -> Self {
        Self {
            line: target.dial.line(0),
            target,
            session: None,
            capacity: Capacity {
                blocks: 0,
                block_bytes: 512,
            },
        }
    }

    /// The session; a lost one is made again.
    fn nexus(&mut self) -> Result<&mut dyn Nexus, Failed> {
        let session = match self.session.take() {
            Some(session) => session,
            None => access::ready(self.line.log_in(0)?, self.target.lun)?,
        };
        Ok(&mut **self.session.insert(session))
    }
}

/// Runs all checks but those that are skipped, and reports each as soon as it is done. Returns true when none failed.
/// What needs a session does not run without.
pub fn run(target: Target, skip: &[String], mut report: impl FnMut(&Finding)) -> bool {
    let transport = target.dial.protocol();
    let mut subject = Subject::new(target);
    let mut passed = true;
    for check in CHECKS {
        let result = match skip.iter().any(|name| name == check.name) {
            true => Err(Failed::Impossible("not asked for")),
            false => (check.run)(&mut subject),
        };
        let finding = Finding::of(transport, check.name, result);
        report(&finding);
        let failed = finding.verdict == Verdict::Fail;
        passed &= !failed;
        if failed && check.name == "login" {
            return false;
        }
        if failed {
            // What the next one finds must not come from this one.
            subject.session = None;
        }
    }
    if let Some(session) = subject.session {
        session.log_out();
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_name_of_its_own() {
        let all: std::collections::BTreeSet<_> = names().collect();
        assert_eq!(all.len(), CHECKS.len());
    }

    fn finding(result: Result<String, Failed>) -> Finding {
        Finding::of(Protocol::Tcp, "x", result)
    }

    #[test]
    fn a_finding_has_what_was_expected_only_when_something_else_came() {
        let fail = finding(expect("STATUS", &1, &2).map(|()| String::new()));
        assert_eq!(fail.verdict, Verdict::Fail);
        assert_eq!(
            (fail.expected.as_deref(), &*fail.came),
            (Some("STATUS 1"), "2")
        );
        let pass = finding(expect("STATUS", &1, &1).map(|()| "1".to_owned()));
        assert_eq!((pass.verdict, pass.expected), (Verdict::Pass, None));
        let skip = finding(Err(Failed::Impossible("why")));
        assert_eq!((skip.verdict, skip.expected), (Verdict::Skip, None));
    }
}
