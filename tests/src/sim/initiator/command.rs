//! Commands of an initiator: what it sends, and what it makes of the answers.

use initiator::cdb;
use initiator::iscsi::machine as iscsi;
use initiator::machine::{Answer, Buffer, ChannelNumber, Command, RequestId};
use roce::Access;
use target_core::command::Residual;
use target_core::lun::Lun;
use target_core::status::Status;
use transport_srp::wire::cmd::TaskAttributeCode;

use super::memory::{Shape, Slot};
use super::session::{Outcome, Session};
use super::{CALM_TIMEOUT_MS, Initiator, Stage, Step};
use crate::sim::block;
use crate::sim::journal::{End, Entry, Work};
use crate::sim::scenario::{Protocol, Scenario};

const UNIT_ATTENTION: u8 = 6;
const INQUIRY_BYTES: u16 = 96;
const DATA_IN: Access = Access::REMOTE_WRITE.or(Access::LOCAL_WRITE);
const DATA_OUT: Access = Access::REMOTE_READ;
const MOST_IMMEDIATE: usize = 8192;
/// How often a connection may still end after calm has come: what was under way before.
const MOST_RESTARTS: u32 = 20;

/// Time before another try.
const PAUSE_US: u64 = 20_000;

/// A command under way.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) number: u64,
    pub(super) channel: ChannelNumber,
    link: u32,
    pub(super) lun: u8,
    work: Work,
    pub(super) slot: Option<Slot>,
}

/// A command that has to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check {
    channel: ChannelNumber,
    lun: u8,
    work: Work,
}

impl Initiator {
    /// One command of any kind, if there is room for it.
    pub(super) fn submit_any(&mut self, now_us: u64) {
        if self.protocol != Protocol::Srp && self.random.chance(30) {
            self.ping();
        }
        let channel = ChannelNumber(self.random.below(self.channels.into()) as u16);
        let lun = self.random.below(self.luns.len() as u64) as u8;
        let size = self.luns[usize::from(lun)];
        let most = (Scenario::MAX_TRANSFER as u64 / self.block_size).min(size);
        let most = self.random.pick(&[1, most / 4, most]).clamp(1, size);
        let blocks = self.random.within(1, most);
        let lba = self.random.below(size - blocks + 1);
        let work = match self.random.below(10) {
            0 => Work::Other,
            1..=5 => Work::Write { lba, blocks },
            _ => Work::Read { lba, blocks },
        };
        self.submit(channel, lun, work, now_us);
    }

    /// Sends a command; `None` when there is no room for it now.
    fn submit(&mut self, channel: ChannelNumber, lun: u8, work: Work, now_us: u64) -> Option<u64> {
        let link = self.link_of(channel).map(|link| (link.number, link.flying));
        let (link, flying) = link?;
        // A slow wire holds more messages than requests are outstanding.
        if flying > 40 || !self.machine.has_room(channel) || !self.memory.has_command() {
            return None;
        }
        let number = self.journal.next_op();
        let (cdb, len, access) = self.describe(work);
        let shape = self.shape(channel, work, len);
        let slot = access.map(|access| {
            let random = &mut self.random;
            self.memory
                .take_command(&mut self.node, random, shape, len, access)
        });
        if let (Work::Write { lba, .. }, Some(slot)) = (work, &slot) {
            let mut bytes = vec![0; len];
            block::fill(&mut bytes, self.block_size as usize, number, lba);
            self.memory.write(slot, &bytes);
        }
        let timeout_ms = match self.stage < Stage::Verifying {
            true => self.command_timeout_ms,
            false => CALM_TIMEOUT_MS,
        };
        let op = Op {
            number,
            channel,
            link,
            lun,
            work,
            slot,
        };
        let deadline_ms = now_us / 1000 + timeout_ms;
        match self.machine {
            Session::Srp(_) => self.submit_srp(op, shape, &cdb, deadline_ms),
            Session::Iscsi(_) => self.submit_iscsi(op, &cdb, len, deadline_ms),
        }
        Some(number)
    }

    fn submit_iscsi(&mut self, op: Op, cdb: &[u8], len: usize, deadline_ms: u64) {
        let is_write = matches!(op.work, Work::Write { .. });
        let command = iscsi::Command {
            lun: Lun::peripheral(op.lun),
            cdb,
            data_in_len: if is_write { 0 } else { len as u32 },
            data_out_len: if is_write { len as u32 } else { 0 },
        };
        let Session::Iscsi(session) = &mut self.machine else {
            panic!("another protocol");
        };
        let request = session.machine.submit(&command, Some(deadline_ms));
        let request = request.unwrap_or_else(|error| panic!("a command cannot be sent: {error}"));
        self.begin(request, op);
    }

