//! Refusals: why, in a word, in a sentence, and what to do. Plain data.

use serde::Serialize;

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// No host lists the GUID.
    NotListed,
    /// No host lists the GUID, but one lists a neighbour of it on the same card.
    SameCard,
    /// A host lists the GUID with the bit inverted that IPoIB addresses invert.
    IpoibAddress,
    /// The login carries no GUID.
    NoGuid,
    /// No host lists the iSCSI name.
    IqnNotListed,
    /// No host lists the iSCSI name, but one lists a name that differs in one character.
    SimilarIqn,
    /// The iSCSI name is the target's own.
    TargetsOwnName,
    /// The login's InitiatorName is no iSCSI name.
    BadIqn,
    /// The login asks for a target of another name.
    WrongTargetName,
    /// The login did not prove that it has the host's CHAP secret.
    ChapFailed,
    /// The fabric vouches for one host, the login claims a port or a name of another.
    ClaimsOtherHost,
    /// The host requires that the fabric vouches, and it cannot.
    FabricRequired,
    /// The peer's address is outside of the host's limits.
    AddressNotAllowed,
    /// The partition is outside of the host's limits.
    PkeyNotAllowed,
    /// Our port is outside of the host's limits.
    PortNotAllowed,
    /// The login broke the protocol or asked for what the target does not do.
    Protocol,
    /// The login was not finished in time.
    Silent,
    /// The target has no room for another channel.
    Resources,
}

impl RefusalReason {
    /// Whether hosts and their limits decided it, so that a change of them may decide otherwise.
    pub fn is_of_access(self) -> bool {
        !matches!(
            self,
            Self::ChapFailed | Self::Protocol | Self::Silent | Self::Resources
        )
    }
}

/// A refusal: why, in words, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Kind.
    pub reason: RefusalReason,
    /// What was expected and what came: one sentence without a full stop.
    pub text: String,
    /// What to type or check next.
    pub fix: String,
}

impl Refused {
    /// The host is known and admitted; the login did not prove that it has its secret. `what` says how, without
    /// the secret.
    pub fn chap_failed(host: &str, user: &str, what: &str) -> Self {
        Self {
            reason: RefusalReason::ChapFailed,
            text: format!("host {host} logs in with CHAP as user {user}: {what}"),
            fix: format!(
                "compare user and secret on the initiator, byte for byte and without line ends, with those of the host, or \
                 set them anew: srptgt host set {host} --chap-user {user} --chap-secret-file FILE"
            ),
        }
    }
}
