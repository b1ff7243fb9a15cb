//! SRP: the SCSI RDMA Protocol (SRP r16a, and immediate data from the SRP-2 draft).
//!
//! Room: information units as bytes and as values ([`wire`]), who may log in ([`login`],
//! [`port_id`]), where a command's data lies ([`data`]), how many requests the initiator may send
//! ([`credit`]), and the state machine of one RDMA channel ([`channel`]). Pure: no I/O, no clock,
//! no threads, no `unsafe`. It knows nothing of verbs; the driver in the daemon posts what
//! [`Channel`] asks for.
#![forbid(unsafe_code)]

pub mod channel;
pub mod credit;
pub mod data;
pub mod layout;
pub mod login;
pub mod port_id;
pub mod wire;

pub use channel::{Channel, ChannelCounters};
pub use layout::{RecvLayout, recv_layout};
pub use login::{Carrier, LoginPolicy, LoginRefusal, LoginRequest, Negotiated};
pub use port_id::{InitiatorPortId, PortIdOrder, TargetPortId};
