//! iSCSI names (RFC 7143 4.2.7): of initiators and of the target, in one form that is compared.
//!
//! Pure. Names are compared after they have been brought to one form (RFC 3722); of that, the part that concerns ASCII
//! is done here: upper case is folded. What is not ASCII is refused.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use super::Guid;
use crate::as_text::serde_as_text;

/// Longest name, in bytes (RFC 7143 4.2.7.1).
const MAX_BYTES: usize = 223;

/// The forms that [`ParsedIqn`] takes, for error messages.
pub const ACCEPTED_FORMS: &str = "iqn.YYYY-MM.REVERSED-DOMAIN[:ANYTHING] (iqn.1998-01.com.vmware:esx01-4f2c9a10), \
     eui. with 16 hexadecimal digits, naa. with 16 or 32; letters, digits, '.', '-' and ':', at most 223 bytes";

/// An iSCSI name: of any of the three types, in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iqn(String);

impl Iqn {
    /// A name that a naming authority (`iqn.YYYY-MM.domain`) gives what has this GUID.
    pub(crate) fn of_authority(authority: &'static str, guid: Guid) -> Self {
        Self(format!("{authority}:{:016x}", guid.value()))
    }

    /// The name as it travels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Iqn {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Iqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Iqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(Iqn);

impl FromStr for Iqn {
    type Err = IqnError;

    fn from_str(text: &str) -> Result<Self, IqnError> {
        ParsedIqn::from_str(text).map(|parsed| parsed.iqn)
    }
}

/// Why a text is no iSCSI name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IqnError {
    /// Not one of the three types.
    #[error("'{0}' is not an iSCSI name; accepted: {ACCEPTED_FORMS}")]
    Form(String),
    /// A character that no name has.
    #[error("'{text}' has {character:?}, which no iSCSI name has; accepted: {ACCEPTED_FORMS}")]
    Character {
        /// What was given.
        text: String,
        /// The first that is wrong.
        character: char,
    },
    /// `iqn.` without a date that the naming authority had its domain.
    #[error(
        "'{0}': after iqn. expected the year and month in which the domain was owned, YYYY-MM, then '.' and the domain \
         in reverse, as in iqn.1998-01.com.vmware:esx01"
    )]
    Authority(String),
    /// `eui.` or `naa.` with another number of digits, or what are no digits.
    #[error("'{text}': after {kind} expected {digits} hexadecimal digits")]
    Digits {
        /// What was given.
        text: String,
        /// `eui.` or `naa.`.
        kind: &'static str,
        /// How many.
        digits: &'static str,
    },
    /// Longer than any name.
    #[error("'{0}…' is longer than the 223 bytes that an iSCSI name may have")]
    Long(String),
}

/// A name and what should be said about the way it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedIqn {
    /// The name.
    pub iqn: Iqn,
    /// A sentence for the operator.
    pub note: Option<String>,
}

impl FromStr for ParsedIqn {
    type Err = IqnError;

    fn from_str(text: &str) -> Result<Self, IqnError> {
        let bare = strip_label(text.trim());
        if bare.len() > MAX_BYTES {
            return Err(IqnError::Long(clip(bare)));
        }
        let name = bare.to_ascii_lowercase();
        check_type(bare, &name)?;
        let note = if name != bare {
            Some(format!(
                "upper case was folded, as iSCSI names are compared: {name}"
            ))
        } else if name.contains('_') {
            Some(format!(
                "{name} has '_', which RFC 3722 does not allow; it is taken because initiators send it"
            ))
        } else {
            None
        };
        Ok(Self {
            iqn: Iqn(name),
            note,
        })
    }
}

/// Takes the label of `/etc/iscsi/initiatorname.iscsi` off.
fn strip_label(text: &str) -> &str {
    let bare = text
        .split_once('=')
        .filter(|(label, _)| label.trim().eq_ignore_ascii_case("initiatorname"))
        .map_or(text, |(_, name)| name);
    bare.trim()
}

fn check_type(bare: &str, name: &str) -> Result<(), IqnError> {
    match name.split_at_checked(4) {
        Some(("iqn.", rest)) => {
            check_characters(bare)?;
            has_authority(rest)
                .then_some(())
                .ok_or_else(|| IqnError::Authority(clip(bare)))
        }
        Some(("eui.", digits)) => check_digits(bare, digits, "eui.", &[16], "16"),
        Some(("naa.", digits)) => check_digits(bare, digits, "naa.", &[16, 32], "16 or 32"),
        _ => Err(IqnError::Form(clip(bare))),
    }
}

/// The characters that RFC 3722 leaves of ASCII, and the underscore, which names in use have.
fn check_characters(bare: &str) -> Result<(), IqnError> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "-.:_".contains(c);
    match bare.chars().find(|c| !is_good(*c)) {
        None => Ok(()),
        Some(character) => Err(IqnError::Character {
            text: clip(bare),
            character,
        }),
    }
}

/// `YYYY-MM.` and a domain (RFC 7143 4.2.7.4).
fn has_authority(rest: &str) -> bool {
    let Some((date, named)) = rest.split_once('.') else {
        return false;
    };
    let domain = named.split(':').next().unwrap_or_default();
    let is_date = matches!(date.as_bytes(), [year @ .., b'-', tens, ones]
        if year.len() == 4 && year.iter().all(u8::is_ascii_digit)
            && matches!((tens, ones), (b'0', b'1'..=b'9') | (b'1', b'0'..=b'2')));
    is_date && domain.split('.').all(|label| !label.is_empty())
}

