//! An SRP initiator (SRP r16a): for measuring, self-tests, demonstrations, and for tests that misbehave on purpose.
//!
//! Room: the session as a pure state machine ([`machine`]), command descriptor blocks and what comes back for them
//! ([`cdb`], [`scsi`]), and a small blocking driver over RDMA ([`Session`], [`RawChannel`]). It may touch the
//! fabric through the crate `rdma` only, whichever provider is behind it, and waits on descriptors. Of the SCSI core
//! it uses plain values: LUN, status, sense codes.
#![forbid(unsafe_code)]

pub mod cdb;
mod driver;
pub mod machine;
pub mod scsi;

pub use target_core::lun::Lun;
pub use transport_srp::{PortIdOrder, TargetPortId};

pub use driver::{
    ConnectError, ConnectOptions, Data, DataBuffer, ExecuteError, Finished, RawChannel, RawLogin,
    RawReceived, Refused, Request, Session, SessionError, Transfer,
};
