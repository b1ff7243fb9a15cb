//! What has to happen between one configuration and the next. Pure.

use std::collections::BTreeSet;
use std::fmt;

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
    /// Hosts that come, go, change or see something else.
    pub(crate) hosts: Vec<Name>,
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
            hosts: changed_hosts(now, next),
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

fn changed_hosts(now: &Config, next: &Config) -> Vec<Name> {
    let names: BTreeSet<&Name> = now.hosts.keys().chain(next.hosts.keys()).collect();
    let differs = |name: &Name| {
        now.hosts.get(name) != next.hosts.get(name) || !now.maps_of(name).eq(next.maps_of(name))
    };
    let changed = names.into_iter().filter(|name| differs(name));
    changed.cloned().collect()
}

/// For the log: what changes, and nothing that does not.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grown: Vec<_> = self.grown.iter().map(|(name, _)| name).collect();
        let changes = [
            ("LUNs added", listed(&self.added)),
            ("LUNs grown", listed(&grown)),
            ("LUNs switched", listed(&self.switched)),
            ("LUNs removed", listed(&self.removed)),
            ("portals opened", listed(&self.opened)),
            ("portals closed", listed(&self.closed)),
            ("hosts changed", listed(&self.hosts)),
        ];
        let changes = changes.iter().filter(|(_, names)| !names.is_empty());
        let changes: Vec<_> = changes
            .map(|(what, names)| format!("{what}: {names}"))
            .collect();
        match changes.is_empty() {
            // Nothing else can.
            true => f.write_str("the target's names"),
            false => f.write_str(&changes.join("; ")),
        }
    }
}

fn listed(items: &[impl fmt::Display]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;

    const NOW: &str = r#"
[target]
id_ext = "0x0252000000000001"
ioc_guid = "0x0252000000000002"

[lun.ds1]
ram = "64M"
naa = "naa.6025352000000000000000000000001a"

[host.esx01]
guids = ["0x0002c903000e0b73"]

[host.esx02]
guids = ["0x0002c903000e0b83"]
"#;

    fn plan(now: &str, next: &str) -> Result<Plan, Fault> {
        let config = |text| parse(text).unwrap().0;
        Plan::between(&config(now), &config(next))
    }

    #[test]
    fn the_log_has_what_changes_and_nothing_else() {
        let said = |next: &str| plan(NOW, next).unwrap().to_string();
        let mapped = format!("{NOW}\n[[map]]\nhost = \"esx01\"\nlun = \"ds1\"\nnumber = 0\n");
        assert_eq!(said(&mapped), "hosts changed: esx01");
        let more =
            "[lun.b]\nnull = \"1M\"\n[[portal]]\nprotocol = \"tcp\"\nlisten = \"10.0.0.1:3260\"\n";
        assert_eq!(
            said(&format!("{NOW}{more}")),
            "LUNs added: b; portals opened: tcp 10.0.0.1:3260"
        );
        let less = NOW.split("[host").next().unwrap();
        assert_eq!(said(less), "hosts changed: esx01, esx02");
        assert_eq!(
            said(&NOW.replace("[lun.ds1]", "alias = \"tank\"\n[lun.ds1]")),
            "the target's names"
        );
    }

    #[test]
    fn what_the_worker_was_started_with_stays() {
        for next in [
            NOW.replace("0002\"", "0003\""),
            format!("{NOW}[soft]\nguid = \"0x02505600000000aa\"\n"),
        ] {
            let fault = plan(NOW, &next).unwrap_err();
            assert!(fault.text.contains("while the daemon runs"), "{fault}");
        }
    }
}
