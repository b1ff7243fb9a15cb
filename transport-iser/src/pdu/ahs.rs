//! Additional header segments of a SCSI Command (RFC 7143 11.2.2).

use super::PduError;
use super::bhs::{BHS_BYTES, padding};

/// AHSType: extended CDB.
const EXTENDED_CDB: u8 = 1;
/// AHSType: bidirectional expected read data length.
const BIDIRECTIONAL_READ_LENGTH: u8 = 2;
/// AHSLength and AHSType.
const HEAD_BYTES: usize = 3;
/// AHSLength of a bidirectional length: a reserved byte and four of the length.
const READ_LENGTH_BYTES: u16 = 5;
/// The AHSType codes are the low six bits.
const TYPE: u8 = 0x3f;

/// The longest extended CDB: 260 bytes with the 16 of the basic header.
pub const MAX_EXTENDED_CDB: usize = 244;

/// Bytes of the longest additional headers that a command needs: an extended CDB and a bidirectional length.
pub const MAX_AHS_BYTES: usize = 256;
const _: () = assert!(HEAD_BYTES + 1 + MAX_EXTENDED_CDB + HEAD_BYTES + 5 <= MAX_AHS_BYTES);

/// What the additional headers of a command say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahs<'a> {
    /// The CDB from its byte 16 on.
    pub extended_cdb: Option<&'a [u8]>,
    /// Bidirectional Expected Read Data Length in bytes.
    pub bidirectional_read_length: Option<u32>,
}

impl<'a> Ahs<'a> {
    /// Reads the segments, which are `bytes` exactly. Segments of an unknown type are passed over, as there is no word for
    /// refusing them.
    ///
    /// # Errors
    /// A segment is longer than what came, comes twice, or has a length that its type cannot have.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PduError> {
        let mut ahs = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = BHS_BYTES + bytes.len() - rest.len();
            let (kind, content, after) = split_segment(rest, offset)?;
            match kind {
                EXTENDED_CDB => ahs.take_cdb(content, offset)?,
                BIDIRECTIONAL_READ_LENGTH => ahs.take_read_length(content, offset)?,
                _ => {}
            }
            rest = after;
        }
        Ok(ahs)
    }

    fn take_cdb(&mut self, content: &'a [u8], offset: usize) -> Result<(), PduError> {
        let found = content.len() as u32;
        // The first byte of the content is reserved.
        let cdb = content.get(1..).filter(|cdb| !cdb.is_empty());
        let cdb = cdb.filter(|cdb| cdb.len() <= MAX_EXTENDED_CDB && self.extended_cdb.is_none());
        let expected = "one extended CDB of 1 to 244 bytes";
        let cdb = cdb.ok_or_else(|| PduError::value("ExtendedCDB", offset, expected, found))?;
        self.extended_cdb = Some(cdb);
        Ok(())
    }

    fn take_read_length(&mut self, content: &[u8], offset: usize) -> Result<(), PduError> {
        let found = content.len() as u32;
        let length = match content {
            [_, length @ ..] if self.bidirectional_read_length.is_none() => length.try_into().ok(),
            _ => None,
        };
        let field = "Bidirectional Expected Read Data Length";
        let length =
            length.ok_or_else(|| PduError::value(field, offset, "one of 5 bytes", found))?;
        self.bidirectional_read_length = Some(u32::from_be_bytes(length));
        Ok(())
    }

    /// Bytes of the segments: a multiple of four.
    pub fn len(&self) -> usize {
        let cdb = self
            .extended_cdb
            .map_or(0, |cdb| HEAD_BYTES + 1 + cdb.len());
        let length = self.bidirectional_read_length.map_or(0, |_| HEAD_BYTES + 5);
        cdb.next_multiple_of(4) + length
    }

    /// Whether there is no segment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the segments to the start of `out` and says how long they are. `None` when there is no room, or the CDB is
    /// longer than [`MAX_EXTENDED_CDB`].
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let len = self.len();
        let mut out = out.get_mut(..len)?;
        out.fill(0);
        if let Some(cdb) = self
            .extended_cdb
            .filter(|cdb| cdb.len() <= MAX_EXTENDED_CDB)
        {
            let content = u16::try_from(cdb.len() + 1).ok()?;
            let (here, after) = out.split_at_mut((HEAD_BYTES + 1 + cdb.len()).next_multiple_of(4));
            put_head(here, content, EXTENDED_CDB);
            here.get_mut(HEAD_BYTES + 1..)?
                .get_mut(..cdb.len())?
                .copy_from_slice(cdb);
            out = after;
        } else if self.extended_cdb.is_some() {
            return None;
        }
        if let Some(length) = self.bidirectional_read_length {
            put_head(out, READ_LENGTH_BYTES, BIDIRECTIONAL_READ_LENGTH);
            *out.last_chunk_mut()? = length.to_be_bytes();
        }
        Some(len)
    }
}

fn put_head(out: &mut [u8], content: u16, kind: u8) {
    let [high, low] = content.to_be_bytes();
    out[..HEAD_BYTES].copy_from_slice(&[high, low, kind]);
}

/// The first segment: its type, its content, and what comes after its padding.
fn split_segment(bytes: &[u8], offset: usize) -> Result<(u8, &[u8], &[u8]), PduError> {
    let Some((&[high, low, kind], rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        let received = bytes.len();
        return Err(PduError::truncated("AHS", offset, HEAD_BYTES, received));
    };
    let needed = usize::from(u16::from_be_bytes([high, low]));
    let Some((content, after)) = rest.split_at_checked(needed) else {
        let received = rest.len();
        return Err(PduError::truncated("AHSLength", offset, needed, received));
    };
    let padding = padding((HEAD_BYTES + needed) as u32) as usize;
    let after = after.get(padding..).unwrap_or(&[]);
    Ok((kind & TYPE, content, after))
}
