//! Layouts of the messages as IBTA's tables draw them, and the three long ones' translation.

use zerocopy::byteorder::network_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::message::{ARI_LEN, Answered, BODY_LEN, Ids, Rej, RejectReason, Rep, Req, put};
use super::private_data::PrivateData;
use crate::psn::Psn;

const SRQ_IN_REQ: u8 = 0x08;
const SRQ_IN_REP: u8 = 0x10;
const FLOW_CONTROL: u8 = 0x01;
const TRANSPORT_TYPE: u8 = 0x06;

macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident, $len:expr, { $($field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $kind,)* }
        const _: () = assert!(size_of::<$name>() == $len);
    )*};
}

layouts! {
    MadHeader, 24, {
        base_version: u8,
        class: u8,
        class_version: u8,
        method: u8,
        status: U16,
        class_specific: U16,
        transaction_id: U64,
        attribute: U16,
        reserved: U16,
        modifier: U32,
    }
    RawReq, BODY_LEN, {
        local_id: U32,
        vendor: U32,
        service_id: U64,
        ca_guid: U64,
        reserved: U32,
        q_key: U32,
        qpn_and_responder_resources: U32,
        eecn_and_initiator_depth: U32,
        remote_eecn_and_flags: U32,
        psn_and_flags: U32,
        p_key: U16,
        mtu_and_rnr_retry: u8,
        max_retries_and_srq: u8,
        local_lid: U16,
        remote_lid: U16,
        local_gid: [u8; 16],
        remote_gid: [u8; 16],
        flow_label_and_rate: U32,
        traffic_class: u8,
        hop_limit: u8,
        sl_and_subnet_local: u8,
        ack_timeout: u8,
        alternate_path: [u8; 44],
        private_data: [u8; 92],
    }
    RawRep, BODY_LEN, {
        local_id: U32,
        remote_id: U32,
        q_key: U32,
        qpn_and_vendor: U32,
        eecn_and_vendor: U32,
        psn_and_vendor: U32,
        responder_resources: u8,
        initiator_depth: u8,
        ack_delay_and_flow_control: u8,
        rnr_retry_and_srq: u8,
        ca_guid: U64,
        private_data: [u8; 196],
    }
    RawRej, BODY_LEN, {
        local_id: U32,
        remote_id: U32,
        answered: u8,
        additional_len: u8,
        reason: U16,
        additional: [u8; ARI_LEN],
        private_data: [u8; 148],
    }
    RawMra, BODY_LEN, {
        local_id: U32,
        remote_id: U32,
        answered: u8,
        service_timeout: u8,
        private_data: [u8; 222],
    }
    RawRtu, BODY_LEN, {
        local_id: U32,
        remote_id: U32,
        private_data: [u8; 224],
    }
    RawDreq, BODY_LEN, {
        local_id: U32,
        remote_id: U32,
        remote_qpn: U32,
        private_data: [u8; 220],
    }
    RawSidrReq, BODY_LEN, {
        request_id: U32,
        p_key: U16,
        reserved: U16,
        service_id: U64,
        private_data: [u8; 216],
    }
    RawSidrRep, BODY_LEN, {
        request_id: U32,
        status: u8,
        additional_len: u8,
        vendor: U16,
        qpn_and_vendor: U32,
        service_id: U64,
        rest: [u8; 212],
    }
    RawApr, BODY_LEN, {
        local_id: U32,
        remote_id: U32,
        additional_len: u8,
        status: u8,
        rest: [u8; 222],
    }
}

/// The upper 24 bits of a word and its last byte.
pub(super) fn split(word: U32) -> (u32, u8) {
    let [_, _, _, last] = word.to_bytes();
    (word.get() >> 8, last)
}

pub(super) fn join(upper: u32, last: u8) -> U32 {
    U32::new(upper << 8 | u32::from(last))
}

pub(super) fn ids(local: U32, remote: U32) -> Ids {
    Ids {
        local: local.get(),
        remote: remote.get(),
    }
}

impl Req {
    pub(super) fn from_raw(raw: &RawReq) -> Self {
        let (qpn, responder_resources) = split(raw.qpn_and_responder_resources);
        let (_, initiator_depth) = split(raw.eecn_and_initiator_depth);
        let (_, remote_flags) = split(raw.remote_eecn_and_flags);
        let (psn, local_flags) = split(raw.psn_and_flags);
        Self {
            local_id: raw.local_id.get(),
            service_id: raw.service_id.get(),
            ca_guid: raw.ca_guid.get(),
            qpn,
            responder_resources,
            initiator_depth,
            remote_response_timeout: remote_flags >> 3,
            transport_type: (remote_flags & TRANSPORT_TYPE) >> 1,
            flow_control: remote_flags & FLOW_CONTROL != 0,
            starting_psn: Psn::new(psn),
            local_response_timeout: local_flags >> 3,
            retry_count: local_flags & 7,
            p_key: raw.p_key.get(),
            path_mtu: raw.mtu_and_rnr_retry >> 4,
            rnr_retry: raw.mtu_and_rnr_retry & 7,
            max_retries: raw.max_retries_and_srq >> 4,
            srq: raw.max_retries_and_srq & SRQ_IN_REQ != 0,
            local_gid: raw.local_gid,
            remote_gid: raw.remote_gid,
            flow_label: raw.flow_label_and_rate.get() >> 12,
            traffic_class: raw.traffic_class,
            hop_limit: raw.hop_limit,
            ack_timeout: raw.ack_timeout >> 3,
            private_data: PrivateData::of(&raw.private_data),
        }
    }

