//! The initiator's side: what it sent, what its memory holds, which numbers must come next.

mod answers;

use std::collections::VecDeque;

use iobuf::RemoteSegment;
use target_core::command::{Command, Residual};
use target_core::lun::Lun;
use target_core::status::Status;
use transport_iser::Sn;
use transport_iser::iser::{Header, Stag};
use transport_iser::login::{Digest, Negotiated};
use transport_iser::pdu::{
    AttributeCode, Bhs, DataOut, LogoutReason, LogoutRequest, NopOut, RESERVED_TAG, ScsiCommand,
    TaskManagementCode, TaskManagementRequest, padding,
};
use transport_iser::tcp::Framer;

use super::Script;

/// What carries the PDUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Tcp,
    Iser,
}

/// A byte of a command's buffer.
pub(super) fn memory(tag: u32, at: u32) -> u8 {
    let mixed = u64::from(tag) << 32 | u64::from(at);
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]
}

fn bytes(tag: u32, begin: u32, len: u32) -> Vec<u8> {
    (begin..begin + len).map(|at| memory(tag, at)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Command,
    TaskManagement,
    Ping,
}

/// How a command must be answered, once the core has decided.
#[derive(Clone, Copy, Debug)]
struct Expected {
    status: Status,
    data_in_len: u32,
    residual: Residual,
}

/// A request that has neither been answered nor aborted.
#[derive(Debug)]
struct Request {
    tag: u32,
    kind: Kind,
    delivered: bool,
    /// Of a ping: how long its data are. Of a command: how long its buffers.
    data_in_len: u32,
    data_out_len: u32,
    expected: Option<Expected>,
    /// Data-In that came.
    received: u32,
    next_data_sn: u32,
    in_burst: u32,
    /// R2Ts that came, and up to where they asked.
    next_r2t_sn: u32,
    asked: u32,
    outstanding: u16,
}

/// Data-Out that is being sent.
#[derive(Debug)]
struct Sequence {
    tag: u32,
    ttt: u32,
    next: u32,
    end: u32,
    data_sn: u32,
}

pub(super) struct Initiator {
    link: Link,
    agreed: Negotiated,
    next_cmd_sn: Sn,
    max_cmd_sn: Sn,
    window: u32,
    exp_stat_sn: Sn,
    next_tag: u32,
    requests: Vec<Request>,
    /// Commands and task management requests in the order in which they were sent.
    undelivered: VecDeque<u32>,
    sequences: VecDeque<Sequence>,
    /// PDUs that were sent and have not been delivered; a stream keeps one.
    sent: VecDeque<Vec<u8>>,
    framer: Framer,
    data: Vec<u8>,
    /// What was sent is damaged: nothing can be said of what comes.
    wild: bool,
    closed: bool,
    answered: usize,
}

const NO_STAG: (Option<Stag>, Option<Stag>) = (None, None);

impl Initiator {
    pub(super) fn new(link: Link, agreed: Negotiated, first: Sn, window: u32) -> Self {
        let mut framer = Framer::new(1 << 20);
        let header = agreed.header_digest == Digest::Crc32c;
        let data = agreed.data_digest == Digest::Crc32c;
        framer.agree(header, data, 1 << 20);
        Self {
            link,
            agreed,
            next_cmd_sn: first,
            max_cmd_sn: first.plus(window - 1),
            window,
            exp_stat_sn: Sn(1),
            next_tag: 1,
            requests: Vec::new(),
            undelivered: VecDeque::new(),
            sequences: VecDeque::new(),
            sent: VecDeque::new(),
            framer,
            data: Vec::new(),
            wild: false,
            closed: false,
            answered: 0,
        }
    }

    pub(super) fn is_wild(&self) -> bool {
        self.wild
    }

    pub(super) fn answered(&self) -> usize {
        self.answered
    }

    pub(super) fn has_sent_all(&self) -> bool {
        self.sent.is_empty() && self.sequences.is_empty()
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.sent.clear();
        self.sequences.clear();
    }

    fn send(&mut self, stags: (Option<Stag>, Option<Stag>), bhs: &Bhs, data: &[u8]) {
        if self.closed {
            return;
        }
        if self.link == Link::Iser {
            let (write, read) = stags;
            let header = Header {
                write,
                read,
                ..Header::CONTROL
            };
            let message = [&header.encode()[..], bhs, data].concat();
            return self.sent.push_back(message);
        }
        let mut stream = bhs.to_vec();
        if self.agreed.header_digest == Digest::Crc32c {
            stream.extend(crc32c::crc32c(bhs).to_le_bytes());
        }
        if !data.is_empty() {
            let padding = padding(data.len() as u32) as usize;
            let padded = [data, &[0; 3][..padding]].concat();
            stream.extend(&padded);
            if self.agreed.data_digest == Digest::Crc32c {
                stream.extend(crc32c::crc32c(&padded).to_le_bytes());
            }
        }
        self.sent.push_back(stream);
    }

    /// Up to `most` bytes of the stream, or a message.
    pub(super) fn take_sent(&mut self, most: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while let Some(mut first) = self.sent.pop_front() {
            if self.link == Link::Iser {
                return first;
            }
            let rest = first.split_off(first.len().min(most - taken.len()));
            taken.extend(first);
            if !rest.is_empty() {
                self.sent.push_front(rest);
                break;
            }
        }
        taken
    }

    /// Changes a byte that is on its way.
    pub(super) fn damage(&mut self, script: &mut Script<'_>) {
        let (at, bit) = (usize::from(script.byte()), script.below(8));
        if let Some(byte) = self.sent.back_mut().and_then(|pdu| pdu.get_mut(at)) {
            *byte ^= 1 << bit;
            self.wild = true;
        }
    }

    /// CmdSN of the next request, while the window is open.
    fn take_cmd_sn(&mut self) -> Option<Sn> {
        let sn = self.next_cmd_sn;
        if self.closed || !sn.is_within(sn, self.max_cmd_sn) {
            return None;
        }
        self.next_cmd_sn = sn.plus(1);
        Some(sn)
    }

    fn begin(&mut self, kind: Kind, data_in_len: u32, data_out_len: u32) -> u32 {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.requests.push(Request {
            tag,
            kind,
            delivered: false,
            data_in_len,
            data_out_len,
            expected: None,
            received: 0,
            next_data_sn: 0,
            in_burst: 0,
            next_r2t_sn: 0,
            asked: 0,
            outstanding: 0,
        });
        tag
    }

    /// A command that keeps to what was agreed on.
    pub(super) fn command(&mut self, script: &mut Script<'_>) {
        let kind = script.below(5);
        let len = 41 * u32::from(script.byte());
        let (data_in_len, data_out_len) = match kind {
            0 => (0, 0),
            1 | 2 => (len, 0),
            _ => (0, len),
        };
        let Some(cmd_sn) = self.take_cmd_sn() else {
            return;
        };
        let tag = self.begin(Kind::Command, data_in_len, data_out_len);
        self.undelivered.push_back(tag);
        let first_burst = self.agreed.first_burst_length.min(data_out_len);
        let mut immediate = 0;
        if self.agreed.immediate_data && script.flag() {
            immediate = first_burst.min(19 * u32::from(script.byte()));
        }
        let follows = !self.agreed.initial_r2t && script.flag() && immediate < first_burst;
        let unsolicited = if follows { first_burst } else { immediate };
        let pdu = ScsiCommand {
            is_final: !follows,
            read: data_in_len != 0,
            write: data_out_len != 0,
            attribute: AttributeCode::SIMPLE,
            lun: Lun::peripheral(script.byte()),
            initiator_task_tag: tag,
            expected_data_transfer_length: data_in_len + data_out_len,
            cmd_sn,
            cdb: [tag as u8; 16],
            ..ScsiCommand::default()
        };
        let write = (data_out_len > unsolicited).then(|| write_stag(tag, unsolicited));
        let read = (data_in_len != 0).then(|| read_stag(tag));
        self.send(
            (write, read),
            &pdu.encode(immediate),
            &bytes(tag, 0, immediate),
        );
        if let Some(request) = self.find(tag) {
            request.asked = unsolicited;
        }
        if follows {
            self.sequences.push_back(Sequence {
                tag,
                ttt: RESERVED_TAG,
                next: immediate,
                end: unsolicited,
                data_sn: 0,
            });
        }
    }

    /// The next piece of some Data-Out sequence. Those of one command go in their order.
    pub(super) fn data_out(&mut self, script: &mut Script<'_>) {
        if self.sequences.is_empty() || self.closed {
            return;
        }
        let index = usize::from(script.byte()) % self.sequences.len();
        self.send_data_out(index, 1 + 23 * u32::from(script.byte()));
    }

    /// Whatever data are still to be sent.
    pub(super) fn all_data_out(&mut self) {
        while !self.sequences.is_empty() && !self.closed {
            self.send_data_out(0, 8192);
        }
    }

    fn send_data_out(&mut self, index: usize, most: u32) {
        let tag = self.sequences[index].tag;
        let index = self
            .sequences
            .iter()
            .position(|s| s.tag == tag)
            .expect("its own");
        let sequence = &mut self.sequences[index];
        let left = sequence.end - sequence.next;
        let len = left.min(most);
        let pdu = DataOut {
            is_final: len == left,
            lun: Lun::default(),
            initiator_task_tag: tag,
            target_transfer_tag: sequence.ttt,
            exp_stat_sn: self.exp_stat_sn,
            data_sn: Sn(sequence.data_sn),
            buffer_offset: sequence.next,
        };
        let data = bytes(tag, sequence.next, len);
        sequence.next += len;
        sequence.data_sn += 1;
        if len == left {
            let ended = self.sequences.remove(index).expect("its own");
            if ended.ttt != RESERVED_TAG
                && let Some(request) = self.find(tag)
            {
                request.outstanding -= 1;
            }
        }
        self.send(NO_STAG, &pdu.encode(len), &data);
    }

    pub(super) fn task_management(&mut self, script: &mut Script<'_>) {
        let is_one_out = self.requests.iter().any(|r| r.kind == Kind::TaskManagement);
        let immediate = script.flag();
        if self.closed || is_one_out {
            return;
        }
        let cmd_sn = match immediate {
            true => self.next_cmd_sn,
            false => match self.take_cmd_sn() {
                Some(sn) => sn,
                None => return,
            },
        };
        let tag = self.begin(Kind::TaskManagement, 0, 0);
        let function = TaskManagementCode([2, 4, 5, 8, 6][usize::from(script.below(5))]);
        if function.0 < 6 {
            self.undelivered.push_back(tag);
        }
        let pdu = TaskManagementRequest {
            immediate,
            function,
            initiator_task_tag: tag,
            referenced_task_tag: RESERVED_TAG,
            cmd_sn,
            ..TaskManagementRequest::default()
        };
        self.send(NO_STAG, &pdu.encode(0), &[]);
    }

    pub(super) fn ping(&mut self, script: &mut Script<'_>) {
        if self.closed {
            return;
        }
        let len = 9 * u32::from(script.byte());
        let tag = self.begin(Kind::Ping, len, 0);
        let pdu = NopOut {
            immediate: true,
            initiator_task_tag: tag,
            target_transfer_tag: RESERVED_TAG,
            cmd_sn: self.next_cmd_sn,
            ..NopOut::default()
        };
        self.send(NO_STAG, &pdu.encode(len), &bytes(tag, 0, len));
    }

    pub(super) fn logout(&mut self) {
        let pdu = LogoutRequest {
            immediate: true,
            reason: LogoutReason::CLOSE_SESSION,
            initiator_task_tag: self.next_tag,
            cmd_sn: self.next_cmd_sn,
            ..LogoutRequest::default()
        };
        self.next_tag += 1;
        // What is still on its way is rejected now.
        self.wild = true;
        self.send(NO_STAG, &pdu.encode(0), &[]);
    }

    fn find(&mut self, tag: u32) -> Option<&mut Request> {
        self.requests.iter_mut().find(|request| request.tag == tag)
    }

    /// A request that is outstanding; of a damaged initiator it may be anything.
    fn outstanding(&mut self, tag: u32) -> Option<&mut Request> {
        let wild = self.wild;
        let found = self.find(tag);
        assert!(
            found.is_some() || wild,
            "{tag:#x} is no outstanding request"
        );
        found
    }

    pub(super) fn delivered(&mut self, command: &Command) {
        if self.wild {
            return;
        }
        let tag = command.tag as u32;
        // A command that was answered BUSY for want of a buffer was never delivered.
        while let Some(first) = self.undelivered.pop_front() {
            if first == tag {
                break;
            }
            assert!(
                self.find(first).is_none(),
                "{first:#x} was left out before {tag:#x}"
            );
        }
        let request = self.outstanding(tag).expect("outstanding");
        assert!(!request.delivered, "{tag:#x} was delivered twice");
        request.delivered = true;
        assert_eq!(command.data_in_len, request.data_in_len);
        assert_eq!(command.data_out_len, request.data_out_len);
        assert_eq!(command.cdb.len(), 16);
        if let Some(immediate) = &command.immediate {
            assert_eq!(immediate[..], bytes(tag, 0, command.data_out_len));
        }
    }

    pub(super) fn delivered_task_management(&mut self) -> u32 {
        if self.wild {
            return 0;
        }
        let tag = self
            .requests
            .iter()
            .find(|r| r.kind == Kind::TaskManagement);
        let tag = tag.expect("a task management request").tag;
        self.undelivered.retain(|&other| other != tag);
        tag
    }

    pub(super) fn expect(
        &mut self,
        tag: u32,
        status: Status,
        data_in_len: u32,
        residual: Residual,
    ) {
        if let Some(request) = self.outstanding(tag) {
            request.expected = Some(Expected {
                status,
                data_in_len,
                residual,
            });
        }
    }

    /// The core has aborted the command: it is answered by nothing.
    pub(super) fn forget(&mut self, tag: u32) {
        self.requests.retain(|request| request.tag != tag);
    }

    pub(super) fn check_data_out(&self, tag: u32, offset: u32, buf: &[u8]) {
        if !self.wild {
            assert!(
                buf == bytes(tag, offset, buf.len() as u32),
                "Data-Out of {tag:#x} from {offset}"
            );
        }
    }

    /// An RDMA READ: only what was advertised may be read.
    pub(super) fn read(&self, segments: &[RemoteSegment], buf: &mut [u8]) {
        let addresses = segments.iter().flat_map(|s| {
            let (tag, begin) = ((s.address >> 32) as u32, s.address as u32);
            (begin..begin + s.length).map(move |at| (tag, s.key, at))
        });
        for (byte, (tag, key, at)) in buf.iter_mut().zip(addresses) {
            assert!(
                self.wild || key == tag << 1,
                "a key that was not advertised"
            );
            *byte = memory(tag, at);
        }
    }

    pub(super) fn check_all_answered(&self) {
        assert!(
            self.requests.is_empty(),
            "not answered: {:?}",
            self.requests
        );
    }

    pub(super) fn check_window_is_whole(&self) {
        assert_eq!(self.max_cmd_sn, self.next_cmd_sn.plus(self.window - 1));
    }
}

/// Memory of the solicited part of a command's Data-Out Buffer.
fn write_stag(tag: u32, begin: u32) -> Stag {
    Stag {
        key: tag << 1,
        address: u64::from(tag) << 32 | u64::from(begin),
    }
}

fn read_stag(tag: u32) -> Stag {
    Stag {
        key: tag << 1 | 1,
        address: u64::from(tag) << 32 | 0x8000_0000,
    }
}
