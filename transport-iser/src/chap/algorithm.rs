//! The algorithms of CHAP (IANA, PPP authentication algorithms; RFC 7143 12.1.3): what a response is.

use std::fmt;

use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use sha2::digest::Digest;
use sha3::Sha3_256;
use subtle::ConstantTimeEq;

use super::{Challenge, Secret};
use crate::text::value;

const MAX_RESPONSE_BYTES: usize = 32;

/// CHAP_A.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// MD5, 16 bytes; the one that everybody has.
    Md5 = 5,
    /// SHA-1, 20 bytes.
    Sha1 = 6,
    /// SHA-256, 32 bytes.
    Sha256 = 7,
    /// SHA3-256, 32 bytes.
    Sha3_256 = 8,
}

impl Algorithm {
    /// All of them, the strongest first: an initiator's order of preference.
    pub const BY_STRENGTH: [Algorithm; 4] = [
        Algorithm::Sha3_256,
        Algorithm::Sha256,
        Algorithm::Sha1,
        Algorithm::Md5,
    ];

    /// The algorithm of a value in CHAP_A.
    pub fn parse(text: &str) -> Option<Self> {
        let number = value::number(text)?;
        Self::BY_STRENGTH
            .into_iter()
            .find(|algorithm| u64::from(algorithm.number()) == number)
    }

    /// Its number in CHAP_A.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The response to a challenge: the hash of identifier, secret and challenge in this order (RFC 1994 4.1).
    pub fn response(self, secret: &Secret, challenge: &Challenge) -> Response {
        match self {
            Algorithm::Md5 => respond::<Md5>(secret, challenge),
            Algorithm::Sha1 => respond::<Sha1>(secret, challenge),
            Algorithm::Sha256 => respond::<Sha256>(secret, challenge),
            Algorithm::Sha3_256 => respond::<Sha3_256>(secret, challenge),
        }
    }
}

fn respond<D: Digest>(secret: &Secret, challenge: &Challenge) -> Response {
    let mut hash = D::new();
    hash.update([challenge.identifier]);
    hash.update(secret.expose());
    hash.update(&challenge.bytes);
    Response(hash.finalize().to_vec())
}

/// CHAP_R. It is not compared with `==`, which would take longer the more of it is right.
#[derive(Clone)]
pub struct Response(Vec<u8>);

impl Response {
    /// Whether the value of CHAP_R is this response; in a time that does not tell where they differ.
    pub fn is_written(&self, response: &str) -> bool {
        value::binary(response, MAX_RESPONSE_BYTES)
            .is_some_and(|bytes| bytes.as_slice().ct_eq(&self.0).into())
    }
}

/// As the value of CHAP_R is written.
impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&value::from_binary(&self.0))
    }
}
