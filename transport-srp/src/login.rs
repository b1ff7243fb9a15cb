//! Login policy: what a login request asks, and the answer (SRP r16a 5.2 and 6.2 to 6.4).
//!
//! The policy knows one target port and no other channels. Whether the initiator is admitted, and
//! what becomes of its other channels, is the caller's to decide; the answers for that are here
//! too.

use thiserror::Error;

use crate::layout::{self, DEFAULT_MAX_IT_IU_LEN};
use crate::port_id::{InitiatorPortId, TargetPortId};
use crate::wire::cmd::Cmd;
use crate::wire::desc::IMMEDIATE_BYTES;
use crate::wire::login::{FORMAT_DIRECT, FORMAT_INDIRECT};
use crate::wire::login::{LoginRejReason, MultichannelAction, MultichannelResult};
use crate::wire::{LoginRej, LoginReq, LoginRsp, WireError};

/// The shortest maximum message length in bytes that an initiator may ask for (SRP r16a 6.2).
pub const MIN_IT_IU_LEN: u32 = 64;

/// The longest message in bytes that a channel sends; the initiator keeps a buffer of this size per
/// request.
pub const MAX_TI_IU_LEN: u32 = 256;

/// Requests of one channel that may be outstanding unless configured otherwise.
pub const DEFAULT_REQUEST_LIMIT: u32 = 128;

/// The largest request limit that a channel takes.
pub const MAX_REQUEST_LIMIT: u32 = 4096;

const SUPPORTED_FORMATS: u16 = FORMAT_DIRECT | FORMAT_INDIRECT;

/// How the login request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Private data of a native InfiniBand connection: the 64-byte form.
    IbCm,
    /// Private data of an RDMA-CM connection behind its IP header: the 56-byte form.
    RdmaCm,
}

/// What a target port grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginPolicy {
    /// What the target port is called.
    pub target_port: TargetPortId,
    /// The longest message in bytes that it takes; receive buffers are laid out for this length.
    pub max_it_iu_len: u32,
    /// Requests of one channel that may be outstanding; 1 to [`MAX_REQUEST_LIMIT`].
    pub request_limit: u32,
    /// Whether an initiator may send immediate data.
    pub immediate_data: bool,
    /// Whether an I_T nexus may have more than one channel.
    pub multichannel: bool,
}

impl LoginPolicy {
    /// The usual limits for a target port.
    pub fn new(target_port: TargetPortId) -> Self {
        Self {
            target_port,
            max_it_iu_len: DEFAULT_MAX_IT_IU_LEN,
            request_limit: DEFAULT_REQUEST_LIMIT,
            immediate_data: true,
            multichannel: true,
        }
    }

    /// Reads a login request from private data, which may be longer than the request, and checks
    /// it. `fabric_guid` is the initiator port's GUID as the fabric knows it, when the fabric has
    /// one.
    ///
    /// # Errors
    /// The refusal, with the tag that the reject must carry.
    pub fn examine(
        &self,
        private_data: &[u8],
        carrier: Carrier,
        fabric_guid: Option<u64>,
    ) -> Result<LoginRequest, RefusedLogin> {
        let parsed = match carrier {
            Carrier::IbCm => LoginReq::parse(private_data),
            Carrier::RdmaCm => LoginReq::parse_rdma_cm(private_data),
        };
        let iu = parsed.map_err(|error| RefusedLogin {
            tag: 0,
            refusal: LoginRefusal::Malformed(error),
        })?;
        let tag = iu.tag;
        self.check(&iu, fabric_guid)
            .map_err(|refusal| RefusedLogin { tag, refusal })
    }

    fn check(&self, iu: &LoginReq, fabric_guid: Option<u64>) -> Result<LoginRequest, LoginRefusal> {
        self.check_length(iu.req_it_iu_len)?;
        if iu.req_buf_fmt & !SUPPORTED_FORMATS != 0 {
            return Err(LoginRefusal::BufferFormats(iu.req_buf_fmt));
        }
        self.check_multichannel(iu.multichannel)?;
        let order = self
            .target_port
            .order_of(&iu.target_port_id, &iu.initiator_port_id, fabric_guid)
            .ok_or(LoginRefusal::OtherTarget(iu.target_port_id))?;
        Ok(LoginRequest {
            tag: iu.tag,
            initiator_port: InitiatorPortId {
                bytes: iu.initiator_port_id,
                order,
            },
            req_it_iu_len: iu.req_it_iu_len,
            multichannel: iu.multichannel,
            imm_data_offset: iu.imm_data_offset,
        })
    }

    fn check_length(&self, requested: u32) -> Result<(), LoginRefusal> {
        if requested < MIN_IT_IU_LEN {
            return Err(LoginRefusal::IuLengthTooSmall(requested));
        }
        if requested > self.max_it_iu_len {
            return Err(LoginRefusal::IuLengthTooLarge {
                requested,
                max: self.max_it_iu_len,
            });
        }
        Ok(())
    }

    fn check_multichannel(&self, action: MultichannelAction) -> Result<(), LoginRefusal> {
        match action {
            MultichannelAction::SINGLE => Ok(()),
            MultichannelAction::MULTI if self.multichannel => Ok(()),
            MultichannelAction::MULTI => Err(LoginRefusal::MultichannelUnsupported),
            other => Err(LoginRefusal::MultichannelAction(other)),
        }
    }

