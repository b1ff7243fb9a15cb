//! From what stands in the file to a [`Config`]: every rule that spans more than one value. Pure but for the random
//! identities of what has none yet.

use std::collections::BTreeMap;

use super::document::{Document, MapTable};
use super::tables::{host, lun, no_random, soft, target};
use super::{Config, Mapping, Name, TargetIdentity};
use crate::identity::{Guid, Iqn};
use crate::portal::{Listen, Protocol};

/// A step from a table to a value in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// By key.
    Key(String),
    /// By place in an array.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<&Name> for Step {
    fn from(name: &Name) -> Self {
        Self::Key(name.to_string())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// A rule that does not hold: where, and what was expected and came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Conflict {
    /// The way to the value in the document.
    pub at: Vec<Step>,
    /// One sentence.
    pub text: String,
}

pub(super) fn conflict<const N: usize>(at: [Step; N], text: String) -> Conflict {
    Conflict {
        at: at.into(),
        text,
    }
}

impl Config {
    /// Checks a document and makes the identities that it lacks.
    ///
    /// # Errors
    /// The first rule that does not hold; also when the kernel gives no random bytes.
    pub fn from_document(document: Document) -> Result<Self, Conflict> {
        let mut config = match document.target {
            Some(table) => target(table),
            None => {
                let made = TargetIdentity::random().map_err(|error| no_random("target", error))?;
                Self::new(made)
            }
        };
        config.soft = soft(document.soft)?;
        for (name, table) in document.lun {
            let lun = lun(&name, table)?;
            config.luns.insert(name, lun);
        }
        for (name, table) in document.host {
            let host = host(&name, table)?;
            config.hosts.insert(name, host);
        }
        let mut places = BTreeMap::new();
        for (index, table) in document.map.into_iter().enumerate() {
            places.insert((table.host.clone(), table.number), index);
            config.map(index, table)?;
        }
        config.check_maps().map_err(|broken| Conflict {
            at: [Step::from("map")]
                .into_iter()
                .chain(places.get(&broken.key).map(|index| Step::Index(*index)))
                .collect(),
            text: broken.text,
        })?;
        for (index, portal) in document.portal.into_iter().enumerate() {
            let is_known = config
                .portals
                .iter()
                .any(|known| known.is_at_place_of(&portal));
            if is_known || !config.portals.insert(portal.clone()) {
                return Err(conflict(
                    ["portal".into(), index.into()],
                    format!("portal {portal} is listed twice; remove one"),
                ));
            }
        }
        config.check()?;
        Ok(config)
    }

