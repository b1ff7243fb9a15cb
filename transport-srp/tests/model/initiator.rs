//! The initiator's side: what it sent, what its memory holds, and how many requests it may send.

use std::collections::BTreeMap;

use super::{IMM_DATA_OFFSET, MAX_IT_IU_LEN, Rsp, Script};
use iobuf::RemoteSegment;
use target_core::command::{Command, Residual};
use target_core::lun::Lun;
use target_core::status::Status;
use transport_srp::Negotiated;
use transport_srp::wire::cmd::{BufferFormat, TaskAttributeCode};
use transport_srp::wire::desc::{self, IndirectDesc};
use transport_srp::wire::tsk_mgmt::TaskFunctionCode;
use transport_srp::wire::{Cmd, CredReq, CredRsp, ILogout, Iu, Opcode, TskMgmt};

/// What a request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    TaskManagement,
    /// Bytes of the script; nothing is known of its data.
    Raw,
    /// A command with a fault of its own: it is answered, and never reaches the core.
    Faulty,
    Command {
        data_out: Vec<RemoteSegment>,
        data_in: Vec<RemoteSegment>,
        immediate: Option<Vec<u8>>,
    },
}

/// How a request must be answered, once the core has decided.
#[derive(Clone, Copy, Debug)]
struct Answer {
    status: Status,
    data_in_len: u32,
    data_in_residual: Residual,
}

/// A request that has neither been answered nor aborted.
pub(super) struct Request {
    tag: u64,
    shape: Shape,
    delivered: bool,
    /// The core has been asked for an answer.
    answering: bool,
    answer: Option<Answer>,
}

impl Request {
    pub(super) fn expect_answer(&mut self, status: Status, len: u32, residual: Residual) {
        self.answer = Some(Answer {
            status,
            data_in_len: len,
            data_in_residual: residual,
        });
    }
}

pub(super) struct Initiator {
    limit: i64,
    credits: i64,
    immediate: bool,
    /// As initiators of long ago: SRP_CRED_REQ is not understood.
    ignores_credit_requests: bool,
    credit_response_due: Option<u64>,
    requests: Vec<Request>,
    tables: BTreeMap<u64, Vec<u8>>,
    next_tag: u64,
    last_delivered: u64,
    closed: bool,
}

/// A byte of the initiator's memory.
fn memory(address: u64) -> u8 {
    address.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
}

fn addresses(segments: &[RemoteSegment]) -> impl Iterator<Item = u64> {
    let bytes = |s: &RemoteSegment| s.address..s.address + u64::from(s.length);
    segments.iter().flat_map(bytes)
}

fn total(segments: &[RemoteSegment]) -> u32 {
    segments.iter().map(|s| s.length).sum()
}

impl Initiator {
    pub(super) fn new(login: &Negotiated, ignores_credit_requests: bool) -> Self {
        Self {
            limit: login.request_limit.into(),
            credits: login.request_limit.into(),
            immediate: login.imm_data_offset.is_some(),
            ignores_credit_requests,
            credit_response_due: None,
            requests: Vec::new(),
            tables: BTreeMap::new(),
            next_tag: 1,
            last_delivered: 0,
            closed: false,
        }
    }

