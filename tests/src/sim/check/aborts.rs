//! After its end, nothing of a command runs: no block changes for a write that was answered, or aborted, or that a
//! reset came after. That no byte moves to or from the initiator either, its memory keys tell (see `bounds`).

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::journal::{End, Entry, Scope};

#[derive(Debug)]
struct Managed {
    /// What had arrived when the request came.
    ops: Vec<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Aborts {
    /// Link, tag and logical unit of each command that did not end.
    sent: BTreeMap<(u32, u64), (u64, u8)>,
    nexuses: BTreeMap<u32, u32>,
    /// Commands at the target: nexus, logical unit, tag.
    arrived: BTreeMap<u64, (Option<u32>, u8, u64)>,
    managing: BTreeMap<(u32, u32), Managed>,
    over: BTreeSet<u64>,
}

impl Aborts {
    pub(super) fn read(&mut self, entry: &Entry) {
        match *entry {
            Entry::Submitted {
                op, link, tag, lun, ..
            } => {
                self.sent.insert((link, tag), (op, lun));
            }
            Entry::Ended { op, end } if !matches!(end, End::Lost | End::Overtaken) => {
                self.over.insert(op);
                self.arrived.remove(&op);
            }
            Entry::Opened { link, nexus } => {
                self.nexuses.insert(link, nexus);
            }
            Entry::Arrived { link, tag, .. } => {
                if let Some(&(op, lun)) = self.sent.get(&(link, tag)) {
                    let nexus = self.nexuses.get(&link).copied();
                    self.arrived.insert(op, (nexus, lun, tag));
                }
            }
            Entry::ManagementArrived {
                link,
                exchange,
                lun,
                scope,
            } => {
                let ops = self.covered(link, lun, scope);
                self.managing.insert((link, exchange), Managed { ops });
            }
            Entry::ManagementFinished {
                link,
                exchange,
                is_done,
            } => {
                let managed = self.managing.remove(&(link, exchange));
                let managed = managed.filter(|_| is_done);
                self.over.extend(managed.into_iter().flat_map(|m| m.ops));
            }
            Entry::Applied { lun, lba, op, .. } => assert!(
                !self.over.contains(&op),
                "write {op} changes block {lba} of LUN {lun} after its end"
            ),
            _ => {}
        }
    }

    fn covered(&self, link: u32, lun: u8, scope: Scope) -> Vec<u64> {
        let asking = self.nexuses.get(&link).copied();
        let commands = self.arrived.iter();
        let commands = commands.filter(|&(_, &(nexus, of, tag))| match scope {
            Scope::Task(wanted) => of == lun && nexus == asking && tag == wanted,
            Scope::Nexus => of == lun && nexus == asking,
            Scope::Everybody => of == lun,
            Scope::Target => true,
            Scope::Nothing => false,
        });
        commands.map(|(&op, _)| op).collect()
    }
}
