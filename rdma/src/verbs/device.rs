//! An opened device.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::rc::Rc;

use rdma_sys::{self as sys, Verbs};

use super::async_event;
use super::listing::{DeviceList, no_device};
use crate::address::Gid;
use crate::counters::{Counters, VerbsCounters};
use crate::device_info::{
    DeviceEvent, DeviceInfo, DeviceLimits, GidEntry, LinkLayer, PortInfo, PortState,
};
use crate::error::{Error, check};

/// An opened device; clones are the same device. Everything made from it keeps it open.
#[derive(Clone, Debug)]
pub(crate) struct Device(pub(super) Rc<DeviceInner>);

#[derive(Debug)]
pub(super) struct DeviceInner {
    pub(super) context: Context,
    pub(super) counters: Counters,
    info: DeviceInfo,
}

impl Device {
    pub(crate) fn open(name: &str) -> Result<Self, Error> {
        let list = DeviceList::new()?;
        let found = list.iter().find(|&device| list.name(device) == name);
        let device = found.ok_or_else(|| no_such_device(&list, name))?;
        let context = list.open(device)?;
        set_nonblocking(context.async_fd())?;
        let info = query_device(&context)?;
        Ok(Self(Rc::new(DeviceInner {
            context,
            counters: Counters::default(),
            info,
        })))
    }

    pub(crate) fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    pub(crate) fn port_state(&self, port: u8) -> Result<PortState, Error> {
        let attributes = port_attributes(&self.0.context, port)?;
        Ok(port_state(attributes.state))
    }

    pub(crate) fn counters(&self) -> VerbsCounters {
        self.0.counters.read()
    }

    pub(crate) fn event_fd(&self) -> BorrowedFd<'_> {
        self.0.context.async_fd()
    }

    pub(crate) fn next_event(&self) -> Result<Option<DeviceEvent>, Error> {
        async_event::next(&self.0.context)
    }

    /// Longest message of any port in bytes.
    pub(super) fn max_message_bytes(&self) -> u32 {
        let ports = self.0.info.ports.iter();
        ports.map(|port| port.max_message_bytes).min().unwrap_or(0)
    }
}

/// A device context; closed when dropped.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) verbs: &'static Verbs,
    pub(super) raw: NonNull<sys::ibv_context>,
    name: String,
}

impl Context {
    pub(super) fn new(verbs: &'static Verbs, raw: NonNull<sys::ibv_context>, name: String) -> Self {
        Self { verbs, raw, name }
    }

    fn async_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the context is open until this object is dropped.
        let context = unsafe { self.raw.as_ref() };
        // SAFETY: the context owns the descriptor and keeps it open as long.
        unsafe { BorrowedFd::borrow_raw(context.async_fd) }
    }

    fn node_guid(&self) -> u64 {
        // SAFETY: the context is open until this object is dropped.
        let device = unsafe { self.raw.as_ref() }.device;
        // SAFETY: an open context holds its device.
        u64::from_be(unsafe { (self.verbs.ibv_get_device_guid)(device) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: whoever made something from the context held this object, so nothing of it is left.
        unsafe { (self.verbs.ibv_close_device)(self.raw.as_ptr()) };
    }
}

fn no_such_device(list: &DeviceList, name: &str) -> Error {
    let names: Vec<_> = list.iter().map(|device| list.name(device)).collect();
    if names.is_empty() {
        return no_device();
    }
    Error::NoSuchDevice {
        name: name.to_owned(),
        present: names.join(", "),
    }
}

/// Makes reads of a descriptor of the library return at once.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), Error> {
    // SAFETY: the descriptor is open; reading its flags changes nothing.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    // SAFETY: the descriptor is open; the library reads it through us only.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) };
    check("fcntl", result.min(0))
}

/// Asks the device and all of its ports.
pub(super) fn query_device(context: &Context) -> Result<DeviceInfo, Error> {
    let mut attributes = sys::ibv_device_attr::default();
    // SAFETY: the context is open, and the call fills the structure.
    let result =
        unsafe { (context.verbs.ibv_query_device)(context.raw.as_ptr(), &raw mut attributes) };
    check("ibv_query_device", result)?;
    let ports = 1..=attributes.phys_port_cnt;
    Ok(DeviceInfo {
        name: context.name.clone(),
        node_guid: context.node_guid(),
        limits: limits(&attributes),
        ports: ports
            .map(|port| query_port(context, port))
            .collect::<Result<_, _>>()?,
    })
}

