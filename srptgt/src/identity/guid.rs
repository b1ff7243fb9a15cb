//! Port GUIDs: every form that people paste, one form that is printed.
//!
//! Pure. A GUID is the EUI-64 of an InfiniBand or RoCE port (IBA 1.7 volume 1, 4.1.1), held in network order;
//! it is printed as `ibstat` prints it: `0x` and sixteen lower-case digits.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::as_text::serde_as_text;

/// The universal/local bit of an EUI-64, which IPv6 interface identifiers invert (RFC 4291 appendix A).
const UNIVERSAL_LOCAL: u64 = 1 << 57;

/// The forms that [`ParsedGuid`] takes, for error messages.
pub const ACCEPTED_FORMS: &str = "0x0002c903000e0b73, 0002c903000e0b73, 0002:c903:000e:0b73, \
     00:02:c9:03:00:0e:0b:73, eui.0002c903000e0b73, ib. with 32 digits, a GID (fe80::2:c903:e:b73), \
     a 128-bit initiator port id, or a `Port GUID:` line of ibstat";

/// A port GUID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(u64);

impl Guid {
    /// A GUID from its value in network order; `None` for the two values that name nothing.
    pub fn new(value: u64) -> Option<Self> {
        (value != 0 && value != u64::MAX).then_some(Self(value))
    }

    /// The low half of a GID or of an initiator port id.
    pub fn from_low_half(id: &[u8; 16]) -> Option<Self> {
        let [.., a, b, c, d, e, f, g, h] = *id;
        Self::new(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The value in network order.
    pub fn value(self) -> u64 {
        self.0
    }

    /// The same with the universal/local bit inverted: what an IPv6 link-local address of the port carries.
    pub fn inverted(self) -> Option<Self> {
        Self::new(self.0 ^ UNIVERSAL_LOCAL)
    }

    /// How far `other` stands above (or, negative, below) this one, when it is near enough to be on the same card:
    /// makers number node, ports and system image one after the other.
    pub fn distance_on_card(self, other: Guid) -> Option<i8> {
        match (other.0.wrapping_sub(self.0)).cast_signed() {
            2 => Some(2),
            1 => Some(1),
            -1 => Some(-1),
            -2 => Some(-2),
            _ => None,
        }
    }

    /// Whether this looks like the interface identifier of an IPoIB address: the bit is set, which no maker does,
    /// and the GUID was not made from an Ethernet address, where it is usual.
    pub fn looks_like_ipoib(self) -> bool {
        let from_ethernet = (self.0 >> 24) & 0xffff == 0xfffe;
        self.0 & UNIVERSAL_LOCAL != 0 && !from_ethernet
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("0x{:016x}", self.0))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

serde_as_text!(Guid);

impl FromStr for Guid {
    type Err = GuidError;

    fn from_str(text: &str) -> Result<Self, GuidError> {
        ParsedGuid::from_str(text).map(|parsed| parsed.guid)
    }
}

/// Why a text is no port GUID: what it is, and what to give instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuidError {
    /// Not one of the accepted forms.
    #[error("'{0}' is not a port GUID; accepted: {ACCEPTED_FORMS}")]
    Form(String),
    /// All zeroes or all ones.
    #[error(
        "'{0}' names no port: a GUID of all zeroes or all ones is never assigned; type the `Port GUID:` of `ibstat`"
    )]
    Reserved(String),
    /// A `Node GUID:` or `System image GUID:` line.
    #[error(
        "'{text}' is the {what}, which names the whole card and never logs in; type the `Port GUID:` that stands \
         under each `Port` of the same ibstat output"
    )]
    NotAPort {
        /// What was pasted.
        text: String,
        /// Which GUID that is.
        what: &'static str,
    },
    /// The IPv6 link-local address of an IPoIB interface.
    #[error(
        "'{text}' is the IPv6 link-local address of an IPoIB interface, which carries the port GUID with one bit \
         inverted; the port GUID is {port_guid}: type that (or {as_given} if the card really has it)"
    )]
    Ipoib {
        /// What was pasted.
        text: String,
        /// The GUID with the bit put right.
        port_guid: Guid,
        /// The GUID as the address carries it.
        as_given: Guid,
    },
    /// A GID that carries an IPv4 address, or a global IPv6 address with no port GUID in it.
    #[error(
        "'{0}' is a RoCE GID made from an IP address: no port GUID is in it; type the `Port GUID:` of `ibstat`, or the \
         GID at index 0 of the port"
    )]
    IpGid(String),
    /// An Ethernet address.
    #[error(
        "'{0}' is an Ethernet address (48 bits), not a port GUID (64 bits); type the `Port GUID:` of `ibstat`"
    )]
    Ethernet(String),
}

/// A GUID and what should be said about the way it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedGuid {
    /// The GUID.
    pub guid: Guid,
    /// A sentence for the operator, when the text held more than a GUID or looks like a mistake.
    pub note: Option<String>,
}

impl FromStr for ParsedGuid {
    type Err = GuidError;

