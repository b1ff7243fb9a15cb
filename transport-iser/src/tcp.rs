//! The TCP datamover: PDUs in a stream of bytes (RFC 7143 4.5 and 11.1), with CRC32C digests.
//!
//! Room: where a PDU begins and ends, its padding and its digests, both ways; and how the data of a command are cut into
//! Data-In PDUs. What a PDU means is the connection's.

mod framer;
mod writer;

pub use framer::{Framed, Framer, FramingError};
pub(crate) use writer::{Writer, pdu_bytes};
