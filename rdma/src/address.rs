//! Addresses of ports and listeners.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A port's 128-bit global identifier, in network order (InfiniBand Architecture, 4.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gid(pub [u8; 16]);

impl Gid {
    /// The low half: on InfiniBand the port GUID.
    pub fn interface_id(self) -> u64 {
        // The cast keeps the low 64 bits, which is what is asked for.
        u128::from_be_bytes(self.0) as u64
    }

    /// The IP address that a GID of RoCE stands for; `None` for a link-local one, as native InfiniBand has too.
    pub fn ip(self) -> Option<IpAddr> {
        let ip = Ipv6Addr::from(self.0);
        match ip.to_ipv4_mapped() {
            Some(v4) => Some(IpAddr::V4(v4)),
            None if ip.is_unicast_link_local() => None,
            None => Some(IpAddr::V6(ip)),
        }
    }

    /// True for the GID that fills unused entries of a table.
    pub fn is_unset(self) -> bool {
        self.interface_id() == 0
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv6Addr::from(self.0).fmt(f)
    }
}

/// One end of a connection's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathAddress {
    /// IP address and port, when the connection was made over IP.
    pub socket: Option<SocketAddr>,
    /// The GID in the path: on InfiniBand it holds the port GUID, on RoCE it is derived from the IP address.
    pub gid: Gid,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// RDMA-CM over IP (`RDMA_PS_TCP`). An unspecified address listens on all devices, port 0 takes a free one.
    Ip(SocketAddr),
    /// Native InfiniBand (`AF_IB`, `RDMA_PS_IB`): the whole private data of a request arrives.
    InfiniBand {
        /// Device name.
        device: String,
        /// Port number, from 1.
        port: u8,
        /// Low 16 bits of the service ID, which is `0x0000_0000_013f_0000` plus this; 0 takes a free one.
        service: u16,
        /// Partition key; `0xffff` is the default partition.
        pkey: u16,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_guid_is_the_low_half_of_the_gid() {
        let gid = Gid("fe80::2:c903:e:b73"
            .parse::<Ipv6Addr>()
            .expect("gid")
            .octets());
        assert_eq!(gid.interface_id(), 0x0002_c903_000e_0b73);
        assert_eq!(gid.to_string(), "fe80::2:c903:e:b73");
        assert!(!gid.is_unset());
        assert!(Gid([0; 16]).is_unset());
    }
}
