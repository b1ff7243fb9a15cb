//! A committed list of what does not pass yet. It may only shrink: what is found and is not on it is worse, and what is on
//! it and is not found any more is to be cut.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the lists are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("libiscsi")
}

/// The text of a list; empty when there is none.
pub fn read(name: &str) -> String {
    fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap_or_default()
}

/// The lines of a list, and what each is known by: the test and its outcome, without the reason, which may change with what
/// the suite happens to notice first. What begins by `#` is for people.
pub fn entries(list: &str) -> Vec<(String, String)> {
    let lines = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let known = line.split(':').next().unwrap_or_default();
            (known.to_owned(), line.to_owned())
        })
        .collect()
}

/// Compares what was found, line by line, with the list of this name.
///
/// # Panics
///
/// They differ; what was found is told whole.
#[track_caller]
pub fn compare(name: &str, found: &str) {
    let (expected, fresh) = (entries(&read(name)), entries(found));
    let (worse, better) = (only_in(&fresh, &expected), only_in(&expected, &fresh));
    assert!(
        worse.is_empty() && better.is_empty(),
        "{name}.txt differs from what was found\n  found and not on the list, to be mended:\n{worse}  on the list and not found, to \
         be cut:\n{better}  everything that was found:\n{found}",
    );
}

fn only_in(these: &[(String, String)], those: &[(String, String)]) -> String {
    let mut lines = String::new();
    for (known, line) in these {
        if those.iter().all(|(other, _)| other != known) {
            let _ = writeln!(lines, "    {line}");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_by_its_test_and_its_outcome() {
        let list = "# for people\nA.B failed: x.c:5 - why\n\nC.D skipped: not there\n";
        let known: Vec<_> = entries(list).into_iter().map(|(known, _)| known).collect();
        assert_eq!(known, ["A.B failed", "C.D skipped"]);
    }

    #[test]
    fn what_is_only_on_one_side_is_told() {
        let (old, new) = (
            entries("A failed: 1\nB failed: 2\n"),
            entries("A failed: 3\nC failed: 4"),
        );
        assert_eq!(only_in(&new, &old), "    C failed: 4\n");
        assert_eq!(only_in(&old, &new), "    B failed: 2\n");
    }
}
