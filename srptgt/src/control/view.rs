//! What the API shows: the JSON of its answers, exactly. Pure, but for the addresses of this machine that a wildcard
//! portal stands for.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;

use crate::config::{Config, Host, IscsiSettings, Lun, Name, Pkey, Require, TargetIdentity};
use crate::identity::{AddressRange, ChapAccount, Guid, Iqn};
use crate::interfaces::reachable;
use crate::portal::{
    Address, Endpoint, FabricKind, HcaPort, Iscsiadm, Listen, Portal, Protocol, RdmaPort,
};
use crate::worker_link::{Counters, unix_ms};

use super::fault::Fault;
use super::pending::Entry;
use super::state::State;

/// An answer, with sentences for the operator.
#[derive(Clone, Debug, Serialize)]
pub struct Noted<T> {
    /// The answer.
    #[serde(flatten)]
    pub value: T,
    /// The sentences.
    pub notes: Vec<String>,
}

/// Whether something is up, and if not, why not and what to do.
#[derive(Clone, Debug, Serialize)]
pub struct Condition {
    /// `online`, `offline`, `listening` or `down`.
    pub state: &'static str,
    /// Why it is not up.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

impl Condition {
    fn of<T>(what: Option<&Result<T, Fault>>, [up, down]: [&'static str; 2]) -> Self {
        match what {
            Some(Ok(_)) => Self {
                state: up,
                fault: None,
            },
            Some(Err(fault)) => Self {
                state: down,
                fault: Some(fault.clone()),
            },
            None => Self {
                state: down,
                fault: None,
            },
        }
    }
}

/// A logical unit.
#[derive(Clone, Debug, Serialize)]
pub struct LunView {
    /// Its name.
    pub name: Name,
    /// `file`, `block`, `ram` or `null`.
    pub store: &'static str,
    /// Path of the file or device.
    pub path: Option<PathBuf>,
    /// `online` or `offline`.
    #[serde(flatten)]
    pub condition: Condition,
    /// Capacity.
    pub size_bytes: u64,
    /// LOGICAL BLOCK LENGTH IN BYTES.
    pub block_size: u32,
    /// Write-protected.
    pub read_only: bool,
    /// Thin-provisioned.
    pub thin: bool,
    /// WCE.
    pub write_cache: bool,
    /// Designator.
    pub naa: crate::config::Naa,
    /// Serial number.
    pub serial: crate::config::Serial,
    /// Whether data bypasses the page cache; `null` when offline.
    pub direct_io: Option<bool>,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffered_because: Option<String>,
    /// Who sees it.
    pub hosts: Vec<MapView>,
}

pub(crate) fn lun(state: &State, name: &Name, lun: &Lun) -> LunView {
    let served = state.luns.get(name).and_then(|served| served.as_ref().ok());
    let buffered_because = served.and_then(|served| served.why_buffered());
    LunView {
        name: name.clone(),
        store: lun.store.kind(),
        path: lun.store.path().cloned(),
        condition: Condition::of(state.luns.get(name), ["online", "offline"]),
        size_bytes: match served {
            Some(served) => served.size_bytes(),
            None => lun.size.map_or(0, |size| size.0),
        },
        block_size: lun.block_size.bytes(),
        read_only: lun.read_only,
        thin: lun.thin,
        write_cache: lun.write_cache,
        naa: lun.naa,
        serial: lun.serial.clone(),
        direct_io: served.map(|_| buffered_because.is_none()),
        buffered_because,
        hosts: state
            .config
            .hosts_of(name)
            .map(|(host, number, mapping)| MapView {
                host: host.clone(),
                number,
                lun: name.clone(),
                read_only: mapping.read_only,
            })
            .collect(),
    }
}

/// A map.
#[derive(Clone, Debug, Serialize)]
pub struct MapView {
    /// Who sees it.
    pub host: Name,
    /// Under which LUN number.
    pub number: u8,
    /// What.
    pub lun: Name,
    /// Write-protected for this host.
    pub read_only: bool,
}

pub(crate) fn maps(config: &Config) -> Vec<MapView> {
    config
        .hosts
        .keys()
        .flat_map(|host| maps_of(config, host))
        .collect()
}

fn maps_of(config: &Config, host: &Name) -> Vec<MapView> {
    config
        .maps_of(host)
        .map(|(number, mapping)| MapView {
            host: host.clone(),
            number,
            lun: mapping.lun.clone(),
            read_only: mapping.read_only,
        })
        .collect()
}

/// A CHAP account, without its secret.
#[derive(Clone, Debug, Serialize)]
pub struct ChapView {
    /// User name.
    pub user: String,
    /// `set`.
    pub secret: &'static str,
}

impl ChapView {
    fn of(account: &ChapAccount) -> Self {
        Self {
            user: account.user.clone(),
            secret: "set",
        }
    }
}

/// A host.
#[derive(Clone, Debug, Serialize)]
pub struct HostView {
    /// Its name.
    pub name: Name,
    /// Its port GUIDs.
    pub guids: Vec<Guid>,
    /// Its iSCSI names.
    pub iqns: Vec<Iqn>,
    /// What its iSCSI logins prove.
    pub chap: Option<ChapView>,
    /// What the target proves to it in turn.
    pub mutual_chap: Option<ChapView>,
    /// Who must vouch for it.
    pub require: Require,
    /// Where it may come from.
    pub addresses: Vec<AddressRange>,
    /// By which partitions.
    pub pkeys: Vec<Pkey>,
    /// By which of our ports.
    pub ports: Vec<HcaPort>,
    /// What it sees.
    pub luns: Vec<MapView>,
}

pub(crate) fn host(config: &Config, name: &Name, host: &Host) -> HostView {
    let chap = host.chap.as_ref();
    let mutual = chap.and_then(|chap| chap.target.as_ref());
    HostView {
        name: name.clone(),
        guids: host.guids.iter().copied().collect(),
        iqns: host.iqns.iter().cloned().collect(),
        chap: chap.map(|chap| ChapView::of(&chap.initiator)),
        mutual_chap: mutual.map(ChapView::of),
        require: host.require,
        addresses: host.addresses.clone(),
        pkeys: host.pkeys.clone(),
        ports: host.ports.clone(),
        luns: maps_of(config, name),
    }
}

/// A portal.
#[derive(Clone, Debug, Serialize)]
pub struct PortalView {
    /// What it speaks.
    pub protocol: Protocol,
    /// Where.
    pub listen: Listen,
    /// What carries it; absent when it is what the daemon was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fabric: Option<FabricKind>,
    /// `listening` or `down`.
    #[serde(flatten)]
    pub condition: Condition,
    /// What initiators dial.
    pub endpoints: Vec<EndpointView>,
}

/// What an initiator dials.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointView {
    /// The address, and the port that has it.
    #[serde(flatten)]
    pub endpoint: Endpoint,
    /// SRP: the line for `add_target` of a Linux initiator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_target: Option<String>,
    /// iSCSI: target name and address, `iqn…@10.0.0.1:3260`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dial: Option<String>,
    /// iSCSI: what an open-iscsi initiator types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iscsiadm: Option<Iscsiadm>,
}

impl EndpointView {
    fn new(config: &Config, protocol: Protocol, endpoint: &Endpoint) -> Self {
        let (target, name) = (&config.target, &config.iscsi.target_name);
        let mut view = Self {
            endpoint: endpoint.clone(),
            add_target: None,
            dial: None,
            iscsiadm: None,
        };
        match &endpoint.address {
            Address::Ip(address) if protocol.is_iscsi() => {
                view.dial = Some(format!("{name}@{address}"));
                view.iscsiadm = Some(Iscsiadm::new(protocol, name, *address));
            }
            address => {
                let line = address.add_target(target.id_ext.value(), target.ioc_guid.value());
                view.add_target = Some(line);
            }
        }
        view
    }
}

pub(crate) fn portal(state: &State, portal: &Portal) -> PortalView {
    let heard = state.portals.get(portal);
    let view = |endpoint: &Endpoint| EndpointView::new(&state.config, portal.protocol, endpoint);
    PortalView {
        protocol: portal.protocol,
        listen: portal.listen.clone(),
        fabric: portal.fabric,
        condition: Condition::of(heard, ["listening", "down"]),
        endpoints: match heard {
            Some(Ok(endpoints)) => reachable(endpoints).iter().map(view).collect(),
            _ => Vec::new(),
        },
    }
}

/// An initiator that was refused.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct PendingView(pub(crate) Entry);

/// What the target is called.
#[derive(Clone, Debug, Serialize)]
pub struct TargetView {
    /// Over SRP.
    #[serde(flatten)]
    pub identity: TargetIdentity,
    /// Over iSCSI.
    #[serde(flatten)]
    pub iscsi: IscsiSettings,
}

pub(crate) fn target(config: &Config) -> TargetView {
    TargetView {
        identity: config.target,
        iscsi: config.iscsi.clone(),
    }
}

/// The summary.
#[derive(Clone, Debug, Serialize)]
pub struct StatusView {
    /// Of the program.
    pub version: &'static str,
    /// Process id of the daemon.
    pub process: u32,
    /// When it started.
    #[serde(rename = "since_unix_ms", serialize_with = "unix_ms")]
    pub since: SystemTime,
    /// The configuration file.
    pub config: PathBuf,
    /// What the target is called.
    pub target: TargetView,
    /// Logical units that are served.
    pub luns_online: usize,
    /// Logical units that are configured.
    pub luns: usize,
    /// Capacity of those that are served.
    pub lun_bytes: u64,
    /// Hosts.
    pub hosts: usize,
    /// Maps.
    pub maps: usize,
    /// Portals that listen.
    pub portals_listening: usize,
    /// Portals that are configured.
    pub portals: usize,
    /// The RDMA ports that they are reached at.
    pub rdma_ports: BTreeSet<RdmaPort>,
    /// Live sessions.
    pub sessions: usize,
    /// Initiators that were refused.
    pub pending: usize,
    /// What is not as it should be, with what to do.
    pub problems: Vec<Problem>,
    /// Events of the worker that were dropped because too many came.
    pub events_dropped: u64,
    /// Everything that the worker counts.
    pub counters: Counters,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What.
    pub text: String,
    /// What to do.
    pub fix: String,
}

impl Problem {
    fn new(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            fix: fix.into(),
        }
    }
}

