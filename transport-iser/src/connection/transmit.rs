//! What is sent, made when the driver asks for it.

mod data_in;
mod iser;
mod tcp;

pub(super) use data_in::DataInLimits;

use target_core::command::{Outcome, Residual};
use target_core::sense::FIXED_SENSE_BYTES;

use super::Connection;
use super::exchange::Ended;
use super::outbox::{Control, Numbers, held_bytes, numbered};
use crate::Sn;
use crate::pdu::scsi_response::SENSE_LENGTH_BYTES;
use crate::pdu::{Bhs, ResponseCode, ScsiResponse};

/// The longest data segment of a SCSI Response.
const SENSE_SEGMENT_BYTES: usize = SENSE_LENGTH_BYTES + FIXED_SENSE_BYTES;

impl Connection {
    fn numbers(&self) -> Numbers {
        Numbers {
            stat_sn: self.stat_sn,
            exp_cmd_sn: self.window.expected(),
            max_cmd_sn: self.window.max(),
        }
    }

    /// The numbers of a PDU that takes a StatSN.
    fn next_numbers(&mut self) -> Numbers {
        let numbers = self.numbers();
        self.stat_sn = self.stat_sn.plus(1);
        numbers
    }

    /// Header of a PDU that leaves the outbox now, before its data segment.
    fn control_bhs(&mut self, control: Control, data: &[u8]) -> Bhs {
        self.queued_bytes -= self.queued_bytes.min(held_bytes(data));
        let numbers = match control.takes_stat_sn() {
            true => self.next_numbers(),
            false => self.numbers(),
        };
        control.encode(numbers, data.len() as u32)
    }

    /// SCSI Response. `data_in_pdus` Data-In PDUs went before it.
    fn scsi_response(
        &mut self,
        finished: &Ended,
        outcome: &Outcome,
        data_in_pdus: u32,
    ) -> ScsiResponse {
        let numbers = self.next_numbers();
        let residuals = Residuals::of(finished, outcome);
        let (overflow, underflow, residual_count) = flags(residuals.residual);
        let (bidirectional_read_overflow, bidirectional_read_underflow, read_count) =
            flags(residuals.bidirectional_read);
        let response = ScsiResponse {
            bidirectional_read_overflow,
            bidirectional_read_underflow,
            overflow,
            underflow,
            response: ResponseCode::COMMAND_COMPLETED_AT_TARGET,
            status: outcome.status,
            initiator_task_tag: finished.initiator_task_tag,
            exp_data_sn: Sn(finished.r2t_count).plus(data_in_pdus),
            bidirectional_read_residual_count: read_count,
            residual_count,
            ..ScsiResponse::default()
        };
        numbered!(response, numbers)
    }
}

/// Residual Count and Bidirectional Read Residual Count (RFC 7143 11.4.5).
struct Residuals {
    residual: Residual,
    bidirectional_read: Residual,
}

impl Residuals {
    fn of(exchange: &Ended, outcome: &Outcome) -> Self {
        let (data_in, data_out) = (outcome.data_in_residual, outcome.data_out_residual);
        if exchange.bidirectional {
            return Self {
                residual: data_out,
                bidirectional_read: data_in,
            };
        }
        // A command without a buffer in its own direction has a residual there all the same.
        let (first, second) = match exchange.read {
            true => (data_in, data_out),
            false => (data_out, data_in),
        };
        Self {
            residual: if first == Residual::None {
                second
            } else {
                first
            },
            bidirectional_read: Residual::None,
        }
    }
}

/// O, U and the count.
fn flags(residual: Residual) -> (bool, bool, u32) {
    match residual {
        Residual::None => (false, false, 0),
        Residual::Overflow(count) => (true, false, count),
        Residual::Underflow(count) => (false, true, count),
    }
}

/// SenseLength and sense data; empty without sense.
fn sense_segment<'a>(outcome: &Outcome, room: &'a mut [u8; SENSE_SEGMENT_BYTES]) -> &'a [u8] {
    let Some(sense) = outcome.sense else {
        return &[];
    };
    let (length, data) = room.split_at_mut(SENSE_LENGTH_BYTES);
    length.copy_from_slice(&(FIXED_SENSE_BYTES as u16).to_be_bytes());
    data.copy_from_slice(&sense.to_fixed());
    room
}
