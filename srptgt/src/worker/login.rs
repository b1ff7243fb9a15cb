//! A connection request becomes a session's channel, or a refusal that says why.

use std::time::SystemTime;

use rdma::{AcceptParameters, ConnectRequest};
use target_core::command::ChannelId;
use target_core::target::TransportId;
use tracing::{info, warn};
use transport_srp::wire::login::{MultichannelAction, MultichannelResult};
use transport_srp::{Carrier, Channel, LoginRefusal, LoginRequest};

use crate::access::{Admitted, Credentials, LinkLayer, LoginIdentity, RefusalReason, Refused};
use crate::identity::{Guid, Id128};
use crate::portal::{HcaPort, Portal};
use crate::worker_link::{Event, Refusal};

use super::Worker;
use super::adapter::Adapter;
use super::connection::{Connection, Login};
use super::wakes;

/// RDMA READs that we have outstanding on one connection, when the peer can serve that many.
const INITIATOR_DEPTH: u8 = 16;

/// Retry for ever while the peer has no receive posted (IBA 9.7.5.2.8): credits bound how long that can be.
const RNR_RETRY_FOR_EVER: u8 = 7;

/// Channels of one session: Linux opens one for each of its processors.
const MAX_CHANNELS: usize = 64;

/// A login that does not come in: what the peer is told, and what the operator is told.
struct Denied {
    answer: LoginRefusal,
    refused: Refused,
}

impl Denied {
    fn resources(text: impl ToString) -> Self {
        Self {
            answer: LoginRefusal::InsufficientResources,
            refused: Refused {
                reason: RefusalReason::Resources,
                text: text.to_string(),
                fix: "srptgt status shows what is in use, srptgt doctor the limits".to_owned(),
            },
        }
    }

    fn too_many_channels() -> Self {
        Self {
            answer: LoginRefusal::ChannelLimitReached,
            refused: Refused {
                reason: RefusalReason::Resources,
                text: format!("the session has {MAX_CHANNELS} channels already"),
                fix: "give the initiator fewer channels (Linux: the ch_count parameter of ib_srp)"
                    .to_owned(),
            },
        }
    }

    fn not_admitted(refused: Refused) -> Self {
        Self {
            answer: LoginRefusal::NotAdmitted,
            refused,
        }
    }
}

impl Worker {
    /// Answers a connection request.
    pub(super) fn handle_connect_request(&mut self, request: ConnectRequest) {
        let Some(portal) = self.fabric.portal_of(request.listener).cloned() else {
            return; // The portal went away in the meantime; dropping the request refuses it.
        };
        let adapter = self.open_adapter(&request);
        let link_layer = adapter.as_ref().map_or(LinkLayer::Ethernet, |&adapter| {
            link_layer(&self.fabric.adapters[adapter], request.connection.port())
        });
        let mut login = identity(portal, link_layer, &request);
        let carrier = if request.peer().socket.is_some() {
            Carrier::RdmaCm
        } else {
            Carrier::IbCm
        };
        let fabric_guid = login.fabric_guid().map(Guid::value);
        let asked = match self
            .policy
            .examine(&request.private_data, carrier, fabric_guid)
        {
            Ok(asked) => asked,
            Err(refused) => {
                let why = Refused {
                    reason: RefusalReason::Protocol,
                    text: refused.refusal.to_string(),
                    fix: "compare the initiator's add_target line with srptgt portal list"
                        .to_owned(),
                };
                return self.refuse(request, &refused.to_bytes(), login, why);
            }
        };
        login.who = Credentials::Srp {
            initiator_port_id: Id128(asked.initiator_port.bytes),
            claimed_guid: Guid::new(asked.initiator_port.guid()),
        };
        let admitted = self.access.admit(&login).map_err(Denied::not_admitted);
        let ready = admitted.and_then(|admitted| {
            let adapter = adapter.map_err(Denied::resources)?;
            self.check_room(&asked, &admitted)?;
            Ok((admitted, adapter))
        });
        match ready {
            Err(denied) => {
                let answer = asked.refuse(denied.answer).to_bytes();
                self.refuse(request, &answer, login, denied.refused);
            }
            Ok((admitted, adapter)) => self.admit(request, &asked, login, admitted, adapter),
        }
    }

    /// The adapter of the device that the request came by.
    fn open_adapter(&mut self, request: &ConnectRequest) -> Result<usize, rdma::Error> {
        let device = request
            .connection
            .device_name()
            .ok_or(rdma::Error::NoDevice)?;
        if let Some(adapter) = self.fabric.adapter_of(&device) {
            return Ok(adapter);
        }
        let adapter = Adapter::open(request.connection.open_device()?, &self.memory)?;
        let number = self.fabric.adapters.len();
        wakes::watch_adapter(&mut self.engine, number, &adapter)?;
        if let Err(error) = self.engine.add_arena(adapter.receive_arena()) {
            warn!(device, %error, "immediate data of this device is mapped for each write");
        }
        self.fabric.adapters.push(adapter);
        Ok(number)
    }

    fn check_room(&self, asked: &LoginRequest, admitted: &Admitted) -> Result<(), Denied> {
        if self.requests.is_draining() {
            return Err(Denied::resources("the daemon is about to end"));
        }
        let Some(session) = self.sessions.of_port(&asked.initiator_port.bytes) else {
            return Ok(());
        };
        let joins =
            asked.multichannel == MultichannelAction::MULTI && session.host == admitted.host;
        if joins && session.connections.len() >= MAX_CHANNELS {
            return Err(Denied::too_many_channels());
        }
        Ok(())
    }

