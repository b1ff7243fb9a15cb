//! The invariant CRC of RoCEv2 (IBTA annex A17.3.3): CRC-32 over the IP, UDP and transport headers with every
//! field that a router may change read as ones, then the payload. Stored least significant byte first.
//!
//! The IPv4 identification is *not* masked, and a datagram socket neither shows nor sets it. Both directions
//! work all the same, because a CRC is linear:
//!
//! - Sending: Linux writes identification 0 on an unconnected UDP socket with `IP_PMTUDISC_DO`, and counts up
//!   from there over the segments of one `UDP_SEGMENT` send; [`renumber`] moves a CRC to another
//!   identification without reading the packet again.
//! - Receiving: Linux `rdma_rxe` and network cards choose an identification. [`check`] solves the CRC for
//!   it: the packet is good when the difference to identification 0 is what *some* 16-bit identification
//!   makes. That leaves 16 of the 32 bits as a check on IPv4 (all 32 on IPv6, and all 32 where the
//!   identification is known), beside the frame check sequence of every link on the way.
//!
//! The flags are taken as "do not fragment", which every RoCEv2 sender sets; a sender that does not is
//! tried second.

use std::net::{IpAddr, SocketAddr};

use crc32fast::Hasher;

use super::ICRC_LEN;

/// Reflected CRC-32 polynomial.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// CRC of the eight bytes of ones that stand for the missing local route header.
const MASKED_LRH: u32 = 0x2144_df1c;

const UDP_HEADER_LEN: usize = 8;
const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;
const BTH_LEN: usize = 12;
const IPPROTO_UDP: u8 = 17;
const DONT_FRAGMENT: u8 = 0x40;

/// Bytes of an IPv4 packet behind its identification field, before the flags.
const BEHIND_IDENTIFICATION: usize = 14;

/// Longest UDP payload whose shift is tabulated: BTH to ICRC of a 4096-byte payload.
const LONGEST: usize = 4096 + 64;

/// A datagram's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Who sent it.
    pub source: SocketAddr,
    /// Who was meant.
    pub destination: SocketAddr,
}

/// What a checked packet was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Whole.
    Good,
    /// Damaged, or made by somebody who does not know the protocol.
    Bad,
}

/// `x^(32 + 8 n)` and its inverse, for n = bytes behind the identification of a UDP payload of 4 i bytes: what moves an
/// identification's part of a CRC to its end, and back.
static SHIFTS: [(u32, u32); LONGEST / 4 + 1] = shifts();

const fn shifts() -> [(u32, u32); LONGEST / 4 + 1] {
    let step = (power_of_x(32), inverse_power_of_x(32));
    let mut shift = exact_shift(0);
    let mut table = [(0, 0); LONGEST / 4 + 1];
    let mut index = 0;
    while index < table.len() {
        table[index] = shift;
        shift = (multiply(shift.0, step.0), multiply(shift.1, step.1));
        index += 1;
    }
    table
}

const fn exact_shift(udp_payload_len: usize) -> (u32, u32) {
    let behind = BEHIND_IDENTIFICATION + UDP_HEADER_LEN + udp_payload_len - ICRC_LEN;
    let bits = 32 + 8 * behind as u64;
    (power_of_x(bits), inverse_power_of_x(bits))
}

fn shift(udp_payload_len: usize) -> (u32, u32) {
    let tabulated = udp_payload_len
        .is_multiple_of(4)
        .then(|| SHIFTS.get(udp_payload_len / 4).copied())
        .flatten();
    tabulated.unwrap_or_else(|| exact_shift(udp_payload_len))
}

/// The CRC of a packet with IPv4 identification 0: `headers` from the BTH on, then `payload` in parts, then
/// `pad_count` zeros. `udp_payload_len` counts all of them and the ICRC.
pub fn compute<'a>(
    ends: &Ends,
    headers: &[u8],
    payload: impl Iterator<Item = &'a [u8]>,
    pad_count: u8,
    udp_payload_len: usize,
) -> u32 {
    let mut hasher = begin(ends, headers, udp_payload_len, DONT_FRAGMENT);
    for part in payload {
        hasher.update(part);
    }
    let pad = [0; 3];
    hasher.update(pad.get(..usize::from(pad_count)).unwrap_or(&pad));
    hasher.finalize()
}

/// Moves the CRC of an IPv4 packet from identification 0 to `identification`.
#[must_use]
pub fn renumber(icrc: u32, identification: u16, udp_payload_len: usize) -> u32 {
    let [high, low] = identification.to_be_bytes();
    icrc ^ multiply(
        u32::from_le_bytes([0, 0, high, low]),
        shift(udp_payload_len).0,
    )
}

