//! What stands in the configuration file: the tables and keys of its TOML. Pure.
//!
//! Unknown tables and keys are refused. What may be left out has its default here, in one place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::identity::PORTAL_GROUP_TAG;
use super::scalar::{Alias, BlockSize, ByteSize, Name, Pkey, Require, SoftAddress};
use super::{Config, Host, Lun, Naa, Serial, SoftSettings, Store};
use crate::identity::chap::serialize_exposed;
use crate::identity::{AddressRange, ChapAccount, Guid, Iqn, Secret};
use crate::portal::{HcaPort, Portal};

/// The whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// `[target]`; made when it is not there.
    pub target: Option<TargetTable>,
    /// `[soft]`.
    #[serde(default, skip_serializing_if = "SoftTable::is_empty")]
    pub soft: SoftTable,
    /// `[[portal]]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub portal: Vec<Portal>,
    /// `[lun.NAME]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lun: BTreeMap<Name, LunTable>,
    /// `[host.NAME]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub host: BTreeMap<Name, HostTable>,
    /// `[[map]]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub map: Vec<MapTable>,
}

/// `[target]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetTable {
    /// Identifier extension.
    pub id_ext: Guid,
    /// I/O controller GUID.
    pub ioc_guid: Guid,
    /// iSCSI name; made from `ioc_guid` when it is not there.
    pub iqn: Option<Iqn>,
    /// iSCSI alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Alias>,
    /// Tag of the portal group.
    #[serde(default = "portal_group_tag")]
    pub portal_group_tag: u16,
}

fn portal_group_tag() -> u16 {
    PORTAL_GROUP_TAG
}

/// `[soft]`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftTable {
    /// What portals on all addresses listen on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<SoftAddress>,
    /// Port GUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<Guid>,
}

impl SoftTable {
    fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.guid.is_none()
    }
}

impl From<&SoftSettings> for SoftTable {
    fn from(soft: &SoftSettings) -> Self {
        Self {
            addresses: soft.addresses.iter().copied().collect(),
            guid: soft.guid,
        }
    }
}

/// `[lun.NAME]`: exactly one of `file`, `block`, `ram`, `null`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LunTable {
    /// Path of a regular file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Path of a block device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<PathBuf>,
    /// Memory of this size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram: Option<ByteSize>,
    /// Nothing, of this size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null: Option<ByteSize>,
    /// Size of the file or device when it was last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// 512 or 4096.
    #[serde(default)]
    pub block_size: BlockSize,
    /// Write-protected.
    #[serde(default)]
    pub read_only: bool,
    /// Thin-provisioned.
    #[serde(default)]
    pub thin: bool,
    /// Volatile write cache.
    #[serde(default)]
    pub write_cache: bool,
    /// Made when it is not there.
    pub naa: Option<Naa>,
    /// Made from `naa` when it is not there.
    pub serial: Option<Serial>,
}

/// `[host.NAME]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostTable {
    /// Port GUIDs.
    #[serde(default)]
    pub guids: Vec<Guid>,
    /// iSCSI names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iqns: Vec<Iqn>,
    /// `any` or `fabric`.
    #[serde(default)]
    pub require: Require,
    /// IP addresses and networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<AddressRange>,
    /// P_Keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pkeys: Vec<Pkey>,
    /// Ports of ours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<HcaPort>,
    /// What an iSCSI login proves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chap: Option<ChapTable>,
    /// What the target proves in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutual_chap: Option<ChapTable>,
}

/// `[host.NAME.chap]` and `[host.NAME.mutual_chap]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChapTable {
    /// User name.
    pub user: String,
    /// Secret; left out of what is shown.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_exposed"
    )]
    pub secret: Option<Secret>,
}

impl ChapTable {
    fn of(account: &ChapAccount, secrets: Secrets) -> Self {
        Self {
            user: account.user.clone(),
            secret: (secrets == Secrets::Included).then(|| account.secret.clone()),
        }
    }
}

/// Whether a document has the secrets of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// It is for the file, or somebody asked for them by name.
    Included,
    /// It is for showing.
    LeftOut,
}

/// `[[map]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapTable {
    /// Name of a host.
    pub host: Name,
    /// Name of a logical unit.
    pub lun: Name,
    /// LUN number.
    #[serde(deserialize_with = "lun_number")]
    pub number: u8,
    /// Write-protected for this host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

fn lun_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let number = i64::deserialize(deserializer)?;
    u8::try_from(number).map_err(|_| {
        serde::de::Error::custom(format!("{number} is not a LUN number; accepted: 0 to 255"))
    })
}

impl Document {
    /// Whether the target and every logical unit has its identity.
    pub fn has_identities(&self) -> bool {
        let identified = |lun: &LunTable| lun.naa.is_some() && lun.serial.is_some();
        let named = |target: &TargetTable| target.iqn.is_some();
        self.target.as_ref().is_some_and(named) && self.lun.values().all(identified)
    }

    /// The document of a configuration.
    pub fn of(config: &Config, secrets: Secrets) -> Self {
        let named = |(name, lun): (&Name, &Lun)| (name.clone(), LunTable::from(lun));
        let host = |(name, host): (&Name, &Host)| (name.clone(), HostTable::of(host, secrets));
        Self {
            target: Some(TargetTable {
                id_ext: config.target.id_ext,
                ioc_guid: config.target.ioc_guid,
                iqn: Some(config.iscsi.target_name.clone()),
                alias: config.iscsi.target_alias.clone(),
                portal_group_tag: config.iscsi.portal_group_tag,
            }),
            soft: SoftTable::from(&config.soft),
            portal: config.portals.iter().cloned().collect(),
            lun: config.luns.iter().map(named).collect(),
            host: config.hosts.iter().map(host).collect(),
            map: config
                .maps
                .iter()
                .map(|((host, number), mapping)| MapTable {
                    host: host.clone(),
                    lun: mapping.lun.clone(),
                    number: *number,
                    read_only: mapping.read_only,
                })
                .collect(),
        }
    }
}

impl From<&Lun> for LunTable {
    fn from(lun: &Lun) -> Self {
        let (mut file, mut block, mut ram, mut null, mut size) = (None, None, None, None, None);
        match &lun.store {
            Store::File(path) => (file, size) = (Some(path.clone()), lun.size),
            Store::Block(path) => (block, size) = (Some(path.clone()), lun.size),
            Store::Ram => ram = lun.size,
            Store::Null => null = lun.size,
        }
        Self {
            file,
            block,
            ram,
            null,
            size,
            block_size: lun.block_size,
            read_only: lun.read_only,
            thin: lun.thin,
            write_cache: lun.write_cache,
            naa: Some(lun.naa),
            serial: Some(lun.serial.clone()),
        }
    }
}

impl HostTable {
    fn of(host: &Host, secrets: Secrets) -> Self {
        let chap = host.chap.as_ref();
        let mutual = chap.and_then(|chap| chap.target.as_ref());
        Self {
            guids: host.guids.iter().copied().collect(),
            iqns: host.iqns.iter().cloned().collect(),
            require: host.require,
            addresses: host.addresses.clone(),
            pkeys: host.pkeys.clone(),
            ports: host.ports.clone(),
            chap: chap.map(|chap| ChapTable::of(&chap.initiator, secrets)),
            mutual_chap: mutual.map(|account| ChapTable::of(account, secrets)),
        }
    }
}
