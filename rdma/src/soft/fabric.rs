//! The fabric: interfaces, sockets, and the turn that moves packets.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use roce::Datagram;

use super::device::Device;
use super::dispatch::Routes;
use super::inbox::{self, Inbox};
use super::interface::{Interface, interfaces};
use super::outbox::Outbox;
use super::socket::Socket;
use super::{SoftConfig, soft_devices};
use crate::device_info::DeviceInfo;
use crate::error::Error;
use crate::fabric::FabricCounters;
use crate::readable::wait_readable;

/// Packets of one device in one turn: what comes in then has its turn too.
const MAX_PACKETS: usize = 512;

/// Pause after the kernel had no room for packets.
const CONGESTION: Duration = Duration::from_millis(1);

/// Clones are the same fabric.
#[derive(Clone, Debug)]
pub(crate) struct SoftFabric(pub(super) Rc<FabricInner>);

pub(super) struct FabricInner {
    pub(super) config: SoftConfig,
    pub(super) routes: RefCell<Routes>,
    start: Instant,
    /// By place, which never changes.
    devices: RefCell<Vec<Device>>,
    sockets: RefCell<Vec<Socket>>,
    /// Sockets that the driver knows of.
    announced: Cell<usize>,
    /// Made with the first socket.
    inbox: RefCell<Option<Inbox>>,
    outbox: RefCell<Outbox>,
    congested_until: Cell<Option<Instant>>,
    counters: Cell<FabricCounters>,
    /// State of the impairment's dice.
    dice: Cell<u64>,
}

impl SoftFabric {
    pub(crate) fn new(config: SoftConfig) -> Self {
        let dice = config.impairment.map_or(0, |impairment| impairment.seed);
        Self(Rc::new(FabricInner {
            config,
            routes: RefCell::default(),
            start: Instant::now(),
            devices: RefCell::default(),
            sockets: RefCell::default(),
            announced: Cell::new(0),
            inbox: RefCell::default(),
            outbox: RefCell::default(),
            congested_until: Cell::new(None),
            counters: Cell::default(),
            dice: Cell::new(dice),
        }))
    }

    pub(crate) fn devices(&self) -> Result<Vec<DeviceInfo>, Error> {
        soft_devices(&self.0.config)
    }

    /// The device of this name; the same one each time.
    pub(crate) fn device(&self, name: &str) -> Result<Device, Error> {
        if let Some(known) = self
            .0
            .devices
            .borrow()
            .iter()
            .find(|known| known.info().name == name)
        {
            return Ok(known.clone());
        }
        let interfaces = interfaces()?;
        match interfaces
            .iter()
            .find(|interface| interface.device_name() == name)
        {
            Some(interface) => Ok(self.open(interface)?.1),
            None => {
                let names: Vec<_> = interfaces.iter().map(Interface::device_name).collect();
                Err(Error::NoSuchDevice {
                    name: name.to_owned(),
                    present: names.join(", "),
                })
            }
        }
    }

    /// The device on this interface, and its place.
    fn open(&self, interface: &Interface) -> Result<(usize, Device), Error> {
        let mut devices = self.0.devices.borrow_mut();
        let name = interface.device_name();
        let known = devices.iter().position(|known| known.info().name == name);
        if let Some(found) = known.and_then(|place| Some((place, devices.get(place)?.clone()))) {
            return Ok(found);
        }
        let device = Device::new(interface, &self.0.config, self.0.start)?;
        devices.push(device.clone());
        Ok((devices.len() - 1, device))
    }

    pub(super) fn device_at(&self, place: usize) -> Option<Device> {
        self.0.devices.borrow().get(place).cloned()
    }

    /// The addresses that stand for a wildcard of this family.
    pub(super) fn addresses(&self, wildcard: IpAddr) -> Result<Vec<IpAddr>, Error> {
        let mut addresses = self.0.config.addresses.clone();
        if addresses.is_empty() {
            let up = interfaces()?
                .into_iter()
                .filter(|interface| interface.is_up);
            addresses = up.flat_map(|interface| interface.addresses).collect();
        }
        addresses.retain(|address| address.is_ipv4() || wildcard.is_ipv6());
        Ok(addresses)
    }

    /// Makes sure that packets for the address arrive. Returns the place of its device.
    pub(super) fn use_address(&self, address: IpAddr) -> Result<usize, Error> {
        let known = |socket: &Socket| (socket.local.ip() == address).then_some(socket.device);
        if let Some(device) = self.0.sockets.borrow().iter().find_map(known) {
            return Ok(device);
        }
        let interfaces = interfaces()?;
        let interface = interfaces
            .iter()
            .find(|interface| interface.is_up && interface.has(address));
        let interface = interface.ok_or(Error::NoSuchAddress { address })?;
        let (place, _) = self.open(interface)?;
        let socket = Socket::open(address, place)?;
        self.0.sockets.borrow_mut().push(socket);
        self.0.inbox.borrow_mut().get_or_insert_with(Inbox::new);
        Ok(place)
    }

