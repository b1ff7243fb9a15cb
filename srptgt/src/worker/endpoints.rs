//! What an initiator dials to reach a portal of RDMA, and at which port it arrives. Pure: devices in, endpoints out.

use std::net::{IpAddr, SocketAddr};

use rdma::{DeviceInfo, Gid, PortInfo, PortState};

use crate::identity::{Guid, Id128};
use crate::portal::{Address, Endpoint, FabricKind, HcaPort, Listen, RdmaPort};

/// Low half of the service id of native listeners: any fixed value does, it is told to initiators.
pub(super) const NATIVE_SERVICE: u16 = 0x5372;

/// The default partition (IBA 10.9.1.2).
pub(super) const DEFAULT_PKEY: u16 = 0xffff;

/// The devices of a fabric, and what of them a wildcard stands for.
pub(super) struct Fabric<'a> {
    pub(super) kind: FabricKind,
    pub(super) devices: &'a [DeviceInfo],
    /// Empty for every address that the devices have.
    pub(super) chosen: &'a [IpAddr],
}

impl Fabric<'_> {
    /// The address itself, or every address for the unspecified one.
    pub(super) fn endpoints(&self, listen: &Listen) -> Vec<Endpoint> {
        match listen {
            Listen::Ip(at) if at.ip().is_unspecified() => {
                let dialled = meant(&self.wildcard(), *at);
                dialled.into_iter().map(|at| self.at_address(at)).collect()
            }
            Listen::Ip(at) => vec![self.at_address(*at)],
            Listen::InfiniBand(at) => self.at_port(at).into_iter().collect(),
        }
    }

    /// The addresses that were chosen, or those that RoCE ports have, as their GID tables show them.
    fn wildcard(&self) -> Vec<IpAddr> {
        if !self.chosen.is_empty() {
            return self.chosen.to_vec();
        }
        let ports = self.ports().map(|(_, port)| port);
        let gids = ports
            .filter(|port| port.state == PortState::Active)
            .flat_map(|port| &port.gids);
        let mut found: Vec<_> = gids.filter_map(|entry| entry.gid.ip()).collect();
        found.sort();
        found.dedup();
        found
    }

    fn at_address(&self, address: SocketAddr) -> Endpoint {
        let ip = address.ip();
        let mut ports = self.ports();
        let port = ports.find_map(|(device, port)| {
            let gid = gid_for(port, ip)?;
            Some(self.port(device, port, gid))
        });
        Endpoint {
            address: Address::Ip(address),
            port,
        }
    }

    fn at_port(&self, at: &HcaPort) -> Option<Endpoint> {
        let is_it = |device: &str, port: u8| device == at.device && port == at.port;
        let (device, port) = self
            .ports()
            .find(|(device, port)| is_it(&device.name, port.number))?;
        let gid = port.gids.first()?.gid;
        Some(Endpoint {
            address: Address::InfiniBand {
                gid: Id128(gid.0),
                pkey: DEFAULT_PKEY,
                service_id: 0x0000_0000_013f_0000 | u64::from(NATIVE_SERVICE),
            },
            port: Some(self.port(device, port, gid)),
        })
    }

    fn port(&self, device: &DeviceInfo, port: &PortInfo, gid: Gid) -> RdmaPort {
        RdmaPort {
            fabric: self.kind,
            port: HcaPort {
                device: device.name.clone(),
                port: port.number,
            },
            guid: Guid::new(port.port_guid),
            gid: Id128(gid.0),
        }
    }

    fn ports(&self) -> impl Iterator<Item = (&DeviceInfo, &PortInfo)> {
        self.devices
            .iter()
            .flat_map(|device| device.ports.iter().map(move |port| (device, port)))
    }
}

/// The GID by which a port is reached at an address. A loopback device has one address of 127.0.0.0/8 in its table and takes
/// the others too.
fn gid_for(port: &PortInfo, address: IpAddr) -> Option<Gid> {
    let of = |wanted: &dyn Fn(IpAddr) -> bool| {
        let mut gids = port.gids.iter().map(|entry| entry.gid);
        gids.find(|gid| gid.ip().is_some_and(wanted))
    };
    of(&|ip| ip == address).or_else(|| match address {
        IpAddr::V4(v4) if v4.is_loopback() => {
            of(&|ip| ip.is_ipv4() && ip.is_loopback())?;
            Some(Gid(v4.to_ipv6_mapped().octets()))
        }
        _ => None,
    })
}

