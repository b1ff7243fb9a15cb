//! Who may log in, and which LUNs they see: the compiled form of hosts and maps.
//!
//! Pure: a login's identities in, a verdict out. The control plane compiles an [`Access`] from the configuration,
//! the worker asks it at each login and again for every live session when a new one arrives. Deny by default.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::identity::{AddressRange, ChapSecrets, Guid, Iqn};
use crate::portal::HcaPort;

mod limits;
mod login;
mod near_miss;
mod refusal;

pub use login::{Credentials, Identity, LinkLayer, LoginIdentity, Vouched};
pub use refusal::{RefusalReason, Refused};

/// A logical unit as one host sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedLun {
    /// The logical unit's name.
    pub lun: Arc<str>,
    /// Write-protected for this host.
    pub read_only: bool,
}

/// A host: its GUIDs and names, its limits, its LUNs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The operator's name for it.
    pub name: Arc<str>,
    /// Its port GUIDs.
    pub guids: Vec<Guid>,
    /// Its iSCSI names. All of a host's identities see the same LUN numbers.
    pub iqns: Vec<Iqn>,
    /// What an iSCSI login has to prove.
    pub chap: Option<Arc<ChapSecrets>>,
    /// Only a GUID that the fabric vouches for admits it.
    pub require_fabric: bool,
    /// When not empty: the peer's address lies in one of these.
    pub addresses: Vec<AddressRange>,
    /// When not empty: the path's P_Key is one of these, membership bit aside (IBA 1.7 volume 1, 10.9.1).
    pub pkeys: Vec<u16>,
    /// When not empty: it comes in by one of these ports of ours.
    pub ports: Vec<HcaPort>,
    /// LUN number to logical unit.
    pub luns: BTreeMap<u8, MappedLun>,
}

/// An admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// As whom.
    pub host: Arc<Host>,
    /// By which identity.
    pub by: Identity,
    /// Who says so; [`Vouched::Chap`] is a promise that the login has yet to keep.
    pub vouched: Vouched,
    /// What the login has to prove before it is in.
    pub chap: Option<Arc<ChapSecrets>>,
}

/// All hosts; immutable, replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The target's own iSCSI name.
    target: Option<Iqn>,
    hosts: Vec<Arc<Host>>,
    by_guid: BTreeMap<Guid, Arc<Host>>,
    by_iqn: BTreeMap<Iqn, Arc<Host>>,
}

impl Access {
    /// Compiles the hosts. A GUID or name that two of them list belongs to the first; the configuration refuses that
    /// before.
    pub fn new(hosts: Vec<Host>) -> Self {
        let hosts: Vec<_> = hosts.into_iter().map(Arc::new).collect();
        let (mut by_guid, mut by_iqn) = (BTreeMap::new(), BTreeMap::new());
        for host in &hosts {
            for &guid in &host.guids {
                by_guid.entry(guid).or_insert_with(|| host.clone());
            }
            for iqn in &host.iqns {
                by_iqn.entry(iqn.clone()).or_insert_with(|| host.clone());
            }
        }
        Self {
            target: None,
            hosts,
            by_guid,
            by_iqn,
        }
    }

    /// The same for a target of this name; without it every TargetName is another target's.
    pub fn of_target(self, name: Iqn) -> Self {
        Self {
            target: Some(name),
            ..self
        }
    }

    /// The hosts in the configuration's order.
    pub fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }

    /// Whether the login may come in, and as whom.
    pub fn admit(&self, login: &LoginIdentity) -> Result<Admitted, Refused> {
        match &login.who {
            Credentials::Srp { .. } => self.admit_srp(login),
            Credentials::Iscsi {
                initiator_name,
                target_name,
                discovery,
                ..
            } => {
                let admitted = self.admit_iscsi(login, initiator_name)?;
                // After the host, so that who is not listed does not learn the target's name.
                let target = (!discovery).then(|| target_name.as_deref().unwrap_or_default());
                self.check_target(target.or(target_name.as_deref()))?;
                Ok(admitted)
            }
        }
    }

    fn admit_srp(&self, login: &LoginIdentity) -> Result<Admitted, Refused> {
        let (guid, vouched) = login.guid().ok_or_else(|| near_miss::no_guid(login))?;
        let host = self
            .by_guid
            .get(&guid)
            .ok_or_else(|| self.guid_not_listed(login, guid))?;
        self.check_claim(login, host)?;
        limits::check(host, login, vouched)?;
        Ok(Admitted {
            host: host.clone(),
            by: Identity::Guid(guid),
            vouched,
            chap: None,
        })
    }

    /// The name admits, and so does a GUID that the fabric vouches for; both may not name different hosts.
    fn admit_iscsi(&self, login: &LoginIdentity, name: &str) -> Result<Admitted, Refused> {
        let iqn: Iqn = name.parse().map_err(near_miss::bad_iqn)?;
        let by_fabric = login
            .fabric_guid()
            .and_then(|guid| Some((guid, self.by_guid.get(&guid)?)));
        let (host, by, vouched) = match (self.by_iqn.get(&iqn), by_fabric) {
            (Some(host), Some((guid, owner))) if owner.name != host.name => {
                return Err(near_miss::name_of_other_host(guid, owner, &iqn, host));
            }
            (Some(host), Some(_)) => (host, Identity::Iqn(iqn), Vouched::Fabric),
            (Some(host), None) if host.chap.is_some() => (host, Identity::Iqn(iqn), Vouched::Chap),
            (Some(host), None) => (host, Identity::Iqn(iqn), Vouched::Claimed),
            (None, Some((guid, host))) => (host, Identity::Guid(guid), Vouched::Fabric),
            (None, None) => return Err(self.iqn_not_listed(login, &iqn)),
        };
        limits::check(host, login, vouched)?;
        Ok(Admitted {
            host: host.clone(),
            by,
            vouched,
            chap: host.chap.clone(),
        })
    }

    /// The name that the login asks for is the target's.
    fn check_target(&self, asked: Option<&str>) -> Result<(), Refused> {
        let is_ours = |asked: &str| {
            self.target
                .as_ref()
                .is_some_and(|own| own.as_str().eq_ignore_ascii_case(asked))
        };
        match asked {
            Some(asked) if !is_ours(asked) => Err(self.wrong_target(asked)),
            _ => Ok(()),
        }
    }

    /// A claim on another host's port would let one host end the other's sessions: SRP names sessions by port id.
    fn check_claim(&self, login: &LoginIdentity, host: &Host) -> Result<(), Refused> {
        let Some((claimed, owner)) = login
            .claimed_guid()
            .and_then(|guid| Some((guid, self.by_guid.get(&guid)?)))
            .filter(|(_, owner)| owner.name != host.name)
        else {
            return Ok(());
        };
        Err(Refused {
            reason: RefusalReason::ClaimsOtherHost,
            text: format!(
                "the fabric vouches for a port of host {}, but the login claims port {claimed} of host {}",
                host.name, owner.name
            ),
            fix: format!(
                "if both ports are in one machine, list them under one host: srptgt host set {} --remove-guid {claimed}, \
                 then srptgt allow {claimed} --as {}",
                owner.name, host.name
            ),
        })
    }
}

#[cfg(test)]
mod tests;
