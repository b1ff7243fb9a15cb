//! What nobody lists, and what it nearly is: each refusal names the likely mistake and the command that mends it. Pure.

use crate::identity::{Guid, Iqn, IqnError};

use super::{Access, Host, LoginIdentity, RefusalReason, Refused};

/// Of a name that a peer sent, what a message shows.
const SHOWN_CHARS: usize = 80;

impl Access {
    /// No host lists the GUID.
    pub(super) fn guid_not_listed(&self, login: &LoginIdentity, guid: Guid) -> Refused {
        self.inverted(guid)
            .or_else(|| self.neighbour(guid))
            .or_else(|| self.claims_listed(login, guid))
            .unwrap_or_else(|| Refused {
                reason: RefusalReason::NotListed,
                text: format!("port GUID {guid} is not listed under any host"),
                fix: format!("srptgt allow {guid} --as NAME"),
            })
    }

    fn inverted(&self, guid: Guid) -> Option<Refused> {
        let listed = guid.inverted()?;
        let host = self.by_guid.get(&listed)?;
        Some(Refused {
            reason: RefusalReason::IpoibAddress,
            text: format!(
                "port GUID {guid} is not listed; host {} lists {listed}, which is the same with the bit inverted that \
                 IPoIB addresses invert",
                host.name
            ),
            fix: format!("srptgt allow {guid} --as {}", host.name),
        })
    }

    /// A card numbers its node GUID and its ports one after the other, so a GUID that is one or two away from a
    /// listed one is the same card: its node GUID was listed, or its other port, or the initiator shows the node GUID.
    fn neighbour(&self, guid: Guid) -> Option<Refused> {
        let (listed, host, distance) = self
            .by_guid
            .range(Guid::new(guid.value().saturating_sub(2))?..)
            .take_while(|(listed, _)| listed.value() <= guid.value().saturating_add(2))
            .find_map(|(listed, host)| Some((*listed, host, listed.distance_on_card(guid)?)))?;
        let guess = if distance > 0 {
            "the listed one is the card's node GUID, or its other port"
        } else {
            "this initiator shows its card's node GUID, or the listed one is the card's other port"
        };
        Some(Refused {
            reason: RefusalReason::SameCard,
            text: format!(
                "port GUID {guid} is not listed; host {} lists {listed}, {} {} it: {guess}",
                host.name,
                distance.unsigned_abs(),
                if distance > 0 { "below" } else { "above" },
            ),
            fix: format!("srptgt allow {guid} --as {}", host.name),
        })
    }

    fn claims_listed(&self, login: &LoginIdentity, guid: Guid) -> Option<Refused> {
        let claimed = login.claimed_guid().filter(|claimed| *claimed != guid)?;
        let host = self.by_guid.get(&claimed)?;
        Some(Refused {
            reason: RefusalReason::NotListed,
            text: format!(
                "the fabric says port GUID {guid}, which is not listed; the login claims {claimed} of host {}, and a \
                 claim does not count on InfiniBand",
                host.name
            ),
            fix: format!(
                "if that port is in {0}: srptgt allow {guid} --as {0}",
                host.name
            ),
        })
    }

    /// No host lists the name.
    pub(super) fn iqn_not_listed(&self, login: &LoginIdentity, iqn: &Iqn) -> Refused {
        if self.target.as_ref() == Some(iqn) {
            return Refused {
                reason: RefusalReason::TargetsOwnName,
                text: format!("the initiator calls itself {iqn}, which is this target's own name"),
                fix: "give the initiator a name of its own (Linux: /etc/iscsi/initiatorname.iscsi)"
                    .to_owned(),
            };
        }
        self.similar(iqn).unwrap_or_else(|| Refused {
            reason: RefusalReason::IqnNotListed,
            text: match login.fabric_guid() {
                Some(guid) => format!(
                    "neither iSCSI name {iqn} nor port GUID {guid} is listed under any host"
                ),
                None => format!("iSCSI name {iqn} is not listed under any host"),
            },
            fix: format!("srptgt allow {iqn} --as NAME"),
        })
    }

