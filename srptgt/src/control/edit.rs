//! What each request makes of a configuration. Pure: nothing is opened, asked or written here.
//! Hosts and their CHAP accounts have files of their own.

use crate::config::document::LunTable;
use crate::config::{ByteSize, Config, Document, Host, Lun, Mapping, Name, Secrets};
use crate::identity::ParsedIqn;
use crate::portal::{Listen, Portal, Protocol};

use super::fault::Fault;
use super::request::{LunSet, MapAdd, TargetSet};

mod chap;
mod host;

/// Sentences for the operator about what was done.
pub(super) type Notes = Vec<String>;

impl Config {
    /// The logical unit, or what to type.
    pub(crate) fn lun(&self, name: &Name) -> Result<&Lun, Fault> {
        self.luns.get(name).ok_or_else(|| {
            Fault::not_found(format!("there is no LUN {name}"))
                .fix("srptgt lun list shows what there is")
        })
    }

    /// The host, or what to type.
    pub(crate) fn host(&self, name: &Name) -> Result<&Host, Fault> {
        self.hosts.get(name).ok_or_else(|| {
            Fault::not_found(format!("there is no host {name}")).fix(format!(
                "srptgt host list shows what there is; srptgt host add {name} --guid GUID, or --iqn IQN, makes it"
            ))
        })
    }

    pub(crate) fn add_lun(&mut self, name: &Name, table: LunTable) -> Result<(), Fault> {
        if self.luns.contains_key(name) {
            return Err(Fault::conflict(format!("there is a LUN {name} already"))
                .fix(format!("choose another name, or: srptgt lun show {name}")));
        }
        let mut document = Document::of(self, Secrets::Included);
        document.lun.insert(name.clone(), table);
        *self = Config::from_document(document)?;
        Ok(())
    }

    pub(crate) fn set_lun(&mut self, name: &Name, set: &LunSet) -> Result<(), Fault> {
        self.lun(name)?;
        let Some(lun) = self.luns.get_mut(name) else {
            return Ok(());
        };
        lun.read_only = set.read_only.unwrap_or(lun.read_only);
        lun.write_cache = set.write_cache.unwrap_or(lun.write_cache);
        Ok(())
    }

    pub(crate) fn resize_lun(&mut self, name: &Name, size: ByteSize) -> Result<(), Fault> {
        let old = self.lun(name)?.size;
        if old.is_some_and(|old| size < old) {
            return Err(Fault::conflict(format!(
                "LUN {name} has {} bytes and shrinking it to {} would lose data",
                old.map_or(0, |old| old.0),
                size.0
            ))
            .fix("add a LUN of that size, copy, and remove this one"));
        }
        if let Some(lun) = self.luns.get_mut(name) {
            lun.size = Some(size);
        }
        Ok(())
    }

    pub(crate) fn remove_lun(&mut self, name: &Name, force: bool) -> Result<Notes, Fault> {
        let lun = self.lun(name)?;
        let kept = lun
            .store
            .path()
            .map(|path| format!("{} itself was not touched", path.display()));
        let mapped: Vec<_> = self
            .hosts_of(name)
            .map(|(host, ..)| host.to_string())
            .collect();
        if !mapped.is_empty() && !force {
            return Err(
                Fault::conflict(format!("LUN {name} is mapped to {}", mapped.join(", "))).fix(
                    format!(
                        "srptgt unmap {name} --host HOST first, or srptgt lun remove {name} --force"
                    ),
                ),
            );
        }
        self.maps.retain(|_, mapping| mapping.lun != *name);
        self.luns.remove(name);
        Ok(kept.into_iter().collect())
    }

