//! Over TCP: as many PDUs as fit go in one message, and a command's data go with it where they lie.

use iobuf::Buf;
use target_core::command::{ExchangeId, Outcome};
use target_core::port::Transmit;
use target_core::status::Status;

use super::{SENSE_SEGMENT_BYTES, flags, sense_segment};
use crate::Sn;
use crate::connection::Connection;
use crate::connection::exchange::Ended;
use crate::connection::outbox::{Outgoing, numbered};
use crate::pdu::{DataIn, R2t, RESERVED_TAG};
use crate::tcp::{Writer, pdu_bytes};

/// Room of a message that takes several PDUs.
const BATCH_BYTES: usize = 2048;

impl Connection {
    pub(in crate::connection) fn transmit_stream(&mut self) -> Option<Transmit<'_>> {
        let first = self.stream_bytes(self.outbox.front()?);
        let batch = BATCH_BYTES.min(self.longest_message);
        let message = self.take_message(first.max(batch))?;
        let mut pieces = std::mem::take(&mut self.pieces);
        let (header_digest, data_digest) = (self.agreed.header_digest, self.agreed.data_digest);
        let mut writer = Writer::new(message, &mut pieces, header_digest, data_digest);
        // Digests hold from the first PDU after the final response on. It goes alone, as a ping may wait behind it already.
        let is_login = self.outbox.front().is_some_and(Outgoing::is_login);
        if is_login {
            writer.without_digests();
        }
        let (mut data, mut next) = (None, Some(first));
        while next.is_some_and(|needed| needed <= writer.room()) {
            data = self.write_next(&mut writer);
            if data.is_some() || is_login {
                break;
            }
            next = self.outbox.front().map(|next| self.stream_bytes(next));
        }
        let is_empty = writer.is_empty();
        let message = writer.finish();
        self.pieces = pieces;
        if is_empty {
            return None;
        }
        Some(Transmit::Stream {
            message,
            data,
            pieces: &self.pieces,
        })
    }

    /// The most that the next thing takes in a message.
    fn stream_bytes(&self, next: &Outgoing) -> usize {
        match next {
            Outgoing::Response { outcome, .. } => {
                let len = outcome.data_in.as_ref().map_or(0, |data| data.len() as u32);
                let pdus = self.agreed.data_in.count(len) as usize;
                pdus * pdu_bytes(3) + pdu_bytes(SENSE_SEGMENT_BYTES)
            }
            Outgoing::R2t { .. } | Outgoing::Pull { .. } => pdu_bytes(0),
            Outgoing::Control(_, data) => pdu_bytes(data.len()),
        }
    }

    /// Writes what is first in the outbox. The data that its pieces are cut from come out.
    fn write_next(&mut self, writer: &mut Writer<'_>) -> Option<Buf> {
        match self.outbox.pop_front()? {
            Outgoing::Response { exchange, outcome } => {
                return self.write_response(writer, exchange, outcome);
            }
            Outgoing::R2t { exchange, r2t } => self.write_r2t(writer, exchange, r2t),
            Outgoing::Control(control, data) => {
                writer.put(&self.control_bhs(control, &data), &[&data]);
            }
            // Nothing is read from memory over TCP.
            Outgoing::Pull { .. } => {}
        }
        None
    }

    fn write_r2t(&mut self, writer: &mut Writer<'_>, exchange: ExchangeId, r2t: R2t) {
        self.counters.r2ts += 1;
        let r2t = R2t {
            lun: self
                .exchanges
                .get(exchange)
                .map(|slot| slot.lun)
                .unwrap_or_default(),
            initiator_task_tag: self.exchanges.tag(exchange),
            ..r2t
        };
        writer.put(&numbered!(r2t, self.numbers()).encode(0), &[]);
    }

    fn write_response(
        &mut self,
        writer: &mut Writer<'_>,
        exchange: ExchangeId,
        mut outcome: Outcome,
    ) -> Option<Buf> {
        let finished = self.end_exchange(exchange)?;
        let data = outcome.data_in.take().filter(|data| !data.is_empty());
        let mut data_in_pdus = 0;
        if let Some(bytes) = &data {
            data_in_pdus = self.agreed.data_in.count(bytes.len() as u32);
            self.counters.data_in_pdus += u64::from(data_in_pdus);
            // With GOOD, the status goes with the last data (RFC 7143 11.7.3); a second residual has no place there.
            let is_plain = outcome.status == Status::GOOD && outcome.sense.is_none();
            let collapses = is_plain && !finished.bidirectional;
            self.write_data_in(writer, &finished, &outcome, bytes, collapses);
            if collapses {
                self.counters.phase_collapses += 1;
                return data;
            }
        }
        let mut room = [0; SENSE_SEGMENT_BYTES];
        let segment = sense_segment(&outcome, &mut room);
        let response = self.scsi_response(&finished, &outcome, data_in_pdus);
        writer.put(&response.encode(segment.len() as u32), &[segment]);
        data
    }

    fn write_data_in(
        &mut self,
        writer: &mut Writer<'_>,
        finished: &Ended,
        outcome: &Outcome,
        data: &Buf,
        collapses: bool,
    ) {
        for cut in self.agreed.data_in.cuts(data.len() as u32) {
            let mut pdu = DataIn {
                is_final: cut.is_final,
                initiator_task_tag: finished.initiator_task_tag,
                target_transfer_tag: RESERVED_TAG,
                data_sn: Sn(cut.data_sn),
                buffer_offset: cut.offset,
                ..DataIn::default()
            };
            let mut numbers = self.numbers();
            // StatSN has no meaning without S, and is zero then.
            numbers.stat_sn = Sn(0);
            if collapses && cut.is_last {
                numbers = self.next_numbers();
                pdu.has_status = true;
                (pdu.overflow, pdu.underflow, pdu.residual_count) = flags(outcome.data_in_residual);
            }
            let bhs = numbered!(pdu, numbers).encode(cut.len);
            writer.put_reference(&bhs, data, cut.offset as usize, cut.len as usize);
        }
    }
}
