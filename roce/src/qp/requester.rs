//! The sending half of an RC queue pair: send queue, window, retries (IBTA 9.7.2 to 9.7.6).
//!
//! Packet numbers are given at posting, one per packet of the message, or per expected response packet of an RDMA
//! READ. Three numbers describe the state: `unacked` is the oldest packet that the peer has not acknowledged,
//! `send` the next one to emit, `highest` one past the last that was ever emitted. Going back (go-back-N) means
//! `send = unacked`.
//!
//! An RDMA READ is cut into wire requests of `read_chunk` packets, so that a long READ cannot flood a small
//! receive buffer. On the wire they are separate READs with consecutive numbers, which any responder takes; a
//! retry asks for the rest of the chunk only.

use std::collections::VecDeque;

use crate::memory::{Access, Keys, Memory, Pd};
use crate::packet::{
    Aeth, Extension, Family, Nak, Opcode, Packet, Position, Reth, Syndrome, rnr_timer_us,
    timeout_us,
};
use crate::psn::Psn;
use crate::qp::{Emission, Report, RtsAttributes, Tuning, scatter};
use crate::work::{
    Completion, CompletionKind, Operation, PostError, Remote, Segments, SendRequest, Status,
    checked_length,
};

/// An RNR retry count of 7 means "for ever" (IBTA 9.7.5.2.8).
const RNR_RETRY_INFINITE: u8 = 7;

/// A send work request on its way.
#[derive(Debug)]
struct SendWqe {
    wr_id: u64,
    operation: Operation,
    segments: Segments,
    length: u32,
    first_psn: Psn,
    packets: u32,
    signaled: bool,
    fence: bool,
    solicited: bool,
}

impl SendWqe {
    /// One past its last packet number.
    fn end(&self) -> Psn {
        self.first_psn.add(self.packets)
    }

    fn read_source(&self) -> Option<Remote> {
        match self.operation {
            Operation::Read(remote) => Some(remote),
            _ => None,
        }
    }

    fn is_read(&self) -> bool {
        self.read_source().is_some()
    }

    fn completion_kind(&self) -> CompletionKind {
        match self.operation {
            Operation::Send
            | Operation::SendWithImmediate(_)
            | Operation::SendWithInvalidate(_) => CompletionKind::Send,
            Operation::Write(_) | Operation::WriteWithImmediate(..) => CompletionKind::Write,
            Operation::Read(_) => CompletionKind::Read,
        }
    }

    fn complete(&self, status: Status, report: &mut Report<'_>) {
        if !self.signaled && status == Status::Success {
            return;
        }
        report.completions.push_back(Completion {
            qp: report.qp,
            wr_id: self.wr_id,
            kind: self.completion_kind(),
            status,
            length: self.length,
            immediate: None,
            invalidated: None,
            solicited: false,
        });
    }
}

/// How far an acknowledge carried.
#[derive(PartialEq, Eq)]
enum Advance {
    /// To where it pointed.
    Whole,
    /// Only to an RDMA READ whose responses have not all come.
    Blocked,
}

/// The send queue of one queue pair.
#[derive(Debug)]
pub(crate) struct Requester {
    pd: Pd,
    mtu: u32,
    tuning: Tuning,
    attributes: RtsAttributes,
    capacity: usize,
    queue: VecDeque<SendWqe>,
    /// Index in `queue` of the request that `send` belongs to.
    cursor: usize,
    next_psn: Psn,
    unacked: Psn,
    send: Psn,
    highest: Psn,
    since_ack_request: u32,
    retries_left: u8,
    rnr_retries_left: u8,
    /// A gap at `unacked` was answered by going back already; the rest of the old stream shows it again and again.
    went_back: bool,
    ack_deadline_us: Option<u64>,
    rnr_until_us: Option<u64>,
}

