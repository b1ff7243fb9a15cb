//! Connection management messages, byte for byte: the MAD header (IBTA 13.4.3) and chapter 12.6's tables.

use thiserror::Error;
use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use super::private_data::PrivateData;
use super::raw::{self, ids, join, split};
use crate::psn::Psn;

/// Bytes of every MAD.
pub const MAD_LEN: usize = 256;

const MAD_HEADER_LEN: usize = 24;
pub(super) const BODY_LEN: usize = MAD_LEN - MAD_HEADER_LEN;

const BASE_VERSION: u8 = 1;
const CLASS_COMMUNICATION_MANAGEMENT: u8 = 7;
const CLASS_VERSION: u8 = 2;
const METHOD_SEND: u8 = 3;

const REQ: u16 = 0x10;
const MRA: u16 = 0x11;
const REJ: u16 = 0x12;
const REP: u16 = 0x13;
const RTU: u16 = 0x14;
const DREQ: u16 = 0x15;
const DREP: u16 = 0x16;
const SIDR_REQ: u16 = 0x17;
const SIDR_REP: u16 = 0x18;
const LAP: u16 = 0x19;
const APR: u16 = 0x1a;

/// Bytes of additional reject information.
pub(super) const ARI_LEN: usize = 72;

/// Why a MAD is not a connection management message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MadError {
    /// Not 256 bytes.
    #[error("a MAD has {MAD_LEN} bytes, got {0}")]
    Length(usize),
    /// Another class, version or method.
    #[error(
        "expected class 7 version 2 method 3, got class {class} version {version} method {method}"
    )]
    Class {
        /// Management class.
        class: u8,
        /// Class version.
        version: u8,
        /// Method.
        method: u8,
    },
    /// An attribute that no table names.
    #[error("attribute {0:#06x} is no connection management message")]
    Attribute(u16),
}

/// Why a connection is refused (IBTA table 108).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RejectReason(pub u16);

impl RejectReason {
    /// No queue pair to be had.
    pub const NO_QP: Self = Self(1);
    /// No resources.
    pub const NO_RESOURCES: Self = Self(3);
    /// The sender has waited long enough.
    pub const TIMEOUT: Self = Self(4);
    /// Request not supported.
    pub const UNSUPPORTED: Self = Self(5);
    /// Communication id unknown.
    pub const INVALID_COMM_ID: Self = Self(6);
    /// Nobody listens to that service id.
    pub const INVALID_SERVICE_ID: Self = Self(8);
    /// Not a reliable connection.
    pub const INVALID_TRANSPORT_TYPE: Self = Self(9);
    /// The queue pair belongs to a connection that one side has forgotten.
    pub const STALE_CONNECTION: Self = Self(10);
    /// The GID is not here.
    pub const INVALID_GID: Self = Self(12);
    /// The path MTU is too large.
    pub const INVALID_MTU: Self = Self(26);
    /// The consumer says why in its private data.
    pub const CONSUMER_DEFINED: Self = Self(28);
    /// Another MAD class version.
    pub const INVALID_CLASS_VERSION: Self = Self(31);
}

/// Which message a REJ or MRA answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A REQ.
    Req,
    /// A REP.
    Rep,
    /// None of them.
    Other,
}

impl Answered {
    pub(super) const fn from_bits(byte: u8) -> Self {
        match byte >> 6 {
            0 => Self::Req,
            1 => Self::Rep,
            _ => Self::Other,
        }
    }

    pub(super) const fn to_bits(self) -> u8 {
        match self {
            Self::Req => 0,
            Self::Rep => 0x40,
            Self::Other => 0x80,
        }
    }
}

/// The two communication ids that most messages carry, as their sender sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The sender's.
    pub local: u32,
    /// The receiver's; 0 where the sender does not know it.
    pub remote: u32,
}

