//! Where a command's data lies: descriptors to segments of the initiator's memory (SRP r16a 5.4.2).
//!
//! The received length bounds everything. An indirect table that is only partly in the message is
//! fetched by RDMA READ: its missing entries, no more. Initiators are known to put the number of
//! inline entries in the wrong one of the two count fields, so a command with one buffer is read by
//! the sum of both.

use std::ops::Range;

use iobuf::RemoteSegment;
use thiserror::Error;

use crate::wire::cmd::{BufferFormat, Cmd};
use crate::wire::desc::{self, DIRECT_BYTES, INDIRECT_MIN_BYTES, IndirectDesc};
use crate::wire::{WireError, desc::IMMEDIATE_BYTES};

/// The most memory descriptors in an indirect table. Linux goes up to 2048.
pub const MAX_TABLE_ENTRIES: usize = 4096;

/// Direction of a data buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's own words")]
pub enum Direction {
    DataOut,
    DataIn,
}

/// Descriptors that do not describe a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DataError {
    /// The message ends inside a descriptor or inside the immediate data.
    #[error(transparent)]
    Truncated(#[from] WireError),
    /// The format is not defined for this direction, or was not agreed on at login.
    #[error("{direction:?} buffer descriptor format {format:?} at byte 5 is not agreed on")]
    Format {
        /// Whose format.
        direction: Direction,
        /// What came.
        format: BufferFormat,
    },
    /// Immediate data begins inside the descriptor.
    #[error(
        "immediate data at byte {data} begins before its descriptor ends at byte {descriptor_end}"
    )]
    ImmediateOverlap {
        /// Where the data begins.
        data: usize,
        /// Where the descriptor ends.
        descriptor_end: usize,
    },
    /// The indirect table is no whole number of memory descriptors.
    #[error("an indirect table of {0} bytes is no whole number of 16-byte memory descriptors")]
    TableLength(u32),
    /// The indirect table is longer than this target takes.
    #[error("an indirect table of {0} entries is longer than {MAX_TABLE_ENTRIES}")]
    TableTooLong(usize),
    /// The fetched part of a table is not as long as what was asked for.
    #[error("{fetched} bytes of an indirect table came instead of {missing}")]
    TableShort {
        /// Bytes that came.
        fetched: usize,
        /// Bytes that were asked for.
        missing: u32,
    },
    /// The memory descriptors do not add up to the total length.
    #[error("memory descriptors add up to {sum} bytes, the total length says {total}")]
    TotalLength {
        /// Sum of the memory descriptors' lengths.
        sum: u64,
        /// TOTAL LENGTH.
        total: u32,
    },
    /// A memory descriptor goes beyond the end of the address space.
    #[error("{length} bytes from {address:#x} go beyond the address space")]
    AddressWraps {
        /// First byte.
        address: u64,
        /// How many.
        length: u32,
    },
    /// A command with buffers in both directions has more inline entries than its table, or a table
    /// outside.
    #[error(
        "a bidirectional command must carry its whole tables inline: {count} of {entries} entries came"
    )]
    BidirectionalTable {
        /// Inline entries by the count field.
        count: usize,
        /// Entries of the table.
        entries: usize,
    },
}

/// The buffers of a command. Their segments are in the list that was passed along: Data-Out first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataBuffers {
    /// Bytes of the Data-Out Buffer.
    pub data_out_len: u32,
    /// Bytes of the Data-In Buffer.
    pub data_in_len: u32,
    /// How many of the segments are the Data-Out Buffer's.
    pub data_out_segments: usize,
    /// Where in the message the Data-Out Buffer lies, when it came as immediate data.
    pub immediate: Option<Range<usize>>,
    /// What is missing until the segments are complete.
    pub table: Option<ExternalTable>,
}

/// The part of an indirect table that did not come with the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalTable {
    /// Whose table.
    pub direction: Direction,
    /// Where the missing entries lie in the initiator's memory.
    pub missing: RemoteSegment,
    /// TOTAL LENGTH of the buffer.
    total_len: u32,
    /// What the inline entries add up to.
    listed_len: u64,
}

impl ExternalTable {
    /// Appends the entries that were fetched.
    ///
    /// # Errors
    /// The entries do not describe the buffer.
    pub fn complete(
        &self,
        fetched: &[u8],
        segments: &mut Vec<RemoteSegment>,
    ) -> Result<(), DataError> {
        if fetched.len() != self.missing.length as usize {
            return Err(DataError::TableShort {
                fetched: fetched.len(),
                missing: self.missing.length,
            });
        }
        let sum = self.listed_len + append(fetched, segments)?;
        check_total(sum, self.total_len)
    }
}

