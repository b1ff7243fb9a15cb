//! The security stage (RFC 7143 6.3.2, 12): which method, and the keys of CHAP. Each end's state of it.

use super::LoginError;
use super::error::shortened;
use super::key::Key;
use crate::chap::{self, Challenge, ChapError, Proof};
use crate::text::{Outgoing, Pair, value};

/// The keys of CHAP in one sequence.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ChapKeys<'a> {
    algorithm: Option<&'a str>,
    identifier: Option<&'a str>,
    challenge: Option<&'a str>,
    user: Option<&'a str>,
    response: Option<&'a str>,
}

impl<'a> ChapKeys<'a> {
    /// Keeps a pair; `false` if its key is none of CHAP's.
    pub(super) fn keep(&mut self, key: Key, pair: &Pair<'a>) -> bool {
        let slot = match key {
            Key::ChapA => &mut self.algorithm,
            Key::ChapI => &mut self.identifier,
            Key::ChapC => &mut self.challenge,
            Key::ChapN => &mut self.user,
            Key::ChapR => &mut self.response,
            _ => return false,
        };
        *slot = Some(pair.value);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        let all = [
            self.algorithm,
            self.identifier,
            self.challenge,
            self.user,
            self.response,
        ];
        all.iter().all(Option::is_none)
    }

    /// CHAP_I with CHAP_C, or neither.
    pub(super) fn challenge(&self) -> Result<Option<Challenge>, ChapError> {
        match (self.identifier, self.challenge) {
            (None, None) => Ok(None),
            (Some(identifier), Some(challenge)) => {
                Challenge::parse(identifier, challenge).map(Some)
            }
            _ => Err(ChapError::Order),
        }
    }

    /// CHAP_N with CHAP_R, or neither.
    pub(super) fn proof(&self) -> Result<Option<Proof<'a>>, ChapError> {
        match (self.user, self.response) {
            (None, None) => Ok(None),
            (Some(user), Some(response)) => Ok(Some(Proof { user, response })),
            _ => Err(ChapError::Order),
        }
    }
}

/// The target's state of the security stage.
#[derive(Debug)]
pub(super) enum Security {
    /// Nothing has to be shown.
    Open,
    /// CHAP has to be agreed on.
    Required(Box<chap::Target>),
    /// CHAP was agreed on.
    Running(Box<chap::Target>),
    /// The initiator has shown what it had to.
    Passed,
}

impl Security {
    pub(super) fn new(required: Option<chap::Required>) -> Result<Self, ChapError> {
        required.map_or(Ok(Self::Open), |required| {
            chap::Target::new(required).map(|target| Self::Required(Box::new(target)))
        })
    }

    /// Whether the initiator may go on to the next stage.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Open | Self::Passed)
    }

    /// AuthMethod: the first of the initiator's methods that is taken here (RFC 7143 6.2.1, 13.1.1).
    pub(super) fn choose(self, methods: &str, answers: &mut Outgoing) -> Result<Self, LoginError> {
        let (next, method) = match self {
            Self::Required(target) => (Self::Running(target), "CHAP"),
            other => (other, "None"),
        };
        if !value::list(methods).any(|one| one == method) {
            return Err(LoginError::AuthMethod(shortened(methods), method));
        }
        answers.pair(Key::AuthMethod.name(), method);
        Ok(next)
    }

    /// The keys of CHAP in one sequence; one step of the exchange.
    pub(super) fn step(
        self,
        keys: &ChapKeys<'_>,
        answers: &mut Outgoing,
    ) -> Result<Self, ChapError> {
        if keys.is_empty() {
            return Ok(self);
        }
        let Self::Running(mut target) = self else {
            return Err(ChapError::Order);
        };
        let (proof, question) = (keys.proof()?, keys.challenge()?);
        match (keys.algorithm, proof) {
            (Some(algorithms), None) if question.is_none() => {
                let (algorithm, challenge) = target.choose(algorithms)?;
                answers.pair(Key::ChapA.name(), algorithm.number());
                write_challenge(challenge, answers);
                Ok(Self::Running(target))
            }
            (None, Some(proof)) => {
                if let Some((user, response)) = target.verify(proof, question.as_ref())? {
                    answers.pair(Key::ChapN.name(), user);
                    answers.pair(Key::ChapR.name(), response);
                }
                Ok(Self::Passed)
            }
            _ => Err(ChapError::Order),
        }
    }
}

