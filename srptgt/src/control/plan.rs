//! What has to happen between one configuration and the next. Pure.

use crate::config::{ByteSize, Config, Lun, Name};
use crate::portal::Portal;

use super::fault::Fault;

/// What to do where a change needs a new start.
const RESTART: &str = "stop the daemon, edit the file, start it again";

/// The steps, each list in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Logical units to open.
    pub(crate) added: Vec<Name>,
    /// Logical units that grow, and to what.
    pub(crate) grown: Vec<(Name, ByteSize)>,
    /// Logical units whose write protection or write cache changes.
    pub(crate) switched: Vec<Name>,
    /// Portals to listen on.
    pub(crate) opened: Vec<Portal>,
    /// Logical units to close.
    pub(crate) removed: Vec<Name>,
    /// Portals to close.
    pub(crate) closed: Vec<Portal>,
}

impl Plan {
    /// Refuses what a running logical unit cannot change.
    pub(crate) fn between(now: &Config, next: &Config) -> Result<Self, Fault> {
        if now.target != next.target {
            return Err(Fault::conflict(
                "the target's id_ext and ioc_guid cannot change while the daemon runs",
            )
            .fix(RESTART));
        }
        if now.soft != next.soft {
            return Err(Fault::conflict(
                "the soft fabric's addresses and guid cannot change while the daemon runs",
            )
            .fix(RESTART));
        }
        let mut plan = Self {
            opened: next.portals.difference(&now.portals).cloned().collect(),
            closed: now.portals.difference(&next.portals).cloned().collect(),
            removed: now
                .luns
                .keys()
                .filter(|name| !next.luns.contains_key(name))
                .cloned()
                .collect(),
            ..Self::default()
        };
        for (name, lun) in &next.luns {
            match now.luns.get(name) {
                None => plan.added.push(name.clone()),
                Some(old) => plan.change(name, old, lun)?,
            }
        }
        Ok(plan)
    }

    fn change(&mut self, name: &Name, old: &Lun, new: &Lun) -> Result<(), Fault> {
        if let Some(what) = fixed_difference(old, new) {
            return Err(Fault::conflict(format!(
                "LUN {name}: its {what} cannot change while it exists"
            ))
            .fix(format!(
                "srptgt lun remove {name}, then add it again with the new {what}"
            )));
        }
        if let Some(size) = new.size
            && old.size != Some(size)
        {
            self.grown.push((name.clone(), size));
        }
        if (old.read_only, old.write_cache) != (new.read_only, new.write_cache) {
            self.switched.push(name.clone());
        }
        Ok(())
    }
}

/// What initiators have remembered of a logical unit, or cannot be told about.
fn fixed_difference(old: &Lun, new: &Lun) -> Option<&'static str> {
    [
        (old.store != new.store, "store"),
        (old.block_size != new.block_size, "block size"),
        (old.naa != new.naa, "naa"),
        (old.serial != new.serial, "serial"),
        (old.thin != new.thin, "thin provisioning"),
    ]
    .into_iter()
    .find_map(|(differs, what)| differs.then_some(what))
}