impl Requester {
    pub(crate) fn new(pd: Pd, capacity: usize, tuning: Tuning) -> Self {
        Self {
            pd,
            mtu: 256,
            tuning,
            attributes: RtsAttributes::default(),
            capacity,
            queue: VecDeque::new(),
            cursor: 0,
            next_psn: Psn::default(),
            unacked: Psn::default(),
            send: Psn::default(),
            highest: Psn::default(),
            since_ack_request: 0,
            retries_left: 0,
            rnr_retries_left: 0,
            went_back: false,
            ack_deadline_us: None,
            rnr_until_us: None,
        }
    }

    /// RTR to RTS.
    pub(crate) fn start(&mut self, mtu: u32, attributes: RtsAttributes) {
        self.mtu = mtu;
        self.attributes = attributes;
        let psn = attributes.starting_psn;
        (self.next_psn, self.unacked, self.send, self.highest) = (psn, psn, psn, psn);
        self.restore_retries();
    }

    /// Takes a work request.
    pub(crate) fn post(&mut self, request: &SendRequest<'_>, keys: &Keys) -> Result<(), PostError> {
        if self.queue.len() >= self.capacity {
            return Err(PostError::Full(self.capacity));
        }
        let length = checked_length(request.sges)?;
        let wanted = match request.operation {
            Operation::Read(_) => Access::LOCAL_WRITE,
            _ => Access::LOCAL_READ,
        };
        let packets = length.div_ceil(self.mtu).max(1);
        self.queue.push_back(SendWqe {
            wr_id: request.wr_id,
            operation: request.operation,
            segments: keys.resolve_list(self.pd, request.sges, wanted)?,
            length,
            first_psn: self.next_psn,
            packets,
            signaled: request.signaled,
            fence: request.fence,
            solicited: request.solicited,
        });
        self.next_psn = self.next_psn.add(packets);
        Ok(())
    }

    /// True when nothing is on its way that was begun.
    pub(crate) fn is_drained(&self) -> bool {
        self.unacked == self.highest
    }

    /// Work requests that are not completed.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The next packet, if window, fence, READ depth and timers allow one. With `draining` no new message begins.
    pub(crate) fn poll(&mut self, draining: bool, now_us: u64) -> Option<Emission> {
        let wqe = self.queue.get(self.cursor)?;
        if self.rnr_until_us.is_some() || self.send.since(self.unacked) >= self.tuning.window {
            return None;
        }
        let begins = self.send == wqe.first_psn;
        if begins && (draining && self.send == self.highest || wqe.fence && self.reads() > 0) {
            return None;
        }
        let emission = match wqe.read_source() {
            Some(source) => self.read_request(source)?,
            None => self.data_packet()?,
        };
        self.finish_emission(now_us);
        Some(emission)
    }

    fn finish_emission(&mut self, now_us: u64) {
        let at_end = self
            .queue
            .get(self.cursor)
            .is_some_and(|wqe| wqe.end() == self.send);
        self.cursor += usize::from(at_end);
        if self.send.distance(self.highest) > 0 {
            self.highest = self.send;
        }
        if self.ack_deadline_us.is_none() {
            self.arm(now_us);
        }
    }

    /// One wire request: from `send` to the end of its chunk.
    fn read_request(&mut self, source: Remote) -> Option<Emission> {
        if self.reads() >= u32::from(self.attributes.initiator_depth) {
            return None;
        }
        let wqe = self.queue.get(self.cursor)?;
        let index = self.send.since(wqe.first_psn);
        let end = ((index / self.tuning.read_chunk + 1) * self.tuning.read_chunk).min(wqe.packets);
        let skip = index * self.mtu;
        let length = end.saturating_mul(self.mtu).min(wqe.length) - skip;
        let extension = Extension {
            reth: Some(reth(source, skip, length)),
            ..Extension::default()
        };
        let emission = Emission {
            opcode: Opcode::RC_RDMA_READ_REQUEST,
            psn: self.send,
            ack_request: true,
            solicited: false,
            extension,
            payload: Segments::default(),
        };
        self.send = self.send.add(end - index);
        Some(emission)
    }

