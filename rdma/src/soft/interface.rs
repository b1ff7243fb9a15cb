//! Network interfaces: addresses, MTU, and the GUID that Linux derives from the hardware address.

use std::ffi::CStr;
use std::io;
use std::net::IpAddr;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

use roce::qp::PathMtu;

use super::SoftConfig;
use super::socket_address::RawAddress;
use crate::address::Gid;
use crate::device_info::{DeviceInfo, DeviceLimits, GidEntry, LinkLayer, PortInfo, PortState};
use crate::error::Error;

/// In front of an interface's name in the name of its device.
const PREFIX: &str = "soft_";

/// RDMA READs and WRITEs are cut to this length. The packet numbers of a full send queue span less than half of
/// all (IBTA 9.7.2), even with the smallest path MTU.
pub(super) const MAX_MESSAGE_BYTES: u32 = 1 << 20;

/// What a device of this provider holds. Memory is taken when it is used.
pub(super) const LIMITS: DeviceLimits = DeviceLimits {
    queue_pairs: 1 << 14,
    work_requests: 2047,
    completions: 1 << 22,
    shared_receives: 1 << 16,
    responder_resources: 16,
    initiator_depth: 16,
    region_bytes: u64::MAX,
    send_with_invalidate: true,
};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) is_up: bool,
    pub(super) mtu_bytes: u32,
    pub(super) hardware_address: [u8; 6],
    /// Link-local ones are left out: who dials them would have to name an interface too.
    pub(super) addresses: Vec<IpAddr>,
}

impl Interface {
    fn new(name: String) -> Self {
        Self {
            name,
            is_up: false,
            mtu_bytes: 0,
            hardware_address: [0; 6],
            addresses: Vec::new(),
        }
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        let is_loopback = self.addresses.iter().any(|known| known.is_loopback());
        // The loopback interface takes the whole of 127.0.0.0/8.
        self.addresses.contains(&address)
            || is_loopback && address.is_ipv4() && address.is_loopback()
    }

    pub(super) fn device_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// A hardware address of zeros is none.
    pub(super) fn has_hardware_address(&self) -> bool {
        self.hardware_address != [0; 6]
    }

    pub(super) fn path_mtu(&self, config: &SoftConfig) -> PathMtu {
        /// Headers that a path MTU does not count, as Linux sees them.
        const OVERHEAD: u32 = 80;
        let own = PathMtu::for_interface(self.mtu_bytes);
        let wanted = config.max_mtu_bytes;
        wanted.map_or(own, |bytes| {
            own.min(PathMtu::for_interface(bytes.saturating_add(OVERHEAD)))
        })
    }

    /// What the device on this interface says of itself.
    pub(super) fn device_info(&self, config: &SoftConfig) -> DeviceInfo {
        let guid = config
            .port_guid
            .unwrap_or_else(|| eui64(self.hardware_address));
        let gid = |address: &IpAddr| Gid(roce::cm::gid(*address));
        let entries = (0..).zip(&self.addresses);
        DeviceInfo {
            name: self.device_name(),
            node_guid: guid,
            limits: LIMITS,
            ports: vec![PortInfo {
                number: 1,
                port_guid: guid,
                link_layer: LinkLayer::Ethernet,
                state: if self.is_up {
                    PortState::Active
                } else {
                    PortState::Down
                },
                lid: 0,
                active_mtu_bytes: self.path_mtu(config).bytes(),
                max_message_bytes: MAX_MESSAGE_BYTES,
                gids: entries
                    .map(|(index, address)| GidEntry {
                        index,
                        gid: gid(address),
                    })
                    .collect(),
                pkeys: vec![0xffff],
            }],
        }
    }
}

/// The devices of a soft fabric of this configuration, in use or not. May be called from any thread.
///
/// # Errors
/// The kernel does not list its interfaces.
pub fn soft_devices(config: &SoftConfig) -> Result<Vec<DeviceInfo>, Error> {
    let interfaces = interfaces()?;
    Ok(interfaces
        .iter()
        .map(|interface| interface.device_info(config))
        .collect())
}

