//! What devices there are.

use std::ffi::CStr;
use std::ptr::{self, NonNull};

use rdma_sys::{self as sys, Verbs};

use super::device::{Context, query_device};
use crate::device_info::DeviceInfo;
use crate::error::Error;

/// All RDMA devices and their ports. May be called from any thread, and needs no other object.
///
/// # Errors
/// A missing library, no device, or a device that cannot be opened; each says what to do.
/// All RDMA devices and their ports. May be called from any thread, and needs no other object.
///
/// # Errors
/// A missing library, no device, or a device that cannot be opened; each says what to do.
pub fn devices() -> Result<Vec<DeviceInfo>, Error> {
    let list = DeviceList::new()?;
    if list.is_empty() {
        return Err(no_device());
    }
    list.iter()
        .map(|device| query_device(&list.open(device)?))
        .collect()
}

/// Why the library lists nothing.
pub(super) fn no_device() -> Error {
    let folder = std::fs::read_dir("/sys/class/infiniband");
    let entries = folder.into_iter().flatten().flatten();
    let names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    match names.is_empty() {
        true => Error::NoDevice,
        false => Error::NoUsableDevice {
            present: names.join(", "),
        },
    }
}

/// The library's list of devices, freed with this.
pub(super) struct DeviceList {
    verbs: &'static Verbs,
    list: NonNull<*mut sys::ibv_device>,
    len: usize,
}

impl DeviceList {
    pub(super) fn new() -> Result<Self, Error> {
        let verbs = sys::verbs()?;
        let mut len = 0;
        // SAFETY: the call writes the number of devices, and returns a list that this object frees.
        let list = unsafe { (verbs.ibv_get_device_list)(&raw mut len) };
        let list = NonNull::new(list).ok_or_else(|| match std::io::Error::last_os_error() {
            // The kernel has no verbs at all.
            error if error.raw_os_error() == Some(libc::ENOSYS) => no_device(),
            error => Error::call("ibv_get_device_list", error),
        })?;
        let len = usize::try_from(len).unwrap_or(0);
        Ok(Self { verbs, list, len })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = *mut sys::ibv_device> {
        // SAFETY: the library returned a list of this many pointers, which lives as long as this object.
        unsafe { std::slice::from_raw_parts(self.list.as_ptr(), self.len) }
            .iter()
            .copied()
    }

    /// Opens a device of this list; the context stays valid without the list.
    pub(super) fn open(&self, device: *mut sys::ibv_device) -> Result<Context, Error> {
        // SAFETY: the device is of the list, which is not freed.
        let context = unsafe { (self.verbs.ibv_open_device)(device) };
        let context = NonNull::new(context).ok_or_else(|| Error::last("ibv_open_device"))?;
        Ok(Context::new(self.verbs, context, self.name(device)))
    }

    pub(super) fn name(&self, device: *mut sys::ibv_device) -> String {
        // SAFETY: the device is of the list, which is not freed.
        let name = unsafe { (self.verbs.ibv_get_device_name)(device) };
        device_name(name)
    }
}

impl Drop for DeviceList {
    fn drop(&mut self) {
        // SAFETY: the list came from the library and is freed once; opened contexts hold their own reference.
        unsafe { (self.verbs.ibv_free_device_list)(self.list.as_ptr()) };
    }
}

/// Text of a name that the library owns; empty for NULL.
pub(super) fn device_name(name: *const libc::c_char) -> String {
    if ptr::eq(name, ptr::null()) {
        return String::new();
    }
    // SAFETY: not NULL, so it is a string inside the device's structure that ends in NUL.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_string_lossy().into_owned()
}
