//! What is, beside what is configured: which logical units and portals are up. Plain data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::access::Access;
use crate::config::{Config, IscsiSettings, Name};
use crate::portal::{Endpoint, Portal, RdmaPort};

use super::compile;
use super::fault::Fault;
use super::media::Served;

/// A state of the control plane. Never changed: the next one replaces it.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// What is configured.
    pub(crate) config: Config,
    /// For each configured logical unit: what serves it, or why it is not served.
    pub(crate) luns: BTreeMap<Name, Result<Served, Fault>>,
    /// For each configured portal: what initiators dial, or why it does not listen.
    pub(crate) portals: BTreeMap<Portal, Result<Vec<Endpoint>, Fault>>,
    /// Who may come in, as the worker has it.
    pub(crate) access: Arc<Access>,
    /// What the target is called over iSCSI, as the worker has it.
    pub(crate) iscsi: Option<Arc<IscsiSettings>>,
}

impl State {
    /// Nothing is up.
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            luns: BTreeMap::new(),
            portals: BTreeMap::new(),
            access: Arc::default(),
            iscsi: None,
        }
    }

    /// What serves a configured logical unit, or why nothing does.
    pub(crate) fn served(&self, name: &Name) -> Result<&Served, Fault> {
        self.config.lun(name)?;
        match self.luns.get(name) {
            Some(Ok(served)) => Ok(served),
            Some(Err(fault)) => Err(fault.clone()),
            None => Err(Fault::failed(format!("LUN {name} is not served"))),
        }
    }

    /// Bytes of all logical units that are up.
    pub(crate) fn served_bytes(&self) -> u64 {
        let sizes = self
            .luns
            .values()
            .flatten()
            .map(|served| served.medium.size_bytes());
        sizes.fold(0, u64::saturating_add)
    }

    /// The RDMA ports of all portals that listen.
    pub(crate) fn rdma_ports(&self) -> BTreeSet<RdmaPort> {
        let endpoints = self.portals.values().flatten().flatten();
        let ports = endpoints.filter_map(|endpoint| endpoint.port.clone());
        ports.collect()
    }

    /// The access that belongs to the configuration and to what is up.
    pub(crate) fn compile_access(&self) -> Access {
        compile::access(&self.config, |name| {
            self.luns.get(name).is_some_and(Result::is_ok)
        })
    }
}