    /// The 52-byte login response to a request that [`LoginPolicy::examine`] found good, and what
    /// the channel must know. `result` says what the caller did with the nexus's other channels.
    pub fn accept(
        &self,
        request: &LoginRequest,
        result: MultichannelResult,
    ) -> (Negotiated, [u8; LoginRsp::BYTES]) {
        let negotiated = Negotiated {
            request_limit: self.request_limit.clamp(1, MAX_REQUEST_LIMIT),
            max_it_iu_len: self.max_it_iu_len,
            imm_data_offset: request.imm_data_offset.filter(|&o| self.takes_immediate(o)),
        };
        let response = LoginRsp {
            tag: request.tag,
            request_limit_delta: negotiated.request_limit,
            max_it_iu_len: self.max_it_iu_len,
            max_ti_iu_len: MAX_TI_IU_LEN,
            buf_fmt: SUPPORTED_FORMATS,
            multichannel: result,
            immediate_data: negotiated.imm_data_offset.is_some(),
        };
        (negotiated, response.to_bytes())
    }

    /// An offset where the data would overlap the shortest command, or lie unaligned in our receive
    /// buffers, is not refused: the initiator is told that there is no immediate data, and sends
    /// none.
    fn takes_immediate(&self, offset: u16) -> bool {
        let least = Cmd::MIN_BYTES + IMMEDIATE_BYTES;
        self.immediate_data
            && usize::from(offset) >= least
            && u32::from(offset) < self.max_it_iu_len
            && layout::is_aligned(offset)
    }
}

/// A login request that a target port can grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginRequest {
    /// TAG.
    pub tag: u64,
    /// Who asks, by its own word.
    pub initiator_port: InitiatorPortId,
    /// The longest message in bytes that it wants to send.
    pub req_it_iu_len: u32,
    /// [`MultichannelAction::SINGLE`]: other channels of the nexus must be closed before the
    /// answer. [`MultichannelAction::MULTI`]: they go on.
    pub multichannel: MultichannelAction,
    /// Where it would put immediate data, when it asks for that.
    pub imm_data_offset: Option<u16>,
}

impl LoginRequest {
    /// Refuses a request that the policy would have granted.
    pub fn refuse(&self, refusal: LoginRefusal) -> RefusedLogin {
        RefusedLogin {
            tag: self.tag,
            refusal,
        }
    }
}

/// What both sides of a channel agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Requests that may be outstanding.
    pub request_limit: u32,
    /// The longest message in bytes that the initiator may send.
    pub max_it_iu_len: u32,
    /// Where immediate data begins in an SRP_CMD, when it may be sent.
    pub imm_data_offset: Option<u16>,
}

/// A login that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedLogin {
    /// TAG of the request, 0 when it could not be read.
    pub tag: u64,
    /// Why.
    pub refusal: LoginRefusal,
}

impl RefusedLogin {
    /// The 32-byte login reject. It goes into the private data of a connection reject.
    pub fn to_bytes(&self) -> [u8; LoginRej::BYTES] {
        let reject = LoginRej {
            tag: self.tag,
            reason: self.refusal.reason(),
            buf_fmt: SUPPORTED_FORMATS,
        };
        reject.to_bytes()
    }
}

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LoginRefusal {
    /// The private data holds no login request.
    #[error("no login request in the private data: {0}")]
    Malformed(WireError),
    /// The requested message length is below the standard's minimum.
    #[error(
        "requested message length {0} is below the standard's minimum of {MIN_IT_IU_LEN} bytes"
    )]
    IuLengthTooSmall(u32),
    /// The requested message length is above ours.
    #[error("requested message length {requested} is above the {max} bytes that this target takes")]
    IuLengthTooLarge {
        /// What the initiator wants to send, in bytes.
        requested: u32,
        /// What the target takes, in bytes.
        max: u32,
    },
    /// A buffer format is required that this target does not have.
    #[error(
        "buffer formats {0:#06x} are required; this target has direct (0x0002) and indirect (0x0004)"
    )]
    BufferFormats(u16),
    /// The target port identifier is another's.
    #[error("target port {:032x} is asked for, which is not this one", u128::from_be_bytes(*.0))]
    OtherTarget([u8; 16]),
    /// MULTI-CHANNEL ACTION is a reserved code.
    #[error("multi-channel action {0:?} is not defined")]
    MultichannelAction(MultichannelAction),
    /// A further channel is asked for on a target port that gives one.
    #[error("several channels are asked for; this target port gives one")]
    MultichannelUnsupported,
    /// The nexus, or the target, has all the channels that it may have.
    #[error("all channels that are allowed are in use")]
    ChannelLimitReached,
    /// The initiator may not use this target port.
    #[error("the initiator is not admitted to this target port")]
    NotAdmitted,
    /// Memory or queue pairs are short, or the target is about to stop.
    #[error("resources are short")]
    InsufficientResources,
}

impl LoginRefusal {
    /// REASON of the reject (SRP r16a table 12).
    pub fn reason(&self) -> LoginRejReason {
        match self {
            Self::Malformed(_) | Self::IuLengthTooSmall(_) | Self::MultichannelAction(_) => {
                LoginRejReason::UNABLE_TO_ESTABLISH_CHANNEL
            }
            Self::InsufficientResources => LoginRejReason::INSUFFICIENT_RESOURCES,
            Self::IuLengthTooLarge { .. } => LoginRejReason::REQ_IT_IU_LENGTH_TOO_LARGE,
            // The standard's words for "not with this I_T nexus": wrong target, or an initiator
            // without access.
            Self::OtherTarget(_) | Self::NotAdmitted => LoginRejReason::UNABLE_TO_ASSOCIATE_CHANNEL,
            Self::BufferFormats(_) => LoginRejReason::UNSUPPORTED_DESCRIPTOR_FORMAT,
            Self::MultichannelUnsupported => LoginRejReason::MULTI_CHANNEL_UNSUPPORTED,
            Self::ChannelLimitReached => LoginRejReason::CHANNEL_LIMIT_REACHED,
        }
    }
}

#[cfg(test)]
mod tests;
