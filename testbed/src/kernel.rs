//! Where the guest's kernel lies: a cache outside the repository, keyed by all that decides what is built.
//!
//! `${SRPTGT_CACHE:-${XDG_CACHE_HOME:-~/.cache}/srptgt}/testbed/<key>-<source version>/linux`. The key is the hash
//! of the configuration fragment and of the recipe's number, so a changed fragment finds no kernel until a new one
//! is built, and a finished one is found without asking any package archive which version is current.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The options that the guest needs; everything else is off.
pub const FRAGMENT: &str = include_str!("../kernel.config");

/// Raise it when the way of building changes so that an already cached kernel must not be used.
const RECIPE: u32 = 1;

/// The folder of this product below the user's cache.
///
/// # Errors
///
/// None of `SRPTGT_CACHE`, `XDG_CACHE_HOME` and `HOME` is set.
pub fn cache_root() -> Result<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("SRPTGT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("srptgt")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/srptgt")))
        .context(
            "no place for a cache: set SRPTGT_CACHE, XDG_CACHE_HOME or HOME to a writable folder",
        )
}

/// The folder that holds every kernel of the test bed, and the source packages they were built from.
///
/// # Errors
///
/// As [`cache_root`].
pub fn cache() -> Result<PathBuf> {
    Ok(cache_root()?.join("testbed"))
}

/// Hash of the fragment and the recipe. A toolchain may change the hash function; then one kernel is built anew.
pub fn key() -> String {
    let mut hasher = DefaultHasher::new();
    (FRAGMENT, RECIPE).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Where a kernel of this source version belongs.
///
/// # Errors
///
/// As [`cache_root`].
pub fn folder(source_version: &str) -> Result<PathBuf> {
    Ok(cache()?.join(format!("{}-{source_version}", key())))
}

/// The kernel for today's fragment, if one was built; of several source versions the one built last.
///
/// # Errors
///
/// As [`cache_root`], or the cache cannot be read.
pub fn installed() -> Result<Option<PathBuf>> {
    let cache = cache()?;
    newest_in(&cache, &key())
        .with_context(|| format!("reading the kernel cache {}", cache.display()))
}

/// The kernel for today's fragment.
///
/// # Errors
///
/// There is none; the message says how to build it.
pub fn require() -> Result<PathBuf> {
    installed()?.with_context(|| {
        "the test bed's kernel has not been built yet (or its fragment changed since): \
         run `cargo xtask vm kernel`, it takes about five minutes and is then cached"
    })
}

fn newest_in(cache: &Path, key: &str) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(cache) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut newest = None;
    for entry in entries {
        let entry = entry?;
        let linux = entry.path().join("linux");
        if entry.file_name().to_string_lossy().starts_with(key) && linux.is_file() {
            newest = newest.max(Some((fs::metadata(&linux)?.modified()?, linux)));
        }
    }
    Ok(newest.map(|(_, linux)| linux))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(cache: &Path, folder: &str) {
        fs::create_dir_all(cache.join(folder)).unwrap();
        fs::write(cache.join(folder).join("linux"), "").unwrap();
    }

    #[test]
    fn a_missing_cache_holds_no_kernel() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(newest_in(&cache.path().join("nowhere"), "k").unwrap(), None);
    }

    #[test]
    fn only_a_finished_kernel_of_the_same_key_counts() {
        let cache = tempfile::tempdir().unwrap();
        build(cache.path(), "other-7.2");
        fs::create_dir(cache.path().join("key-7.1")).unwrap();
        assert_eq!(newest_in(cache.path(), "key").unwrap(), None);
        build(cache.path(), "key-7.2");
        assert_eq!(
            newest_in(cache.path(), "key").unwrap(),
            Some(cache.path().join("key-7.2/linux"))
        );
    }
}
