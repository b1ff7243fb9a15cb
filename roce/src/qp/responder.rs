//! The receiving half of an RC queue pair: requests in order, duplicates, RDMA READ responses, ACKs and NAKs
//! (IBTA 9.7.4, 9.7.5 and the responder's error table 58).
//!
//! Acknowledges are not sent where they arise but kept as the one reply that is due, so that a batch of requests
//! costs one ACK. READ responses leave before the reply, which keeps the order of packet numbers.

use std::collections::VecDeque;

use crate::memory::{Access, Key, Keys, Memory, Pd};
use crate::packet::{Aeth, Extension, Family, Nak, Opcode, Packet, Position, Reth, Syndrome};
use crate::psn::Psn;
use crate::qp::receive::{ReceiveQueue, RecvWqe};
use crate::qp::{Emission, Report, RtrAttributes, scatter};
use crate::work::{Completion, CompletionKind, MAX_MESSAGE_LEN, Segments, Status};

const LOW_24_BITS: u32 = 0x00ff_ffff;

/// A message of several packets in the making.
#[derive(Clone, Copy, Debug)]
enum Message {
    Send { wqe: RecvWqe, filled: u32 },
    Write { to: Write },
}

/// What is left of an RDMA WRITE.
#[derive(Clone, Copy, Debug)]
struct Write {
    key: Key,
    address: u64,
    left: u32,
    length: u32,
}

/// An RDMA READ that was asked for, kept until newer ones push it out so that it can be repeated.
#[derive(Clone, Copy, Debug)]
struct ReadReply {
    first_psn: Psn,
    packets: u32,
    reth: Reth,
    /// Next packet to send.
    next: u32,
    /// One past the last packet to send; nothing is to be sent when `next` is there.
    end: u32,
    /// All of it was on its way before.
    is_repeated: bool,
}

/// The acknowledge that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reply {
    psn: Psn,
    syndrome: Syndrome,
}

/// Why a request is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// No receive buffer: later, please.
    NotReady,
    /// Never. The NAK goes to the peer, the status to the receive that was being filled.
    Fatal(Nak, Status),
}

const INVALID: Refusal = Refusal::Fatal(Nak::InvalidRequest, Status::RemoteInvalidRequestError);
const FORBIDDEN: Refusal = Refusal::Fatal(Nak::RemoteAccess, Status::RemoteAccessError);
const BROKEN: Refusal = Refusal::Fatal(Nak::RemoteOperational, Status::LocalProtectionError);
const TOO_LONG: Refusal = Refusal::Fatal(Nak::InvalidRequest, Status::LocalLengthError);

/// The queue pair is done for: `status` goes to the receive that was being filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fatal {
    pub(crate) status: Status,
}

/// What a request works on.
pub(crate) struct Resources<'a, M: ?Sized> {
    pub(crate) memory: &'a mut M,
    pub(crate) keys: &'a mut Keys,
    pub(crate) receives: &'a mut ReceiveQueue,
}

/// The receiving state of one queue pair.
#[derive(Debug)]
pub(crate) struct Responder {
    pd: Pd,
    access: Access,
    attributes: RtrAttributes,
    expected: Psn,
    msn: u32,
    /// A NAK for the packet at `expected` is out; others behind the gap are dropped in silence.
    nak_sent: bool,
    message: Option<Message>,
    reads: VecDeque<ReadReply>,
    reply: Option<Reply>,
}

impl Responder {
    pub(crate) fn new(pd: Pd, access: Access) -> Self {
        Self {
            pd,
            access,
            attributes: RtrAttributes::default(),
            expected: Psn::default(),
            msn: 0,
            nak_sent: false,
            message: None,
            reads: VecDeque::new(),
            reply: None,
        }
    }

    /// INIT to RTR.
    pub(crate) fn start(&mut self, attributes: RtrAttributes) {
        self.attributes = attributes;
        self.expected = attributes.expected_psn;
    }

    fn mtu(&self) -> u32 {
        self.attributes.path_mtu.bytes()
    }

    /// A request packet of this queue pair's peer.
    pub(crate) fn handle_request<M: Memory + ?Sized>(
        &mut self,
        packet: &Packet<'_>,
        resources: &mut Resources<'_, M>,
        report: &mut Report<'_>,
    ) -> Result<(), Fatal> {
        match packet.bth.psn.distance(self.expected) {
            0 => self.execute(packet, resources, report),
            ahead if ahead > 0 => {
                self.handle_gap(report);
                Ok(())
            }
            _ => {
                self.handle_duplicate(packet, report);
                Ok(())
            }
        }
    }

