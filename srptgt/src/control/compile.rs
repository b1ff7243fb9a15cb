//! From hosts and maps to the [`Access`] that the worker asks. Pure.

use std::sync::Arc;

use crate::access::{Access, Host, MappedLun};
use crate::config::{self, Config, Name, Require};

/// Compiles; `online` says which logical units the worker has. The others are left out until they come.
pub(crate) fn access(config: &Config, online: impl Fn(&Name) -> bool) -> Access {
    let host = |(name, host): (&Name, &config::Host)| Host {
        name: name.shared(),
        guids: host.guids.iter().copied().collect(),
        iqns: host.iqns.iter().cloned().collect(),
        chap: host.chap.clone().map(Arc::new),
        require_fabric: host.require == Require::Fabric,
        addresses: host.addresses.clone(),
        pkeys: host.pkeys.iter().map(|pkey| pkey.0).collect(),
        ports: host.ports.clone(),
        luns: config
            .maps_of(name)
            .filter(|(_, mapping)| online(&mapping.lun))
            .map(|(number, mapping)| {
                (
                    number,
                    MappedLun {
                        lun: mapping.lun.shared(),
                        read_only: mapping.read_only,
                    },
                )
            })
            .collect(),
    };
    let hosts = config.hosts.iter().map(host).collect();
    Access::new(hosts).of_target(config.iscsi.target_name.clone())
}
