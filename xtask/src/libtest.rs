//! What `cargo test` says, line by line: which test file is at work, which tests failed, and how many there were.

use std::fmt;

/// Numbers of a run and the names that a reader wants to see.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: Vec<String>,
    /// Name and reason.
    pub(crate) skipped: Vec<(String, String)>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed.len())?;
        if !self.skipped.is_empty() {
            write!(f, ", {} skipped", self.skipped.len())?;
        }
        Ok(())
    }
}

/// Reads the merged output of a run of `cargo test`.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    file: String,
    tally: Tally,
    /// Tests that said that they cannot run here; libtest calls each of them passed.
    tests_that_only_skipped: usize,
}

impl Reader {
    /// Takes the next line.
    pub(crate) fn handle_line(&mut self, line: &str) {
        let line = line.trim();
        if let Some(file) = line
            .strip_prefix("Running ")
            .or_else(|| line.strip_prefix("Doc-tests "))
        {
            self.file = file.split(" (").next().unwrap_or(file).to_string();
        } else if let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|test| test.split_once(" ... "))
        {
            self.handle_test(name, result);
        } else if let Some((name, reason)) = line
            .strip_prefix("SKIPPED: ")
            .and_then(|skipped| skipped.split_once(": "))
        {
            let name = format!("{}: {name}", self.file);
            self.tally.skipped.push((name, reason.into()));
            self.tests_that_only_skipped += 1;
        }
    }

    fn handle_test(&mut self, name: &str, result: &str) {
        let name = format!("{}: {name}", self.file);
        if result == "ok" || result.starts_with("ok ") {
            self.tally.passed += 1;
        } else if let Some(reason) = result.strip_prefix("ignored") {
            let reason = reason.trim_start_matches([',', ' ']);
            self.tally.skipped.push((
                name,
                if reason.is_empty() {
                    "no reason given"
                } else {
                    reason
                }
                .into(),
            ));
        } else if result.starts_with("FAILED") {
            self.tally.failed.push(name);
        }
    }

    /// Ends the run. A run that failed without a failed test did not build, or a test process died.
    pub(crate) fn finish(mut self, succeeded: bool) -> Tally {
        self.tally.passed = self
            .tally
            .passed
            .saturating_sub(self.tests_that_only_skipped);
        if !succeeded && self.tally.failed.is_empty() {
            let what = if self.file.is_empty() {
                "cargo test (it did not build)"
            } else {
                &self.file
            };
            self.tally
                .failed
                .push(format!("{what}: ended without a result, see above"));
        }
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str], succeeded: bool) -> Tally {
        let mut reader = Reader::default();
        lines.iter().for_each(|line| reader.handle_line(line));
        reader.finish(succeeded)
    }

    #[test]
    fn tests_are_counted_by_what_became_of_them() {
        let lines = [
            "     Running unittests src/lib.rs (target/debug/deps/x-0123)",
            "test a ... ok",
            "test b ... FAILED",
            "test c ... ignored, needs a card",
            "   Doc-tests iobuf",
            "test src/lib.rs - X (line 3) - compile fail ... ok",
        ];
        let tally = read(&lines, false);
        assert_eq!(tally.passed, 2);
        assert_eq!(tally.failed, ["unittests src/lib.rs: b"]);
        assert_eq!(
            tally.skipped,
            [("unittests src/lib.rs: c".into(), "needs a card".into())]
        );
        assert_eq!(tally.to_string(), "2 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_test_that_says_it_cannot_run_here_has_not_passed() {
        let lines = [
            "     Running tests/rxe.rs (x)",
            "SKIPPED: a: no device",
            "test a ... ok",
            "test b ... ok",
        ];
        let tally = read(&lines, true);
        assert_eq!(tally.passed, 1);
        assert_eq!(
            tally.skipped,
            [("tests/rxe.rs: a".into(), "no device".into())]
        );
    }

    #[test]
    fn a_run_that_died_counts_as_a_failure() {
        assert_eq!(read(&["error: could not compile"], false).failed.len(), 1);
        assert_eq!(
            read(&["     Running tests/x.rs (y)", "test a ... ok"], false)
                .failed
                .len(),
            1
        );
        assert_eq!(
            read(&["test a ... ok"], true).to_string(),
            "1 passed, 0 failed"
        );
    }
}
