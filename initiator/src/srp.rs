//! SRP (SRP r16a) from the initiator's side: the session as a pure [`machine`], and a blocking [`Session`] over
//! RDMA.

mod buffer;
mod execute;
pub mod machine;
mod options;
mod session;

pub use buffer::DataBuffer;
pub use options::ConnectOptions;
pub use session::{Finished, Refused, Request, Session, Transfer};
