//! The base transport header and its extensions, byte for byte (IBTA 9.2 to 9.3).

use zerocopy::byteorder::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::opcode::Opcode;
use crate::psn::Psn;

/// The default partition, full membership: the only one on RoCE as Linux sets it up.
pub const DEFAULT_P_KEY: u16 = 0xffff;

/// Q_Key of the general services queue pair, which every MAD on queue pair 1 carries (IBTA 3.5.3).
pub const GSI_Q_KEY: u32 = 0x8001_0000;

/// Membership bit of a P_Key; the other fifteen bits name the partition.
const P_KEY_MEMBERSHIP: u16 = 0x8000;

const SOLICITED_EVENT: u8 = 0x80;
const MIG_REQ: u8 = 0x40;
const PAD_COUNT: u8 = 0x30;
const PAD_COUNT_SHIFT: u32 = 4;
const TRANSPORT_VERSION: u8 = 0x0f;
const LOW_24_BITS: u32 = 0x00ff_ffff;
const ACK_REQ: u32 = 0x8000_0000;

/// Layouts as the figures draw them.
pub(crate) mod raw {
    use super::{FromBytes, Immutable, IntoBytes, KnownLayout, U16, U32, U64, Unaligned};

    #[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
    #[repr(C)]
    pub(crate) struct Bth {
        pub(crate) opcode: u8,
        pub(crate) flags: u8,
        pub(crate) p_key: U16,
        pub(crate) destination: U32,
        pub(crate) psn: U32,
    }

    #[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
    #[repr(C)]
    pub(crate) struct Deth {
        pub(crate) q_key: U32,
        pub(crate) source: U32,
    }

    #[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
    #[repr(C)]
    pub(crate) struct Reth {
        pub(crate) address: U64,
        pub(crate) key: U32,
        pub(crate) length: U32,
    }

    /// Never executed, only skipped: 28 bytes.
    #[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
    #[repr(C)]
    pub(crate) struct AtomicEth {
        pub(crate) address: U64,
        pub(crate) key: U32,
        pub(crate) swap_or_add: U64,
        pub(crate) compare: U64,
    }

    const _: () = assert!(size_of::<Bth>() == 12);
    const _: () = assert!(size_of::<Deth>() == 8);
    const _: () = assert!(size_of::<Reth>() == 16);
    const _: () = assert!(size_of::<AtomicEth>() == 28);
}

/// Base transport header, 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bth {
    /// What follows and what to do.
    pub opcode: Opcode,
    /// The receiver should be woken (solicited event).
    pub solicited: bool,
    /// Path migration state; always "migrated" without automatic path migration.
    pub mig_req: bool,
    /// Zero bytes between payload and ICRC, 0 to 3.
    pub pad_count: u8,
    /// Transport header version; 0 is the only one.
    pub version: u8,
    /// Partition.
    pub p_key: u16,
    /// Destination queue pair.
    pub destination: u32,
    /// The sender wants an acknowledge for this packet.
    pub ack_request: bool,
    /// Sequence number.
    pub psn: Psn,
}

impl Bth {
    /// A header of the default partition with nothing set.
    pub const fn new(opcode: Opcode, destination: u32, psn: Psn) -> Self {
        Self {
            opcode,
            solicited: false,
            mig_req: true,
            pad_count: 0,
            version: 0,
            p_key: DEFAULT_P_KEY,
            destination,
            ack_request: false,
            psn,
        }
    }

    /// True when the packet belongs to the default partition, whatever its sender's membership.
    pub const fn in_default_partition(&self) -> bool {
        self.p_key | P_KEY_MEMBERSHIP == DEFAULT_P_KEY
    }