    fn from_str(text: &str) -> Result<Self, GuidError> {
        let text = text.trim();
        let bare = strip_label(text)?.to_ascii_lowercase();
        if let Some(digits) = bare.strip_prefix("eui.") {
            return plain(text, hex64(digits).ok_or_else(|| form(text))?);
        }
        if let Some(digits) = bare.strip_prefix("ib.") {
            return wide(text, hex128(digits).ok_or_else(|| form(text))?);
        }
        let bare = bare.strip_prefix("0x").unwrap_or(&bare);
        if bare.contains(':') {
            return grouped(text, bare);
        }
        if let Some(value) = hex64(bare) {
            return plain(text, value);
        }
        wide(text, hex128(bare).ok_or_else(|| form(text))?)
    }
}

fn form(text: &str) -> GuidError {
    // What comes back in a message is bounded, whatever was pasted.
    GuidError::Form(text.chars().take(80).collect())
}

/// Takes ibstat's label off, and explains the labels that name something else.
fn strip_label(text: &str) -> Result<&str, GuidError> {
    let Some((label, value)) = text.split_once(": ") else {
        return Ok(text);
    };
    let not_a_port = |what| GuidError::NotAPort {
        text: text.chars().take(80).collect(),
        what,
    };
    match label.trim().to_ascii_lowercase().as_str() {
        "port guid" => Ok(value.trim()),
        "node guid" => Err(not_a_port("node GUID")),
        "system image guid" => Err(not_a_port("system image GUID")),
        _ => Err(form(text)),
    }
}

fn plain(text: &str, value: u64) -> Result<ParsedGuid, GuidError> {
    let guid = Guid::new(value).ok_or_else(|| GuidError::Reserved(text.to_owned()))?;
    let note = guid.looks_like_ipoib().then(|| {
        let port = guid.inverted().unwrap_or(guid);
        format!(
            "{guid} looks like the interface id of an IPoIB address; if the login is refused, the port GUID is {port}"
        )
    });
    Ok(ParsedGuid { guid, note })
}

/// A 128-bit value: a GID or an initiator port id. Only the low half counts.
fn wide(text: &str, value: u128) -> Result<ParsedGuid, GuidError> {
    let bytes = value.to_be_bytes();
    let [a, b, c, d, e, f, g, h, ..] = bytes;
    let upper = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    if upper == 0 && bytes[8..12] == [0, 0, 0xff, 0xff] {
        return Err(GuidError::IpGid(text.to_owned()));
    }
    let guid = Guid::from_low_half(&bytes).ok_or_else(|| GuidError::Reserved(text.to_owned()))?;
    if upper == 0xfe80 << 48 && guid.looks_like_ipoib() {
        return Err(ipoib(text, guid));
    }
    let note = (upper != 0 && upper != 0xfe80 << 48).then(|| {
        format!("the upper half 0x{upper:016x} was ignored: initiators change it per target, so only {guid} is compared")
    });
    Ok(ParsedGuid { guid, note })
}

fn ipoib(text: &str, guid: Guid) -> GuidError {
    GuidError::Ipoib {
        text: text.to_owned(),
        port_guid: guid.inverted().unwrap_or(guid),
        as_given: guid,
    }
}

/// Text with colons: groups of bytes, groups of two bytes, or IPv6.
fn grouped(text: &str, bare: &str) -> Result<ParsedGuid, GuidError> {
    let groups: Vec<&str> = bare.split(':').take(33).collect();
    let all_of = |digits: usize| groups.iter().all(|group| group.len() == digits);
    match (groups.len(), all_of(2)) {
        (6, true) => return Err(GuidError::Ethernet(text.to_owned())),
        (8, true) => return plain(text, hex64(&groups.concat()).ok_or_else(|| form(text))?),
        (16, true) => return wide(text, hex128(&groups.concat()).ok_or_else(|| form(text))?),
        // The hardware address of an IPoIB interface: queue pair number, then the GID (RFC 4391 9.1.1).
        (20, true) => {
            let gid = groups.iter().skip(4).copied().collect::<String>();
            return wide(text, hex128(&gid).ok_or_else(|| form(text))?);
        }
        (4, _) if all_of(4) => {
            return plain(text, hex64(&groups.concat()).ok_or_else(|| form(text))?);
        }
        _ => {}
    }
    let address: Ipv6Addr = bare.parse().map_err(|_| form(text))?;
    wide(text, u128::from(address))
}

fn hex64(digits: &str) -> Option<u64> {
    (digits.len() == 16 && is_hex(digits)).then(|| u64::from_str_radix(digits, 16).ok())?
}

fn hex128(digits: &str) -> Option<u128> {
    (digits.len() == 32 && is_hex(digits)).then(|| u128::from_str_radix(digits, 16).ok())?
}

