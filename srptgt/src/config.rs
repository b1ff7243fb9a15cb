//! The configuration: LUNs, hosts, maps, portals and the target's identity.
//!
//! A [`Config`] cannot be invalid: it comes out of a [`Document`], which is what stands in the file, by
//! [`Config::from_document`], or out of an edit of another one that is checked in the same way. Pure but for
//! [`mod@file`] and the random identities that [`identity`] makes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rdma::SoftConfig;
use serde::Serialize;

pub mod check;
pub mod document;
pub mod file;
pub mod identity;
pub mod parse;
pub mod scalar;
mod tables;

pub use check::Conflict;
pub use document::{Document, Secrets};
pub use identity::{Naa, Serial};
pub use scalar::{Alias, BlockSize, ByteSize, Name, Pkey, Require, SoftAddress};

use crate::identity::{AddressRange, ChapSecrets, Guid, Iqn};
use crate::portal::{HcaPort, Portal};

/// What the target is called by initiators.
///
/// Both are made at random once and kept in the file, so that neither a changed adapter nor a changed order of
/// adapters makes initiators see another target. They differ, so that a login whose halves are swapped can be told
/// from one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TargetIdentity {
    /// `id_ext` of an initiator's `add_target` line.
    pub id_ext: Guid,
    /// `ioc_guid` of it.
    pub ioc_guid: Guid,
}

/// What the target is called over iSCSI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IscsiSettings {
    /// TargetName (RFC 7143 13.4). Made from `ioc_guid` once and kept.
    #[serde(rename = "iqn")]
    pub target_name: Iqn,
    /// TargetAlias (RFC 7143 13.7).
    #[serde(rename = "alias")]
    pub target_alias: Option<Alias>,
    /// TargetPortalGroupTag (RFC 7143 13.9); all portals are one group.
    pub portal_group_tag: u16,
}

/// How the soft fabric is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SoftSettings {
    /// What soft portals on all addresses listen on; empty for every address of this machine.
    pub addresses: BTreeSet<SoftAddress>,
    /// Port GUID of its ports; `None` for the one that the network device's hardware address gives.
    pub guid: Option<Guid>,
}

impl SoftSettings {
    /// These, with the others where they say nothing.
    pub fn or(self, others: &Self) -> Self {
        Self {
            addresses: match self.addresses.is_empty() {
                true => others.addresses.clone(),
                false => self.addresses,
            },
            guid: self.guid.or(others.guid),
        }
    }

    /// As the fabric takes them.
    pub fn for_fabric(&self) -> SoftConfig {
        SoftConfig {
            addresses: self.addresses.iter().map(|address| address.ip()).collect(),
            port_guid: self.guid.map(Guid::value),
            ..SoftConfig::default()
        }
    }
}

/// Everything that the daemon serves, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the target is called.
    pub target: TargetIdentity,
    /// What it is called over iSCSI.
    pub iscsi: IscsiSettings,
    /// How the soft fabric is set up, from the next start of the daemon on.
    pub soft: SoftSettings,
    /// Logical units by name.
    pub luns: BTreeMap<Name, Lun>,
    /// Hosts by name.
    pub hosts: BTreeMap<Name, Host>,
    /// Which host sees which logical unit, by host and LUN number.
    pub maps: BTreeMap<(Name, u8), Mapping>,
    /// Where to listen.
    pub portals: BTreeSet<Portal>,
}

/// Where a logical unit's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// A regular file.
    File(PathBuf),
    /// A block device.
    Block(PathBuf),
    /// Memory.
    Ram,
    /// Nothing.
    Null,
}

impl Store {
    /// The keyword of the configuration and of the command line.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Block(_) => "block",
            Self::Ram => "ram",
            Self::Null => "null",
        }
    }

    /// The path, for those that have one.
    pub fn path(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) | Self::Block(path) => Some(path),
            Self::Ram | Self::Null => None,
        }
    }
}

/// A logical unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lun {
    /// Where its bytes are.
    pub store: Store,
    /// Its size when it was last seen. A file or device that is smaller has lost its end and is not served; one
    /// that is larger is served whole.
    pub size: Option<ByteSize>,
    /// LOGICAL BLOCK LENGTH IN BYTES.
    pub block_size: BlockSize,
    /// Write-protected for everybody.
    pub read_only: bool,
    /// Reported as thin-provisioned.
    pub thin: bool,
    /// WCE: acknowledged writes may wait for SYNCHRONIZE CACHE.
    pub write_cache: bool,
    /// VPD page 83h designator.
    pub naa: Naa,
    /// VPD page 80h.
    pub serial: Serial,
}

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its port GUIDs.
    pub guids: BTreeSet<Guid>,
    /// Its iSCSI names.
    pub iqns: BTreeSet<Iqn>,
    /// What its iSCSI logins have to prove, and what is proved to them.
    pub chap: Option<ChapSecrets>,
    /// Who must vouch for it.
    pub require: Require,
    /// When not empty: where it may come from.
    pub addresses: Vec<AddressRange>,
    /// When not empty: by which partitions.
    pub pkeys: Vec<Pkey>,
    /// When not empty: by which of our ports.
    pub ports: Vec<HcaPort>,
}

/// A logical unit as a host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The logical unit.
    pub lun: Name,
    /// Write-protected for this host.
    pub read_only: bool,
}

impl Config {
    /// Nothing served, with an identity of its own.
    pub fn new(target: TargetIdentity) -> Self {
        Self {
            iscsi: IscsiSettings::of(&target),
            target,
            soft: SoftSettings::default(),
            luns: BTreeMap::new(),
            hosts: BTreeMap::new(),
            maps: BTreeMap::new(),
            portals: BTreeSet::new(),
        }
    }

    /// The maps of one host, by LUN number.
    pub fn maps_of(&self, host: &Name) -> impl Iterator<Item = (u8, &Mapping)> {
        self.maps
            .range((host.clone(), 0)..=(host.clone(), u8::MAX))
            .map(|((_, number), mapping)| (*number, mapping))
    }

    /// The hosts that see a logical unit, with its number there.
    pub fn hosts_of(&self, lun: &Name) -> impl Iterator<Item = (&Name, u8, &Mapping)> {
        self.maps
            .iter()
            .filter(move |(_, mapping)| mapping.lun == *lun)
            .map(|((host, number), mapping)| (host, *number, mapping))
    }

    /// Which host lists a GUID.
    pub fn host_with(&self, guid: Guid) -> Option<&Name> {
        self.hosts
            .iter()
            .find(|(_, host)| host.guids.contains(&guid))
            .map(|(name, _)| name)
    }

    /// Which host lists an iSCSI name.
    pub fn host_named(&self, iqn: &Iqn) -> Option<&Name> {
        self.hosts
            .iter()
            .find(|(_, host)| host.iqns.contains(iqn))
            .map(|(name, _)| name)
    }

    /// Whether something in it must be kept from others.
    pub fn has_secrets(&self) -> bool {
        self.hosts.values().any(|host| host.chap.is_some())
    }

    /// The lowest LUN number that is free for a host.
    pub fn free_number(&self, host: &Name) -> Option<u8> {
        (0..=u8::MAX).find(|number| !self.maps.contains_key(&(host.clone(), *number)))
    }
}

#[cfg(test)]
mod tests;
