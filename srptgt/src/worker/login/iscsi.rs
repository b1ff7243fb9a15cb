//! iSCSI: the connection comes first, and its login then asks who may come in (RFC 7143 clause 6).

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rdma::{AcceptParameters, ConnectRequest};
use rustix::net::{getpeername, getsockname, sockopt};
use target_core::command::ChannelId;
use target_core::target::TransportId;
use tracing::{debug, info};
use transport_iser::chap;
use transport_iser::connection::{Connection as IscsiConnection, LoginEvent};
use transport_iser::iser::CmHeader;
use transport_iser::login::{Admission, Identity, LoginFailure, Negotiated, SessionType};
use transport_iser::pdu::LoginStatus;

use crate::access::{Admitted, Credentials, LinkLayer, LoginIdentity, RefusalReason, Refused};
use crate::identity::ChapSecrets;
use crate::portal::{Portal, Protocol};

use super::super::Worker;
use super::super::clock::millis;
use super::super::connection::{Connection, Member, Pending, Progress};
use super::super::link::{Link, RdmaLink, StreamLink};
use super::super::machine::Machine;
use super::{INITIATOR_DEPTH, RNR_RETRY_FOR_EVER, identity, no_resources};

/// Connections whose login is not over; more are closed as they come. What one costs is small and it has a time-out.
const MOST_LOGGING_IN: usize = 1024;

/// An idle peer is asked whether it lives after this time, this often and so many times, before its connection is
/// given up: below that, iSCSI pings by itself.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// A refusal: what the peer is told, and what the operator is told.
struct Denied {
    status: LoginStatus,
    refused: Refused,
}

impl Denied {
    fn resources(text: impl ToString) -> Self {
        Self {
            status: LoginStatus::OUT_OF_RESOURCES,
            refused: no_resources(text),
        }
    }

    fn ending() -> Self {
        Self {
            status: LoginStatus::SERVICE_UNAVAILABLE,
            refused: no_resources("the daemon is about to end"),
        }
    }

    fn no_session(tsih: u16) -> Self {
        Self {
            status: LoginStatus::SESSION_DOES_NOT_EXIST,
            refused: Refused {
                reason: RefusalReason::Protocol,
                text: format!("the login continues session {tsih:#06x}, which does not exist"),
                fix: "the initiator logs in anew by itself; if not, restart its session".to_owned(),
            },
        }
    }

    fn second_connection() -> Self {
        Self {
            status: LoginStatus::TOO_MANY_CONNECTIONS,
            refused: Refused {
                reason: RefusalReason::Protocol,
                text: "the login adds a connection to a session, and sessions have one".to_owned(),
                fix: "use one session for each path (multipath) in place of several connections"
                    .to_owned(),
            },
        }
    }

    fn not_admitted(refused: Refused) -> Self {
        let status = match refused.reason {
            RefusalReason::WrongTargetName => LoginStatus::NOT_FOUND,
            RefusalReason::Resources => LoginStatus::OUT_OF_RESOURCES,
            _ => LoginStatus::AUTHORIZATION_FAILURE,
        };
        Self { status, refused }
    }
}

impl Worker {
    /// A connection over TCP. What cannot be served is closed, which a peer takes for a target that is away.
    pub(in crate::worker) fn handle_accepted(&mut self, token: u64, socket: OwnedFd) {
        let Some(portal) = self.tcp.portal_of(token).cloned() else {
            return;
        };
        // A peer that has gone already has no address.
        let (Some(local), Some(peer)) = (local_of(&socket), peer_of(&socket)) else {
            return;
        };
        let login = tcp_identity(portal, peer);
        if let Err(refused) = self.check_half_open() {
            return self.tell_refusal(login, refused);
        }
        set_options(&socket);
        let settings = self.iscsi.settings(Protocol::Tcp);
        let Some(memory) = &self.iscsi_memory else {
            return;
        };
        let (now_ms, engine) = (millis(self.now), &mut self.engine);
        let unsolicited = &self.memory.unsolicited;
        let number = self.connections.insert_with(|number| {
            let stream = engine.add_stream(socket, number.into());
            let machine = IscsiConnection::tcp(
                ChannelId(number),
                settings,
                memory.messages.clone(),
                unsolicited.share(),
                now_ms,
            );
            let link = Link::Stream(StreamLink::new(stream, local));
            logging_in(number, link, machine, login)
        });
        // From here on its times are watched.
        if let Some(number) = number {
            self.connections.mark_dirty(number);
        }
    }

