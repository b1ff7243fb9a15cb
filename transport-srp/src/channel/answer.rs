//! What an initiator that breaks the protocol is told (SRP r16a 5.5.2, 6.6, 6.9).

use thiserror::Error;

use crate::credit::LimitExceeded;
use crate::data::{DataError, Direction};
use crate::wire::logout::LogoutReason;
use crate::wire::{Opcode, WireError, WireFault};

/// A message that the channel cannot take as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChannelError {
    /// The message is longer than the login allows.
    #[error("a message of {received} bytes came, {max} were agreed on")]
    TooLong {
        /// Bytes that came.
        received: usize,
        /// Bytes that were agreed on.
        max: u32,
    },
    /// The message is cut, or of no known type.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The type is none that an initiator sends on an established channel.
    #[error("{0:?} came, which an initiator does not send on an established channel")]
    UnexpectedIu(Opcode),
    /// A request came without a credit.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// A response came that answers nothing.
    #[error("{iu:?} with tag {tag:#x} came, which answers no request of this target")]
    UnexpectedResponse {
        /// Type of the response.
        iu: Opcode,
        /// Its tag.
        tag: u64,
    },
    /// A field of a command holds a reserved code.
    #[error("command field {0}")]
    CommandField(WireError),
    /// The data buffer descriptors are wrong.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The part of an indirect table that must be fetched is longer than the table buffers.
    #[error("{needed} bytes of an indirect table must be fetched, table buffers have {largest}")]
    TableBuffers {
        /// Bytes to fetch.
        needed: usize,
        /// Bytes of the largest buffer.
        largest: usize,
    },
    /// No buffer is free for an indirect table.
    #[error("no buffer is free for {0} bytes of an indirect table")]
    NoTableBuffer(usize),
}

/// What the initiator is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireAnswer {
    /// SRP_T_LOGOUT with this reason, and the channel ends.
    Logout(LogoutReason),
    /// SRP_RSP with CHECK CONDITION, ILLEGAL REQUEST, INVALID FIELD IN COMMAND INFORMATION UNIT.
    ///
    /// The standard would also allow RSP_CODE "request fields invalid" with STATUS 0 here, but
    /// Linux and ESXi look at STATUS only and would take that for success.
    CheckCondition,
    /// SRP_RSP with BUSY: the initiator tries again.
    Busy,
}

/// The one place that says what each fault costs. What leaves it open where the message's parts
/// begin and end, or breaks an agreement of the login, ends the channel with the standard's reason;
/// what is wrong in one command only is answered to this command.
pub fn wire_answer(error: &ChannelError) -> WireAnswer {
    use ChannelError as E;
    use WireAnswer::{Busy, CheckCondition, Logout};
    match error {
        E::TooLong { .. } => Logout(LogoutReason::INVALID_IU_LENGTH),
        E::Wire(wire) | E::Data(DataError::Truncated(wire)) => match wire.fault {
            WireFault::Truncated { .. } => Logout(LogoutReason::INVALID_IU_LENGTH),
            WireFault::Value { .. } => Logout(LogoutReason::INVALID_IU_TYPE),
        },
        E::UnexpectedIu(_) => Logout(LogoutReason::INVALID_IU_TYPE),
        // The standard has no reason of its own for this.
        E::Limit(_) => Logout(LogoutReason::NO_REASON),
        E::UnexpectedResponse { .. } => Logout(LogoutReason::UNEXPECTED_INITIATOR_RESPONSE),
        E::Data(DataError::Format { direction, .. }) => Logout(match direction {
            Direction::DataOut => LogoutReason::INVALID_DATA_OUT_FORMAT,
            Direction::DataIn => LogoutReason::INVALID_DATA_IN_FORMAT,
        }),
        E::CommandField(_) | E::Data(_) | E::TableBuffers { .. } => CheckCondition,
        E::NoTableBuffer(_) => Busy,
    }
}
