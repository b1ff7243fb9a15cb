//! The answers that the core gives from what it knows: INQUIRY data, mode pages, lists.

use iobuf::{Buf, Pool};

use crate::cdb::Cdb;
use crate::ending::Ending;
use crate::nexus::Nexus;
use crate::opcode::{Data, Row};
use crate::request::{Addressed, Answer};
use crate::sense::Sense;

/// More than any answer has: REPORT LUNS of 256 numbers and the well-known one is 2,064 bytes.
const LONGEST_BYTES: usize = 4096;

/// Where answers are put together, again and again without an allocation.
#[derive(Debug)]
pub(super) struct Page(Vec<u8>);

impl Page {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(LONGEST_BYTES))
    }

    pub(super) fn fill(
        &mut self,
        function: fn(&mut Answer<'_>) -> Result<(), Sense>,
        cdb: Cdb<'_>,
        addressed: Addressed<'_>,
        nexus: &mut Nexus,
    ) -> Result<(), Sense> {
        self.0.clear();
        function(&mut Answer {
            cdb,
            addressed,
            nexus,
            data_in: &mut self.0,
        })
    }

    /// GOOD with the answer, cut to the allocation length and to the room in `buf`.
    pub(super) fn ending(&self, row: &Row, cdb: Cdb<'_>, buf: Option<Buf>) -> Ending {
        let len = allocation_length(row, cdb).min(self.0.len());
        let data_in = buf.and_then(|mut buf| {
            buf.truncate(len);
            let room = buf.len();
            buf.copy_from_slice(self.0.get(..room)?);
            Some(buf)
        });
        Ending {
            data_in: data_in.filter(|buf| !buf.is_empty()),
            data_in_bytes: u32::try_from(len).unwrap_or(u32::MAX),
            ..Ending::default()
        }
    }
}

/// How large a buffer an answer needs; known before there is an answer.
pub(super) fn buffer_len(row: &Row, cdb: Cdb<'_>, data_in_len: u32, pool: &Pool) -> usize {
    allocation_length(row, cdb)
        .min(data_in_len as usize)
        .min(LONGEST_BYTES)
        .min(pool.largest())
}

/// The field's value; commands without one say all that they have to say.
fn allocation_length(row: &Row, cdb: Cdb<'_>) -> usize {
    match row.data {
        Data::Allocated { at, width } => cdb.field(at, width) as usize,
        Data::None | Data::In | Data::Out => LONGEST_BYTES,
    }
}
