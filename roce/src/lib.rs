//! RoCEv2 in user space as a pure state machine.
#![forbid(unsafe_code)]

pub mod packet;
mod psn;

pub use psn::Psn;
