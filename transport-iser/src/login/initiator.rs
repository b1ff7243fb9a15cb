//! The initiator's side of a login: Login Responses in, Login Requests out (RFC 7143 6.3, appendix B).

use std::collections::VecDeque;

use super::error::{expect_fields, isid_number};
use super::key::{Key, Side};
use super::negotiation::Negotiation;
use super::security::{ChapKeys, InitiatorSecurity};
use super::{
    Datamover, Identity, LoginError, LoginFailure, LoginLimits, MAX_LOGIN_REQUESTS,
    MAX_LOGIN_SEGMENT_BYTES, Negotiated, SessionType,
};
use crate::Sn;
use crate::chap;
use crate::pdu::login::VERSION;
use crate::pdu::{LoginRequest, LoginResponse, LoginStatus, Stage};
use crate::text::{self, Assembly, Outgoing};

/// Who logs in to what, and how.
#[derive(Clone, Debug)]
pub struct InitiatorSettings {
    /// The values to offer.
    pub limits: LoginLimits,
    /// Who logs in, to which target, in which session.
    pub identity: Identity,
    /// What is shown, and asked for, in the security stage; `None` offers `AuthMethod=None`. Without mutual CHAP a target that
    /// does without is taken too.
    pub chap: Option<chap::Initiator>,
    /// Initiator Task Tag of the whole login.
    pub initiator_task_tag: u32,
    /// CmdSN: the first of the session.
    pub cmd_sn: Sn,
}

/// What a login has to say, in this order.
#[derive(Clone, Debug)]
pub enum InitiatorStep {
    /// Send this Login Request with this data segment.
    Send(LoginRequest, Vec<u8>),
    /// Full feature phase with these values.
    Done(Box<Negotiated>),
    /// The login failed; close the connection. The status is the target's, or what a target would have said of the fault.
    Failed(LoginFailure),
}

/// One login, from the first request to full feature phase or failure.
#[derive(Debug)]
pub struct Initiator {
    limits: LoginLimits,
    identity: Identity,
    initiator_task_tag: u32,
    cmd_sn: Sn,
    exp_stat_sn: Sn,
    stage: Stage,
    /// Whether the next whole sequence asks for the next stage.
    wants_transit: bool,
    responses: u32,
    is_over: bool,
    assembly: Assembly,
    outgoing: Outgoing,
    negotiation: Negotiation,
    security: InitiatorSecurity,
    steps: VecDeque<InitiatorStep>,
}

impl Initiator {
    /// A login that has said nothing.
    pub fn new(settings: InitiatorSettings) -> Self {
        let mut negotiation = Negotiation::new(Side::Initiator, &settings.limits);
        negotiation.session_type = settings.identity.session_type;
        Self {
            limits: settings.limits,
            identity: settings.identity,
            initiator_task_tag: settings.initiator_task_tag,
            cmd_sn: settings.cmd_sn,
            exp_stat_sn: Sn(0),
            stage: Stage::SECURITY_NEGOTIATION,
            wants_transit: false,
            responses: 0,
            is_over: false,
            assembly: Assembly::default(),
            outgoing: Outgoing::default(),
            negotiation,
            security: InitiatorSecurity::new(settings.chap),
            steps: VecDeque::new(),
        }
    }

    /// Says who it is, and how it can show that.
    pub fn start(&mut self) {
        let (identity, text) = (&self.identity, &mut self.outgoing);
        text.pair(Key::InitiatorName.name(), &identity.initiator_name);
        if let Some(alias) = &identity.initiator_alias {
            text.pair(Key::InitiatorAlias.name(), alias);
        }
        if let Some(target) = &identity.target_name {
            text.pair(Key::TargetName.name(), target);
        }
        let session_type = match identity.session_type {
            SessionType::Normal => "Normal",
            SessionType::Discovery => "Discovery",
        };
        text.pair(Key::SessionType.name(), session_type);
        text.pair(Key::AuthMethod.name(), self.security.methods());
        self.wants_transit = self.security.is_over();
        self.send();
    }

