//! The guest's kernel: Debian bookworm's own, out of its package, never installed on the host.
//!
//! It is cached outside the repository as `bench/<package>/`. A kernel that was fetched once is used again without
//! asking the archive, because figures can only be compared on one kernel.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use testbed::kernel::cache_root;

use crate::apt::{Apt, Suite};
use crate::repository::run;

/// The security suite has the newer package as a rule; the other one always has one.
const SUITES: [Suite; 2] = [
    Suite::main("bookworm"),
    Suite::security("bookworm-security"),
];
/// The package that depends on the kernel of the day.
const META_PACKAGE: &str = "linux-image-amd64";
const PACKAGE: &str = "linux-image-6.1.";

/// What the guest needs before it has a root.
const BOOT_MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// A kernel in the cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// Debian's package with its version, such as `linux-image-6.1.0-56-amd64_6.1.192-2_amd64`.
    pub(super) package: String,
    pub(super) image: PathBuf,
    /// The folder that is the guest's `/lib/modules`.
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// The kernel in the cache, or a fresh one when there is none or `update` asks for it.
    pub(super) fn ensure(update: bool) -> Result<Self> {
        let cache = cache_root()?.join("bench");
        fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
        match Self::newest(&cache)? {
            Some(kernel) if !update => Ok(kernel),
            _ => {
                fetch(&cache)?;
                Self::newest(&cache)?.context("the package has no kernel image")
            }
        }
    }

    /// Of several kernels the one that was fetched last.
    fn newest(cache: &Path) -> Result<Option<Self>> {
        let mut newest = None;
        for entry in fs::read_dir(cache)? {
            let entry = entry?;
            let package = entry.file_name().to_string_lossy().into_owned();
            if package.starts_with(PACKAGE) && entry.path().join("boot").is_dir() {
                newest = newest.max(Some((entry.metadata()?.modified()?, package)));
            }
        }
        newest
            .map(|(_, package)| Self::open(cache, package))
            .transpose()
    }

    fn open(cache: &Path, package: String) -> Result<Self> {
        let folder = cache.join(&package);
        let release = release(&package).with_context(|| format!("the package name {package}"))?;
        Ok(Self {
            image: folder.join(format!("boot/vmlinuz-{release}")),
            modules: folder.join("lib/modules"),
            package,
        })
    }

    /// The files of [`BOOT_MODULES`] and of all that they need, in the order of loading.
    pub(super) fn boot_modules(&self) -> Result<Vec<PathBuf>> {
        let release = release(&self.package).unwrap_or_default();
        let modules = self.modules.join(release);
        let dependencies = fs::read_to_string(modules.join("modules.dep"))
            .with_context(|| format!("reading modules.dep in {}", modules.display()))?;
        let mut order = Vec::new();
        for name in BOOT_MODULES {
            let files = with_dependencies(&dependencies, name)
                .with_context(|| format!("{} has no module {name}", self.package))?;
            for file in files {
                if !order.contains(&file) {
                    order.push(file);
                }
            }
        }
        Ok(order.into_iter().map(|file| modules.join(file)).collect())
    }
}

/// The kernel release in a package's name: `6.1.0-56-amd64`.
fn release(package: &str) -> Option<&str> {
    let (name, _) = package.split_once('_')?;
    name.strip_prefix("linux-image-")
}

/// The files of module `name` and of what it needs, what is needed first. A line of modules.dep names a module's
/// file and after it all that it needs, the most basic last.
fn with_dependencies<'a>(modules_dep: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let ending = format!("/{name}.ko");
    modules_dep.lines().find_map(|line| {
        let (file, needs) = line.split_once(':')?;
        if !file.ends_with(&ending) {
            return None;
        }
        let mut files: Vec<&str> = needs.split_whitespace().rev().collect();
        files.push(file);
        Some(files)
    })
}

/// Downloads and unpacks the newest package. It appears in the cache whole or not at all.
fn fetch(cache: &Path) -> Result<()> {
    println!("bench: asking Debian bookworm for its kernel");
    let folder = cache.join("download");
    remove(&folder)?;
    fs::create_dir_all(&folder)?;
    let apt = Apt::new(&folder, &SUITES)?;
    let package = current_kernel(&apt.dependencies(META_PACKAGE)?)
        .with_context(|| format!("{META_PACKAGE} depends on no {PACKAGE}*"))?;
    println!("bench: fetching {package} (about 70 MB)");
    apt.download(&package)?;
    let deb = downloaded(&folder)?.context("apt-get downloaded no package")?;
    let name = deb.file_stem().and_then(|stem| stem.to_str());
    let name = name.context("a package without a name")?;
    let unpacked = folder.join("unpacked");
    unpack(&deb, &unpacked, release(name).unwrap_or_default())?;
    remove(&cache.join(name))?;
    fs::rename(&unpacked, cache.join(name))?;
    Ok(remove(&folder)?)
}

/// The kernel's package, from what apt says of the meta package.
fn current_kernel(dependencies: &str) -> Option<String> {
    let names = dependencies
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    names
        .filter(|name| name.starts_with(PACKAGE))
        .max()
        .map(str::to_owned)
}

fn downloaded(folder: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "deb") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn unpack(deb: &Path, folder: &Path, release: &str) -> Result<()> {
    let mut extract = Command::new("dpkg-deb");
    extract.arg("--extract").args([deb, folder]);
    run(extract)?;
    // Debian makes the module index when it installs a kernel. An ordinary user's PATH has no /usr/sbin.
    let mut depmod = Command::new("/usr/sbin/depmod");
    depmod.arg("--basedir").arg(folder).arg(release);
    run(depmod)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGE_NAME: &str = "linux-image-6.1.0-56-amd64_6.1.192-2_amd64";

    #[test]
    fn modules_are_loaded_after_what_they_need() {
        let modules_dep = "kernel/net/9p/9pnet.ko:\n\
            kernel/fs/9p/9p.ko: kernel/fs/fscache/fscache.ko kernel/fs/netfs/netfs.ko kernel/net/9p/9pnet.ko\n";
        assert_eq!(
            with_dependencies(modules_dep, "9p").unwrap(),
            [
                "kernel/net/9p/9pnet.ko",
                "kernel/fs/netfs/netfs.ko",
                "kernel/fs/fscache/fscache.ko",
                "kernel/fs/9p/9p.ko"
            ]
        );
        assert_eq!(with_dependencies(modules_dep, "p"), None);
    }

    #[test]
    fn the_kernel_of_the_day_is_what_the_meta_package_depends_on() {
        let said = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n  Suggests: x\n";
        assert_eq!(
            current_kernel(said).as_deref(),
            Some("linux-image-6.1.0-56-amd64")
        );
        assert_eq!(
            current_kernel("  Depends: linux-image-6.12.1-amd64\n"),
            None
        );
    }

    #[test]
    fn only_an_unpacked_kernel_counts() {
        let cache = tempfile::tempdir().unwrap();
        fs::create_dir_all(cache.path().join("unpacked/boot")).unwrap();
        fs::create_dir_all(cache.path().join("apt")).unwrap();
        assert_eq!(Kernel::newest(cache.path()).unwrap(), None);
        let folder = cache.path().join(PACKAGE_NAME);
        fs::create_dir_all(folder.join("boot")).unwrap();
        let kernel = Kernel::newest(cache.path()).unwrap().unwrap();
        assert_eq!(kernel.package, PACKAGE_NAME);
        assert_eq!(kernel.image, folder.join("boot/vmlinuz-6.1.0-56-amd64"));
    }
}
