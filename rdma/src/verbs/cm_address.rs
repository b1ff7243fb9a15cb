//! Addresses in the forms that the connection manager takes and gives.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

use rdma_sys as sys;

use crate::address::{Gid, PathAddress};

/// A socket address of any family, as bytes that the C functions read by their first field.
#[repr(C)]
pub(super) union RawAddress {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
    ib: sys::sockaddr_ib,
}

impl RawAddress {
    pub(super) fn ip(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Self {
                v4: raw_v4(address),
            },
            SocketAddr::V6(address) => Self {
                v6: raw_v6(address),
            },
        }
    }

    /// Address of a native service: `AF_IB` with the service ID in the port space `RDMA_PS_IB`.
    pub(super) fn infiniband(gid: Gid, service: u16, pkey: u16) -> Self {
        let mut ib = sys::sockaddr_ib {
            // The constant is 27.
            sib_family: sys::AF_IB as u16,
            sib_pkey: pkey.to_be(),
            sib_sid: (u64::from(sys::RDMA_IB_PS_IB) | u64::from(service)).to_be(),
            sib_sid_mask: u64::MAX,
            ..sys::sockaddr_ib::default()
        };
        ib.sib_addr.ib_u.uib_addr8 = gid.0;
        Self { ib }
    }

    /// The functions take a pointer that may be written, but only read.
    pub(super) fn as_mut_ptr(&mut self) -> *mut sys::sockaddr {
        ptr::from_mut(self).cast()
    }
}

fn raw_v4(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.ip().octets()),
        },
        sin_zero: [0; 8],
    }
}

fn raw_v6(address: SocketAddrV6) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as u16,
        sin6_port: address.port().to_be(),
        sin6_flowinfo: address.flowinfo(),
        sin6_addr: libc::in6_addr {
            s6_addr: address.ip().octets(),
        },
        sin6_scope_id: address.scope_id(),
    }
}

/// Local and peer end of an identifier's path.
pub(super) fn path_addresses(id: &sys::rdma_cm_id) -> (PathAddress, PathAddress) {
    let address = &id.route.addr;
    // SAFETY: the only view of this union.
    let gids = unsafe { &address.addr.ibaddr };
    // SAFETY: all views of this union are plain bytes, and this is the longest.
    let local = unsafe { &address.__bindgen_anon_1.src_storage };
    // SAFETY: as above.
    let peer = unsafe { &address.__bindgen_anon_2.dst_storage };
    let end = |storage, gid| PathAddress {
        socket: socket_address(storage),
        gid: from_raw_gid(gid),
    };
    (end(local, &gids.sgid), end(peer, &gids.dgid))
}

fn from_raw_gid(gid: &sys::ibv_gid) -> Gid {
    // SAFETY: all views of this union are plain bytes.
    Gid(unsafe { gid.raw })
}

/// The IP address in `storage`; `None` for another family.
fn socket_address(storage: &sys::sockaddr_storage) -> Option<SocketAddr> {
    let storage = ptr::from_ref(storage);
    // SAFETY: the storage is longer and stricter in alignment than any address.
    let v4 = unsafe { &*storage.cast::<libc::sockaddr_in>() };
    match i32::from(v4.sin_family) {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*storage.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(address: &mut RawAddress, len: usize) -> Vec<u8> {
        // SAFETY: `len` is the size of the view that the test has filled, and none has padding.
        unsafe { std::slice::from_raw_parts(address.as_mut_ptr().cast(), len) }.to_vec()
    }

    #[test]
    fn a_native_address_has_gid_service_and_partition_in_network_order() {
        let gid = "fe80::2:c903:e:b73".parse::<Ipv6Addr>().expect("gid");
        let mut address = RawAddress::infiniband(Gid(gid.octets()), 0x5555, 0x8001);
        let mut expected = Vec::new();
        expected.extend(27_u16.to_ne_bytes()); // AF_IB
        expected.extend([0x80, 0x01]); // P_Key
        expected.extend([0; 4]); // flow
        expected.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0]); // GID
        expected.extend([0x00, 0x02, 0xc9, 0x03, 0x00, 0x0e, 0x0b, 0x73]);
        expected.extend([0, 0, 0, 0, 0x01, 0x3f, 0x55, 0x55]); // service ID
        expected.extend([0xff; 8]); // mask
        expected.extend([0; 8]); // scope
        assert_eq!(bytes(&mut address, size_of::<sys::sockaddr_ib>()), expected);
    }

    #[test]
    fn ip_addresses_survive_the_round_trip() {
        for text in ["10.99.0.1:5555", "[2001:db8::1]:5555", "[fe80::1%3]:7"] {
            let address: SocketAddr = text.parse().expect("address");
            let mut raw = RawAddress::ip(address);
            let len = if address.is_ipv4() { 16 } else { 28 };
            let mut storage = sys::sockaddr_storage::default();
            // SAFETY: both are plain memory of at least `len` bytes.
            unsafe {
                raw.as_mut_ptr()
                    .cast::<u8>()
                    .copy_to_nonoverlapping((&raw mut storage).cast(), len);
            }
            assert_eq!(socket_address(&storage), Some(address));
        }
    }

    #[test]
    fn a_native_address_is_no_socket_address() {
        let storage = sys::sockaddr_storage {
            ss_family: 27,
            ..sys::sockaddr_storage::default()
        };
        assert_eq!(socket_address(&storage), None);
    }
}
