//! What a session asks for at its login, and what it takes of the target afterwards.

use transport_iser::Sn;
use transport_iser::chap;
use transport_iser::login::{Datamover, Identity, InitiatorSettings, LoginLimits, SessionType};

/// Initiator Task Tag of the login. Requests of the session have others.
const LOGIN_TAG: u32 = 0;

/// How a session logs in.
#[derive(Clone, Debug)]
pub struct LoginOptions {
    /// Who logs in, to which target, in which session.
    pub identity: Identity,
    /// The values to offer.
    pub limits: LoginLimits,
    /// What is shown and asked for; `None` offers AuthMethod=None.
    pub chap: Option<chap::Initiator>,
    /// CmdSN of the first command.
    pub first_cmd_sn: Sn,
    /// Commands that may be outstanding, even if the target takes more; at most 32,768.
    pub outstanding: u32,
    /// Whether Data-In sequences may be longer than MaxBurstLength. The standard forbids it; `tgt` sends all data of a
    /// command as one sequence.
    pub long_sequences: bool,
}

impl LoginOptions {
    /// The usual session with this target; a discovery session without one.
    pub fn new(datamover: Datamover, initiator_name: &str, target_name: Option<&str>) -> Self {
        let identity = Identity {
            initiator_name: initiator_name.to_owned(),
            initiator_alias: None,
            target_name: target_name.map(str::to_owned),
            session_type: match target_name {
                Some(_) => SessionType::Normal,
                None => SessionType::Discovery,
            },
            // An identifier of the random kind (RFC 7143 11.12.5).
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: 0,
            cid: 0,
        };
        Self {
            identity,
            limits: LoginLimits::new(datamover),
            chap: None,
            first_cmd_sn: Sn(1),
            outstanding: 64,
            long_sequences: false,
        }
    }

    pub(super) fn settings(&self) -> InitiatorSettings {
        InitiatorSettings {
            limits: self.limits.clone(),
            identity: self.identity.clone(),
            chap: self.chap.clone(),
            initiator_task_tag: LOGIN_TAG,
            cmd_sn: self.first_cmd_sn,
        }
    }
}