/// `from_str_radix` would take a sign.
fn is_hex(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PORT: u64 = 0x0002_c903_000e_0b73;

    fn parse(text: &str) -> ParsedGuid {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn takes_every_form_of_one_port() {
        for text in [
            "0x0002c903000e0b73",
            "0X0002C903000E0B73",
            "0002c903000e0b73",
            "0002:c903:000e:0b73",
            "0x0002:c903:000e:0b73",
            "00:02:c9:03:00:0e:0b:73",
            "eui.0002C903000E0B73",
            "ib.fe800000000000000002c903000e0b73",
            "ib.00000000000000000002c903000e0b73",
            "fe80::2:c903:e:b73",
            "fe80:0000:0000:0000:0002:c903:000e:0b73",
            "0x00000000000000000002c903000e0b73",
            "00000000000000000002c903000e0b73",
            "0000:0000:0000:0000:0002:c903:000e:0b73",
            "fe:80:00:00:00:00:00:00:00:02:c9:03:00:0e:0b:73",
            "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:0e:0b:73",
            "  Port GUID: 0x0002c903000e0b73 ",
        ] {
            assert_eq!(
                parse(text),
                ParsedGuid {
                    guid: Guid(PORT),
                    note: None
                },
                "{text}"
            );
        }
    }

    #[test]
    fn prints_as_ibstat_does() {
        assert_eq!(
            parse("0002:c903:000e:0b73").guid.to_string(),
            "0x0002c903000e0b73"
        );
    }

    #[test]
    fn ignores_the_upper_half_of_an_esxi_port_id_and_says_so() {
        let parsed = parse("0xd949:560e:4ff0:0301:0023:7dff:ff95:169d");
        assert_eq!(parsed.guid, Guid(0x0023_7dff_ff95_169d));
        assert!(parsed.note.unwrap().contains("0xd949560e4ff00301"));
    }

    #[test]
    fn names_an_ipoib_link_local_address() {
        let error = "fe80::202:c903:e:b73".parse::<Guid>().unwrap_err();
        assert!(
            matches!(&error, GuidError::Ipoib { port_guid, .. } if *port_guid == Guid(PORT)),
            "{error}"
        );
    }

    #[test]
    fn the_bit_is_found_whatever_the_maker() {
        let error = "fe80::e42:a103:d5:a5f6".parse::<Guid>().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the port GUID is 0x0c42a10300d5a5f6"),
            "{error}"
        );
    }

    #[test]
    fn an_inverted_bit_in_guid_form_is_taken_with_a_note() {
        let parsed = parse("0x0202c903000e0b73");
        assert_eq!(parsed.guid, Guid(PORT | UNIVERSAL_LOCAL));
        assert!(parsed.note.unwrap().contains("0x0002c903000e0b73"));
    }

    #[test]
    fn a_gid_made_from_an_ethernet_address_is_a_good_port() {
        let parsed = parse("fe80::20c:29ff:fe2f:25cc");
        assert_eq!(
            parsed,
            ParsedGuid {
                guid: Guid(0x020c_29ff_fe2f_25cc),
                note: None
            }
        );
    }

    #[test]
    fn explains_what_is_not_a_port() {
        let kind = |text: &str| text.parse::<Guid>().unwrap_err();
        assert!(matches!(
            kind("Node GUID: 0x0002c903000e0b72"),
            GuidError::NotAPort {
                what: "node GUID",
                ..
            }
        ));
        assert!(matches!(
            kind("System image GUID: 0x0002c903000e0b75"),
            GuidError::NotAPort {
                what: "system image GUID",
                ..
            }
        ));
        assert!(matches!(kind("::ffff:10.99.0.1"), GuidError::IpGid(_)));
        assert!(matches!(kind("00:0c:29:2f:25:cc"), GuidError::Ethernet(_)));
        assert!(matches!(kind("0x0000000000000000"), GuidError::Reserved(_)));
        assert!(matches!(kind("ffffffffffffffff"), GuidError::Reserved(_)));
    }

    #[test]
    fn refuses_what_is_almost_a_guid() {
        for text in [
            "",
            "0x",
            "0x0002c903000e0b7",
            "0x0002c903000e0b733",
            "+002c903000e0b73",
            "0002:c903:000e",
            "2:c903:e:b73",
            "eui.2c903000e0b73",
            "ib.0002c903000e0b73",
            "0002c903 000e0b73",
            "0002:c903:000e:0b7é",
            "fe80::2:c903:e:b73%ib0",
        ] {
            assert!(
                matches!(text.parse::<Guid>(), Err(GuidError::Form(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn neighbours_on_a_card() {
        assert_eq!(Guid(PORT - 1).distance_on_card(Guid(PORT)), Some(1));
        assert_eq!(Guid(PORT + 2).distance_on_card(Guid(PORT)), Some(-2));
        assert_eq!(Guid(PORT).distance_on_card(Guid(PORT)), None);
        assert_eq!(Guid(PORT).distance_on_card(Guid(PORT + 3)), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_is_parsed(value in 1..u64::MAX) {
            let guid = Guid(value);
            prop_assert_eq!(guid.to_string().parse::<Guid>(), Ok(guid));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<Guid>();
        }

        #[test]
        fn no_hex_like_text_panics(text in "(0x|ib\\.|eui\\.)?[0-9a-fA-F:]{0,60}") {
            let _ = text.parse::<Guid>();
        }
    }
}