    fn begin(&mut self, request: RequestId, op: Op) {
        self.journal.write(Entry::Submitted {
            op: op.number,
            link: op.link,
            tag: self.machine.tag(request),
            lun: op.lun,
            work: op.work,
        });
        self.ops.insert(request.0, op);
    }

    fn submit_srp(&mut self, op: Op, shape: Shape, cdb: &[u8], deadline_ms: u64) {
        let (channel, slot) = (op.channel, &op.slot);
        let data = slot.as_ref().map(|slot| self.memory.read(slot));
        let buffer = match slot {
            None => Buffer::None,
            Some(slot) => buffer(shape, slot, data.as_deref().unwrap_or(&[])),
        };
        let is_write = matches!(op.work, Work::Write { .. });
        let (data_out, data_in) = match is_write {
            true => (buffer, Buffer::None),
            false => (Buffer::None, buffer),
        };
        let command = Command {
            lun: Lun::peripheral(op.lun),
            attribute: self.random.pick(&[
                TaskAttributeCode::SIMPLE,
                TaskAttributeCode::SIMPLE,
                TaskAttributeCode::SIMPLE,
                TaskAttributeCode::ORDERED,
                TaskAttributeCode::HEAD_OF_QUEUE,
            ]),
            cdb,
            data_out,
            data_in,
        };
        let mut out = vec![0; 8320];
        let Session::Srp(machine) = &mut self.machine else {
            panic!("another protocol");
        };
        let sent = machine.submit(channel, &command, Some(deadline_ms), &mut out);
        let (request, len) =
            sent.unwrap_or_else(|error| panic!("a command cannot be sent: {error}"));
        self.begin(request, op);
        self.send(channel, &out[..len]);
    }

    /// CDB, bytes of its buffer, and what the target may do there.
    fn describe(&mut self, work: Work) -> (Vec<u8>, usize, Option<Access>) {
        let bytes = |blocks: u64| (blocks * self.block_size) as usize;
        let (data_in, data_out) = match self.protocol {
            Protocol::Srp | Protocol::Tcp => (DATA_IN, DATA_OUT),
            Protocol::Iser => (
                DATA_IN.or(Access::REMOTE_INVALIDATE),
                DATA_OUT.or(Access::REMOTE_INVALIDATE),
            ),
        };
        match work {
            Work::Read { lba, blocks } => {
                let cdb = cdb::read(lba, blocks as u32).to_vec();
                (cdb, bytes(blocks), Some(data_in))
            }
            Work::Write { lba, blocks } => {
                let cdb = cdb::write(lba, blocks as u32).to_vec();
                (cdb, bytes(blocks), Some(data_out))
            }
            Work::Other => match self.random.below(3) {
                0 if self.stage == Stage::Busy => {
                    let cdb = cdb::inquiry(None, INQUIRY_BYTES).to_vec();
                    (cdb, INQUIRY_BYTES.into(), Some(data_in))
                }
                1 => (cdb::SYNCHRONIZE_CACHE.to_vec(), 0, None),
                _ => (cdb::TEST_UNIT_READY.to_vec(), 0, None),
            },
        }
    }

    fn shape(&mut self, channel: ChannelNumber, work: Work, len: usize) -> Shape {
        let Session::Srp(machine) = &self.machine else {
            return Shape::Direct;
        };
        let granted = machine.granted(channel);
        let is_agreed = granted.is_some_and(|granted| granted.imm_data_offset.is_some());
        let is_write = matches!(work, Work::Write { .. });
        if is_write && is_agreed && len <= MOST_IMMEDIATE && self.random.chance(600) {
            return Shape::Immediate;
        }
        self.random
            .pick(&[Shape::Direct, Shape::Indirect, Shape::External])
    }

    /// A command has ended.
    pub(super) fn end(&mut self, op: Op, end: End, outcome: Outcome, now_us: u64) {
        if let Outcome::Answered(answer) = outcome
            && end == End::Good
        {
            self.check_answer(&op, &answer);
        }
        self.finish_op(op.number, end);
        if let Some(slot) = op.slot {
            // The target may still get, and carry out, what a reset on another channel has overtaken.
            match end == End::Overtaken {
                true => self.late.push((op.link, slot)),
                false => self.memory.free_command(&mut self.node, slot),
            }
        }
        if let Some((number, check)) = self.checking.take() {
            match number == op.number {
                true => self.judge(check, outcome, now_us),
                false => self.checking = Some((number, check)),
            }
        }
    }

