//! The initiator's side of CHAP: it is asked, and may ask in turn.

use super::{Algorithm, CHALLENGE_BYTES, Challenge, ChapError, Credentials, Proof, Response};

/// What an initiator shows, and what it wants to be shown.
#[derive(Clone, Debug)]
pub struct Initiator {
    own: Credentials,
    target: Option<Credentials>,
    algorithms: Vec<Algorithm>,
    question: Challenge,
    asked: Option<Algorithm>,
}

impl Initiator {
    /// Begins; `target` is what the target has to show (mutual CHAP), `identifier` and `challenge` are random and used only then.
    ///
    /// # Errors
    /// [`ChapError::SameSecret`].
    pub fn new(
        own: Credentials,
        target: Option<Credentials>,
        identifier: u8,
        challenge: [u8; CHALLENGE_BYTES],
    ) -> Result<Self, ChapError> {
        if target
            .as_ref()
            .is_some_and(|target| target.secret.is_same(&own.secret))
        {
            return Err(ChapError::SameSecret);
        }
        Ok(Self {
            own,
            target,
            algorithms: Algorithm::BY_STRENGTH.to_vec(),
            question: Challenge {
                identifier,
                bytes: challenge.to_vec(),
            },
            asked: None,
        })
    }

    /// Whether the target has to show something too.
    pub fn is_mutual(&self) -> bool {
        self.target.is_some()
    }

    /// Offers these algorithms alone, for targets that mean another one by a number than the standard does.
    #[must_use]
    pub fn with_algorithms(self, algorithms: &[Algorithm]) -> Self {
        Self {
            algorithms: algorithms.to_vec(),
            ..self
        }
    }

    /// The value of CHAP_A to offer: all algorithms, the strongest first, unless it was said which.
    pub fn algorithms(&self) -> String {
        let numbers = self.algorithms.iter();
        let numbers: Vec<_> = numbers.map(|one| one.number().to_string()).collect();
        numbers.join(",")
    }

    /// The target's challenge; the user name, the response, and the own challenge if the target has to show something.
    ///
    /// # Errors
    /// [`ChapError::NoAlgorithm`], [`ChapError::Reflected`], [`ChapError::Order`] for a second challenge.
    pub fn answer(
        &mut self,
        algorithm: &str,
        challenge: &Challenge,
    ) -> Result<(&str, Response, Option<&Challenge>), ChapError> {
        if self.asked.is_some() {
            return Err(ChapError::Order);
        }
        let algorithm = Algorithm::parse(algorithm).filter(|one| self.algorithms.contains(one));
        let algorithm = algorithm.ok_or(ChapError::NoAlgorithm)?;
        let asks = self.target.is_some();
        if asks && challenge.bytes == self.question.bytes {
            return Err(ChapError::Reflected);
        }
        self.asked = Some(algorithm);
        let response = algorithm.response(&self.own.secret, challenge);
        Ok((&self.own.user, response, asks.then_some(&self.question)))
    }

    /// The target's proof, or that there was none.
    ///
    /// # Errors
    /// [`ChapError::NoProof`], [`ChapError::User`], [`ChapError::Response`], [`ChapError::Order`] before a challenge was answered.
    pub fn verify(&self, proof: Option<Proof<'_>>) -> Result<(), ChapError> {
        let algorithm = self.asked.ok_or(ChapError::Order)?;
        let Some(target) = &self.target else {
            return Ok(());
        };
        let proof = proof.ok_or(ChapError::NoProof)?;
        let expected = algorithm.response(&target.secret, &self.question);
        match (
            proof.user == target.user,
            expected.is_written(proof.response),
        ) {
            (true, true) => Ok(()),
            (false, _) => Err(ChapError::User),
            (true, false) => Err(ChapError::Response),
        }
    }
}
