//! What a command's function is given, and what it may say: the seam between the command table and the
//! machine that runs tasks.

use crate::cdb::Cdb;
use crate::logical_unit::LogicalUnit;
use crate::nexus::{Nexus, TransportId};
use crate::sbc::block_size::{BlockSize, Blocks, Bytes};
use crate::sense::{AdditionalSense, Sense};
use crate::status::Status;

/// A logical unit as one nexus sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnitView<'a> {
    pub(crate) lu: &'a LogicalUnit,
    /// Behind which number.
    pub(crate) number: u8,
    /// For this nexus.
    pub(crate) write_protected: bool,
    /// The longest transfer of one command.
    pub(crate) max_transfer: Bytes,
    /// Who asks.
    pub(crate) initiator: &'a TransportId,
}

impl UnitView<'_> {
    pub(crate) fn block_size(&self) -> BlockSize {
        BlockSize::of(&self.lu.geometry)
    }

    pub(crate) fn max_transfer_blocks(&self) -> Blocks {
        self.block_size().whole_blocks(self.max_transfer)
    }
}

/// What a LUN field led to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Addressed<'a> {
    /// A mapped logical unit.
    Unit(UnitView<'a>),
    /// The REPORT LUNS well-known logical unit.
    ReportLunsWellKnown,
    /// LUN 0, when it is not mapped: it still answers REPORT LUNS (SAM-5).
    LunZero,
    /// Nothing.
    Nothing,
}

/// A command that the core answers from what it knows.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) cdb: Cdb<'a>,
    pub(crate) addressed: Addressed<'a>,
    pub(crate) nexus: &'a mut Nexus,
    /// Where the whole answer goes; the machine cuts it to the allocation length.
    pub(crate) data_in: &'a mut Vec<u8>,
}

impl<'a> Answer<'a> {
    /// The logical unit, for commands that only a mapped one has.
    pub(crate) fn unit(&self) -> Result<UnitView<'a>, Sense> {
        match self.addressed {
            Addressed::Unit(unit) => Ok(unit),
            _ => Err(LOGICAL_UNIT_NOT_SUPPORTED),
        }
    }
}

/// What an unmapped number is answered with.
pub(crate) const LOGICAL_UNIT_NOT_SUPPORTED: Sense =
    Sense::illegal_request(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED);

/// What is left to do for a command once its CDB is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing: GOOD.
    Nothing,
    /// Answer from what the core knows.
    Answer,
    /// Read from the medium.
    Read(Extent),
    /// Write to the medium.
    Write {
        /// Where.
        extent: Extent,
        /// FUA, or no volatile cache.
        durable: bool,
    },
    /// Make everything durable.
    Flush {
        /// IMMED: answer at once.
        immediate: bool,
    },
}

impl Work {
    /// The range of the medium that this changes or reads.
    #[inline]
    pub(crate) fn extent(&self) -> Option<Extent> {
        match *self {
            Work::Read(extent) | Work::Write { extent, .. } => Some(extent),
            Work::Nothing | Work::Answer | Work::Flush { .. } => None,
        }
    }
}

/// A range of the medium, in whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First byte.
    pub(crate) offset: u64,
    /// Bytes that the CDB asks for.
    pub(crate) len: u32,
    pub(crate) block_size: BlockSize,
}

impl Extent {
    /// Bytes to read for a Data-In Buffer of `room` bytes: the blocks that it has room for, the last one perhaps
    /// only in part.
    pub(crate) fn read_len(&self, room: u32) -> u32 {
        self.block_size.round_up_to(room, self.len)
    }

    /// Bytes to write from a Data-Out Buffer of `room` bytes: the blocks that are whole in it.
    pub(crate) fn write_len(&self, room: u32) -> u32 {
        self.block_size.round_down(room).min(self.len)
    }

