//! SRP: the messages as `ib_srp` sends them (SRP r16a 6.8).

use std::collections::VecDeque;

use anyhow::{Context, Result};
use iobuf::{Buf, Pool, RemoteSegment};
use target_core::command::ChannelId;
use target_core::lun::Lun;
use target_core::port::Transmit;
use target_core::status::Status;
use target_core::target::TransportId;
use transport_srp::layout::{DEFAULT_MAX_IT_IU_LEN, LINUX_IMM_DATA_OFFSET};
use transport_srp::wire::Cmd;
use transport_srp::wire::cmd::{BufferFormat, TaskAttributeCode};
use transport_srp::wire::desc::{direct_to_bytes, immediate_to_bytes};
use transport_srp::{Channel, Negotiated, RecvLayout, recv_layout};

use super::{DebugChannel, End, MOST_OUTSTANDING, Room};
use crate::job::{DATA_BYTES, Kind};

const LAYOUT: RecvLayout = recv_layout(DEFAULT_MAX_IT_IU_LEN);
const MESSAGE_SLOT_BYTES: usize = 256;
/// Where the status stands in an SRP_RSP (SRP r16a 6.9).
const RSP_STATUS_OFFSET: usize = 19;

#[derive(Debug)]
struct Initiator {
    receive: Pool,
    message: Vec<u8>,
}

pub(super) fn ends(room: &Room, kind: Kind) -> Result<(Box<dyn DebugChannel>, Box<dyn End>)> {
    let login = Negotiated {
        request_limit: MOST_OUTSTANDING,
        max_it_iu_len: DEFAULT_MAX_IT_IU_LEN,
        imm_data_offset: Some(LINUX_IMM_DATA_OFFSET),
    };
    let messages = room.message_slots(MESSAGE_SLOT_BYTES);
    let channel = Channel::new(ChannelId(0), login, messages, room.data.clone());
    let initiator = Initiator {
        receive: room.slots(LAYOUT.slot_len),
        message: message(kind)?,
    };
    Ok((Box::new(channel), Box::new(initiator)))
}

impl End for Initiator {
    fn transport_id(&self) -> TransportId {
        TransportId::Srp {
            initiator_port_id: [7; 16],
        }
    }

    fn send(&mut self, commands: u64, arrived: &mut VecDeque<Buf>) {
        for _ in 0..commands {
            let Some(mut message) = self.receive.take(LAYOUT.slot_len) else {
                return;
            };
            let fits = message.set_window(LAYOUT.window_start, self.message.len());
            debug_assert!(fits, "the layout is for messages of this length");
            // Writing data is the NIC's work, not the path's.
            let head = self.message.len().min(usize::from(LINUX_IMM_DATA_OFFSET));
            message[..head].copy_from_slice(&self.message[..head]);
            arrived.push_back(message);
        }
    }

    fn receive(&mut self, transmit: &Transmit<'_>, _arrived: &mut VecDeque<Buf>) -> u64 {
        match transmit {
            Transmit::Respond { message, .. } => {
                u64::from(message[RSP_STATUS_OFFSET] == Status::GOOD.0)
            }
            // SRP has no byte stream.
            Transmit::Pull { .. } | Transmit::Stream { .. } => 0,
        }
    }
}

/// The SRP_CMD, with immediate data if it has such.
fn message(kind: Kind) -> Result<Vec<u8>> {
    let direct = direct_to_bytes(RemoteSegment {
        address: 0x1000,
        key: 0x1234,
        length: DATA_BYTES,
    });
    let immediate = immediate_message_data();
    let none = BufferFormat::NONE;
    let (data_out_format, data_in_format, data) = match kind {
        Kind::Read => (none, BufferFormat::DIRECT, &direct[..]),
        Kind::WritePulled => (BufferFormat::DIRECT, none, &direct[..]),
        Kind::WriteImmediate => (BufferFormat::IMMEDIATE, none, &immediate[..]),
    };
    let cmd = Cmd {
        sol_not: 0,
        data_out_format,
        data_in_format,
        data_out_count: 0,
        data_in_count: 0,
        tag: 0x1122_3344_5566_7788,
        lun: Lun::peripheral(0),
        task_attribute: TaskAttributeCode::SIMPLE,
        cdb: &kind.cdb(),
        data,
    };
    let mut message = vec![0; Cmd::MIN_BYTES + data.len()];
    cmd.emit(&mut message)
        .context("the canned command does not fit")?;
    Ok(message)
}

/// The descriptor, what lies between it and the offset agreed on, and the data.
fn immediate_message_data() -> Vec<u8> {
    let mut data = immediate_to_bytes(DATA_BYTES).to_vec();
    data.resize(usize::from(LINUX_IMM_DATA_OFFSET) - Cmd::MIN_BYTES, 0);
    data.resize(data.len() + DATA_BYTES as usize, 0x5a);
    data
}