fn write_challenge(challenge: &Challenge, text: &mut Outgoing) {
    text.pair(Key::ChapI.name(), challenge.identifier);
    text.pair(Key::ChapC.name(), value::from_binary(&challenge.bytes));
}

/// The initiator's state of the security stage.
#[derive(Debug)]
pub(super) enum InitiatorSecurity {
    /// There is nothing to show.
    Open,
    /// CHAP was offered, and the algorithms are offered once it is agreed on.
    Offered(Box<chap::Initiator>),
    /// CHAP was agreed on, and the algorithms are to be offered.
    Agreed(Box<chap::Initiator>),
    /// The algorithms were offered, and a challenge is due.
    Asked(Box<chap::Initiator>),
    /// The challenge was answered; the target's own proof is due, if it was asked for.
    Answered(Box<chap::Initiator>),
    /// Both ends are content.
    Passed,
}

impl InitiatorSecurity {
    pub(super) fn new(chap: Option<chap::Initiator>) -> Self {
        chap.map_or(Self::Open, |chap| Self::Offered(Box::new(chap)))
    }

    /// The value of AuthMethod. Who wants to be shown something does not do without.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Offered(chap) if chap.is_mutual() => "CHAP",
            Self::Offered(_) => "CHAP,None",
            _ => "None",
        }
    }

    /// Whether the next stage may be entered.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Open | Self::Passed)
    }

    /// Whether the next stage may be asked for: it may along with the answer to the challenge.
    pub(super) fn may_transit(&self) -> bool {
        matches!(self, Self::Open | Self::Answered(_) | Self::Passed)
    }

    /// The target's AuthMethod.
    pub(super) fn agree(&mut self, pair: &Pair<'_>) -> Result<(), LoginError> {
        let next = match (std::mem::replace(self, Self::Open), pair.value) {
            (Self::Open, "None") => Self::Open,
            (Self::Offered(chap), "None") if !chap.is_mutual() => Self::Open,
            (Self::Offered(chap), "CHAP") => Self::Agreed(chap),
            _ => {
                let key = Key::AuthMethod.name();
                return Err(LoginError::value(key, pair.value, pair.offset));
            }
        };
        *self = next;
        Ok(())
    }

    /// The target's keys of CHAP in one sequence, perhaps none; what is due next is written.
    pub(super) fn step(
        &mut self,
        keys: &ChapKeys<'_>,
        text: &mut Outgoing,
    ) -> Result<(), ChapError> {
        let (proof, question) = (keys.proof()?, keys.challenge()?);
        let next = match std::mem::replace(self, Self::Open) {
            Self::Agreed(chap) if keys.is_empty() => {
                text.pair(Key::ChapA.name(), chap.algorithms());
                Self::Asked(chap)
            }
            Self::Asked(mut chap) if proof.is_none() => {
                let algorithm = keys.algorithm.ok_or(ChapError::Order)?;
                let question = question.ok_or(ChapError::Order)?;
                answer(&mut chap, algorithm, &question, text)?;
                Self::Answered(chap)
            }
            Self::Answered(chap) if keys.algorithm.is_none() && question.is_none() => {
                chap.verify(proof)?;
                Self::Passed
            }
            other if keys.is_empty() => other,
            _ => return Err(ChapError::Order),
        };
        *self = next;
        Ok(())
    }
}

/// CHAP_N and CHAP_R, and CHAP_I and CHAP_C if the target has to show something.
fn answer(
    chap: &mut chap::Initiator,
    algorithm: &str,
    challenge: &Challenge,
    text: &mut Outgoing,
) -> Result<(), ChapError> {
    let (user, response, question) = chap.answer(algorithm, challenge)?;
    text.pair(Key::ChapN.name(), user);
    text.pair(Key::ChapR.name(), response);
    if let Some(question) = question {
        write_challenge(question, text);
    }
    Ok(())
}
