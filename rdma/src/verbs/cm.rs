//! The connection manager's event channel.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::rc::Rc;

use rdma_sys::{self as sys, Cm};

use super::cm_event;
use super::device::set_nonblocking;
use crate::cm_event::CmEvent;
use crate::error::Error;

/// Where listeners and connections report. Clones are the same channel.
#[derive(Clone, Debug)]
pub(crate) struct EventChannel(Rc<ChannelInner>);

#[derive(Debug)]
struct ChannelInner {
    raw: NonNull<sys::rdma_event_channel>,
    cm: &'static Cm,
}

impl EventChannel {
    pub(crate) fn new() -> Result<Self, Error> {
        let cm = sys::cm()?;
        // SAFETY: the call takes nothing and returns a channel that this object destroys.
        let raw = unsafe { (cm.rdma_create_event_channel)() };
        let raw = NonNull::new(raw).ok_or_else(|| Error::NoConnectionManager {
            source: io::Error::last_os_error(),
        })?;
        let channel = Self(Rc::new(ChannelInner { raw, cm }));
        set_nonblocking(channel.fd())?;
        Ok(channel)
    }

    pub(crate) fn next_event(&self) -> Result<Option<CmEvent>, Error> {
        loop {
            let mut event = std::ptr::null_mut();
            // SAFETY: the channel lives, and its descriptor does not block.
            let result = unsafe { (self.cm().rdma_get_cm_event)(self.raw(), &raw mut event) };
            let Some(event) = NonNull::new(event).filter(|_| result == 0) else {
                return nothing(io::Error::last_os_error());
            };
            if let Some(event) = cm_event::take(self, event) {
                return Ok(Some(event));
            }
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel lives as long as this object.
        let channel = unsafe { self.0.raw.as_ref() };
        // SAFETY: the channel owns the descriptor and keeps it open.
        unsafe { BorrowedFd::borrow_raw(channel.fd) }
    }

    pub(super) fn cm(&self) -> &'static Cm {
        self.0.cm
    }

    pub(super) fn raw(&self) -> *mut sys::rdma_event_channel {
        self.0.raw.as_ptr()
    }
}

fn nothing(error: io::Error) -> Result<Option<CmEvent>, Error> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(None),
        _ => Err(Error::call("rdma_get_cm_event", error)),
    }
}

impl Drop for ChannelInner {
    fn drop(&mut self) {
        // SAFETY: each listener and connection holds this object, so none is left.
        unsafe { (self.cm.rdma_destroy_event_channel)(self.raw.as_ptr()) };
    }
}
