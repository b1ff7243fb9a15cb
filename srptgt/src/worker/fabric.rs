//! RDMA as the worker sees it: the connection manager, the listeners, and an adapter for each device in use.

use std::net::{IpAddr, SocketAddr};

use rdma::{ConnectionId, DeviceInfo, EventChannel, ListenAddress, Listener};

use crate::identity::Id128;
use crate::portal::{Endpoint, Listen, Portal};
use crate::worker_link::WorkerError;

use super::adapter::Adapter;

/// Requests to connect that may wait to be answered: a storm of logins is absorbed, a flood is not kept.
const BACKLOG: u32 = 512;

/// Low half of the service id of native listeners: any fixed value does, it is told to initiators.
const NATIVE_SERVICE: u16 = 0x5372;

/// The default partition (IBA 10.9.1.2).
const DEFAULT_PKEY: u16 = 0xffff;

/// Everything that listens, and everything that is shared by the connections of a device.
#[derive(Default)]
pub(super) struct Fabric {
    listeners: Vec<(Portal, Listener)>,
    /// Made with the first portal: without one no RDMA library is needed.
    cm: Option<EventChannel>,
    /// Of every device that a peer came in by; they stay, so that an adapter's number never changes.
    pub(super) adapters: Vec<Adapter>,
}

impl Fabric {
    /// The connection manager; made when it is first asked for.
    ///
    /// # Errors
    /// What the machine lacks.
    pub(super) fn cm(&mut self) -> Result<&EventChannel, rdma::Error> {
        if self.cm.is_none() {
            self.cm = Some(EventChannel::new()?);
        }
        self.cm.as_ref().ok_or(rdma::Error::NoDevice)
    }

    /// The connection manager, when there is one.
    pub(super) fn open_cm(&self) -> Option<&EventChannel> {
        self.cm.as_ref()
    }

    /// Listens on a portal; one that listens already stays as it is.
    ///
    /// # Errors
    /// Why it cannot, and what to do.
    pub(super) fn listen(&mut self, portal: &Portal) -> Result<Vec<Endpoint>, WorkerError> {
        if self.listeners.iter().any(|(known, _)| known == portal) {
            return endpoints(portal);
        }
        let address = match &portal.listen {
            Listen::Ip(address) => ListenAddress::Ip(*address),
            Listen::InfiniBand(port) => ListenAddress::InfiniBand {
                device: port.device.clone(),
                port: port.port,
                service: NATIVE_SERVICE,
                pkey: DEFAULT_PKEY,
            },
        };
        let cm = self.cm().map_err(cannot_listen(portal))?;
        let listener = Listener::bind(cm, &address, BACKLOG).map_err(cannot_listen(portal))?;
        self.listeners.push((portal.clone(), listener));
        endpoints(portal)
    }

    /// Listens on a portal no more. Connections that came by it stay.
    pub(super) fn stop_listening(&mut self, portal: &Portal) {
        self.listeners.retain(|(known, _)| known != portal);
    }

    /// Listens nowhere any more.
    pub(super) fn stop_all(&mut self) {
        self.listeners.clear();
    }

    /// The portal of a listener.
    pub(super) fn portal_of(&self, listener: ConnectionId) -> Option<&Portal> {
        self.listeners
            .iter()
            .find(|(_, l)| l.id() == listener)
            .map(|(portal, _)| portal)
    }

    /// The adapter of a device, when it is in use.
    pub(super) fn adapter_of(&self, device: &str) -> Option<usize> {
        self.adapters
            .iter()
            .position(|adapter| adapter.name() == device)
    }
}

fn cannot_listen(portal: &Portal) -> impl Fn(rdma::Error) -> WorkerError + use<> {
    let portal = portal.to_string();
    move |error| WorkerError {
        text: format!("cannot listen on {portal}: {error}"),
        fix: "srptgt doctor lists the RDMA devices and their addresses".to_owned(),
    }
}

/// What an initiator dials: the address itself, or every address of every device for the unspecified one.
fn endpoints(portal: &Portal) -> Result<Vec<Endpoint>, WorkerError> {
    let devices = || rdma::devices().map_err(cannot_listen(portal));
    Ok(match &portal.listen {
        Listen::Ip(address) if address.ip().is_unspecified() => addresses(&devices()?, *address)
            .into_iter()
            .map(Endpoint::Ip)
            .collect(),
        Listen::Ip(address) => vec![Endpoint::Ip(*address)],
        Listen::InfiniBand(at) => devices()?
            .iter()
            .filter(|device| device.name == at.device)
            .flat_map(|device| device.ports.iter().filter(|port| port.number == at.port))
            .filter_map(|port| port.gids.first())
            .map(|entry| Endpoint::InfiniBand {
                gid: Id128(entry.gid.0),
                pkey: DEFAULT_PKEY,
                service_id: 0x0000_0000_013f_0000 | u64::from(NATIVE_SERVICE),
            })
            .collect(),
    })
}

/// The IP addresses that RoCE ports have, as their GID tables show them.
fn addresses(devices: &[DeviceInfo], unspecified: SocketAddr) -> Vec<SocketAddr> {
    let gids = devices
        .iter()
        .flat_map(|device| &device.ports)
        .flat_map(|port| &port.gids);
    let mut found: Vec<_> = gids
        .filter_map(|entry| {
            let ip = std::net::Ipv6Addr::from(entry.gid.0);
            match ip.to_ipv4_mapped() {
                Some(v4) => Some(IpAddr::V4(v4)),
                None if ip.is_unicast_link_local() => None,
                None => Some(IpAddr::V6(ip)),
            }
        })
        .filter(|ip| ip.is_ipv4() || unspecified.is_ipv6())
        .map(|ip| SocketAddr::new(ip, unspecified.port()))
        .collect();
    found.sort();
    found.dedup();
    found
}
