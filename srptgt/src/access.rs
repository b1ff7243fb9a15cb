//! Who may log in, and which LUNs they see: the compiled form of hosts and maps.
//!
//! Pure: a login's identities in, a verdict out. The control plane compiles an [`Access`] from the configuration,
//! the worker asks it at each login and again for every live session when a new one arrives. Deny by default.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::identity::{AddressRange, Guid, Id128};
use crate::portal::{HcaPort, Portal};

/// What the link under a device is, which decides who vouches for a GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkLayer {
    /// The subnet manager assigned the GIDs: a source GID carries the port GUID.
    InfiniBand,
    /// RoCE: a GID is made from an IP address.
    Ethernet,
}

/// Every identity that a login showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoginIdentity {
    /// Which portal it came to.
    pub portal: Portal,
    /// Our port that it came in by.
    pub local: HcaPort,
    /// The link under that port.
    pub link_layer: LinkLayer,
    /// Source GID of the CM path.
    pub source_gid: Id128,
    /// The peer's IP address, when the path has one.
    pub address: Option<IpAddr>,
    /// Partition key of the path, when it is known.
    pub pkey: Option<u16>,
    /// INITIATOR PORT IDENTIFIER of the SRP login (SRP 6.2), in the order that it came.
    pub initiator_port_id: Id128,
    /// The GUID half of it: the low half, or the high half in REV10 order; `None` when that names no port.
    pub claimed_guid: Option<Guid>,
}

impl LoginIdentity {
    /// The GUID that the fabric itself vouches for: the interface id of the source GID, on InfiniBand only.
    pub fn fabric_guid(&self) -> Option<Guid> {
        match self.link_layer {
            LinkLayer::InfiniBand => Guid::from_low_half(&self.source_gid.0),
            LinkLayer::Ethernet => None,
        }
    }

    /// The GUID that counts, and who vouches for it.
    pub fn guid(&self) -> Option<(Guid, Vouched)> {
        match self.link_layer {
            LinkLayer::InfiniBand => self.fabric_guid().map(|guid| (guid, Vouched::Fabric)),
            LinkLayer::Ethernet => self.claimed_guid.map(|guid| (guid, Vouched::Claimed)),
        }
    }
}

/// Who says that the initiator has the GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Vouched {
    /// The source GID of the path.
    Fabric,
    /// The initiator itself.
    Claimed,
}

impl fmt::Display for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fabric => "fabric",
            Self::Claimed => "claimed",
        })
    }
}

/// A logical unit as one host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedLun {
    /// The logical unit's name.
    pub lun: Arc<str>,
    /// Write-protected for this host.
    pub read_only: bool,
}

/// A host: its GUIDs, its limits, its LUNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The operator's name for it.
    pub name: Arc<str>,
    /// Its port GUIDs; all of them see the same LUN numbers.
    pub guids: Vec<Guid>,
    /// Only a GUID that the fabric vouches for admits it.
    pub require_fabric: bool,
    /// When not empty: the peer's address lies in one of these.
    pub addresses: Vec<AddressRange>,
    /// When not empty: the path's P_Key is one of these, membership bit aside (IBA 1.7 volume 1, 10.9.1).
    pub pkeys: Vec<u16>,
    /// When not empty: it comes in by one of these ports of ours.
    pub ports: Vec<HcaPort>,
    /// LUN number to logical unit.
    pub luns: BTreeMap<u8, MappedLun>,
}

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// No host lists the GUID.
    NotListed,
    /// No host lists the GUID, but one lists a neighbour of it on the same card.
    SameCard,
    /// A host lists the GUID with the bit inverted that IPoIB addresses invert.
    IpoibAddress,
    /// The login carries no GUID.
    NoGuid,
    /// The fabric vouches for one host, the login claims a port of another.
    ClaimsOtherHost,
    /// The host requires that the fabric vouches, and it cannot.
    FabricRequired,
    /// The peer's address is outside of the host's limits.
    AddressNotAllowed,
    /// The partition is outside of the host's limits.
    PkeyNotAllowed,
    /// Our port is outside of the host's limits.
    PortNotAllowed,
    /// The login broke the protocol or asked for what the target does not do.
    Protocol,
    /// The target has no room for another channel.
    Resources,
}

