//! An identifier of the connection manager, and the connection that it stands for.

use std::ptr::{self, NonNull};

use rdma_sys as sys;

use super::cm::EventChannel;
use super::cm_address::path_addresses;
use super::listing::device_name;
use crate::address::PathAddress;
use crate::cm_event::ConnectionId;
use crate::error::{Error, check};

/// A connection, or an attempt at one. It is independent of its queue pair, which may be dropped before or
/// after it.
///
/// Dropping it ends the connection without private data.
#[derive(Debug)]
pub(crate) struct Connection(pub(super) CmId);

impl Connection {
    pub(crate) fn id(&self) -> ConnectionId {
        self.0.id
    }

    pub(crate) fn device_name(&self) -> Option<String> {
        // SAFETY: the identifier lives; the library sets its context when it is bound to a device.
        let context = unsafe { self.0.raw.as_ref() }.verbs;
        let context = NonNull::new(context)?;
        // SAFETY: the library keeps the contexts of its devices open while an identifier uses them.
        let device = unsafe { context.as_ref() }.device;
        // SAFETY: an open context holds its device, whose name is an array inside it.
        let name = unsafe { &raw const (*device).name };
        Some(device_name(name.cast()))
    }

    pub(crate) fn port(&self) -> u8 {
        self.0.raw().port_num
    }

    pub(crate) fn pkey(&self) -> Option<u16> {
        let route = &self.0.raw().route;
        let path = NonNull::new(route.path_rec).filter(|_| route.num_paths > 0)?;
        // SAFETY: the library keeps the records of the paths that it counts as long as the identifier.
        Some(u16::from_be(unsafe { path.as_ref() }.pkey))
    }

    pub(crate) fn local(&self) -> PathAddress {
        path_addresses(self.0.raw()).0
    }

    pub(crate) fn peer(&self) -> PathAddress {
        path_addresses(self.0.raw()).1
    }

    pub(crate) fn disconnect(&self) -> Result<(), Error> {
        // SAFETY: the identifier lives.
        let result = unsafe { (self.0.channel.cm().rdma_disconnect)(self.0.raw.as_ptr()) };
        check("rdma_disconnect", result)
    }
}

/// The library's identifier. Destroyed when dropped, which is safe because all events are acknowledged when
/// they are read.
#[derive(Debug)]
pub(super) struct CmId {
    pub(super) raw: NonNull<sys::rdma_cm_id>,
    pub(super) channel: EventChannel,
    pub(super) id: ConnectionId,
}

impl CmId {
    pub(super) fn new(
        channel: &EventChannel,
        port_space: sys::rdma_port_space,
    ) -> Result<Self, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: the channel lives, and the identifier keeps it.
        let result = unsafe {
            (channel.cm().rdma_create_id)(channel.raw(), &raw mut raw, ptr::null_mut(), port_space)
        };
        check("rdma_create_id", result)?;
        let raw = NonNull::new(raw).ok_or_else(|| Error::last("rdma_create_id"))?;
        Ok(Self::adopt(channel, raw))
    }

    /// Takes over an identifier that the library has made, and marks it with a new name.
    pub(super) fn adopt(channel: &EventChannel, mut raw: NonNull<sys::rdma_cm_id>) -> Self {
        let id = ConnectionId::next();
        // SAFETY: nobody else uses the identifier; the library leaves this field to the program.
        unsafe { raw.as_mut() }.context = ptr::without_provenance_mut(id.0 as usize);
        Self {
            raw,
            channel: channel.clone(),
            id,
        }
    }

    /// The library's structure. It changes only in calls that this thread makes.
    pub(super) fn raw(&self) -> &sys::rdma_cm_id {
        // SAFETY: the identifier lives until this object is dropped.
        unsafe { self.raw.as_ref() }
    }

    /// What the connection manager wants a queue pair to be set to for `state`, and which attributes that are.
    pub(super) fn queue_pair_attributes(
        &self,
        state: sys::ibv_qp_state,
    ) -> Result<(sys::ibv_qp_attr, i32), Error> {
        let mut attributes = sys::ibv_qp_attr {
            qp_state: state,
            ..sys::ibv_qp_attr::default()
        };
        let mut mask = 0;
        // SAFETY: the identifier lives, and the call fills both.
        let result = unsafe {
            (self.channel.cm().rdma_init_qp_attr)(
                self.raw.as_ptr(),
                &raw mut attributes,
                &raw mut mask,
            )
        };
        check("rdma_init_qp_attr", result)?;
        Ok((attributes, mask))
    }
}

/// The name that [`CmId::adopt`] gave.
pub(super) fn connection_id(id: NonNull<sys::rdma_cm_id>) -> ConnectionId {
    // SAFETY: an event names identifiers that live.
    ConnectionId(unsafe { id.as_ref() }.context.addr() as u64)
}

impl Drop for CmId {
    fn drop(&mut self) {
        // SAFETY: the identifier lives, has no queue pair, and none of its events is unacknowledged.
        unsafe { (self.channel.cm().rdma_destroy_id)(self.raw.as_ptr()) };
    }
}