    fn begin(&mut self, shape: Shape) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.credits -= 1;
        self.requests.push(Request {
            tag,
            shape,
            delivered: false,
            answering: false,
            answer: None,
        });
        tag
    }

    fn find(&mut self, tag: u64) -> &mut Request {
        let found = self.requests.iter_mut().find(|request| request.tag == tag);
        found.expect("a tag of an outstanding request")
    }

    /// A command that keeps to the protocol, while there is a credit.
    pub(super) fn command(&mut self, script: &mut Script<'_>) -> Option<Vec<u8>> {
        if self.credits <= 0 {
            return None;
        }
        let plan = self.plan(script);
        let cmd = Cmd {
            sol_not: 0,
            data_out_format: plan.formats.0,
            data_in_format: plan.formats.1,
            data_out_count: plan.counts.0,
            data_in_count: plan.counts.1,
            tag: self.begin(plan.shape),
            lun: Lun::peripheral(script.byte()),
            task_attribute: TaskAttributeCode::SIMPLE,
            cdb: &[0; 16],
            data: &plan.data,
        };
        Some(emitted(&Iu::Cmd(cmd)))
    }

    fn plan(&mut self, script: &mut Script<'_>) -> Plan {
        let place = self.next_tag << 20;
        let table = place + (1 << 18);
        let kind = script.below(if self.immediate { 10 } else { 9 });
        let list = segments(script, place);
        let one = &list[..1];
        let count = u8::try_from(list.len()).expect("few");
        let inline = script.below(count + 1);
        match kind {
            0 => Plan::new((NONE, NONE), (0, 0), vec![], remote(&[], &[])),
            1 => Plan::new((NONE, DIRECT), (0, 0), direct(one), remote(&[], one)),
            2 => Plan::new((DIRECT, NONE), (0, 0), direct(one), remote(one, &[])),
            3 | 4 => {
                // The count may be in the wrong field, as some initiators have it.
                let counts = if kind == 3 { (0, count) } else { (count, 0) };
                let data = indirect(table, &list, count);
                Plan::new((NONE, INDIRECT), counts, data, remote(&[], &list))
            }
            5 | 6 => {
                self.tables.insert(table, direct(&list));
                let data = indirect(table, &list, inline);
                if kind == 5 {
                    Plan::new((NONE, INDIRECT), (0, inline), data, remote(&[], &list))
                } else {
                    Plan::new((INDIRECT, NONE), (inline, 0), data, remote(&list, &[]))
                }
            }
            7 => {
                let other = segments(script, place + (1 << 16));
                let data = [indirect(table, &list, count), direct(&other[..1])].concat();
                let shape = remote(&list, &other[..1]);
                Plan::new((INDIRECT, DIRECT), (count, 0), data, shape)
            }
            8 => {
                self.tables.insert(table, direct(&list));
                faulty(indirect(table, &list, inline), inline, script)
            }
            _ => {
                let len = usize::from(script.byte());
                immediate(script.bytes(len).to_vec())
            }
        }
    }

    pub(super) fn task_management(&mut self, script: &mut Script<'_>) -> Option<Vec<u8>> {
        if self.credits <= 0 {
            return None;
        }
        let iu = TskMgmt {
            sol_not: 0,
            tag: self.begin(Shape::TaskManagement),
            lun: Lun::peripheral(0),
            function: TaskFunctionCode(script.byte()),
            task_tag: script.byte().into(),
        };
        Some(emitted(&Iu::TskMgmt(iu)))
    }

    pub(super) fn logout(&self) -> Vec<u8> {
        emitted(&Iu::ILogout(ILogout { tag: 0 }))
    }

    /// Anything at all. A request among it has a tag of its own, so that its answer can be told
    /// apart.
    pub(super) fn raw(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        let len = usize::from(script.byte());
        let mut bytes = script.bytes(len).to_vec();
        let opcode = bytes.first().map(|&first| Opcode(first));
        let is_request = match opcode {
            Some(Opcode::CMD) => Cmd::parse(&bytes).is_ok(),
            Some(Opcode::TSK_MGMT) => TskMgmt::parse(&bytes).is_ok(),
            _ => false,
        };
        let has_credit = self.credits > 0;
        if is_request && has_credit {
            let is_command = opcode == Some(Opcode::CMD);
            let tag = self.begin(if is_command {
                Shape::Raw
            } else {
                Shape::TaskManagement
            });
            bytes[8..16].copy_from_slice(&tag.to_be_bytes());
        }
        // An initiator that does not know what it was offered does not use it.
        let unknowing = is_request && !has_credit && self.ignores_credit_requests;
        if opcode == Some(Opcode::CRED_RSP) || unknowing {
            // It must not speak for the model, which counts its own credits.
            bytes[0] = Opcode::AER_RSP.0;
        }
        bytes
    }

    pub(super) fn delivered(&mut self, command: &Command) {
        self.in_order(command.tag);
        let request = self.find(command.tag);
        assert!(
            !std::mem::replace(&mut request.delivered, true),
            "delivered twice"
        );
        if let Shape::Command {
            data_out,
            data_in,
            immediate,
        } = &request.shape
        {
            assert_eq!(command.data_in_len, total(data_in));
            let immediate_len = immediate.as_ref().map_or(0, |data| data.len() as u32);
            assert_eq!(command.data_out_len, total(data_out) + immediate_len);
            assert_eq!(command.immediate.as_deref(), immediate.as_deref());
        }
        if let Some(data) = &command.immediate {
            assert_eq!(data.len(), command.data_out_len as usize);
            assert_eq!(data.address() % 512, 0, "immediate data is aligned");
        }
    }

    /// The tag of the task management request, which the core is not told: they come in order, too.
    pub(super) fn delivered_task_management(&mut self) -> u64 {
        let next = self
            .requests
            .iter_mut()
            .find(|r| r.shape == Shape::TaskManagement && !r.delivered);
        let next = next.expect("an outstanding task management request");
        next.delivered = true;
        let tag = next.tag;
        self.in_order(tag);
        tag
    }

    fn in_order(&mut self, tag: u64) {
        assert!(tag > self.last_delivered, "requests overtake each other");
        self.last_delivered = tag;
    }

    pub(super) fn answering(&mut self, tag: u64) -> &mut Request {
        let request = self.find(tag);
        request.answering = true;
        request
    }

    /// The core aborted it; no answer will come.
    pub(super) fn forget(&mut self, tag: u64) {
        let before = self.requests.len();
        self.requests.retain(|request| request.tag != tag);
        assert_eq!(self.requests.len(), before - 1);
    }

    pub(super) fn is_remote_write(&mut self, tag: u64) -> bool {
        matches!(&self.find(tag).shape, Shape::Command { data_out, .. } if !data_out.is_empty())
    }

    /// What an RDMA READ finds.
    pub(super) fn read(&self, segments: &[RemoteSegment], buf: &mut [u8]) {
        for (byte, address) in buf.iter_mut().zip(addresses(segments)) {
            *byte = self.table_byte(address).unwrap_or_else(|| memory(address));
        }
    }

    fn table_byte(&self, address: u64) -> Option<u8> {
        let (start, table) = self.tables.range(..=address).next_back()?;
        table.get(usize::try_from(address - start).ok()?).copied()
    }

    pub(super) fn check_data_out(&mut self, tag: u64, offset: u32, buf: &[u8]) {
        let Shape::Command { data_out, .. } = &self.find(tag).shape else {
            panic!("only commands that keep to the protocol are pulled from");
        };
        let expected = addresses(data_out).skip(offset as usize).map(memory);
        assert!(
            buf.iter().copied().eq(expected.take(buf.len())),
            "wrong bytes"
        );
    }

    /// A response, and what was written to memory before it.
    pub(super) fn response(&mut self, rsp: &Rsp<'_>, data: Option<&[u8]>, to: &[RemoteSegment]) {
        self.granted(rsp.request_limit_delta);
        let place = self.requests.iter().position(|r| r.tag == rsp.tag);
        let request = self.requests.remove(place.expect("an outstanding request"));
        let len = data.map_or(0, <[u8]>::len);
        if !request.delivered {
            assert_ne!(rsp.status, Status::GOOD, "the core never saw it");
            assert_eq!(len, 0);
            return;
        }
        assert!(request.answering, "the core has not answered");
        if request.shape == Shape::TaskManagement {
            assert!(rsp.response.is_some());
            return;
        }
        let answer = request.answer.expect("the core's answer");
        assert_eq!(rsp.status, answer.status);
        assert_eq!(rsp.data_in_residual, answer.data_in_residual);
        assert_eq!(
            rsp.sense.is_some(),
            answer.status == Status::CHECK_CONDITION
        );
        assert_eq!(len, answer.data_in_len as usize);
        assert!(total_len(to) >= len as u64, "segments cover the data");
        if let Shape::Command { data_in, .. } = &request.shape {
            assert!(addresses(to).take(len).eq(addresses(data_in).take(len)));
        }
    }

    fn granted(&mut self, delta: i32) {
        assert!(delta >= 0);
        if self.closed {
            return;
        }
        self.credits += i64::from(delta);
        let outstanding = i64::try_from(self.requests.len()).expect("few");
        // The request that is being answered is still counted.
        assert!(
            self.credits + outstanding - 1 <= self.limit,
            "credits out of nothing"
        );
    }

    pub(super) fn credit_request(&mut self, request: &CredReq) {
        assert!(self.requests.is_empty(), "a response could have carried it");
        assert!(request.request_limit_delta > 0);
        if self.ignores_credit_requests {
            return;
        }
        assert_eq!(self.credit_response_due, None, "one at a time");
        self.credits += i64::from(request.request_limit_delta);
        assert!(self.credits <= self.limit);
        self.credit_response_due = Some(request.tag);
    }

    pub(super) fn credit_response(&mut self) -> Option<Vec<u8>> {
        let tag = self.credit_response_due.take()?;
        Some(emitted(&Iu::CredRsp(CredRsp { tag })))
    }

    /// What was not answered before the channel ended never will be.
    pub(super) fn close(&mut self) {
        self.credits = 0;
        self.closed = true;
    }

    pub(super) fn check_all_answered(&self) {
        let tags: Vec<_> = self.requests.iter().map(|request| request.tag).collect();
        assert!(tags.is_empty(), "never answered: {tags:?}");
    }

    pub(super) fn check_credits_complete(&self) {
        assert_eq!(self.credits, self.limit, "credits are lost");
    }

    pub(super) fn ignores_credit_requests(&self) -> bool {
        self.ignores_credit_requests
    }
}