    pub(crate) fn new_sockets(&self, mut visit: impl FnMut(usize, BorrowedFd<'_>)) {
        let sockets = self.0.sockets.borrow();
        for (number, socket) in sockets.iter().enumerate().skip(self.0.announced.get()) {
            visit(number, socket.fd());
        }
        self.0.announced.set(sockets.len());
    }

    pub(crate) fn handle_readable(&self, number: usize) {
        if let Some(socket) = self.0.sockets.borrow().get(number) {
            socket.is_readable.set(true);
        }
    }

    pub(crate) fn receive(&self) -> bool {
        let mut more = false;
        let mut inbox = self.0.inbox.borrow_mut();
        for socket in self
            .0
            .sockets
            .borrow()
            .iter()
            .filter(|socket| socket.is_readable.get())
        {
            let (Some(inbox), Some(device)) = (inbox.as_mut(), self.device_at(socket.device))
            else {
                continue;
            };
            let got = inbox.receive(socket);
            self.count(|counters| counters.receive_calls += 1);
            // A call that comes back with less has found the end.
            socket.is_readable.set(got == inbox::BATCH);
            more |= got == inbox::BATCH;
            hand_over(inbox, got, socket, &device);
        }
        for device in self.0.devices.borrow().iter() {
            let now_us = device.now_us();
            let node = &mut device.core().node;
            if node.poll_timeout().is_some_and(|due| due <= now_us) {
                node.handle_timeout(now_us);
            }
        }
        self.0.devices.borrow().iter().for_each(Device::settle);
        self.dispatch();
        more
    }

    pub(crate) fn transmit(&self) -> bool {
        if self.pause().is_some() {
            return false;
        }
        self.0.congested_until.set(None);
        let devices = self.0.devices.borrow();
        let mut more = false;
        for (place, device) in devices.iter().enumerate() {
            if device.core().node.wants_transmit() {
                more |= self.transmit_of(place, device);
            }
        }
        more
    }

    /// Sends packets of one device. Returns true when it may have more.
    fn transmit_of(&self, place: usize, device: &Device) -> bool {
        let sockets = self.0.sockets.borrow();
        let mut outbox = self.0.outbox.borrow_mut();
        let now_us = device.now_us();
        let core = &mut *device.core();
        let mut current: Option<&Socket> = None;
        for _ in 0..MAX_PACKETS {
            let Some(packet) = core.node.poll_transmit(&core.memory, now_us) else {
                self.flush(&mut outbox, current);
                return false;
            };
            let local = packet.path.local.ip();
            let is_its = |socket: &Socket| socket.device == place && socket.local.ip() == local;
            if !current.is_some_and(is_its) || outbox.is_full() {
                self.flush(&mut outbox, current);
                if self.pause().is_some() {
                    return false;
                }
                current = sockets.iter().find(|socket| is_its(socket));
            }
            if let Some(socket) = current.filter(|_| !self.is_lost()) {
                outbox.push(&packet, &core.memory, socket.segments.get());
            }
        }
        self.flush(&mut outbox, current);
        true
    }

    fn flush(&self, outbox: &mut Outbox, socket: Option<&Socket>) {
        let Some(socket) = socket else {
            return;
        };
        let flushed = outbox.flush(socket);
        self.count(|counters| {
            counters.send_calls += flushed.calls;
            counters.unsent_packets += flushed.unsent;
        });
        if flushed.is_congested {
            self.0
                .congested_until
                .set(Some(Instant::now() + CONGESTION));
        }
    }

    /// What is left of the pause after a congestion.
    fn pause(&self) -> Option<Duration> {
        let until = self.0.congested_until.get()?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    pub(crate) fn patience(&self) -> Option<Duration> {
        let due = |device: &Device| {
            let due = device.core().node.poll_timeout()?;
            Some(Duration::from_micros(due.saturating_sub(device.now_us())))
        };
        let devices = self.0.devices.borrow();
        let pause = self
            .0
            .congested_until
            .get()
            .map(|_| self.pause().unwrap_or_default());
        devices.iter().filter_map(due).chain(pause).min()
    }

    pub(crate) fn wait(&self, most: Duration) -> Result<(), Error> {
        let more = self.transmit();
        let most = self.patience().map_or(most, |patience| patience.min(most));
        self.sleep(if more { Duration::ZERO } else { most })?;
        self.receive();
        Ok(())
    }

    fn sleep(&self, most: Duration) -> Result<(), Error> {
        let sockets = self.0.sockets.borrow();
        let fds = sockets.iter().map(|socket| socket.fd().as_raw_fd());
        let readable = wait_readable(fds, most)?;
        for (socket, _) in sockets.iter().zip(readable).filter(|(_, has)| *has) {
            socket.is_readable.set(true);
        }
        Ok(())
    }

    pub(crate) fn counters(&self) -> FabricCounters {
        let mut counters = self.0.counters.get();
        for device in self.0.devices.borrow().iter() {
            let core = device.core();
            let node = core.node.statistics();
            counters.received_packets += node.received_packets;
            counters.sent_packets += node.sent_packets;
            counters.retries += node.retries;
            counters.refused_packets +=
                node.malformed + node.bad_icrc + node.unknown_queue_pair + node.foreign;
        }
        counters
    }

    fn count(&self, change: impl FnOnce(&mut FabricCounters)) {
        let mut counters = self.0.counters.get();
        change(&mut counters);
        self.0.counters.set(counters);
    }

    /// Throws the dice for one packet.
    fn is_lost(&self) -> bool {
        let Some(impairment) = self.0.config.impairment else {
            return false;
        };
        // Numerical Recipes' generator; the high bits are the good ones.
        let next = self
            .0
            .dice
            .get()
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0.dice.set(next);
        (next >> 33) % 1000 < u64::from(impairment.loss_per_mille)
    }
}

/// Gives the received datagrams to the node.
fn hand_over(inbox: &Inbox, count: usize, socket: &Socket, device: &Device) {
    let now_us = device.now_us();
    let core = &mut *device.core();
    for index in 0..count {
        let Some((source, packets)) = inbox.packets(index) else {
            continue;
        };
        for payload in packets {
            let datagram = Datagram {
                source,
                destination: socket.local,
                ipv4_identification: None,
                payload,
            };
            core.node
                .handle_datagram(&datagram, &mut core.memory, now_us);
        }
    }
}

impl fmt::Debug for FabricInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SoftFabric")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
