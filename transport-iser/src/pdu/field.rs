//! How a field stands in a basic header segment: whole bytes, big-endian, or some bits of one byte.

use target_core::lun::Lun;
use target_core::status::Status;

use super::Bhs;
use crate::Sn;

/// A field of whole bytes. Places are constants of the PDU's declaration, never a peer's number.
pub(crate) trait Whole: Sized {
    fn get(bhs: &Bhs, at: usize) -> Self;
    fn put(self, bhs: &mut Bhs, at: usize);
}

impl<const N: usize> Whole for [u8; N] {
    #[inline]
    fn get(bhs: &Bhs, at: usize) -> Self {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&bhs[at..at + N]);
        bytes
    }
    #[inline]
    fn put(self, bhs: &mut Bhs, at: usize) {
        bhs[at..at + N].copy_from_slice(&self);
    }
}

/// Big-endian integers, and values that are one integer or array inside.
macro_rules! whole {
    ($($type:ty: $from:expr, $into:expr;)*) => {
        $(impl Whole for $type {
            #[inline]
            fn get(bhs: &Bhs, at: usize) -> Self {
                $from(Whole::get(bhs, at))
            }
            #[inline]
            fn put(self, bhs: &mut Bhs, at: usize) {
                Whole::put($into(self), bhs, at);
            }
        })*
    };
}

whole! {
    u8: |[byte]: [u8; 1]| byte, |byte| [byte];
    u16: u16::from_be_bytes, u16::to_be_bytes;
    u32: u32::from_be_bytes, u32::to_be_bytes;
    Sn: Sn, |sn: Sn| sn.0;
    Lun: Lun, |lun: Lun| lun.0;
    Status: Status, |status: Status| status.0;
}

/// A field of some bits of one byte, shifted down to the lowest.
pub(crate) trait Bits: Sized {
    fn from_bits(bits: u8) -> Self;
    fn to_bits(&self) -> u8;
}

impl Bits for bool {
    #[inline]
    fn from_bits(bits: u8) -> Self {
        bits != 0
    }
    #[inline]
    fn to_bits(&self) -> u8 {
        u8::from(*self)
    }
}

#[inline]
pub(crate) fn get_bits<T: Bits>(bhs: &Bhs, at: usize, mask: u8) -> T {
    T::from_bits((bhs[at] & mask) >> mask.trailing_zeros())
}

#[inline]
pub(crate) fn put_bits<T: Bits>(value: &T, bhs: &mut Bhs, at: usize, mask: u8) {
    bhs[at] = bhs[at] & !mask | value.to_bits() << mask.trailing_zeros() & mask;
}

macro_rules! get {
    ($bhs:ident, $type:ty, ($at:literal, $mask:literal)) => {
        $crate::pdu::field::get_bits::<$type>($bhs, $at, $mask)
    };
    ($bhs:ident, $type:ty, $at:literal) => {
        <$type as $crate::pdu::field::Whole>::get($bhs, $at)
    };
}
pub(crate) use get;

macro_rules! put {
    ($bhs:ident, $value:expr, ($at:literal, $mask:literal)) => {
        $crate::pdu::field::put_bits(&$value, &mut $bhs, $at, $mask)
    };
    ($bhs:ident, $value:expr, $at:literal) => {
        $crate::pdu::field::Whole::put($value, &mut $bhs, $at)
    };
}
pub(crate) use put;

/// A code that is a part of a byte.
macro_rules! code_bits {
    ($($name:ident),*) => {
        $(impl $crate::pdu::field::Bits for $name {
            fn from_bits(bits: u8) -> Self {
                Self(bits)
            }
            fn to_bits(&self) -> u8 {
                self.0
            }
        })*
    };
}
pub(crate) use code_bits;
