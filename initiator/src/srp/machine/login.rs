//! Logging in: SRP_LOGIN_REQ out, SRP_LOGIN_RSP or SRP_LOGIN_REJ in (SRP r16a 5.2, 6.2 to 6.4).

use std::fmt;

use thiserror::Error;
use transport_srp::layout::{DEFAULT_MAX_IT_IU_LEN, LINUX_IMM_DATA_OFFSET};
use transport_srp::wire::login::{
    FORMAT_DIRECT, FORMAT_INDIRECT, LoginRejReason, MultichannelAction, MultichannelResult,
};
use transport_srp::wire::{LoginRej, LoginReq, LoginRsp, Opcode, WireError};
use transport_srp::{Carrier, PortIdOrder, TargetPortId};

/// How a session logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginOptions {
    /// The target port's name.
    pub target_port: TargetPortId,
    /// GUID half of the initiator port identifier.
    pub initiator_guid: u64,
    /// The other half.
    pub initiator_extension: u64,
    /// Order of the halves, in both identifiers.
    pub order: PortIdOrder,
    /// MULTI-CHANNEL ACTION of the first channel: with [`MultichannelAction::SINGLE`] the target ends earlier channels
    /// of the same nexus.
    pub first_channel: MultichannelAction,
    /// Longest message in bytes that the session wants to send.
    pub max_it_iu_len: u32,
    /// Where immediate data would begin in a message, when it is wanted.
    pub imm_data_offset: Option<u16>,
    /// Commands of one channel that may be outstanding, even if the target takes more.
    pub outstanding: u32,
}

impl LoginOptions {
    /// As Linux logs in, with immediate data.
    pub fn new(target_port: TargetPortId, initiator_guid: u64) -> Self {
        Self {
            target_port,
            initiator_guid,
            initiator_extension: 0,
            order: PortIdOrder::Rev16a,
            first_channel: MultichannelAction::SINGLE,
            max_it_iu_len: DEFAULT_MAX_IT_IU_LEN,
            imm_data_offset: Some(LINUX_IMM_DATA_OFFSET),
            outstanding: 64,
        }
    }

    pub(super) fn request(&self, channel: u16) -> LoginRequest {
        // Both names are two halves in the same order.
        let initiator = TargetPortId {
            id_ext: self.initiator_extension,
            ioc_guid: self.initiator_guid,
        };
        LoginRequest(LoginReq {
            tag: tag(channel),
            req_it_iu_len: self.max_it_iu_len,
            req_buf_fmt: FORMAT_DIRECT | FORMAT_INDIRECT,
            multichannel: match channel {
                0 => self.first_channel,
                _ => MultichannelAction::MULTI,
            },
            imm_data_offset: self.imm_data_offset,
            initiator_port_id: initiator.to_bytes(self.order),
            target_port_id: self.target_port.to_bytes(self.order),
        })
    }

    pub(super) fn read_response(
        &self,
        channel: u16,
        private_data: &[u8],
    ) -> Result<Granted, LoginError> {
        let response = LoginRsp::parse(private_data).map_err(LoginError::NoResponse)?;
        expect_tag(channel, response.tag)?;
        if response.request_limit_delta == 0 {
            return Err(LoginError::NoRequests);
        }
        Ok(Granted {
            request_limit: response.request_limit_delta,
            max_it_iu_len: response.max_it_iu_len.min(self.max_it_iu_len),
            max_ti_iu_len: response.max_ti_iu_len,
            imm_data_offset: self.imm_data_offset.filter(|_| response.immediate_data),
            multichannel: response.multichannel,
        })
    }

    pub(super) fn read_reject(&self, channel: u16, private_data: &[u8]) -> LoginError {
        if private_data.first() != Some(&Opcode::LOGIN_REJ.0) {
            return LoginError::NotSrp;
        }
        match LoginRej::parse(private_data) {
            Err(error) => LoginError::NoReject(error),
            Ok(reject) => match expect_tag(channel, reject.tag) {
                // A target that could not read the request does not know its tag.
                Err(error) if reject.tag != 0 => error,
                _ => LoginError::Rejected(LoginReject {
                    reason: reject.reason,
                    buf_fmt: reject.buf_fmt,
                }),
            },
        }
    }
}

/// The tag of a login, which tells the channels' answers apart.
fn tag(channel: u16) -> u64 {
    u64::from(channel) + 1
}

fn expect_tag(channel: u16, found: u64) -> Result<(), LoginError> {
    let expected = tag(channel);
    match found == expected {
        true => Ok(()),
        false => Err(LoginError::Tag { expected, found }),
    }
}

/// A login request, before its form is chosen.
pub(super) struct LoginRequest(LoginReq);

impl LoginRequest {
    pub(super) fn to_private_data(&self, carrier: Carrier) -> Vec<u8> {
        match carrier {
            Carrier::IbCm => self.0.to_bytes().to_vec(),
            Carrier::RdmaCm => self.0.to_rdma_cm_bytes().to_vec(),
        }
    }
}

/// What the target granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Requests that may be outstanding at first.
    pub request_limit: u32,
    /// Longest message in bytes that may be sent.
    pub max_it_iu_len: u32,
    /// Longest message in bytes that may come.
    pub max_ti_iu_len: u32,
    /// Where immediate data begins in a message, when it may be sent.
    pub imm_data_offset: Option<u16>,
    /// What became of the nexus's other channels.
    pub multichannel: MultichannelResult,
}

/// A login reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginReject {
    /// REASON.
    pub reason: LoginRejReason,
    /// SUPPORTED BUFFER FORMATS.
    pub buf_fmt: u16,
}

impl fmt::Display for LoginReject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}: {}", self.reason.0, reason_text(self.reason))
    }
}