    /// One packet of a SEND or RDMA WRITE.
    fn data_packet(&mut self) -> Option<Emission> {
        let more = self.cursor + 1 < self.queue.len();
        let wqe = self.queue.get(self.cursor)?;
        let index = self.send.since(wqe.first_psn);
        let position = Position::of(index, wqe.packets);
        let skip = index * self.mtu;
        let (opcode, mut extension) = opcode(wqe.operation, position);
        if let (true, Some(remote)) = (position.starts(), written(wqe.operation)) {
            extension.reth = Some(reth(remote, 0, wqe.length));
        }
        let wants_ack = position.ends() && (wqe.signaled || !more);
        let ack_request = wants_ack || self.since_ack_request >= self.tuning.ack_interval;
        let wakes = extension.immediate.is_some() || written(wqe.operation).is_none();
        let emission = Emission {
            opcode,
            psn: self.send,
            ack_request,
            solicited: wqe.solicited && position.ends() && wakes,
            extension,
            payload: wqe.segments.cut(skip, self.mtu),
        };
        self.since_ack_request = if ack_request {
            0
        } else {
            self.since_ack_request + 1
        };
        self.send = self.send.next();
        Some(emission)
    }

    /// Wire READ requests between `unacked` and `send`.
    fn reads(&self) -> u32 {
        let sent = self.send.since(self.unacked);
        let begun = self
            .queue
            .iter()
            .take(self.cursor + 1)
            .filter(|wqe| wqe.is_read());
        begun.map(|wqe| self.chunks_between(wqe, sent)).sum()
    }

    fn chunks_between(&self, wqe: &SendWqe, sent: u32) -> u32 {
        let before = wqe.first_psn.distance(self.unacked);
        let first = if before < 0 { before.unsigned_abs() } else { 0 };
        let last = sent.saturating_sub(before.max(0).unsigned_abs()) + first;
        let last = last.min(wqe.packets);
        if last <= first {
            return 0;
        }
        (last - 1) / self.tuning.read_chunk - first / self.tuning.read_chunk + 1
    }

    /// An ACK or NAK. An error is how the oldest request ends, and with it the queue pair.
    pub(crate) fn handle_acknowledge(
        &mut self,
        psn: Psn,
        aeth: Aeth,
        now_us: u64,
        report: &mut Report<'_>,
    ) -> Result<(), Status> {
        if !self.is_outstanding(psn) {
            report.statistics.stale_responses += 1;
            return Ok(());
        }
        match aeth.syndrome {
            Syndrome::Ack(_) => match self.advance(psn.next(), now_us, report) {
                Advance::Whole => Ok(()),
                Advance::Blocked => self.handle_gap(report),
            },
            Syndrome::RnrNak(timer) => self.handle_rnr(psn, timer, now_us, report),
            Syndrome::Nak(nak) => {
                self.advance(psn, now_us, report);
                match nak {
                    Nak::Sequence => self.handle_gap(report),
                    Nak::InvalidRequest => Err(Status::RemoteInvalidRequestError),
                    Nak::RemoteAccess => Err(Status::RemoteAccessError),
                    Nak::RemoteOperational | Nak::Other(_) => Err(Status::RemoteOperationError),
                }
            }
            Syndrome::Reserved(_) => {
                report.statistics.bad_responses += 1;
                Ok(())
            }
        }
    }

    /// A packet of an RDMA READ response, which also acknowledges everything before it.
    pub(crate) fn handle_read_response<M: Memory + ?Sized>(
        &mut self,
        packet: &Packet<'_>,
        memory: &mut M,
        now_us: u64,
        report: &mut Report<'_>,
    ) -> Result<(), Status> {
        debug_assert_eq!(packet.shape.family, Family::ReadResponse);
        let psn = packet.bth.psn;
        if !self.is_outstanding(psn) {
            report.statistics.stale_responses += 1;
            return Ok(());
        }
        if self.advance(psn, now_us, report) == Advance::Blocked {
            return self.handle_gap(report);
        }
        let Some(wqe) = self.queue.front().filter(|wqe| wqe.is_read()) else {
            report.statistics.bad_responses += 1;
            return Ok(());
        };
        let skip = psn.since(wqe.first_psn) * self.mtu;
        let place = wqe.segments.cut(skip, self.mtu);
        if usize::try_from(place.length()) != Ok(packet.payload.len()) {
            report.statistics.bad_responses += 1;
            return Ok(());
        }
        scatter(memory, &place, packet.payload).ok_or(Status::LocalProtectionError)?;
        self.unacked = psn.next();
        self.complete_front(report);
        self.settle(now_us);
        Ok(())
    }

