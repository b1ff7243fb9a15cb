//! Why a medium cannot be opened or resized: what was expected, what came, what to do next.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why [`Medium::open`](crate::Medium::open) refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Only the block lengths that initiators know.
    #[error("block size {found} is neither 512 nor 4096 bytes: choose one of these")]
    BlockSize {
        /// What was asked for, in bytes.
        found: u32,
    },
    /// A part of a block cannot be addressed.
    #[error(transparent)]
    NotWholeBlocks(#[from] NotWholeBlocks),
    /// A medium has at least one block.
    #[error("{name} has no bytes: a LUN needs at least one block; {advice}")]
    Empty {
        /// Path, or kind of memory.
        name: String,
        /// What to do.
        advice: &'static str,
    },
    /// The path does not exist and nobody said how large a new file is to be.
    #[error("{path} does not exist: check the path{advice}")]
    Missing {
        /// The path that was asked for.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
    /// The folder that the file should be in does not exist.
    #[error("{path} cannot be made: its folder {folder} does not exist; make it first (mkdir -p)")]
    MissingFolder {
        /// The path that was asked for.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// The path is something else.
    #[error("{path} is {found}, where {expected} is expected; {advice}")]
    WrongKind {
        /// The path that was asked for.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A link could lead somewhere else tomorrow, and the LUN's data with it.
    #[error(
        "{path} is a symbolic link to {leads_to}, where a regular file is expected; give the file itself"
    )]
    SymbolicLink {
        /// The path that was asked for.
        path: PathBuf,
        /// Where the link leads.
        leads_to: PathBuf,
    },
    /// The daemon's user may not open it.
    #[error(
        "{path} may not be opened for {wanted}: give the daemon's user that permission, or run it as root"
    )]
    Permission {
        /// The path that was asked for.
        path: PathBuf,
        /// `reading` or `reading and writing`.
        wanted: &'static str,
    },
    /// The store takes no writes and the medium was not asked to be read-only.
    #[error("{path} takes no writes ({why}): make it writable, or add the LUN with --read-only")]
    ReadOnlyStore {
        /// The path that was asked for.
        path: PathBuf,
        /// What forbids writing.
        why: &'static str,
    },
    /// Another LUN, daemon, mount or volume manager has it.
    #[error("{path} is in use: expected to be its only user; {advice}")]
    InUse {
        /// The path that was asked for.
        path: PathBuf,
        /// How to find who.
        advice: &'static str,
    },
    /// `--size` creates; it never changes what is there.
    #[error(
        "{path} exists with {found} bytes, and a new file of {wanted} bytes was asked for: leave the size out to use it \
         as it is (and grow it with `lun resize`), or give another path"
    )]
    SizeDiffers {
        /// The path that was asked for.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size that was asked for, in bytes.
        wanted: u64,
    },
    /// The machine has not that much memory.
    #[error(
        "{wanted} bytes of memory were asked for and {available} are available: ask for less, or use a file"
    )]
    TooLarge {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes that the kernel calls available.
        available: u64,
    },
    /// Anything else that the kernel said.
    #[error("{path}: {doing} failed: {source}")]
    Io {
        /// The path that was asked for.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What came.
        source: io::Error,
    },
}

impl OpenError {
    /// For `map_err`: what the kernel said to something that was tried on `path`.
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path,
            doing,
            source,
        }
    }

    /// What the kernel's answer to looking at or opening `path` means.
    pub(crate) fn at_open(
        path: &Path,
        read_only: bool,
        in_use: &'static str,
        source: io::Error,
    ) -> Self {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => Self::Permission {
                path,
                wanted: if read_only {
                    "reading"
                } else {
                    "reading and writing"
                },
            },
            Some(libc::EROFS) => Self::ReadOnlyStore {
                path,
                why: "its file system is read-only",
            },
            Some(libc::EBUSY | libc::ETXTBSY) => Self::InUse {
                path,
                advice: in_use,
            },
            Some(libc::ENOENT) => Self::Missing { path, advice: "" },
            _ => Self::Io {
                path,
                doing: "opening it",
                source,
            },
        }
    }

    pub(crate) fn wrong_kind(
        path: &Path,
        found: FileType,
        expected: &'static str,
        advice: &'static str,
    ) -> Self {
        Self::WrongKind {
            path: path.to_owned(),
            found: kind_name(found),
            expected,
            advice,
        }
    }
}

fn kind_name(found: FileType) -> &'static str {
    match found {
        _ if found.is_dir() => "a directory",
        _ if found.is_file() => "a regular file",
        _ if found.is_block_device() => "a block device",
        _ if found.is_char_device() => "a character device",
        _ if found.is_fifo() => "a FIFO",
        _ if found.is_socket() => "a socket",
        _ => "something unknown",
    }
}

/// A size that is not a whole number of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{size} bytes are not a whole number of {block_size}-byte blocks: the nearest sizes are {below} and {above}"
)]
pub struct NotWholeBlocks {
    /// The size in bytes.
    pub size: u64,
    /// Bytes in a block.
    pub block_size: u32,
    /// The next size below.
    pub below: u64,
    /// The next size above.
    pub above: u64,
}

/// Why [`Medium::resize`](crate::Medium::resize) refused; the medium is unchanged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// A part of a block cannot be addressed.
    #[error(transparent)]
    NotWholeBlocks(#[from] NotWholeBlocks),
    /// Shrinking loses data.
    #[error(
        "{name} has {found} bytes and shrinking it to {wanted} would lose data: make a new LUN of that size, copy, and \
         remove this one"
    )]
    Shrink {
        /// Path, or kind of memory.
        name: String,
        /// Its size in bytes.
        found: u64,
        /// The size that was asked for, in bytes.
        wanted: u64,
    },
    /// Its size is decided elsewhere.
    #[error("{name} cannot be resized here: {advice}")]
    Fixed {
        /// Path, or kind of memory.
        name: String,
        /// What to do.
        advice: &'static str,
    },
    /// Anything else that the kernel said.
    #[error("{name}: {doing} failed: {source}")]
    Io {
        /// Path, or kind of memory.
        name: String,
        /// What was tried.
        doing: &'static str,
        /// What came.
        source: io::Error,
    },
}

/// Refuses a size that is not a whole number of blocks.
pub(crate) fn whole_blocks(size: u64, block_size: u32) -> Result<(), NotWholeBlocks> {
    let rest = size % u64::from(block_size);
    if rest == 0 {
        return Ok(());
    }
    let below = size - rest;
    Err(NotWholeBlocks {
        size,
        block_size,
        below,
        above: below.saturating_add(u64::from(block_size)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_block_is_refused_with_the_nearest_sizes() {
        assert_eq!(whole_blocks(8192, 4096), Ok(()));
        let error = whole_blocks(8191, 4096).expect_err("one byte is missing");
        assert_eq!(
            error.to_string(),
            "8191 bytes are not a whole number of 4096-byte blocks: the nearest sizes are 4096 and 8192"
        );
        assert!(whole_blocks(u64::MAX, 4096).is_err());
    }
}
