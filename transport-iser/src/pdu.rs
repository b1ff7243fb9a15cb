//! Protocol data units as bytes and as values (RFC 7143 clause 11), in both directions.
//!
//! One file for each family. A basic header segment is 48 bytes ([`Bhs`]); each PDU type is declared once, as the list of its
//! fields with the place of each in the RFC's picture, and `parse` and `encode` come of that list. What is longer than the basic
//! header (additional headers, data segment) stays bytes: [`Lengths`] says how much of it there is and bounds it before
//! anything is taken. Reserved bits are sent as zero and not looked at, as RFC 7143 11.2 wants.

pub mod ahs;
pub mod async_message;
mod bhs;
mod field;
pub mod login;
pub mod logout;
pub mod nop;
pub mod reject;
pub mod scsi_command;
pub mod scsi_data;
pub mod scsi_response;
pub mod snack;
pub mod task_management;
pub mod text;

pub use ahs::Ahs;
pub use async_message::{AsyncEvent, AsyncMessage};
pub use bhs::{
    BHS_BYTES, Bhs, Lengths, Opcode, PduError, PduFault, RESERVED_TAG, initiator_task_tag,
    is_immediate, padding,
};
pub use login::{LoginRequest, LoginResponse, LoginStatus, Stage};
pub use logout::{LogoutReason, LogoutRequest, LogoutResponse, LogoutResult};
pub use nop::{NopIn, NopOut};
pub use reject::{Reject, RejectReason};
pub use scsi_command::{AttributeCode, ScsiCommand};
pub use scsi_data::{DataIn, DataOut, R2t};
pub use scsi_response::{ResponseCode, ScsiResponse};
pub use snack::{Snack, SnackType};
pub use task_management::{
    TaskManagementCode, TaskManagementRequest, TaskManagementResponse, TaskManagementResult,
};
pub use text::{TextRequest, TextResponse};

/// Declares a code of the standard: a newtype that keeps what came, with constants and a `Debug`
/// that prints the standard's word.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident($int:ty) { $($(#[$code_doc:meta])* $code:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub $int);

        #[allow(missing_docs, reason = "the standard's own words")]
        impl $name {
            $($(#[$code_doc])* pub const $code: $name = $name($value);)*
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.0 {
                    $($value => f.write_str(stringify!($code)),)*
                    code => write!(f, "{}({code:#x})", stringify!($name)),
                }
            }
        }

        impl $crate::pdu::field::Whole for $name {
            fn get(bhs: &$crate::pdu::Bhs, at: usize) -> Self {
                Self($crate::pdu::field::Whole::get(bhs, at))
            }
            fn put(self, bhs: &mut $crate::pdu::Bhs, at: usize) {
                $crate::pdu::field::Whole::put(self.0, bhs, at);
            }
        }
    };
}
pub(crate) use codes;

/// Declares a PDU: its opcode, the bits of byte 1 that are always set, and its fields. A field is whole
/// (`@ offset`) or a part of a byte (`@ (offset, mask)`).
macro_rules! pdu {
    (
        $(#[$doc:meta])*
        $name:ident($opcode:ident, $fixed:literal) {
            $($(#[$field_doc:meta])* $field:ident: $type:ty => $place:tt,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $name {
            /// The opcode of this PDU.
            pub const OPCODE: $crate::pdu::Opcode = $crate::pdu::Opcode::$opcode;

            /// Reads the basic header segment.
            ///
            /// # Errors
            /// The opcode is another one's.
            #[inline]
            pub fn parse(bhs: &$crate::pdu::Bhs) -> Result<Self, $crate::pdu::PduError> {
                $crate::pdu::bhs::expect_opcode(bhs, Self::OPCODE, stringify!($name))?;
                Ok(Self { $($field: $crate::pdu::field::get!(bhs, $type, $place),)* })
            }

            /// The basic header segment, with TotalAHSLength 0 and this DataSegmentLength (at most 2^24 - 1).
            #[inline]
            pub fn encode(&self, data_segment_length: u32) -> $crate::pdu::Bhs {
                let mut bhs = $crate::pdu::bhs::begin(Self::OPCODE, $fixed, data_segment_length);
                $($crate::pdu::field::put!(bhs, self.$field, $place);)*
                bhs
            }
        }
    };
}
pub(crate) use pdu;

#[cfg(test)]
mod tests;
