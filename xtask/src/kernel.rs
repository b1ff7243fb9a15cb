//! Building the guest's kernel: source, configuration, objects, and the finished program into the cache.
//!
//! One build at a time per cache; whoever comes second waits and finds the kernel there. The kernel appears in the
//! cache whole or not at all. What was asked for and is not in the result is an error, never a surprise in a guest.

mod config;
mod progress;
mod source;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use testbed::{kernel as cached, last_lines};

use crate::repository;
use source::Source;

/// The kernel for today's fragment: from the cache, or built now. With `update` the archive is asked for a newer
/// source first.
pub(crate) fn ensure(update: bool) -> Result<PathBuf> {
    let cache = cached::cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    if let (false, Some(linux)) = (update, cached::installed()?) {
        return Ok(linux);
    }
    let _lock = lock(&cache.join("build.lock"))?;
    // Another build may have finished while this one waited for the lock.
    if let (false, Some(linux)) = (update, cached::installed()?) {
        return Ok(linux);
    }
    repository::install_packages(&[])?;
    let source = Source::find(&cache, update)?;
    let folder = cached::folder(&source.version)?;
    if folder.join("linux").exists() {
        return Ok(folder.join("linux"));
    }
    build(&cache, &source, &folder)
}

fn lock(path: &Path) -> Result<File> {
    let lock = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    if lock.try_lock().is_err() {
        println!("kernel: another build is under way, waiting for it");
        lock.lock()
            .with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(lock)
}

fn build(cache: &Path, source: &Source, folder: &Path) -> Result<PathBuf> {
    let tree = cache.join("build");
    remove(&tree)?;
    println!("kernel: unpacking {}", source.deb.display());
    source.unpack(&tree)?;
    println!("kernel: configuring");
    configure(&tree)?;
    compile(&tree, &cache.join("build.log"))?;
    let linux = install(&tree.join("linux"), folder)?;
    remove(&tree)?;
    println!("kernel: done, {}", linux.display());
    Ok(linux)
}

fn configure(tree: &Path) -> Result<()> {
    let fragment = tree.join("testbed.config");
    fs::write(&fragment, cached::FRAGMENT)?;
    let mut make = make(tree, &["allnoconfig"]);
    make.env("KCONFIG_ALLCONFIG", &fragment)
        .stdout(Stdio::null());
    repository::run(make)?;
    let config = fs::read_to_string(tree.join(".config"))?;
    match config::lost(cached::FRAGMENT, &config).as_slice() {
        [] => Ok(()),
        lost => bail!(
            "testbed/kernel.config asks for what this source does not give; add what the options depend on, or \
             drop them: {}",
            lost.join(", ")
        ),
    }
}

fn compile(tree: &Path, log: &Path) -> Result<()> {
    let jobs = format!(
        "-j{}",
        thread::available_parallelism().map_or(1, usize::from)
    );
    let mut make = make(tree, &[&jobs, "linux"]);
    let log_file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
    let mut make = make
        .stdout(Stdio::piped())
        .stderr(log_file.try_clone()?)
        .spawn()?;
    let output = make.stdout.take().context("the output of make is a pipe")?;
    progress::show(output, log_file)?;
    if !make.wait()?.success() {
        bail!(
            "the kernel did not build; the end of {}:\n{}",
            log.display(),
            last_lines(log, 20)
        );
    }
    Ok(())
}

fn make(tree: &Path, arguments: &[&str]) -> Command {
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(tree)
        .args(["ARCH=um", "SUBARCH=x86_64"])
        .args(arguments);
    // Flags of an outer make would reach the kernel's, which has its own.
    make.env_remove("MAKEFLAGS")
        .env_remove("MFLAGS")
        .env_remove("MAKELEVEL");
    make
}

/// Puts the program into its folder of the cache, in one step.
fn install(linux: &Path, folder: &Path) -> Result<PathBuf> {
    let part = folder.with_extension("part");
    remove(&part)?;
    fs::create_dir_all(&part)?;
    fs::copy(linux, part.join("linux")).with_context(|| format!("copying {}", linux.display()))?;
    remove(folder)?;
    fs::rename(&part, folder).with_context(|| format!("installing into {}", folder.display()))?;
    Ok(folder.join("linux"))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_kernel_replaces_an_unfinished_folder_whole() {
        let cache = tempfile::tempdir().unwrap();
        let linux = cache.path().join("linux");
        fs::write(&linux, "kernel").unwrap();
        let folder = cache.path().join("key-7.2.12-1");
        fs::create_dir(&folder).unwrap();
        let installed = install(&linux, &folder).unwrap();
        assert_eq!(fs::read_to_string(installed).unwrap(), "kernel");
        assert_eq!(
            fs::read_dir(cache.path()).unwrap().count(),
            2,
            "a part was left behind"
        );
    }
}
