//! The target's side of a login: Login Requests in, Login Responses out (RFC 7143 6.3, 11.12, 11.13).

use std::collections::VecDeque;
use std::mem;

use super::error::{expect_fields, isid_number, shortened};
use super::key::{Key, Side};
use super::negotiation::Negotiation;
use super::security::{ChapKeys, Security};
use super::{
    Admission, Datamover, Identity, LoginError, LoginFailure, LoginLimits, MAX_LOGIN_REQUESTS,
    MAX_LOGIN_SEGMENT_BYTES, Negotiated, SessionType,
};
use crate::pdu::login::VERSION;
use crate::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage};
use crate::text::{self, Assembly, Outgoing, Pair, value};

/// What a login has to say, in this order.
#[derive(Clone, Debug)]
pub enum Step {
    /// Who knocks, after the first request: the driver answers by [`Login::handle_admission`].
    Admit(Identity),
    /// Send this Login Response with this data segment. StatSN, ExpCmdSN and MaxCmdSN are the connection's to fill in.
    Respond(LoginResponse, Vec<u8>),
    /// The final response was handed out: full feature phase with these values.
    Done(Box<Negotiated>),
    /// The login failed. The response with the status was handed out before; close the connection after it.
    Failed(LoginFailure),
}

/// One login, from the first request to full feature phase or failure.
///
/// Requests come in one at a time: an initiator waits for the response to each.
#[derive(Debug)]
pub struct Login {
    limits: LoginLimits,
    state: State,
    /// The first request: what must not change, and what the next one continues.
    first: Option<LoginRequest>,
    stage: Stage,
    requests: u32,
    assembly: Assembly,
    outgoing: Outgoing,
    negotiation: Negotiation,
    /// Whether the answer asks for something, so that the next stage waits for one more sequence.
    asks: bool,
    security: Security,
    steps: VecDeque<Step>,
}

#[derive(Debug)]
enum State {
    /// The first sequence is coming in.
    Knocking,
    /// The driver looks at who it is; the sequence waits.
    Asking {
        request: LoginRequest,
        sequence: Vec<u8>,
        identity: Identity,
    },
    Negotiating {
        identity: Identity,
        admission: Admission,
    },
    Over,
}

impl Login {
    /// A login that nobody has begun.
    pub fn new(limits: LoginLimits) -> Self {
        Self {
            negotiation: Negotiation::new(Side::Target, &limits),
            limits,
            state: State::Knocking,
            first: None,
            stage: Stage::SECURITY_NEGOTIATION,
            requests: 0,
            assembly: Assembly::default(),
            outgoing: Outgoing::default(),
            asks: false,
            security: Security::Open,
            steps: VecDeque::new(),
        }
    }

    /// One Login Request and its data segment. What comes of it is in [`Self::poll`]. After the end nothing comes of it.
    pub fn handle_request(&mut self, request: &LoginRequest, data: &[u8]) {
        if matches!(self.state, State::Over) {
            return;
        }
        if let Err(error) = self.take_request(request, data) {
            self.fail(request, error);
        }
    }

