//! Protection domains, and which memory is registered in them.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use iobuf::{Arena, Buf};
use roce::{Access, Key, Pd, Region, RegionHandle};

use super::device::Device;
use crate::error::Error;
use crate::send_queue::{KeyedBuf, WorkRequest};

/// Clones are the same domain.
#[derive(Clone, Debug)]
pub(crate) struct ProtectionDomain(pub(super) Rc<DomainInner>);

#[derive(Debug)]
pub(super) struct DomainInner {
    pub(super) device: Device,
    pub(super) number: Pd,
    arenas: RefCell<Vec<(NonNull<u8>, Key)>>,
    /// Work requests are built here, so that no queue pair needs memory of its own for them.
    pub(super) scratch: RefCell<Vec<WorkRequest>>,
    generation: Cell<u32>,
}

impl ProtectionDomain {
    pub(crate) fn new(device: &Device) -> Self {
        Self(Rc::new(DomainInner {
            device: device.clone(),
            number: device.next_domain(),
            arenas: RefCell::default(),
            scratch: RefCell::default(),
            generation: Cell::new(0),
        }))
    }
}

impl DomainInner {
    /// Key of the buffer's arena. There are one or two, so this is a short scan.
    pub(super) fn key_of(&self, buf: &Buf) -> Option<Key> {
        let base = buf.arena().base();
        let arenas = self.arenas.borrow();
        let found = arenas.iter().find(|(known, _)| *known == base);
        found.map(|(_, key)| *key)
    }

    pub(super) fn keyed(&self, buf: Buf) -> Option<KeyedBuf> {
        let Key(key) = self.key_of(&buf)?;
        Some(KeyedBuf { buf, key })
    }

    /// Tells queue pairs apart that got the same number.
    pub(super) fn next_generation(&self) -> u32 {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        generation & (u32::MAX >> 1)
    }
}

/// An arena known to the node.
#[derive(Debug)]
pub(crate) struct MemoryRegion {
    registration: Registration,
    _arena: Arc<Arena>,
}

impl MemoryRegion {
    pub(crate) fn register(domain: &ProtectionDomain, arena: &Arc<Arena>) -> Result<Self, Error> {
        let (base, len) = (arena.base(), arena.len());
        let registration = Registration::new(domain, base, len, Access::LOCAL_WRITE)?;
        domain.0.arenas.borrow_mut().push((base, registration.key));
        Ok(Self {
            registration,
            _arena: Arc::clone(arena),
        })
    }
}

impl Drop for MemoryRegion {
    fn drop(&mut self) {
        let mut arenas = self.registration.domain.0.arenas.borrow_mut();
        arenas.retain(|(_, key)| *key != self.registration.key);
    }
}

/// A buffer's memory registered for peers.
#[derive(Debug)]
pub(crate) struct ExposedMemory(Registration);

impl ExposedMemory {
    pub(crate) fn register(domain: &ProtectionDomain, buf: &mut Buf) -> Result<Self, Error> {
        let access = Access::LOCAL_WRITE
            .or(Access::REMOTE_READ)
            .or(Access::REMOTE_WRITE)
            .or(Access::REMOTE_INVALIDATE);
        let base = NonNull::new(buf.as_mut_ptr()).unwrap_or(NonNull::dangling());
        Registration::new(domain, base, buf.len(), access).map(Self)
    }

    pub(crate) fn key(&self) -> u32 {
        self.0.key.0
    }
}

/// A registration; undone when dropped, after which the node does not touch the memory any more.
#[derive(Debug)]
struct Registration {
    domain: ProtectionDomain,
    handle: RegionHandle,
    key: Key,
}

impl Registration {
    /// The caller keeps the memory mapped while the registration lives.
    fn new(
        domain: &ProtectionDomain,
        base: NonNull<u8>,
        len: usize,
        access: Access,
    ) -> Result<Self, Error> {
        let core = &mut *domain.0.device.core();
        let handle = core.memory.insert(base, len);
        let registered = core.node.register(Region {
            pd: domain.0.number,
            handle,
            offset: 0,
            address: base.as_ptr() as u64,
            length: len as u64,
            access,
        });
        match registered {
            Ok(key) => Ok(Self {
                domain: domain.clone(),
                handle,
                key,
            }),
            Err(error) => {
                core.memory.remove(handle);
                Err(Error::refused("register memory", error))
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let core = &mut *self.domain.0.device.core();
        core.node.deregister(self.key);
        core.memory.remove(self.handle);
    }
}
