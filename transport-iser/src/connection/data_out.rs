//! How the Data-Out Buffer of one command comes in: immediate and unsolicited data first, then what R2Ts ask for (RFC 7143 4.2.5,
//! 11.7, 11.8), all of it in order (DataPDUInOrder and DataSequenceInOrder are Yes here).
//!
//! There is one cursor, since nothing may come out of order. What comes before the core asks for it is held; after that every
//! byte goes to the core's own buffer.

use iobuf::Buf;
use target_core::backend::TaskId;

use crate::Sn;
use crate::pdu::{DataOut, R2t, RESERVED_TAG};

/// R2Ts of one command at a time, whatever the initiator allows.
pub(super) const MAX_R2TS: usize = 8;

/// What an R2T has asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Sequence {
    target_transfer_tag: u32,
    end: u32,
    next_data_sn: Sn,
}

/// The core's buffer.
#[derive(Debug)]
struct Pull {
    task: TaskId,
    offset: u32,
    buf: Buf,
}

impl Pull {
    fn end(&self) -> u32 {
        self.offset.saturating_add(self.buf.len() as u32)
    }
}

/// What becomes of a Data-Out PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its data are the next ones.
    Next,
    /// It belongs to nothing that is wanted any more.
    Stale,
    /// It is not the one that has to come now, or not as long.
    OutOfSequence,
}

/// Limits of the session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bursts {
    pub(super) max_burst_length: u32,
    pub(super) max_outstanding_r2t: u16,
}

/// The state of one command's Data-Out Buffer.
#[derive(Debug, Default)]
pub(super) struct DataOutBuffer {
    /// Bytes that came.
    received: u32,
    /// How far unsolicited data may go.
    unsolicited_end: u32,
    /// Unsolicited Data-Out PDUs may still come.
    unsolicited: bool,
    next_unsolicited_sn: Sn,
    /// What came before the core asked.
    held: Option<Buf>,
    /// Some of it was damaged or out of sequence. What still comes goes nowhere (RFC 7143 7.8, 7.9).
    lost: bool,
    pull: Option<Pull>,
    /// How far R2Ts have asked.
    asked: u32,
    next_r2t_sn: Sn,
    sequences: [Sequence; MAX_R2TS],
    outstanding: usize,
}

impl DataOutBuffer {
    /// Unsolicited data may come up to `end`, in Data-Out PDUs too when `pdus_follow`; they are held in `held` until the core asks.
    pub(super) fn expect_unsolicited(&mut self, end: u32, pdus_follow: bool, held: Option<Buf>) {
        self.unsolicited_end = end;
        self.unsolicited = pdus_follow;
        self.held = held;
    }

    /// Nothing came, and nothing is wanted.
    pub(super) fn clear(&mut self) {
        let Self {
            received,
            unsolicited_end,
            unsolicited,
            next_unsolicited_sn,
            held,
            lost,
            pull,
            asked,
            next_r2t_sn,
            // Beyond the count of those that are outstanding they mean nothing.
            sequences: _,
            outstanding,
        } = self;
        (*received, *unsolicited_end, *asked, *outstanding) = (0, 0, 0, 0);
        (*unsolicited, *lost) = (false, false);
        (*next_unsolicited_sn, *next_r2t_sn) = (Sn(0), Sn(0));
        (*held, *pull) = (None, None);
    }

    /// Bytes that came so far.
    pub(super) fn received(&self) -> u32 {
        self.received
    }

    /// R2Ts that were made so far; they count with the Data-In PDUs in ExpDataSN.
    pub(super) fn r2t_count(&self) -> u32 {
        self.next_r2t_sn.0
    }

    /// The whole Data-Out Buffer of `len` bytes, if it came with the command.
    pub(super) fn take_whole(&mut self, len: u32) -> Option<Buf> {
        if self.received != len || self.unsolicited {
            return None;
        }
        let mut held = self.held.take()?;
        held.truncate(len as usize);
        Some(held)
    }

    /// Takes the next bytes, in order.
    pub(super) fn store(&mut self, bytes: &[u8]) {
        let at = self.received;
        // What the core has not asked for yet is held beside what it has, for as long as there is such a rest.
        if let Some(held) = &mut self.held {
            put(held, 0, at, bytes);
        }
        if let Some(pull) = &mut self.pull {
            put(&mut pull.buf, pull.offset, at, bytes);
        }
        self.received = at.saturating_add(bytes.len() as u32);
    }

    /// The core asks. What is held goes to its buffer.
    pub(super) fn ask(&mut self, task: TaskId, offset: u32, mut buf: Buf) {
        let end = offset.saturating_add(buf.len() as u32);
        if let Some(held) = &self.held {
            let here = held.get(..held.len().min(self.received as usize));
            put(&mut buf, offset, 0, here.unwrap_or(&[]));
        }
        if self.unsolicited_end <= end {
            self.held = None;
        }
        self.pull = Some(Pull { task, offset, buf });
    }