fn check_digits(
    bare: &str,
    digits: &str,
    kind: &'static str,
    lengths: &[usize],
    expected: &'static str,
) -> Result<(), IqnError> {
    let good =
        lengths.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    good.then_some(()).ok_or_else(|| IqnError::Digits {
        text: clip(bare),
        kind,
        digits: expected,
    })
}

/// Of a name that a peer or a user gave, what a message shows.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> ParsedIqn {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn takes_the_three_types() {
        for text in [
            "iqn.1993-08.org.debian:01:1ec01ae32adf",
            "iqn.1998-01.com.vmware:esx01-4f2c9a10",
            "iqn.1991-05.com.microsoft:win-7",
            "iqn.2001-04.com.example",
            "eui.02004567a425678d",
            "naa.52004567ba64678d",
            "naa.62004567ba64678d0123456789abcdef",
        ] {
            let parsed = parse(text);
            assert_eq!((parsed.iqn.as_str(), parsed.note), (text, None));
        }
    }

    #[test]
    fn takes_the_line_of_a_linux_initiator() {
        let parsed = parse("InitiatorName=iqn.1993-08.org.debian:01:abc\n");
        assert_eq!(parsed.iqn.as_str(), "iqn.1993-08.org.debian:01:abc");
    }

    #[test]
    fn folds_upper_case_and_says_so() {
        let parsed = parse("IQN.1998-01.com.VMware:ESX01");
        assert_eq!(parsed.iqn.as_str(), "iqn.1998-01.com.vmware:esx01");
        assert!(parsed.note.unwrap().contains("folded"));
        assert_eq!(
            parse("eui.02004567A425678D").iqn.as_str(),
            "eui.02004567a425678d"
        );
    }

    #[test]
    fn takes_the_underscore_of_names_in_use_with_a_note() {
        let parsed = parse("iqn.1998-01.com.vmware:esx_01");
        assert!(parsed.note.unwrap().contains("RFC 3722"));
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |text: &str| text.parse::<Iqn>().unwrap_err();
        for text in ["", "esx01", "iqn", "10.0.0.1", "0x0002c903000e0b73"] {
            assert!(matches!(error(text), IqnError::Form(_)), "{text}");
        }
        for text in [
            "iqn.",
            "iqn.com.example:x",
            "iqn.98-01.com.example",
            "iqn.1998-13.com.example",
            "iqn.1998-00.com.example",
            "iqn.1998-01",
            "iqn.1998-01.",
            "iqn.1998-01.:x",
            "iqn.1998-01.com..example",
        ] {
            assert!(matches!(error(text), IqnError::Authority(_)), "{text}");
        }
        for (text, character) in [
            ("iqn.1998-01.com.example:a b", ' '),
            ("iqn.1998-01.com.example:a/b", '/'),
            ("iqn.1998-01.com.exämple", 'ä'),
        ] {
            assert!(
                matches!(error(text), IqnError::Character { character: came, .. } if came == character),
                "{text}"
            );
        }
        for text in [
            "eui.0200",
            "eui.02004567a425678g",
            "naa.62004567ba64678d01234567",
            "eui.+2004567a425678",
        ] {
            assert!(matches!(error(text), IqnError::Digits { .. }), "{text}");
        }
        let long = format!("iqn.1998-01.com.example:{}", "x".repeat(200));
        assert!(matches!(error(&long), IqnError::Long(_)));
        assert!(long[..223].parse::<Iqn>().is_ok());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed_without_note(text in "iqn\\.(19|20)[0-9]{2}-(0[1-9]|1[0-2])\\.[a-z]{1,9}(\\.[a-z0-9-]{1,9}){0,3}(:[a-z0-9.:-]{0,60})?") {
            let parsed = parse(&text);
            prop_assert_eq!(parsed.iqn.to_string(), text);
            prop_assert_eq!(parsed.note, None);
        }

        #[test]
        fn case_never_matters(name in "iqn\\.1998-01\\.com\\.[a-zA-Z]{1,9}(:[a-zA-Z0-9.:-]{0,60})?") {
            prop_assert_eq!(parse(&name).iqn, parse(&name.to_ascii_uppercase()).iqn);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,300}") {
            let _ = text.parse::<Iqn>();
        }

        #[test]
        fn no_name_like_text_panics(text in "(iqn|eui|naa)\\.[\\PC0-9a-fA-F:.-]{0,60}") {
            let _ = text.parse::<Iqn>();
        }

        #[test]
        fn what_is_taken_is_short_lower_case_and_ascii(text in "(iqn|eui|naa|IQN)\\.[0-9]{4}-[0-9]{2}\\.[\\PC0-9a-fA-F:.-]{0,60}") {
            if let Ok(iqn) = text.parse::<Iqn>() {
                prop_assert!(iqn.as_str().len() <= MAX_BYTES && iqn.as_str().is_ascii());
                prop_assert_eq!(iqn.as_str().to_ascii_lowercase(), iqn.as_str());
            }
        }
    }
}
