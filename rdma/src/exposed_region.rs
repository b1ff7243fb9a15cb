//! Memory that a peer may read and write by itself.

use iobuf::{Buf, RemoteSegment};

use crate::error::Error;
use crate::protection_domain::ProtectionDomain;
use crate::provided::{Provided, on_either};
use crate::{soft, verbs};

/// A buffer that the peer of a queue pair with `remote_access` may read and write at any time: an
/// initiator's side of a transfer.
///
/// While it is exposed its bytes are copied in and out, never referenced, because they can change at any
/// moment.
#[derive(Debug)]
pub struct ExposedRegion {
    /// Dropped before the buffer, so that the peer has lost its rights when the buffer returns.
    memory: Provided<verbs::ExposedMemory, soft::ExposedMemory>,
    buf: Buf,
}

impl ExposedRegion {
    /// Gives peers the right to read and write the window of `buf`.
    ///
    /// # Errors
    /// As `MemoryRegion::register`.
    pub fn new(domain: &ProtectionDomain, mut buf: Buf) -> Result<Self, Error> {
        let memory = match &domain.inner {
            Provided::Verbs(domain) => {
                Provided::Verbs(verbs::ExposedMemory::register(domain, &mut buf)?)
            }
            Provided::Soft(domain) => {
                Provided::Soft(soft::ExposedMemory::register(domain, &mut buf)?)
            }
        };
        Ok(Self { memory, buf })
    }

    /// How a peer names the whole region.
    pub fn segment(&self) -> RemoteSegment {
        RemoteSegment {
            address: self.buf.address(),
            key: on_either!(&self.memory, memory => memory.key()),
            length: u32::try_from(self.buf.len()).unwrap_or(u32::MAX),
        }
    }

    /// Copies bytes from `offset` on into `into`. Returns false, and copies nothing, when the region is not
    /// that long.
    #[must_use]
    pub fn read(&mut self, offset: usize, into: &mut [u8]) -> bool {
        let Some(from) = self.range(offset, into.len()) else {
            return false;
        };
        // SAFETY: the range is inside the buffer, which this object owns; `into` is other memory.
        unsafe { from.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        true
    }

    /// Copies `from` to `offset`. Returns false, and copies nothing, when the region is not that long.
    #[must_use]
    pub fn write(&mut self, offset: usize, from: &[u8]) -> bool {
        let Some(to) = self.range(offset, from.len()) else {
            return false;
        };
        // SAFETY: the range is inside the buffer, which this object owns; `from` is other memory.
        unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
        true
    }

    /// Takes the rights back; the buffer is then like any other.
    pub fn withdraw(self) -> Buf {
        let Self { memory, buf } = self;
        drop(memory);
        buf
    }

    fn range(&mut self, offset: usize, len: usize) -> Option<*mut u8> {
        let end = offset.checked_add(len)?;
        // SAFETY: the offset is inside the buffer's window.
        (end <= self.buf.len()).then(|| unsafe { self.buf.as_mut_ptr().add(offset) })
    }
}