    /// The driver's answer to [`Step::Admit`]; without that question it does nothing.
    pub fn handle_admission(&mut self, admission: Result<Admission, LoginStatus>) {
        let state = mem::replace(&mut self.state, State::Over);
        let State::Asking {
            request,
            sequence,
            identity,
        } = state
        else {
            self.state = state;
            return;
        };
        let answered = match admission {
            Ok(admission) => self.begin(identity, admission, &request, &sequence),
            Err(status) => Err(LoginError::NotAdmitted(status)),
        };
        if let Err(error) = answered {
            self.fail(&request, error);
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn take_request(&mut self, request: &LoginRequest, data: &[u8]) -> Result<(), LoginError> {
        self.requests += 1;
        if self.requests > MAX_LOGIN_REQUESTS {
            return Err(LoginError::TooManyRequests);
        }
        self.check_header(request)?;
        if matches!(self.state, State::Asking { .. }) {
            return Err(LoginError::Interrupted);
        }
        if !self.outgoing.is_empty() {
            return self.take_request_for_rest(request, data);
        }
        self.assembly.push(data)?;
        if request.continues {
            self.respond(request, request.tsih, Vec::new(), false);
            return Ok(());
        }
        let sequence = self.assembly.take();
        match mem::replace(&mut self.state, State::Over) {
            State::Knocking => self.knock(request, sequence),
            state => {
                self.state = state;
                self.negotiate(request, &sequence)
            }
        }
    }

    /// What must be the same in all requests of a login, and the stages (RFC 7143 11.12).
    fn check_header(&mut self, request: &LoginRequest) -> Result<(), LoginError> {
        if request.version_min > VERSION {
            return Err(LoginError::Version(request.version_min));
        }
        check_transition(request)?;
        let Some(first) = &self.first else {
            self.first = Some(*request);
            self.stage = request.current_stage;
            return Ok(());
        };
        expect_fields([
            ("ISID", isid_number(first.isid), isid_number(request.isid)),
            ("TSIH", first.tsih.into(), request.tsih.into()),
            ("CID", first.cid.into(), request.cid.into()),
            (
                "Initiator Task Tag",
                first.initiator_task_tag.into(),
                request.initiator_task_tag.into(),
            ),
            ("CSG", self.stage.0.into(), request.current_stage.0.into()),
        ])
    }

    /// The initiator asks for the rest of an answer that had its C bit set; it may say nothing itself (RFC 7143 6.2).
    fn take_request_for_rest(
        &mut self,
        request: &LoginRequest,
        data: &[u8],
    ) -> Result<(), LoginError> {
        if request.continues || !data.is_empty() {
            return Err(LoginError::Interrupted);
        }
        self.answer(request)
    }

    /// The first sequence: who is it?
    fn knock(&mut self, request: &LoginRequest, sequence: Vec<u8>) -> Result<(), LoginError> {
        let identity = identity_of(request, &text::parse(&sequence)?)?;
        self.negotiation.session_type = identity.session_type;
        self.steps.push_back(Step::Admit(identity.clone()));
        self.state = State::Asking {
            request: *request,
            sequence,
            identity,
        };
        Ok(())
    }

    fn begin(
        &mut self,
        identity: Identity,
        mut admission: Admission,
        request: &LoginRequest,
        sequence: &[u8],
    ) -> Result<(), LoginError> {
        self.security = Security::new(admission.chap.take())?;
        if self.stage == Stage::LOGIN_OPERATIONAL_NEGOTIATION && !self.security.is_over() {
            return Err(LoginError::NotAuthenticated);
        }
        if identity.session_type == SessionType::Normal {
            // It belongs into the first response (RFC 7143 13.9).
            let tag = admission.portal_group_tag;
            self.outgoing.pair(Key::TargetPortalGroupTag.name(), tag);
        }
        self.state = State::Negotiating {
            identity,
            admission,
        };
        self.negotiate(request, sequence)
    }

    /// One whole sequence of keys, and the answer to it.
    fn negotiate(&mut self, request: &LoginRequest, sequence: &[u8]) -> Result<(), LoginError> {
        let pairs = text::parse(sequence)?;
        let has_asked = mem::take(&mut self.asks);
        let mut chap = ChapKeys::default();
        for pair in &pairs {
            self.take_pair(pair, &mut chap)?;
        }
        if let Some(key) = self.negotiation.unanswered().filter(|_| has_asked) {
            return Err(LoginError::Missing(key.name()));
        }
        let security = mem::replace(&mut self.security, Security::Open);
        let is_to_begin = matches!(security, Security::Required(_));
        self.security = security.step(&chap, &mut self.outgoing)?;
        if request.transit && is_to_begin {
            return Err(LoginError::NotAuthenticated);
        }
        if self.stage == Stage::LOGIN_OPERATIONAL_NEGOTIATION {
            self.declare();
            if request.transit {
                self.asks = self.negotiation.say_restrictions(&mut self.outgoing);
            }
        }
        self.answer(request)
    }

    fn take_pair<'a>(
        &mut self,
        pair: &Pair<'a>,
        chap: &mut ChapKeys<'a>,
    ) -> Result<(), LoginError> {
        match Key::named(pair.key) {
            // Read when the initiator knocked; noted here, so that a second one is found.
            Some(key @ (Key::InitiatorName | Key::TargetName | Key::SessionType)) => {
                self.negotiation.note(key, pair.offset, self.stage)
            }
            Some(key @ Key::AuthMethod) => {
                self.negotiation.note(key, pair.offset, self.stage)?;
                let security = mem::replace(&mut self.security, Security::Open);
                self.security = security.choose(pair.value, &mut self.outgoing)?;
                Ok(())
            }
            Some(key) if chap.keep(key, pair) => {
                self.negotiation.note(key, pair.offset, self.stage)
            }
            _ => self.negotiation.hear(pair, self.stage, &mut self.outgoing),
        }
    }

    /// What a target says of its own accord, once.
    fn declare(&mut self) {
        let text = &mut self.outgoing;
        self.negotiation.say(Key::MaxRecvDataSegmentLength, text);
        let is_rdma = self.limits.datamover == Datamover::Iser
            && self.negotiation.session_type == SessionType::Normal;
        if is_rdma && self.limits.max_outstanding_unexpected_pdus != 0 {
            self.negotiation
                .say(Key::MaxOutstandingUnexpectedPdus, text);
        }
        if let State::Negotiating { admission, .. } = &mut self.state
            && let Some(alias) = admission.target_alias.take()
        {
            text.pair(Key::TargetAlias.name(), alias);
        }
    }

    /// The next piece of the answer; with the last one the stage may change.
    fn answer(&mut self, request: &LoginRequest) -> Result<(), LoginError> {
        let segment = self.outgoing.take_segment(MAX_LOGIN_SEGMENT_BYTES);
        let is_last = self.outgoing.is_empty();
        let is_agreed = self.security.is_over() && !self.asks;
        let transit = is_last && request.transit && is_agreed;
        let is_final = transit && request.next_stage == Stage::FULL_FEATURE_PHASE;
        if is_final && !self.negotiation.is_fit_for_datamover() {
            return Err(LoginError::NoRdmaExtensions);
        }
        if !is_final {
            self.respond(request, request.tsih, segment, transit);
            return Ok(());
        }
        let state = mem::replace(&mut self.state, State::Over);
        if let State::Negotiating {
            identity,
            admission,
        } = state
        {
            self.respond(request, admission.tsih, segment, true);
            let negotiated = self.negotiation.finish(identity, admission.tsih);
            self.steps.push_back(Step::Done(Box::new(negotiated)));
        }
        Ok(())
    }

    fn respond(&mut self, request: &LoginRequest, tsih: u16, segment: Vec<u8>, transit: bool) {
        let mut response = response_to(request, LoginStatus::SUCCESS);
        response.tsih = tsih;
        response.continues = !self.outgoing.is_empty();
        if transit {
            response.transit = true;
            response.next_stage = request.next_stage;
            self.stage = request.next_stage;
        }
        self.steps.push_back(Step::Respond(response, segment));
    }

    fn fail(&mut self, request: &LoginRequest, error: LoginError) {
        let failure = LoginFailure::from(error);
        let mut response = response_to(request, failure.status);
        response.tsih = request.tsih;
        self.steps.push_back(Step::Respond(response, Vec::new()));
        self.steps.push_back(Step::Failed(failure));
        self.state = State::Over;
        self.assembly.take();
        self.outgoing = Outgoing::default();
    }
}

fn response_to(request: &LoginRequest, status: LoginStatus) -> LoginResponse {
    LoginResponse {
        current_stage: request.current_stage,
        version_max: VERSION,
        version_active: VERSION,
        isid: request.isid,
        initiator_task_tag: request.initiator_task_tag,
        status,
        ..LoginResponse::default()
    }
}

/// CSG is one of the two stages of a login; T leads to a later stage and not from the middle of a sequence (RFC 7143 11.12.1 to
/// 11.12.3).
fn check_transition(request: &LoginRequest) -> Result<(), LoginError> {
    let (current, next) = (request.current_stage, request.next_stage);
    let is_login = [
        Stage::SECURITY_NEGOTIATION,
        Stage::LOGIN_OPERATIONAL_NEGOTIATION,
    ]
    .contains(&current);
    let is_later = [
        Stage::LOGIN_OPERATIONAL_NEGOTIATION,
        Stage::FULL_FEATURE_PHASE,
    ]
    .contains(&next)
        && next.0 > current.0;
    if is_login && (!request.transit || is_later && !request.continues) {
        return Ok(());
    }
    Err(LoginError::Transition {
        current,
        next,
        transit: request.transit,
        continues: request.continues,
    })
}

/// What the first sequence says of who it is. Repeated keys are found later, by the negotiation.
fn identity_of(request: &LoginRequest, pairs: &[Pair<'_>]) -> Result<Identity, LoginError> {
    let find = |key: Key| pairs.iter().find(|pair| pair.key == key.name());
    let name = |key: Key| {
        find(key)
            .map(|pair| {
                value::name(pair.value)
                    .ok_or_else(|| LoginError::value(key.name(), pair.value, pair.offset))
            })
            .transpose()
    };
    let session_type = match find(Key::SessionType).map(|pair| pair.value) {
        None | Some("Normal") => SessionType::Normal,
        Some("Discovery") => SessionType::Discovery,
        Some(other) => return Err(LoginError::SessionType(shortened(other))),
    };
    let missing = |key: Key| LoginError::Missing(key.name());
    let initiator_name = name(Key::InitiatorName)?.ok_or_else(|| missing(Key::InitiatorName))?;
    let target_name = name(Key::TargetName)?;
    if target_name.is_none() && session_type == SessionType::Normal {
        return Err(missing(Key::TargetName));
    }
    let alias = find(Key::InitiatorAlias).and_then(|pair| value::label(pair.value));
    Ok(Identity {
        initiator_name,
        initiator_alias: alias.map(str::to_owned),
        target_name,
        session_type,
        isid: request.isid,
        tsih: request.tsih,
        cid: request.cid,
    })
}

#[cfg(test)]
mod tests;
