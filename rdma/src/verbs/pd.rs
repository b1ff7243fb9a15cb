//! A protection domain, and which memory is registered in it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;

use iobuf::{Arena, Buf};
use rdma_sys as sys;

use super::device::Device;
use crate::error::Error;
use crate::send_queue::{KeyedBuf, WorkRequest};

/// What may be used together: memory regions, receive queues and queue pairs. Clones are the same domain.
#[derive(Clone, Debug)]
pub(crate) struct ProtectionDomain(pub(super) Rc<DomainInner>);

#[derive(Debug)]
pub(super) struct DomainInner {
    pub(super) raw: NonNull<sys::ibv_pd>,
    pub(super) device: Device,
    arenas: RefCell<Vec<RegisteredArena>>,
    /// Work requests are built here, so that no queue pair needs memory of its own for them.
    pub(super) scratch: RefCell<Scratch>,
    /// Tells queue pairs apart that got the same number.
    generation: Cell<u32>,
}

/// Room to build chains of work requests; the pointers in it mean nothing between two posts.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) requests: Vec<WorkRequest>,
    /// These two are as long as the longest chain so far; entries beyond the present one mean nothing.
    pub(super) sends: Vec<sys::ibv_send_wr>,
    pub(super) elements: Vec<sys::ibv_sge>,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
struct RegisteredArena {
    base: NonNull<u8>,
    key: u32,
}

impl ProtectionDomain {
    pub(crate) fn new(device: &Device) -> Result<Self, Error> {
        let context = &device.0.context;
        // SAFETY: the context is open, and the domain keeps it open.
        let raw = unsafe { (context.verbs.ibv_alloc_pd)(context.raw.as_ptr()) };
        let raw = NonNull::new(raw).ok_or_else(|| Error::last("ibv_alloc_pd"))?;
        Ok(Self(Rc::new(DomainInner {
            raw,
            device: device.clone(),
            arenas: RefCell::default(),
            scratch: RefCell::default(),
            generation: Cell::new(0),
        })))
    }

    pub(crate) fn device(&self) -> &Device {
        &self.0.device
    }
}

impl DomainInner {
    pub(super) fn remember(&self, arena: &Arena, key: u32) {
        let base = arena.base();
        self.arenas.borrow_mut().push(RegisteredArena { base, key });
    }

    pub(super) fn forget(&self, key: u32) {
        self.arenas.borrow_mut().retain(|arena| arena.key != key);
    }

    /// Local key of the buffer's memory. There are one or two arenas, so this is a short scan.
    pub(super) fn key_of(&self, buf: &Buf) -> Option<u32> {
        let base = buf.arena().base();
        let arenas = self.arenas.borrow();
        let found = arenas.iter().find(|arena| arena.base == base);
        found.map(|arena| arena.key)
    }

    pub(super) fn keyed(&self, buf: Buf) -> Option<KeyedBuf> {
        let key = self.key_of(&buf)?;
        Some(KeyedBuf { buf, key })
    }

    pub(super) fn next_generation(&self) -> u32 {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        generation & (u32::MAX >> 1)
    }
}

impl Drop for DomainInner {
    fn drop(&mut self) {
        let verbs = self.device.0.context.verbs;
        // SAFETY: whatever was made from the domain held this object, so nothing of it is left.
        unsafe { (verbs.ibv_dealloc_pd)(self.raw.as_ptr()) };
    }
}
