//! SRP (SRP r16a) from the initiator's side: the session as a pure [`machine`], and over RDMA a blocking [`Session`]
//! that keeps to the protocol and a [`RawChannel`] that need not.

mod buffer;
mod execute;
pub mod machine;
mod options;
mod raw;
mod session;

pub use buffer::DataBuffer;
pub use options::ConnectOptions;
pub use raw::{RawChannel, RawLogin, RawReceived};
pub use session::{Finished, Refused, Request, Session, Transfer};
