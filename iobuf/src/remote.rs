//! A range of the peer's memory, as a transport learns it from the wire.

/// Memory of the peer that an RDMA READ or WRITE may touch: an SRP memory descriptor (SRP 5.4) or an
/// iSER STag with its base offset (RFC 7145).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteSegment {
    /// Virtual address (or offset) in the peer's memory region.
    pub address: u64,
    /// The peer's memory handle: R_Key or STag.
    pub key: u32,
    /// Length in bytes.
    pub length: u32,
}
