//! RDMA as the worker sees it: the connection manager, the listeners, and an adapter for each device in use.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use backstore::Engine;
use rdma::{
    CmEvent, ConnectionId, EventChannel, FabricCounters, ListenAddress, Listener, SoftConfig,
};

use crate::portal::{Endpoint, FabricKind, Listen, Portal};
use crate::worker_link::WorkerError;

use super::adapter::{Adapter, AdapterKind};
use super::endpoints::{self, DEFAULT_PKEY, NATIVE_SERVICE};
use super::wakes;

/// Requests to connect that may wait to be answered: a storm of logins is absorbed, a flood is not kept.
const BACKLOG: u32 = 512;

/// A provider in use, and its connection manager.
struct Provider {
    fabric: rdma::Fabric,
    cm: EventChannel,
}

impl Provider {
    fn open(fabric: rdma::Fabric) -> Result<Self, rdma::Error> {
        let cm = EventChannel::new(&fabric)?;
        Ok(Self { fabric, cm })
    }
}

/// Everything that listens, and everything that is shared by the connections of a device.
pub(super) struct Fabric {
    /// What portals listen on that do not choose.
    default: FabricKind,
    /// How the soft fabric is set up when it is first asked for.
    soft_config: SoftConfig,
    listeners: Vec<(Portal, Listener)>,
    /// Made with the first portal: without one no RDMA library is needed.
    verbs: Option<Provider>,
    /// Likewise.
    soft: Option<Provider>,
    /// Of every device that a peer came in by; they stay, so that an adapter's number never changes.
    pub(super) adapters: Vec<Adapter>,
    /// The soft fabric has packets that can move without waiting.
    is_busy: bool,
}

impl Fabric {
    /// Nothing is opened yet.
    pub(super) fn new(default: FabricKind, soft_config: SoftConfig) -> Self {
        Self {
            default,
            soft_config,
            listeners: Vec::new(),
            verbs: None,
            soft: None,
            adapters: Vec::new(),
            is_busy: false,
        }
    }

    /// The provider that the portal listens on; made when it is first asked for.
    fn provider(&mut self, kind: FabricKind) -> Result<&Provider, rdma::Error> {
        let place = match kind {
            FabricKind::Verbs => &mut self.verbs,
            FabricKind::Soft => &mut self.soft,
        };
        let provider = match (place.take(), kind) {
            (Some(provider), _) => provider,
            (None, FabricKind::Verbs) => Provider::open(rdma::Fabric::verbs())?,
            (None, FabricKind::Soft) => {
                Provider::open(rdma::Fabric::soft(self.soft_config.clone()))?
            }
        };
        Ok(place.insert(provider))
    }

