//! The iSER datamover: PDUs in SENDs, data by RDMA READ and WRITE (RFC 7145, IBTA annex A12).
//!
//! Room: what iSER puts around a PDU, and what it says when a connection is made. The connection makes RDMA operations of it.

mod cm;
mod header;

pub use cm::CmHeader;
pub use header::{HEADER_BYTES, Header, MESSAGE_BYTES, MessageType, Stag};
