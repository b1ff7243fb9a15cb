//! Data buffer descriptors (SRP r16a 5.4.2; the immediate form from SRP-2).

use iobuf::RemoteSegment;
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, transmute};

use super::{WireError, put};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawDirect {
    va: U64,
    key: U32,
    len: U32,
}
const _: () = assert!(size_of::<RawDirect>() == DIRECT_BYTES);

/// Length of a memory descriptor, which is also the direct data buffer descriptor.
pub const DIRECT_BYTES: usize = 16;

/// Length of an indirect data buffer descriptor without its partial memory descriptor list.
pub const INDIRECT_MIN_BYTES: usize = 20;

/// Length of an immediate data buffer descriptor.
pub const IMMEDIATE_BYTES: usize = 4;

impl RawDirect {
    fn segment(&self) -> RemoteSegment {
        RemoteSegment {
            address: self.va.get(),
            key: self.key.get(),
            length: self.len.get(),
        }
    }
}

/// Reads the memory descriptor at `offset` of the message, whose bytes from there on are `bytes`.
///
/// # Errors
/// The message ends inside it.
#[inline]
pub fn parse_direct(bytes: &[u8], offset: usize) -> Result<RemoteSegment, WireError> {
    match RawDirect::ref_from_prefix(bytes) {
        Ok((raw, _)) => Ok(raw.segment()),
        Err(_) => Err(WireError::truncated(
            "direct data buffer descriptor",
            offset,
            DIRECT_BYTES,
            bytes.len(),
        )),
    }
}

/// Writes a memory descriptor.
pub fn direct_to_bytes(segment: RemoteSegment) -> [u8; DIRECT_BYTES] {
    transmute!(RawDirect {
        va: segment.address.into(),
        key: segment.key.into(),
        len: segment.length.into(),
    })
}

/// The memory descriptors in a list, as many as are whole.
pub fn segments(list: &[u8]) -> impl Iterator<Item = RemoteSegment> {
    // A prefix of whole descriptors always has the right size, so nothing is lost here.
    let whole = list.len() - list.len() % DIRECT_BYTES;
    let raw = <[RawDirect]>::ref_from_bytes(&list[..whole]).unwrap_or(&[]);
    raw.iter().map(RawDirect::segment)
}

/// Indirect data buffer descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndirectDesc<'a> {
    /// INDIRECT TABLE MEMORY DESCRIPTOR: where the whole table lies in the initiator's memory.
    pub table: RemoteSegment,
    /// TOTAL LENGTH of the buffer in bytes.
    pub total_len: u32,
    /// PARTIAL MEMORY DESCRIPTOR LIST: the table's first entries, 16 bytes each.
    pub partial_list: &'a [u8],
}

impl<'a> IndirectDesc<'a> {
    /// Reads the descriptor at `offset` of the message, whose bytes from there on are `bytes`. The
    /// partial list has `count` entries, or all of the table's when it has fewer.
    ///
    /// # Errors
    /// The message ends inside it.
    pub fn parse(bytes: &'a [u8], offset: usize, count: usize) -> Result<Self, WireError> {
        let what = "indirect data buffer descriptor";
        let Some((fixed, rest)) = bytes.split_at_checked(INDIRECT_MIN_BYTES) else {
            return Err(WireError::truncated(
                what,
                offset,
                INDIRECT_MIN_BYTES,
                bytes.len(),
            ));
        };
        let (table, total_len) = fixed.split_at(DIRECT_BYTES);
        let table = parse_direct(table, offset)?;
        let total_len = parse_length(total_len, what, offset + DIRECT_BYTES)?;
        let needed = count.min(table.length as usize / DIRECT_BYTES) * DIRECT_BYTES;
        match rest.get(..needed) {
            Some(partial_list) => Ok(Self {
                table,
                total_len,
                partial_list,
            }),
            None => Err(WireError::truncated(
                "PARTIAL MEMORY DESCRIPTOR LIST",
                offset + INDIRECT_MIN_BYTES,
                needed,
                rest.len(),
            )),
        }
    }

    /// Writes the descriptor. `None` when there is no room.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let table = direct_to_bytes(self.table);
        let total_len = self.total_len.to_be_bytes();
        put(out, &[&table, &total_len, self.partial_list])
    }
}

/// Reads the immediate data buffer descriptor, which is the data's length in bytes (SRP-2).
///
/// # Errors
/// The message ends inside it.
pub fn parse_immediate(bytes: &[u8], offset: usize) -> Result<u32, WireError> {
    parse_length(bytes, "immediate data buffer descriptor", offset)
}

/// Writes an immediate data buffer descriptor.
pub fn immediate_to_bytes(len: u32) -> [u8; IMMEDIATE_BYTES] {
    len.to_be_bytes()
}

fn parse_length(bytes: &[u8], what: &'static str, offset: usize) -> Result<u32, WireError> {
    match U32::ref_from_prefix(bytes) {
        Ok((len, _)) => Ok(len.get()),
        Err(_) => Err(WireError::truncated(
            what,
            offset,
            IMMEDIATE_BYTES,
            bytes.len(),
        )),
    }
}
