//! The table in the README, between two markers.

use std::fs;

use anyhow::{Context, Result};

use crate::repository;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// Puts `table` into the README.
pub(super) fn update(table: &str) -> Result<()> {
    let file = repository::root().join("README.md");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let text = replaced(&text, table).with_context(|| {
        format!("README.md has no two lines {BEGIN} and {END} to put the table between")
    })?;
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let lines = table.trim_end().lines();
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    Some(format!("{before}{BEGIN}\n{lines}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::text;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let text = format!("# srptgt\n{BEGIN}\nold\n{END}\nmore\n");
        let once = replaced(&text, "new\n").unwrap();
        assert_eq!(once, format!("# srptgt\n{BEGIN}\nnew\n{END}\nmore\n"));
        assert_eq!(replaced(&once, "new\n").unwrap(), once);
    }

    #[test]
    fn the_readme_has_the_table_of_the_latest_results_or_none() {
        let root = repository::root();
        let readme = fs::read_to_string(root.join("README.md")).unwrap();
        let table = text(&root.join("bench/results/latest.md")).unwrap();
        let table = table.unwrap_or_default();
        assert_eq!(
            replaced(&readme, &table).as_deref(),
            Some(readme.as_str()),
            "run `cargo xtask bench --last --update-readme`"
        );
    }

    #[test]
    fn a_readme_without_markers_is_left_alone() {
        assert_eq!(replaced("# srptgt\n", "new"), None);
        assert_eq!(replaced(&format!("{END} {BEGIN}"), "new"), None);
    }
}