/// What one descriptor says.
#[derive(Default)]
struct Buffer {
    len: u32,
    /// Bytes of the descriptor in the message.
    descriptor_len: usize,
    immediate: Option<Range<usize>>,
    table: Option<ExternalTable>,
}

impl DataBuffers {
    /// Reads the descriptors of `cmd` and appends their segments to the empty list `segments`.
    /// `imm_data_offset` is what the login agreed on.
    ///
    /// # Errors
    /// The first thing that is wrong with a descriptor.
    #[inline]
    pub fn parse(
        cmd: &Cmd<'_>,
        imm_data_offset: Option<u16>,
        segments: &mut Vec<RemoteSegment>,
    ) -> Result<Self, DataError> {
        let counts = Counts::of(cmd);
        let mut place = Place {
            bytes: cmd.data,
            offset: cmd.data_offset(),
        };
        let data_out = match cmd.data_out_format {
            BufferFormat::IMMEDIATE => immediate(place, imm_data_offset)?,
            format => remote(place, format, Direction::DataOut, &counts, segments)?,
        };
        let data_out_segments = segments.len();
        place = place.after(data_out.descriptor_len);
        let data_in = remote(
            place,
            cmd.data_in_format,
            Direction::DataIn,
            &counts,
            segments,
        )?;
        Ok(Self {
            data_out_len: data_out.len,
            data_in_len: data_in.len,
            data_out_segments,
            immediate: data_out.immediate,
            table: data_out.table.or(data_in.table),
        })
    }
}

/// Bytes of the message from `offset` on.
#[derive(Clone, Copy)]
struct Place<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Place<'_> {
    fn after(self, count: usize) -> Self {
        Self {
            bytes: self.bytes.get(count..).unwrap_or(&[]),
            offset: self.offset + count,
        }
    }
}

/// How many inline entries an indirect descriptor of each direction has.
struct Counts {
    data_out: usize,
    data_in: usize,
    bidirectional: bool,
}

impl Counts {
    fn of(cmd: &Cmd<'_>) -> Self {
        let (data_out, data_in) = (cmd.data_out_count.into(), cmd.data_in_count.into());
        if cmd.data_out_format != BufferFormat::NONE && cmd.data_in_format != BufferFormat::NONE {
            return Self {
                data_out,
                data_in,
                bidirectional: true,
            };
        }
        let both = data_out + data_in;
        Self {
            data_out: both,
            data_in: both,
            bidirectional: false,
        }
    }

    fn inline(&self, direction: Direction) -> usize {
        match direction {
            Direction::DataOut => self.data_out,
            Direction::DataIn => self.data_in,
        }
    }
}

/// A descriptor of the initiator's memory, or none.
#[inline]
fn remote(
    place: Place<'_>,
    format: BufferFormat,
    direction: Direction,
    counts: &Counts,
    segments: &mut Vec<RemoteSegment>,
) -> Result<Buffer, DataError> {
    match format {
        BufferFormat::NONE => Ok(Buffer::default()),
        BufferFormat::DIRECT => direct(place, segments),
        BufferFormat::INDIRECT => indirect(place, direction, counts, segments),
        format => Err(DataError::Format { direction, format }),
    }
}

#[inline]
fn direct(place: Place<'_>, segments: &mut Vec<RemoteSegment>) -> Result<Buffer, DataError> {
    let segment = desc::parse_direct(place.bytes, place.offset)?;
    push(segment, segments)?;
    Ok(Buffer {
        len: segment.length,
        descriptor_len: DIRECT_BYTES,
        ..Buffer::default()
    })
}

fn indirect(
    place: Place<'_>,
    direction: Direction,
    counts: &Counts,
    segments: &mut Vec<RemoteSegment>,
) -> Result<Buffer, DataError> {
    let count = counts.inline(direction);
    let descriptor = IndirectDesc::parse(place.bytes, place.offset, count)?;
    let entries = table_entries(descriptor.table)?;
    if counts.bidirectional && count != entries {
        // Elsewhere a wrong count can be put right; here it decides where the other descriptor
        // begins.
        return Err(DataError::BidirectionalTable { count, entries });
    }
    let listed_len = append(descriptor.partial_list, segments)?;
    let table =
        missing(descriptor.table, descriptor.partial_list.len())?.map(|missing| ExternalTable {
            direction,
            missing,
            total_len: descriptor.total_len,
            listed_len,
        });
    if table.is_none() {
        check_total(listed_len, descriptor.total_len)?;
    }
    Ok(Buffer {
        len: descriptor.total_len,
        descriptor_len: INDIRECT_MIN_BYTES + descriptor.partial_list.len(),
        table,
        ..Buffer::default()
    })
}