    /// A connection over RDMA: it stands first, and the login comes by its messages.
    pub(super) fn handle_iser_connect(
        &mut self,
        request: ConnectRequest,
        portal: Portal,
        link_layer: LinkLayer,
        adapter: Result<usize, rdma::Error>,
    ) {
        let login = identity(portal, link_layer, &request, nobody());
        let made = adapter
            .map_err(no_resources)
            .and_then(|adapter| self.check_half_open().map(|()| adapter))
            .and_then(|adapter| {
                let queue_pair = self.fabric.adapters[adapter].queue_pair();
                Ok((adapter, queue_pair.map_err(no_resources)?))
            });
        let (adapter, queue_pair) = match made {
            Ok(made) => made,
            Err(refused) => {
                // A peer that has given up in the meantime needs no answer.
                let _ = request.connection.reject(&[]);
                return self.tell_refusal(login, refused);
            }
        };
        self.accept_iser(request, login, adapter, queue_pair);
    }

    fn accept_iser(
        &mut self,
        request: ConnectRequest,
        login: LoginIdentity,
        adapter: usize,
        queue_pair: rdma::QueuePair,
    ) {
        let limits = self.fabric.adapters[adapter].device().info().limits;
        let header = CmHeader::parse(&request.private_data).answer(limits.send_with_invalidate);
        let answer = header.encode();
        let parameters = AcceptParameters {
            private_data: &answer,
            responder_resources: request.responder_resources.min(limits.responder_resources),
            initiator_depth: request
                .initiator_depth
                .min(limits.initiator_depth)
                .min(INITIATOR_DEPTH),
            rnr_retry_count: RNR_RETRY_FOR_EVER,
        };
        let settings = self.iscsi.settings(Protocol::Iser);
        let Some(memory) = &self.iscsi_memory else {
            return;
        };
        let (now_ms, unsolicited) = (millis(self.now), &self.memory.unsolicited);
        let number = self.connections.insert_with(|number| {
            let machine = IscsiConnection::iser(
                ChannelId(number),
                settings,
                header,
                memory.messages.clone(),
                unsolicited.share(),
                now_ms,
            );
            let link = Link::Rdma(RdmaLink::new(request.connection, queue_pair, adapter));
            logging_in(number, link, machine, login)
        });
        // Without a place in the table the request was dropped, which refuses it.
        let Some(number) = number else {
            return;
        };
        self.connections.mark_dirty(number);
        if let Err(error) = self.accept_rdma(number, &parameters) {
            self.end_connection(
                number,
                &format!("the connection could not be made: {error}"),
            );
        }
    }

    fn check_half_open(&self) -> Result<(), Refused> {
        if self.requests.is_draining() {
            return Err(Denied::ending().refused);
        }
        match self.connections.logging_in() < MOST_LOGGING_IN {
            true => Ok(()),
            false => Err(no_resources(format!(
                "{MOST_LOGGING_IN} connections have not finished their logins"
            ))),
        }
    }

    /// What a login asks or tells.
    pub(in crate::worker) fn handle_login_events(&mut self, number: u32) {
        while let Some(connection) = self.connections.get_mut(number)
            && let Some(event) = connection.machine.iscsi().and_then(|c| c.poll_login())
        {
            match event {
                LoginEvent::Admit(identity) => self.admit_iscsi(number, &identity),
                LoginEvent::Established(negotiated) => self.establish(number, negotiated),
                LoginEvent::Failed(failure) => self.login_failed(number, &failure),
            }
        }
    }

    fn admit_iscsi(&mut self, number: u32, identity: &Identity) {
        let Some(mut login) = self.pending(number).map(|pending| pending.login.clone()) else {
            return;
        };
        login.who = Credentials::Iscsi {
            initiator_name: identity.initiator_name.clone(),
            isid: identity.isid,
            target_name: identity.target_name.clone(),
            discovery: identity.session_type == SessionType::Discovery,
        };
        if let Some(pending) = self.pending(number) {
            pending.login = login.clone();
        }
        let answer = match self.examine(&login, identity) {
            Ok((admitted, admission)) => {
                if let Some(pending) = self.pending(number) {
                    pending.admitted = Some(admitted);
                }
                Ok(admission)
            }
            Err(denied) => {
                if let Some(pending) = self.pending(number) {
                    pending.was_refused = true;
                }
                self.tell_refusal(login, denied.refused);
                Err(denied.status)
            }
        };
        let connection = self.connections.get_mut(number);
        if let Some(machine) = connection.and_then(|connection| connection.machine.iscsi()) {
            machine.handle_admission(answer);
        }
    }

