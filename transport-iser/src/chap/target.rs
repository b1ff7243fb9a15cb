//! The target's side of CHAP: it asks, it may be asked in turn.

use super::{Algorithm, Challenge, ChapError, Proof, Required};
use crate::text::value;

/// One authentication.
#[derive(Debug)]
pub struct Target {
    required: Required,
    challenge: Challenge,
    algorithm: Option<Algorithm>,
}

impl Target {
    /// Begins.
    ///
    /// # Errors
    /// [`ChapError::SameSecret`]: the configuration has one secret for both directions.
    pub fn new(required: Required) -> Result<Self, ChapError> {
        let mutual = required.mutual.as_ref();
        if mutual.is_some_and(|own| own.secret.is_same(&required.secret)) {
            return Err(ChapError::SameSecret);
        }
        let challenge = Challenge {
            identifier: required.identifier,
            bytes: required.challenge.to_vec(),
        };
        Ok(Self {
            required,
            challenge,
            algorithm: None,
        })
    }

    /// The initiator's list CHAP_A. The first algorithm in it that is known here is taken, as every list negotiation does
    /// (RFC 7143 6.2.1); it comes back with the challenge.
    ///
    /// # Errors
    /// [`ChapError::NoAlgorithm`]; [`ChapError::Order`] for a second list.
    pub fn choose(&mut self, algorithms: &str) -> Result<(Algorithm, &Challenge), ChapError> {
        if self.algorithm.is_some() {
            return Err(ChapError::Order);
        }
        let algorithm = value::list(algorithms)
            .find_map(Algorithm::parse)
            .ok_or(ChapError::NoAlgorithm)?;
        self.algorithm = Some(algorithm);
        Ok((algorithm, &self.challenge))
    }

    /// The initiator's proof, and its own challenge if it asks back. The user name and the response to it come back.
    ///
    /// # Errors
    /// Any but [`ChapError::NoAlgorithm`]: the login has failed.
    pub fn verify(
        &self,
        proof: Proof<'_>,
        question: Option<&Challenge>,
    ) -> Result<Option<(&str, super::Response)>, ChapError> {
        let algorithm = self.algorithm.ok_or(ChapError::Order)?;
        let expected = algorithm.response(&self.required.secret, &self.challenge);
        // Both are looked at before either is refused: how long it takes does not tell which one was wrong.
        let is_user = proof.user == self.required.user;
        let is_response = expected.is_written(proof.response);
        match (is_user, is_response) {
            (true, true) => {}
            (false, _) => return Err(ChapError::User),
            (true, false) => return Err(ChapError::Response),
        }
        question
            .map(|question| self.answer(algorithm, question))
            .transpose()
    }

    fn answer(
        &self,
        algorithm: Algorithm,
        question: &Challenge,
    ) -> Result<(&str, super::Response), ChapError> {
        let own = self.required.mutual.as_ref().ok_or(ChapError::NotMutual)?;
        if question.bytes == self.challenge.bytes {
            return Err(ChapError::Reflected);
        }
        Ok((&own.user, algorithm.response(&own.secret, question)))
    }
}
