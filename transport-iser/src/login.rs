//! Login and text negotiation (RFC 7143 clauses 6 and 13, RFC 7145 clause 6, RFC 7144): which keys there are, what comes of two
//! ends' values, and the machines that exchange them.
//!
//! Room: whole PDUs go in and come out; which datamover carries them is only a value here. Randomness, names and who may come
//! in are the driver's. [`Login`] is the target's side, [`Initiator`] the other one, and [`TextPhase`] answers Text Requests after it; both ends negotiate by the same result functions, and `key` is their
//! table.

mod error;
mod initiator;
mod key;
mod limits;
mod negotiated;
mod negotiation;
mod security;
mod target;
mod text_phase;

pub use error::{LoginError, LoginFailure};
pub use initiator::{Initiator, InitiatorSettings, InitiatorStep};
pub use limits::{Datamover, LoginLimits};
pub use negotiated::{Digest, Negotiated, RdmaValues, TaskReporting};
pub use target::{Login, Step};
pub use text_phase::{TargetRecord, TextAnswer, TextPhase};

use crate::chap;

/// The longest data segment of a login PDU in bytes: the default of MaxRecvDataSegmentLength holds until a login is over
/// (RFC 7143 13.12).
pub const MAX_LOGIN_SEGMENT_BYTES: usize = 8192;

/// Requests of one login. A CHAP login with a key in each PDU has some thirty; nobody needs more than this.
pub const MAX_LOGIN_REQUESTS: u32 = 96;

/// SessionType (RFC 7143 13.21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionType {
    /// Only SendTargets and logout.
    Discovery,
    /// SCSI commands.
    #[default]
    Normal,
}

/// Who knocks, as the first request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// InitiatorName, in the form in which names are compared (small letters).
    pub initiator_name: String,
    /// InitiatorAlias; for people only.
    pub initiator_alias: Option<String>,
    /// TargetName, in the form in which names are compared; always there in a normal session.
    pub target_name: Option<String>,
    /// SessionType.
    pub session_type: SessionType,
    /// ISID.
    pub isid: [u8; 6],
    /// TSIH; 0 asks for a new session.
    pub tsih: u16,
    /// CID.
    pub cid: u16,
}

/// What the driver grants to who knocks.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The session's TSIH, not 0.
    pub tsih: u16,
    /// TargetPortalGroupTag of the portal that was asked.
    pub portal_group_tag: u16,
    /// TargetAlias, if the target has one.
    pub target_alias: Option<String>,
    /// What the initiator has to show; `None`: `AuthMethod=None` is enough.
    pub chap: Option<chap::Required>,
}