    fn is_outstanding(&self, psn: Psn) -> bool {
        psn.since(self.unacked) < self.highest.since(self.unacked)
    }

    /// Everything before `upto` has arrived, except for what READs are waiting for.
    fn advance(&mut self, upto: Psn, now_us: u64, report: &mut Report<'_>) -> Advance {
        let before = self.unacked;
        let mut advance = Advance::Whole;
        while self.unacked != upto {
            let Some(wqe) = self.queue.front().filter(|wqe| !wqe.is_read()) else {
                advance = Advance::Blocked;
                break;
            };
            let left = wqe.end().since(self.unacked);
            let step = left.min(upto.since(self.unacked));
            self.unacked = self.unacked.add(step);
            self.complete_front(report);
        }
        if self.unacked != before {
            self.settle(now_us);
        }
        advance
    }

    /// Completes the oldest request if all of it is acknowledged.
    fn complete_front(&mut self, report: &mut Report<'_>) {
        if self
            .queue
            .front()
            .is_none_or(|wqe| wqe.end() != self.unacked)
        {
            return;
        }
        if let Some(wqe) = self.queue.pop_front() {
            wqe.complete(Status::Success, report);
            self.cursor = self.cursor.saturating_sub(1);
        }
    }

    /// After progress: retries are whole again, the timer starts anew, and nothing that arrived is sent again.
    fn settle(&mut self, now_us: u64) {
        if self.send.distance(self.unacked) < 0 {
            self.send = self.unacked;
            self.cursor = 0;
        }
        self.restore_retries();
        self.ack_deadline_us = None;
        if !self.is_drained() {
            self.arm(now_us);
        }
    }

    fn restore_retries(&mut self) {
        self.retries_left = self.attributes.retry_count;
        self.rnr_retries_left = self.attributes.rnr_retry;
        self.went_back = false;
    }

    /// The wait doubles with every retry, so that a short timeout mends a loss fast and still outlives a peer that
    /// stands still for seconds.
    fn arm(&mut self, now_us: u64) {
        let tried = self
            .attributes
            .retry_count
            .saturating_sub(self.retries_left);
        let wait = timeout_us(self.attributes.timeout);
        self.ack_deadline_us = wait.map(|wait| now_us.saturating_add(wait << tried.min(7)));
    }

    fn handle_gap(&mut self, report: &mut Report<'_>) -> Result<(), Status> {
        report.statistics.sequence_naks_received += 1;
        if self.went_back {
            return Ok(());
        }
        self.went_back = true;
        self.retry(report)
    }

    fn handle_rnr(
        &mut self,
        psn: Psn,
        timer: u8,
        now_us: u64,
        report: &mut Report<'_>,
    ) -> Result<(), Status> {
        report.statistics.rnr_naks_received += 1;
        self.advance(psn, now_us, report);
        if self.rnr_retries_left == 0 {
            return Err(Status::RnrRetryExceeded);
        }
        if self.rnr_retries_left != RNR_RETRY_INFINITE {
            self.rnr_retries_left -= 1;
        }
        self.go_back(report);
        self.ack_deadline_us = None;
        self.rnr_until_us = Some(now_us + rnr_timer_us(timer));
        Ok(())
    }

    fn retry(&mut self, report: &mut Report<'_>) -> Result<(), Status> {
        self.retries_left = self
            .retries_left
            .checked_sub(1)
            .ok_or(Status::TransportRetryExceeded)?;
        self.go_back(report);
        Ok(())
    }