fn total_len(segments: &[RemoteSegment]) -> u64 {
    segments.iter().map(|s| u64::from(s.length)).sum()
}

const NONE: BufferFormat = BufferFormat::NONE;
const DIRECT: BufferFormat = BufferFormat::DIRECT;
const INDIRECT: BufferFormat = BufferFormat::INDIRECT;

/// How a command says where its data lies; DATA-OUT comes first in the pairs.
struct Plan {
    formats: (BufferFormat, BufferFormat),
    counts: (u8, u8),
    data: Vec<u8>,
    shape: Shape,
}

impl Plan {
    fn new(
        formats: (BufferFormat, BufferFormat),
        counts: (u8, u8),
        data: Vec<u8>,
        shape: Shape,
    ) -> Self {
        Self {
            formats,
            counts,
            data,
            shape,
        }
    }
}

fn immediate(payload: Vec<u8>) -> Plan {
    let len = u32::try_from(payload.len()).expect("short");
    let mut data = desc::immediate_to_bytes(len).to_vec();
    data.resize(usize::from(IMM_DATA_OFFSET) - Cmd::MIN_BYTES, 0);
    data.extend(&payload);
    let shape = Shape::Command {
        data_out: Vec::new(),
        data_in: Vec::new(),
        immediate: Some(payload),
    };
    Plan::new((BufferFormat::IMMEDIATE, NONE), (0, 0), data, shape)
}

