//! An opened device.

use std::os::fd::BorrowedFd;

use crate::counters::VerbsCounters;
use crate::device_info::{DeviceEvent, DeviceInfo, PortState};
use crate::error::Error;
use crate::fabric::Fabric;
use crate::provided::{Provided, on_either};
use crate::{soft, verbs};

/// An opened device; clones are the same device. Everything made from it keeps it open.
#[derive(Clone, Debug)]
pub struct Device(pub(crate) Provided<verbs::Device, soft::Device>);

impl Device {
    /// Opens the device of this name.
    ///
    /// # Errors
    /// A missing library, no device of this name, or one that cannot be opened.
    pub fn open(fabric: &Fabric, name: &str) -> Result<Self, Error> {
        Ok(Self(match &fabric.0 {
            Provided::Verbs(()) => Provided::Verbs(verbs::Device::open(name)?),
            Provided::Soft(fabric) => Provided::Soft(fabric.device(name)?),
        }))
    }

    /// What the device and its ports were when it was opened.
    pub fn info(&self) -> &DeviceInfo {
        on_either!(&self.0, device => device.info())
    }

    /// What the port is now. [`DeviceEvent::PortError`] tells of a lost link late: it goes through queues of the
    /// kernel, and operations fail meanwhile. This may wait for whoever configures the network, so it is not for the
    /// data path. Ports of the soft fabric are always active, for a socket takes datagrams with or without a link.
    ///
    /// # Errors
    /// There is no such port, or the device is gone.
    pub fn port_state(&self, port: u8) -> Result<PortState, Error> {
        match &self.0 {
            Provided::Verbs(device) => device.port_state(port),
            Provided::Soft(_) => Ok(PortState::Active),
        }
    }

    /// What the objects of this device have cost.
    pub fn counters(&self) -> VerbsCounters {
        on_either!(&self.0, device => device.counters())
    }

    /// Readable, without blocking, when [`Device::next_event`] has something. The soft fabric has none: ask
    /// after each [`Fabric::receive`].
    pub fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Provided::Verbs(device) => Some(device.event_fd()),
            Provided::Soft(_) => None,
        }
    }

    /// The next event of the device, its ports or objects; `None` when there is none now.
    ///
    /// # Errors
    /// The descriptor cannot be read: the device is gone.
    pub fn next_event(&self) -> Result<Option<DeviceEvent>, Error> {
        on_either!(&self.0, device => device.next_event())
    }
}