    pub(crate) fn from_raw(raw: &raw::Bth) -> Self {
        let psn = raw.psn.get();
        Self {
            opcode: Opcode(raw.opcode),
            solicited: raw.flags & SOLICITED_EVENT != 0,
            mig_req: raw.flags & MIG_REQ != 0,
            pad_count: (raw.flags & PAD_COUNT) >> PAD_COUNT_SHIFT,
            version: raw.flags & TRANSPORT_VERSION,
            p_key: raw.p_key.get(),
            destination: raw.destination.get() & LOW_24_BITS,
            ack_request: psn & ACK_REQ != 0,
            psn: Psn::new(psn),
        }
    }

    pub(crate) fn to_raw(self) -> raw::Bth {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let ack_request = if self.ack_request { ACK_REQ } else { 0 };
        raw::Bth {
            opcode: self.opcode.0,
            flags: flag(self.solicited, SOLICITED_EVENT)
                | flag(self.mig_req, MIG_REQ)
                | (self.pad_count << PAD_COUNT_SHIFT) & PAD_COUNT
                | self.version & TRANSPORT_VERSION,
            p_key: self.p_key.into(),
            destination: (self.destination & LOW_24_BITS).into(),
            psn: (ack_request | self.psn.value()).into(),
        }
    }
}

/// Datagram extended transport header, 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deth {
    /// Must be the receiving queue pair's.
    pub q_key: u32,
    /// Source queue pair.
    pub source: u32,
}

impl Deth {
    pub(crate) fn from_raw(raw: &raw::Deth) -> Self {
        Self {
            q_key: raw.q_key.get(),
            source: raw.source.get() & LOW_24_BITS,
        }
    }

    pub(crate) fn to_raw(self) -> raw::Deth {
        raw::Deth {
            q_key: self.q_key.into(),
            source: self.source.into(),
        }
    }
}

/// RDMA extended transport header, 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reth {
    /// Virtual address in the responder's memory region.
    pub address: u64,
    /// The region's R_Key.
    pub key: u32,
    /// Length of the whole transfer in bytes, at most 2^31.
    pub length: u32,
}

impl Reth {
    pub(crate) fn from_raw(raw: &raw::Reth) -> Self {
        Self {
            address: raw.address.get(),
            key: raw.key.get(),
            length: raw.length.get(),
        }
    }

    pub(crate) fn to_raw(self) -> raw::Reth {
        raw::Reth {
            address: self.address.into(),
            key: self.key.into(),
            length: self.length.into(),
        }
    }
}

/// Why a request was refused for good or for now (IBTA 9.7.5.2, table 45).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nak {
    /// A packet is missing; the PSN says which.
    Sequence,
    /// The request makes no sense here.
    InvalidRequest,
    /// Key, bounds or rights forbid it.
    RemoteAccess,
    /// The responder failed on its own account.
    RemoteOperational,
    /// A code for reliable datagrams, or a reserved one.
    Other(u8),
}

/// Syndrome of an AETH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syndrome {
    /// Acknowledge with a credit count; 31 means that credits are not counted.
    Ack(u8),
    /// Receiver not ready; the five bits name the wait (see [`rnr_timer_us`]).
    RnrNak(u8),
    /// Negative acknowledge.
    Nak(Nak),
    /// Reserved encoding.
    Reserved(u8),
}

impl Syndrome {
    /// Acknowledge without a credit count.
    pub const ACK: Self = Self::Ack(31);

    const fn from_byte(byte: u8) -> Self {
        let low = byte & 0x1f;
        match byte >> 5 {
            0 => Self::Ack(low),
            1 => Self::RnrNak(low),
            3 => Self::Nak(match low {
                0 => Nak::Sequence,
                1 => Nak::InvalidRequest,
                2 => Nak::RemoteAccess,
                3 => Nak::RemoteOperational,
                other => Nak::Other(other),
            }),
            _ => Self::Reserved(byte),
        }
    }

    const fn to_byte(self) -> u8 {
        match self {
            Self::Ack(credits) => credits & 0x1f,
            Self::RnrNak(timer) => 0x20 | timer & 0x1f,
            Self::Nak(nak) => {
                0x60 | match nak {
                    Nak::Sequence => 0,
                    Nak::InvalidRequest => 1,
                    Nak::RemoteAccess => 2,
                    Nak::RemoteOperational => 3,
                    Nak::Other(other) => other & 0x1f,
                }
            }
            Self::Reserved(byte) => byte,
        }
    }
}

