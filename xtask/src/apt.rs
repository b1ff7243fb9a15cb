//! Debian packages fetched with an apt of their own: the machine's configuration, lists and packages stay as they
//! are. Lists and downloads live in the folder that the caller names.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::repository::{output_of, run};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite of Debian's archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    archive: &'static str,
    name: &'static str,
}

impl Suite {
    /// A suite of the main archive, such as `bookworm`.
    pub(crate) const fn main(name: &'static str) -> Self {
        Self {
            archive: "debian",
            name,
        }
    }

    /// A suite of the security archive, such as `bookworm-security`.
    pub(crate) const fn security(name: &'static str) -> Self {
        Self {
            archive: "debian-security",
            name,
        }
    }

    /// The machine's own apt knows where the archive is; `SRPTGT_DEBIAN_MIRROR` names another place for the main archive,
    /// `SRPTGT_DEBIAN_SECURITY_MIRROR` for the security archive.
    fn source(self) -> Result<String> {
        let variable = match self.archive {
            "debian" => "SRPTGT_DEBIAN_MIRROR",
            _ => "SRPTGT_DEBIAN_SECURITY_MIRROR",
        };
        let mirror = match env::var(variable) {
            Ok(mirror) => mirror,
            Err(_) => mirror_of(self.archive, &known_archives()?).with_context(|| {
                format!(
                    "apt knows no mirror of the archive {}: run apt-get update, or set {variable}",
                    self.archive
                )
            })?,
        };
        Ok(format!(
            "deb [signed-by={KEYRING}] {mirror} {} main\n",
            self.name
        ))
    }
}

/// The archives that the machine's apt has the lists of, one to a line.
fn known_archives() -> Result<String> {
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format", "$(REPO_URI)"]);
    output_of(apt)
}

/// The first of the archives whose folder has this name.
fn mirror_of(archive: &str, known: &str) -> Option<String> {
    let mut mirrors = known.lines().map(|line| line.trim().trim_end_matches('/'));
    let found = mirrors.find(|mirror| mirror.rsplit('/').next() == Some(archive));
    found.map(str::to_owned)
}

/// An apt that knows some suites and touches nothing of the machine's.
pub(crate) struct Apt {
    folder: PathBuf,
    config: PathBuf,
}

impl Apt {
    /// Reads the suites' lists into `folder/apt/`; packages will be downloaded to `folder`.
    pub(crate) fn new(folder: &Path, suites: &[Suite]) -> Result<Self> {
        let names: Vec<&str> = suites.iter().map(|suite| suite.name).collect();
        let state = folder.join("apt").join(names.join("+"));
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(state.join(part))?;
        }
        let sources: String = suites
            .iter()
            .map(|suite| suite.source())
            .collect::<Result<_>>()?;
        fs::write(state.join("sources.list"), &sources)?;
        let config = state.join("apt.conf");
        fs::write(&config, Self::configuration(&state))?;
        let apt = Self {
            folder: folder.to_owned(),
            config,
        };
        run(apt.command("apt-get", &["-qq", "update"])).with_context(|| {
            format!("reading {sources}(SRPTGT_DEBIAN_MIRROR names another mirror)")
        })?;
        Ok(apt)
    }

    fn configuration(state: &Path) -> String {
        let state = state.display();
        format!(
            "Dir::Etc::SourceList \"{state}/sources.list\";\n\
             Dir::Etc::SourceParts \"-\";\n\
             Dir::State::Lists \"{state}/lists\";\n\
             Dir::Cache \"{state}/cache\";\n\
             APT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
        )
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(&self.config)
            .args(arguments)
            .current_dir(&self.folder);
        command
    }

    /// The names of all packages that begin with `prefix`, one per line.
    pub(crate) fn package_names(&self, prefix: &str) -> Result<String> {
        output_of(self.command("apt-cache", &["pkgnames", prefix]))
    }

    /// What apt says of the dependencies of the newest version of a package.
    pub(crate) fn dependencies(&self, package: &str) -> Result<String> {
        output_of(self.command("apt-cache", &["depends", package]))
    }

    /// Downloads the newest version of a package.
    pub(crate) fn download(&self, package: &str) -> Result<()> {
        run(self.command("apt-get", &["-q", "download", package]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_is_known_by_the_name_of_its_folder() {
        let known = "http://a/debian-security/\nhttp://b/x/debian/\nhttp://c/debian/\n";
        assert_eq!(
            mirror_of("debian", known).as_deref(),
            Some("http://b/x/debian")
        );
        assert_eq!(
            mirror_of("debian-security", known).as_deref(),
            Some("http://a/debian-security")
        );
        assert_eq!(mirror_of("debian", "http://a/node_20.x/\n"), None);
    }
}