/// A table that does not add up, which may show only when all of it is there, or that is no table
/// at all.
fn faulty(mut descriptor: Vec<u8>, inline: u8, script: &mut Script<'_>) -> Plan {
    let place = if script.flag() { 15 } else { 19 };
    descriptor[place] ^= 1;
    Plan::new((NONE, INDIRECT), (0, inline), descriptor, Shape::Faulty)
}

fn remote(data_out: &[RemoteSegment], data_in: &[RemoteSegment]) -> Shape {
    Shape::Command {
        data_out: data_out.to_vec(),
        data_in: data_in.to_vec(),
        immediate: None,
    }
}

/// Some pieces of memory from `place` on, empty ones among them.
fn segments(script: &mut Script<'_>, place: u64) -> Vec<RemoteSegment> {
    let count = 1 + script.below(5);
    (0..count)
        .map(|index| RemoteSegment {
            address: place + 256 * u64::from(index),
            key: u32::from(index),
            length: script.below(200).into(),
        })
        .collect()
}

/// The memory descriptors, one after the other.
fn direct(segments: &[RemoteSegment]) -> Vec<u8> {
    let list = segments.iter().copied();
    list.flat_map(desc::direct_to_bytes).collect()
}

fn indirect(table: u64, segments: &[RemoteSegment], inline: u8) -> Vec<u8> {
    let whole = direct(segments);
    let descriptor = IndirectDesc {
        table: RemoteSegment {
            address: table,
            key: 1,
            length: u32::try_from(whole.len()).expect("short"),
        },
        total_len: total(segments),
        partial_list: &whole[..16 * usize::from(inline)],
    };
    let mut out = vec![0; 20 + 16 * usize::from(inline)];
    descriptor.emit(&mut out).expect("room");
    out
}

fn emitted(iu: &Iu<'_>) -> Vec<u8> {
    let mut bytes = vec![0; MAX_IT_IU_LEN as usize];
    let len = iu.emit(&mut bytes).expect("room");
    bytes.truncate(len);
    bytes
}
