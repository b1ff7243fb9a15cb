//! PDUs written one behind the other into one message buffer, with the pieces of the stream that they are.

use iobuf::Buf;
use target_core::port::{Part, Piece};

use crate::pdu::{BHS_BYTES, Bhs, padding};

const DIGEST_BYTES: usize = 4;

/// The most that a PDU with `data` bytes takes in a message buffer; its data too, unless they stay where they are.
pub(crate) fn pdu_bytes(data: usize) -> usize {
    BHS_BYTES + DIGEST_BYTES + data.next_multiple_of(4) + DIGEST_BYTES
}

/// A message that is being filled.
pub(crate) struct Writer<'a> {
    message: Buf,
    at: usize,
    /// Bytes of the message that the pieces cover.
    covered: usize,
    pieces: &'a mut Vec<Piece>,
    header_digest: bool,
    data_digest: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        message: Buf,
        pieces: &'a mut Vec<Piece>,
        header_digest: bool,
        data_digest: bool,
    ) -> Self {
        pieces.clear();
        Self {
            message,
            at: 0,
            covered: 0,
            pieces,
            header_digest,
            data_digest,
        }
    }

    /// The next PDUs have no digests: those of a login.
    pub(crate) fn without_digests(&mut self) {
        (self.header_digest, self.data_digest) = (false, false);
    }

    /// Bytes that still have room.
    pub(crate) fn room(&self) -> usize {
        self.message.len() - self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// A PDU whose data segment is copied: `parts`, one after the other.
    pub(crate) fn put(&mut self, bhs: &Bhs, parts: &[&[u8]]) {
        self.put_header(bhs);
        let begin = self.at;
        for part in parts {
            self.push(part);
        }
        let len = self.at - begin;
        let crc = self.data_digest.then(|| {
            let data = self.message.get(begin..self.at);
            crc32c::crc32c(data.unwrap_or(&[]))
        });
        self.put_trailer(len, crc);
    }

    /// A PDU whose data segment are `len` bytes from `start` of the other buffer, `data`.
    pub(crate) fn put_reference(&mut self, bhs: &Bhs, data: &[u8], start: usize, len: usize) {
        self.put_header(bhs);
        self.cover();
        self.pieces.push(piece(Part::Data, start, len));
        let segment = || data.get(start..start + len).unwrap_or(&[]);
        let crc = self.data_digest.then(|| crc32c::crc32c(segment()));
        self.put_trailer(len, crc);
    }

    /// The message, cut to what was written.
    pub(crate) fn finish(mut self) -> Buf {
        self.cover();
        self.message.truncate(self.at);
        self.message
    }

    fn put_header(&mut self, bhs: &Bhs) {
        self.push(bhs);
        if self.header_digest {
            self.push(&crc32c::crc32c(bhs).to_le_bytes());
        }
    }

    fn put_trailer(&mut self, len: usize, crc: Option<u32>) {
        let padding = padding(len as u32) as usize;
        let padding = &[0; 3][..padding];
        if !padding.is_empty() {
            self.push(padding);
        }
        if let Some(crc) = crc.filter(|_| len != 0) {
            self.push(&crc32c::crc32c_append(crc, padding).to_le_bytes());
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        let room = self.message.get_mut(self.at..end);
        debug_assert!(room.is_some(), "no room for {} bytes", bytes.len());
        if let Some(room) = room {
            room.copy_from_slice(bytes);
            self.at = end;
        }
    }

    /// Puts what was written since the last piece into one.
    fn cover(&mut self) {
        if self.at > self.covered {
            let len = self.at - self.covered;
            self.pieces.push(piece(Part::Message, self.covered, len));
            self.covered = self.at;
        }
    }
}

fn piece(of: Part, start: usize, len: usize) -> Piece {
    let (start, len) = (start as u32, len as u32);
    Piece { of, start, len }
}

#[cfg(test)]
mod tests {
    use iobuf::{Arena, Pool};

    use super::*;
    use crate::pdu::NopIn;
    use crate::tcp::{Framed, Framer};

    #[test]
    fn what_is_written_is_read_again() {
        let arena = Arena::new(1 << 16).expect("map");
        let pool = Pool::buddy(&arena, 0..1 << 16, 1 << 15);
        for (header, digest) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut pieces = Vec::new();
            let message = pool.take(4096).expect("room");
            let mut writer = Writer::new(message, &mut pieces, header, digest);
            let (ping, data) = (NopIn::default(), [7; 100]);
            writer.put(&ping.encode(5), &[b"ab", b"cde"]);
            writer.put_reference(&ping.encode(33), &data, 10, 33);
            writer.put(&ping.encode(0), &[]);
            let message = writer.finish();
            let mut stream = Vec::new();
            for piece in &pieces {
                let of = match piece.of {
                    Part::Message => &message[..],
                    Part::Data => &data[..],
                };
                stream.extend(&of[piece.start as usize..(piece.start + piece.len) as usize]);
            }
            let mut framer = Framer::new(100);
            framer.agree(header, digest, 100);
            let (mut bytes, mut read) = (&stream[..], Vec::new());
            while let Some(event) = framer.next(&mut bytes).expect("whole") {
                match event {
                    Framed::Data(data) => read.push(data.to_vec()),
                    Framed::End { intact } => assert!(intact),
                    Framed::Header => {}
                }
            }
            assert!(bytes.is_empty());
            assert_eq!(read, [b"abcde".to_vec(), vec![7; 33]]);
        }
    }
}