    fn similar(&self, iqn: &Iqn) -> Option<Refused> {
        let differs_little = |listed: &&Iqn| differ_in_one(listed.as_str(), iqn.as_str());
        let listed = self.by_iqn.keys().find(differs_little)?;
        let host = &self.by_iqn.get(listed)?.name;
        Some(Refused {
            reason: RefusalReason::SimilarIqn,
            text: format!(
                "iSCSI name {iqn} is not listed; host {host} lists {listed}, which differs in one character"
            ),
            fix: format!(
                "if that is the same initiator: srptgt allow {iqn} --as {host}, then srptgt host set {host} --remove-iqn \
                 {listed}"
            ),
        })
    }

    /// The host is known; the target that it asks for is not.
    pub(super) fn wrong_target(&self, asked: &str) -> Refused {
        let own = self.target.as_ref().map_or("-", Iqn::as_str);
        Refused {
            reason: RefusalReason::WrongTargetName,
            text: match asked {
                "" => format!("expected TargetName {own}, came none"),
                _ => format!("expected TargetName {own}, came {}", clip(asked)),
            },
            fix: format!(
                "discover anew on the initiator, or give it {own} (Linux: iscsiadm -m discovery -t sendtargets -p ADDRESS)"
            ),
        }
    }
}

/// Whether one character was exchanged, left out or put in between.
pub(super) fn differ_in_one(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let same = |(x, y): &(u8, u8)| x == y;
    let head = short.bytes().zip(long.bytes()).take_while(same).count();
    let tail = short.bytes().rev().zip(long.bytes().rev());
    let tail = tail.take_while(same).count();
    a != b && long.len() - short.len() <= 1 && head + tail + 1 >= long.len()
}

/// The login's InitiatorName is no iSCSI name.
pub(super) fn bad_iqn(error: IqnError) -> Refused {
    Refused {
        reason: RefusalReason::BadIqn,
        text: format!("the login's InitiatorName: {error}"),
        fix: "give the initiator a name of that form (Linux: /etc/iscsi/initiatorname.iscsi, then restart iscsid)"
            .to_owned(),
    }
}

/// The fabric vouches for a port of one host, the login claims a name of another.
pub(super) fn name_of_other_host(guid: Guid, owner: &Host, iqn: &Iqn, host: &Host) -> Refused {
    Refused {
        reason: RefusalReason::ClaimsOtherHost,
        text: format!(
            "the fabric vouches for port GUID {guid} of host {}, but the login claims {iqn} of host {}",
            owner.name, host.name
        ),
        fix: format!(
            "if both are one machine, list them under one host: srptgt host set {} --remove-iqn {iqn}, then srptgt allow \
             {iqn} --as {}",
            host.name, owner.name
        ),
    }
}

/// The login shows no GUID.
pub(super) fn no_guid(login: &LoginIdentity) -> Refused {
    Refused {
        reason: RefusalReason::NoGuid,
        text: format!(
            "expected a port GUID, came source GID {} and initiator port id {}",
            login.source_gid.unwrap_or_default(),
            login.initiator_port_id().unwrap_or_default()
        ),
        fix: "give the initiator a port id whose low half is its port GUID (Linux does so unless initiator_ext and \
              io_class say otherwise)"
            .to_owned(),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::differ_in_one;

    #[test]
    fn one_character() {
        for (a, b) in [
            ("abc", "abd"),
            ("abc", "abcd"),
            ("abc", "bc"),
            ("aab", "ab"),
            ("", "a"),
        ] {
            assert!(differ_in_one(a, b) && differ_in_one(b, a), "{a} {b}");
        }
        for (a, b) in [("abc", "abc"), ("abc", "acb"), ("abc", "abcde"), ("", "")] {
            assert!(!differ_in_one(a, b) && !differ_in_one(b, a), "{a} {b}");
        }
    }
}
