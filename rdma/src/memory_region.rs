//! Registered memory.

use std::sync::Arc;

use iobuf::Arena;

use crate::error::Error;
use crate::protection_domain::ProtectionDomain;
use crate::provided::Provided;
use crate::{soft, verbs};

/// An arena registered for local use: the NIC reads from and writes to its buffers when they are posted,
/// and no peer can name it.
#[derive(Debug)]
pub struct MemoryRegion(
    #[expect(dead_code, reason = "dropping it undoes the registration")]
    Provided<verbs::MemoryRegion, soft::MemoryRegion>,
);

impl MemoryRegion {
    /// Registers the whole arena. Buffers of it can be posted on queues of the domain while the region
    /// lives; it must outlive what is posted, or the NIC refuses to touch the buffers and the queue pairs
    /// fail.
    ///
    /// # Errors
    /// [`Error::LockedMemory`] when RLIMIT_MEMLOCK is too low.
    pub fn register(domain: &ProtectionDomain, arena: &Arc<Arena>) -> Result<Self, Error> {
        Ok(Self(match &domain.inner {
            Provided::Verbs(domain) => {
                Provided::Verbs(verbs::MemoryRegion::register(domain, arena)?)
            }
            Provided::Soft(domain) => Provided::Soft(soft::MemoryRegion::register(domain, arena)?),
        }))
    }
}