    /// Checks what the types of a `Config` do not: identities and media that must be unique, maps that must name
    /// what exists.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self) -> Result<(), Conflict> {
        self.check_luns()?;
        self.check_guids()?;
        self.check_iqns()?;
        self.check_secrets()?;
        self.check_portals()?;
        self.check_maps()
            .map_err(|broken| conflict(["map".into()], broken.text))
    }

    fn map(&mut self, index: usize, table: MapTable) -> Result<(), Conflict> {
        let key = (table.host, table.number);
        if let Some(other) = self.maps.get(&key) {
            return Err(conflict(
                ["map".into(), index.into(), "number".into()],
                format!(
                    "LUN number {} of host {} is {} already; give {} another number from 0 to 255",
                    key.1, key.0, other.lun, table.lun
                ),
            ));
        }
        let mapping = Mapping {
            lun: table.lun,
            read_only: table.read_only,
        };
        self.maps.insert(key, mapping);
        Ok(())
    }

    fn check_luns(&self) -> Result<(), Conflict> {
        let (mut naas, mut serials, mut paths) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (name, lun) in &self.luns {
            let taken = |key: &str, value: String, other: &Name| {
                conflict(
                    ["lun".into(), name.into(), key.into()],
                    format!(
                        "{key} {value} of LUN {name} is LUN {other}'s already; each LUN needs its own"
                    ),
                )
            };
            if let Some(other) = naas.insert(lun.naa, name) {
                return Err(taken("naa", lun.naa.to_string(), other));
            }
            if let Some(other) = serials.insert(&lun.serial, name) {
                return Err(taken("serial", lun.serial.to_string(), other));
            }
            let Some(path) = lun.store.path() else {
                continue;
            };
            if let Some(other) = paths.insert(path, name) {
                return Err(taken(lun.store.kind(), path.display().to_string(), other));
            }
        }
        Ok(())
    }

    fn check_guids(&self) -> Result<(), Conflict> {
        let mut owners: BTreeMap<Guid, &Name> = BTreeMap::new();
        for (name, host) in &self.hosts {
            for guid in &host.guids {
                if let Some(other) = owners.insert(*guid, name) {
                    return Err(conflict(
                        ["host".into(), name.into(), "guids".into()],
                        format!(
                            "port GUID {guid} is listed under host {other} and under host {name}; a port is in one \
                             machine: remove it from one of them"
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_iqns(&self) -> Result<(), Conflict> {
        let mut owners: BTreeMap<&Iqn, &Name> = BTreeMap::new();
        for (name, host) in &self.hosts {
            let at = || ["host".into(), name.into(), "iqns".into()];
            for iqn in &host.iqns {
                if *iqn == self.iscsi.target_name {
                    return Err(conflict(
                        at(),
                        format!(
                            "{iqn} is this target's own name, and stands under host {name}; expected the initiator's \
                             name (Linux: /etc/iscsi/initiatorname.iscsi; ESXi: the storage adapter's properties)"
                        ),
                    ));
                }
                if let Some(other) = owners.insert(iqn, name) {
                    return Err(conflict(
                        at(),
                        format!(
                            "iSCSI name {iqn} is listed under host {other} and under host {name}; an initiator is one \
                             machine: remove it from one of them"
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    /// A secret that both ends prove by proves nothing: an answer can be had by asking (RFC 7143 9.2.1).
    fn check_secrets(&self) -> Result<(), Conflict> {
        for (name, host) in &self.hosts {
            if let Some(chap) = &host.chap
                && let Some(target) = &chap.target
                && target.secret == chap.initiator.secret
            {
                return Err(conflict(
                    ["host".into(), name.into(), "mutual_chap".into()],
                    format!(
                        "host {name}: the secret of mutual CHAP is that of CHAP; RFC 7143 9.2.1 asks for two different \
                         ones"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn check_portals(&self) -> Result<(), Conflict> {
        for portal in &self.portals {
            let of_device = matches!(portal.listen, Listen::InfiniBand(_));
            if portal.protocol.is_iscsi() && of_device {
                return Err(conflict(
                    ["portal".into()],
                    format!(
                        "portal {portal}: {} listens on an IP address (10.0.0.1:3260), which over InfiniBand is IPoIB's",
                        portal.protocol
                    ),
                ));
            }
            if portal.protocol == Protocol::Tcp && portal.fabric.is_some() {
                return Err(conflict(
                    ["portal".into()],
                    format!(
                        "portal {portal}: tcp is carried by no RDMA fabric; leave the fabric out"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn check_maps(&self) -> Result<(), BrokenMap> {
        let mut seen = BTreeMap::new();
        for (key @ (host, number), mapping) in &self.maps {
            let lun = &mapping.lun;
            let broken = |text| {
                Err(BrokenMap {
                    key: key.clone(),
                    text,
                })
            };
            if !self.hosts.contains_key(host) {
                let known = known(self.hosts.keys());
                return broken(format!(
                    "LUN number {number} is mapped to host {host}, which does not exist; hosts: {known}"
                ));
            }
            if !self.luns.contains_key(lun) {
                let known = known(self.luns.keys());
                return broken(format!(
                    "host {host} has LUN {lun} mapped, which does not exist; LUNs: {known}"
                ));
            }
            if let Some(other) = seen.insert((host, lun), number) {
                return broken(format!(
                    "host {host} has LUN {lun} mapped twice, as number {other} and as number {number}; one is enough, \
                     since all of a host's paths see the same numbers"
                ));
            }
        }
        Ok(())
    }
}

/// A map that names what does not exist, or says what another says.
struct BrokenMap {
    key: (Name, u8),
    text: String,
}

fn known<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    const SHOWN: usize = 10;
    let names: Vec<_> = names.map(Name::as_str).collect();
    match names.split_at_checked(SHOWN) {
        None if names.is_empty() => "none".to_owned(),
        None => names.join(", "),
        Some((first, [])) => first.join(", "),
        Some((first, rest)) => format!("{} and {} more", first.join(", "), rest.len()),
    }
}
