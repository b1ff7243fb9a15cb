//! Private data of connection management messages, and the header that RDMA-CM puts in front of a REQ's (Linux
//! `rdma_cm`; IBTA annex A11): who connects whom, by IP address and port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most that any message carries (RTU).
const MAX_LEN: usize = 224;

/// Bytes of private data in a REQ, with the RDMA-CM header.
pub const REQ_PRIVATE_DATA_LEN: usize = 92;
/// Bytes of private data in a REP.
pub const REP_PRIVATE_DATA_LEN: usize = 196;
/// Bytes of private data in a REJ.
pub const REJ_PRIVATE_DATA_LEN: usize = 148;

/// Bytes of the RDMA-CM header.
pub const RDMA_CM_HEADER_LEN: usize = 36;

/// Upper bits of a service id in the port space `RDMA_PS_TCP`.
const RDMA_PS_TCP: u64 = 0x0106 << 16;

/// The service id of a port in `RDMA_PS_TCP`: where `rdma_listen` and `rdma_connect` meet.
pub const fn tcp_service_id(port: u16) -> u64 {
    RDMA_PS_TCP | port as u64
}

/// Bytes that the consumer sends along. They have no length on the wire: what arrives is padded with zeros to
/// what the message has room for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PrivateData {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Default for PrivateData {
    fn default() -> Self {
        Self {
            bytes: [0; MAX_LEN],
            len: 0,
        }
    }
}

impl PrivateData {
    /// The bytes that fit; a message that has room for fewer is refused where it is made.
    pub fn of(data: &[u8]) -> Self {
        let mut private = Self::default();
        private.extend(data);
        private
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    pub(crate) fn extend(&mut self, data: &[u8]) {
        for (slot, byte) in self.bytes.iter_mut().skip(self.len).zip(data) {
            *slot = *byte;
        }
        self.len = (self.len + data.len()).min(MAX_LEN);
    }

    pub(crate) fn padded<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        for (slot, byte) in out.iter_mut().zip(self.as_slice()) {
            *slot = *byte;
        }
        out
    }
}

impl fmt::Debug for PrivateData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateData({} bytes)", self.len)
    }
}

/// The RDMA-CM header: source port and both IP addresses. The destination port is in the service id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RdmaCmHeader {
    /// Who connects.
    pub source: SocketAddr,
    /// To which address.
    pub destination: IpAddr,
}

impl RdmaCmHeader {
    /// Takes the header off; `None` when it is not one (a native InfiniBand consumer, or another version).
    pub fn parse(data: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = data.split_first_chunk::<RDMA_CM_HEADER_LEN>()?;
        let [version, ip_version, high, low, addresses @ ..] = header;
        let (source, destination) = addresses.split_first_chunk::<16>()?;
        let destination = destination.first_chunk::<16>()?;
        let address = |bytes: &[u8; 16]| match ip_version >> 4 {
            4 => {
                let [.., a, b, c, d] = *bytes;
                Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
            }
            6 => Some(IpAddr::V6(Ipv6Addr::from(*bytes))),
            _ => None,
        };
        if *version != 0 {
            return None;
        }
        let port = u16::from_be_bytes([*high, *low]);
        let header = Self {
            source: SocketAddr::new(address(source)?, port),
            destination: address(destination)?,
        };
        Some((header, rest))
    }

    /// Writes the header.
    pub fn emit(&self) -> [u8; RDMA_CM_HEADER_LEN] {
        let mut bytes = [0; RDMA_CM_HEADER_LEN];
        let (front, addresses) = bytes.split_at_mut(4);
        let version = if self.source.is_ipv4() { 0x40 } else { 0x60 };
        let [high, low] = self.source.port().to_be_bytes();
        front.copy_from_slice(&[0, version, high, low]);
        let (source, destination) = addresses.split_at_mut(16);
        source.copy_from_slice(&right_aligned(self.source.ip()));
        destination.copy_from_slice(&right_aligned(self.destination));
        bytes
    }
}

/// An IPv4 address stands in the last four of sixteen bytes.
fn right_aligned(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()).to_be_bytes(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The GID of an IP address: itself, IPv4 mapped into IPv6 (IBTA annex A17.5.2).
pub fn gid(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_survives_a_round_trip() {
        for (source, destination) in [("10.1.2.3:1234", "10.9.8.7"), ("[fe80::1]:65535", "::1")] {
            let header = RdmaCmHeader {
                source: source.parse().expect("address"),
                destination: destination.parse().expect("address"),
            };
            let mut bytes = header.emit().to_vec();
            bytes.extend(b"rest");
            assert_eq!(RdmaCmHeader::parse(&bytes), Some((header, &b"rest"[..])));
        }
    }

    #[test]
    fn an_ipv4_header_as_linux_writes_it() {
        let header = RdmaCmHeader {
            source: "10.1.2.3:4660".parse().expect("address"),
            destination: "10.1.2.4".parse().expect("address"),
        };
        let mut expected = vec![0, 0x40, 0x12, 0x34];
        expected.extend([0; 12]);
        expected.extend([10, 1, 2, 3]);
        expected.extend([0; 12]);
        expected.extend([10, 1, 2, 4]);
        assert_eq!(header.emit().as_slice(), expected);
    }

    #[test]
    fn other_versions_are_not_taken_for_the_header() {
        let mut bytes = [0; 92];
        assert_eq!(RdmaCmHeader::parse(&bytes), None);
        bytes[1] = 0x40;
        assert!(RdmaCmHeader::parse(&bytes).is_some());
        bytes[0] = 1;
        assert_eq!(RdmaCmHeader::parse(&bytes), None);
        assert_eq!(RdmaCmHeader::parse(&[0, 0x40]), None);
    }

    #[test]
    fn private_data_keeps_what_fits() {
        let mut data = PrivateData::of(&[1; 200]);
        data.extend(&[2; 100]);
        assert_eq!(data.as_slice().len(), 224);
        assert_eq!(data.padded::<4>(), [1; 4]);
        assert_eq!(PrivateData::of(b"ab").padded::<4>(), *b"ab\0\0");
        assert_eq!(tcp_service_id(7174), 0x0106_1c06);
    }
}