    /// The core's buffer, once it is full.
    pub(super) fn take_full(&mut self) -> Option<(TaskId, Buf)> {
        self.pull
            .take_if(|pull| pull.end() <= self.received)
            .map(|pull| (pull.task, pull.buf))
    }

    /// What is still missing in the core's buffer: its offset and the buffer cut to it. Only when no unsolicited data can
    /// come any more. (For a datamover that fetches by itself.)
    pub(super) fn take_missing(&mut self) -> Option<(TaskId, u32, Buf)> {
        if self.unsolicited {
            return None;
        }
        let mut pull = self.pull.take()?;
        let here = self.received.saturating_sub(pull.offset);
        pull.buf.advance(here as usize);
        Some((pull.task, pull.offset.saturating_add(here), pull.buf))
    }

    /// The next R2T, without the numbers that are the connection's. `tag_base` makes the Target Transfer Tag, together with the
    /// low byte of R2TSN in its bits 16 to 23.
    pub(super) fn next_r2t(&mut self, bursts: Bursts, tag_base: u32) -> Option<R2t> {
        let pull_end = self.pull.as_ref()?.end();
        let limit = usize::from(bursts.max_outstanding_r2t).min(MAX_R2TS);
        let begin = self.asked.max(self.received);
        if self.unsolicited || self.outstanding >= limit || begin >= pull_end {
            return None;
        }
        let len = (pull_end - begin).min(bursts.max_burst_length.max(1));
        let r2t_sn = self.next_r2t_sn;
        let target_transfer_tag = tag_base | (r2t_sn.0 & 0xff) << 16;
        let sequence = self.sequences.get_mut(self.outstanding)?;
        *sequence = Sequence {
            target_transfer_tag,
            end: begin + len,
            next_data_sn: Sn(0),
        };
        self.outstanding += 1;
        self.asked = begin + len;
        self.next_r2t_sn = r2t_sn.plus(1);
        Some(R2t {
            target_transfer_tag,
            r2t_sn,
            buffer_offset: begin,
            desired_data_transfer_length: len,
            ..R2t::default()
        })
    }

    /// Judges a Data-Out PDU before its data are taken.
    pub(super) fn begin_pdu(&mut self, pdu: &DataOut, len: u32) -> Verdict {
        let solicited = pdu.target_transfer_tag != RESERVED_TAG;
        let (data_sn, end) = match solicited {
            false if !self.unsolicited => return Verdict::Stale,
            false => (&mut self.next_unsolicited_sn, self.unsolicited_end),
            true => {
                let tag = pdu.target_transfer_tag;
                let first = self.sequences.first_mut().filter(|_| self.outstanding > 0);
                let Some(first) = first.filter(|first| first.target_transfer_tag == tag) else {
                    return Verdict::Stale;
                };
                (&mut first.next_data_sn, first.end)
            }
        };
        if self.lost {
            return Verdict::Stale;
        }
        let room = end.saturating_sub(self.received);
        // A solicited sequence is over exactly when all that was asked for is here.
        let ends_as_asked = !solicited || (len == room) == pdu.is_final;
        let is_next = pdu.data_sn == *data_sn && pdu.buffer_offset == self.received;
        if !is_next || len > room || !ends_as_asked {
            return Verdict::OutOfSequence;
        }
        *data_sn = data_sn.plus(1);
        Verdict::Next
    }

    /// Some of the data do not come. The core's task, if it waits for them.
    pub(super) fn lose(&mut self) -> Option<TaskId> {
        self.lost = true;
        self.held = None;
        self.pull.take().map(|pull| pull.task)
    }

    /// True when some of the data do not come.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// The data of a Data-Out PDU are all here.
    pub(super) fn end_pdu(&mut self, pdu: &DataOut) {
        if !pdu.is_final {
            return;
        }
        if pdu.target_transfer_tag == RESERVED_TAG {
            self.unsolicited = false;
        } else {
            self.sequences.rotate_left(1);
            self.outstanding = self.outstanding.saturating_sub(1);
        }
    }
}

/// Copies the part of `bytes`, which begin at `at` of the Data-Out Buffer, that has its place in `buf`, which begins at `offset`.
fn put(buf: &mut Buf, offset: u32, at: u32, bytes: &[u8]) {
    let skipped = offset.saturating_sub(at) as usize;
    let bytes = bytes.get(skipped..).unwrap_or(&[]);
    let room = buf.get_mut(at.saturating_sub(offset) as usize..);
    let room = room.unwrap_or_default();
    let count = room.len().min(bytes.len());
    room[..count].copy_from_slice(&bytes[..count]);
}
