//! The small values of a configuration; each one's text form is checked when it is read. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::as_text::serde_as_text;

/// A text that is not one of a scalar's forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{came}' is not {what}; accepted: {accepted}")]
pub struct ScalarError {
    /// The beginning of what came.
    pub came: String,
    /// What was expected.
    pub what: &'static str,
    /// The forms that it has.
    pub accepted: &'static str,
}

impl ScalarError {
    /// The error for `came`.
    pub fn new(came: &str, what: &'static str, accepted: &'static str) -> Self {
        Self {
            came: came.chars().take(80).collect(),
            what,
            accepted,
        }
    }
}

/// The name of a logical unit or host.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(std::sync::Arc<str>);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub fn shared(&self) -> std::sync::Arc<str> {
        self.0.clone()
    }
}

impl FromStr for Name {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let good = text.len() <= 64
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        good.then(|| Self(text.into())).ok_or_else(|| {
            ScalarError::new(
                text,
                "a name",
                "1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit",
            )
        })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// TargetAlias (RFC 7143 13.7): UTF-8 text in one line, 1 to 255 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alias(String);

impl Alias {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Alias {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let good = (1..=255).contains(&text.len()) && !text.contains(char::is_control);
        good.then(|| Self(text.to_owned())).ok_or_else(|| {
            ScalarError::new(
                text,
                "a target alias",
                "1 to 255 bytes of text without control characters",
            )
        })
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An address that the soft fabric may listen on: one that a peer can send to as it stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SoftAddress(IpAddr);

impl SoftAddress {
    /// The address.
    pub fn ip(self) -> IpAddr {
        self.0
    }
}

impl FromStr for SoftAddress {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let address = text.trim().parse::<IpAddr>().ok();
        address
            .filter(|ip| !ip.is_unspecified() && !ip.is_multicast() && !is_link_local(*ip))
            .map(Self)
            .ok_or_else(|| {
                ScalarError::new(
                    text,
                    "an address for the soft fabric",
                    "an IP address of one network device of this machine (10.0.0.1, fd00::1), not a wildcard, multicast or \
                     link-local one; without any, it takes every address that there is",
                )
            })
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

impl fmt::Display for SoftAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A number of bytes. Its text has a power of 1,024 as unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ByteSize(pub u64);

const UNITS: [(char, u32); 6] = [
    ('E', 60),
    ('P', 50),
    ('T', 40),
    ('G', 30),
    ('M', 20),
    ('K', 10),
];

impl FromStr for ByteSize {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        parse_size(text).map(Self).ok_or_else(|| {
            ScalarError::new(
                text,
                "a size",
                "a number of bytes, or with a unit: 512M, 1.5T, 20GiB (K M G T P E are powers of 1024)",
            )
        })
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits)?.to_ascii_uppercase();
    let shift = match unit.strip_suffix("IB").unwrap_or(&unit) {
        "" if unit.is_empty() => 0,
        "B" => 0,
        letter => UNITS.iter().find(|(name, _)| letter == name.to_string())?.1,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.len() > 6 || digits.ends_with('.') {
        return None;
    }
    let scaled: u128 = format!("{whole}{fraction}")
        .parse()
        .ok()
        .filter(|_| whole.len() < 21)?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let bytes = scaled.checked_mul(1 << shift)?;
    (bytes % scale == 0).then(|| u64::try_from(bytes / scale).ok())?
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS
            .iter()
            .find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        f.pad(&match exact {
            Some((unit, shift)) => format!("{}{unit}", self.0 >> shift),
            None => self.0.to_string(),
        })
    }
}

impl ByteSize {
    /// Rounded for people: three digits and a unit.
    pub fn rounded(self) -> String {
        let Some((unit, shift)) = UNITS.iter().find(|(_, shift)| self.0 >> shift != 0) else {
            return format!("{} B", self.0);
        };
        let tenths = (u128::from(self.0) * 10) >> shift;
        match (tenths / 10, tenths % 10) {
            (whole, tenth) if whole < 100 && tenth != 0 => format!("{whole}.{tenth} {unit}iB"),
            (whole, _) => format!("{whole} {unit}iB"),
        }
    }
}

/// Bytes of a logical block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BlockSize {
    /// 512 bytes.
    #[default]
    B512,
    /// 4,096 bytes.
    B4096,
}

impl BlockSize {
    /// In bytes.
    pub fn bytes(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }
}

impl TryFrom<u64> for BlockSize {
    type Error = ScalarError;

