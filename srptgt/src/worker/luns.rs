//! Logical units by name: what the control plane calls them, and what the core and the ring call them.

use std::collections::BTreeMap;
use std::sync::Arc;

use backstore::Medium;
use target_core::backend::MediumId;
use target_core::target::{LuId, MapEntry};

use crate::access::Host;

/// One served logical unit.
#[derive(Debug)]
pub(super) struct Served {
    /// In the core.
    pub(super) lu: LuId,
    /// On the ring.
    pub(super) medium_id: MediumId,
    /// The store itself, for fault injection.
    pub(super) medium: Arc<Medium>,
}

/// All served logical units.
#[derive(Debug, Default)]
pub(super) struct Luns {
    by_name: BTreeMap<Arc<str>, Served>,
}

impl Luns {
    /// Adds one.
    pub(super) fn insert(&mut self, name: Arc<str>, served: Served) {
        self.by_name.insert(name, served);
    }

    /// The one with this name.
    pub(super) fn get(&self, name: &str) -> Option<&Served> {
        self.by_name.get(name)
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, name: &str) -> Option<Served> {
        self.by_name.remove(name)
    }

    /// What a host sees. A name that is not served yet is left out; the control plane adds it first.
    pub(super) fn map_of(&self, host: &Host) -> Vec<MapEntry> {
        host.luns
            .iter()
            .filter_map(|(&number, mapped)| {
                let served = self.by_name.get(&mapped.lun)?;
                Some(MapEntry {
                    number,
                    lu: served.lu,
                    read_only: mapped.read_only,
                })
            })
            .collect()
    }
}
