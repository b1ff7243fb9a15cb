//! Where completion queues report that they have something.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

use rdma_sys as sys;

use super::cq::QueueInner;
use super::device::{Device, set_nonblocking};
use crate::completion::CompletionQueueId;
use crate::error::Error;

/// Events of completion queues. Clones are the same channel.
///
/// An event is eight bytes on the descriptor, which does not block. Either a
/// ring reads it, and the number goes to [`CompletionChannel::event_from_raw`]; or
/// [`CompletionChannel::next_event`] reads it.
#[derive(Clone, Debug)]
pub(crate) struct CompletionChannel(pub(super) Rc<ChannelInner>);

#[derive(Debug)]
pub(super) struct ChannelInner {
    pub(super) raw: NonNull<sys::ibv_comp_channel>,
    pub(super) device: Device,
    queues: RefCell<Vec<(CompletionQueueId, Weak<QueueInner>)>>,
}

impl CompletionChannel {
    pub(crate) fn new(device: &Device) -> Result<Self, Error> {
        let context = &device.0.context;
        // SAFETY: the context is open, and the channel keeps it open.
        let raw = unsafe { (context.verbs.ibv_create_comp_channel)(context.raw.as_ptr()) };
        let raw = NonNull::new(raw).ok_or_else(|| Error::last("ibv_create_comp_channel"))?;
        let channel = Self(Rc::new(ChannelInner {
            raw,
            device: device.clone(),
            queues: RefCell::default(),
        }));
        set_nonblocking(channel.fd())?;
        Ok(channel)
    }

    pub(crate) fn event_from_raw(&self, raw: u64) -> Option<CompletionQueueId> {
        let id = CompletionQueueId(raw);
        let queues = self.0.queues.borrow();
        let (_, queue) = queues.iter().find(|(known, _)| *known == id)?;
        queue.upgrade()?.event_handled();
        self.0.device.0.counters.count(|c| c.events += 1);
        Some(id)
    }

    pub(crate) fn next_event(&self) -> Result<Option<CompletionQueueId>, Error> {
        let mut raw = 0_u64;
        let fd = self.fd().as_raw_fd();
        // SAFETY: the call writes at most the eight bytes of `raw`.
        let len = unsafe { libc::read(fd, (&raw mut raw).cast(), size_of::<u64>()) };
        if len == size_of::<u64>().cast_signed() {
            return Ok(self.event_from_raw(raw));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            _ => Err(Error::call("read of a completion channel", error)),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel lives as long as this object.
        let channel = unsafe { self.0.raw.as_ref() };
        // SAFETY: the channel owns the descriptor and keeps it open.
        unsafe { BorrowedFd::borrow_raw(channel.fd) }
    }

    pub(super) fn add(&self, queue: &Rc<QueueInner>) {
        let mut queues = self.0.queues.borrow_mut();
        queues.retain(|(_, queue)| queue.strong_count() > 0);
        queues.push((queue.id(), Rc::downgrade(queue)));
    }
}

impl Drop for ChannelInner {
    fn drop(&mut self) {
        let verbs = self.device.0.context.verbs;
        // SAFETY: each queue that reports here holds this object, so none is left.
        unsafe { (verbs.ibv_destroy_comp_channel)(self.raw.as_ptr()) };
    }
}
