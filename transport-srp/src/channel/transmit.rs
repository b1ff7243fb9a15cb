//! What is posted on the queue pair, made when the driver asks for it.

use iobuf::{Buf, RemoteSegment};
use target_core::command::{ExchangeId, Outcome};
use target_core::port::Transmit;

use super::Channel;
use super::outbox::{self, MESSAGE_BYTES, Message};
use crate::credit;
use crate::data;
use crate::wire::{CredReq, Iu, TLogout};

impl Channel {
    pub(super) fn transmit_pull(
        &mut self,
        exchange: ExchangeId,
        offset: u32,
        buf: Buf,
    ) -> Option<Transmit<'_>> {
        self.posted.clear();
        let slot = self.exchanges.get_mut(exchange)?;
        let data_out = slot.segments.get(..slot.data_out_segments)?;
        data::cut(data_out, offset, buf.len(), &mut self.posted);
        Some(Transmit::Pull {
            exchange,
            buf,
            segments: &self.posted,
        })
    }

    pub(super) fn transmit_fetch(
        &mut self,
        exchange: ExchangeId,
        missing: RemoteSegment,
        buf: Buf,
    ) -> Transmit<'_> {
        self.posted.clear();
        self.posted.push(missing);
        Transmit::Pull {
            exchange,
            buf,
            segments: &self.posted,
        }
    }

    pub(super) fn transmit_message(&mut self, message: Message, buf: Buf) -> Transmit<'_> {
        match message {
            Message::Response { exchange, outcome } => {
                self.transmit_response(exchange, outcome, buf)
            }
            Message::TaskManagementResponse { exchange, code } => {
                let Finished { tag, delta, .. } = self.finish(exchange);
                send(outbox::task_management_response(tag, delta, code, buf))
            }
            Message::Logout(reason) => {
                let (sol_not, tag) = (0, 0);
                let logout = TLogout {
                    sol_not,
                    reason,
                    tag,
                };
                send(outbox::emit(buf, |out| Iu::TLogout(logout).emit(out)))
            }
        }
    }

    fn transmit_response(
        &mut self,
        exchange: ExchangeId,
        outcome: Outcome,
        buf: Buf,
    ) -> Transmit<'_> {
        let Finished {
            tag,
            delta,
            data_out_segments,
        } = self.finish(exchange);
        let message = outbox::response(tag, delta, &outcome, buf);
        let data = outcome.data_in.filter(|data| !data.is_empty());
        let data_in = self.posted.get(data_out_segments..).unwrap_or(&[]);
        let count = data::covering(data_in, data.as_ref().map_or(0, Buf::len));
        Transmit::Respond {
            data,
            segments: &data_in[..count],
            message,
            invalidate: None,
        }
    }

    /// Ends an exchange with its response: its segments are the ones to post, its credit is the
    /// first granted.
    #[inline]
    fn finish(&mut self, exchange: ExchangeId) -> Finished {
        let (mut tag, mut data_out_segments) = (0, 0);
        if let Some(slot) = self.exchanges.get_mut(exchange) {
            (tag, data_out_segments) = (slot.tag, slot.data_out_segments);
            std::mem::swap(&mut slot.segments, &mut self.posted);
        }
        self.end_exchange(exchange);
        self.counters.responses += 1;
        Finished {
            tag,
            delta: self.credit.grant(),
            data_out_segments,
        }
    }

    pub(super) fn transmit_offer(&mut self) -> Option<Transmit<'_>> {
        if !self.owes_offer() {
            return None;
        }
        let buf = self.messages.take(MESSAGE_BYTES)?;
        let offer = self.credit.offer()?;
        self.counters.credit_requests += 1;
        let request = CredReq {
            sol_not: 0,
            request_limit_delta: credit::delta(offer.credits),
            tag: offer.tag,
        };
        Some(send(outbox::emit(buf, |out| {
            Iu::CredReq(request).emit(out)
        })))
    }
}

/// What a response needs of the exchange that it ends.
struct Finished {
    tag: u64,
    /// REQUEST LIMIT DELTA.
    delta: i32,
    data_out_segments: usize,
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
