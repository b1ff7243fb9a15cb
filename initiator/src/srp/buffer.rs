//! Memory that the target reads and writes: a data buffer, and how it is told of.

use iobuf::RemoteSegment;
use rdma::{Error, ExposedRegion};
use transport_srp::wire::desc::{DIRECT_BYTES, direct_to_bytes};

use super::machine::Buffer;
use crate::error::SessionError;
use crate::fabric::port::Port;

/// A buffer for the data of one command at a time, exposed to the target from its making to its end.
///
/// Its bytes are copied in and out, because a target could change them at any moment.
#[derive(Debug)]
pub struct DataBuffer {
    region: ExposedRegion,
    capacity: usize,
    /// What the next command is for.
    len: usize,
    /// Pieces of a past indirect table; kept, so that a command allocates nothing.
    entries: Vec<RemoteSegment>,
    pieces: u16,
    inline: u16,
}

impl DataBuffer {
    /// A buffer of `capacity` bytes that is told of in `pieces` pieces. The table of an indirect descriptor lies behind
    /// the data.
    pub(super) fn new(
        port: &Port,
        capacity: usize,
        pieces: u16,
        inline: u16,
    ) -> Result<Self, SessionError> {
        let table = usize::from(pieces) * DIRECT_BYTES;
        let buf = port.data.take(capacity + table);
        let buf = buf.ok_or(SessionError::NoBuffer(capacity))?;
        let region: Result<ExposedRegion, Error> = ExposedRegion::new(&port.domain, buf);
        Ok(Self {
            region: region?,
            capacity,
            len: capacity,
            entries: Vec::with_capacity(usize::from(pieces)),
            pieces: pieces.max(1),
            inline,
        })
    }

    /// Bytes that the buffer can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes that the next command transfers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when the next command transfers nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets how many bytes the next command transfers. Returns false, and changes nothing, when the buffer is shorter.
    #[must_use]
    pub fn set_len(&mut self, len: usize) -> bool {
        let fits = len <= self.capacity;
        if fits {
            self.len = len;
        }
        fits
    }

    /// Copies bytes from `offset` on into `into`. Returns false, and copies nothing, when the buffer is not that long.
    #[must_use]
    pub fn read(&mut self, offset: usize, into: &mut [u8]) -> bool {
        self.fits(offset, into.len()) && self.region.read(offset, into)
    }

    /// Copies `from` to `offset`. Returns false, and copies nothing, when the buffer is not that long.
    #[must_use]
    pub fn write(&mut self, offset: usize, from: &[u8]) -> bool {
        self.fits(offset, from.len()) && self.region.write(offset, from)
    }

    fn fits(&self, offset: usize, len: usize) -> bool {
        offset
            .checked_add(len)
            .is_some_and(|end| end <= self.capacity)
    }

    /// The bytes that the next command transfers, as the target names them.
    pub fn segment(&self) -> RemoteSegment {
        RemoteSegment {
            length: u32::try_from(self.len).unwrap_or(u32::MAX),
            ..self.region.segment()
        }
    }

    /// The descriptor for the next command.
    pub(super) fn describe(&mut self) -> Buffer<'_> {
        let whole = self.segment();
        if self.pieces == 1 {
            return Buffer::Direct(whole);
        }
        cut(whole, self.pieces, &mut self.entries);
        let inline = self.entries.len().min(self.inline.into());
        let table_at = self.capacity;
        for (index, entry) in self.entries.iter().enumerate() {
            let bytes = direct_to_bytes(*entry);
            // The region was made with room for all pieces behind the data.
            let is_written = self.region.write(table_at + index * DIRECT_BYTES, &bytes);
            debug_assert!(is_written, "no room for entry {index}");
        }
        let table = RemoteSegment {
            address: whole.address + table_at as u64,
            ..whole
        };
        Buffer::Indirect {
            entries: &self.entries,
            inline,
            table,
        }
    }
}

/// Pieces are whole logical blocks, as those of every initiator are: a target may take each for memory of its own.
const PIECE_BYTES: u32 = 512;

/// Cuts a segment into at most `pieces` nearly equal ones, none of them empty.
fn cut(whole: RemoteSegment, pieces: u16, entries: &mut Vec<RemoteSegment>) {
    entries.clear();
    let length = whole.length.div_ceil(pieces.into());
    let length = length.max(1).next_multiple_of(PIECE_BYTES);
    let mut done = 0;
    while done < whole.length {
        let length = length.min(whole.length - done);
        entries.push(RemoteSegment {
            address: whole.address + u64::from(done),
            key: whole.key,
            length,
        });
        done += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_whole_and_nothing_twice() {
        for (length, pieces, expected) in [
            (4096, 3, 3),
            (1100, 5, 3),
            (0, 4, 0),
            (512, 1, 1),
            (16, 4, 1),
        ] {
            let whole = RemoteSegment {
                address: 0x1000,
                key: 7,
                length,
            };
            let mut entries = Vec::new();
            cut(whole, pieces, &mut entries);
            assert_eq!(entries.len(), expected);
            let mut next = whole.address;
            for entry in &entries {
                assert_eq!((entry.address, entry.key), (next, 7));
                next += u64::from(entry.length);
            }
            assert_eq!(next, whole.address + u64::from(length));
        }
    }
}
