//! CHAP: one side shows that it knows a secret without sending it (RFC 7143 12.1.3, RFC 1994).
//!
//! Room: the arithmetic, and the two sides as small machines that take and give values of keys. The secrets and the randomness
//! come from outside; what is compared is compared in constant time. `login` carries the keys.

mod algorithm;
mod initiator;
mod secret;
mod target;

use thiserror::Error;

pub use algorithm::{Algorithm, Response};
pub use initiator::Initiator;
pub use secret::Secret;
pub use target::Target;

use crate::text::value;

/// The longest challenge in bytes (RFC 7143 12.1.3).
pub const MAX_CHALLENGE_BYTES: usize = 1024;

/// The bytes of a challenge of ours: as many as the longest response has.
pub const CHALLENGE_BYTES: usize = 32;

/// Who somebody says to be, and how it is shown.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// CHAP_N.
    pub user: String,
    /// The secret that goes with it.
    pub secret: Secret,
}

/// What a target asks of an initiator.
#[derive(Clone, Debug)]
pub struct Required {
    /// CHAP_N that the initiator has to give.
    pub user: String,
    /// The secret that it has to know.
    pub secret: Secret,
    /// What this target shows when the initiator asks for it; its secret differs from the other one.
    pub mutual: Option<Credentials>,
    /// CHAP_I; random.
    pub identifier: u8,
    /// CHAP_C; random and never used before.
    pub challenge: [u8; CHALLENGE_BYTES],
}

/// CHAP_I and CHAP_C.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// CHAP_I.
    pub identifier: u8,
    /// CHAP_C, 1 to [`MAX_CHALLENGE_BYTES`] bytes.
    pub bytes: Vec<u8>,
}

impl Challenge {
    /// Reads the values of CHAP_I and CHAP_C.
    ///
    /// # Errors
    /// [`ChapError::Identifier`], [`ChapError::Challenge`].
    pub fn parse(identifier: &str, challenge: &str) -> Result<Self, ChapError> {
        let identifier = value::number(identifier).and_then(|number| u8::try_from(number).ok());
        Ok(Self {
            identifier: identifier.ok_or(ChapError::Identifier)?,
            bytes: value::binary(challenge, MAX_CHALLENGE_BYTES).ok_or(ChapError::Challenge)?,
        })
    }
}

/// CHAP_N and CHAP_R, as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof<'a> {
    /// CHAP_N.
    pub user: &'a str,
    /// CHAP_R.
    pub response: &'a str,
}

/// Why an authentication failed. None of them says what a secret is, or how near a response was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChapError {
    /// No algorithm in CHAP_A is known to both ends.
    #[error("CHAP_A has no algorithm that both ends know; known are 5, 6, 7 and 8")]
    NoAlgorithm,
    /// CHAP_I is no number of one byte.
    #[error("CHAP_I is not a number from 0 to 255")]
    Identifier,
    /// CHAP_C is no binary string, or too long.
    #[error("CHAP_C is not a hexadecimal or base64 string of 1 to {MAX_CHALLENGE_BYTES} bytes")]
    Challenge,
    /// Somebody else's name.
    #[error("CHAP_N is not the user that was configured")]
    User,
    /// A wrong response.
    #[error("CHAP_R is wrong; compare the secrets of both ends")]
    Response,
    /// The peer gave our own challenge back, so that we would answer it for the peer.
    #[error("CHAP_C is the challenge that the peer was sent itself")]
    Reflected,
    /// The peer wants to see a proof and there is none.
    #[error("the peer asks for mutual CHAP, and no secret for that direction is configured")]
    NotMutual,
    /// The peer did not answer our challenge.
    #[error("the peer did not authenticate itself, and mutual CHAP is required")]
    NoProof,
    /// One secret for both directions: who is asked could send the question back (RFC 7143 9.2.1).
    #[error("both directions have the same secret; configure two that differ")]
    SameSecret,
    /// A key came when nothing had asked for it, or did not come when it was due.
    #[error("the keys of CHAP came in another order than CHAP_A, CHAP_N with CHAP_R")]
    Order,
}

#[cfg(test)]
mod tests;