    pub(crate) fn overlaps(self, other: Extent) -> bool {
        let end = |extent: Extent| extent.offset.saturating_add(u64::from(extent.len));
        self.offset < end(other) && other.offset < end(self)
    }
}

/// Why a command ends without doing its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// CHECK CONDITION.
    Sense(Sense),
    /// A status that says all.
    Status(Status),
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Refusal::Sense(sense)
    }
}

impl Refusal {
    pub(crate) fn status(self) -> Status {
        match self {
            Refusal::Sense(_) => Status::CHECK_CONDITION,
            Refusal::Status(status) => status,
        }
    }

    pub(crate) fn sense(self) -> Option<Sense> {
        match self {
            Refusal::Sense(sense) => Some(sense),
            Refusal::Status(_) => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use iobuf::{Arena, Pool};

    use super::*;
    use crate::command::CdbBytes;
    use crate::logical_unit::{Geometry, Identity};

    pub(crate) const GEOMETRY: Geometry = Geometry {
        block_size: 512,
        physical_block_exponent: 3,
        max_transfer_bytes: 1 << 20,
        unmap_granularity_bytes: 0,
        rotational: false,
        thin: false,
    };

    pub(crate) const BLOCKS: u64 = 8192;

    pub(crate) const INITIATOR: TransportId = TransportId::Srp {
        initiator_port_id: [0x11; 16],
    };

    /// A pool of one page.
    pub(crate) fn pool() -> Pool {
        let arena = Arena::new(4096).expect("map");
        Pool::slots(&arena, 0..4096, 4096)
    }

    pub(crate) fn logical_unit() -> LogicalUnit {
        let identity = Identity {
            name: "ds1".into(),
            serial: "0123456789abcdef".into(),
            naa: [
                0x60, 0x01, 0x02, 0x03, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
            ],
            vendor: *b"SRPTGT  ",
            product: *b"VIRTUAL-DISK    ",
            revision: *b"0001",
        };
        LogicalUnit::new(identity, GEOMETRY, BLOCKS)
    }

    pub(crate) fn extent(offset: u64, len: u32) -> Extent {
        Extent {
            offset,
            len,
            block_size: BlockSize::of(&GEOMETRY),
        }
    }

    pub(crate) fn view(lu: &LogicalUnit) -> UnitView<'_> {
        UnitView {
            lu,
            number: 7,
            write_protected: lu.read_only(),
            max_transfer: Bytes(u64::from(lu.geometry.max_transfer_bytes)),
            initiator: &INITIATOR,
        }
    }

    /// The whole answer of a table function for a mapped logical unit.
    pub(crate) fn answer(
        function: fn(&mut Answer<'_>) -> Result<(), Sense>,
        lu: &LogicalUnit,
        cdb: &[u8],
    ) -> Result<Vec<u8>, Sense> {
        let mut nexus = Nexus::new(INITIATOR, pool());
        let mut data_in = Vec::new();
        let bytes = CdbBytes::new(cdb);
        function(&mut Answer {
            cdb: Cdb::new(&bytes),
            addressed: Addressed::Unit(view(lu)),
            nexus: &mut nexus,
            data_in: &mut data_in,
        })?;
        Ok(data_in)
    }

    #[test]
    fn extents_that_touch_do_not_overlap() {
        assert!(!extent(0, 512).overlaps(extent(512, 512)));
        assert!(extent(0, 1024).overlaps(extent(512, 512)));
        assert!(!extent(u64::MAX - 511, 512).overlaps(extent(0, u32::MAX)));
    }

    #[test]
    fn short_buffers_move_fewer_blocks() {
        let read = [0, 1, 512, 513, 9000].map(|room| extent(0, 1024).read_len(room));
        assert_eq!(read, [0, 512, 512, 1024, 1024]);
        let written = [0, 511, 512, 1023, 9000].map(|room| extent(0, 1024).write_len(room));
        assert_eq!(written, [0, 0, 512, 512, 1024]);
    }
}
