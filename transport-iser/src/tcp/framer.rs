//! Bytes as they come, cut into PDUs.

use thiserror::Error;

use crate::pdu::ahs::MAX_AHS_BYTES;
use crate::pdu::{BHS_BYTES, Bhs, Lengths, PduError, padding};

const DIGEST_BYTES: usize = 4;
/// Basic and additional headers and their digest.
const HEADER_ROOM: usize = BHS_BYTES + MAX_AHS_BYTES + DIGEST_BYTES;

/// What the next bytes of the stream were.
#[derive(Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// The headers of a PDU are complete.
    Header,
    /// Some bytes of its data segment.
    Data(&'a [u8]),
    /// The PDU is over. False when its data digest did not fit its data.
    End {
        /// Whether the data are what was sent.
        intact: bool,
    },
}

/// A stream that cannot be cut into PDUs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FramingError {
    /// A length that was not agreed on.
    #[error(transparent)]
    Length(#[from] PduError),
    /// A damaged header: where the PDU ends is not known (RFC 7143 7.8).
    #[error("header digest {expected:#010x} expected, {found:#010x} came")]
    HeaderDigest {
        /// CRC32C of the header that came.
        expected: u32,
        /// The digest that came.
        found: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The basic header.
    Bhs,
    /// Additional headers and the header digest.
    RestOfHeader,
    /// The data segment; so many bytes are missing.
    Data(u32),
    /// Padding and data digest.
    Trailer,
}

/// Where the stream stands.
#[derive(Debug)]
pub struct Framer {
    stage: Stage,
    header: [u8; HEADER_ROOM],
    /// Bytes of the header or of the trailer that came.
    have: usize,
    trailer: [u8; 3 + DIGEST_BYTES],
    lengths: Lengths,
    crc: u32,
    header_digest: bool,
    data_digest: bool,
    max_data: u32,
}

impl Framer {
    /// A stream from its first byte on, whose data segments have at most `max_data` bytes. It has no digests.
    pub fn new(max_data: u32) -> Self {
        Self {
            stage: Stage::Bhs,
            header: [0; HEADER_ROOM],
            have: 0,
            trailer: [0; 3 + DIGEST_BYTES],
            lengths: Lengths::default(),
            crc: 0,
            header_digest: false,
            data_digest: false,
            max_data,
        }
    }

    /// What holds from the next PDU on.
    pub fn agree(&mut self, header_digest: bool, data_digest: bool, max_data: u32) {
        self.header_digest = header_digest;
        self.data_digest = data_digest;
        self.max_data = max_data;
    }

    /// The basic header of the PDU that is coming; complete after [`Framed::Header`].
    pub fn bhs(&self) -> &Bhs {
        self.header.first_chunk().unwrap_or(&[0; BHS_BYTES])
    }

    /// Its additional headers.
    pub fn ahs(&self) -> &[u8] {
        let ahs = self.header.get(BHS_BYTES..self.header_end());
        ahs.unwrap_or(&[])
    }

    /// Its lengths.
    pub fn lengths(&self) -> Lengths {
        self.lengths
    }

    /// Takes bytes from the front of `bytes` until there is something to say, or no byte is left.
    ///
    /// # Errors
    /// The stream is lost; nothing more may be taken from it.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Framed<'a>>, FramingError> {
        loop {
            match self.stage {
                Stage::Bhs => {
                    if !self.fill_basic_header(bytes) {
                        return Ok(None);
                    }
                    let max_ahs = MAX_AHS_BYTES as u32;
                    self.lengths = Lengths::parse(self.bhs(), max_ahs, self.max_data)?;
                    self.stage = Stage::RestOfHeader;
                }
                Stage::RestOfHeader => {
                    let end = self.header_end() + digest_bytes(self.header_digest);
                    if !self.fill_header(end, bytes) {
                        return Ok(None);
                    }
                    self.check_header()?;
                    self.begin_data();
                    return Ok(Some(Framed::Header));
                }
                Stage::Data(0) => {
                    self.have = 0;
                    self.stage = Stage::Trailer;
                }
                Stage::Data(_) if bytes.is_empty() => return Ok(None),
                Stage::Data(missing) => return Ok(Some(self.take_data(missing, bytes))),
                Stage::Trailer => return Ok(self.take_trailer(bytes)),
            }
        }
    }

    fn header_end(&self) -> usize {
        BHS_BYTES + self.lengths.ahs as usize
    }

    /// The basic header is nearly always here at once: then its length is known to the compiler.
    #[inline]
    fn fill_basic_header(&mut self, bytes: &mut &[u8]) -> bool {
        let whole = bytes.split_first_chunk::<BHS_BYTES>();
        let room = self.header.first_chunk_mut::<BHS_BYTES>();
        let (Some((bhs, rest)), Some(room), 0) = (whole, room, self.have) else {
            return self.fill_header(BHS_BYTES, bytes);
        };
        *room = *bhs;
        *bytes = rest;
        self.have = BHS_BYTES;
        true
    }

    fn fill_header(&mut self, end: usize, bytes: &mut &[u8]) -> bool {
        if self.have >= end {
            return true;
        }
        let room = self.header.get_mut(self.have..end);
        self.have += fill(room, bytes);
        self.have >= end
    }

    fn check_header(&self) -> Result<(), FramingError> {
        if !self.header_digest {
            return Ok(());
        }
        let (header, rest) = self.header.split_at(self.header_end());
        let expected = crc32c::crc32c(header);
        let found = rest.first_chunk().map_or(0, |d| u32::from_le_bytes(*d));
        if expected == found {
            return Ok(());
        }
        Err(FramingError::HeaderDigest { expected, found })
    }

    fn begin_data(&mut self) {
        self.crc = 0;
        self.have = 0;
        self.stage = Stage::Data(self.lengths.data);
    }

    fn take_data<'a>(&mut self, missing: u32, bytes: &mut &'a [u8]) -> Framed<'a> {
        let count = bytes.len().min(missing as usize);
        let (data, rest) = bytes.split_at(count);
        *bytes = rest;
        if self.data_digest {
            self.crc = crc32c::crc32c_append(self.crc, data);
        }
        self.stage = Stage::Data(missing - count as u32);
        Framed::Data(data)
    }

    fn take_trailer<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Framed<'a>> {
        let padding = padding(self.lengths.data) as usize;
        let has_digest = self.data_digest && self.lengths.data != 0;
        let end = padding + digest_bytes(has_digest);
        if self.have < end {
            self.have += fill(self.trailer.get_mut(self.have..end), bytes);
        }
        if self.have < end {
            return None;
        }
        self.have = 0;
        self.stage = Stage::Bhs;
        let (padding, digest) = self.trailer.split_at(padding);
        let found = digest.first_chunk().map(|d| u32::from_le_bytes(*d));
        let intact = !has_digest || found == Some(crc32c::crc32c_append(self.crc, padding));
        Some(Framed::End { intact })
    }
}

