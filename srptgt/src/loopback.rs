//! Target and initiators in one process: the daemon's control plane and worker, and SRP sessions, each side in its own
//! thread with its own RoCEv2 fabric over UDP on a loopback address.
//!
//! Room: what `demo` shows. It may touch a temporary folder, loopback addresses and threads; it reads and leaves
//! nothing of the machine's own configuration.

mod initiator;
mod target;

pub use initiator::{Initiator, InitiatorGone};
pub use target::Target;