    /// The first packet sent again asks for an acknowledge: if only that was lost, one packet mends it.
    fn go_back(&mut self, report: &mut Report<'_>) {
        report.statistics.retries += 1;
        self.send = self.unacked;
        self.cursor = 0;
        self.since_ack_request = self.tuning.ack_interval;
    }

    /// When [`Requester::handle_timeout`] is due.
    pub(crate) fn deadline_us(&self) -> Option<u64> {
        self.rnr_until_us.or(self.ack_deadline_us)
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(
        &mut self,
        now_us: u64,
        report: &mut Report<'_>,
    ) -> Result<(), Status> {
        if self.rnr_until_us.is_some_and(|until| until <= now_us) {
            self.rnr_until_us = None;
            return Ok(());
        }
        if self
            .ack_deadline_us
            .is_none_or(|deadline| deadline > now_us)
        {
            return Ok(());
        }
        report.statistics.timeouts += 1;
        self.went_back = false;
        self.retry(report)?;
        self.arm(now_us);
        Ok(())
    }

    /// The queue pair failed: the oldest request ends with `status` if there is one to blame, the others are flushed.
    pub(crate) fn flush(&mut self, status: Option<Status>, report: &mut Report<'_>) {
        let mut blame = status;
        for wqe in self.queue.drain(..) {
            wqe.complete(blame.take().unwrap_or(Status::Flushed), report);
        }
        self.cursor = 0;
        (self.unacked, self.send, self.highest) = (self.next_psn, self.next_psn, self.next_psn);
        self.ack_deadline_us = None;
        self.rnr_until_us = None;
    }
}

fn written(operation: Operation) -> Option<Remote> {
    match operation {
        Operation::Write(remote) | Operation::WriteWithImmediate(remote, _) => Some(remote),
        _ => None,
    }
}

fn reth(remote: Remote, skip: u32, length: u32) -> Reth {
    Reth {
        address: remote.address.wrapping_add(u64::from(skip)),
        key: remote.key.0,
        length,
    }
}

/// Opcode and what comes at the end of a SEND or RDMA WRITE.
fn opcode(operation: Operation, position: Position) -> (Opcode, Extension) {
    let mut extension = Extension::default();
    let opcode = match (operation, position) {
        (Operation::Write(_) | Operation::WriteWithImmediate(..), Position::First) => {
            Opcode::RC_RDMA_WRITE_FIRST
        }
        (Operation::Write(_) | Operation::WriteWithImmediate(..), Position::Middle) => {
            Opcode::RC_RDMA_WRITE_MIDDLE
        }
        (Operation::Write(_), Position::Last) => Opcode::RC_RDMA_WRITE_LAST,
        (Operation::Write(_), Position::Only) => Opcode::RC_RDMA_WRITE_ONLY,
        (Operation::WriteWithImmediate(_, immediate), ending) => {
            extension.immediate = Some(immediate);
            match ending {
                Position::Only => Opcode::RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE,
                _ => Opcode::RC_RDMA_WRITE_LAST_WITH_IMMEDIATE,
            }
        }
        (_, Position::First) => Opcode::RC_SEND_FIRST,
        (_, Position::Middle) => Opcode::RC_SEND_MIDDLE,
        (Operation::SendWithImmediate(immediate), ending) => {
            extension.immediate = Some(immediate);
            match ending {
                Position::Only => Opcode::RC_SEND_ONLY_WITH_IMMEDIATE,
                _ => Opcode::RC_SEND_LAST_WITH_IMMEDIATE,
            }
        }
        (Operation::SendWithInvalidate(key), ending) => {
            extension.invalidate = Some(key.0);
            match ending {
                Position::Only => Opcode::RC_SEND_ONLY_WITH_INVALIDATE,
                _ => Opcode::RC_SEND_LAST_WITH_INVALIDATE,
            }
        }
        (_, Position::Last) => Opcode::RC_SEND_LAST,
        (_, Position::Only) => Opcode::RC_SEND_ONLY,
    };
    (opcode, extension)
}