    fn handle_gap(&mut self, report: &mut Report<'_>) {
        report.statistics.out_of_sequence_requests += 1;
        if self.nak_sent {
            return;
        }
        self.nak_sent = true;
        self.reply = Some(Reply {
            psn: self.expected,
            syndrome: Syndrome::Nak(Nak::Sequence),
        });
    }

    /// SENDs and WRITEs are acknowledged again, up to where this side is; READs are answered again (IBTA 9.7.5.1.5).
    fn handle_duplicate(&mut self, packet: &Packet<'_>, report: &mut Report<'_>) {
        report.statistics.duplicate_requests += 1;
        match (packet.shape.family, packet.extension.reth) {
            (Family::ReadRequest, Some(reth)) => self.repeat_read(packet.bth.psn, reth),
            (Family::Send | Family::Write, _) if self.reply.is_none() => {
                self.reply = Some(Reply {
                    psn: self.expected.previous(),
                    syndrome: Syndrome::ACK,
                });
            }
            _ => {}
        }
    }

    /// The repeated READ must be the old one or the rest of it; anything else is dropped.
    fn repeat_read(&mut self, psn: Psn, reth: Reth) {
        let mtu = self.mtu();
        let old = self
            .reads
            .iter_mut()
            .find(|read| psn.since(read.first_psn) < read.packets);
        let Some(read) = old else { return };
        let index = psn.since(read.first_psn);
        let skip = index * mtu;
        let address = read.reth.address.wrapping_add(u64::from(skip));
        let rest = read.reth.length.saturating_sub(skip);
        if reth.key == read.reth.key && reth.address == address && reth.length <= rest {
            read.next = index;
            read.end = index + reth.length.div_ceil(mtu).max(1);
            read.is_repeated = true;
        }
    }

    fn execute<M: Memory + ?Sized>(
        &mut self,
        packet: &Packet<'_>,
        resources: &mut Resources<'_, M>,
        report: &mut Report<'_>,
    ) -> Result<(), Fatal> {
        let done = self.check(packet).and_then(|()| match packet.shape.family {
            Family::Send => self.handle_send(packet, resources, report),
            Family::Write => self.handle_write(packet, resources, report),
            Family::ReadRequest => self.handle_read(packet, resources.keys),
            _ => Err(INVALID),
        });
        match done {
            Ok(()) => {
                self.nak_sent = false;
                Ok(())
            }
            Err(Refusal::NotReady) => {
                self.reply_not_ready(packet.bth.psn, report);
                Ok(())
            }
            Err(Refusal::Fatal(nak, status)) => {
                report.statistics.refused_requests += 1;
                self.reply = Some(Reply {
                    psn: packet.bth.psn,
                    syndrome: Syndrome::Nak(nak),
                });
                Err(Fatal { status })
            }
        }
    }

    fn reply_not_ready(&mut self, psn: Psn, report: &mut Report<'_>) {
        report.statistics.rnr_naks_sent += 1;
        self.nak_sent = true;
        self.reply = Some(Reply {
            psn,
            syndrome: Syndrome::RnrNak(self.attributes.min_rnr_timer),
        });
    }

    /// The packet fits the message in the making, and its length its place there.
    fn check(&self, packet: &Packet<'_>) -> Result<(), Refusal> {
        let position = packet.shape.position;
        let fits = match self.message {
            None => position.starts(),
            Some(Message::Send { .. }) => packet.shape.family == Family::Send && !position.starts(),
            Some(Message::Write { .. }) => {
                packet.shape.family == Family::Write && !position.starts()
            }
        };
        let length = payload_len(packet);
        let mtu = self.mtu();
        let long_enough = match position {
            Position::First | Position::Middle => length == mtu,
            Position::Last => length != 0 && length <= mtu,
            Position::Only => length <= mtu,
        };
        if fits && long_enough {
            Ok(())
        } else {
            Err(INVALID)
        }
    }

    fn handle_send<M: Memory + ?Sized>(
        &mut self,
        packet: &Packet<'_>,
        resources: &mut Resources<'_, M>,
        report: &mut Report<'_>,
    ) -> Result<(), Refusal> {
        let (wqe, filled) = match self.message {
            Some(Message::Send { wqe, filled }) => (wqe, filled),
            _ => (resources.receives.take().ok_or(Refusal::NotReady)?, 0),
        };
        self.message = Some(Message::Send { wqe, filled });
        let length = payload_len(packet);
        if length > wqe.length - filled {
            return Err(TOO_LONG);
        }
        let place = wqe.segments.cut(filled, length);
        scatter(resources.memory, &place, packet.payload).ok_or(BROKEN)?;
        let filled = filled + length;
        if !packet.shape.position.ends() {
            self.message = Some(Message::Send { wqe, filled });
            self.accept(packet);
            return Ok(());
        }
        let invalidated = packet.extension.invalidate.map(Key);
        if let Some(key) = invalidated {
            let invalid = resources.keys.invalidate_remotely(self.pd, key);
            invalid.map_err(|_| FORBIDDEN)?;
        }
        self.message = None;
        let kind = CompletionKind::Recv;
        receive_completion(packet, &wqe, kind, filled, invalidated, report);
        self.accept(packet);
        Ok(())
    }

