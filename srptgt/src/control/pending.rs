//! Refused logins, each initiator once, with the command that would admit it. Pure: time is an argument.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::access::{Access, LoginIdentity, Refused};
use crate::identity::Guid;
use crate::worker_link::{Refusal, unix_ms};

/// Initiators that are remembered; the one that knocked longest ago goes first.
pub(crate) const CAPACITY: usize = 256;

/// An initiator that knocks again and again is logged no more often than this.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// An initiator that was refused.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// The GUID that counts, when the login showed one.
    pub(crate) guid: Option<Guid>,
    /// The last refusal.
    #[serde(flatten)]
    pub(crate) refused: Refused,
    /// How often.
    pub(crate) count: u64,
    #[serde(rename = "first_unix_ms", serialize_with = "unix_ms")]
    pub(crate) first: SystemTime,
    #[serde(rename = "last_unix_ms", serialize_with = "unix_ms")]
    pub(crate) last: SystemTime,
    /// Every identity of the last login.
    pub(crate) login: LoginIdentity,
    #[serde(skip)]
    logged: SystemTime,
}

impl Entry {
    fn new(refusal: Refusal) -> Self {
        Self {
            guid: refusal.login.guid().map(|(guid, _)| guid),
            refused: refusal.refused,
            count: 1,
            first: refusal.when,
            last: refusal.when,
            login: refusal.login,
            logged: refusal.when,
        }
    }

    /// Takes another refusal down, and says whether it should be logged.
    fn repeat(&mut self, refusal: Refusal) -> bool {
        let news = self.refused.reason != refusal.refused.reason;
        let since = refusal.when.duration_since(self.logged);
        self.count += 1;
        self.last = refusal.when;
        self.refused = refusal.refused;
        self.login = refusal.login;
        let loggable = news || since.is_ok_and(|since| since >= LOG_INTERVAL);
        if loggable {
            self.logged = refusal.when;
        }
        loggable
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    entries: Vec<Entry>,
}

impl Pending {
    /// Takes a refusal down. Returns the entry when it should be logged.
    pub(crate) fn record(&mut self, refusal: Refusal) -> Option<&Entry> {
        let key = key(&refusal.login);
        match self
            .entries
            .iter()
            .position(|entry| self::key(&entry.login) == key)
        {
            Some(index) => {
                let entry = self.entries.get_mut(index)?;
                entry.repeat(refusal).then_some(entry)
            }
            None => {
                self.make_room();
                self.entries.push(Entry::new(refusal));
                self.entries.last()
            }
        }
    }

    fn make_room(&mut self) {
        if self.entries.len() < CAPACITY {
            return;
        }
        let oldest = self
            .entries
            .iter()
            .enumerate()
            .min_by_key(|(_, entry)| entry.last);
        if let Some((oldest, _)) = oldest {
            self.entries.swap_remove(oldest);
        }
    }

    /// Forgets who would be admitted now, and says to the others what holds now.
    pub(crate) fn review(&mut self, access: &Access) {
        self.entries.retain_mut(|entry| {
            let decided_by_access = entry.refused.reason.is_of_access();
            match access.admit(&entry.login) {
                Ok(_) => !decided_by_access,
                Err(refused) if decided_by_access => {
                    entry.refused = refused;
                    true
                }
                Err(_) => true,
            }
        });
    }

    /// All, the last first.
    pub(crate) fn list(&self) -> Vec<Entry> {
        let mut entries = self.entries.clone();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.last));
        entries
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A GUID on the same card as `guid` that was refused, when `guid` itself was not.
    pub(crate) fn neighbour(&self, guid: Guid) -> Option<Guid> {
        let mut guids = self.entries.iter().filter_map(|entry| entry.guid);
        if guids.clone().any(|known| known == guid) {
            return None;
        }
        guids.find(|known| {
            guid.distance_on_card(*known).is_some() || guid.inverted() == Some(*known)
        })
    }
}

/// What makes two logins the same initiator: its GUID; without one, where it comes from.
fn key(login: &LoginIdentity) -> (Option<Guid>, Option<crate::identity::Id128>) {
    match login.guid() {
        Some((guid, _)) => (Some(guid), None),
        None => (None, login.source_gid),
    }
}

#[cfg(test)]
mod tests;
