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

use std::time::Instant;

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
