//! A TCP connection that need not keep to the protocol: bytes out, bytes in. Over RDMA [`crate::RawLogin`] does the same
//! with messages.
//!
//! For tests of targets. Nothing is parsed or checked here, and every wait has a bound.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::tcp::Stream;
use crate::error::ConnectError;

/// What came of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawStreamState {
    /// As many bytes as were asked for are there.
    Ready,
    /// The peer ended the connection.
    Disconnected,
    /// Fewer came in the time that was given.
    Waiting,
}

/// A TCP connection to a target.
#[derive(Debug)]
pub struct RawStream {
    stream: Stream,
    received: Vec<u8>,
    is_over: bool,
}

impl RawStream {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(address: SocketAddr, timeout: Duration) -> Result<Self, ConnectError> {
        Ok(Self {
            stream: Stream::connect(address, None, timeout)?,
            received: Vec::new(),
            is_over: false,
        })
    }

    /// Sends bytes, and waits until the kernel has all of them; false when it has not within `timeout`, or the
    /// connection is gone. What was not taken goes first the next time.
    pub fn send(&mut self, bytes: &[u8], timeout: Duration) -> bool {
        let limit = Instant::now() + timeout;
        self.stream.push_bytes(bytes);
        loop {
            self.is_over |= self.stream.flush().is_err();
            let left = limit.saturating_duration_since(Instant::now());
            if self.is_over || !self.stream.has_outgoing() || left.is_zero() {
                return !self.is_over && !self.stream.has_outgoing();
            }
            // A peer that waits for its own bytes to be read would take no more of these.
            self.fill();
            self.is_over |= self.stream.wait(left).is_err();
        }
    }

    /// Waits until there are `count` bytes in [`RawStream::received`].
    pub fn receive(&mut self, count: usize, timeout: Duration) -> RawStreamState {
        let limit = Instant::now() + timeout;
        loop {
            self.fill();
            if self.received.len() >= count {
                return RawStreamState::Ready;
            }
            if self.is_over {
                return RawStreamState::Disconnected;
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return RawStreamState::Waiting;
            }
            self.is_over |= self.stream.wait(left).is_err();
        }
    }

    /// What has come and was not taken yet.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// Takes `count` bytes, or what there is.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.received.len());
        self.received.drain(..count).collect()
    }

    fn fill(&mut self) {
        while !self.is_over {
            match self.stream.fill() {
                Ok(true) => self.stream.take(&mut self.received),
                Ok(false) => return,
                Err(_) => self.is_over = true,
            }
        }
    }
}