/// Acknowledge extended transport header, 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aeth {
    /// Good, not now, or never.
    pub syndrome: Syndrome,
    /// Message sequence number: requests completed so far, 24 bits.
    pub msn: u32,
}

impl Aeth {
    pub(crate) fn from_raw(raw: U32) -> Self {
        let [syndrome, ..] = raw.to_bytes();
        Self {
            syndrome: Syndrome::from_byte(syndrome),
            msn: raw.get() & LOW_24_BITS,
        }
    }

    pub(crate) fn to_raw(self) -> U32 {
        let [_, high, middle, low] = self.msn.to_be_bytes();
        U32::from_bytes([self.syndrome.to_byte(), high, middle, low])
    }
}

/// Wait that the five bits of an RNR NAK ask for, in microseconds (IBTA table 46).
pub const fn rnr_timer_us(code: u8) -> u64 {
    const UNITS_OF_10_US: [u64; 32] = [
        65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024,
        1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
    ];
    UNITS_OF_10_US[(code & 0x1f) as usize] * 10
}

/// Time that a five-bit exponent stands for: 4.096 µs x 2^`exponent`, in microseconds; 0 means none
/// (IBTA 9.7.6.1.3).
pub const fn timeout_us(exponent: u8) -> Option<u64> {
    match exponent & 0x1f {
        0 => None,
        bits => Some((4096 << bits) / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_the_bth_has_its_place() {
        let bth = Bth {
            opcode: Opcode::RC_SEND_LAST,
            solicited: true,
            mig_req: false,
            pad_count: 3,
            version: 0,
            p_key: 0x7fff,
            destination: 0x12_3456,
            ack_request: true,
            psn: Psn::new(0xab_cdef),
        };
        let bytes = [
            0x02, 0xb0, 0x7f, 0xff, 0x00, 0x12, 0x34, 0x56, 0x80, 0xab, 0xcd, 0xef,
        ];
        assert_eq!(bth.to_raw().as_bytes(), bytes);
        let raw = raw::Bth::ref_from_bytes(&bytes).expect("12 bytes");
        assert_eq!(Bth::from_raw(raw), bth);
        assert!(bth.in_default_partition());
    }

    #[test]
    fn reserved_bits_of_the_bth_are_ignored() {
        let bytes = [0x11, 0x40, 0xff, 0xff, 0xff, 0, 0, 1, 0x7f, 0, 0, 2];
        let bth = Bth::from_raw(raw::Bth::ref_from_bytes(&bytes).expect("12 bytes"));
        assert_eq!(bth, Bth::new(Opcode::RC_ACKNOWLEDGE, 1, Psn::new(2)));
    }

    #[test]
    fn all_syndromes_survive_a_round_trip() {
        for byte in 0..=255 {
            assert_eq!(Syndrome::from_byte(byte).to_byte(), byte);
        }
        assert_eq!(Syndrome::from_byte(0x62), Syndrome::Nak(Nak::RemoteAccess));
        assert_eq!(Syndrome::from_byte(0x2c), Syndrome::RnrNak(12));
        let aeth = Aeth {
            syndrome: Syndrome::ACK,
            msn: 7,
        };
        assert_eq!(aeth.to_raw().to_bytes(), [0x1f, 0, 0, 7]);
    }

    #[test]
    fn timers_are_those_of_the_tables() {
        assert_eq!(rnr_timer_us(0), 655_360);
        assert_eq!(rnr_timer_us(1), 10);
        assert_eq!(rnr_timer_us(12), 640);
        assert_eq!(rnr_timer_us(31), 491_520);
        assert_eq!(timeout_us(0), None);
        assert_eq!(timeout_us(14), Some(67_108));
        assert_eq!(timeout_us(31), Some(8_796_093_022));
    }
}
