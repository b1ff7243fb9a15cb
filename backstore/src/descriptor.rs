//! A medium behind a file descriptor: direct or through the page cache, and what its failures mean.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, fcntl_setfl, flock, fstatfs};
use target_core::backend::BlockErrorKind;

use crate::errno;
use crate::geometry::DirectAlignment;

/// Alignment in bytes that every file system and device takes.
const SAFE_ALIGN_BYTES: u32 = 4096;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of the kernel's `linux/magic.h`.
const MEMORY_FILE_SYSTEMS: [u32; 2] = [0x0102_1994, 0x8584_58F6];

/// Whether a medium's data bypasses the page cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direct {
    /// It does (O_DIRECT, or memory).
    Yes,
    /// It does not: correct, but slower and held in memory twice.
    No {
        /// Why, for the operator.
        reason: String,
    },
}

/// What an operation's memory and offset must be multiples of, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) memory_align: u64,
    pub(crate) offset_align: u64,
}

impl Limits {
    /// The page cache takes anything.
    pub(crate) const BUFFERED: Self = Self {
        memory_align: 1,
        offset_align: 1,
    };
}

/// An open file or block device.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) file: File,
    pub(crate) is_device: bool,
    pub(crate) direct: Direct,
    pub(crate) limits: Limits,
}

impl Descriptor {
    /// Turns on direct I/O when the kernel takes it for blocks of `block_size` bytes. `size` is the
    /// medium's size in bytes.
    pub(crate) fn new(
        file: File,
        is_device: bool,
        alignment: DirectAlignment,
        block_size: u32,
        size: u64,
    ) -> Self {
        let tried = decide(alignment, block_size).and_then(|limits| {
            turn_on(&file, alignment, block_size, size)?;
            Ok(limits)
        });
        let (direct, limits) = match tried {
            Ok(limits) => (Direct::Yes, limits),
            Err(reason) => (Direct::No { reason }, Limits::BUFFERED),
        };
        // Without it the medium is slower, not wrong.
        let _ = run_inline(&file);
        Self {
            file,
            is_device,
            direct,
            limits,
        }
    }

    /// What a failed operation means. A device that has become smaller than `end` reports ENOSPC or EIO,
    /// and one that was pulled has no bytes left: only its size tells.
    pub(crate) fn explain(&self, errno: i32, end: u64) -> BlockErrorKind {
        let kind = errno::kind(errno);
        match kind {
            BlockErrorKind::NoSpace | BlockErrorKind::Medium if self.is_device => {
                self.explain_size(end).unwrap_or(kind)
            }
            _ => kind,
        }
    }

    /// What it means that the medium ended before `end`.
    pub(crate) fn explain_end(&self, end: u64) -> BlockErrorKind {
        match self.explain_size(end) {
            Some(kind) if self.is_device => kind,
            _ => BlockErrorKind::Shrunk,
        }
    }

    fn explain_size(&self, end: u64) -> Option<BlockErrorKind> {
        match size_of(&self.file).ok()? {
            0 => Some(BlockErrorKind::Gone),
            size if size < end => Some(BlockErrorKind::Shrunk),
            _ => None,
        }
    }
}

/// A lock lasts as long as any copy of the descriptor, and the kernel may keep the ring's copy for a while after it
/// was taken back. Nothing is in flight any more, so the file is free for its next user now.
impl Drop for Descriptor {
    fn drop(&mut self) {
        if !self.is_device {
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
    }
}

/// Size in bytes of an open file or block device, as it is now.
pub(crate) fn size_of(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Direct I/O serves blocks of `block_size` bytes only when offsets may be as fine as that.
fn decide(alignment: DirectAlignment, block_size: u32) -> Result<Limits, String> {
    let (memory, offset) = match alignment {
        DirectAlignment::Refused => {
            return Err("the file system does no direct I/O on this file".to_owned());
        }
        DirectAlignment::Unknown => (SAFE_ALIGN_BYTES, block_size),
        DirectAlignment::Known { memory, offset } => (memory, offset),
    };
    if offset > block_size {
        return Err(format!(
            "direct I/O needs offsets that are multiples of {offset} bytes here, and the block size is {block_size}"
        ));
    }
    Ok(Limits {
        memory_align: u64::from(memory.max(1)),
        offset_align: u64::from(offset.max(1)),
    })
}

/// A file system in memory waits for no device but does not tell the ring so, which then hands each
/// operation to a kernel thread. O_NONBLOCK says it, and what would wait after all goes to that thread.
fn run_inline(file: &File) -> io::Result<()> {
    // The type's width differs between machines; the numbers are 32 bits everywhere.
    let kind = fstatfs(file)?.f_type as u32;
    if MEMORY_FILE_SYSTEMS.contains(&kind) {
        fcntl_setfl(file, fcntl_getfl(file)? | OFlags::NONBLOCK)?;
    }
    Ok(())
}

fn turn_on(
    file: &File,
    alignment: DirectAlignment,
    block_size: u32,
    size: u64,
) -> Result<(), String> {
    let refused = |error| format!("the file system refuses O_DIRECT ({error})");
    let flags = fcntl_getfl(file).map_err(|e| refused(e.into()))?;
    fcntl_setfl(file, flags | OFlags::DIRECT).map_err(|e| refused(e.into()))?;
    if alignment != DirectAlignment::Unknown {
        return Ok(());
    }
    probe(file, block_size, size).map_err(|error: io::Error| {
        // A descriptor that took the flag gives it back.
        let _ = fcntl_setfl(file, flags);
        refused(error)
    })
}

/// Reads the last block, whose offset is the least aligned: a file system that takes this takes every block.
fn probe(file: &File, block_size: u32, size: u64) -> io::Result<()> {
    let len = block_size as usize;
    let mut memory = vec![0; len + SAFE_ALIGN_BYTES as usize];
    let skip = memory.as_ptr().align_offset(SAFE_ALIGN_BYTES as usize);
    let Some(block) = memory.get_mut(skip..skip + len) else {
        return Err(io::ErrorKind::OutOfMemory.into());
    };
    file.read_exact_at(block, size.saturating_sub(u64::from(block_size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_direct_offsets_mean_the_page_cache() {
        let alignment = DirectAlignment::Known {
            memory: 512,
            offset: 4096,
        };
        let reason = decide(alignment, 512).expect_err("512 is finer than 4096");
        assert!(
            reason.contains("4096") && reason.contains("512"),
            "{reason}"
        );
        assert_eq!(
            decide(alignment, 4096),
            Ok(Limits {
                memory_align: 512,
                offset_align: 4096
            })
        );
    }

    #[test]
    fn an_unknown_alignment_is_met_on_the_safe_side() {
        let limits = decide(DirectAlignment::Unknown, 512).expect("may be tried");
        assert_eq!(limits.memory_align, 4096);
        assert!(decide(DirectAlignment::Refused, 512).is_err());
    }

    #[test]
    fn a_file_that_ends_early_has_shrunk() {
        let file = tempfile::tempfile().expect("file");
        file.set_len(4096).expect("size");
        let descriptor = Descriptor::new(file, false, DirectAlignment::Refused, 512, 4096);
        assert_eq!(descriptor.limits, Limits::BUFFERED);
        assert_eq!(descriptor.explain_end(8192), BlockErrorKind::Shrunk);
        assert_eq!(
            descriptor.explain(libc::ENOSPC, 8192),
            BlockErrorKind::NoSpace
        );
    }
}