/// A GUID from a hardware address as Linux makes it: EUI-64 with the universal bit turned over (RFC 4291,
/// appendix A).
pub(super) fn eui64([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Every interface that has an address, up or not.
pub(super) fn interfaces() -> Result<Vec<Interface>, Error> {
    let list = AddressList::new()?;
    let mut found: Vec<Interface> = Vec::new();
    for entry in list.iter() {
        // SAFETY: the name of an entry is a string as long as the list lives.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy();
        let index = found
            .iter()
            .position(|known| known.name == name)
            .unwrap_or_else(|| {
                found.push(Interface::new(name.into_owned()));
                found.len() - 1
            });
        if let Some(interface) = found.get_mut(index) {
            interface.learn(entry);
        }
    }
    found.retain(|interface| !interface.addresses.is_empty());
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| Error::call("bind", error))?;
    for interface in &mut found {
        interface.mtu_bytes = mtu_bytes(&socket, &interface.name)?;
    }
    Ok(found)
}

impl Interface {
    /// What one entry of the list says: the entry of the link, or that of an address.
    fn learn(&mut self, entry: &libc::ifaddrs) {
        self.is_up |= entry.ifa_flags & libc::IFF_UP as u32 != 0;
        if entry.ifa_addr.is_null() {
            return;
        }
        // SAFETY: not NULL, so it is an address that begins with its family.
        let family = i32::from(unsafe { (*entry.ifa_addr).sa_family });
        if family == libc::AF_PACKET {
            // SAFETY: addresses of this family have this form; they may not be aligned for it.
            let link = unsafe { entry.ifa_addr.cast::<libc::sockaddr_ll>().read_unaligned() };
            let [a, b, c, d, e, f, ..] = link.sll_addr;
            self.hardware_address = if link.sll_halen == 6 {
                [a, b, c, d, e, f]
            } else {
                [0; 6]
            };
        } else if let Some(address) = ip(entry.ifa_addr, family)
            && !is_link_local(address)
        {
            self.addresses.push(address);
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn ip(address: *const libc::sockaddr, family: i32) -> Option<IpAddr> {
    let len = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    let mut raw = RawAddress::unset();
    // SAFETY: an address of this family has this many bytes, and the union has room for either.
    unsafe {
        ptr::from_mut(&mut raw)
            .cast::<u8>()
            .copy_from_nonoverlapping(address.cast(), len)
    };
    raw.get().map(|socket| socket.ip())
}

/// The MTU by the kernel's own call: sysfs would show another network namespace to who has entered one.
fn mtu_bytes(socket: &UdpSocket, name: &str) -> Result<u32, Error> {
    // SAFETY: the structure is plain numbers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1);
    for (to, from) in room.zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the call reads the name and writes the structure that it is given.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) };
    if result != 0 {
        return Err(Error::last("ioctl SIOCGIFMTU"));
    }
    // SAFETY: the call has filled this view of the union.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(u32::try_from(mtu).unwrap_or(0))
}

/// The kernel's list, freed with this.
struct AddressList(*mut libc::ifaddrs);

impl AddressList {
    fn new() -> Result<Self, Error> {
        let mut list = ptr::null_mut();
        // SAFETY: the call writes the address of a list that this object frees.
        match unsafe { libc::getifaddrs(&raw mut list) } {
            0 => Ok(Self(list)),
            _ => Err(Error::call("getifaddrs", io::Error::last_os_error())),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &libc::ifaddrs> {
        // SAFETY: the list is NULL or an entry that lives as long as this object.
        let first = unsafe { self.0.as_ref() };
        // SAFETY: as above, for the entry that follows.
        std::iter::successors(first, |entry| unsafe { entry.ifa_next.as_ref() })
    }
}

impl Drop for AddressList {
    fn drop(&mut self) {
        // SAFETY: the list came from getifaddrs and is freed once.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guid_is_that_of_linux() {
        let mac = [0x02, 0x5e, 0x00, 0x00, 0x01, 0x07];
        assert_eq!(eui64(mac), 0x005e_00ff_fe00_0107);
    }

    #[test]
    fn the_loopback_interface_takes_all_of_its_addresses() {
        let interfaces = interfaces().expect("interfaces");
        let loopback = interfaces
            .iter()
            .find(|known| known.name == "lo")
            .expect("lo");
        assert!(loopback.has("127.7.8.9".parse().expect("address")));
        assert!(!loopback.has("192.0.2.1".parse().expect("address")));
        assert!(loopback.is_up && loopback.mtu_bytes >= 1500);
        assert!(!loopback.has_hardware_address());
        let info = loopback.device_info(&SoftConfig {
            max_mtu_bytes: Some(1024),
            ..SoftConfig::default()
        });
        assert_eq!(
            (info.name.as_str(), info.ports[0].active_mtu_bytes),
            ("soft_lo", 1024)
        );
    }
}
