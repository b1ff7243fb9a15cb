//! CHAP accounts and their secrets (RFC 7143 12.1.3 and 9.2.1). Pure.
//!
//! A secret is printed by nothing: neither `Debug` nor `Display` nor a serial form of it exists that has its bytes. Who
//! needs them, the login and the writer of the configuration file, asks by [`Secret::expose`]. Its memory is wiped when it
//! goes, and so are the texts that it was read from and written to.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serializer};
use transport_iser::chap;
use zeroize::Zeroizing;

/// Shortest secret, in bytes: 96 bits (RFC 7143 9.2.1).
const MIN_SECRET_BYTES: usize = 12;
/// Longest secret, in bytes; no initiator that is known takes a longer one.
const MAX_SECRET_BYTES: usize = 255;
/// Secrets up to this length are recommended, in bytes.
const COMMON_SECRET_BYTES: usize = 64;
/// Longest user name, in bytes: a text value of RFC 7143 6.1.
const MAX_USER_BYTES: usize = 255;

/// Why a user name or a secret is not taken. It never tells the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChapError {
    /// Too short.
    #[error(
        "the CHAP secret has {0} bytes; RFC 7143 9.2.1 asks for at least 96 bits against guessing offline, which is \
         12 bytes: give 12 to 64, for example from `openssl rand -hex 16`"
    )]
    Short(usize),
    /// Too long.
    #[error("the CHAP secret has {0} bytes; accepted: 12 to 255, and 12 to 64 are recommended")]
    Long(usize),
    /// Not text in one line.
    #[error(
        "the CHAP secret has a character that is not printable ASCII; accepted: one line of letters, digits, \
         punctuation and spaces"
    )]
    Character,
    /// Not a user name.
    #[error("'{0}' is not a CHAP user name; accepted: 1 to 255 printable ASCII characters")]
    User(String),
}

/// A CHAP secret. Its bytes are wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret. The line end of a file or of a terminal is not part of it.
    ///
    /// # Errors
    /// [`ChapError`], which does not tell it.
    pub fn new(text: &str) -> Result<Self, ChapError> {
        let secret = text.strip_suffix('\n').unwrap_or(text);
        let secret = secret.strip_suffix('\r').unwrap_or(secret);
        if !secret.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(ChapError::Character);
        }
        match secret.len() {
            len @ ..MIN_SECRET_BYTES => Err(ChapError::Short(len)),
            MIN_SECRET_BYTES..=MAX_SECRET_BYTES => Ok(Self(Zeroizing::new(secret.to_owned()))),
            len => Err(ChapError::Long(len)),
        }
    }

    /// The secret itself, for the login and for the configuration file only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The secret as a login takes it.
    pub fn for_login(&self) -> chap::Secret {
        chap::Secret::new(self.0.as_bytes().to_vec())
    }

    /// What should be said about it.
    pub fn note(&self) -> Option<String> {
        (self.0.len() > COMMON_SECRET_BYTES).then(|| {
            format!(
                "the CHAP secret has {} bytes; some initiators take no more than {COMMON_SECRET_BYTES}",
                self.0.len()
            )
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("set")
    }
}

/// Writes a secret where it has to stand: in the configuration file, and in what the command line sends the daemon.
///
/// # Errors
/// The serializer's.
pub fn serialize_exposed<S: Serializer>(
    secret: &Option<Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serializer.serialize_str(secret.expose()),
        None => serializer.serialize_none(),
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Secretive)
    }
}

/// Takes text and refuses the rest without repeating it, as errors of serde would.
struct Secretive;

impl Visitor<'_> for Secretive {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CHAP secret as text in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        Secret::new(text).map_err(E::custom)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
        Err(not_text())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
        Err(not_text())
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Secret, E> {
        Err(not_text())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
        Err(not_text())
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Secret, E> {
        Err(not_text())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
        Err(not_text())
    }
}

fn not_text<E: Error>() -> E {
    E::custom("expected a CHAP secret as text in quotes, came another kind of value")
}

/// A name and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapAccount {
    /// CHAP_N.
    pub user: String,
    /// What proves it.
    pub secret: Secret,
}

impl ChapAccount {
    /// An account.
    ///
    /// # Errors
    /// The user name is empty, too long or not printable.
    pub fn new(user: &str, secret: Secret) -> Result<Self, ChapError> {
        let good = (1..=MAX_USER_BYTES).contains(&user.len())
            && user.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if !good {
            return Err(ChapError::User(user.chars().take(80).collect()));
        }
        Ok(Self {
            user: user.to_owned(),
            secret,
        })
    }
}

/// What a login of a host has to prove, and what is proved to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChapSecrets {
    /// What the initiator proves.
    pub initiator: ChapAccount,
    /// What the target proves in turn, when the initiator asks (mutual CHAP).
    pub target: Option<ChapAccount>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_secrets_are_refused_with_the_reason() {
        assert_eq!(Secret::new("elevenbytes"), Err(ChapError::Short(11)));
        let text = ChapError::Short(11).to_string();
        assert!(
            text.contains("96 bits") && text.contains("RFC 7143 9.2.1"),
            "{text}"
        );
        assert!(Secret::new("twelve bytes").is_ok());
        assert_eq!(Secret::new(&"x".repeat(256)), Err(ChapError::Long(256)));
    }

    #[test]
    fn one_line_end_is_not_part_of_it() {
        for text in ["twelve bytes", "twelve bytes\n", "twelve bytes\r\n"] {
            assert_eq!(Secret::new(text).unwrap().expose(), "twelve bytes");
        }
        assert_eq!(Secret::new("twelve bytes\n\n"), Err(ChapError::Character));
        assert_eq!(Secret::new("zwölf und mehr"), Err(ChapError::Character));
    }

    #[test]
    fn long_ones_are_taken_with_a_note() {
        assert_eq!(Secret::new(&"x".repeat(64)).unwrap().note(), None);
        assert!(Secret::new(&"x".repeat(65)).unwrap().note().is_some());
    }

    #[test]
    fn its_memory_is_wiped_when_it_goes() {
        fn is_wiped(_: &impl zeroize::ZeroizeOnDrop) {}
        let Secret(text) = &Secret::new("twelve bytes").unwrap();
        is_wiped(text);
    }

    #[test]
    fn users_are_printable() {
        let secret = || Secret::new("twelve bytes").unwrap();
        assert!(ChapAccount::new("iqn.1998-01.com.vmware:esx01", secret()).is_ok());
        for bad in ["", "a\nb", "ä", &"x".repeat(256)] {
            assert!(ChapAccount::new(bad, secret()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_text_is_not_repeated() {
        for text in [
            "123456789012345",
            "-123456789012345",
            "1234567890.12345",
            "true",
            "[1]",
        ] {
            let error = serde_json::from_str::<Secret>(text)
                .unwrap_err()
                .to_string();
            assert!(!error.contains("12345"), "{error}");
        }
        assert!(serde_json::from_str::<Secret>("\"twelve bytes\"").is_ok());
    }

    proptest! {
        #[test]
        fn debug_never_shows_it(text in "[ -~]{12,64}") {
            let secret = Secret::new(&text).unwrap();
            prop_assert_eq!(secret.expose(), text.as_str());
            prop_assert_eq!(format!("{secret:?}"), "set");
        }

        #[test]
        fn errors_never_show_it(text in "\\PC{0,11}|\\PC{256,300}") {
            if let Err(error) = Secret::new(&text) {
                let said = format!("{error} {error:?}");
                prop_assert!(text.len() < 6 || !said.contains(&text));
            }
        }
    }
}