/// A refusal: why, in words, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Kind.
    pub reason: RefusalReason,
    /// What was expected and what came: one sentence without a full stop.
    pub text: String,
    /// What to type or check next.
    pub fix: String,
}

/// An admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// As whom.
    pub host: Arc<Host>,
    /// By which GUID.
    pub guid: Guid,
    /// Who says so.
    pub vouched: Vouched,
}

/// All hosts; immutable, replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    hosts: Vec<Arc<Host>>,
    by_guid: BTreeMap<Guid, Arc<Host>>,
}

impl Access {
    /// Compiles the hosts. A GUID that two of them list belongs to the first; the configuration refuses that before.
    pub fn new(hosts: Vec<Host>) -> Self {
        let hosts: Vec<_> = hosts.into_iter().map(Arc::new).collect();
        let mut by_guid = BTreeMap::new();
        for host in &hosts {
            for &guid in &host.guids {
                by_guid.entry(guid).or_insert_with(|| host.clone());
            }
        }
        Self { hosts, by_guid }
    }

    /// The hosts in the configuration's order.
    pub fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }

    /// Whether the login may come in, and as whom.
    pub fn admit(&self, login: &LoginIdentity) -> Result<Admitted, Refused> {
        let (guid, vouched) = login.guid().ok_or_else(|| no_guid(login))?;
        let host = self
            .by_guid
            .get(&guid)
            .ok_or_else(|| self.not_listed(login, guid))?;
        self.check_claim(login, host)?;
        check_limits(host, login, vouched)?;
        Ok(Admitted {
            host: host.clone(),
            guid,
            vouched,
        })
    }

    /// A claim on another host's port would let one host end the other's sessions: SRP names sessions by port id.
    fn check_claim(&self, login: &LoginIdentity, host: &Host) -> Result<(), Refused> {
        let Some((claimed, owner)) = login
            .claimed_guid
            .and_then(|guid| Some((guid, self.by_guid.get(&guid)?)))
            .filter(|(_, owner)| owner.name != host.name)
        else {
            return Ok(());
        };
        Err(Refused {
            reason: RefusalReason::ClaimsOtherHost,
            text: format!(
                "the fabric vouches for a port of host {}, but the login claims port {claimed} of host {}",
                host.name, owner.name
            ),
            fix: format!(
                "if both ports are in one machine, list them under one host: srptgt host set {} --remove-guid {claimed}, \
                 then srptgt allow {claimed} --as {}",
                owner.name, host.name
            ),
        })
    }

    fn not_listed(&self, login: &LoginIdentity, guid: Guid) -> Refused {
        self.inverted(guid)
            .or_else(|| self.neighbour(guid))
            .or_else(|| self.claims_listed(login, guid))
            .unwrap_or_else(|| Refused {
                reason: RefusalReason::NotListed,
                text: format!("port GUID {guid} is not listed under any host"),
                fix: format!("srptgt allow {guid} --as NAME"),
            })
    }

    fn inverted(&self, guid: Guid) -> Option<Refused> {
        let listed = guid.inverted()?;
        let host = self.by_guid.get(&listed)?;
        Some(Refused {
            reason: RefusalReason::IpoibAddress,
            text: format!(
                "port GUID {guid} is not listed; host {} lists {listed}, which is the same with the bit inverted that \
                 IPoIB addresses invert",
                host.name
            ),
            fix: format!("srptgt allow {guid} --as {}", host.name),
        })
    }

    /// A card numbers its node GUID and its ports one after the other, so a GUID that is one or two away from a
    /// listed one is the same card: its node GUID was listed, or its other port, or the initiator shows the node GUID.
    fn neighbour(&self, guid: Guid) -> Option<Refused> {
        let (listed, host, distance) = self
            .by_guid
            .range(Guid::new(guid.value().saturating_sub(2))?..)
            .take_while(|(listed, _)| listed.value() <= guid.value().saturating_add(2))
            .find_map(|(listed, host)| Some((*listed, host, listed.distance_on_card(guid)?)))?;
        let guess = if distance > 0 {
            "the listed one is the card's node GUID, or its other port"
        } else {
            "this initiator shows its card's node GUID, or the listed one is the card's other port"
        };
        Some(Refused {
            reason: RefusalReason::SameCard,
            text: format!(
                "port GUID {guid} is not listed; host {} lists {listed}, {} {} it: {guess}",
                host.name,
                distance.unsigned_abs(),
                if distance > 0 { "below" } else { "above" },
            ),
            fix: format!("srptgt allow {guid} --as {}", host.name),
        })
    }

    fn claims_listed(&self, login: &LoginIdentity, guid: Guid) -> Option<Refused> {
        let claimed = login.claimed_guid.filter(|claimed| *claimed != guid)?;
        let host = self.by_guid.get(&claimed)?;
        Some(Refused {
            reason: RefusalReason::NotListed,
            text: format!(
                "the fabric says port GUID {guid}, which is not listed; the login claims {claimed} of host {}, and a \
                 claim does not count on InfiniBand",
                host.name
            ),
            fix: format!(
                "if that port is in {0}: srptgt allow {guid} --as {0}",
                host.name
            ),
        })
    }
}

