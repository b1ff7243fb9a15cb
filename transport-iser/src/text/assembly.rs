//! A sequence of data segments that belong together by the C bit (RFC 7143 6.2, 11.12.2): pairs may span PDUs.

use std::mem;

use super::TextError;

/// What is kept of one sequence at most, in bytes: the standard's own bound for the longest negotiation (RFC 7143 6.1).
pub const MAX_SEQUENCE_BYTES: usize = 65536;

/// The text of a sequence so far.
#[derive(Debug, Default)]
pub struct Assembly {
    bytes: Vec<u8>,
}

impl Assembly {
    /// Appends the data segment of the next PDU.
    ///
    /// # Errors
    /// [`TextError::TooLong`]; the sequence is as it was before.
    pub fn push(&mut self, segment: &[u8]) -> Result<(), TextError> {
        if segment.len() > MAX_SEQUENCE_BYTES - self.bytes.len() {
            let limit = MAX_SEQUENCE_BYTES;
            return Err(TextError::TooLong { limit });
        }
        self.bytes.extend_from_slice(segment);
        Ok(())
    }

    /// The whole sequence, after the PDU with its C bit clear; the next one starts empty.
    pub fn take(&mut self) -> Vec<u8> {
        mem::take(&mut self.bytes)
    }
}
