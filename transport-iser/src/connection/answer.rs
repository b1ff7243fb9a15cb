//! What an initiator that breaks the protocol is told (RFC 7143 7.7 to 7.9, 11.17).

use thiserror::Error;

use crate::Sn;
use crate::pdu::{Opcode, PduError, PduFault, RejectReason};
use crate::tcp::FramingError;

/// A PDU that the connection cannot take as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConnectionError {
    /// The header is wrong in itself.
    #[error(transparent)]
    Pdu(#[from] PduError),
    /// The stream of PDUs is lost.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The data of a PDU that is no part of a command are damaged; without recovery that ends the connection.
    #[error("the data digest of {0:?} does not fit its data")]
    DataDigest(Opcode),
    /// Requests are missing.
    #[error("CmdSN at byte 24: {expected:?} expected, {found:?} came")]
    CommandGap {
        /// ExpCmdSN.
        expected: Sn,
        /// What came.
        found: Sn,
    },
    /// No PDU of this type may come now.
    #[error("{0:?} came, which has no place in this phase")]
    Phase(Opcode),
    /// There is data to move and no memory for it (iSER).
    #[error("{0} is missing, and there are data to move")]
    NoStag(&'static str),
    /// A message that is shorter than its own lengths say (iSER).
    #[error("a message of {received} bytes came whose lengths say {needed}")]
    Cut {
        /// What the headers say.
        needed: usize,
        /// What came.
        received: usize,
    },
    /// The peer sends requests and takes no answers (iSER).
    #[error("{0} bytes of answers wait for the initiator to take them")]
    Unread(usize),
}

/// What a peer did not do in time. It breaks no rule by that; nobody may be there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Silence {
    /// A discovery session of which nothing is heard.
    #[error("a discovery session was silent for {0} ms")]
    Discovery(u64),
    /// The login took too long.
    #[error("the login was not over in {0} ms")]
    Login(u64),
    /// A NOP-In that asks for an answer got none (RFC 7143 11.19).
    #[error("a ping was not answered in {0} ms")]
    Ping(u64),
}

/// The reason of the Reject that goes before the end; `None` when the PDU is not there to be sent back, or no peer listens.
pub(super) fn reject_reason(error: &ConnectionError) -> Option<RejectReason> {
    use ConnectionError as E;
    match error {
        E::DataDigest(_) => Some(RejectReason::DATA_DIGEST_ERROR),
        E::Pdu(pdu) | E::Framing(FramingError::Length(pdu)) => Some(match pdu.fault {
            PduFault::TooLong { .. } => RejectReason::PROTOCOL_ERROR,
            PduFault::Truncated { .. } | PduFault::Value { .. } => RejectReason::INVALID_PDU_FIELD,
        }),
        E::CommandGap { .. } | E::Phase(_) | E::NoStag(_) | E::Cut { .. } => {
            Some(RejectReason::PROTOCOL_ERROR)
        }
        E::Framing(FramingError::HeaderDigest { .. }) | E::Unread(_) => None,
    }
}
