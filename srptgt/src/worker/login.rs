//! A peer becomes a session's connection, or is refused with a reason. What both protocols do alike stands here.

use std::time::SystemTime;

use rdma::{AcceptParameters, ConnectRequest};
use tracing::warn;

use crate::access::{Credentials, LinkLayer, LoginIdentity, RefusalReason, Refused};
use crate::identity::Id128;
use crate::portal::{HcaPort, Portal, Protocol};
use crate::worker_link::{Event, Refusal};

use super::Worker;
use super::adapter::{Adapter, AdapterKind};
use super::link::RdmaLink;
use super::wakes;

mod iscsi;
mod srp;

/// RDMA READs that we have outstanding on one connection, when the peer can serve that many.
const INITIATOR_DEPTH: u8 = 16;

/// Retry for ever while the peer has no receive posted (IBA 9.7.5.2.8): credits bound how long that can be.
const RNR_RETRY_FOR_EVER: u8 = 7;

impl Worker {
    /// Answers a connection request.
    pub(super) fn handle_connect_request(&mut self, request: ConnectRequest) {
        let Some(portal) = self.fabric.portal_of(request.listener).cloned() else {
            return; // The portal went away in the meantime; dropping the request refuses it.
        };
        let kind = match portal.protocol {
            Protocol::Iser => AdapterKind::Iser,
            Protocol::Srp | Protocol::Tcp => AdapterKind::Srp,
        };
        let adapter = self.open_adapter(&request, kind);
        let link_layer = adapter.as_ref().map_or(LinkLayer::Ethernet, |&adapter| {
            link_layer(&self.fabric.adapters[adapter], request.connection.port())
        });
        match kind {
            AdapterKind::Srp => self.handle_srp_login(request, portal, link_layer, adapter),
            AdapterKind::Iser => self.handle_iser_connect(request, portal, link_layer, adapter),
        }
    }

    /// The adapter of the device that the request came by, for this protocol.
    fn open_adapter(
        &mut self,
        request: &ConnectRequest,
        kind: AdapterKind,
    ) -> Result<usize, rdma::Error> {
        let device = request
            .connection
            .device_name()
            .ok_or(rdma::Error::NoDevice)?;
        if let Some(adapter) = self.fabric.adapter_of(&device, kind) {
            return Ok(adapter);
        }
        let opened = request.connection.open_device()?;
        let messages = self.iscsi_memory.as_ref().map(|memory| &memory.arena);
        let messages = messages.filter(|_| kind == AdapterKind::Iser);
        let arenas: Vec<_> = [&self.memory.arena].into_iter().chain(messages).collect();
        let adapter = Adapter::open(opened, kind, &arenas)?;
        let number = self.fabric.adapters.len();
        wakes::watch_adapter(&mut self.engine, number, &adapter)?;
        if let Err(error) = self.engine.add_arena(adapter.receive_arena()) {
            warn!(device, %error, "immediate data of this device is mapped for each write");
        }
        self.fabric.adapters.push(adapter);
        Ok(number)
    }

    /// Tells the peer that its connection stands; its first message may come before this returns.
    ///
    /// # Errors
    /// The peer has given up, or the device is gone.
    fn accept_rdma(
        &mut self,
        number: u32,
        parameters: &AcceptParameters<'_>,
    ) -> Result<(), rdma::Error> {
        let connection = self.connections.get_mut(number);
        match connection.and_then(|connection| connection.link.rdma_mut()) {
            Some(RdmaLink { cm, queue_pair, .. }) => cm.accept(queue_pair, parameters),
            None => Ok(()),
        }
    }

    /// The control plane is told who was refused, and why; it writes it in the log, and keeps it for the operator.
    fn tell_refusal(&mut self, login: LoginIdentity, why: Refused) {
        self.totals.logins_refused += 1;
        let refusal = Refusal {
            when: SystemTime::now(),
            login,
            refused: why,
        };
        self.mailbox.events().send(Event::Refused(refusal));
    }
}

/// Nothing is left for another login.
fn no_resources(text: impl ToString) -> Refused {
    Refused {
        reason: RefusalReason::Resources,
        text: text.to_string(),
        fix: "srptgt status shows what is in use, srptgt doctor the limits".to_owned(),
    }
}

fn link_layer(adapter: &Adapter, port: u8) -> LinkLayer {
    match adapter
        .device()
        .info()
        .port(port)
        .map(|port| port.link_layer)
    {
        Some(rdma::LinkLayer::InfiniBand) => LinkLayer::InfiniBand,
        _ => LinkLayer::Ethernet,
    }
}

/// What the path of a connection request shows of a peer; `who` is what is known of the login itself.
fn identity(
    portal: Portal,
    link_layer: LinkLayer,
    request: &ConnectRequest,
    who: Credentials,
) -> LoginIdentity {
    let connection = &request.connection;
    let peer = request.peer();
    LoginIdentity {
        portal,
        local: Some(HcaPort {
            device: connection.device_name().unwrap_or_default(),
            port: connection.port(),
        }),
        link_layer: Some(link_layer),
        source_gid: Some(Id128(peer.gid.0)),
        address: peer.socket.map(|socket| socket.ip()),
        pkey: connection.pkey(),
        who,
    }
}