    /// The descriptor of the hardware's connection manager, when it is in use.
    pub(super) fn cm_fd(&self) -> Option<BorrowedFd<'_>> {
        self.verbs.as_ref()?.cm.fd()
    }

    /// The next event of any connection manager.
    pub(super) fn next_cm_event(&self) -> Result<Option<CmEvent>, rdma::Error> {
        for provider in self.verbs.iter().chain(&self.soft) {
            if let Some(event) = provider.cm.next_event()? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Waits for the sockets that the soft fabric has opened since the last call.
    ///
    /// # Errors
    /// The ring has no room.
    pub(super) fn watch_sockets(&self, engine: &mut Engine) -> std::io::Result<()> {
        let mut watched = Ok(());
        if let Some(soft) = &self.soft {
            soft.fabric.new_sockets(|number, socket| {
                let token = wakes::SOCKETS + number as u64;
                if let Err(error) = engine.watch_poll(socket, token) {
                    watched = Err(error);
                }
            });
        }
        watched
    }

    /// A socket of the soft fabric has something.
    pub(super) fn handle_readable(&self, number: usize) {
        if let Some(soft) = &self.soft {
            soft.fabric.handle_readable(number);
        }
    }

    /// Takes in what has come over the soft fabric. False when that is not in use.
    pub(super) fn receive(&mut self) -> bool {
        let Some(soft) = &self.soft else {
            return false;
        };
        self.is_busy = soft.fabric.receive();
        true
    }

    /// Sends what the soft fabric has to send.
    pub(super) fn transmit(&mut self) {
        if let Some(soft) = &self.soft {
            self.is_busy |= soft.fabric.transmit();
        }
    }

    /// True when packets of the soft fabric can move without waiting.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// How long the soft fabric can wait for its next timer.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.soft.as_ref()?.fabric.patience()
    }

    /// What the soft fabric has cost.
    pub(super) fn counters(&self) -> FabricCounters {
        let soft = self.soft.as_ref();
        soft.map(|soft| soft.fabric.counters()).unwrap_or_default()
    }

    /// Listens on a portal; one that listens already does so on the addresses too that have come since.
    ///
    /// # Errors
    /// Why it cannot, and what to do.
    pub(super) fn listen(&mut self, portal: &Portal) -> Result<Vec<Endpoint>, WorkerError> {
        let kind = portal.fabric.unwrap_or(self.default);
        let mut listeners = self.listeners.iter_mut();
        if let Some((_, listener)) = listeners.find(|(known, _)| known == portal) {
            let followed = listener.follow_addresses();
            followed.map_err(cannot_listen(portal, kind))?;
            return self.endpoints(portal, kind);
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
        let provider = self.provider(kind).map_err(cannot_listen(portal, kind))?;
        let listener = Listener::bind(&provider.cm, &address, BACKLOG);
        let listener = listener.map_err(cannot_listen(portal, kind))?;
        self.listeners.push((portal.clone(), listener));
        self.endpoints(portal, kind)
    }

    fn endpoints(
        &mut self,
        portal: &Portal,
        kind: FabricKind,
    ) -> Result<Vec<Endpoint>, WorkerError> {
        let provider = self.provider(kind).map_err(cannot_listen(portal, kind))?;
        let devices = provider.fabric.devices();
        let devices = match &portal.listen {
            // It listens, whether its port can be shown or not.
            Listen::Ip(at) if !at.ip().is_unspecified() => devices.unwrap_or_default(),
            Listen::Ip(_) | Listen::InfiniBand(_) => {
                devices.map_err(cannot_listen(portal, kind))?
            }
        };
        let shown = endpoints::Fabric {
            kind,
            devices: &devices,
            chosen: match kind {
                FabricKind::Verbs => &[],
                FabricKind::Soft => &self.soft_config.addresses,
            },
        };
        Ok(shown.endpoints(&portal.listen))
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

    /// The adapter of a device for a protocol, when it is in use.
    pub(super) fn adapter_of(&self, device: &str, kind: AdapterKind) -> Option<usize> {
        self.adapters
            .iter()
            .position(|adapter| adapter.name() == device && adapter.kind() == kind)
    }

    /// All adapters of the device that one is of: it has one for each protocol, and tells either of them what happens.
    pub(super) fn siblings(&self, number: usize) -> Vec<usize> {
        let device = self.adapters.get(number).map(Adapter::name);
        let of_device = |number: &usize| self.adapters.get(*number).map(Adapter::name) == device;
        (0..self.adapters.len()).filter(of_device).collect()
    }
}

fn cannot_listen(portal: &Portal, kind: FabricKind) -> impl Fn(rdma::Error) -> WorkerError + use<> {
    let portal = portal.to_string();
    let fix = match kind {
        FabricKind::Verbs => {
            "srptgt doctor lists the RDMA devices and their addresses; where there are none, `srptgt serve --fabric soft` \
             needs none"
        }
        FabricKind::Soft => "give an address of this machine, or 0.0.0.0 for all that it has",
    };
    move |error| WorkerError {
        text: format!("cannot listen on {portal}: {error}"),
        fix: fix.to_owned(),
    }
}
