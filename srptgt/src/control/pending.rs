//! Refused logins, each initiator once, with the command that would admit it. Pure: time is an argument.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::access::{Access, Identity, LoginIdentity, RefusalReason, Refused};
use crate::identity::Id128;
use crate::worker_link::{Refusal, SessionInfo, unix_ms};

/// Initiators that are remembered; the one that knocked longest ago goes first.
pub(crate) const CAPACITY: usize = 256;

/// An initiator that knocks again and again is logged no more often than this.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Lines in the log in one second, over all initiators: a flood of logins is not to become a flood of log.
const LINES_PER_SECOND: u32 = 8;

/// How many lines this second has seen.
#[derive(Debug, Default)]
struct LogBudget {
    second: u64,
    lines: u32,
    left_out: u64,
}

impl LogBudget {
    /// Whether there may be one more line, and how many were left out since the last one.
    fn line(&mut self, when: SystemTime) -> Option<u64> {
        let since = when.duration_since(SystemTime::UNIX_EPOCH);
        let second = since.map_or(0, |since| since.as_secs());
        if second != self.second {
            (self.second, self.lines) = (second, 0);
        }
        if self.lines == LINES_PER_SECOND {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// A refusal that should be logged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News<'a> {
    /// Who was refused.
    pub(crate) entry: &'a Entry,
    /// Refusals that should have been logged since the last one that was, and were not, because there were too many.
    pub(crate) left_out: u64,
}

/// An initiator that was refused.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// The GUID or the iSCSI name that counts, when the login showed one.
    pub(crate) identity: Option<Identity>,
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
            identity: refusal.login.identity(),
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
    budget: LogBudget,
}

impl Pending {
    /// Takes a refusal down. Returns it when it should be logged.
    pub(crate) fn record(&mut self, refusal: Refusal) -> Option<News<'_>> {
        let when = refusal.when;
        let index = self.take_down(refusal)?;
        let left_out = self.budget.line(when)?;
        let entry = self.entries.get(index)?;
        Some(News { entry, left_out })
    }

    /// Gives the place of the entry when it has something new for the log.
    fn take_down(&mut self, refusal: Refusal) -> Option<usize> {
        let key = key(&refusal.login);
        match self
            .entries
            .iter()
            .position(|entry| self::key(&entry.login) == key)
        {
            Some(index) => {
                let entry = self.entries.get_mut(index)?;
                entry.repeat(refusal).then_some(index)
            }
            None => {
                self.make_room();
                self.entries.push(Entry::new(refusal));
                Some(self.entries.len() - 1)
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
            let reason = entry.refused.reason;
            match access.admit(&entry.login) {
                Ok(admitted) if reason == RefusalReason::ChapFailed => admitted.chap.is_some(),
                Ok(_) => !reason.is_of_access(),
                Err(refused) if reason.is_of_access() => {
                    entry.refused = refused;
                    true
                }
                Err(_) => true,
            }
        });
    }

    /// Forgets who is in by now, if what kept it out was its own doing and not the access: a wrong secret, a mistake in
    /// its login.
    pub(crate) fn forget_who_came_in(&mut self, sessions: &[SessionInfo]) {
        self.entries.retain(|entry| {
            let came_in = |session: &SessionInfo| {
                entry.identity.as_ref() == Some(&session.identity) && session.since >= entry.last
            };
            entry.refused.reason.is_of_access() || !sessions.iter().any(came_in)
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

    /// Whether this one was refused.
    pub(crate) fn knocked(&self, identity: &Identity) -> bool {
        self.identities().any(|known| known == identity)
    }

    /// What was refused and is nearly `identity`, when that itself was not: a GUID on the same card, or a name that
    /// differs in one character.
    pub(crate) fn near(&self, identity: &Identity) -> Option<Identity> {
        if self.knocked(identity) {
            return None;
        }
        self.identities()
            .find(|known| known.is_near(identity))
            .cloned()
    }

    fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.entries
            .iter()
            .filter_map(|entry| entry.identity.as_ref())
    }
}

/// What makes two logins the same initiator: its identity; without one, where it comes from.
fn key(login: &LoginIdentity) -> (Option<Identity>, Option<Id128>, Option<IpAddr>) {
    match login.identity() {
        Some(identity) => (Some(identity), None, None),
        None => (None, login.source_gid, login.address),
    }
}

#[cfg(test)]
mod tests;