    pub(super) fn to_raw(self) -> RawReq {
        let flow_control = if self.flow_control { FLOW_CONTROL } else { 0 };
        let srq = if self.srq { SRQ_IN_REQ } else { 0 };
        let remote_flags = self.remote_response_timeout << 3
            | (self.transport_type << 1) & TRANSPORT_TYPE
            | flow_control;
        RawReq {
            local_id: self.local_id.into(),
            vendor: U32::ZERO,
            service_id: self.service_id.into(),
            ca_guid: self.ca_guid.into(),
            reserved: U32::ZERO,
            q_key: U32::ZERO,
            qpn_and_responder_resources: join(self.qpn, self.responder_resources),
            eecn_and_initiator_depth: join(0, self.initiator_depth),
            remote_eecn_and_flags: join(0, remote_flags),
            psn_and_flags: join(
                self.starting_psn.value(),
                self.local_response_timeout << 3 | self.retry_count & 7,
            ),
            p_key: self.p_key.into(),
            mtu_and_rnr_retry: self.path_mtu << 4 | self.rnr_retry & 7,
            max_retries_and_srq: self.max_retries << 4 | srq,
            // Permissive LIDs: RoCE has none, and Linux writes these for a routed path.
            local_lid: U16::MAX_VALUE,
            remote_lid: U16::MAX_VALUE,
            local_gid: self.local_gid,
            remote_gid: self.remote_gid,
            flow_label_and_rate: U32::new(self.flow_label << 12),
            traffic_class: self.traffic_class,
            hop_limit: self.hop_limit,
            sl_and_subnet_local: 0,
            ack_timeout: self.ack_timeout << 3,
            alternate_path: [0; 44],
            private_data: self.private_data.padded(),
        }
    }
}

impl Rep {
    pub(super) fn from_raw(raw: &RawRep) -> Self {
        Self {
            ids: ids(raw.local_id, raw.remote_id),
            qpn: split(raw.qpn_and_vendor).0,
            starting_psn: Psn::new(split(raw.psn_and_vendor).0),
            responder_resources: raw.responder_resources,
            initiator_depth: raw.initiator_depth,
            ack_delay: raw.ack_delay_and_flow_control >> 3,
            flow_control: raw.ack_delay_and_flow_control & FLOW_CONTROL != 0,
            rnr_retry: raw.rnr_retry_and_srq >> 5,
            srq: raw.rnr_retry_and_srq & SRQ_IN_REP != 0,
            ca_guid: raw.ca_guid.get(),
            private_data: PrivateData::of(&raw.private_data),
        }
    }

    pub(super) fn to_raw(self) -> RawRep {
        let flow_control = if self.flow_control { FLOW_CONTROL } else { 0 };
        let srq = if self.srq { SRQ_IN_REP } else { 0 };
        RawRep {
            local_id: self.ids.local.into(),
            remote_id: self.ids.remote.into(),
            q_key: U32::ZERO,
            qpn_and_vendor: join(self.qpn, 0),
            eecn_and_vendor: U32::ZERO,
            psn_and_vendor: join(self.starting_psn.value(), 0),
            responder_resources: self.responder_resources,
            initiator_depth: self.initiator_depth,
            ack_delay_and_flow_control: self.ack_delay << 3 | flow_control,
            rnr_retry_and_srq: self.rnr_retry << 5 | srq,
            ca_guid: self.ca_guid.into(),
            private_data: self.private_data.padded(),
        }
    }
}

impl Rej {
    pub(super) fn from_raw(raw: &RawRej) -> Self {
        let additional = raw.additional.first_chunk().copied().unwrap_or_default();
        Self {
            ids: ids(raw.local_id, raw.remote_id),
            answered: Answered::from_bits(raw.answered),
            reason: RejectReason(raw.reason.get()),
            additional: u64::from_be_bytes(additional),
            private_data: PrivateData::of(&raw.private_data),
        }
    }

    pub(super) fn to_raw(self) -> RawRej {
        let mut additional = [0; ARI_LEN];
        let present = self.additional != 0;
        put(&mut additional, &[&self.additional.to_be_bytes()]);
        RawRej {
            local_id: self.ids.local.into(),
            remote_id: self.ids.remote.into(),
            answered: self.answered.to_bits(),
            additional_len: if present { 8 << 1 } else { 0 },
            reason: self.reason.0.into(),
            additional,
            private_data: self.private_data.padded(),
        }
    }
}
