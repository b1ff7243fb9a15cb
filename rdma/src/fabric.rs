//! The fabric: which provider everything is made from, and what its driver must do for it.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use crate::device_info::DeviceInfo;
use crate::error::Error;
use crate::provided::Provided;
use crate::readable::wait_readable;
use crate::soft::{self, SoftConfig};
use crate::verbs;

/// Where event channels and devices come from. Clones are the same fabric.
///
/// Hardware works by itself. The soft fabric works in the thread of its owner, between two calls of
/// [`Fabric::receive`] and [`Fabric::transmit`]; so a driver calls the first when a socket is readable or the
/// deadline has come, takes completions and events, and calls the second at the end of its turn.
#[derive(Clone, Debug)]
pub struct Fabric(pub(crate) Provided<(), soft::SoftFabric>);

impl Fabric {
    /// RDMA hardware and the kernel's soft devices. Nothing is opened yet.
    pub fn verbs() -> Self {
        Self(Provided::Verbs(()))
    }

    /// RoCEv2 in this process, over UDP. No socket is opened before something listens or connects.
    pub fn soft(config: SoftConfig) -> Self {
        Self(Provided::Soft(soft::SoftFabric::new(config)))
    }

    /// Its devices and their ports.
    ///
    /// # Errors
    /// As [`crate::devices`]; on the soft fabric, that the network interfaces cannot be listed.
    pub fn devices(&self) -> Result<Vec<DeviceInfo>, Error> {
        match &self.0 {
            Provided::Verbs(()) => verbs::devices(),
            Provided::Soft(soft) => soft.devices(),
        }
    }

    /// True when this is the soft fabric, which does nothing unless it is driven.
    pub fn is_driven(&self) -> bool {
        matches!(self.0, Provided::Soft(_))
    }

    /// Whether a peer may invalidate the key of an [`crate::ExposedRegion`] by a SEND with invalidate. The keys of memory
    /// regions that the kernel makes for a process are not of the kind that can be.
    pub fn has_remote_invalidate(&self) -> bool {
        self.is_driven()
    }

    /// Takes in what has arrived, a bounded amount, and lets timers run out. Returns true when more may be
    /// waiting.
    pub fn receive(&self) -> bool {
        match &self.0 {
            Provided::Verbs(()) => false,
            Provided::Soft(soft) => soft.receive(),
        }
    }

    /// Sends what there is to send, a bounded amount. Returns true when more is waiting that can go at once.
    pub fn transmit(&self) -> bool {
        match &self.0 {
            Provided::Verbs(()) => false,
            Provided::Soft(soft) => soft.transmit(),
        }
    }

    /// How long the driver may sleep if nothing arrives; `None` for ever.
    pub fn patience(&self) -> Option<Duration> {
        match &self.0 {
            Provided::Verbs(()) => None,
            Provided::Soft(soft) => soft.patience(),
        }
    }

    /// Calls `visit` with number and descriptor of each socket that was opened since the last call. It stays open
    /// as long as the fabric; tell [`Fabric::handle_readable`] whenever it becomes readable.
    pub fn new_sockets(&self, visit: impl FnMut(usize, BorrowedFd<'_>)) {
        if let Provided::Soft(soft) = &self.0 {
            soft.new_sockets(visit);
        }
    }

    /// The socket of this number has something: the next [`Fabric::receive`] reads it, and goes on to read it until
    /// it is empty.
    pub fn handle_readable(&self, socket: usize) {
        if let Provided::Soft(soft) = &self.0 {
            soft.handle_readable(socket);
        }
    }

    /// Waits until one of the descriptors of this fabric's objects has something, but not longer than `most`. The
    /// soft fabric, whose objects have none, sends, sleeps until something arrives or a timer runs out, and
    /// receives. A signal ends the wait early.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, fds: &[Option<BorrowedFd<'_>>], most: Duration) -> Result<(), Error> {
        match &self.0 {
            Provided::Verbs(()) => {
                let fds = fds.iter().flatten().map(AsRawFd::as_raw_fd);
                wait_readable(fds, most).map(drop)
            }
            Provided::Soft(soft) => soft.wait(most),
        }
    }

    /// What the soft fabric has cost, and what went wrong on its way; zeros for the other.
    pub fn counters(&self) -> FabricCounters {
        match &self.0 {
            Provided::Verbs(()) => FabricCounters::default(),
            Provided::Soft(soft) => soft.counters(),
        }
    }
}

/// Counts since the soft fabric was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FabricCounters {
    /// System calls that receive.
    pub receive_calls: u64,
    /// System calls that send.
    pub send_calls: u64,
    /// RoCEv2 packets that came.
    pub received_packets: u64,
    /// RoCEv2 packets that were sent, those lost on the way included.
    pub sent_packets: u64,
    /// Packets that the kernel had no room for, or no way; the peer's patience brings them back.
    pub unsent_packets: u64,
    /// Datagrams refused before any queue pair saw them: damaged, forged, or for nobody.
    pub refused_packets: u64,
    /// Times that a queue pair began again at its oldest packet.
    pub retries: u64,
}