    fn admit(
        &mut self,
        request: ConnectRequest,
        asked: &LoginRequest,
        login: LoginIdentity,
        admitted: Admitted,
        adapter: usize,
    ) {
        let (session, result) = self.associate(asked, &login, admitted);
        let outcome = self.accept(request, asked, result, session, adapter);
        if let Err((request, denied)) = outcome {
            self.close_session_if_empty(session);
            if let Some(request) = request {
                let answer = asked.refuse(denied.answer).to_bytes();
                self.refuse(*request, &answer, login, denied.refused);
            }
            return;
        }
        self.totals.logins_accepted += 1;
        if let Some(session) = self.sessions.get(session) {
            info!(
                host = %session.host.name,
                identity = %session.by,
                vouched = %session.vouched,
                source_gid = login.source_gid.map(display),
                initiator_port_id = login.initiator_port_id().map(display),
                channels = session.connections.len(),
                "login accepted"
            );
        }
    }

    /// The session that the channel will belong to: a new one, or one that goes on (SRP r16a 5.2.2, multi-channel
    /// action). A login that wants to be the only one ends what the initiator port had before.
    fn associate(
        &mut self,
        asked: &LoginRequest,
        login: &LoginIdentity,
        admitted: Admitted,
    ) -> (u64, MultichannelResult) {
        let existing = self.sessions.of_port(&asked.initiator_port.bytes);
        let existing = existing.map(|session| (session.id, session.host == admitted.host));
        let result = match existing {
            Some((session, true)) if asked.multichannel == MultichannelAction::MULTI => {
                return (session, MultichannelResult::MAINTAINED);
            }
            Some((session, _)) => {
                self.end_session(session, "its initiator port logged in anew");
                MultichannelResult::TERMINATED
            }
            None => MultichannelResult::NO_CHAN,
        };
        let initiator_port_id = asked.initiator_port.bytes;
        let nexus = self
            .target
            .nexus_open(TransportId::Srp { initiator_port_id });
        self.target
            .nexus_set_map(nexus, &self.luns.map_of(&admitted.host));
        (self.sessions.open(nexus, login.clone(), admitted), result)
    }

    /// Makes the connection and tells the peer. An error without a request is one that the peer hears of by itself.
    fn accept(
        &mut self,
        request: ConnectRequest,
        asked: &LoginRequest,
        result: MultichannelResult,
        session: u64,
        adapter: usize,
    ) -> Result<(), (Option<Box<ConnectRequest>>, Denied)> {
        let device = &self.fabric.adapters[adapter];
        let queue_pair = match device.queue_pair() {
            Ok(queue_pair) => queue_pair,
            Err(error) => return Err((Some(Box::new(request)), Denied::resources(error))),
        };
        let Some(nexus) = self.sessions.get(session).map(|session| session.nexus) else {
            return Err((
                Some(Box::new(request)),
                Denied::resources("the session ended"),
            ));
        };
        let limits = device.device().info().limits;
        let (negotiated, response) = self.policy.accept(asked, result);
        let parameters = AcceptParameters {
            private_data: &response,
            responder_resources: request.responder_resources.min(limits.responder_resources),
            initiator_depth: request
                .initiator_depth
                .min(limits.initiator_depth)
                .min(INITIATOR_DEPTH),
            rnr_retry_count: RNR_RETRY_FOR_EVER,
        };
        let memory = &self.memory;
        let number = self.connections.insert_with(|number| {
            let id = ChannelId(number);
            let channel =
                Channel::new(id, negotiated, memory.messages.clone(), memory.data.clone());
            let login = Login {
                session,
                nexus,
                negotiated,
            };
            Connection::new(
                number,
                request.connection,
                queue_pair,
                Box::new(channel),
                adapter,
                login,
            )
        });
        // Without a place in the table the request was dropped, which refuses it.
        let number =
            number.ok_or_else(|| (None, Denied::resources("all connections are in use")))?;
        if let Some(session) = self.sessions.get_mut(session) {
            session.connections.push(number);
        }
        let accepted = self
            .connections
            .get_mut(number)
            .map(|connection| connection.accept(&parameters));
        if let Some(Err(error)) = accepted {
            self.end_connection(number, &format!("the login could not be answered: {error}"));
            return Err((None, Denied::resources(error)));
        }
        Ok(())
    }

    /// Refuses with the protocol's answer; one log line and one event say why.
    fn refuse(
        &mut self,
        request: ConnectRequest,
        answer: &[u8],
        login: LoginIdentity,
        why: Refused,
    ) {
        self.totals.logins_refused += 1;
        warn!(
            portal = %login.portal,
            source_gid = login.source_gid.map(display),
            initiator_port_id = login.initiator_port_id().map(display),
            reason = %why.text,
            fix = %why.fix,
            "login refused"
        );
        // A peer that has given up in the meantime needs no answer.
        let _ = request.connection.reject(answer);
        let refusal = Refusal {
            when: SystemTime::now(),
            login,
            refused: why,
        };
        self.mailbox.events().send(Event::Refused(refusal));
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

/// What the path shows of a peer, before its login is read.
fn identity(portal: Portal, link_layer: LinkLayer, request: &ConnectRequest) -> LoginIdentity {
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
        who: Credentials::Srp {
            initiator_port_id: Id128([0; 16]),
            claimed_guid: None,
        },
    }
}
