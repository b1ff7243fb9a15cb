//! Initiators (SAM-5) of our own: for measuring, self-tests, demonstrations, and for tests that misbehave on purpose.
//!
//! Room: command descriptor blocks and what comes back for them ([`cdb`], [`scsi`], [`Answer`]), what a session of any
//! protocol can do ([`Nexus`]), and for each protocol the session as a pure state machine with a small blocking driver
//! ([`srp`]). It may touch the fabric through the crate `rdma` only, whichever provider is behind it, and waits on
//! descriptors. Of the SCSI core it uses plain values: LUN, status, sense codes.
#![forbid(unsafe_code)]

mod answer;
pub mod cdb;
mod clock;
mod data;
mod error;
mod fabric;
pub mod iscsi;
mod nexus;
mod requests;
pub mod scsi;
pub mod srp;

pub use target_core::lun::Lun;
pub use transport_srp::{PortIdOrder, TargetPortId};

pub use answer::{Answer, SENSE_BYTES, SenseData};
pub use data::Data;
pub use error::{ConnectError, Ending, ExecuteError, SessionError};
pub use fabric::{RawChannel, RawLogin, RawReceived};
pub use nexus::{Ended, Nexus, ServiceResponse, SlotCommand, SlotData, TaskManagement};
pub use scsi::Scsi;
pub use srp::machine;
pub use srp::{ConnectOptions, DataBuffer, Finished, Refused, Request, Session, Transfer};