    /// Maps, and returns the LUN number.
    pub(crate) fn map_lun(&mut self, map: &MapAdd) -> Result<u8, Fault> {
        self.lun(&map.lun)?;
        self.host(&map.host)?;
        if let Some((_, number, _)) = self
            .hosts_of(&map.lun)
            .find(|(host, ..)| **host == map.host)
        {
            return Err(Fault::conflict(format!(
                "host {} sees LUN {} already, as number {number}",
                map.host, map.lun
            ))
            .fix(format!(
                "to change it: srptgt unmap {} --host {}, then map again",
                map.lun, map.host
            )));
        }
        let number = match map.number {
            Some(number) => number,
            None => self.free_number(&map.host).ok_or_else(|| {
                Fault::conflict(format!(
                    "host {} has all LUN numbers from 0 to 255 in use",
                    map.host
                ))
                .fix(format!("srptgt unmap LUN --host {}", map.host))
            })?,
        };
        if let Some(other) = self.maps.get(&(map.host.clone(), number)) {
            let free = self
                .free_number(&map.host)
                .map_or_else(String::new, |free| format!("{free} is free: "));
            return Err(Fault::conflict(format!(
                "LUN number {number} of host {} is {} already",
                map.host, other.lun
            ))
            .fix(format!(
                "{free}leave --lun out to have the lowest free number"
            )));
        }
        let mapping = Mapping {
            lun: map.lun.clone(),
            read_only: map.read_only,
        };
        self.maps.insert((map.host.clone(), number), mapping);
        Ok(number)
    }

    /// Unmaps, and returns the LUN number that it had.
    pub(crate) fn unmap_lun(&mut self, lun: &Name, host: &Name) -> Result<u8, Fault> {
        self.lun(lun)?;
        self.host(host)?;
        let number = self
            .hosts_of(lun)
            .find(|(name, ..)| *name == host)
            .map(|(_, number, _)| number);
        let number = number.ok_or_else(|| {
            Fault::not_found(format!("host {host} does not see LUN {lun}"))
                .fix(format!("srptgt lun show {lun} shows who does"))
        })?;
        self.maps.remove(&(host.clone(), number));
        Ok(number)
    }

    /// The portal, or what to type.
    pub(crate) fn portal(&self, protocol: Protocol, listen: &Listen) -> Result<&Portal, Fault> {
        let is_meant = |portal: &&Portal| portal.protocol == protocol && portal.listen == *listen;
        self.portals.iter().find(is_meant).ok_or_else(|| {
            Fault::not_found(format!("there is no portal {protocol} {listen}"))
                .fix("srptgt portal list shows what there is")
        })
    }

    pub(crate) fn add_portal(&mut self, portal: &Portal) -> Result<(), Fault> {
        if !self
            .portals
            .iter()
            .any(|known| known.is_at_place_of(portal))
        {
            self.portals.insert(portal.clone());
            return Ok(());
        }
        Err(
            Fault::conflict(format!("there is a portal {portal} already"))
                .fix("srptgt portal list shows its state"),
        )
    }

    pub(crate) fn set_target(&mut self, set: &TargetSet) -> Result<Notes, Fault> {
        let mut notes = Notes::new();
        if let Some(text) = &set.iqn {
            let parsed: ParsedIqn = text.parse().map_err(Fault::invalid)?;
            notes.extend(parsed.note);
            if parsed.iqn != self.iscsi.target_name {
                notes.push(format!(
                    "sessions go on; initiators that log in again ask for the old name, {}, until they discover anew",
                    self.iscsi.target_name
                ));
            }
            self.iscsi.target_name = parsed.iqn;
        }
        match set.alias.as_deref() {
            None => {}
            Some("") => self.iscsi.target_alias = None,
            Some(alias) => self.iscsi.target_alias = Some(alias.parse()?),
        }
        let tag = set.portal_group_tag;
        self.iscsi.portal_group_tag = tag.unwrap_or(self.iscsi.portal_group_tag);
        Ok(notes)
    }

    pub(crate) fn remove_portal(&mut self, portal: &Portal) -> Result<(), Fault> {
        let before = self.portals.len();
        self.portals.retain(|known| !known.is_at_place_of(portal));
        if self.portals.len() < before {
            return Ok(());
        }
        Err(Fault::not_found(format!("there is no portal {portal}"))
            .fix("srptgt portal list shows what there is"))
    }
}

#[cfg(test)]
mod tests;