fn limits(attributes: &sys::ibv_device_attr) -> DeviceLimits {
    let count = |value: i32| u32::try_from(value).unwrap_or(0);
    let depth = |value: i32| u8::try_from(value).unwrap_or(u8::MAX);
    DeviceLimits {
        queue_pairs: count(attributes.max_qp),
        work_requests: count(attributes.max_qp_wr),
        completions: count(attributes.max_cqe),
        shared_receives: count(attributes.max_srq_wr),
        responder_resources: depth(attributes.max_qp_rd_atom),
        initiator_depth: depth(attributes.max_qp_init_rd_atom),
        region_bytes: attributes.max_mr_size,
        send_with_invalidate: attributes.device_cap_flags & MEM_MGT_EXTENSIONS != 0,
    }
}

/// `IBV_DEVICE_MEM_MGT_EXTENSIONS`: the base memory management extensions, SEND with invalidate among them
/// (IBA 10.2.3).
const MEM_MGT_EXTENSIONS: u32 = 1 << 21;

fn port_attributes(context: &Context, port: u8) -> Result<sys::ibv_port_attr, Error> {
    let mut attributes = sys::ibv_port_attr::default();
    // SAFETY: the context is open. The symbol fills the structure's first fields, those that it had before
    // it grew; the others stay zero and are not used here.
    let result = unsafe {
        (context.verbs.ibv_query_port)(context.raw.as_ptr(), port, (&raw mut attributes).cast())
    };
    check("ibv_query_port", result)?;
    Ok(attributes)
}

fn query_port(context: &Context, port: u8) -> Result<PortInfo, Error> {
    let attributes = port_attributes(context, port)?;
    let gids = query_gids(context, port, attributes.gid_tbl_len);
    Ok(PortInfo {
        number: port,
        port_guid: gids.first().map_or(0, |entry| entry.gid.interface_id()),
        link_layer: link_layer(attributes.link_layer),
        state: port_state(attributes.state),
        lid: attributes.lid,
        active_mtu_bytes: mtu_bytes(attributes.active_mtu),
        max_message_bytes: attributes.max_msg_sz,
        gids,
        pkeys: query_pkeys(context, port, attributes.pkey_tbl_len),
    })
}

fn query_gids(context: &Context, port: u8, len: i32) -> Vec<GidEntry> {
    let entry = |index: i32| {
        let gid = query_gid(context, port, index).filter(|gid| !gid.is_unset())?;
        let index = u32::try_from(index).ok()?;
        Some(GidEntry { index, gid })
    };
    (0..len).filter_map(entry).collect()
}

fn query_gid(context: &Context, port: u8, index: i32) -> Option<Gid> {
    let mut gid = sys::ibv_gid::default();
    // SAFETY: the context is open, and the call fills the GID.
    let result =
        unsafe { (context.verbs.ibv_query_gid)(context.raw.as_ptr(), port, index, &raw mut gid) };
    // SAFETY: all views of this union are plain bytes.
    let raw = unsafe { gid.raw };
    (result == 0).then_some(Gid(raw))
}

fn query_pkeys(context: &Context, port: u8, len: u16) -> Vec<u16> {
    let pkey = |index: i32| {
        let mut pkey = 0;
        // SAFETY: the context is open, and the call fills the key.
        let result = unsafe {
            (context.verbs.ibv_query_pkey)(context.raw.as_ptr(), port, index, &raw mut pkey)
        };
        (result == 0 && pkey != 0).then_some(u16::from_be(pkey))
    };
    (0..i32::from(len)).filter_map(pkey).collect()
}

pub(super) fn link_layer(number: u8) -> LinkLayer {
    match u32::from(number) {
        sys::IBV_LINK_LAYER_INFINIBAND => LinkLayer::InfiniBand,
        sys::IBV_LINK_LAYER_ETHERNET => LinkLayer::Ethernet,
        _ => LinkLayer::Unspecified,
    }
}

fn port_state(number: u32) -> PortState {
    match number {
        sys::IBV_PORT_DOWN => PortState::Down,
        sys::IBV_PORT_INIT => PortState::Initialize,
        sys::IBV_PORT_ARMED => PortState::Armed,
        sys::IBV_PORT_ACTIVE => PortState::Active,
        sys::IBV_PORT_ACTIVE_DEFER => PortState::ActiveDeferred,
        other => PortState::Other(other),
    }
}

/// The codes 1 to 5 are 256 to 4096 bytes.
fn mtu_bytes(code: u32) -> u32 {
    match code {
        sys::IBV_MTU_256..=sys::IBV_MTU_4096 => 128 << code,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mtu_codes_become_bytes() {
        assert_eq!(mtu_bytes(sys::IBV_MTU_256), 256);
        assert_eq!(mtu_bytes(sys::IBV_MTU_4096), 4096);
        assert_eq!(mtu_bytes(0), 0);
        assert_eq!(mtu_bytes(99), 0);
    }
}
