//! Registered memory.

use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use iobuf::{Arena, Buf};
use rdma_sys as sys;

use super::pd::{DomainInner, ProtectionDomain};
use crate::error::Error;

/// An arena registered for local use: the NIC reads from and writes to its buffers when they are posted,
/// and no peer can name it.
#[derive(Debug)]
pub(crate) struct MemoryRegion {
    region: RawRegion,
    _arena: Arc<Arena>,
}

impl MemoryRegion {
    pub(crate) fn register(domain: &ProtectionDomain, arena: &Arc<Arena>) -> Result<Self, Error> {
        let access = sys::IBV_ACCESS_LOCAL_WRITE;
        let region = RawRegion::register(&domain.0, arena.base(), arena.len(), access)?;
        domain.0.remember(arena, region.local_key());
        Ok(Self {
            region,
            _arena: Arc::clone(arena),
        })
    }
}

impl Drop for MemoryRegion {
    fn drop(&mut self) {
        self.region.domain.forget(self.region.local_key());
    }
}

/// A buffer's memory registered for peers.
#[derive(Debug)]
pub(crate) struct ExposedMemory(RawRegion);

impl ExposedMemory {
    pub(crate) fn register(domain: &ProtectionDomain, buf: &mut Buf) -> Result<Self, Error> {
        let access = sys::IBV_ACCESS_LOCAL_WRITE
            | sys::IBV_ACCESS_REMOTE_READ
            | sys::IBV_ACCESS_REMOTE_WRITE;
        let base = NonNull::new(buf.as_mut_ptr()).unwrap_or(NonNull::dangling());
        RawRegion::register(&domain.0, base, buf.len(), access).map(Self)
    }

    pub(crate) fn key(&self) -> u32 {
        // SAFETY: the region is registered until this object is dropped.
        unsafe { self.0.raw.as_ref() }.rkey
    }
}

/// A registration; undone when dropped, after which the NIC does not touch the memory any more.
#[derive(Debug)]
pub(super) struct RawRegion {
    raw: NonNull<sys::ibv_mr>,
    domain: Rc<DomainInner>,
}

impl RawRegion {
    /// The caller keeps the memory mapped while the region lives.
    pub(super) fn register(
        domain: &Rc<DomainInner>,
        base: NonNull<u8>,
        len: usize,
        access: sys::ibv_access_flags,
    ) -> Result<Self, Error> {
        let verbs = domain.device.0.context.verbs;
        let access = access.cast_signed();
        // SAFETY: the range is mapped; registering gives the NIC rights, which it uses only for what is
        // posted or exposed.
        let raw =
            unsafe { (verbs.ibv_reg_mr)(domain.raw.as_ptr(), base.as_ptr().cast(), len, access) };
        let raw = NonNull::new(raw).ok_or_else(|| registration_error(len))?;
        Ok(Self {
            raw,
            domain: Rc::clone(domain),
        })
    }

    pub(super) fn local_key(&self) -> u32 {
        // SAFETY: the region is registered until this object is dropped.
        unsafe { self.raw.as_ref() }.lkey
    }
}

impl Drop for RawRegion {
    fn drop(&mut self) {
        let verbs = self.domain.device.0.context.verbs;
        // SAFETY: the region is deregistered once; nothing holds its pointer.
        unsafe { (verbs.ibv_dereg_mr)(self.raw.as_ptr()) };
    }
}

fn registration_error(bytes: usize) -> Error {
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOMEM) => Error::LockedMemory {
            bytes,
            limit: locked_memory_limit(),
        },
        _ => Error::call("ibv_reg_mr", error),
    }
}

fn locked_memory_limit() -> String {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call fills the structure.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    match limit.rlim_cur {
        _ if result != 0 => "unknown".to_owned(),
        libc::RLIM_INFINITY => "unlimited, so the memory itself is used up".to_owned(),
        bytes => format!("{bytes} bytes"),
    }
}