    /// One Login Response and its data segment. What comes of it is in [`Self::poll`]. After the end nothing comes of it.
    pub fn handle_response(&mut self, response: &LoginResponse, data: &[u8]) {
        if self.is_over {
            return;
        }
        if let Err(error) = self.take_response(response, data) {
            self.is_over = true;
            self.steps.push_back(InitiatorStep::Failed(error.into()));
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<InitiatorStep> {
        self.steps.pop_front()
    }

    fn take_response(&mut self, response: &LoginResponse, data: &[u8]) -> Result<(), LoginError> {
        self.responses += 1;
        if self.responses > MAX_LOGIN_REQUESTS {
            return Err(LoginError::TooManyRequests);
        }
        if response.status != LoginStatus::SUCCESS {
            return Err(LoginError::Refused(response.status));
        }
        self.check_header(response)?;
        self.exp_stat_sn = response.stat_sn.plus(1);
        if !self.outgoing.is_empty() {
            if !data.is_empty() || response.continues || response.transit {
                return Err(LoginError::Interrupted);
            }
            self.send();
            return Ok(());
        }
        self.assembly.push(data)?;
        if response.continues {
            self.send();
            return Ok(());
        }
        let sequence = self.assembly.take();
        self.take_sequence(&sequence)?;
        if response.transit {
            return self.enter(response);
        }
        self.go_on();
        Ok(())
    }

    fn check_header(&self, response: &LoginResponse) -> Result<(), LoginError> {
        expect_fields([
            (
                "ISID",
                isid_number(self.identity.isid),
                isid_number(response.isid),
            ),
            (
                "Initiator Task Tag",
                self.initiator_task_tag.into(),
                response.initiator_task_tag.into(),
            ),
            ("CSG", self.stage.0.into(), response.current_stage.0.into()),
            (
                "Version-active",
                VERSION.into(),
                response.version_active.into(),
            ),
        ])?;
        let is_granted = !response.continues
            && self.outgoing.is_empty()
            && self.wants_transit
            && response.next_stage == self.next_stage();
        if response.transit && !is_granted {
            return Err(LoginError::Transition {
                current: response.current_stage,
                next: response.next_stage,
                transit: response.transit,
                continues: response.continues,
            });
        }
        Ok(())
    }

    /// One whole sequence of the target's keys; what has to be said to it is written.
    fn take_sequence(&mut self, sequence: &[u8]) -> Result<(), LoginError> {
        let mut chap = ChapKeys::default();
        for pair in &text::parse(sequence)? {
            match Key::named(pair.key) {
                Some(key @ Key::AuthMethod) => {
                    self.negotiation.note(key, pair.offset, self.stage)?;
                    self.security.agree(pair)?;
                }
                Some(key) if chap.keep(key, pair) => {
                    self.negotiation.note(key, pair.offset, self.stage)?;
                }
                _ => self
                    .negotiation
                    .hear(pair, self.stage, &mut self.outgoing)?,
            }
        }
        Ok(self.security.step(&chap, &mut self.outgoing)?)
    }

    /// The target has granted the next stage.
    fn enter(&mut self, response: &LoginResponse) -> Result<(), LoginError> {
        if !self.security.is_over() {
            return Err(LoginError::NotAuthenticated);
        }
        self.stage = response.next_stage;
        if self.stage == Stage::FULL_FEATURE_PHASE {
            return self.finish(response.tsih);
        }
        self.offer();
        self.wants_transit = true;
        self.send();
        Ok(())
    }

    /// The target wants something first, or has answered a part.
    fn go_on(&mut self) {
        self.wants_transit = self.security.may_transit();
        self.send();
    }

    /// All keys of the operational stage. The one that makes the session iSER comes first (RFC 7145 6.3).
    fn offer(&mut self) {
        let is_iser = self.limits.datamover == Datamover::Iser;
        let optional = [
            (Key::RdmaExtensions, is_iser),
            (
                Key::MaxOutstandingUnexpectedPdus,
                is_iser && self.limits.max_outstanding_unexpected_pdus != 0,
            ),
            (Key::ProtocolLevel, self.limits.protocol_level > 1),
            (
                Key::TaskReporting,
                self.limits.task_reporting != super::TaskReporting::default(),
            ),
        ];
        let wanted = optional.iter().filter(|(_, wanted)| *wanted);
        for key in wanted.map(|(key, _)| *key).chain(OFFERED) {
            self.negotiation.say(key, &mut self.outgoing);
        }
    }

    fn finish(&mut self, tsih: u16) -> Result<(), LoginError> {
        if let Some(key) = self.negotiation.unanswered() {
            return Err(LoginError::Missing(key.name()));
        }
        if !self.negotiation.is_fit_for_datamover() {
            return Err(LoginError::NoRdmaExtensions);
        }
        self.is_over = true;
        let negotiated = self.negotiation.finish(self.identity.clone(), tsih);
        self.steps
            .push_back(InitiatorStep::Done(Box::new(negotiated)));
        Ok(())
    }

    fn next_stage(&self) -> Stage {
        match self.stage {
            Stage::SECURITY_NEGOTIATION => Stage::LOGIN_OPERATIONAL_NEGOTIATION,
            _ => Stage::FULL_FEATURE_PHASE,
        }
    }

    /// The next piece of what is to be said, perhaps nothing.
    fn send(&mut self) {
        let segment = self.outgoing.take_segment(MAX_LOGIN_SEGMENT_BYTES);
        let continues = !self.outgoing.is_empty();
        let transit = self.wants_transit && !continues;
        let request = LoginRequest {
            immediate: true,
            transit,
            continues,
            current_stage: self.stage,
            next_stage: if transit {
                self.next_stage()
            } else {
                Stage::default()
            },
            version_max: VERSION,
            version_min: VERSION,
            isid: self.identity.isid,
            tsih: self.identity.tsih,
            initiator_task_tag: self.initiator_task_tag,
            cid: self.identity.cid,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        };
        self.steps.push_back(InitiatorStep::Send(request, segment));
    }
}

/// What every session offers; keys without a meaning in it are left out by [`Negotiation::say`].
const OFFERED: [Key; 16] = [
    Key::HeaderDigest,
    Key::DataDigest,
    Key::MaxRecvDataSegmentLength,
    Key::TargetRecvDataSegmentLength,
    Key::InitiatorRecvDataSegmentLength,
    Key::InitialR2T,
    Key::ImmediateData,
    Key::MaxBurstLength,
    Key::FirstBurstLength,
    Key::MaxOutstandingR2T,
    Key::MaxConnections,
    Key::DataPduInOrder,
    Key::DataSequenceInOrder,
    Key::DefaultTime2Wait,
    Key::DefaultTime2Retain,
    Key::ErrorRecoveryLevel,
];

#[cfg(test)]
mod tests;