pub(crate) fn problems(state: &State, pending: usize) -> Vec<Problem> {
    let mut found = Vec::new();
    for (name, lun) in &state.luns {
        if let Err(fault) = lun {
            found.push(Problem::new(
                format!("LUN {name} is offline: {}", fault.text),
                &fault.fix,
            ));
        }
    }
    for (portal, heard) in &state.portals {
        if let Err(fault) = heard {
            found.push(Problem::new(
                format!("portal {portal} is down: {}", fault.text),
                &fault.fix,
            ));
        }
    }
    let config = &state.config;
    if config.portals.is_empty() {
        found.push(Problem::new(
            "nothing listens",
            "srptgt portal add srp ADDRESS:5555, iser ADDRESS or tcp ADDRESS",
        ));
    }
    for (name, host) in &config.hosts {
        if host.is_anonymous() {
            found.push(Problem::new(
                format!("host {name} lists no port GUID and no iSCSI name"),
                format!("srptgt host set {name} --guid GUID, or --iqn IQN"),
            ));
        }
        if config.maps_of(name).next().is_none() {
            found.push(Problem::new(
                format!("host {name} sees no LUN"),
                format!("srptgt map LUN --host {name}"),
            ));
        }
    }
    if pending > 0 {
        found.push(Problem::new(
            match pending {
                1 => "1 initiator was refused".to_owned(),
                _ => format!("{pending} initiators were refused"),
            },
            "srptgt pending",
        ));
    }
    found
}