    fn handle_write<M: Memory + ?Sized>(
        &mut self,
        packet: &Packet<'_>,
        resources: &mut Resources<'_, M>,
        report: &mut Report<'_>,
    ) -> Result<(), Refusal> {
        let mut to = match (self.message, packet.extension.reth) {
            (Some(Message::Write { to }), _) => to,
            (_, Some(reth)) => self.begin_write(reth, resources.keys)?,
            _ => return Err(INVALID),
        };
        let length = payload_len(packet);
        let ends = packet.shape.position.ends();
        if length > to.left || ends && length != to.left {
            return Err(INVALID);
        }
        let receive = match packet.extension.immediate {
            Some(_) => Some(resources.receives.take().ok_or(Refusal::NotReady)?),
            None => None,
        };
        let written = self.write(to, packet.payload, length, resources);
        if let (Err(_), Some(wqe)) = (written, receive) {
            self.message = Some(Message::Send { wqe, filled: 0 });
        }
        written?;
        to.address += u64::from(length);
        to.left -= length;
        self.message = (!ends).then_some(Message::Write { to });
        if let Some(wqe) = receive {
            let kind = CompletionKind::RecvWriteWithImmediate;
            receive_completion(packet, &wqe, kind, to.length, None, report);
        }
        self.accept(packet);
        Ok(())
    }

    /// Rights, key and bounds of the whole WRITE. A WRITE of no bytes needs no key (IBTA 9.7.4.1.1).
    fn begin_write(&self, reth: Reth, keys: &Keys) -> Result<Write, Refusal> {
        self.check_remote(reth, Access::REMOTE_WRITE, keys)?;
        Ok(Write {
            key: Key(reth.key),
            address: reth.address,
            left: reth.length,
            length: reth.length,
        })
    }

    fn check_remote(&self, reth: Reth, wanted: Access, keys: &Keys) -> Result<(), Refusal> {
        if !self.access.allows(wanted) || reth.length > MAX_MESSAGE_LEN {
            return Err(INVALID);
        }
        if reth.length == 0 {
            return Ok(());
        }
        let found = keys.resolve(self.pd, Key(reth.key), reth.address, reth.length, wanted);
        found.map(drop).map_err(|_| FORBIDDEN)
    }

    /// The key is looked up for every packet: it may have been invalidated since the first.
    fn write<M: Memory + ?Sized>(
        &self,
        to: Write,
        payload: &[u8],
        length: u32,
        resources: &mut Resources<'_, M>,
    ) -> Result<(), Refusal> {
        if length == 0 {
            return Ok(());
        }
        let wanted = Access::REMOTE_WRITE;
        let found = resources
            .keys
            .resolve(self.pd, to.key, to.address, length, wanted);
        let place = Segments::single(found.map_err(|_| FORBIDDEN)?);
        scatter(resources.memory, &place, payload).ok_or(BROKEN)
    }

    fn handle_read(&mut self, packet: &Packet<'_>, keys: &Keys) -> Result<(), Refusal> {
        let reth = packet.extension.reth.ok_or(INVALID)?;
        let depth = usize::from(self.attributes.responder_resources);
        if depth == 0 {
            return Err(INVALID);
        }
        self.check_remote(reth, Access::REMOTE_READ, keys)?;
        if self.reads.len() >= depth {
            self.reads.pop_front();
        }
        let packets = reth.length.div_ceil(self.mtu()).max(1);
        self.reads.push_back(ReadReply {
            first_psn: packet.bth.psn,
            packets,
            reth,
            next: 0,
            end: packets,
            is_repeated: false,
        });
        self.expected = self.expected.add(packets);
        self.msn = self.msn.wrapping_add(1) & LOW_24_BITS;
        self.reply = None;
        Ok(())
    }

    /// A SEND or WRITE packet is in. A reply that was due moves up to it; a gap that was to be reported is closed.
    fn accept(&mut self, packet: &Packet<'_>) {
        self.expected = self.expected.next();
        if packet.shape.position.ends() {
            self.msn = self.msn.wrapping_add(1) & LOW_24_BITS;
        }
        let due = matches!(
            self.reply,
            Some(Reply {
                syndrome: Syndrome::Ack(_),
                ..
            })
        );
        self.reply = (due || packet.bth.ack_request).then_some(Reply {
            psn: packet.bth.psn,
            syndrome: Syndrome::ACK,
        });
    }