    fn examine(
        &mut self,
        login: &LoginIdentity,
        identity: &Identity,
    ) -> Result<(Admitted, Admission), Denied> {
        if self.requests.is_draining() {
            return Err(Denied::ending());
        }
        let admitted = self.access.admit(login).map_err(Denied::not_admitted)?;
        let tsih = self.tsih_for(identity)?;
        let chap = admitted.chap.as_deref().map(required).transpose();
        let admission = Admission {
            tsih,
            portal_group_tag: self.iscsi.portal_group_tag(),
            target_alias: self.iscsi.target_alias(),
            chap: chap.map_err(Denied::resources)?,
        };
        Ok((admitted, admission))
    }

    /// A new session has TSIH 0. A login that names a session takes its only connection over, which at error recovery
    /// level 0 ends what ran on it (RFC 7143 6.3.4).
    fn tsih_for(&mut self, identity: &Identity) -> Result<u16, Denied> {
        if identity.tsih == 0 {
            return Ok(self.sessions.free_tsih());
        }
        let Some(session) = self.sessions.of_tsih(identity.tsih) else {
            return Err(Denied::no_session(identity.tsih));
        };
        if session.port != port_of(identity) {
            return Err(Denied::no_session(identity.tsih));
        }
        let has_cid = |&number: &u32| {
            let connection = self.connections.get(number);
            connection.is_some_and(|connection| match &connection.progress {
                Progress::Iscsi(negotiated) => negotiated.identity.cid == identity.cid,
                _ => false,
            })
        };
        match session.connections.iter().any(has_cid) {
            true => Ok(identity.tsih),
            false => Err(Denied::second_connection()),
        }
    }

    /// The login is over and the last answer has not left. The session begins now, and one that the same initiator port
    /// had before ends first (RFC 7143 6.3.5).
    fn establish(&mut self, number: u32, negotiated: Box<Negotiated>) {
        let identity = negotiated.identity.clone();
        let tsih = negotiated.tsih;
        let values = Progress::Iscsi(negotiated);
        let Some(pending) = self.connections.login_is_over(number, values) else {
            return;
        };
        // The access may have changed since the login began.
        let admitted = self.access.admit(&pending.login);
        let admitted = match (admitted, pending.admitted) {
            (Ok(now), Some(then)) if now.host.name == then.host.name && now.chap == then.chap => {
                now
            }
            _ => return self.leave(number),
        };
        let protocol = pending.login.portal.protocol;
        let connection = self.connections.get_mut(number);
        if let Some(connection) = connection {
            let targets = self.iscsi.targets(protocol, connection.link.local());
            if let Some(machine) = connection.machine.iscsi() {
                machine.handle_targets(targets);
            }
        }
        if identity.session_type == SessionType::Discovery {
            debug!(initiator_name = identity.initiator_name, "discovery");
            return;
        }
        let port = port_of(&identity);
        if let Some(former) = self.sessions.of_port(&port).map(|session| session.id) {
            self.end_session(former, "its initiator port logged in anew");
        }
        let nexus = self.target.nexus_open(port.clone());
        self.target
            .nexus_set_map(nexus, &self.luns.map_of(&admitted.host));
        let session = self.sessions.open(nexus, port, pending.login, admitted);
        if let Some(session) = self.sessions.get_mut(session) {
            session.tsih = tsih;
            session.connections.push(number);
        }
        if let Some(connection) = self.connections.get_mut(number) {
            connection.member = Some(Member { session, nexus });
        }
        self.totals.logins_accepted += 1;
        self.log_login(session);
    }

    fn log_login(&self, session: u64) {
        if let Some(session) = self.sessions.get(session) {
            info!(
                host = %session.host.name,
                identity = %session.by,
                vouched = %session.vouched,
                transport = %session.login.portal.protocol,
                address = session.login.address.map(display),
                session = session.id,
                "login accepted"
            );
        }
    }