/// Those of the addresses that a wildcard stands for, with its port. That of IPv6 takes IPv4 too.
fn meant(addresses: &[IpAddr], unspecified: SocketAddr) -> Vec<SocketAddr> {
    let of_family = |ip: &&IpAddr| ip.is_ipv4() || unspecified.is_ipv6();
    let dialled = |ip: &IpAddr| SocketAddr::new(*ip, unspecified.port());
    addresses.iter().filter(of_family).map(dialled).collect()
}

#[cfg(test)]
mod tests {
    use rdma::{GidEntry, LinkLayer};

    use super::*;

    fn gid(ip: &str) -> Gid {
        let ip: IpAddr = ip.parse().unwrap();
        Gid(match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        })
    }

    fn device(name: &str, port_guid: u64, gids: &[&str]) -> DeviceInfo {
        let entries = (0..).zip(gids).map(|(index, text)| GidEntry {
            index,
            gid: gid(text),
        });
        let port = PortInfo {
            number: 1,
            port_guid,
            link_layer: LinkLayer::Ethernet,
            state: PortState::Active,
            lid: 0,
            active_mtu_bytes: 1024,
            max_message_bytes: 1 << 20,
            gids: entries.collect(),
            pkeys: vec![DEFAULT_PKEY],
        };
        DeviceInfo {
            name: name.to_owned(),
            node_guid: port_guid,
            limits: Default::default(),
            ports: vec![port],
        }
    }

    /// What is dialled, the port's name and GUID, and the GID.
    fn shown(listen: &str, chosen: &[IpAddr]) -> Vec<String> {
        let devices = [
            device("soft_lo", 7, &["127.0.0.1", "::1"]),
            device("soft_eth0", 8, &["fe80::8", "10.0.0.1", "fd00::1"]),
        ];
        let fabric = Fabric {
            kind: FabricKind::Soft,
            devices: &devices,
            chosen,
        };
        let endpoints = fabric.endpoints(&listen.parse().unwrap());
        let line = |endpoint: &Endpoint| {
            let at = match &endpoint.address {
                Address::Ip(at) => at.to_string(),
                Address::InfiniBand { gid, .. } => gid.to_string(),
            };
            match &endpoint.port {
                Some(port) => format!(
                    "{at} {} {} {}",
                    port.port,
                    port.guid.map_or(0, Guid::value),
                    Gid(port.gid.0)
                ),
                None => at,
            }
        };
        endpoints.iter().map(line).collect()
    }

    #[test]
    fn each_address_is_shown_with_the_port_that_has_it() {
        let eth0 = "10.0.0.1:5555 soft_eth0:1 8 ::ffff:10.0.0.1";
        assert_eq!(shown("10.0.0.1:5555", &[]), [eth0]);
        assert_eq!(
            shown("0.0.0.0:5555", &[]),
            [eth0, "127.0.0.1:5555 soft_lo:1 7 ::ffff:127.0.0.1"]
        );
        assert_eq!(
            shown("0.0.0.0:5555", &["10.0.0.1".parse().unwrap()]),
            [eth0]
        );
        assert!(shown("[::]:5555", &[]).contains(&"[fd00::1]:5555 soft_eth0:1 8 fd00::1".into()));
        assert_eq!(shown("10.9.9.9:5555", &[]), ["10.9.9.9:5555"]);
    }

    #[test]
    fn the_loopback_device_has_all_of_its_addresses() {
        assert_eq!(
            shown("127.9.9.9:5555", &[]),
            ["127.9.9.9:5555 soft_lo:1 7 ::ffff:127.9.9.9"]
        );
    }

    #[test]
    fn a_port_of_a_device_is_dialled_by_its_first_gid() {
        assert_eq!(
            shown("soft_eth0:1", &[]),
            ["fe80:0000:0000:0000:0000:0000:0000:0008 soft_eth0:1 8 fe80::8"]
        );
        assert!(shown("soft_eth0:2", &[]).is_empty());
    }
}
