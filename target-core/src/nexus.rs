//! An I_T nexus: who the initiator is, and what it sees behind which number (SAM-5 4.6).

use crate::slab::Handle;

/// A logical unit of a [`crate::target::Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LuId(pub(crate) Handle);

/// An I_T nexus of a [`crate::target::Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NexusId(pub(crate) Handle);

/// The initiator port's name in its transport (SPC-4 7.6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportId {
    /// SRP: the initiator port identifier as it was at login.
    Srp {
        /// Sixteen bytes, extension and GUID in the order of the I/O class.
        initiator_port_id: [u8; 16],
    },
}

/// One row of a host's LUN map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// Logical unit number.
    pub number: u8,
    /// What is behind it.
    pub lu: LuId,
    /// Writes by this map are refused.
    pub read_only: bool,
}
