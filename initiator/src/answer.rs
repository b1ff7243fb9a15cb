//! What the target says of a command, whichever protocol carried it.

use std::fmt;

use target_core::command::Residual;
use target_core::sense::AdditionalSense;
use target_core::status::Status;

/// Bytes of sense data that are kept.
pub const SENSE_BYTES: usize = 96;

/// The answer to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// STATUS.
    pub status: Status,
    /// Sense data, when there is some.
    pub sense: Option<SenseData>,
    /// Of the Data-Out Buffer.
    pub data_out_residual: Residual,
    /// Of the Data-In Buffer.
    pub data_in_residual: Residual,
    /// What the protocol says beside the status, and a target may say instead of a meaningful one: RSP_CODE of an
    /// SRP_RSP, the Response field of iSCSI. 0 is no failure.
    pub response: Option<u8>,
}

impl Answer {
    /// Status GOOD, and no response code that says otherwise.
    pub fn is_good(&self) -> bool {
        self.status == Status::GOOD && self.response.unwrap_or(0) == 0
    }

    /// The additional sense code, when there is sense data.
    pub fn additional_sense(&self) -> Option<AdditionalSense> {
        self.sense.as_ref().map(SenseData::code)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.status)?;
        if let Some(sense) = &self.sense {
            write!(f, ", {sense}")?;
        }
        match self.response {
            Some(response) => write!(f, ", response {response:#04x}"),
            None => Ok(()),
        }
    }
}

/// Sense data (SPC-4 4.5) as it came, cut to [`SENSE_BYTES`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SenseData {
    bytes: [u8; SENSE_BYTES],
    len: usize,
}

impl SenseData {
    pub(crate) fn new(sense: &[u8]) -> Self {
        let len = sense.len().min(SENSE_BYTES);
        let mut bytes = [0; SENSE_BYTES];
        for (to, from) in bytes.iter_mut().zip(sense) {
            *to = *from;
        }
        Self { bytes, len }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// RESPONSE CODE 0x72 and 0x73: descriptor format; else fixed format.
    fn has_descriptors(&self) -> bool {
        matches!(self.bytes[0] & 0x7f, 0x72 | 0x73)
    }

    /// SENSE KEY.
    pub fn key(&self) -> u8 {
        let byte = if self.has_descriptors() { 1 } else { 2 };
        self.bytes[byte] & 0x0f
    }

    /// ADDITIONAL SENSE CODE and QUALIFIER.
    pub fn code(&self) -> AdditionalSense {
        let [asc, ascq] = if self.has_descriptors() {
            [self.bytes[2], self.bytes[3]]
        } else {
            [self.bytes[12], self.bytes[13]]
        };
        AdditionalSense(u16::from_be_bytes([asc, ascq]))
    }
}

impl fmt::Display for SenseData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sense key {:#x}, {:?}", self.key(), self.code())
    }
}

impl fmt::Debug for SenseData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use target_core::sense::Sense;

    #[test]
    fn both_formats_of_sense_data_are_read() {
        let sense = Sense::illegal_request(AdditionalSense::INVALID_FIELD_IN_CDB);
        let mut descriptors = Vec::new();
        sense.append_descriptors(&mut descriptors);
        for bytes in [&sense.to_fixed()[..], &descriptors] {
            let read = SenseData::new(bytes);
            assert_eq!((read.key(), read.code()), (5, sense.code));
            assert_eq!(read.as_bytes(), bytes);
            assert_eq!(read.to_string(), "sense key 0x5, INVALID FIELD IN CDB");
        }
    }

    #[test]
    fn sense_data_of_any_length_can_be_asked() {
        for len in [0, 1, 3, 13, SENSE_BYTES, SENSE_BYTES + 100] {
            let sense = SenseData::new(&vec![0x70; len]);
            assert_eq!(sense.as_bytes().len(), len.min(SENSE_BYTES));
            sense.key();
            sense.code();
        }
    }
}
