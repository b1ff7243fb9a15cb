//! The iSER header in front of every PDU (RFC 7145 clause 9.2, with the 64-bit base offsets that InfiniBand needs).

use crate::pdu::{BHS_BYTES, PduError};

/// Length in bytes of the iSER header.
pub const HEADER_BYTES: usize = 28;

/// The longest message in bytes: headers and the data segment that the login allows (RFC 7145 clause 5.1).
pub const MESSAGE_BYTES: usize = HEADER_BYTES + BHS_BYTES + 8192;

const WRITE_STAG_VALID: u8 = 0x08;
const READ_STAG_VALID: u8 = 0x04;
const WRITE_STAG: usize = 4;
const READ_STAG: usize = 16;
const STAG_BYTES: usize = 12;

/// Opcode of the iSER header: the high four bits of byte 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// A PDU of control type.
    Control,
    /// iSER Hello.
    Hello,
    /// iSER HelloReply.
    HelloReply,
}

impl MessageType {
    fn code(self) -> u8 {
        match self {
            Self::Control => 0x10,
            Self::Hello => 0x20,
            Self::HelloReply => 0x30,
        }
    }
}

/// Memory of the initiator: STag and base offset, which on InfiniBand are an R_Key and a virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stag {
    /// R_Key.
    pub key: u32,
    /// Virtual address of the first byte.
    pub address: u64,
}

/// An iSER header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What follows.
    pub kind: MessageType,
    /// Where the solicited bytes of the Data-Out Buffer are.
    pub write: Option<Stag>,
    /// Where the Data-In Buffer is.
    pub read: Option<Stag>,
}

impl Header {
    /// A control-type header without memory, as all messages of a target have it.
    pub const CONTROL: Header = Header {
        kind: MessageType::Control,
        write: None,
        read: None,
    };

    /// Reads the header from the front of a message. An STag that is zero is none.
    ///
    /// # Errors
    /// The message is shorter than the header, or of an unknown type.
    #[inline]
    pub fn parse(message: &[u8]) -> Result<(Self, &[u8]), PduError> {
        let Some((header, rest)) = message.split_first_chunk::<HEADER_BYTES>() else {
            let received = message.len();
            return Err(PduError::truncated(
                "iSER header",
                0,
                HEADER_BYTES,
                received,
            ));
        };
        let flags = header[0];
        let kind = match flags & 0xf0 {
            0x10 => MessageType::Control,
            0x20 => MessageType::Hello,
            0x30 => MessageType::HelloReply,
            other => return Err(PduError::value("iSER opcode", 0, "1, 2 or 3", other >> 4)),
        };
        let stag = |valid: u8, at: usize| (flags & valid != 0).then(|| stag(header, at));
        let header = Self {
            kind,
            write: stag(WRITE_STAG_VALID, WRITE_STAG).flatten(),
            read: stag(READ_STAG_VALID, READ_STAG).flatten(),
        };
        Ok((header, rest))
    }

    /// The bytes.
    #[inline]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = self.kind.code();
        let stags = [
            (self.write, WRITE_STAG_VALID, WRITE_STAG),
            (self.read, READ_STAG_VALID, READ_STAG),
        ];
        for (stag, valid, at) in stags {
            let Some(stag) = stag else { continue };
            bytes[0] |= valid;
            bytes[at..at + 4].copy_from_slice(&stag.key.to_be_bytes());
            bytes[at + 4..at + STAG_BYTES].copy_from_slice(&stag.address.to_be_bytes());
        }
        bytes
    }
}

fn stag(header: &[u8; HEADER_BYTES], at: usize) -> Option<Stag> {
    let bytes = header.get(at..at + STAG_BYTES)?;
    let (key, address) = bytes.split_first_chunk()?;
    let key = u32::from_be_bytes(*key);
    let address = u64::from_be_bytes(address.try_into().ok()?);
    (key != 0).then_some(Stag { key, address })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_write_by_hand() {
        let mut bytes = vec![0; 30];
        bytes[0] = 0x18;
        bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
        bytes[8..16].copy_from_slice(&[0, 0, 0x7f, 0, 0, 0, 0x10, 0]);
        let (header, rest) = Header::parse(&bytes).unwrap();
        let write = Stag {
            key: 0x0102_0304,
            address: 0x7f00_0000_1000,
        };
        assert_eq!(header.kind, MessageType::Control);
        assert_eq!((header.write, header.read), (Some(write), None));
        assert_eq!(rest.len(), 2);
        assert_eq!(header.encode(), bytes[..HEADER_BYTES]);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        assert!(Header::parse(&[0x10; 27]).is_err());
        assert_eq!(Header::parse(&[0; 28]).unwrap_err().field, "iSER opcode");
    }

    #[test]
    fn an_stag_of_zero_is_none() {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = 0x1c;
        let (header, _) = Header::parse(&bytes).unwrap();
        assert_eq!(header, Header::CONTROL);
    }

    proptest! {
        #[test]
        fn headers_round_trip(kind in 0..3, write in any::<Option<(u32, u64)>>(), read in any::<Option<(u32, u64)>>()) {
            let kinds = [MessageType::Control, MessageType::Hello, MessageType::HelloReply];
            let stag = |stag: Option<(u32, u64)>| {
                stag.map(|(key, address)| Stag { key: key | 1, address })
            };
            let header = Header { kind: kinds[kind as usize], write: stag(write), read: stag(read) };
            let bytes = header.encode();
            prop_assert_eq!(Header::parse(&bytes), Ok((header, &[][..])));
        }
    }
}
