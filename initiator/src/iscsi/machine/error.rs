//! What can go wrong in a session, and whose fault it is.

use thiserror::Error;
use transport_iser::login::LoginFailure;
use transport_iser::pdu::{LogoutResult, Opcode, PduError};
use transport_iser::text::TextError;

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CloseReason {
    /// The login failed.
    #[error(transparent)]
    Login(LoginFailure),
    /// The session was logged out.
    #[error("the session was logged out: {0:?}")]
    LoggedOut(LogoutResult),
    /// The target announced it by an asynchronous message.
    #[error("the target drops the connection")]
    Dropped,
    /// The connection is gone.
    #[error("the connection is gone")]
    Disconnected,
    /// The target broke the protocol.
    #[error("the target broke the protocol: {0}")]
    Protocol(ProtocolError),
}

/// A PDU that no target may send.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// Its header is wrong.
    #[error(transparent)]
    Header(PduError),
    /// A digest is wrong.
    #[error("the {of} digest is {found:#010x}, the bytes that came make {computed:#010x}")]
    Digest {
        /// Header or data.
        of: &'static str,
        /// What came.
        found: u32,
        /// What it should be.
        computed: u32,
    },
    /// Its type is none that a target sends now.
    #[error("{0:?} came, which a target does not send in this phase over this transport")]
    UnexpectedPdu(Opcode),
    /// It belongs to nothing that is outstanding, or to something of another kind.
    #[error("{opcode:?} came with Initiator Task Tag {tag:#010x}, which it answers nothing of")]
    UnexpectedTag {
        /// Its type.
        opcode: Opcode,
        /// Its tag.
        tag: u32,
    },
    /// A status was lost, or came twice.
    #[error("{opcode:?} came with StatSN {found:#x}, {expected:#x} was due")]
    StatSn {
        /// Its type.
        opcode: Opcode,
        /// What was due.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// Data-In or an R2T that the command does not allow.
    #[error("{opcode:?} with Initiator Task Tag {tag:#010x}: {fault}")]
    Data {
        /// Its type.
        opcode: Opcode,
        /// Its tag.
        tag: u32,
        /// What is wrong.
        fault: DataFault,
    },
    /// MaxCmdSN is further below ExpCmdSN than a closed window is.
    #[error("MaxCmdSN {max:#x} is below ExpCmdSN {exp:#x} by more than one")]
    Window {
        /// ExpCmdSN.
        exp: u32,
        /// MaxCmdSN.
        max: u32,
    },
    /// A text answer is no text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// An iSER message that is none.
    #[error("an iSER message of {0} bytes is none that a target sends")]
    Iser(usize),
    /// A key was made invalid that is none of this session's, or that may not be.
    #[error("the target invalidated a memory key that it may not")]
    Invalidated,
}

/// What is wrong with Data-In or an R2T.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DataFault {
    /// One was lost, or came twice.
    #[error("DataSN or R2TSN {expected:#x} was due, {found:#x} came")]
    DataSn {
        /// What was due.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// Not in order, as was agreed on.
    #[error("offset {expected} was due, {found} came")]
    Offset {
        /// What was due.
        expected: u32,
        /// What came.
        found: u32,
    },
    /// Outside of the buffer.
    #[error("{len} bytes at offset {offset} of a buffer of {expected} bytes")]
    TooMuch {
        /// Where it begins.
        offset: u32,
        /// How long it is.
        len: u32,
        /// Length of the buffer.
        expected: u32,
    },
    /// Longer than MaxBurstLength.
    #[error("a sequence of {0} bytes is longer than MaxBurstLength")]
    Burst(u32),
    /// More R2Ts than MaxOutstandingR2T.
    #[error("one more R2T than MaxOutstandingR2T, with {0} outstanding")]
    TooManyR2ts(u32),
    /// The reserved Target Transfer Tag.
    #[error("an R2T without a Target Transfer Tag")]
    NoTag,
    /// Status without all of the data.
    #[error("status GOOD with {received} bytes of data, {expected} were due")]
    Missing {
        /// What came.
        received: u32,
        /// What was due by the residual.
        expected: u32,
    },
    /// The command transfers nothing that way.
    #[error("the command has no such data")]
    NoData,
    /// A residual that is greater than the buffer.
    #[error("a residual of {0} bytes, more than the buffer has")]
    Residual(u32),
}

/// Why a request was not made. Nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// The session is not logged in, or has ended.
    #[error("the session is not logged in")]
    NotLoggedIn,
    /// As many as the target or the options allow are outstanding: try again after the next event.
    #[error("the command window is used up; wait for an answer")]
    WindowClosed,
    /// The command to abort has ended.
    #[error("the command has ended already")]
    NothingToAbort,
    /// Longer than a PDU can say.
    #[error("a CDB of {0} bytes is longer than a command can carry")]
    CdbTooLong(usize),
}
