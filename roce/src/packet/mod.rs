//! RoCEv2 packets as they stand in a UDP datagram on port 4791: BTH, extension headers, payload, pad, ICRC
//! (IBTA annex A17, chapter 9). Pure translation; no state.

mod header;
pub mod icrc;
mod opcode;

use thiserror::Error;
use zerocopy::byteorder::network_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use header::raw;
pub use header::{
    Aeth, Bth, DEFAULT_P_KEY, Deth, GSI_Q_KEY, Nak, Reth, Syndrome, rnr_timer_us, timeout_us,
};
pub use opcode::{Family, Layout, Opcode, Position, Shape};

/// The UDP port of RoCEv2 (IANA "roce").
pub const UDP_PORT: u16 = 4791;

/// The invariant CRC at the end of every packet.
pub const ICRC_LEN: usize = 4;

/// The longest header that this crate emits: BTH, RETH, ImmDt.
pub const MAX_HEADER_LEN: usize = 32;

/// Why a datagram is not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    /// Shorter than its own headers.
    #[error("expected at least {expected} bytes for {opcode:?}, got {got}")]
    Short {
        /// What the headers need.
        expected: usize,
        /// What came.
        got: usize,
        /// Of which opcode; 0 when not even the BTH was whole.
        opcode: Opcode,
    },
    /// An opcode that is reserved, or of a transport that is not spoken here.
    #[error("opcode {0:?} is neither RC nor UD")]
    Opcode(Opcode),
    /// Transport header version other than 0.
    #[error("transport header version {0}, expected 0")]
    Version(u8),
    /// Payload and pad do not end on a four-byte boundary, or the pad is longer than the payload.
    #[error("{bytes} bytes behind the headers do not fit a pad count of {pad_count}")]
    Pad {
        /// Bytes between headers and ICRC.
        bytes: usize,
        /// From the BTH.
        pad_count: u8,
    },
    /// A payload behind an opcode that has none.
    #[error("{bytes} bytes of payload behind {opcode:?}, which has none")]
    Payload {
        /// Which.
        opcode: Opcode,
        /// How many.
        bytes: usize,
    },
}

/// The extension headers that a packet carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// Datagram header.
    pub deth: Option<Deth>,
    /// RDMA header.
    pub reth: Option<Reth>,
    /// Acknowledge header.
    pub aeth: Option<Aeth>,
    /// Immediate data, as a number in network order.
    pub immediate: Option<u32>,
    /// R_Key to invalidate.
    pub invalidate: Option<u32>,
}

/// A packet that was received whole; its ICRC is not checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Base transport header.
    pub bth: Bth,
    /// The opcode's row.
    pub shape: Shape,
    /// What followed it.
    pub extension: Extension,
    /// The payload without its pad.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes a UDP payload apart. Nothing is read beyond what came.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let mut cursor = Cursor::new(datagram)?;
        let bth = Bth::from_raw(cursor.take::<raw::Bth>()?);
        if bth.version != 0 {
            return Err(PacketError::Version(bth.version));
        }
        let shape = bth.opcode.shape().ok_or(PacketError::Opcode(bth.opcode))?;
        let extension = cursor.extension(shape.layout)?;
        let payload = without_pad(cursor.rest, bth.pad_count)?;
        if !shape.layout.payload && !payload.is_empty() {
            return Err(PacketError::Payload {
                opcode: bth.opcode,
                bytes: payload.len(),
            });
        }
        Ok(Self {
            bth,
            shape,
            extension,
            payload,
        })
    }
}

fn without_pad(bytes: &[u8], pad_count: u8) -> Result<&[u8], PacketError> {
    let wrong = PacketError::Pad {
        bytes: bytes.len(),
        pad_count,
    };
    if !bytes.len().is_multiple_of(4) {
        return Err(wrong);
    }
    let payload_len = bytes.len().checked_sub(usize::from(pad_count));
    payload_len.and_then(|len| bytes.get(..len)).ok_or(wrong)
}

/// What is left of a datagram in front of its ICRC.
struct Cursor<'a> {
    rest: &'a [u8],
    opcode: Opcode,
    got: usize,
}

impl<'a> Cursor<'a> {
    fn new(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let opcode = Opcode(datagram.first().copied().unwrap_or(0));
        let got = datagram.len();
        let short = PacketError::Short {
            expected: size_of::<raw::Bth>() + ICRC_LEN,
            got,
            opcode,
        };
        let end = got.checked_sub(ICRC_LEN).ok_or(short)?;
        let rest = datagram.get(..end).ok_or(short)?;
        Ok(Self { rest, opcode, got })
    }

    fn take<T: FromBytes + KnownLayout + Immutable + Unaligned>(
        &mut self,
    ) -> Result<&'a T, PacketError> {
        let (header, rest) = T::ref_from_prefix(self.rest).map_err(|_| PacketError::Short {
            expected: self.got - self.rest.len() + size_of::<T>(),
            got: self.got,
            opcode: self.opcode,
        })?;
        self.rest = rest;
        Ok(header)
    }

    fn take_if<T: FromBytes + KnownLayout + Immutable + Unaligned>(
        &mut self,
        present: bool,
    ) -> Result<Option<&'a T>, PacketError> {
        if present {
            self.take().map(Some)
        } else {
            Ok(None)
        }
    }

    fn extension(&mut self, layout: Layout) -> Result<Extension, PacketError> {
        let deth = self.take_if::<raw::Deth>(layout.deth)?;
        let reth = self.take_if::<raw::Reth>(layout.reth)?;
        self.take_if::<raw::AtomicEth>(layout.atomic)?;
        let aeth = self.take_if::<U32>(layout.aeth)?;
        self.take_if::<[u8; 8]>(layout.atomic_acknowledge)?;
        let immediate = self.take_if::<U32>(layout.immediate)?;
        let invalidate = self.take_if::<U32>(layout.invalidate)?;
        Ok(Extension {
            deth: deth.map(Deth::from_raw),
            reth: reth.map(Reth::from_raw),
            aeth: aeth.map(|raw| Aeth::from_raw(*raw)),
            immediate: immediate.map(|raw| raw.get()),
            invalidate: invalidate.map(|raw| raw.get()),
        })
    }
}

/// Headers on their way out, in a buffer of fixed size.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBytes {
    bytes: [u8; MAX_HEADER_LEN],
    len: usize,
}

impl HeaderBytes {
    /// Writes `bth` and the extension headers that are present, in wire order.
    pub fn emit(bth: Bth, extension: &Extension) -> Self {
        let mut out = Self {
            bytes: [0; MAX_HEADER_LEN],
            len: 0,
        };
        out.push(bth.to_raw().as_bytes());
        if let Some(deth) = extension.deth {
            out.push(deth.to_raw().as_bytes());
        }
        if let Some(reth) = extension.reth {
            out.push(reth.to_raw().as_bytes());
        }
        if let Some(aeth) = extension.aeth {
            out.push(aeth.to_raw().as_bytes());
        }
        if let Some(immediate) = extension.immediate {
            out.push(&immediate.to_be_bytes());
        }
        if let Some(key) = extension.invalidate {
            out.push(&key.to_be_bytes());
        }
        out
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        debug_assert!(end <= MAX_HEADER_LEN, "no opcode has longer headers");
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(part);
            self.len = end;
        }
    }
}

/// Zero bytes that bring a payload of `len` bytes to a four-byte boundary.
pub const fn pad_count(len: usize) -> u8 {
    match len % 4 {
        0 => 0,
        1 => 3,
        2 => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
