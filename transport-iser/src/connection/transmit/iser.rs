//! Over iSER: data by RDMA WRITE and RDMA READ, and a SEND for each PDU.

use iobuf::{Buf, RemoteSegment};
use target_core::command::{ExchangeId, Outcome};
use target_core::port::Transmit;

use super::{SENSE_SEGMENT_BYTES, sense_segment};
use crate::connection::Connection;
use crate::connection::exchange::Ended;
use crate::connection::outbox::Outgoing;
use crate::iser::{HEADER_BYTES, Header, Stag};
use crate::pdu::{BHS_BYTES, Bhs};

/// What stands before the data segment of a message.
const HEAD_BYTES: usize = HEADER_BYTES + BHS_BYTES;

impl Connection {
    pub(in crate::connection) fn transmit_messages(&mut self) -> Option<Transmit<'_>> {
        // A message keeps its place until there is a buffer for it.
        let data_segment = match self.outbox.front()? {
            Outgoing::Pull { .. } => None,
            Outgoing::Control(_, data) => Some(data.len()),
            _ => Some(SENSE_SEGMENT_BYTES),
        };
        let message = match data_segment {
            Some(len) => Some(self.take_message(HEAD_BYTES + len)?),
            None => None,
        };
        match (self.outbox.pop_front()?, message) {
            (
                Outgoing::Pull {
                    exchange,
                    offset,
                    buf,
                },
                _,
            ) => self.transmit_pull(exchange, offset, buf),
            (Outgoing::Response { exchange, outcome }, Some(message)) => {
                self.transmit_response(exchange, outcome, message)
            }
            (Outgoing::Control(control, data), Some(message)) => {
                let bhs = self.control_bhs(control, &data);
                Some(send(emit(message, &bhs, &data)))
            }
            _ => None,
        }
    }

    fn transmit_pull(
        &mut self,
        exchange: ExchangeId,
        offset: u32,
        buf: Buf,
    ) -> Option<Transmit<'_>> {
        let slot = self.exchanges.get(exchange)?;
        let stag = slot.write_stag?;
        let begin = u64::from(offset.saturating_sub(slot.write_stag_begin));
        self.segments.clear();
        self.segments.push(segment(stag, begin, buf.len()));
        Some(Transmit::Pull {
            exchange,
            buf,
            segments: &self.segments,
        })
    }

    fn transmit_response(
        &mut self,
        exchange: ExchangeId,
        mut outcome: Outcome,
        message: Buf,
    ) -> Option<Transmit<'_>> {
        let finished = self.end_exchange(exchange)?;
        let data = outcome.data_in.take().filter(|data| !data.is_empty());
        self.segments.clear();
        // A command with data to read has been refused when it had no STag for them.
        let data = data.zip(finished.read_stag).map(|(data, stag)| {
            self.segments.push(segment(stag, 0, data.len()));
            data
        });
        let mut room = [0; SENSE_SEGMENT_BYTES];
        let sense = sense_segment(&outcome, &mut room);
        let response = self.scsi_response(&finished, &outcome, 0);
        let message = emit(message, &response.encode(sense.len() as u32), sense);
        Some(Transmit::Respond {
            data,
            segments: &self.segments,
            message,
            invalidate: self.invalidates.then(|| key(&finished)).flatten(),
        })
    }
}

/// The handle that the initiator expects to find invalidated: of the Data-In Buffer, or else of the Data-Out Buffer.
fn key(finished: &Ended) -> Option<u32> {
    let stag = finished.read_stag.or(finished.write_stag)?;
    Some(stag.key)
}

fn segment(stag: Stag, begin: u64, len: usize) -> RemoteSegment {
    RemoteSegment {
        address: stag.address.wrapping_add(begin),
        key: stag.key,
        length: len as u32,
    }
}

/// iSER header, basic header and data segment.
fn emit(mut message: Buf, bhs: &Bhs, data: &[u8]) -> Buf {
    let parts = [&Header::CONTROL.encode()[..], bhs, data];
    let mut rest = &mut message[..];
    for part in parts {
        let (here, after) = rest.split_at_mut(part.len().min(rest.len()));
        here.copy_from_slice(&part[..here.len()]);
        rest = after;
    }
    message.truncate(HEAD_BYTES + data.len());
    message
}

/// A message without data.
fn send(message: Buf) -> Transmit<'static> {
    Transmit::Respond {
        data: None,
        segments: &[],
        message,
        invalidate: None,
    }
}