/// REQ: connect me (table 106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Req {
    /// The sender's communication id.
    pub local_id: u32,
    /// Who should answer.
    pub service_id: u64,
    /// The sender's node GUID.
    pub ca_guid: u64,
    /// The sender's queue pair.
    pub qpn: u32,
    /// RDMA READs that the sender answers at a time.
    pub responder_resources: u8,
    /// RDMA READs that the sender issues at a time.
    pub initiator_depth: u8,
    /// Exponent of the time that the receiver has to answer.
    pub remote_response_timeout: u8,
    /// 0 is a reliable connection.
    pub transport_type: u8,
    /// The sender counts credits.
    pub flow_control: bool,
    /// Where the receiver's packet numbers begin.
    pub starting_psn: Psn,
    /// Exponent of the time after which the sender of a REP should repeat it.
    pub local_response_timeout: u8,
    /// Retries of the connection.
    pub retry_count: u8,
    /// Partition.
    pub p_key: u16,
    /// Code of the path MTU.
    pub path_mtu: u8,
    /// RNR retries of the connection.
    pub rnr_retry: u8,
    /// How often a message is repeated.
    pub max_retries: u8,
    /// The sender's queue pair has a shared receive queue.
    pub srq: bool,
    /// The sender's GID: its IP address, IPv4 mapped.
    pub local_gid: [u8; 16],
    /// The receiver's GID.
    pub remote_gid: [u8; 16],
    /// IPv6 flow label.
    pub flow_label: u32,
    /// Traffic class.
    pub traffic_class: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Exponent of the local acknowledge timeout.
    pub ack_timeout: u8,
    /// 92 bytes.
    pub private_data: PrivateData,
}

/// REP: you are (table 110).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rep {
    /// Whose connection.
    pub ids: Ids,
    /// The sender's queue pair.
    pub qpn: u32,
    /// Where the receiver's packet numbers begin.
    pub starting_psn: Psn,
    /// RDMA READs that the sender answers at a time.
    pub responder_resources: u8,
    /// RDMA READs that the sender issues at a time.
    pub initiator_depth: u8,
    /// Exponent of the delay of acknowledges.
    pub ack_delay: u8,
    /// The sender counts credits.
    pub flow_control: bool,
    /// RNR retries that the receiver should make.
    pub rnr_retry: u8,
    /// The sender's queue pair has a shared receive queue.
    pub srq: bool,
    /// The sender's node GUID.
    pub ca_guid: u64,
    /// 196 bytes.
    pub private_data: PrivateData,
}

/// REJ: no (table 108).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rej {
    /// Whose connection.
    pub ids: Ids,
    /// What is refused.
    pub answered: Answered,
    /// Why.
    pub reason: RejectReason,
    /// The first eight bytes of the additional information: the sender's node GUID after a timeout.
    pub additional: u64,
    /// 148 bytes.
    pub private_data: PrivateData,
}

/// A connection management message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time on the stack, never stored"
)]
pub enum Message {
    /// Connect me.
    Req(Req),
    /// I have it, give me time.
    Mra {
        /// Whose connection.
        ids: Ids,
        /// What will be answered.
        answered: Answered,
        /// Exponent of how much time.
        service_timeout: u8,
    },
    /// No.
    Rej(Rej),
    /// You are connected.
    Rep(Rep),
    /// So am I.
    Rtu {
        /// Whose connection.
        ids: Ids,
        /// 224 bytes.
        private_data: PrivateData,
    },
    /// Let us part.
    Dreq {
        /// Whose connection.
        ids: Ids,
        /// The receiver's queue pair.
        remote_qpn: u32,
    },
    /// Farewell.
    Drep {
        /// Whose connection.
        ids: Ids,
    },
    /// Where is that service?
    SidrReq {
        /// Echoed in the answer.
        request_id: u32,
        /// Which.
        service_id: u64,
    },
    /// The answer.
    SidrRep {
        /// Of which question.
        request_id: u32,
        /// 0 is good, 1 says that the service id is not supported.
        status: u8,
        /// Which.
        service_id: u64,
    },
    /// Use another path.
    Lap {
        /// Whose connection.
        ids: Ids,
    },
    /// The answer.
    Apr {
        /// Whose connection.
        ids: Ids,
        /// 0 is good, 2 says that alternate paths are not supported.
        status: u8,
    },
}

