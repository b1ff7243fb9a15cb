//! A connection over RDMA that need not keep to the protocol: bytes out, bytes in, and what the peer does about them.
//!
//! For tests of targets. Nothing is parsed or checked here, and every wait has a bound.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rdma::{ExposedRegion, Fabric, WorkCompletion, WorkKind};

use super::cm::{CmEvents, Patience, Verdict, connection_of, is_end};
use super::link::Link;
use super::port::{Port, Sizes};
use crate::error::{ConnectError, SessionError};

const SIZES: Sizes = Sizes {
    data_bytes: 1 << 20,
    messages: 256,
    message_bytes: 32 << 10,
    receives: 256,
    receive_bytes: 8448,
};

/// What a target did with a login.
#[derive(Debug)]
pub enum RawLogin {
    /// It accepted.
    Accepted(Box<RawChannel>),
    /// It rejected the connection.
    Rejected {
        /// The connection manager's reason; 28 is the target's own.
        reason: i32,
        /// What the target said, often padded with zeroes.
        private_data: Vec<u8>,
    },
}

/// What came on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawReceived {
    /// A message, cut to the bytes that came.
    Message(Vec<u8>),
    /// The peer ended the connection.
    Disconnected,
    /// Nothing, in the time that was given.
    Nothing,
}

/// An established connection.
#[derive(Debug)]
pub struct RawChannel {
    link: Link,
    cm: CmEvents,
    port: Port,
    response: Vec<u8>,
    received: VecDeque<Vec<u8>>,
    is_over: bool,
}

impl RawLogin {
    /// Connects with this private data, at most 56 bytes; the connection manager fills it up with zeroes.
    ///
    /// # Errors
    /// There was neither an accept nor a reject of the target.
    pub fn attempt(
        address: SocketAddr,
        private_data: &[u8],
        timeout_ms: u32,
    ) -> Result<Self, ConnectError> {
        Self::attempt_on(&Fabric::verbs(), address, private_data, timeout_ms)
    }

    /// [`RawLogin::attempt`] on a fabric of choice.
    ///
    /// # Errors
    /// There was neither an accept nor a reject of the target.
    pub fn attempt_on(
        fabric: &Fabric,
        address: SocketAddr,
        private_data: &[u8],
        timeout_ms: u32,
    ) -> Result<Self, ConnectError> {
        let mut cm = CmEvents::new(fabric)?;
        let patience = Patience {
            address,
            timeout_ms,
        };
        let connection = cm.resolve(None, patience)?;
        let port = Port::open(connection.open_device()?, SIZES)?;
        cm.resolve_route(&connection, patience)?;
        let (mut link, verdict) = Link::ask(&port, &mut cm, connection, private_data, patience)?;
        let response = match verdict {
            Verdict::Accepted(response) => response,
            Verdict::Rejected {
                reason,
                private_data,
            } => {
                return Ok(Self::Rejected {
                    reason,
                    private_data,
                });
            }
        };
        port.post_receives()?;
        link.establish()?;
        Ok(Self::Accepted(Box::new(RawChannel {
            link,
            cm,
            port,
            response,
            received: VecDeque::new(),
            is_over: false,
        })))
    }
}

impl RawChannel {
    /// The private data of the accept.
    pub fn response(&self) -> &[u8] {
        &self.response
    }

    /// Memory that the target may read and write.
    ///
    /// # Errors
    /// The channel's memory of 1 MiB is used up.
    pub fn buffer(&self, capacity: usize) -> Result<ExposedRegion, SessionError> {
        let buf = self.port.data.take(capacity);
        let buf = buf.ok_or(SessionError::NoBuffer(capacity))?;
        Ok(ExposedRegion::new(&self.port.domain, buf)?)
    }

    /// Sends one message of at most 32 KiB. What became of it is seen by [`RawChannel::receive`].
    ///
    /// # Errors
    /// The message is too long, too many are on their way, or RDMA failed. A connection that is gone is no error.
    pub fn send(&mut self, message: &[u8]) -> Result<(), SessionError> {
        let message = self.port.message(message).ok_or(SessionError::Full)?;
        self.is_over |= !self.link.send(message) || !self.link.flush();
        Ok(())
    }

    /// The next message, or what else happened.
    ///
    /// # Errors
    /// RDMA failed.
    pub fn receive(&mut self, timeout: Duration) -> Result<RawReceived, SessionError> {
        let limit = Instant::now() + timeout;
        loop {
            self.turn()?;
            if let Some(message) = self.received.pop_front() {
                return Ok(RawReceived::Message(message));
            }
            if self.is_over {
                self.link.close();
                return Ok(RawReceived::Disconnected);
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(RawReceived::Nothing);
            }
            self.sleep(left)?;
        }
    }

    fn turn(&mut self) -> Result<(), SessionError> {
        while self.reap()? > 0 {}
        self.is_over |= !self.link.flush();
        let id = self.link.connection.id();
        while let Some(event) = self.cm.next()? {
            self.is_over |= connection_of(&event) == Some(id) && is_end(&event);
        }
        // A message may have come just before the end of the connection.
        while self.reap()? > 0 {}
        Ok(())
    }

    fn reap(&mut self) -> Result<usize, SessionError> {
        let mut batch = [WorkCompletion::default(); 32];
        let count = self.port.poll(&mut batch)?;
        for completion in batch.iter().take(count) {
            match completion.kind {
                WorkKind::Send => self.is_over |= !self.link.handle_completion(completion),
                WorkKind::Receive => self.take(completion),
            }
        }
        self.port.srq.flush()?;
        Ok(count)
    }

    fn take(&mut self, completion: &WorkCompletion) {
        if let Some(received) = self.port.srq.take(completion) {
            if received.status.is_success() {
                self.received.push_back(received.buf.to_vec());
            }
            self.port.repost(received.buf);
        }
    }

    fn sleep(&mut self, most: Duration) -> Result<(), SessionError> {
        self.port.cq.arm()?;
        if self.reap()? == 0 {
            self.cm.wait(self.port.fd(), most)?;
            self.port.clear_events()?;
        }
        Ok(())
    }
}
