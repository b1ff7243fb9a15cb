//! The rules of the house that the compiler does not check.
//!
//! Which crate may name which ([`arrows`]), what the pure crates may use ([`purity`]), where `unsafe` may stand
//! ([`places`]), and what must not stay in a file ([`leftovers`]). Each rule is a function from what it looks at to
//! its findings, so that a test shows each one failing.

mod arrows;
mod leftovers;
mod places;
mod purity;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::repository::{command, output_of};
use source::Source;

/// A rule that does not hold somewhere.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    place: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(place: impl Into<String>, line: usize, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place, self.line, self.what)
    }
}

/// Checks the repository at `root`.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    let metadata = Metadata::read()?;
    let files = Files::read(root)?;
    let sources = files.rust()?;
    let mut findings = arrows::check(&metadata);
    findings.extend(purity::check(&metadata, &sources));
    findings.extend(sources.iter().flat_map(places::check));
    findings.extend(sources.iter().flat_map(leftovers::check_rust));
    findings.extend(
        files
            .0
            .iter()
            .flat_map(|(path, text)| leftovers::check_text(path, text)),
    );
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// What `cargo metadata` says of the workspace's crates.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    /// Set for a crate of this repository.
    path: Option<PathBuf>,
}

impl Metadata {
    fn read() -> Result<Self> {
        let cargo = std::env::var("CARGO").unwrap_or("cargo".into());
        let json = output_of(command(
            &cargo,
            &["metadata", "--no-deps", "--offline", "--format-version=1"],
        ))?;
        serde_json::from_str(&json).context("reading the output of cargo metadata")
    }
}

/// The text files that git knows, or would take if asked, with their paths from the root.
struct Files(Vec<(String, String)>);

impl Files {
    fn read(root: &Path) -> Result<Self> {
        let names = output_of(command(
            "git",
            &["ls-files", "--cached", "--others", "--exclude-standard"],
        ))?;
        let files = names.lines().filter_map(|name| {
            // A file that is not text, or that was deleted and not yet committed, has nothing to read.
            let text = std::fs::read_to_string(root.join(name)).ok()?;
            Some((name.to_string(), text))
        });
        Ok(Self(files.collect()))
    }

    fn rust(&self) -> Result<Vec<Source>> {
        let rust = self.0.iter().filter(|(path, _)| path.ends_with(".rs"));
        rust.map(|(path, text)| Source::parse(path, text)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let findings = check(crate::repository::root()).unwrap();
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(
            findings.is_empty(),
            "{} finding(s):\n{}",
            findings.len(),
            lines.join("\n")
        );
    }
}