/// Checks a whole datagram.
pub fn check(ends: &Ends, datagram: &[u8], identification: Option<u16>) -> Verdict {
    let Some((body, trailer)) = datagram.split_last_chunk::<ICRC_LEN>() else {
        return Verdict::Bad;
    };
    let received = u32::from_le_bytes(*trailer);
    let len = datagram.len();
    let tried = |flags| {
        let computed = whole(ends, body, len, flags);
        match identification {
            Some(known) if is_ipv4(ends) => renumber(computed, known, len) == received,
            _ if received == computed => true,
            None if is_ipv4(ends) => solve(received ^ computed, len).is_some(),
            _ => false,
        }
    };
    let good = tried(DONT_FRAGMENT) || is_ipv4(ends) && tried(0);
    if good { Verdict::Good } else { Verdict::Bad }
}

/// The identification that turns a CRC by `difference`, if there is one.
fn solve(difference: u32, udp_payload_len: usize) -> Option<u16> {
    match multiply(difference, shift(udp_payload_len).1).to_le_bytes() {
        [0, 0, high, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

fn is_ipv4(ends: &Ends) -> bool {
    ends.source.ip().to_canonical().is_ipv4()
}

fn whole(ends: &Ends, body: &[u8], udp_payload_len: usize, flags: u8) -> u32 {
    let (headers, rest) = body.split_at(body.len().min(BTH_LEN));
    let mut hasher = begin(ends, headers, udp_payload_len, flags);
    hasher.update(rest);
    hasher.finalize()
}

/// The pseudo-header and the transport headers, in one update.
fn begin(ends: &Ends, headers: &[u8], udp_payload_len: usize, flags: u8) -> Hasher {
    let mut masked = Masked::default();
    let udp_len = u16::try_from(udp_payload_len + UDP_HEADER_LEN).unwrap_or(u16::MAX);
    match (
        ends.source.ip().to_canonical(),
        ends.destination.ip().to_canonical(),
    ) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = udp_len.saturating_add(IPV4_HEADER_LEN as u16).to_be_bytes();
            masked.push(&[0x45, 0xff, total[0], total[1], 0, 0, flags, 0]);
            masked.push(&[0xff, IPPROTO_UDP, 0xff, 0xff]);
            masked.push(&source.octets());
            masked.push(&destination.octets());
        }
        (source, destination) => {
            let len = udp_len.to_be_bytes();
            masked.push(&[0x6f, 0xff, 0xff, 0xff, len[0], len[1], IPPROTO_UDP, 0xff]);
            masked.push(&ipv6_octets(source));
            masked.push(&ipv6_octets(destination));
        }
    }
    masked.push(&ends.source.port().to_be_bytes());
    masked.push(&ends.destination.port().to_be_bytes());
    masked.push(&udp_len.to_be_bytes());
    masked.push(&[0xff, 0xff]);
    masked.push_transport(headers)
}

fn ipv6_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

const MASKED_LEN: usize = IPV6_HEADER_LEN + UDP_HEADER_LEN + super::MAX_HEADER_LEN;

/// Headers with their variant fields overwritten, gathered for one CRC update.
struct Masked {
    bytes: [u8; MASKED_LEN],
    len: usize,
}

impl Default for Masked {
    fn default() -> Self {
        Self {
            bytes: [0; MASKED_LEN],
            len: 0,
        }
    }
}

impl Masked {
    fn push(&mut self, part: &[u8]) {
        let end = self.len + part.len();
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(part);
            self.len = end;
        }
    }

    /// Adds the transport headers with the reserved byte before the destination queue pair masked; what does not
    /// fit (a MAD behind its headers) is hashed from where it is.
    fn push_transport(mut self, headers: &[u8]) -> Hasher {
        let bth = self.len;
        let fits = headers.len().min(MASKED_LEN - bth);
        let (gathered, rest) = headers.split_at(fits);
        self.push(gathered);
        if let Some(reserved) = self.bytes.get_mut(bth + 4) {
            *reserved = 0xff;
        }
        let mut hasher = Hasher::new_with_initial(MASKED_LRH);
        hasher.update(self.bytes.get(..self.len).unwrap_or(&[]));
        hasher.update(rest);
        hasher
    }
}

/// Product of two polynomials modulo the CRC polynomial, bit-reflected.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        let chosen = (a >> bit & 1).wrapping_neg();
        product ^= b & chosen;
        b = b >> 1 ^ POLYNOMIAL & (b & 1).wrapping_neg();
    }
    product
}

/// x to the power `exponent`, bit-reflected.
const fn power_of_x(mut exponent: u64) -> u32 {
    let mut square = 0x4000_0000;
    let mut product = 0x8000_0000;
    while exponent != 0 {
        if exponent & 1 != 0 {
            product = multiply(square, product);
        }
        square = multiply(square, square);
        exponent >>= 1;
    }
    product
}

