//! Identities that are made once and kept: of the target, and of each logical unit.

use std::fmt;
use std::str::FromStr;

use super::scalar::ScalarError;
use super::{IscsiSettings, TargetIdentity};
use crate::as_text::serde_as_text;
use crate::identity::{Guid, Iqn};

/// The company id of the designators that are made here. Its universal/local bit is set, so it is nobody's.
const LOCAL_COMPANY_ID: u128 = 0x02_53_52;

/// Designator of a logical unit (SPC-4 7.8.6.6.5, NAA IEEE Registered Extended): 16 bytes, the first digit 6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Naa(u128);

impl Naa {
    /// A new one. Fails when the kernel gives no random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        let vendor_specific = u128::from_be_bytes(bytes) >> 28;
        Ok(Self(0x6 << 124 | LOCAL_COMPANY_ID << 100 | vendor_specific))
    }

    /// The designator.
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// A serial number for a logical unit that has none: the last 16 digits.
    pub fn serial(self) -> Serial {
        Serial(format!("{:016x}", self.0 & u128::from(u64::MAX)))
    }
}

impl FromStr for Naa {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower
            .strip_prefix("naa.")
            .or(lower.strip_prefix("0x"))
            .unwrap_or(&lower);
        let value = Some(digits)
            .filter(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u128::from_str_radix(digits, 16).ok())
            .filter(|value| value >> 124 == 6);
        value.map(Self).ok_or_else(|| {
            ScalarError::new(
                text,
                "an NAA designator",
                "naa. and 32 hexadecimal digits, the first of them 6 (naa.6001405…)",
            )
        })
    }
}

impl fmt::Display for Naa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "naa.{:032x}", self.0)
    }
}

impl fmt::Debug for Naa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// UNIT SERIAL NUMBER: printable ASCII, 1 to 36 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Serial(String);

impl FromStr for Serial {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let good = (1..=36).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        good.then(|| Self(text.to_owned())).ok_or_else(|| {
            ScalarError::new(
                text,
                "a serial number",
                "1 to 36 printable ASCII characters without spaces",
            )
        })
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(Naa, Serial);

impl TargetIdentity {
    /// A new one: two different values, both EUI-64s with the universal/local bit set. Fails when the kernel gives no
    /// random bytes.
    pub fn random() -> Result<Self, getrandom::Error> {
        let id_ext = local_eui64()?;
        loop {
            let ioc_guid = local_eui64()?;
            if ioc_guid != id_ext {
                return Ok(Self { id_ext, ioc_guid });
            }
        }
    }
}

/// The naming authority of the target names that are made here (RFC 7143 4.2.7.4).
const NAMING_AUTHORITY: &str = "iqn.2026-11.io.srptgt";

/// The portal group that all portals are in.
pub(super) const PORTAL_GROUP_TAG: u16 = 1;

impl IscsiSettings {
    /// What a target is called that was not given another name: its `ioc_guid` makes the name its own.
    pub fn of(target: &TargetIdentity) -> Self {
        Self {
            target_name: Iqn::of_authority(NAMING_AUTHORITY, target.ioc_guid),
            target_alias: None,
            portal_group_tag: PORTAL_GROUP_TAG,
        }
    }
}

fn local_eui64() -> Result<Guid, getrandom::Error> {
    loop {
        let value = getrandom::u64()? >> 8 | 0x02 << 56;
        if let Some(guid) = Guid::new(value) {
            return Ok(guid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_designator_is_nobody_elses() {
        let naa = Naa::random().unwrap();
        assert!(naa.to_string().starts_with("naa.6025352"), "{naa}");
        assert_eq!(naa.to_string().parse(), Ok(naa));
        assert_ne!(naa, Naa::random().unwrap());
        assert!(naa.to_string().ends_with(&naa.serial().to_string()));
    }

    #[test]
    fn designators_of_other_targets_are_kept() {
        for text in [
            "naa.600140512345678901234567890abcde",
            "0x600140512345678901234567890ABCDE",
        ] {
            assert_eq!(
                text.parse::<Naa>().unwrap().to_string(),
                "naa.600140512345678901234567890abcde"
            );
        }
        for bad in [
            "",
            "naa.5001405123456789",
            "naa.500140512345678901234567890abcde",
            "eui.1234567890abcdef",
        ] {
            assert!(bad.parse::<Naa>().is_err(), "{bad}");
        }
    }

    #[test]
    fn serial_numbers() {
        assert!("WD-42".parse::<Serial>().is_ok());
        for bad in ["", "a b", "é", &"x".repeat(37)] {
            assert!(bad.parse::<Serial>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_targets_name_is_a_name_and_follows_its_guid() {
        let target = TargetIdentity::random().unwrap();
        let name = IscsiSettings::of(&target).target_name;
        assert_eq!(name.as_str().parse(), Ok(name.clone()));
        let digits = format!("{:016x}", target.ioc_guid.value());
        assert_eq!(name.as_str(), format!("iqn.2026-11.io.srptgt:{digits}"));
    }

    #[test]
    fn the_targets_two_halves_differ() {
        let target = TargetIdentity::random().unwrap();
        assert_ne!(target.id_ext, target.ioc_guid);
        assert_eq!(target.id_ext.value() >> 56, 0x02);
    }
}
