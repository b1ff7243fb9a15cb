//! What requests make of a configuration's hosts. Pure.

use crate::config::{Config, Host, Name};
use crate::identity::{Guid, Iqn, ParsedGuid, ParsedIqn, ibstat};

use super::{Fault, Notes, chap};
use crate::control::request::HostEdit;

impl Config {
    pub(crate) fn add_host(&mut self, name: &Name, edit: &HostEdit) -> Result<Notes, Fault> {
        if self.hosts.contains_key(name) {
            return Err(
                Fault::conflict(format!("there is a host {name} already")).fix(format!(
                    "srptgt host set {name} --guid GUID, or --iqn IQN, adds to it"
                )),
            );
        }
        self.hosts.insert(name.clone(), Host::default());
        let mut notes = self.set_host(name, edit)?;
        if self.hosts.get(name).is_some_and(Host::is_anonymous) {
            notes.push(format!(
                "no port GUID and no iSCSI name is listed yet, so nobody comes in as {name}: srptgt host set {name} --guid \
                 GUID, or --iqn IQN"
            ));
        }
        Ok(notes)
    }

    pub(crate) fn set_host(&mut self, name: &Name, edit: &HostEdit) -> Result<Notes, Fault> {
        self.host(name)?;
        let (added, mut notes) = guids(edit)?;
        for guid in added {
            notes.extend(self.list_guid(name, guid)?);
        }
        for text in &edit.iqns {
            let parsed: ParsedIqn = text.parse().map_err(Fault::invalid)?;
            notes.extend(parsed.note);
            notes.extend(self.list_iqn(name, parsed.iqn)?);
        }
        let Some(host) = self.hosts.get_mut(name) else {
            return Ok(notes);
        };
        host.strike(name, edit)?;
        notes.extend(chap::edit(&mut host.chap, name, edit)?);
        host.require = edit.require.unwrap_or(host.require);
        host.addresses = edit
            .addresses
            .clone()
            .unwrap_or_else(|| host.addresses.clone());
        host.pkeys = edit.pkeys.clone().unwrap_or_else(|| host.pkeys.clone());
        host.ports = edit.ports.clone().unwrap_or_else(|| host.ports.clone());
        Ok(notes)
    }

    /// Lists a GUID under a host that exists.
    fn list_guid(&mut self, name: &Name, guid: Guid) -> Result<Option<String>, Fault> {
        match self.host_with(guid) {
            Some(owner) if owner == name => return Ok(Some(format!("{guid} was listed already"))),
            Some(owner) => {
                return Err(Fault::conflict(format!(
                    "port GUID {guid} is listed under host {owner}, and a port is in one machine"
                ))
                .fix(format!(
                    "if it moved: srptgt host set {owner} --remove-guid {guid}, then this again"
                )));
            }
            None => {}
        }
        if let Some(host) = self.hosts.get_mut(name) {
            host.guids.insert(guid);
        }
        Ok(None)
    }

    /// Lists an iSCSI name under a host that exists.
    fn list_iqn(&mut self, name: &Name, iqn: Iqn) -> Result<Option<String>, Fault> {
        if iqn == self.iscsi.target_name {
            return Err(Fault::conflict(format!(
                "{iqn} is this target's own name; expected the initiator's"
            ))
            .fix(
                "on Linux it stands in /etc/iscsi/initiatorname.iscsi, on ESXi in the storage adapter's properties; \
                 srptgt pending shows it when it has knocked",
            ));
        }
        match self.host_named(&iqn) {
            Some(owner) if owner == name => return Ok(Some(format!("{iqn} was listed already"))),
            Some(owner) => {
                return Err(Fault::conflict(format!(
                    "iSCSI name {iqn} is listed under host {owner}, and an initiator is one machine"
                ))
                .fix(format!(
                    "if it moved: srptgt host set {owner} --remove-iqn {iqn}, then this again; a cloned machine needs an \
                     initiator name of its own"
                )));
            }
            None => {}
        }
        if let Some(host) = self.hosts.get_mut(name) {
            host.iqns.insert(iqn);
        }
        Ok(None)
    }

    pub(crate) fn remove_host(&mut self, name: &Name, force: bool) -> Result<(), Fault> {
        self.host(name)?;
        let mapped: Vec<_> = self
            .maps_of(name)
            .map(|(_, mapping)| mapping.lun.to_string())
            .collect();
        if !mapped.is_empty() && !force {
            return Err(
                Fault::conflict(format!("host {name} sees {}", mapped.join(", "))).fix(format!(
                    "srptgt unmap LUN --host {name} first, or srptgt host remove {name} --force"
                )),
            );
        }
        self.maps.retain(|(host, _), _| host != name);
        self.hosts.remove(name);
        Ok(())
    }
}

impl Host {
    /// Whether it lists nobody.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.guids.is_empty() && self.iqns.is_empty()
    }

    /// Takes away what the edit takes away.
    fn strike(&mut self, name: &Name, edit: &HostEdit) -> Result<(), Fault> {
        for text in &edit.remove_guids {
            let guid = text.parse::<Guid>().map_err(Fault::invalid)?;
            if !self.guids.remove(&guid) {
                return Err(not_listed(name, &guid));
            }
        }
        for text in &edit.remove_iqns {
            let iqn = text.parse::<Iqn>().map_err(Fault::invalid)?;
            if !self.iqns.remove(&iqn) {
                return Err(not_listed(name, &iqn));
            }
        }
        Ok(())
    }
}

fn not_listed(name: &Name, what: &impl std::fmt::Display) -> Fault {
    Fault::not_found(format!("host {name} does not list {what}"))
        .fix(format!("srptgt host show {name} shows what it lists"))
}

/// The GUIDs that an edit adds, in order, with what is to be said about their forms.
fn guids(edit: &HostEdit) -> Result<(Vec<Guid>, Notes), Fault> {
    let (mut found, mut notes) = (Vec::new(), Notes::new());
    for text in &edit.guids {
        let parsed: ParsedGuid = text.parse().map_err(Fault::invalid)?;
        found.push(parsed.guid);
        notes.extend(parsed.note);
    }
    for text in &edit.ibstat {
        let ports = ibstat::ports(text).map_err(Fault::invalid)?;
        found.extend(ports.iter().map(|port| port.guid));
    }
    Ok((found, notes))
}
