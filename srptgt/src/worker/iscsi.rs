//! What all iSCSI connections share: the target's name, its portals, and memory that SRP does not need.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use iobuf::{Arena, Pool};
use transport_iser::connection::Settings;
use transport_iser::login::{Datamover, LoginLimits, TargetRecord};

use crate::portal::{Endpoint, Listen, Portal, Protocol};
use crate::worker_link::IscsiSettings;

/// Bytes that a socket's data comes in at a time.
const CHUNK_BYTES: usize = 32 << 10;

/// Chunks that wait in the kernel at most; a power of two.
pub(super) const CHUNKS_IN_KERNEL: u16 = 64;

/// All chunks: every connection may keep one while it waits for a buffer, and then there are still those in the kernel.
/// The same few are used again and again, and the memory of the others stays untouched.
const CHUNKS: usize = super::slab::MOST + 2 * CHUNKS_IN_KERNEL as usize;

/// Bytes for outgoing PDUs, and the longest run of them: the headers of the longest READ in the shortest data segments.
const MESSAGES_BYTES: usize = 16 << 20;
const LONGEST_MESSAGE_BYTES: usize = 1 << 20;

/// Commands of one session at a time.
pub(super) const COMMAND_WINDOW: u16 = 128;

/// Memory of iSCSI connections; it is there from the first portal on.
#[derive(Debug)]
pub(super) struct IscsiMemory {
    /// What outgoing PDUs are in.
    pub(super) arena: Arc<Arena>,
    /// Outgoing PDUs.
    pub(super) messages: Pool,
    /// What comes over TCP.
    pub(super) chunks: Pool,
}

impl IscsiMemory {
    /// Maps the memory; it costs nothing before it is used or registered.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn new() -> io::Result<Self> {
        let arena = Arena::new(MESSAGES_BYTES)?;
        let received = Arena::new(CHUNKS * CHUNK_BYTES)?;
        Ok(Self {
            messages: Pool::buddy(&arena, 0..MESSAGES_BYTES, LONGEST_MESSAGE_BYTES),
            chunks: Pool::slots(&received, 0..CHUNKS * CHUNK_BYTES, CHUNK_BYTES),
            arena,
        })
    }
}

/// What the target says of itself.
#[derive(Debug, Default)]
pub(super) struct Iscsi {
    names: Option<Arc<IscsiSettings>>,
    /// Where it listens, and what initiators dial.
    portals: Vec<(Portal, Vec<SocketAddr>)>,
}

impl Iscsi {
    /// What the target is called from now on.
    pub(super) fn set(&mut self, names: Arc<IscsiSettings>) {
        self.names = Some(names);
    }

    /// Whether the target has a name.
    pub(super) fn has_name(&self) -> bool {
        self.names.is_some()
    }

    /// Its portal group.
    pub(super) fn portal_group_tag(&self) -> u16 {
        self.names
            .as_ref()
            .map_or(1, |names| names.portal_group_tag)
    }

    /// Its alias.
    pub(super) fn target_alias(&self) -> Option<String> {
        let alias = self.names.as_ref()?.target_alias.as_ref()?;
        Some(alias.to_string())
    }

    /// Notes that it listens on a portal.
    pub(super) fn add_portal(&mut self, portal: &Portal, endpoints: &[Endpoint]) {
        self.remove_portal(portal);
        let addresses = endpoints.iter().filter_map(Endpoint::ip);
        self.portals.push((portal.clone(), addresses.collect()));
    }

    /// Notes that it does not any more.
    pub(super) fn remove_portal(&mut self, portal: &Portal) {
        self.portals.retain(|(known, _)| known != portal);
    }

    /// What holds for a connection. Over iSER one message of unsolicited data is enough: what the NIC fetches itself is
    /// placed where it belongs, while each message takes a receive and is copied.
    pub(super) fn settings(&self, protocol: Protocol) -> Arc<Settings> {
        let datamover = match protocol {
            Protocol::Iser => Datamover::Iser,
            Protocol::Tcp | Protocol::Srp => Datamover::Tcp,
        };
        let mut limits = LoginLimits::new(datamover);
        if protocol == Protocol::Iser {
            limits.first_burst_length = limits.max_recv_data_segment_length;
        }
        Arc::new(Settings {
            command_window: COMMAND_WINDOW,
            ..Settings::new(limits)
        })
    }

    fn target_name(&self) -> String {
        let name = self
            .names
            .as_ref()
            .map(|names| names.target_name.to_string());
        name.unwrap_or_default()
    }

    /// What SendTargets tells an initiator that came in by `local`.
    pub(super) fn targets(
        &self,
        protocol: Protocol,
        local: Option<SocketAddr>,
    ) -> Arc<[TargetRecord]> {
        Arc::new([TargetRecord {
            name: self.target_name(),
            addresses: self.addresses(protocol, local),
            portal_group_tag: self.portal_group_tag(),
        }])
    }

    /// Of a portal on all addresses, the one that the asker came by, which it can reach.
    fn addresses(&self, protocol: Protocol, local: Option<SocketAddr>) -> Vec<SocketAddr> {
        let portals = self
            .portals
            .iter()
            .filter(|(portal, _)| portal.protocol == protocol);
        let mut addresses = Vec::new();
        for (portal, endpoints) in portals {
            match (&portal.listen, local) {
                (Listen::Ip(address), Some(local)) if address.ip().is_unspecified() => {
                    let ip: IpAddr = local.ip().to_canonical();
                    addresses.push(SocketAddr::new(ip, address.port()));
                }
                _ => addresses.extend(endpoints),
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portal(protocol: Protocol, address: &str) -> Portal {
        Portal {
            protocol,
            listen: address.parse().expect("an address"),
            fabric: None,
        }
    }

    #[test]
    fn send_targets_tells_addresses_of_the_same_transport_that_can_be_reached() {
        let mut iscsi = Iscsi::default();
        for (protocol, address) in [
            (Protocol::Tcp, "0.0.0.0:3260"),
            (Protocol::Tcp, "10.0.0.9:3261"),
            (Protocol::Iser, "10.0.0.1:3262"),
        ] {
            let listening = Endpoint::from(address.parse::<SocketAddr>().expect("an address"));
            iscsi.add_portal(&portal(protocol, address), &[listening]);
        }
        let local = "[::ffff:10.0.0.1]:3260".parse().expect("an address");
        let told = |iscsi: &Iscsi, protocol| {
            let targets = iscsi.targets(protocol, Some(local));
            let texts = targets[0].addresses.iter().map(ToString::to_string);
            texts.collect::<Vec<_>>()
        };
        assert_eq!(
            told(&iscsi, Protocol::Tcp),
            ["10.0.0.1:3260", "10.0.0.9:3261"]
        );
        assert_eq!(told(&iscsi, Protocol::Iser), ["10.0.0.1:3262"]);
        iscsi.remove_portal(&portal(Protocol::Tcp, "0.0.0.0:3260"));
        assert_eq!(told(&iscsi, Protocol::Tcp), ["10.0.0.9:3261"]);
    }
}