fn table_entries(table: RemoteSegment) -> Result<usize, DataError> {
    let len = table.length as usize;
    if !len.is_multiple_of(DIRECT_BYTES) {
        return Err(DataError::TableLength(table.length));
    }
    let entries = len / DIRECT_BYTES;
    if entries > MAX_TABLE_ENTRIES {
        return Err(DataError::TableTooLong(entries));
    }
    Ok(entries)
}

/// What of the table is not in the message.
fn missing(table: RemoteSegment, inline_bytes: usize) -> Result<Option<RemoteSegment>, DataError> {
    // The partial list is never longer than the table, which is far below 4 GiB.
    let inline_bytes = u32::try_from(inline_bytes).unwrap_or(table.length);
    let length = table.length.saturating_sub(inline_bytes);
    if length == 0 {
        return Ok(None);
    }
    check_address(table)?;
    Ok(Some(RemoteSegment {
        address: table.address + u64::from(inline_bytes),
        key: table.key,
        length,
    }))
}

fn immediate(place: Place<'_>, imm_data_offset: Option<u16>) -> Result<Buffer, DataError> {
    let Some(start) = imm_data_offset.map(usize::from) else {
        return Err(DataError::Format {
            direction: Direction::DataOut,
            format: BufferFormat::IMMEDIATE,
        });
    };
    let len = desc::parse_immediate(place.bytes, place.offset)?;
    let descriptor_end = place.offset + IMMEDIATE_BYTES;
    if start < descriptor_end {
        return Err(DataError::ImmediateOverlap {
            data: start,
            descriptor_end,
        });
    }
    let received = (place.offset + place.bytes.len()).saturating_sub(start);
    if received < len as usize {
        let error = WireError::truncated("immediate data", start, len as usize, received);
        return Err(error.into());
    }
    Ok(Buffer {
        len,
        descriptor_len: IMMEDIATE_BYTES,
        immediate: Some(start..start + len as usize),
        table: None,
    })
}

/// Appends the memory descriptors of `list` and says what they add up to.
fn append(list: &[u8], segments: &mut Vec<RemoteSegment>) -> Result<u64, DataError> {
    let mut sum = 0;
    for segment in desc::segments(list) {
        push(segment, segments)?;
        // At most 4096 entries of less than 4 GiB: no overflow.
        sum += u64::from(segment.length);
    }
    Ok(sum)
}

/// Memory descriptors of no bytes are allowed, and left out.
#[inline]
fn push(segment: RemoteSegment, segments: &mut Vec<RemoteSegment>) -> Result<(), DataError> {
    if segment.length > 0 {
        check_address(segment)?;
        segments.push(segment);
    }
    Ok(())
}

fn check_address(segment: RemoteSegment) -> Result<(), DataError> {
    let RemoteSegment {
        address, length, ..
    } = segment;
    match address.checked_add(length.into()) {
        Some(_) => Ok(()),
        None => Err(DataError::AddressWraps { address, length }),
    }
}

fn check_total(sum: u64, total: u32) -> Result<(), DataError> {
    if sum == u64::from(total) {
        return Ok(());
    }
    Err(DataError::TotalLength { sum, total })
}

/// How many of the segments, from the first on, cover `len` bytes; all of them when they are
/// shorter.
pub fn covering(segments: &[RemoteSegment], len: usize) -> usize {
    let mut left = len;
    segments
        .iter()
        .take_while(|segment| {
            let needed = left > 0;
            left = left.saturating_sub(segment.length as usize);
            needed
        })
        .count()
}

/// Appends to `out` the parts of the segments that hold bytes `offset` to `offset + len` of their
/// buffer.
pub fn cut(segments: &[RemoteSegment], offset: u32, len: usize, out: &mut Vec<RemoteSegment>) {
    let mut skip = offset;
    let mut left = len;
    for segment in segments {
        if left == 0 {
            return;
        }
        let skipped = skip.min(segment.length);
        skip -= skipped;
        let rest = segment.length - skipped;
        let length = u32::try_from(left).map_or(rest, |left| left.min(rest));
        if length > 0 {
            out.push(RemoteSegment {
                address: segment.address + u64::from(skipped),
                key: segment.key,
                length,
            });
            left -= length as usize;
        }
    }
}

#[cfg(test)]
mod tests;
