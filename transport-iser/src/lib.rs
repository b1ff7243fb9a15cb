//! iSCSI (RFC 7143) over RDMA (iSER, RFC 7145) and over TCP: one session layer, two datamovers (RFC 5047).
//!
//! Room: PDUs, text negotiation, login, sessions and the command window, with the datamovers `iser` and `tcp` beneath one
//! Datamover Interface. Pure: no I/O, no clock, no threads, no `unsafe`; the daemon's port driver moves the bytes, as it does
//! for SRP.
#![forbid(unsafe_code)]

pub mod chap;
pub mod connection;
pub mod iser;
pub mod login;
pub mod pdu;
mod sn;
pub mod tcp;
pub mod text;

pub use sn::Sn;
