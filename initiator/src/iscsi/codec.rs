//! PDUs as bytes of a stream (RFC 7143 clause 11.1, 11.2, 13.1): both directions, with their digests. Pure.

use transport_iser::login::Digest;
use transport_iser::pdu::{BHS_BYTES, Bhs, Lengths, padding};

use super::machine::{ProtocolError, Segment, Transmit};

/// Bytes of a digest.
const DIGEST_BYTES: usize = 4;

/// Most bytes of additional headers that a PDU can have.
const MAX_AHS: usize = 1020;

/// A PDU that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Basic header segment.
    pub header: &'a Bhs,
    /// Data segment, without its padding.
    pub data: &'a [u8],
}

/// Appends a PDU to `out`; `data_out` is the request's whole Data-Out Buffer.
pub fn encode(out: &mut Vec<u8>, transmit: &Transmit, data_out: &[u8]) {
    let begin = out.len();
    out.extend_from_slice(&transmit.header);
    out.extend_from_slice(&transmit.ahs);
    if transmit.header_digest == Digest::Crc32c {
        push_digest(out, begin);
    }
    let begin = out.len();
    out.extend_from_slice(data(&transmit.segment, data_out));
    let len = out.len() - begin;
    if len == 0 {
        return;
    }
    out.resize(begin + len.next_multiple_of(4), 0);
    if transmit.data_digest == Digest::Crc32c {
        push_digest(out, begin);
    }
}

/// Bytes of the longest PDU with a data segment of `max_data`.
pub(super) fn longest(digests: (Digest, Digest), max_data: u32) -> usize {
    BHS_BYTES + MAX_AHS + max_data as usize + 4 + digest_bytes(digests)
}

fn data<'a>(segment: &'a Segment, data_out: &'a [u8]) -> &'a [u8] {
    match segment {
        Segment::None => &[],
        Segment::Bytes(bytes) => bytes,
        Segment::DataOut { offset, len } => {
            let begin = *offset as usize;
            data_out.get(begin..begin + *len as usize).unwrap_or(&[])
        }
    }
}

fn push_digest(out: &mut Vec<u8>, begin: usize) {
    let digest = crc32c::crc32c(out.get(begin..).unwrap_or_default());
    out.extend_from_slice(&digest.to_le_bytes());
}

fn digest_bytes((header, data): (Digest, Digest)) -> usize {
    let count = [header, data]
        .iter()
        .filter(|digest| **digest == Digest::Crc32c)
        .count();
    count * DIGEST_BYTES
}

/// The length of the PDU that `bytes` begin with, when its header is there. Data segments are bounded by `max_data`.
///
/// # Errors
/// A length is wrong.
pub fn pdu_len(
    bytes: &[u8],
    (header_digest, data_digest): (Digest, Digest),
    max_data: u32,
) -> Result<Option<usize>, ProtocolError> {
    let Some(header) = bytes.first_chunk::<BHS_BYTES>() else {
        return Ok(None);
    };
    let lengths = Lengths::parse(header, MAX_AHS as u32, max_data)?;
    let mut len = BHS_BYTES + lengths.ahs as usize + lengths.padded_data() as usize;
    len += digest_bytes((header_digest, Digest::None));
    if lengths.data > 0 {
        len += digest_bytes((Digest::None, data_digest));
    }
    Ok(Some(len))
}

/// Cuts a whole PDU, and checks its digests; `None` when there is not even a header.
///
/// # Errors
/// A digest is wrong.
pub fn split(
    pdu: &[u8],
    (header_digest, data_digest): (Digest, Digest),
) -> Result<Option<Received<'_>>, ProtocolError> {
    let Some(header) = pdu.first_chunk::<BHS_BYTES>() else {
        return Ok(None);
    };
    let lengths = Lengths::of(header);
    let mut at = BHS_BYTES + lengths.ahs as usize;
    if header_digest == Digest::Crc32c {
        check_digest("header", pdu, 0..at)?;
        at += DIGEST_BYTES;
    }
    let end = at + lengths.data as usize;
    if data_digest == Digest::Crc32c && lengths.data > 0 {
        check_digest("data", pdu, at..end + padding(lengths.data) as usize)?;
    }
    let data = pdu.get(at..end).unwrap_or_default();
    Ok(Some(Received { header, data }))
}

fn check_digest(
    of: &'static str,
    pdu: &[u8],
    range: std::ops::Range<usize>,
) -> Result<(), ProtocolError> {
    let end = range.end;
    let computed = crc32c::crc32c(pdu.get(range).unwrap_or_default());
    let found = pdu.get(end..).and_then(<[u8]>::first_chunk);
    let found = found.map_or(0, |bytes| u32::from_le_bytes(*bytes));
    match found == computed {
        true => Ok(()),
        false => Err(ProtocolError::Digest {
            of,
            found,
            computed,
        }),
    }
}
