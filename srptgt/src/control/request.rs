//! What the API takes: the bodies of its requests. Pure.
//!
//! A new logical unit is a [`LunTable`](crate::config::document::LunTable), with the keys of the configuration file.

use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, Name, Pkey, Require};
use crate::identity::chap::serialize_exposed;
use crate::identity::{AddressRange, Secret};
use crate::portal::HcaPort;

/// Changes to a logical unit; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LunSet {
    /// Write-protect it for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Let acknowledged writes wait for SYNCHRONIZE CACHE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_cache: Option<bool>,
}

/// A larger size.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LunResize {
    /// The new size; without it, the size of the file or device is read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
}

/// Fault injection.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stall {
    /// Begin or end.
    pub on: bool,
}

/// A new host, or changes to one; what is left out stays, a list that is given replaces the old one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEdit {
    /// Port GUIDs to add, in any form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guids: Vec<String>,
    /// Output of `ibstat`, whose port GUIDs are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ibstat: Vec<String>,
    /// Port GUIDs to remove, in any form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_guids: Vec<String>,
    /// iSCSI names to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iqns: Vec<String>,
    /// iSCSI names to remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_iqns: Vec<String>,
    /// What an iSCSI login proves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chap: Option<ChapEdit>,
    /// What the target proves in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutual_chap: Option<ChapEdit>,
    /// Admit it without CHAP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_chap: bool,
    /// Prove nothing to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_mutual_chap: bool,
    /// Who must vouch for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require: Option<Require>,
    /// Where it may come from; an empty list is anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<AddressRange>>,
    /// By which partitions; an empty list is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkeys: Option<Vec<Pkey>>,
    /// By which of our ports; an empty list is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<HcaPort>>,
}

/// A CHAP account, or changes to one; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChapEdit {
    /// User name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Secret.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_exposed"
    )]
    pub secret: Option<Secret>,
}

/// Other names for the target over iSCSI; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSet {
    /// Its iSCSI name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iqn: Option<String>,
    /// Its alias; an empty text takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Tag of its portal group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal_group_tag: Option<u16>,
}

/// A map.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapAdd {
    /// The logical unit.
    pub lun: Name,
    /// The host.
    pub host: Name,
    /// LUN number; without it, the lowest that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u8>,
    /// Write-protected for this host.
    #[serde(default)]
    pub read_only: bool,
}

/// An admission.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Port GUID in any form, or iSCSI name.
    #[serde(alias = "guid")]
    pub identity: String,
    /// The host that gets it; made when there is none.
    pub host: Name,
}

/// Whether what depends on the removed goes with it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// Take its maps away too.
    #[serde(default)]
    pub force: bool,
}

/// What an export has.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// CHAP secrets too.
    #[serde(default)]
    pub secrets: bool,
}
