//! An IP address or a network, as a limit on where a host may come from. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::as_text::serde_as_text;

/// An address with the number of leading bits that count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressRange {
    network: IpAddr,
    prefix_bits: u8,
}

/// A text that is no address and no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not an IP address or network; accepted: 10.0.0.7, 10.0.0.0/24, fd00::7, fd00::/64"
)]
pub struct AddressRangeError(String);

impl AddressRange {
    /// Whether `address` lies in the range. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(self, address: IpAddr) -> bool {
        let (ours, width) = bits(self.network);
        let (theirs, other_width) = bits(address.to_canonical());
        let shift = u32::from(width.saturating_sub(self.prefix_bits));
        width == other_width && ours.checked_shr(shift) == theirs.checked_shr(shift)
    }
}

/// The address as a number, and how many bits it has.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

impl FromStr for AddressRange {
    type Err = AddressRangeError;

    fn from_str(text: &str) -> Result<Self, AddressRangeError> {
        let error = || AddressRangeError(text.chars().take(80).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address.trim().parse().map_err(|_| error())?;
        let network = network.to_canonical();
        let (_, width) = bits(network);
        let prefix_bits = match prefix {
            Some(prefix) => prefix.trim().parse().map_err(|_| error())?,
            None => width,
        };
        (prefix_bits <= width)
            .then_some(Self {
                network,
                prefix_bits,
            })
            .ok_or_else(error)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match bits(self.network) {
            (_, width) if width == self.prefix_bits => write!(f, "{}", self.network),
            _ => write!(f, "{}/{}", self.network, self.prefix_bits),
        }
    }
}

serde_as_text!(AddressRange);

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(range: &str, address: &str) -> bool {
        range
            .parse::<AddressRange>()
            .unwrap()
            .contains(address.parse().unwrap())
    }

    #[test]
    fn single_addresses_and_networks() {
        assert!(contains("10.0.0.7", "10.0.0.7"));
        assert!(!contains("10.0.0.7", "10.0.0.8"));
        assert!(contains("10.0.0.0/24", "10.0.0.255"));
        assert!(!contains("10.0.0.0/24", "10.0.1.0"));
        assert!(contains("fd00::/64", "fd00::1:2:3:4"));
        assert!(contains("0.0.0.0/0", "192.0.2.1"));
        assert!(contains("::/0", "2001:db8::1"));
    }

    #[test]
    fn families_do_not_mix_but_mapped_addresses_are_ipv4() {
        assert!(!contains("::/0", "10.0.0.7"));
        assert!(contains("10.0.0.0/24", "::ffff:10.0.0.9"));
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "host",
            "10.0.0.0/33",
            "10.0.0.0/",
            "::/129",
            "10.0.0/24",
        ] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
    }
}