    fn check_answer(&self, op: &Op, answer: &Answer) {
        let (Work::Read { lba, .. }, Some(slot)) = (op.work, &op.slot) else {
            return;
        };
        let residual = answer.data_in_residual;
        assert_eq!(residual, Residual::None, "of read {}", op.number);
        let bytes = self.memory.read(slot);
        let blocks = bytes.chunks(self.block_size as usize);
        let blocks = (lba..).zip(blocks).map(|(lba, b)| block::writer(b, lba));
        self.journal.write(Entry::Fetched {
            op: op.number,
            blocks: blocks.collect(),
        });
    }

    /// Nothing more comes on this connection.
    pub(super) fn release_late(&mut self, link: u32) {
        let (over, rest) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(of, _)| *of == link);
        self.late = rest;
        for (_, slot) in over {
            self.memory.free_command(&mut self.node, slot);
        }
    }

    /// Calm has lasted: everything has to work now.
    pub(crate) fn probe(&mut self) {
        for (_, slot) in std::mem::take(&mut self.late) {
            self.memory.free_command(&mut self.node, slot);
        }
        self.stage = Stage::Probing;
        self.todo = self.ready_everywhere().collect();
    }

    fn ready_everywhere(&self) -> impl Iterator<Item = Check> + use<> {
        (0..self.channels).map(|channel| Check {
            channel: ChannelNumber(channel),
            lun: 0,
            work: Work::Other,
        })
    }

    /// The whole of every logical unit is read on every channel, and the last answers bring all credits home.
    fn everything(&self) -> Vec<Check> {
        let mut todo = Vec::new();
        for channel in (0..self.channels).map(ChannelNumber) {
            for (lun, &size) in (0..).zip(&self.luns) {
                let most = (Scenario::MAX_TRANSFER as u64 / self.block_size).min(size);
                let check = |work| Check { channel, lun, work };
                let write = Work::Write { lba: 0, blocks: 1 };
                todo.push(check(write));
                let reads = (0..size).step_by(most as usize).map(|lba| Work::Read {
                    lba,
                    blocks: most.min(size - lba),
                });
                todo.extend(reads.map(check));
            }
        }
        todo.extend(self.ready_everywhere());
        todo
    }

    /// Sends the next command that has to work.
    pub(super) fn advance(&mut self, now_us: u64) {
        if !matches!(self.stage, Stage::Probing | Stage::Verifying) || self.checking.is_some() {
            return;
        }
        if self.plans.iter().any(|(_, step)| *step == Step::TryAgain) {
            return;
        }
        let is_live = |channel| {
            let link = self.link_of(ChannelNumber(channel));
            link.is_some_and(|link| link.is_live)
        };
        if !(0..self.channels).all(is_live) {
            return;
        }
        match self.todo.front().copied() {
            Some(check) => {
                let sent = self.submit(check.channel, check.lun, check.work, now_us);
                self.checking = sent.map(|number| (number, check));
            }
            None if self.stage == Stage::Probing => {
                self.stage = Stage::Verifying;
                self.todo = self.everything().into();
                self.advance(now_us);
            }
            None => self.stage = Stage::Verified,
        }
    }

    fn judge(&mut self, check: Check, outcome: Outcome, now_us: u64) {
        let is_probe = self.stage == Stage::Probing;
        match outcome {
            Outcome::Answered(answer) if answer.is_good() || is_probe => {
                self.todo.pop_front();
            }
            Outcome::Answered(answer) => {
                assert!(
                    is_passing(&answer),
                    "{check:?} was answered with {answer} although nothing is wrong"
                );
                self.plans.insert((now_us + PAUSE_US, Step::TryAgain));
            }
            _ => {
                self.restarts += 1;
                assert!(
                    self.restarts < MOST_RESTARTS,
                    "connections end again and again although nothing is wrong"
                );
                assert!(
                    is_probe || outcome == Outcome::ChannelLost,
                    "{check:?}: {outcome:?}"
                );
                self.probe();
                if is_probe && outcome == Outcome::Aborted {
                    self.plans.insert((now_us, Step::LogIn));
                }
            }
        }
    }
}

/// Try again.
fn is_passing(answer: &Answer) -> bool {
    let is_attention = answer.sense.is_some_and(|s| s.key() == UNIT_ATTENTION);
    let is_busy = [Status::BUSY, Status::TASK_SET_FULL].contains(&answer.status);
    is_attention || is_busy
}

fn buffer<'a>(shape: Shape, slot: &'a Slot, data: &'a [u8]) -> Buffer<'a> {
    match shape {
        Shape::Direct => Buffer::Direct(slot.pieces[0]),
        Shape::Immediate => Buffer::Immediate(data),
        Shape::Indirect => Buffer::Indirect {
            entries: &slot.pieces,
            inline: slot.pieces.len(),
            table: slot.table,
        },
        Shape::External => Buffer::Indirect {
            entries: &slot.pieces,
            inline: slot.pieces.len().min(2),
            table: slot.table,
        },
    }
}
