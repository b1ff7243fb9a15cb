//! The ram medium: anonymous memory, gone with the process.
//!
//! Workers share it without a lock, so its bytes are atomic words: two commands that overlap in time and
//! place mix their words, as they would mix their sectors on a disk.

use std::fs;
use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use target_core::backend::BlockOperation;

use crate::memory::Memory;

const WORD_BYTES: usize = size_of::<u64>();
const PAGE_BYTES: usize = 4096;

/// A private mapping of whole words.
#[derive(Debug)]
pub(crate) struct Ram {
    base: NonNull<AtomicU64>,
    len: usize,
}

// SAFETY: the mapping belongs to no thread, and its contents are reached as atomic words only.
unsafe impl Send for Ram {}
// SAFETY: as above.
unsafe impl Sync for Ram {}

impl Ram {
    /// Maps `len` bytes, a multiple of the block size; pages, huge ones if there are, come as they are written.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        // SAFETY: an anonymous private mapping at an address that the kernel chooses touches no memory of ours.
        let base = unsafe {
            mm::mmap_anonymous(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        // Random blocks of many small pages cost more in address translation than in copying. A kernel without huge
        // pages says no, and nothing is lost.
        // SAFETY: this is what mmap gave; the advice changes no byte.
        let _ = unsafe { mm::madvise(base, len, Advice::LinuxHugepage) };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, len })
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, zeroed, and lives as long as `self`; atomic words may be shared.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.len / WORD_BYTES) }
    }

    /// The words of a range of bytes; none when it is outside, which the caller has excluded.
    fn range(&self, offset: u64, len: usize) -> &[AtomicU64] {
        let start = usize::try_from(offset).unwrap_or(usize::MAX) / WORD_BYTES;
        let end = start.saturating_add(len / WORD_BYTES);
        self.words().get(start..end).unwrap_or_default()
    }

    fn read(&self, offset: u64, to: &mut [u8]) {
        let words = self.range(offset, to.len());
        for (bytes, word) in to.chunks_exact_mut(WORD_BYTES).zip(words) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
    }

    fn write(&self, offset: u64, from: &[u8]) {
        let (chunks, _) = from.as_chunks::<WORD_BYTES>();
        for (bytes, word) in chunks.iter().zip(self.range(offset, from.len())) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
    }

    /// Gives whole pages back to the kernel, which makes them read as zeroes, and clears the edges.
    fn zero(&self, range: Range<usize>) {
        let start = range.start.next_multiple_of(PAGE_BYTES).min(range.end);
        let end = (range.end / PAGE_BYTES * PAGE_BYTES).max(start);
        self.clear(range.start..start);
        if !self.drop_pages(start..end) {
            self.clear(start..end);
        }
        self.clear(end..range.end);
    }

    fn clear(&self, range: Range<usize>) {
        for word in self.range(range.start as u64, range.len()) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// `pages` is page-aligned at both ends and inside the mapping.
    fn drop_pages(&self, pages: Range<usize>) -> bool {
        if pages.is_empty() {
            return true;
        }
        // SAFETY: the range starts inside the mapping.
        let start = unsafe { self.base.as_ptr().byte_add(pages.start) };
        // SAFETY: the range lies inside the mapping, whose words may become zero at any time like by a store.
        unsafe { mm::madvise(start.cast(), pages.len(), Advice::LinuxDontNeed) }.is_ok()
    }
}

impl Memory for Ram {
    fn perform(&self, operation: &mut BlockOperation) {
        match operation {
            BlockOperation::Read { offset, buf } => self.read(*offset, buf),
            BlockOperation::Write { offset, buf, .. } => self.write(*offset, buf),
            BlockOperation::Flush => {}
            BlockOperation::Unmap { offset, len }
            | BlockOperation::WriteZeroes { offset, len, .. } => {
                // Checked against the size before, which is a `usize`.
                let start = *offset as usize;
                self.zero(start..start + *len as usize);
            }
        }
    }

    fn why_fixed(&self) -> Option<&'static str> {
        Some("memory is mapped once; add a larger ram LUN and copy")
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: this is what mmap gave, and no reference to it outlives `self`.
        let unmapped = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok(), "the mapping was made by us");
    }
}

/// Bytes that the kernel could give without swapping, or `u64::MAX` when it does not say.
pub(crate) fn available_bytes() -> u64 {
    fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| parse_available(&text))
        .unwrap_or(u64::MAX)
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let rest = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_bytes() {
        let text = "MemTotal:       49289212 kB\nMemAvailable:   47000000 kB\n";
        assert_eq!(parse_available(text), Some(47_000_000 * 1024));
        assert_eq!(parse_available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn zeroing_clears_the_range_and_nothing_else() {
        let len = 8 * PAGE_BYTES;
        for (start, end) in [
            (512, 1024),
            (512, 3 * PAGE_BYTES + 512),
            (0, len),
            (4096, 8192),
        ] {
            let ram = Ram::new(len).expect("map");
            ram.write(0, &vec![0xAA; len]);
            ram.zero(start..end);
            let mut found = vec![1; len];
            ram.read(0, &mut found);
            let expected = |at: usize| if (start..end).contains(&at) { 0 } else { 0xAA };
            assert!(
                found
                    .iter()
                    .enumerate()
                    .all(|(at, &byte)| byte == expected(at))
            );
        }
    }
}