/// A message with the number of its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mad {
    /// Transaction id: an answer repeats that of the question.
    pub transaction_id: u64,
    /// The message.
    pub message: Message,
}

impl Mad {
    /// Takes a MAD apart.
    pub fn parse(bytes: &[u8]) -> Result<Self, MadError> {
        let wrong_length = MadError::Length(bytes.len());
        let (header, body) = raw::MadHeader::ref_from_prefix(bytes).map_err(|_| wrong_length)?;
        if body.len() != BODY_LEN {
            return Err(wrong_length);
        }
        let found = (
            header.base_version,
            header.class,
            header.class_version,
            header.method,
        );
        if found
            != (
                BASE_VERSION,
                CLASS_COMMUNICATION_MANAGEMENT,
                CLASS_VERSION,
                METHOD_SEND,
            )
        {
            return Err(MadError::Class {
                class: header.class,
                version: header.class_version,
                method: header.method,
            });
        }
        let message = Message::parse(header.attribute.get(), body).ok_or(wrong_length)??;
        Ok(Self {
            transaction_id: header.transaction_id.get(),
            message,
        })
    }

    /// Writes the MAD.
    pub fn emit(&self) -> [u8; MAD_LEN] {
        let header = raw::MadHeader {
            base_version: BASE_VERSION,
            class: CLASS_COMMUNICATION_MANAGEMENT,
            class_version: CLASS_VERSION,
            method: METHOD_SEND,
            status: U16::ZERO,
            class_specific: U16::ZERO,
            transaction_id: self.transaction_id.into(),
            attribute: self.message.attribute().into(),
            reserved: U16::ZERO,
            modifier: U32::ZERO,
        };
        let mut bytes = [0; MAD_LEN];
        let (front, body) = bytes.split_at_mut(MAD_HEADER_LEN);
        front.copy_from_slice(header.as_bytes());
        self.message.emit(body);
        bytes
    }
}

impl Message {
    const fn attribute(&self) -> u16 {
        match self {
            Self::Req(_) => REQ,
            Self::Mra { .. } => MRA,
            Self::Rej(_) => REJ,
            Self::Rep(_) => REP,
            Self::Rtu { .. } => RTU,
            Self::Dreq { .. } => DREQ,
            Self::Drep { .. } => DREP,
            Self::SidrReq { .. } => SIDR_REQ,
            Self::SidrRep { .. } => SIDR_REP,
            Self::Lap { .. } => LAP,
            Self::Apr { .. } => APR,
        }
    }

    /// `None` cannot happen, since all layouts have the length of the body.
    fn parse(attribute: u16, body: &[u8]) -> Option<Result<Self, MadError>> {
        let message = match attribute {
            REQ => Self::Req(Req::from_raw(raw::RawReq::ref_from_bytes(body).ok()?)),
            REP => Self::Rep(Rep::from_raw(raw::RawRep::ref_from_bytes(body).ok()?)),
            REJ => Self::Rej(Rej::from_raw(raw::RawRej::ref_from_bytes(body).ok()?)),
            MRA => Self::parse_mra(raw::RawMra::ref_from_bytes(body).ok()?),
            RTU | DREP | LAP => {
                Self::parse_short(attribute, raw::RawRtu::ref_from_bytes(body).ok()?)
            }
            DREQ => Self::parse_dreq(raw::RawDreq::ref_from_bytes(body).ok()?),
            APR => Self::parse_apr(raw::RawApr::ref_from_bytes(body).ok()?),
            SIDR_REQ => Self::parse_sidr_req(raw::RawSidrReq::ref_from_bytes(body).ok()?),
            SIDR_REP => Self::parse_sidr_rep(raw::RawSidrRep::ref_from_bytes(body).ok()?),
            other => return Some(Err(MadError::Attribute(other))),
        };
        Some(Ok(message))
    }