    fn login_failed(&mut self, number: u32, failure: &LoginFailure) {
        let Some(pending) = self.pending(number) else {
            return;
        };
        if std::mem::replace(&mut pending.was_refused, true) {
            return;
        }
        let login = pending.login.clone();
        let secrets = pending
            .admitted
            .as_ref()
            .and_then(|admitted| Some((admitted.host.name.clone(), admitted.chap.clone()?)));
        let is_authentication = failure.status == LoginStatus::AUTHENTICATION_FAILURE;
        let refused = match secrets.filter(|_| is_authentication) {
            Some((host, chap)) => {
                Refused::chap_failed(&host, &chap.initiator.user, &failure.error.to_string())
            }
            None => broken_login(&failure.error),
        };
        self.tell_refusal(login, refused);
    }

    /// A connection ends by what came, and its login was neither finished nor refused.
    pub(in crate::worker) fn login_broken(&mut self, number: u32, why: &str) {
        self.login_ended(number, broken_login(&why));
    }

    /// A connection ends by what did not come, and its login was neither finished nor refused.
    pub(in crate::worker) fn login_unfinished(&mut self, number: u32, why: &str) {
        let fix = "see in the initiator's log what it waits for; a port scan or a health check of the portal does this too";
        self.login_ended(
            number,
            Refused {
                reason: RefusalReason::Silent,
                text: why.to_owned(),
                fix: fix.to_owned(),
            },
        );
    }

    fn login_ended(&mut self, number: u32, refused: Refused) {
        if let Some(pending) = self.pending(number)
            && !std::mem::replace(&mut pending.was_refused, true)
        {
            let login = pending.login.clone();
            self.tell_refusal(login, refused);
        }
    }

    fn pending(&mut self, number: u32) -> Option<&mut Pending> {
        match &mut self.connections.get_mut(number)?.progress {
            Progress::LoggingIn(pending) => Some(pending),
            Progress::Srp(_) | Progress::Iscsi(_) => None,
        }
    }
}

fn broken_login(why: &impl ToString) -> Refused {
    Refused {
        reason: RefusalReason::Protocol,
        text: why.to_string(),
        fix: "compare the initiator's settings with srptgt portal list and srptgt target show"
            .to_owned(),
    }
}

fn logging_in(
    number: u32,
    link: Link,
    machine: IscsiConnection,
    login: LoginIdentity,
) -> Connection {
    let pending = Pending {
        login,
        admitted: None,
        was_refused: false,
    };
    let progress = Progress::LoggingIn(Box::new(pending));
    Connection::new(number, link, Machine::Iscsi(Box::new(machine)), progress)
}

fn port_of(identity: &Identity) -> TransportId {
    TransportId::Iscsi {
        initiator_name: Arc::from(identity.initiator_name.as_str()),
        isid: identity.isid,
    }
}

/// Before the login has said anything.
fn nobody() -> Credentials {
    Credentials::Iscsi {
        initiator_name: String::new(),
        isid: [0; 6],
        target_name: None,
        discovery: false,
    }
}

fn tcp_identity(portal: Portal, peer: SocketAddr) -> LoginIdentity {
    LoginIdentity {
        portal,
        local: None,
        link_layer: None,
        source_gid: None,
        // An IPv4 peer of a socket for both is one of IPv4 to whoever wrote a limit.
        address: Some(peer.ip().to_canonical()),
        pkey: None,
        who: nobody(),
    }
}

/// The secrets of a host in the words of the login, with a challenge that was never used before.
fn required(secrets: &ChapSecrets) -> Result<chap::Required, getrandom::Error> {
    let mut random = [0; 1 + chap::CHALLENGE_BYTES];
    getrandom::fill(&mut random)?;
    let [identifier, challenge @ ..] = random;
    Ok(chap::Required {
        user: secrets.initiator.user.clone(),
        secret: secrets.initiator.secret.for_login(),
        mutual: secrets.target.as_ref().map(|account| chap::Credentials {
            user: account.user.clone(),
            secret: account.secret.for_login(),
        }),
        identifier,
        challenge,
    })
}

fn local_of(socket: impl AsFd) -> Option<SocketAddr> {
    getsockname(socket).ok()?.try_into().ok()
}

fn peer_of(socket: impl AsFd) -> Option<SocketAddr> {
    getpeername(socket).ok()??.try_into().ok()
}

/// Answers leave at once, and a peer that vanished is found out. A socket that takes none of it works all the same.
fn set_options(socket: &OwnedFd) {
    let _ = sockopt::set_tcp_nodelay(socket, true)
        .and_then(|()| sockopt::set_socket_keepalive(socket, true))
        .and_then(|()| sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE))
        .and_then(|()| sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL))
        .and_then(|()| sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES));
}
