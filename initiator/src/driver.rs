//! The blocking driver: a [`Session`](session::Session) that keeps to the protocol, and a [`RawChannel`] that need not.
//!
//! It knows queue pairs, completions and remote keys by the words of the crate `rdma`, and nothing of the provider
//! behind them. Everything that it waits for is waited for with a bound.

mod buffer;
mod cm;
mod error;
mod execute;
mod link;
mod options;
mod port;
mod raw;
mod session;

pub use buffer::DataBuffer;
pub use error::{ConnectError, ExecuteError, SessionError};
pub use execute::Data;
pub use options::ConnectOptions;
pub use raw::{RawChannel, RawLogin, RawReceived};
pub use session::{Finished, Refused, Request, Session, Transfer};

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Milliseconds since the driver began.
#[derive(Clone, Copy, Debug)]
struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn now_ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Waits until one of the descriptors has something to read, or the time is over. A signal ends the wait early.
fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Duration) {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let timeout = Timespec::try_from(timeout).ok();
    // Whoever waits looks again at what it waits for, so an error here only costs a turn.
    let _ = poll(&mut polled, timeout.as_ref());
}