fn digest_bytes(has_digest: bool) -> usize {
    if has_digest { DIGEST_BYTES } else { 0 }
}

/// Copies what there is room for, and says how much.
fn fill(room: Option<&mut [u8]>, bytes: &mut &[u8]) -> usize {
    let room = room.unwrap_or_default();
    let count = room.len().min(bytes.len());
    let (here, rest) = bytes.split_at(count);
    room[..count].copy_from_slice(here);
    *bytes = rest;
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pdu::{NopOut, ScsiCommand};

    /// A PDU in the stream, with digests.
    fn framed(bhs: &Bhs, ahs: &[u8], data: &[u8], digests: (bool, bool)) -> Vec<u8> {
        let mut bytes = [&bhs[..], ahs].concat();
        if digests.0 {
            let crc = crc32c::crc32c(&bytes);
            bytes.extend(crc.to_le_bytes());
        }
        if !data.is_empty() {
            let padded = [data, &[0; 3][..padding(data.len() as u32) as usize]].concat();
            bytes.extend(&padded);
            if digests.1 {
                bytes.extend(crc32c::crc32c(&padded).to_le_bytes());
            }
        }
        bytes
    }

    /// Headers, data and ends of the PDUs in a stream that comes in chunks.
    fn read(framer: &mut Framer, bytes: &[u8], chunk: usize) -> Vec<(Bhs, Vec<u8>, Vec<u8>, bool)> {
        let (mut pdus, mut data) = (Vec::new(), Vec::new());
        for mut chunk in bytes.chunks(chunk) {
            while let Some(event) = framer.next(&mut chunk).expect("a whole stream") {
                match event {
                    Framed::Header => data.clear(),
                    Framed::Data(bytes) => data.extend(bytes),
                    Framed::End { intact } => {
                        let ahs = framer.ahs().to_vec();
                        pdus.push((*framer.bhs(), ahs, data.clone(), intact));
                    }
                }
            }
        }
        pdus
    }

    #[test]
    fn the_digest_is_the_one_of_the_rfc() {
        // RFC 7143 appendix: CRC32C of 32 zero bytes, in the order of the wire.
        assert_eq!(
            crc32c::crc32c(&[0; 32]).to_le_bytes(),
            [0xaa, 0x36, 0x91, 0x8a]
        );
    }

    #[test]
    fn lengths_end_the_stream_before_anything_is_taken() {
        let mut framer = Framer::new(8192);
        let bhs = NopOut::default().encode(8193);
        let error = framer.next(&mut &bhs[..]).unwrap_err();
        assert!(error.to_string().starts_with("DataSegmentLength at byte 5"));
        let mut framer = Framer::new(8192);
        let bhs = ScsiCommand::default().encode_with_ahs(MAX_AHS_BYTES + 4, 0);
        let error = framer.next(&mut &bhs[..]).unwrap_err();
        assert!(error.to_string().starts_with("TotalAHSLength at byte 4"));
    }

    #[test]
    fn a_damaged_header_ends_the_stream_and_damaged_data_do_not() {
        let mut framer = Framer::new(100);
        framer.agree(true, true, 100);
        let whole = framed(&NopOut::default().encode(5), &[], &[9; 5], (true, true));
        let mut damaged = whole.clone();
        damaged[52] ^= 1;
        let pdus = read(&mut framer, &[damaged, whole.clone()].concat(), 1000);
        let intact: Vec<_> = pdus.iter().map(|pdu| pdu.3).collect();
        assert_eq!(intact, [false, true]);
        let mut damaged = whole;
        damaged[20] ^= 1;
        assert!(matches!(
            framer.next(&mut &damaged[..]),
            Err(FramingError::HeaderDigest { .. })
        ));
    }

    proptest! {
        #[test]
        fn chunks_of_any_size_give_the_same_pdus(
            sizes in proptest::collection::vec((0usize..70, 0usize..4), 1..6),
            chunk in 1usize..200, header in any::<bool>(), data in any::<bool>(),
        ) {
            let mut framer = Framer::new(100);
            framer.agree(header, data, 100);
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for (at, (len, ahs_words)) in sizes.into_iter().enumerate() {
                let ahs = vec![at as u8; ahs_words * 4];
                let bytes = vec![at as u8 + 1; len];
                let command = ScsiCommand { initiator_task_tag: at as u32, ..Default::default() };
                let bhs = command.encode_with_ahs(ahs.len(), len as u32);
                stream.extend(framed(&bhs, &ahs, &bytes, (header, data)));
                expected.push((bhs, ahs, bytes, true));
            }
            prop_assert_eq!(read(&mut framer, &stream, chunk), expected);
        }
    }
}
