//! Blocks and bytes, told apart by the compiler.

use crate::logical_unit::Geometry;

/// LOGICAL BLOCK ADDRESS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lba(pub(crate) u64);

/// A number of logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Blocks(pub(crate) u64);

/// A number of bytes, or a byte's place on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u64);

/// LOGICAL BLOCK LENGTH IN BYTES, a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockSize {
    shift: u32,
}

impl BlockSize {
    pub(crate) fn of(geometry: &Geometry) -> Self {
        Self {
            shift: geometry.block_size.trailing_zeros(),
        }
    }

    /// First byte of a block, or `None` beyond 2^64.
    pub(crate) fn offset(self, lba: Lba) -> Option<Bytes> {
        self.bytes(Blocks(lba.0))
    }

    pub(crate) fn bytes(self, blocks: Blocks) -> Option<Bytes> {
        blocks.0.checked_mul(1 << self.shift).map(Bytes)
    }

    /// The block that a byte is in.
    pub(crate) fn lba(self, place: Bytes) -> Lba {
        Lba(place.0 >> self.shift)
    }

    /// Whole blocks in so many bytes.
    pub(crate) fn whole_blocks(self, bytes: Bytes) -> Blocks {
        Blocks(bytes.0 >> self.shift)
    }

    /// The bytes of as many whole blocks as fit.
    pub(crate) fn round_down(self, bytes: u32) -> u32 {
        bytes >> self.shift << self.shift
    }

    /// The bytes of as many whole blocks as are needed, or all of `limit` when that is less.
    pub(crate) fn round_up_to(self, bytes: u32, limit: u32) -> u32 {
        let down = self.round_down(bytes);
        let up = match down == bytes {
            true => down,
            false => down.saturating_add(1 << self.shift),
        };
        up.min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: BlockSize = BlockSize { shift: 9 };

    #[test]
    fn converts() {
        assert_eq!(SIZE.offset(Lba(3)), Some(Bytes(1536)));
        assert_eq!(SIZE.offset(Lba(1 << 55)), None);
        assert_eq!(SIZE.lba(Bytes(1535)), Lba(2));
        assert_eq!(SIZE.whole_blocks(Bytes(1023)), Blocks(1));
    }

    #[test]
    fn rounds_to_blocks() {
        assert_eq!((SIZE.round_down(1023), SIZE.round_down(512)), (512, 512));
        assert_eq!(SIZE.round_up_to(513, 4096), 1024);
        assert_eq!(SIZE.round_up_to(512, 4096), 512);
        assert_eq!(SIZE.round_up_to(u32::MAX, 4096), 4096);
    }
}
