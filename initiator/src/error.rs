//! What can go wrong with a session, and what to do about it.

use std::net::SocketAddr;

use thiserror::Error;
use transport_iser::login as iscsi_login;
use transport_iser::pdu::RejectReason;
use transport_iser::text::TextError;

use crate::answer::Answer;
use crate::iscsi::machine as iscsi;
use crate::srp::machine::{CloseReason, LoginError, SubmitError};

/// A session was not made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The machine has no RDMA, or it failed.
    #[error(transparent)]
    Rdma(#[from] rdma::Error),
    /// No memory for buffers.
    #[error("no memory for the session's buffers: {0}")]
    Memory(std::io::Error),
    /// The address cannot be reached over RDMA.
    #[error(
        "{address} cannot be reached over RDMA (errno {errno}); check the address and the route to it"
    )]
    NoRoute {
        /// Where to.
        address: SocketAddr,
        /// Why.
        errno: i32,
    },
    /// Nobody listens there.
    #[error("nobody listens on {0}; check the port, and that the target runs")]
    NobodyListens(SocketAddr),
    /// The peer does not answer.
    #[error("{address} does not answer (errno {errno}); check that the target runs")]
    NoAnswer {
        /// Who.
        address: SocketAddr,
        /// Why.
        errno: i32,
    },
    /// A step took too long.
    #[error("{step} took longer than {timeout_ms} ms")]
    TimedOut {
        /// Which.
        step: &'static str,
        /// Its limit.
        timeout_ms: u32,
    },
    /// The target did not grant the login.
    #[error("channel {channel}: {error}")]
    Login {
        /// Of which channel.
        channel: u16,
        /// Why.
        error: LoginError,
    },
    /// The target wants to send messages that are longer than the receive buffers can be.
    #[error("the target may send messages of {asked} bytes, this initiator takes {most}")]
    MessageLength {
        /// What the target said.
        asked: u32,
        /// What is taken.
        most: u32,
    },
    /// The target rejected the connection.
    #[error(
        "{address} rejected the connection, reason {reason}; is it an iSER target that listens there?"
    )]
    Rejected {
        /// Who.
        address: SocketAddr,
        /// The connection manager's reason.
        reason: i32,
    },
    /// There is no TCP connection.
    #[error(
        "{address} cannot be reached over TCP: {error}; check address and port, and that the target runs"
    )]
    Tcp {
        /// Where to.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// No memory for data.
    #[error("no data buffer of {0} bytes can be had; raise the session's data memory")]
    NoData(usize),
    /// The session ended before it was logged in.
    #[error(transparent)]
    Iscsi(iscsi::CloseReason),
    /// The session failed before it was logged in.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A further channel would leave through another device than the first.
    #[error("{0} is reached through another device than the session's first channel")]
    OtherDevice(SocketAddr),
}

impl ConnectError {
    /// What the target answered when it refused the login; `None` when something else was wrong.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Login {
                error: LoginError::Rejected(reject),
                ..
            } => Some(reject.to_string()),
            Self::Iscsi(iscsi::CloseReason::Login(failure)) => match failure.error {
                iscsi_login::LoginError::Refused(_) => Some(failure.to_string()),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Why a session is over, in the words of its protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Ending {
    /// SRP.
    #[error(transparent)]
    Srp(#[from] CloseReason),
    /// iSCSI.
    #[error(transparent)]
    Iscsi(#[from] iscsi::CloseReason),
}

/// A session cannot go on, or not now.
#[derive(Debug, Error)]
pub enum SessionError {
    /// RDMA failed.
    #[error(transparent)]
    Rdma(#[from] rdma::Error),
    /// All connections have ended.
    #[error("the session is over: {0}")]
    Closed(Ending),
    /// As many requests are outstanding as are allowed: wait for one.
    #[error("as many commands are outstanding as the session may have; wait for an answer")]
    Full,
    /// The request cannot be made.
    #[error(transparent)]
    Submit(SubmitError),
    /// The request cannot be made.
    #[error(transparent)]
    Iscsi(iscsi::SubmitError),
    /// No data buffer of this length is free.
    #[error("no data buffer of {0} bytes is free; raise the session's data memory")]
    NoBuffer(usize),
}

/// A command did not end well.
#[derive(Debug, Error)]
pub enum ExecuteError {
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The target answered, but not with status GOOD.
    #[error("the target answered {0}")]
    Answer(Box<Answer>),
    /// The target did not answer in time; the command was aborted, or the session is lost.
    #[error("no answer within {timeout_ms} ms; {aftermath}")]
    TimedOut {
        /// The limit.
        timeout_ms: u32,
        /// What became of the command.
        aftermath: &'static str,
    },
    /// The command was ended by task management.
    #[error("the command was ended by task management")]
    Aborted,
    /// The connection broke; whether the command was carried out is not known.
    #[error("the connection was lost before the answer: {0}")]
    Lost(Ending),
    /// The target rejected the request.
    #[error("the target rejected the request: {0:?}")]
    Rejected(RejectReason),
    /// The answer is no text.
    #[error(transparent)]
    Text(TextError),
    /// Less data came than the reply must have.
    #[error("{what} of {got} bytes came, at least {needed} are needed")]
    ShortData {
        /// Which reply.
        what: &'static str,
        /// Bytes that came.
        got: usize,
        /// Bytes that are needed.
        needed: usize,
    },
}
