//! What the API takes: the bodies of its requests. Pure.
//!
//! A new logical unit is a [`LunTable`](crate::config::document::LunTable), with the keys of the configuration file.

use serde::{Deserialize, Serialize};

use crate::config::{ByteSize, Name, Pkey, Require};
use crate::identity::AddressRange;
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
    /// Who must vouch for a GUID.
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
    /// Port GUID in any form.
    pub guid: String,
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