/// What a reason means, and what to look at.
pub fn reason_text(reason: LoginRejReason) -> &'static str {
    match reason {
        LoginRejReason::UNABLE_TO_ESTABLISH_CHANNEL => {
            "the target could not make a channel of this request"
        }
        LoginRejReason::INSUFFICIENT_RESOURCES => {
            "the target is short of resources, or about to stop; try again later"
        }
        LoginRejReason::REQ_IT_IU_LENGTH_TOO_LARGE => {
            "the target takes only shorter messages; ask for a smaller message length"
        }
        LoginRejReason::UNABLE_TO_ASSOCIATE_CHANNEL => {
            "the target does not admit this initiator, or is not the one that was named; check the access list, \
             id_ext and ioc_guid"
        }
        LoginRejReason::UNSUPPORTED_DESCRIPTOR_FORMAT => {
            "the target lacks a buffer format that was required"
        }
        LoginRejReason::MULTI_CHANNEL_UNSUPPORTED => {
            "the target gives one channel only; ask for one"
        }
        LoginRejReason::CHANNEL_LIMIT_REACHED => {
            "all channels that are allowed are in use; ask for fewer"
        }
        _ => "a reason that the standard does not define",
    }
}

/// Why a channel is not logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LoginError {
    /// SRP_LOGIN_REJ came.
    #[error("login rejected, reason {0}")]
    Rejected(LoginReject),
    /// The connection was rejected without an SRP_LOGIN_REJ.
    #[error(
        "the connection was rejected without an SRP_LOGIN_REJ; is it an SRP target that listens there?"
    )]
    NotSrp,
    /// The SRP_LOGIN_REJ is cut.
    #[error("the connection was rejected: {0}")]
    NoReject(WireError),
    /// The connection was accepted without an SRP_LOGIN_RSP.
    #[error("the connection was accepted without an SRP_LOGIN_RSP: {0}")]
    NoResponse(WireError),
    /// The answer is to another request.
    #[error("the answer to the login has tag {found:#x}, {expected:#x} was sent")]
    Tag {
        /// What was sent.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The target takes no request at all.
    #[error("the target granted a request limit of 0")]
    NoRequests,
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: TargetPortId = TargetPortId {
        id_ext: 1,
        ioc_guid: 2,
    };

    fn options() -> LoginOptions {
        LoginOptions {
            initiator_extension: 3,
            ..LoginOptions::new(TARGET, 4)
        }
    }

    fn response() -> LoginRsp {
        LoginRsp {
            tag: 1,
            request_limit_delta: 5,
            max_it_iu_len: 100_000,
            max_ti_iu_len: 256,
            buf_fmt: 6,
            multichannel: MultichannelResult::NO_CHAN,
            immediate_data: true,
        }
    }

    #[test]
    fn both_forms_of_the_login_say_the_same() {
        for order in [PortIdOrder::Rev10, PortIdOrder::Rev16a] {
            let options = LoginOptions { order, ..options() };
            let request = options.request(1);
            let native = request.to_private_data(Carrier::IbCm);
            let rdma_cm = request.to_private_data(Carrier::RdmaCm);
            assert_eq!((native.len(), rdma_cm.len()), (64, 56));
            let parsed = LoginReq::parse(&native).expect("native");
            assert_eq!(LoginReq::parse_rdma_cm(&rdma_cm), Ok(parsed));
            assert_eq!(parsed.target_port_id, TARGET.to_bytes(order));
            let guid_at = if order == PortIdOrder::Rev10 { 7 } else { 15 };
            assert_eq!(parsed.initiator_port_id[guid_at], 4);
            assert_eq!(parsed.multichannel, MultichannelAction::MULTI);
            assert_eq!(parsed.imm_data_offset, Some(68));
        }
    }

    #[test]
    fn a_response_grants_the_lesser_length_and_only_what_was_asked() {
        let granted = options().read_response(0, &response().to_bytes());
        let granted = granted.expect("granted");
        assert_eq!(granted.max_it_iu_len, DEFAULT_MAX_IT_IU_LEN);
        assert_eq!(
            (granted.request_limit, granted.imm_data_offset),
            (5, Some(68))
        );
        let modest = LoginOptions {
            imm_data_offset: None,
            ..options()
        };
        let granted = modest.read_response(0, &response().to_bytes());
        assert_eq!(granted.map(|g| g.imm_data_offset), Ok(None));
    }

    #[test]
    fn a_response_that_is_none_is_refused() {
        let options = options();
        let short = options.read_response(0, &response().to_bytes()[..51]);
        assert!(matches!(short, Err(LoginError::NoResponse(_))));
        let (expected, found) = (2, 1);
        let other = options.read_response(1, &response().to_bytes());
        assert_eq!(other, Err(LoginError::Tag { expected, found }));
        let nothing = LoginRsp {
            request_limit_delta: 0,
            ..response()
        };
        let refused = options.read_response(0, &nothing.to_bytes());
        assert_eq!(refused, Err(LoginError::NoRequests));
    }

    #[test]
    fn a_reject_says_why_and_what_to_do() {
        let reject = LoginRej {
            tag: 1,
            reason: LoginRejReason::UNABLE_TO_ASSOCIATE_CHANNEL,
            buf_fmt: 6,
        };
        let error = options().read_reject(0, &reject.to_bytes());
        let text = error.to_string();
        assert!(
            text.contains("0x00010003") && text.contains("access list"),
            "{text}"
        );
        assert_eq!(options().read_reject(0, &[]), LoginError::NotSrp);
        let cut = options().read_reject(0, &reject.to_bytes()[..20]);
        assert!(matches!(cut, LoginError::NoReject(_)));
        let stranger = options().read_reject(7, &reject.to_bytes());
        assert!(matches!(stranger, LoginError::Tag { .. }));
    }
}