    fn try_from(bytes: u64) -> Result<Self, ScalarError> {
        match bytes {
            512 => Ok(Self::B512),
            4096 => Ok(Self::B4096),
            other => Err(ScalarError::new(
                &other.to_string(),
                "a block size",
                "512, 4096",
            )),
        }
    }
}

impl FromStr for BlockSize {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let bytes: u64 = text
            .parse()
            .map_err(|_| ScalarError::new(text, "a block size", "512, 4096"))?;
        bytes.try_into()
    }
}

impl Serialize for BlockSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.bytes())
    }
}

impl<'de> Deserialize<'de> for BlockSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer)?
            .try_into()
            .map_err(serde::de::Error::custom)
    }
}

/// A partition key (IBA 1.7 volume 1, 10.9), written `0x8001`. The membership bit does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pkey(pub u16);

impl FromStr for Pkey {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let digits = text.strip_prefix("0x").or(text.strip_prefix("0X"));
        digits
            .filter(|digits| (1..=4).contains(&digits.len()))
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
            .filter(|pkey| pkey & 0x7fff != 0)
            .map(Self)
            .ok_or_else(|| {
                ScalarError::new(
                    text,
                    "a P_Key",
                    "0x0001 to 0x7fff, or with the membership bit 0x8001 to 0xffff",
                )
            })
    }
}

impl fmt::Display for Pkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.0)
    }
}

/// Who must vouch for a host's GUID.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Require {
    /// The fabric on InfiniBand, the initiator itself on RoCE.
    #[default]
    Any,
    /// The fabric: the host can come in over InfiniBand only.
    Fabric,
}

impl FromStr for Require {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        match text {
            "any" => Ok(Self::Any),
            "fabric" => Ok(Self::Fabric),
            _ => Err(ScalarError::new(
                text,
                "who must vouch for a GUID",
                "any, fabric",
            )),
        }
    }
}

impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Any => "any",
            Self::Fabric => "fabric",
        })
    }
}

serde_as_text!(Name, Alias, SoftAddress, ByteSize, Pkey, Require);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(text: &str) -> Option<u64> {
        text.parse::<ByteSize>().ok().map(|size| size.0)
    }

    #[test]
    fn sizes_with_and_without_unit() {
        assert_eq!(size("4096"), Some(4096));
        assert_eq!(size("4096B"), Some(4096));
        assert_eq!(size("2T"), Some(2 << 40));
        assert_eq!(size("2TiB"), Some(2 << 40));
        assert_eq!(size("1.5g"), Some(3 << 29));
        assert_eq!(size("0.5K"), Some(512));
        assert_eq!(size("15E"), Some(15 << 60));
    }

    #[test]
    fn refuses_sizes_that_are_unclear_or_too_large() {
        for text in [
            "",
            "T",
            "iB",
            "-1",
            "2 T",
            "1.",
            ".5G",
            "0.3",
            "2GB",
            "16E",
            "1e3",
            "99999999999999999999T",
            "1,5G",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn rounds_for_people() {
        assert_eq!(ByteSize(0).rounded(), "0 B");
        assert_eq!(ByteSize(512).rounded(), "512 B");
        assert_eq!(ByteSize(2 << 40).rounded(), "2 TiB");
        assert_eq!(ByteSize(3 << 29).rounded(), "1.5 GiB");
        assert_eq!(ByteSize(u64::MAX).rounded(), "15.9 EiB");
    }

    #[test]
    fn names() {
        for good in ["ds1", "esx01.example.org", "0", "a_b-c"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "é", &"a".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn partition_keys() {
        assert_eq!("0x8001".parse(), Ok(Pkey(0x8001)));
        assert_eq!(Pkey(1).to_string(), "0x0001");
        for bad in ["8001", "0x", "0x10000", "0x8000", "0x0", "0x+1"] {
            assert!(bad.parse::<Pkey>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_size_parses_to_itself(bytes in any::<u64>(), shift in 0..64u32) {
            let bytes = bytes.wrapping_shl(shift);
            prop_assert_eq!(size(&ByteSize(bytes).to_string()), Some(bytes));
        }

        #[test]
        fn no_text_panics(text in "[0-9.KMGTPEiB]{0,40}") {
            let _ = size(&text);
        }
    }
}
