//! iSCSI (RFC 7143) from the initiator's side, over TCP and over RDMA (iSER, RFC 7145): the session as a pure
//! [`machine`], its PDUs as bytes ([`codec`]) and as messages ([`message`]), a blocking [`Session`] that keeps to the
//! protocol, and a [`RawStream`] that need not.

pub mod codec;
mod iser;
pub mod machine;
mod memory;
pub mod message;
mod options;
mod raw;
mod session;
mod tcp;

pub use options::ConnectOptions;
pub use raw::{RawStream, RawStreamState};
pub use session::{DiscoveredTarget, Session};
