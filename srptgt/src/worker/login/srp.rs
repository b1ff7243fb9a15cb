//! SRP: the login is in the connection request, so everything is decided before there is a connection.

use rdma::{AcceptParameters, ConnectRequest};
use target_core::command::ChannelId;
use target_core::target::TransportId;
use tracing::info;
use transport_srp::wire::login::{MultichannelAction, MultichannelResult};
use transport_srp::{Carrier, Channel, LoginRefusal, LoginRequest};

use crate::access::{Admitted, Credentials, LinkLayer, LoginIdentity, RefusalReason, Refused};
use crate::identity::{Guid, Id128};
use crate::portal::Portal;

use super::super::Worker;
use super::super::connection::{Connection, Member, Progress};
use super::super::link::{Link, RdmaLink};
use super::super::machine::Machine;
use super::{INITIATOR_DEPTH, RNR_RETRY_FOR_EVER, identity, no_resources};

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
            refused: no_resources(text),
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
    /// Answers a login.
    pub(super) fn handle_srp_login(
        &mut self,
        request: ConnectRequest,
        portal: Portal,
        link_layer: LinkLayer,
        adapter: Result<usize, rdma::Error>,
    ) {
        let nobody = Credentials::Srp {
            initiator_port_id: Id128([0; 16]),
            claimed_guid: None,
        };
        let mut login = identity(portal, link_layer, &request, nobody);
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

    fn check_room(&self, asked: &LoginRequest, admitted: &Admitted) -> Result<(), Denied> {
        if self.requests.is_draining() {
            return Err(Denied::resources("the daemon is about to end"));
        }
        let Some(session) = self.sessions.of_port(&port_of(asked)) else {
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
        let existing = self.sessions.of_port(&port_of(asked));
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
        let port = port_of(asked);
        let nexus = self.target.nexus_open(port.clone());
        self.target
            .nexus_set_map(nexus, &self.luns.map_of(&admitted.host));
        let session = self.sessions.open(nexus, port, login.clone(), admitted);
        (session, result)
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
            let link = Link::Rdma(RdmaLink::new(request.connection, queue_pair, adapter));
            let machine = Machine::Srp(Box::new(channel));
            let mut connection = Connection::new(number, link, machine, Progress::Srp(negotiated));
            connection.member = Some(Member { session, nexus });
            connection
        });
        // Without a place in the table the request was dropped, which refuses it.
        let number =
            number.ok_or_else(|| (None, Denied::resources("all connections are in use")))?;
        if let Some(session) = self.sessions.get_mut(session) {
            session.connections.push(number);
        }
        if let Err(error) = self.accept_rdma(number, &parameters) {
            self.end_connection(number, &format!("the login could not be answered: {error}"));
            return Err((None, Denied::resources(error)));
        }
        Ok(())
    }

    /// Refuses with the protocol's answer.
    fn refuse(
        &mut self,
        request: ConnectRequest,
        answer: &[u8],
        login: LoginIdentity,
        why: Refused,
    ) {
        // A peer that has given up in the meantime needs no answer.
        let _ = request.connection.reject(answer);
        self.tell_refusal(login, why);
    }
}

fn port_of(asked: &LoginRequest) -> TransportId {
    TransportId::Srp {
        initiator_port_id: asked.initiator_port.bytes,
    }
}
