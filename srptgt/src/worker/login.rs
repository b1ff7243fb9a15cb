//! A peer becomes a session's connection, or is refused with a reason. What both protocols do alike stands here.

use std::time::{Duration, SystemTime};

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

/// Lines on refused logins in one second; more are counted.
const LINES_PER_SECOND: u32 = 8;

/// How many lines on refused logins this second has seen: a flood of logins must not become a flood of log.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    second: u64,
    lines: u32,
    left_out: u64,
}

impl RefusalLog {
    /// Whether there may be one more line, and how many were left out since the last one.
    fn line(&mut self, now: Duration) -> Option<u64> {
        if now.as_secs() != self.second {
            (self.second, self.lines) = (now.as_secs(), 0);
        }
        if self.lines == LINES_PER_SECOND {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

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

    /// One log line and one event say who was refused, and why.
    fn tell_refusal(&mut self, login: LoginIdentity, why: Refused) {
        self.totals.logins_refused += 1;
        if let Some(left_out) = self.refusal_log.line(self.now) {
            warn!(
                portal = %login.portal,
                address = login.address.map(display),
                source_gid = login.source_gid.map(display),
                initiator_port_id = login.initiator_port_id().map(display),
                initiator_name = initiator_name(&login),
                reason = %why.text,
                fix = %why.fix,
                left_out = (left_out > 0).then_some(left_out),
                "login refused"
            );
        }
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

fn initiator_name(login: &LoginIdentity) -> Option<&str> {
    match &login.who {
        Credentials::Iscsi { initiator_name, .. } if !initiator_name.is_empty() => {
            Some(initiator_name)
        }
        _ => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_has_few_lines_and_all_are_counted() {
        let mut log = RefusalLog::default();
        let mut lines = 0;
        for n in 0..1000u64 {
            let now = Duration::from_millis(n);
            lines += u64::from(log.line(now).is_some());
        }
        assert_eq!(lines, u64::from(LINES_PER_SECOND));
        assert_eq!(log.line(Duration::from_secs(1)), Some(1000 - lines));
        assert_eq!(log.line(Duration::from_secs(1)), Some(0));
    }
}
