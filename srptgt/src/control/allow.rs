//! Who was refused, and letting them in.

use std::sync::Arc;

use crate::access::Identity;
use crate::config::Name;
use crate::identity::{Guid, Iqn, ParsedGuid};

use super::Control;
use super::fault::Fault;
use super::media::Creation;
use super::request::{Allow, HostEdit};
use super::view::{HostView, Noted, PendingView};

impl Control {
    /// Who was refused, the last first.
    ///
    /// # Errors
    /// The worker is gone.
    pub async fn refused(&self) -> Result<Vec<PendingView>, Fault> {
        let sessions = self.sessions().await?;
        let mut pending = self.pending();
        pending.forget_who_came_in(&sessions);
        Ok(pending.list().into_iter().map(PendingView).collect())
    }

    /// Lists an identity under a host, which is made when there is none.
    pub async fn allow(self: &Arc<Self>, allow: Allow) -> Result<Noted<HostView>, Fault> {
        let identity = self.meant(&allow.identity)?;
        let near = self.pending().near(&identity);
        let given = vec![allow.identity];
        let edit = match identity {
            Identity::Guid(_) => HostEdit {
                guids: given,
                ..HostEdit::default()
            },
            Identity::Iqn(_) => HostEdit {
                iqns: given,
                ..HostEdit::default()
            },
        };
        let host = allow.host.clone();
        let made = self.change(Creation::Never, move |config| {
            match config.hosts.contains_key(&host) {
                true => config.set_host(&host, &edit).map(|notes| (notes, false)),
                false => config.add_host(&host, &edit).map(|notes| (notes, true)),
            }
        });
        let (mut notes, made) = made.await?;
        let value = self.host(&allow.host)?;
        notes.extend(near.map(|near| other_identity_note(&identity, &near, &allow.host)));
        if made {
            notes.push(format!(
                "host {0} was made; it sees no LUN yet: srptgt map LUN --host {0}",
                allow.host
            ));
        }
        Ok(Noted { value, notes })
    }

    /// An iSCSI name looks like one. `eui.` begins both such a name and the form in which some targets write port
    /// GUIDs: it is the name when that knocked.
    fn meant(&self, text: &str) -> Result<Identity, Fault> {
        let lower = text.trim().to_ascii_lowercase();
        if lower.starts_with("eui.") {
            let name = text.parse().ok().map(Identity::Iqn);
            if let Some(name) = name.filter(|name| self.pending().knocked(name)) {
                return Ok(name);
            }
        }
        let named = ["iqn", "naa.", "initiatorname"];
        if named.iter().any(|kind| lower.starts_with(kind)) {
            return text
                .parse::<Iqn>()
                .map(Identity::Iqn)
                .map_err(Fault::invalid);
        }
        let guid = text.parse::<ParsedGuid>().map_err(|error| {
            Fault::invalid(error).fix("an iSCSI name is taken too: srptgt allow iqn.… --as HOST")
        })?;
        Ok(Identity::Guid(guid.guid))
    }
}

/// What was allowed did not knock, and what knocked is nearly the same.
fn other_identity_note(allowed: &Identity, near: &Identity, host: &Name) -> String {
    match allowed {
        Identity::Guid(guid) => other_port_note(*guid, near, host),
        Identity::Iqn(iqn) => format!(
            "no login of {iqn} was refused, but one of {near} was, which differs in one character: if that is the initiator, \
             srptgt allow {near} --as {host} is what is needed"
        ),
    }
}

fn other_port_note(guid: Guid, near: &Identity, host: &Name) -> String {
    format!(
        "no login with {guid} was refused, but one with {near} was, which is the same card: if {guid} is its node GUID or \
         its IPoIB address, srptgt allow {near} --as {host} is what is needed"
    )
}
