//! Text format: key=value pairs in the data segments of Login and Text PDUs (RFC 7143 6.1 and 6.2).
//!
//! Room: bytes that a peer sent become pairs, and pairs become data segments. What a key means is told by `login`, which
//! stands above; this room knows no key, no stage and no PDU header. Every bound is checked here, before anything is stored.

mod assembly;
mod outgoing;
pub mod value;

use std::str;

use thiserror::Error;

pub use assembly::{Assembly, MAX_SEQUENCE_BYTES};
pub use outgoing::Outgoing;

/// The longest key in bytes (RFC 7143 6.1, standard-label).
pub const MAX_KEY_BYTES: usize = 63;

/// The longest value in bytes, as it is written; no key that is understood here needs more (RFC 7143 6.1).
pub const MAX_VALUE_BYTES: usize = 8192;

/// Pairs in one sequence; three times as many as the standards name keys. It bounds the answer to a flood of unknown keys.
pub const MAX_PAIRS: usize = 256;

/// The key is not known (RFC 7143 6.2).
pub const NOT_UNDERSTOOD: &str = "NotUnderstood";
/// The key has no meaning in this session (RFC 7143 6.2).
pub const IRRELEVANT: &str = "Irrelevant";
/// The proposal cannot be taken (RFC 7143 6.2).
pub const REJECT: &str = "Reject";

/// Whether a value is one of the constants that answer a proposal without a result (RFC 7143 6.2).
pub fn is_refusal(value: &str) -> bool {
    [NOT_UNDERSTOOD, IRRELEVANT, REJECT].contains(&value)
}

/// One key=value pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// What stands before the first `=`; 1 to [`MAX_KEY_BYTES`] bytes of the standard's characters.
    pub key: &'a str,
    /// What stands behind it; at most [`MAX_VALUE_BYTES`] bytes of UTF-8, perhaps none.
    pub value: &'a str,
    /// Bytes from the start of the sequence to the key.
    pub offset: usize,
}

/// Text that is no key=value pair, with its place in bytes from the start of the sequence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// The last pair does not end.
    #[error(
        "the pair at byte {offset} has no NUL behind it; each key=value pair ends with at least one"
    )]
    Unterminated {
        /// Where the pair starts.
        offset: usize,
    },
    /// There is no `=`.
    #[error("the text at byte {offset} has no `=`; expected key=value")]
    NoEquals {
        /// Where the pair starts.
        offset: usize,
    },
    /// A key that is too long.
    #[error("the key at byte {offset} has {len} bytes; a key has 1 to {MAX_KEY_BYTES}")]
    KeyLength {
        /// Where the key starts.
        offset: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// A key of other characters than the standard has for it.
    #[error(
        "the key at byte {offset} is not a capital letter with letters, digits and `.-+@_#` behind it"
    )]
    KeyCharacters {
        /// Where the key starts.
        offset: usize,
    },
    /// A value that is too long.
    #[error(
        "the value of {key} at byte {offset} has {len} bytes; at most {MAX_VALUE_BYTES} are taken"
    )]
    ValueLength {
        /// Whose value it is.
        key: String,
        /// Where the pair starts.
        offset: usize,
        /// Its length in bytes.
        len: usize,
    },
    /// A value that is not UTF-8.
    #[error("the value of {key} at byte {offset} is not UTF-8")]
    ValueCharacters {
        /// Whose value it is.
        key: String,
        /// Where the pair starts.
        offset: usize,
    },
    /// More pairs than any negotiation needs.
    #[error("more than {MAX_PAIRS} pairs in one sequence, the next at byte {offset}")]
    TooManyPairs {
        /// Where the first pair too many starts.
        offset: usize,
    },
    /// More text than is kept for one sequence.
    #[error("the sequence has more than {limit} bytes; end it with a PDU that has its C bit clear")]
    TooLong {
        /// What is kept at most, in bytes.
        limit: usize,
    },
}

/// Reads the pairs of a whole sequence, in the order in which they came.
///
/// # Errors
/// [`TextError`] for the first pair that is none; nothing of such a sequence should be used.
pub fn parse(sequence: &[u8]) -> Result<Vec<Pair<'_>>, TextError> {
    let mut pairs = Vec::new();
    let mut offset = 0;
    for text in sequence.split_inclusive(|&byte| byte == 0) {
        let start = offset;
        offset += text.len();
        let Some((&0, text)) = text.split_last() else {
            return Err(TextError::Unterminated { offset: start });
        };
        // More than one NUL between pairs is allowed, and some peers count their padding into the segment.
        if text.is_empty() {
            continue;
        }
        if pairs.len() == MAX_PAIRS {
            return Err(TextError::TooManyPairs { offset: start });
        }
        pairs.push(parse_pair(text, start)?);
    }
    Ok(pairs)
}

fn parse_pair(text: &[u8], offset: usize) -> Result<Pair<'_>, TextError> {
    let equals = text.iter().position(|&byte| byte == b'=');
    let (key, value) = equals
        .and_then(|at| Some((text.get(..at)?, text.get(at + 1..)?)))
        .ok_or(TextError::NoEquals { offset })?;
    let key = parse_key(key, offset)?;
    if value.len() > MAX_VALUE_BYTES {
        let (key, len) = (key.to_owned(), value.len());
        return Err(TextError::ValueLength { key, offset, len });
    }
    let value = str::from_utf8(value).map_err(|_| TextError::ValueCharacters {
        key: key.to_owned(),
        offset,
    })?;
    Ok(Pair { key, value, offset })
}

fn parse_key(key: &[u8], offset: usize) -> Result<&str, TextError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        let len = key.len();
        return Err(TextError::KeyLength { offset, len });
    }
    let is_label =
        key.first().is_some_and(u8::is_ascii_alphabetic) && key.iter().all(is_key_character);
    match str::from_utf8(key) {
        Ok(key) if is_label => Ok(key),
        _ => Err(TextError::KeyCharacters { offset }),
    }
}

/// The characters of a standard-label, and `#`, which the registered extension keys have (`X#NodeArchitecture`). RFC 7143 wants
/// a capital first, and its own iSCSIProtocolLevel and iSERHelloRequired have none.
fn is_key_character(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-+@_#".contains(byte)
}

#[cfg(test)]
mod tests;