    fn parse_mra(raw: &raw::RawMra) -> Self {
        Self::Mra {
            ids: ids(raw.local_id, raw.remote_id),
            answered: Answered::from_bits(raw.answered),
            service_timeout: raw.service_timeout >> 3,
        }
    }

    fn parse_short(attribute: u16, raw: &raw::RawRtu) -> Self {
        let ids = ids(raw.local_id, raw.remote_id);
        match attribute {
            RTU => Self::Rtu {
                ids,
                private_data: PrivateData::of(&raw.private_data),
            },
            DREP => Self::Drep { ids },
            _ => Self::Lap { ids },
        }
    }

    fn parse_dreq(raw: &raw::RawDreq) -> Self {
        Self::Dreq {
            ids: ids(raw.local_id, raw.remote_id),
            remote_qpn: split(raw.remote_qpn).0,
        }
    }

    fn parse_apr(raw: &raw::RawApr) -> Self {
        Self::Apr {
            ids: ids(raw.local_id, raw.remote_id),
            status: raw.status,
        }
    }

    fn parse_sidr_req(raw: &raw::RawSidrReq) -> Self {
        Self::SidrReq {
            request_id: raw.request_id.get(),
            service_id: raw.service_id.get(),
        }
    }

    fn parse_sidr_rep(raw: &raw::RawSidrRep) -> Self {
        Self::SidrRep {
            request_id: raw.request_id.get(),
            status: raw.status,
            service_id: raw.service_id.get(),
        }
    }

    fn emit(&self, body: &mut [u8]) {
        match self {
            Self::Req(req) => body.copy_from_slice(req.to_raw().as_bytes()),
            Self::Rep(rep) => body.copy_from_slice(rep.to_raw().as_bytes()),
            Self::Rej(rej) => body.copy_from_slice(rej.to_raw().as_bytes()),
            Self::Mra {
                ids,
                answered,
                service_timeout,
            } => {
                let last = [answered.to_bits(), service_timeout << 3];
                put(body, &[&ids.to_bytes(), &last]);
            }
            Self::Rtu { ids, private_data } => {
                put(body, &[&ids.to_bytes(), private_data.as_slice()]);
            }
            Self::Dreq { ids, remote_qpn } => {
                put(body, &[&ids.to_bytes(), join(*remote_qpn, 0).as_bytes()]);
            }
            Self::Drep { ids } | Self::Lap { ids } => put(body, &[&ids.to_bytes()]),
            Self::Apr { ids, status } => put(body, &[&ids.to_bytes(), &[0, *status]]),
            Self::SidrReq {
                request_id,
                service_id,
            } => {
                let p_key = [0xff, 0xff, 0, 0];
                put(
                    body,
                    &[&request_id.to_be_bytes(), &p_key, &service_id.to_be_bytes()],
                );
            }
            Self::SidrRep {
                request_id,
                status,
                service_id,
            } => {
                let status = [*status, 0, 0, 0, 0, 0, 0, 0];
                put(
                    body,
                    &[
                        &request_id.to_be_bytes(),
                        &status,
                        &service_id.to_be_bytes(),
                    ],
                );
            }
        }
    }
}

/// Writes the parts one after the other; what does not fit is left out.
pub(super) fn put(body: &mut [u8], parts: &[&[u8]]) {
    let bytes = parts.iter().flat_map(|part| part.iter());
    for (slot, byte) in body.iter_mut().zip(bytes) {
        *slot = *byte;
    }
}

impl Ids {
    fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.local) << 32 | u64::from(self.remote)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests;