    /// The next READ response packet, else the reply that is due.
    pub(crate) fn poll(
        &mut self,
        keys: &Keys,
        report: &mut Report<'_>,
    ) -> Result<Option<Emission>, Fatal> {
        let mtu = self.mtu();
        while let Some(read) = self.reads.iter_mut().find(|read| read.next < read.end) {
            let index = read.next;
            let skip = index * mtu;
            let length = (read.reth.length - skip).min(mtu);
            let psn = read.first_psn.add(index);
            let position = Position::of(index, read.packets);
            let (key, address) = (Key(read.reth.key), read.reth.address + u64::from(skip));
            read.next += 1;
            let payload = match length {
                0 => Segments::default(),
                _ => match keys.resolve(self.pd, key, address, length, Access::REMOTE_READ) {
                    Ok(segment) => Segments::single(segment),
                    // A copy of the request came late, or the answer crossed its repetition: the peer has long
                    // gone on, and this side's consumer with it.
                    Err(_) if read.is_repeated => {
                        read.next = read.end;
                        continue;
                    }
                    Err(_) => return Err(self.abandon_reads(psn, report)),
                },
            };
            return Ok(Some(self.read_response(psn, position, payload)));
        }
        Ok(self.take_reply(report))
    }

    /// The key of a READ was taken away while its answer was on the way.
    fn abandon_reads(&mut self, psn: Psn, report: &mut Report<'_>) -> Fatal {
        report.statistics.refused_requests += 1;
        self.reads.clear();
        self.reply = Some(Reply {
            psn,
            syndrome: Syndrome::Nak(Nak::RemoteAccess),
        });
        Fatal {
            status: Status::Flushed,
        }
    }

    fn read_response(&self, psn: Psn, position: Position, payload: Segments) -> Emission {
        let opcode = match position {
            Position::First => Opcode::RC_RDMA_READ_RESPONSE_FIRST,
            Position::Middle => Opcode::RC_RDMA_READ_RESPONSE_MIDDLE,
            Position::Last => Opcode::RC_RDMA_READ_RESPONSE_LAST,
            Position::Only => Opcode::RC_RDMA_READ_RESPONSE_ONLY,
        };
        let aeth = (position != Position::Middle).then_some(Aeth {
            syndrome: Syndrome::ACK,
            msn: self.msn,
        });
        Emission {
            opcode,
            psn,
            ack_request: false,
            solicited: false,
            extension: Extension {
                aeth,
                ..Extension::default()
            },
            payload,
        }
    }

    /// The reply that is due, if nothing has to go out before it.
    pub(crate) fn last_word(&mut self, report: &mut Report<'_>) -> Option<Emission> {
        match self.reads.is_empty() {
            true => self.take_reply(report),
            false => None,
        }
    }

    fn take_reply(&mut self, report: &mut Report<'_>) -> Option<Emission> {
        let reply = self.reply.take()?;
        report.statistics.acks_sent += 1;
        let aeth = Aeth {
            syndrome: reply.syndrome,
            msn: self.msn,
        };
        Some(Emission {
            opcode: Opcode::RC_ACKNOWLEDGE,
            psn: reply.psn,
            ack_request: false,
            solicited: false,
            extension: Extension {
                aeth: Some(aeth),
                ..Extension::default()
            },
            payload: Segments::default(),
        })
    }

    /// The queue pair failed: what was being received ends with `status`.
    pub(crate) fn fail(&mut self, status: Status, report: &mut Report<'_>) {
        if let Some(Message::Send { wqe, .. }) = self.message.take() {
            let completion = failed_receive(&wqe, status, report);
            report.completions.push_back(completion);
        }
    }

    /// Nothing more is said to the peer.
    pub(crate) fn silence(&mut self) {
        self.reads.clear();
        self.reply = None;
    }
}

fn payload_len(packet: &Packet<'_>) -> u32 {
    u32::try_from(packet.payload.len()).unwrap_or(u32::MAX)
}

fn receive_completion(
    packet: &Packet<'_>,
    wqe: &RecvWqe,
    kind: CompletionKind,
    length: u32,
    invalidated: Option<Key>,
    report: &mut Report<'_>,
) {
    report.completions.push_back(Completion {
        qp: report.qp,
        wr_id: wqe.wr_id,
        kind,
        status: Status::Success,
        length,
        immediate: packet.extension.immediate,
        invalidated,
        solicited: packet.bth.solicited,
    });
}

/// The completion of a receive that was not, or not wholly, filled.
pub(crate) fn failed_receive(wqe: &RecvWqe, status: Status, report: &Report<'_>) -> Completion {
    Completion {
        qp: report.qp,
        wr_id: wqe.wr_id,
        kind: CompletionKind::Recv,
        status,
        length: 0,
        immediate: None,
        invalidated: None,
        solicited: false,
    }
}
