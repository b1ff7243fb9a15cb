//! The kernel's source: Debian's `linux-source` package, in the cache.
//!
//! A package that was fetched once is used again, without asking the archive, until an update is asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::apt::{Apt, Suite};
use crate::repository::run;

/// Where a kernel new enough for a guest under seccomp is: the first suite that has one is taken.
const SUITES: [&str; 2] = ["forky", "trixie-backports"];
const MAJOR: u32 = 7;

/// A source package on this machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) deb: PathBuf,
    pub(super) version: String,
}

impl Source {
    /// The package in the cache, or a fresh one.
    pub(super) fn find(cache: &Path, update: bool) -> Result<Self> {
        let folder = cache.join("source");
        fs::create_dir_all(&folder)?;
        match Self::downloaded(&folder)? {
            Some(source) if !update => Ok(source),
            _ => Self::download(&folder),
        }
    }

    /// The newest package in `folder`.
    fn downloaded(folder: &Path) -> Result<Option<Self>> {
        let mut newest = None;
        for entry in fs::read_dir(folder)? {
            let deb = entry?.path();
            let name = deb.file_name().unwrap_or_default().to_string_lossy();
            if let Some((package, version)) = parse_deb_name(&name) {
                newest = newest.max(Some((package, version.to_string(), deb.clone())));
            }
        }
        Ok(newest.map(|(_, version, deb)| Self { deb, version }))
    }

    fn download(folder: &Path) -> Result<Self> {
        for suite in SUITES {
            let apt = Apt::new(folder, &[Suite::main(suite)])?;
            println!("kernel: asking Debian {suite} for linux-source {MAJOR} or later");
            if let Some(package) = newest_release(&apt.package_names("linux-source-")?) {
                println!("kernel: fetching {package} (about 160 MB)");
                apt.download(&package)?;
                return Self::downloaded(folder)?.context("apt-get downloaded no package");
            }
        }
        bail!(
            "no linux-source-{MAJOR} or later in {}; set SRPTGT_DEBIAN_MIRROR to a Debian mirror that has one",
            SUITES.join(", ")
        )
    }

    /// Unpacks the kernel's tree as `tree`.
    pub(super) fn unpack(&self, tree: &Path) -> Result<()> {
        fs::create_dir_all(tree)?;
        let outer = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(&self.deb)
            .stdout(Stdio::piped())
            .spawn();
        let mut outer = outer.context("starting dpkg-deb")?;
        let stream = outer
            .stdout
            .take()
            .context("the output of dpkg-deb is a pipe")?;
        let inner = Command::new("tar")
            .args([
                "--extract",
                "--to-stdout",
                "--wildcards",
                "./usr/src/linux-source-*.tar.xz",
            ])
            .stdin(stream)
            .stdout(Stdio::piped())
            .spawn();
        let mut inner = inner.context("starting tar")?;
        let stream = inner.stdout.take().context("the output of tar is a pipe")?;
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--xz", "--strip-components=1", "--directory"])
            .arg(tree)
            .stdin(stream);
        run(tar)?;
        ensure!(
            inner.wait()?.success() & outer.wait()?.success(),
            "{} is damaged: remove it and try again",
            self.deb.display()
        );
        Ok(())
    }
}

/// Package and version of `linux-source-7.2_7.2.12-1_all.deb`, the package as numbers.
fn parse_deb_name(name: &str) -> Option<(Release, &str)> {
    let (package, rest) = name.split_once('_')?;
    Some((Release::parse(package)?, rest.strip_suffix("_all.deb")?))
}

/// The release in a package's name, ordered by number: 7.10 comes after 7.9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Release {
    major: u32,
    minor: u32,
}

impl Release {
    fn parse(package: &str) -> Option<Self> {
        let (major, minor) = package.strip_prefix("linux-source-")?.split_once('.')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

fn newest_release(names: &str) -> Option<String> {
    let releases = names
        .lines()
        .filter_map(|name| Some((Release::parse(name)?, name)));
    let (_, name) = releases
        .filter(|(release, _)| release.major >= MAJOR)
        .max()?;
    Some(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_release_is_chosen_by_number() {
        let names = "linux-source-7.9\nlinux-source-6.12\nlinux-source-7.10\nlinux-source-7.10-rt\nlinux-source\n";
        assert_eq!(newest_release(names).as_deref(), Some("linux-source-7.10"));
        assert_eq!(newest_release("linux-source-6.12\n"), None);
    }

    #[test]
    fn a_package_in_the_cache_is_found_with_its_version() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Source::downloaded(folder.path()).unwrap(), None);
        for name in [
            "linux-source-7.2_7.2.12-1_all.deb",
            "linux-source-7.3_7.3.1-1~bpo13+1_all.deb",
            "apt",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = Source::downloaded(folder.path()).unwrap().unwrap();
        assert_eq!(found.version, "7.3.1-1~bpo13+1");
    }
}
