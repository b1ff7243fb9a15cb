//! The buffers that the kernel receives into: a table that it shares with us (provided buffer ring, Linux 5.19).
//!
//! A chunk in the table is the kernel's; the completion that names its place makes it ours again.

use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use iobuf::{Buf, Pool};

use crate::ring::Ring;

/// The number that receives name the table by.
pub(super) const GROUP: u16 = 0;

/// How the kernel wants the table to lie.
const PAGE_BYTES: u64 = 4096;

/// The table and the chunks in it.
pub(super) struct Chunks {
    /// The table's memory, which the kernel reads; its tail is in the reserved field of its first entry.
    table: Buf,
    mask: u16,
    /// Entries ever written; wraps.
    tail: u16,
    /// What the kernel may write to, by place.
    places: Vec<Option<Buf>>,
    vacant: Vec<u16>,
    pool: Pool,
    chunk_bytes: usize,
}

impl Chunks {
    /// Makes the table known to the kernel. It is empty until [`Chunks::refill`].
    pub(super) fn register(
        ring: &Ring,
        mut table: Buf,
        count: u16,
        pool: Pool,
    ) -> io::Result<Self> {
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        let fits = table.len() >= bytes && table.address().is_multiple_of(PAGE_BYTES);
        if !count.is_power_of_two() || !fits {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        table.fill(0);
        // SAFETY: the table is as long as its entries need, and lives until after `unregister`.
        unsafe { ring.register_chunks(table.address(), count, GROUP) }?;
        let chunk_bytes = pool.largest();
        Ok(Self {
            table,
            mask: count - 1,
            tail: 0,
            places: (0..count).map(|_| None).collect(),
            vacant: (0..count).rev().collect(),
            pool,
            chunk_bytes,
        })
    }

    /// Takes the table from the kernel.
    pub(super) fn unregister(&self, ring: &Ring) {
        ring.unregister_chunks(GROUP);
    }

    /// Puts the pool's free buffers into the table. True when there was one.
    pub(super) fn refill(&mut self) -> bool {
        let before = self.tail;
        while let Some(place) = self.vacant.pop() {
            let Some(chunk) = self.pool.take(self.chunk_bytes) else {
                self.vacant.push(place);
                break;
            };
            self.write_entry(place, chunk);
        }
        if self.tail == before {
            return false;
        }
        self.publish();
        true
    }

    fn write_entry(&mut self, place: u16, chunk: Buf) {
        let index = usize::from(self.tail & self.mask);
        let base = self.table.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: the index is below the count, for which the table has room.
        let at = unsafe { base.add(index) };
        // SAFETY: the kernel does not read entries from the tail on, nobody else has the table, and the memory was
        // set to zero when it was registered.
        let entry = unsafe { &mut *at };
        entry.set_addr(chunk.address());
        // A slot has fewer than 2^32 bytes.
        entry.set_len(chunk.len() as u32);
        entry.set_bid(place);
        self.tail = self.tail.wrapping_add(1);
        if let Some(slot) = self.places.get_mut(usize::from(place)) {
            *slot = Some(chunk);
        }
    }

    /// Tells the kernel of new entries.
    fn publish(&mut self) {
        let base = self.table.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: this is the table's first entry.
        let tail = unsafe { BufRingEntry::tail(base) }.cast_mut();
        // SAFETY: the kernel only reads the tail, and atomically; the table is aligned to a page.
        let tail = unsafe { AtomicU16::from_ptr(tail) };
        tail.store(self.tail, Ordering::Release);
    }

    /// The chunk that the kernel has put `len` bytes into.
    pub(super) fn take(&mut self, place: u16, len: usize) -> Option<Buf> {
        let mut chunk = self.places.get_mut(usize::from(place))?.take()?;
        self.vacant.push(place);
        chunk.truncate(len);
        Some(chunk)
    }
}
