//! The forms of values (RFC 7143 6.1): booleans, numbers, ranges, lists, binary strings, iSCSI names.

use std::fmt::Write;

use base64ct::{Base64, Encoding};

/// The longest iSCSI name in bytes (RFC 7143 4.2.7.1).
pub const MAX_NAME_BYTES: usize = 223;

/// The longest simple value in bytes where its key says nothing else (RFC 7143 6.1).
pub const MAX_SIMPLE_BYTES: usize = 255;

/// `Yes` or `No`.
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// How a boolean is written.
pub fn from_boolean(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

/// A numerical-value: decimal without leading zeros, or hexadecimal behind `0x`; below 2^64.
pub fn number(value: &str) -> Option<u64> {
    if let Some(digits) = behind_prefix(value, b'x') {
        return parse_digits(digits, 16);
    }
    let has_leading_zero = value.len() > 1 && value.starts_with('0');
    if has_leading_zero {
        return None;
    }
    parse_digits(value, 10)
}

/// The standard library takes a sign; the standard does not.
fn parse_digits(digits: &str, radix: u32) -> Option<u64> {
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// A numerical-range: two numbers with a tilde between them, the second not below the first.
pub fn range(value: &str) -> Option<(u64, u64)> {
    let (low, high) = value.split_once('~')?;
    let (low, high) = (number(low)?, number(high)?);
    (low <= high).then_some((low, high))
}

/// The values of a list-of-values, in the order of preference.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',')
}

/// A binary-value in hexadecimal or base64 with at most `max` bytes. A hexadecimal string of n digits has (n + 1) / 2 bytes:
/// the first of an odd number stands alone in its byte.
pub fn binary(value: &str, max: usize) -> Option<Vec<u8>> {
    let bytes = match behind_prefix(value, b'x') {
        Some(digits) if digits.len().div_ceil(2) <= max => hexadecimal(digits)?,
        Some(_) => return None,
        None => base64(behind_prefix(value, b'b')?, max)?,
    };
    (!bytes.is_empty()).then_some(bytes)
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: &u8| char::from(*digit).to_digit(16);
    let byte = |digits: &[u8]| {
        let value = digits
            .iter()
            .try_fold(0, |value, digit| Some(value << 4 | nibble(digit)?))?;
        u8::try_from(value).ok()
    };
    let (first, pairs) = digits.as_bytes().split_at(digits.len() % 2);
    first.chunks(1).chain(pairs.chunks(2)).map(byte).collect()
}

fn base64(text: &str, max: usize) -> Option<Vec<u8>> {
    if text.len().div_ceil(4) * 3 > max.next_multiple_of(3) {
        return None;
    }
    let bytes = Base64::decode_vec(text).ok()?;
    (bytes.len() <= max).then_some(bytes)
}

/// How binary strings are written here: hexadecimal, which every peer reads.
pub fn from_binary(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("0x");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What stands behind `0x` or `0b`, whose letter may be a capital.
fn behind_prefix(value: &str, letter: u8) -> Option<&str> {
    let [b'0', second, ..] = value.as_bytes() else {
        return None;
    };
    value
        .get(2..)
        .filter(|rest| second.eq_ignore_ascii_case(&letter) && !rest.is_empty())
}

/// An iSCSI name in the form in which names are compared: in small letters (RFC 7143 4.2.7.2). `None` if it is empty, too long
/// or has characters that no name has. The underscore is none of the standard's, and many names have it.
pub fn name(value: &str) -> Option<String> {
    let is_fitting = |c: char| c.is_alphanumeric() || "-.:_".contains(c);
    let is_name = !value.is_empty() && value.len() <= MAX_NAME_BYTES;
    (is_name && value.chars().all(is_fitting)).then(|| value.to_lowercase())
}

/// A text for people, like an alias: not too long, and nothing that would move a terminal's cursor.
pub fn label(value: &str) -> Option<&str> {
    (value.len() <= MAX_SIMPLE_BYTES && !value.chars().any(char::is_control)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("8192"), Some(8192));
        assert_eq!(number("0x2000"), Some(8192));
        assert_eq!(number("0X2aF"), Some(0x2af));
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        for wrong in [
            "",
            "-1",
            "+1",
            "0x",
            "0x+1",
            "007",
            "1 ",
            "1.0",
            "18446744073709551616",
            "0b1",
            "\u{664}",
        ] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ranges_rise() {
        assert_eq!(range("8~0x10"), Some((8, 16)));
        assert_eq!(range("8~8"), Some((8, 8)));
        for wrong in ["9~8", "8", "8~", "~8", "8~9~10"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn binary_strings_are_hexadecimal_or_base64() {
        assert_eq!(binary("0xdeadBEEF", 4), Some(vec![0xde, 0xad, 0xbe, 0xef]));
        assert_eq!(binary("0Xabc", 2), Some(vec![0x0a, 0xbc]));
        assert_eq!(binary("0b3q2+7w==", 4), Some(vec![0xde, 0xad, 0xbe, 0xef]));
        assert_eq!(binary("0B3q2+7w==", 4), Some(vec![0xde, 0xad, 0xbe, 0xef]));
        for wrong in [
            "0xdeadbeef00",
            "0b3q2+7wA=",
            "deadbeef",
            "0x",
            "0b",
            "0xfg",
            "0b?",
            "0b3q2+7w=",
            "12",
            "",
            "0x\u{e9}",
        ] {
            assert_eq!(binary(wrong, 4), None, "{wrong}");
        }
        assert_eq!(from_binary(&[0, 0x0f, 0xff]), "0x000fff");
    }

    #[test]
    fn names_are_compared_in_small_letters() {
        let written = "iqn.1994-05.COM.RedHat:Node_7";
        assert_eq!(
            name(written).as_deref(),
            Some("iqn.1994-05.com.redhat:node_7")
        );
        assert_eq!(name("iqn.\u{e9}"), Some("iqn.\u{e9}".to_owned()));
        for wrong in ["", "iqn. x", "iqn/x", "iqn\u{1b}[0m", &"n".repeat(224)] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
        assert!(name(&"n".repeat(223)).is_some());
    }

    #[test]
    fn labels_hold_no_control_characters() {
        assert_eq!(label("host 7 \u{fc}"), Some("host 7 \u{fc}"));
        assert_eq!(label("a\u{1b}[2J"), None);
        assert_eq!(label(&"a".repeat(256)), None);
    }
}