/// x to the power -`exponent`: x has order 2^32 - 1.
const fn inverse_power_of_x(exponent: u64) -> u32 {
    power_of_x(u32::MAX as u64 - exponent % u32::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 276;

    fn ends(text: &str) -> Ends {
        let ip: IpAddr = text.parse().expect("address");
        Ends {
            source: SocketAddr::new(ip, 49152),
            destination: SocketAddr::new(ip, 4791),
        }
    }

    fn packet(ends: &Ends, identification: u16) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..LEN - 4).map(|i| i.to_le_bytes()[0]).collect();
        let (headers, payload) = bytes.split_at(20);
        let mut crc = compute(ends, headers, std::iter::once(payload), 0, LEN);
        if identification != 0 {
            crc = renumber(crc, identification, LEN);
        }
        bytes.extend(crc.to_le_bytes());
        bytes
    }

    /// The definition, bit for bit: the whole masked packet with its identification in place.
    fn by_definition(ends: &Ends, body: &[u8], identification: u16) -> u32 {
        let mut bytes = vec![0xff; 8];
        let total = u16::try_from(28 + body.len() + 4).expect("short");
        bytes.extend([0x45, 0xff]);
        bytes.extend(total.to_be_bytes());
        bytes.extend(identification.to_be_bytes());
        bytes.extend([0x40, 0, 0xff, 17, 0xff, 0xff]);
        for end in [ends.source, ends.destination] {
            let IpAddr::V4(ip) = end.ip() else {
                panic!("IPv4")
            };
            bytes.extend(ip.octets());
        }
        bytes.extend(ends.source.port().to_be_bytes());
        bytes.extend(ends.destination.port().to_be_bytes());
        bytes.extend((total - 20).to_be_bytes());
        bytes.extend([0xff, 0xff]);
        let bth = bytes.len();
        bytes.extend(body);
        bytes[bth + 4] = 0xff;
        crc32fast::hash(&bytes)
    }

    #[test]
    fn any_identification_is_made_and_solved() {
        let ends = ends("10.1.2.3");
        for identification in [0, 1, 0x8000, 0x1234, 0xffff] {
            let bytes = packet(&ends, identification);
            let (body, trailer) = bytes.split_at(LEN - 4);
            let expected = by_definition(&ends, body, identification);
            assert_eq!(trailer, expected.to_le_bytes(), "{identification:#x}");
            assert_eq!(check(&ends, &bytes, None), Verdict::Good);
            assert_eq!(check(&ends, &bytes, Some(identification)), Verdict::Good);
            let other = Some(identification.wrapping_add(1));
            assert_eq!(check(&ends, &bytes, other), Verdict::Bad);
        }
    }

    #[test]
    fn every_single_bit_error_is_seen_and_nearly_so_without_the_identification() {
        let cases = [
            ("fe80::1", None, 0),
            ("10.1.2.3", Some(0), 0),
            ("10.1.2.3", None, 2),
        ];
        for (address, identification, unseen) in cases {
            let ends = ends(address);
            let good = packet(&ends, 0);
            let passed = (0..LEN * 8).filter(|bit| {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let masked = bit / 8 == 4;
                let verdict = check(&ends, &bad, identification);
                assert!(!masked || verdict == Verdict::Good, "{address} bit {bit}");
                !masked && verdict == Verdict::Good
            });
            assert!(passed.count() <= unseen, "{address} {identification:?}");
        }
    }

    #[test]
    fn the_addresses_and_ports_are_covered() {
        let ends = ends("10.1.2.3");
        let bytes = packet(&ends, 7);
        let mut other = ends;
        other.source.set_port(49153);
        assert_eq!(check(&other, &bytes, None), Verdict::Bad);
        other = ends;
        other
            .destination
            .set_ip("10.1.2.4".parse().expect("address"));
        assert_eq!(check(&other, &bytes, None), Verdict::Bad);
    }

    #[test]
    fn a_mapped_address_counts_as_ipv4() {
        let bytes = packet(&ends("10.1.2.3"), 9);
        assert_eq!(check(&ends("::ffff:10.1.2.3"), &bytes, None), Verdict::Good);
    }

    #[test]
    fn anything_short_is_bad_and_nothing_panics() {
        for len in 0..40 {
            check(&ends("10.1.2.3"), &vec![0; len], None);
        }
        assert_eq!(check(&ends("10.1.2.3"), &[0; 3], None), Verdict::Bad);
        let huge = vec![0; 65_600];
        assert_eq!(check(&ends("10.1.2.3"), &huge, Some(1)), Verdict::Bad);
    }
}
