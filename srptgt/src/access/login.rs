//! What a login shows of itself and of its path. Plain data.

use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::near_miss::differ_in_one;
use crate::identity::{Guid, Id128, Iqn};
use crate::portal::{HcaPort, Portal};

/// What the link under a device is, which decides who vouches for a GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkLayer {
    /// The subnet manager assigned the GIDs: a source GID carries the port GUID.
    InfiniBand,
    /// RoCE: a GID is made from an IP address.
    Ethernet,
}

/// Every identity that a login showed. What its path does not have, and what had not come yet, is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoginIdentity {
    /// Which portal it came to.
    pub portal: Portal,
    /// Our port that it came in by; TCP has none.
    pub local: Option<HcaPort>,
    /// The link under that port.
    pub link_layer: Option<LinkLayer>,
    /// Source GID of the CM path.
    pub source_gid: Option<Id128>,
    /// The peer's IP address.
    pub address: Option<IpAddr>,
    /// Partition key of the path.
    pub pkey: Option<u16>,
    /// What the login itself says.
    #[serde(flatten)]
    pub who: Credentials,
}

/// What a login says of its initiator, in the words of its protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Credentials {
    /// SRP.
    Srp {
        /// INITIATOR PORT IDENTIFIER of the SRP login (SRP 6.2), in the order that it came.
        initiator_port_id: Id128,
        /// The GUID half of it: the low half, or the high half in REV10 order; `None` when that names no port.
        claimed_guid: Option<Guid>,
    },
    /// iSCSI, over RDMA or TCP.
    Iscsi {
        /// InitiatorName (RFC 7143 13.5) as it came.
        initiator_name: String,
        /// ISID (RFC 7143 11.12.5).
        #[serde(serialize_with = "as_digits")]
        isid: [u8; 6],
        /// TargetName (RFC 7143 13.4) as it came; a discovery session may go without.
        target_name: Option<String>,
        /// The session is for discovery and carries no commands.
        discovery: bool,
    },
}

/// As open-iscsi prints it: twelve digits.
fn as_digits<S: Serializer>(isid: &[u8; 6], serializer: S) -> Result<S::Ok, S::Error> {
    let [a, b, c, d, e, f] = *isid;
    serializer.collect_str(&format_args!("{a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{f:02x}"))
}

impl LoginIdentity {
    /// The GUID that the fabric itself vouches for: the interface id of the source GID, on InfiniBand only.
    pub fn fabric_guid(&self) -> Option<Guid> {
        match self.link_layer? {
            LinkLayer::InfiniBand => Guid::from_low_half(&self.source_gid?.0),
            LinkLayer::Ethernet => None,
        }
    }

    /// The GUID that an SRP login claims.
    pub fn claimed_guid(&self) -> Option<Guid> {
        match self.who {
            Credentials::Srp { claimed_guid, .. } => claimed_guid,
            Credentials::Iscsi { .. } => None,
        }
    }

    /// The GUID that counts, and who vouches for it.
    pub fn guid(&self) -> Option<(Guid, Vouched)> {
        match self.link_layer? {
            LinkLayer::InfiniBand => self.fabric_guid().map(|guid| (guid, Vouched::Fabric)),
            LinkLayer::Ethernet => self.claimed_guid().map(|guid| (guid, Vouched::Claimed)),
        }
    }

    /// The iSCSI name, when the login has one that is well formed.
    pub fn iqn(&self) -> Option<Iqn> {
        match &self.who {
            Credentials::Srp { .. } => None,
            Credentials::Iscsi { initiator_name, .. } => initiator_name.parse().ok(),
        }
    }

    /// The initiator port identifier of an SRP login.
    pub fn initiator_port_id(&self) -> Option<Id128> {
        match self.who {
            Credentials::Srp {
                initiator_port_id, ..
            } => Some(initiator_port_id),
            Credentials::Iscsi { .. } => None,
        }
    }

    /// Who it is, in the kind of name that its protocol has; `None` when it shows none.
    pub fn identity(&self) -> Option<Identity> {
        match self.who {
            Credentials::Srp { .. } => self.guid().map(|(guid, _)| Identity::Guid(guid)),
            Credentials::Iscsi { .. } => self.iqn().map(Identity::Iqn),
        }
    }
}

/// Who says that the initiator is who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Vouched {
    /// The source GID of the path.
    Fabric,
    /// The initiator itself, by a secret.
    Chap,
    /// The initiator itself.
    Claimed,
}

impl Vouched {
    /// Whether a session that came in by `self` is as well vouched for as a login is asked for that would be by
    /// `now`: one without secret does not outlive the day that its host is given one.
    pub fn satisfies(self, now: Self) -> bool {
        self == now || now == Self::Claimed
    }
}

impl fmt::Display for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fabric => "fabric",
            Self::Chap => "chap",
            Self::Claimed => "claimed",
        })
    }
}

/// An identity that hosts list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum Identity {
    /// A port GUID.
    Guid(Guid),
    /// An iSCSI name.
    Iqn(Iqn),
}

impl Identity {
    /// Whether the two are likely to be one initiator, of which somebody mistook one thing for another.
    pub fn is_near(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Guid(one), Self::Guid(other)) => {
                one.distance_on_card(*other).is_some() || one.inverted() == Some(*other)
            }
            (Self::Iqn(one), Self::Iqn(other)) => differ_in_one(one.as_str(), other.as_str()),
            _ => false,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guid(guid) => fmt::Display::fmt(guid, f),
            Self::Iqn(iqn) => fmt::Display::fmt(iqn, f),
        }
    }
}
