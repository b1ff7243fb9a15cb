//! A logical unit: identity and geometry, shared by all workers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::reservation::Reservation;

/// What never changes while the logical unit exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The operator's name for it.
    pub name: String,
    /// UNIT SERIAL NUMBER (VPD page 80h): printable ASCII, at most [`Identity::SERIAL_BYTES`] bytes.
    pub serial: String,
    /// NAA IEEE Registered Extended designator (SPC-4 7.8.6.6.5), first nibble 6.
    pub naa: [u8; 16],
    /// T10 VENDOR IDENTIFICATION, padded with spaces.
    pub vendor: [u8; 8],
    /// PRODUCT IDENTIFICATION, padded with spaces; the same for all logical units, or ESXi does not clone between them.
    pub product: [u8; 16],
    /// PRODUCT REVISION LEVEL, padded with spaces.
    pub revision: [u8; 4],
}

impl Identity {
    /// The longest serial number in bytes; what is beyond is not reported.
    pub const SERIAL_BYTES: usize = 36;

    pub(crate) fn serial_bytes(&self) -> impl Iterator<Item = u8> {
        self.serial.bytes().take(Self::SERIAL_BYTES)
    }
}

/// Block sizes and limits of a logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// LOGICAL BLOCK LENGTH IN BYTES: 512 or 4096.
    pub block_size: u32,
    /// Logical blocks in a physical block, as a power of two.
    pub physical_block_exponent: u8,
    /// Longest transfer of one command in bytes.
    pub max_transfer_bytes: u32,
    /// Granularity of unmapping in bytes, or 0 when the medium cannot unmap.
    pub unmap_granularity_bytes: u32,
    /// True for a medium that spins.
    pub rotational: bool,
    /// True for a medium whose space is allocated as it is written.
    pub thin: bool,
}

/// A logical unit. What changes while it runs is atomic, so the data path reads it without a lock.
#[derive(Debug)]
pub struct LogicalUnit {
    /// Identity.
    pub identity: Identity,
    /// Geometry.
    pub geometry: Geometry,
    blocks: AtomicU64,
    read_only: AtomicBool,
    write_cache: AtomicBool,
    pub(crate) reservation: Reservation,
}

impl LogicalUnit {
    /// A logical unit of `blocks` logical blocks.
    pub fn new(identity: Identity, geometry: Geometry, blocks: u64) -> Self {
        Self {
            identity,
            geometry,
            blocks: AtomicU64::new(blocks),
            read_only: AtomicBool::new(false),
            write_cache: AtomicBool::new(false),
            reservation: Reservation::default(),
        }
    }

    /// Capacity in logical blocks.
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Sets the capacity in logical blocks; the caller establishes the unit attention.
    pub fn set_blocks(&self, blocks: u64) {
        self.blocks.store(blocks, Ordering::Relaxed);
    }

    /// Whether writes are refused for everybody.
    pub fn read_only(&self) -> bool {
        self.read_only.load(Ordering::Relaxed)
    }

    /// Sets write protection; the caller establishes the unit attention.
    pub fn set_read_only(&self, read_only: bool) {
        self.read_only.store(read_only, Ordering::Relaxed);
    }

    /// WCE: whether an acknowledged write may still be in a volatile cache.
    pub fn write_cache(&self) -> bool {
        self.write_cache.load(Ordering::Relaxed)
    }

    /// Sets WCE; the caller establishes the unit attention.
    pub fn set_write_cache(&self, write_cache: bool) {
        self.write_cache.store(write_cache, Ordering::Relaxed);
    }
}
