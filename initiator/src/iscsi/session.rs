//! A session that keeps to the protocol, over TCP or RDMA: commands go in, answers come out.

mod execute;
mod slots;
mod turn;

pub use execute::DiscoveredTarget;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rdma::Fabric;
use transport_iser::login::Negotiated;
use transport_iser::pdu::AsyncMessage;

use super::iser::Connection;
use super::machine::{CloseReason, Machine, Outcome, RequestId, SubmitError};
use super::memory::{Memories, Memory};
use super::options::ConnectOptions;
use super::tcp::Stream;
use crate::clock::Clock;
use crate::error::{ConnectError, SessionError};

/// Bytes for the data of blocking commands, at first.
const BLOCKING_BYTES: usize = 64 << 10;

/// Asynchronous messages that are kept for the caller.
const MOST_ASYNC: usize = 16;

/// What moves the data.
#[derive(Debug)]
pub(super) enum Mover {
    Tcp(Box<Stream>),
    Iser(Box<Connection>),
}

/// An iSCSI session. It belongs to one thread, and ends when it is dropped; [`Session::logout`] says goodbye first.
#[derive(Debug)]
pub struct Session {
    machine: Machine,
    /// Before the memory, so that the target cannot touch what returns.
    mover: Mover,
    memories: Memories,
    clock: Clock,
    command_timeout_ms: u32,
    most_outstanding: u32,
    is_logged_in: bool,
    /// `None` for what is still outstanding after its time.
    finished: VecDeque<(RequestId, Option<Outcome>)>,
    asyncs: VecDeque<AsyncMessage>,
    rejects: u64,
    closed: Option<CloseReason>,
}

impl Session {
    /// Logs in over TCP.
    ///
    /// # Errors
    /// Nobody listens, or the target's reason for its refusal.
    pub fn connect_tcp(options: &ConnectOptions) -> Result<Self, ConnectError> {
        let timeout = Duration::from_millis(options.connect_timeout_ms.into());
        let stream = Stream::connect(options.address, options.source, timeout)?;
        let mover = Mover::Tcp(Box::new(stream));
        let blocking = Memory::plain(BLOCKING_BYTES);
        Self::log_in(mover, blocking, options)
    }

    /// Logs in over RDMA, on a fabric of choice. Messages have no more than 8192 bytes of data unless the keys say
    /// otherwise.
    ///
    /// # Errors
    /// What is missing here, or the target's reason for its refusal.
    pub fn connect_iser(fabric: &Fabric, options: &ConnectOptions) -> Result<Self, ConnectError> {
        let connection = Connection::connect(fabric, options)?;
        let blocking = Memory::exposed(&connection.port, BLOCKING_BYTES);
        let blocking = blocking.map_err(|_| ConnectError::NoData(BLOCKING_BYTES))?;
        let mover = Mover::Iser(Box::new(connection));
        Self::log_in(mover, blocking, options)
    }

    fn log_in(
        mover: Mover,
        blocking: Memory,
        options: &ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let mut session = Self {
            machine: Machine::new(options.login.clone()),
            mover,
            memories: Memories::new(blocking),
            clock: Clock::new(),
            command_timeout_ms: options.command_timeout_ms,
            most_outstanding: options.login.outstanding,
            is_logged_in: false,
            finished: VecDeque::new(),
            asyncs: VecDeque::new(),
            rejects: 0,
            closed: None,
        };
        let limit = Instant::now() + Duration::from_millis(options.connect_timeout_ms.into());
        loop {
            session.turn()?;
            if let Some(reason) = session.closed.take() {
                return Err(ConnectError::Iscsi(reason));
            }
            if session.is_logged_in {
                return Ok(session);
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ConnectError::TimedOut {
                    step: "the login",
                    timeout_ms: options.connect_timeout_ms,
                });
            }
            session.sleep(left);
        }
    }

    /// What was agreed on at the login, while the session lives.
    pub fn agreed(&self) -> Option<&Negotiated> {
        self.machine.agreed()
    }

    /// The state machine: windows and limits.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Why the session is over, if it is.
    pub fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    /// The next asynchronous message of the target that has come.
    pub fn next_async(&mut self) -> Option<AsyncMessage> {
        self.asyncs.pop_front()
    }

    /// Rejects of the target that belonged to no request.
    pub fn rejects(&self) -> u64 {
        self.rejects
    }

    /// This end of a TCP connection.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.mover {
            Mover::Tcp(stream) => stream.local_address(),
            Mover::Iser(_) => None,
        }
    }

    fn over(&self) -> SessionError {
        let reason = self.closed.clone();
        SessionError::Closed(reason.unwrap_or(CloseReason::Disconnected).into())
    }

    fn deadline_ms(&self) -> Option<u64> {
        Some(self.clock.now_ms() + u64::from(self.command_timeout_ms))
    }

    fn submit_error(&self, error: SubmitError) -> SessionError {
        match error {
            SubmitError::WindowClosed => SessionError::Full,
            SubmitError::NotLoggedIn => self.over(),
            error => SessionError::Iscsi(error),
        }
    }
}
