//! What both datamovers of iSCSI have: the session that was agreed on, and its commands with their numbers.

use target_core::lun::Lun;
use target_core::status::Status;
use target_core::target::TransportId;
use transport_iser::Sn;
use transport_iser::connection::Settings;
use transport_iser::login::{
    Datamover, Digest, Identity, LoginLimits, Negotiated, SessionType, TaskReporting,
};
use transport_iser::pdu::{AttributeCode, Bhs, DataIn, Opcode, ScsiCommand, ScsiResponse};

use crate::job::{DATA_BYTES, Kind};

const ISID: [u8; 6] = [0x80, 0, 0, 0, 0, 1];
const NAME: &str = "iqn.2026-11.io.srptgt.bench:initiator";

/// CmdSN of the first command.
pub(super) const FIRST: Sn = Sn(1);

pub(super) fn settings(datamover: Datamover) -> Settings {
    Settings::new(LoginLimits::new(datamover))
}

pub(super) fn transport_id() -> TransportId {
    TransportId::Iscsi {
        initiator_name: NAME.into(),
        isid: ISID,
    }
}

/// What an initiator on Linux and this target agree on, but for immediate data, which not every job has.
pub(super) fn negotiated(kind: Kind, segment: u32) -> Negotiated {
    let identity = Identity {
        initiator_name: NAME.to_owned(),
        initiator_alias: None,
        target_name: None,
        session_type: SessionType::Normal,
        isid: ISID,
        tsih: 1,
        cid: 0,
    };
    Negotiated {
        identity,
        tsih: 1,
        max_recv_data_segment_length: segment,
        max_xmit_data_segment_length: segment,
        header_digest: Digest::None,
        data_digest: Digest::None,
        initial_r2t: true,
        immediate_data: kind == Kind::WriteImmediate,
        max_burst_length: 256 << 10,
        first_burst_length: 64 << 10,
        max_outstanding_r2t: 1,
        default_time2wait: 2,
        default_time2retain: 0,
        data_pdu_in_order: true,
        data_sequence_in_order: true,
        error_recovery_level: 0,
        protocol_level: 1,
        task_reporting: TaskReporting::default(),
        rdma: None,
    }
}

/// The commands of a session.
#[derive(Debug)]
pub(super) struct Commands {
    kind: Kind,
    next: Sn,
}

impl Commands {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, next: FIRST }
    }

    /// Bytes of the data segment of each.
    pub(super) fn segment_bytes(&self) -> u32 {
        match self.kind {
            Kind::WriteImmediate => DATA_BYTES,
            Kind::Read | Kind::WritePulled => 0,
        }
    }

    /// The next one's header; its tag is its number.
    pub(super) fn next(&mut self) -> Bhs {
        let cmd_sn = self.next;
        self.next = cmd_sn.plus(1);
        let is_read = self.kind == Kind::Read;
        let command = ScsiCommand {
            is_final: true,
            read: is_read,
            write: !is_read,
            attribute: AttributeCode::SIMPLE,
            lun: Lun::peripheral(0),
            initiator_task_tag: cmd_sn.0,
            expected_data_transfer_length: DATA_BYTES,
            cmd_sn,
            cdb: self.kind.cdb(),
            ..ScsiCommand::default()
        };
        command.encode(self.segment_bytes())
    }
}

/// Whether a PDU ends a command with GOOD.
pub(super) fn is_good(bhs: &Bhs) -> bool {
    match Opcode::of(bhs) {
        Opcode::DATA_IN => {
            DataIn::parse(bhs).is_ok_and(|pdu| pdu.has_status && pdu.status == Status::GOOD)
        }
        Opcode::SCSI_RESPONSE => {
            ScsiResponse::parse(bhs).is_ok_and(|pdu| pdu.status == Status::GOOD)
        }
        _ => false,
    }
}