fn no_guid(login: &LoginIdentity) -> Refused {
    Refused {
        reason: RefusalReason::NoGuid,
        text: format!(
            "expected a port GUID, came source GID {} and initiator port id {}",
            login.source_gid, login.initiator_port_id
        ),
        fix: "give the initiator a port id whose low half is its port GUID (Linux does so unless initiator_ext and \
              io_class say otherwise)"
            .to_owned(),
    }
}

fn check_limits(host: &Host, login: &LoginIdentity, vouched: Vouched) -> Result<(), Refused> {
    if host.require_fabric && vouched == Vouched::Claimed {
        return Err(Refused {
            reason: RefusalReason::FabricRequired,
            text: format!(
                "host {} requires that the fabric vouches for its GUID; on {} it is only claimed",
                host.name, login.local
            ),
            fix: format!(
                "log in over InfiniBand, or srptgt host set {} --require any",
                host.name
            ),
        });
    }
    check_port(host, login)?;
    check_pkey(host, login)?;
    check_address(host, login)
}

fn check_port(host: &Host, login: &LoginIdentity) -> Result<(), Refused> {
    if host.ports.is_empty() || host.ports.contains(&login.local) {
        return Ok(());
    }
    Err(Refused {
        reason: RefusalReason::PortNotAllowed,
        text: format!(
            "host {} may come in by {}, and came by {}",
            host.name,
            list(&host.ports),
            login.local
        ),
        fix: format!("srptgt host set {} --port {}", host.name, login.local),
    })
}

fn check_pkey(host: &Host, login: &LoginIdentity) -> Result<(), Refused> {
    const PARTITION: u16 = 0x7fff;
    let listed = |pkey: u16| {
        host.pkeys
            .iter()
            .any(|own| own & PARTITION == pkey & PARTITION)
    };
    if host.pkeys.is_empty() || login.pkey.is_some_and(listed) {
        return Ok(());
    }
    let came = login
        .pkey
        .map_or("a path without P_Key".to_owned(), |pkey| {
            format!("0x{pkey:04x}")
        });
    let allowed: Vec<_> = host
        .pkeys
        .iter()
        .map(|pkey| format!("0x{pkey:04x}"))
        .collect();
    Err(Refused {
        reason: RefusalReason::PkeyNotAllowed,
        text: format!(
            "host {} may use partition {}, and used {came}",
            host.name,
            list(&allowed)
        ),
        fix: format!("srptgt host set {} --pkey P_KEY", host.name),
    })
}

fn check_address(host: &Host, login: &LoginIdentity) -> Result<(), Refused> {
    let inside = |address| host.addresses.iter().any(|range| range.contains(address));
    if host.addresses.is_empty() || login.address.is_some_and(inside) {
        return Ok(());
    }
    let came = login
        .address
        .map_or("a path without IP address".to_owned(), |ip| ip.to_string());
    Err(Refused {
        reason: RefusalReason::AddressNotAllowed,
        text: format!(
            "host {} may come from {}, and came from {came}",
            host.name,
            list(&host.addresses)
        ),
        fix: format!("srptgt host set {} --address ADDRESS", host.name),
    })
}

fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests;
