//! A connection driven by a script of bytes: a model initiator that keeps to the protocol (unless the script damages what it
//! sends), a model stream or NIC, and a model core that answers, aborts and pulls as the script says.
//!
//! Whatever the script, these hold: commands reach the core in the order in which they were sent, with the data that were sent
//! with them; every request is answered at most once, and exactly once unless the core aborted it; data land where they
//! belong, both ways; sequence numbers have no holes; the window never shrinks and is whole at the end; a connection ends once;
//! no buffer is lost.
//!
//! Both the replay test and the fuzz targets use this file.

mod initiator;
pub(crate) mod raw;
mod script;

use initiator::{Initiator, Link};
use iobuf::{Buf, Pool, RemoteSegment};
use raw::Pools;
use script::Script;
use target_core::backend::TaskId;
use target_core::command::{
    ChannelId, Command, ExchangeId, Outcome, Residual, TaskManagementResponse,
};
use target_core::port::{Channel, ChannelEvent, Part, Transmit};
use target_core::sense::{AdditionalSense, Sense};
use target_core::status::Status;
use transport_iser::Sn;
use transport_iser::connection::{Connection, Counters};
use transport_iser::login::{Digest, Identity, Negotiated, SessionType, TaskReporting};
use transport_iser::pdu::Bhs;

const WINDOW: u16 = 6;

/// A request that the core has.
struct Task {
    exchange: ExchangeId,
    tag: u32,
    is_command: bool,
    data_in_len: u32,
    data_out_len: u32,
    /// Where the next pull may begin.
    pulled: u32,
    /// Offset and length of the pull that is under way.
    pull: Option<(u32, usize)>,
}

/// An RDMA READ that the NIC has not finished.
struct Read {
    exchange: ExchangeId,
    buf: Buf,
    segments: Vec<RemoteSegment>,
}

struct World<'a> {
    script: Script<'a>,
    recv: Pool,
    data: Pool,
    messages: Pool,
    connection: Connection,
    initiator: Initiator,
    tasks: Vec<Task>,
    reads: Vec<Read>,
    /// What was sent and has not been given back.
    sends: Vec<Buf>,
    now_ms: u64,
    /// Nothing is damaged: connections live long, and see the rarer turns.
    orderly: bool,
    closed: bool,
}

/// Values that the script chooses.
fn negotiated(script: &mut Script<'_>, link: Link, digests: (bool, bool)) -> Negotiated {
    let digest = |has: bool| if has { Digest::Crc32c } else { Digest::None };
    let max_burst_length = 512 + 64 * u32::from(script.byte());
    Negotiated {
        identity: Identity {
            initiator_name: "iqn.2026-11.test:i".into(),
            initiator_alias: None,
            target_name: Some("iqn.2026-11.test:t".into()),
            session_type: SessionType::Normal,
            isid: [1; 6],
            tsih: 0,
            cid: 0,
        },
        tsih: 1,
        max_recv_data_segment_length: 8192,
        max_xmit_data_segment_length: 512 + 16 * u32::from(script.byte()),
        header_digest: digest(digests.0),
        data_digest: digest(digests.1),
        initial_r2t: script.flag(),
        immediate_data: !script.flag(),
        max_burst_length,
        first_burst_length: max_burst_length.min(512 + 16 * u32::from(script.byte())),
        max_outstanding_r2t: 1 + u16::from(script.below(4)),
        default_time2wait: 2,
        default_time2retain: 0,
        data_pdu_in_order: true,
        data_sequence_in_order: true,
        error_recovery_level: 0,
        protocol_level: 1,
        task_reporting: TaskReporting::Rfc3720,
        rdma: (link == Link::Iser).then_some(transport_iser::login::RdmaValues {
            initiator_recv_data_segment_length: 8192,
            target_recv_data_segment_length: 8192,
            max_outstanding_unexpected_pdus: 0,
            max_ahs_length: 0,
            tagged_buffer_for_solicited_data_only: false,
            iser_hello_required: false,
        }),
    }
}

/// Runs a script and gives the connection's counters, and how many requests were answered. Panics when anything does not hold.
pub(crate) fn run(script: &[u8]) -> (Counters, usize) {
    let mut world = World::new(Script::new(script));
    while let Some(step) = world.script.step() {
        world.step(step);
        world.settle();
    }
    world.drain();
    let counters = *world.connection.counters();
    let answered = world.initiator.answered();
    let pools = [
        world.recv.clone(),
        world.data.clone(),
        world.messages.clone(),
    ];
    drop(world);
    for pool in pools {
        assert_eq!(pool.level().in_use_bytes, 0, "a buffer is lost");
    }
    (counters, answered)
}

impl<'a> World<'a> {
    fn new(mut script: Script<'a>) -> Self {
        let flags = script.byte();
        let link = if flags & 1 == 0 {
            Link::Tcp
        } else {
            Link::Iser
        };
        let tcp = link == Link::Tcp;
        let digests = (tcp && flags & 2 != 0, tcp && flags & 4 != 0);
        let pools = Pools::new();
        let negotiated = negotiated(&mut script, link, digests);
        let first = Sn(u32::MAX - u32::from(script.below(8)));
        let connection = pools.connection(link).established(&negotiated, first);
        Self {
            initiator: Initiator::new(link, negotiated, first, WINDOW.into()),
            orderly: flags & 8 != 0,
            script,
            connection,
            recv: pools.recv,
            data: pools.data,
            messages: pools.messages,
            tasks: Vec::new(),
            reads: Vec::new(),
            sends: Vec::new(),
            now_ms: 0,
            closed: false,
        }
    }

    fn step(&mut self, step: u8) {
        match step % 16 {
            0..=2 => self.initiator.command(&mut self.script),
            3 | 4 => self.initiator.data_out(&mut self.script),
            5 => self.initiator.task_management(&mut self.script),
            6 => self.initiator.ping(&mut self.script),
            7 | 8 => self.finish(),
            9 | 10 => self.pull(),
            11 => self.complete_read(),
            12 => self.sends.clear(),
            13 => self.abort(),
            14 => self.pass_time(),
            _ => self.rare(),
        }
        let most = 1 + 64 * usize::from(self.script.byte());
        self.deliver(most);
    }

    fn rare(&mut self) {
        match self.script.below(8) {
            0 if !self.orderly => self.connection.handle_shutdown(),
            1 if !self.orderly => self.initiator.logout(),
            2 | 3 if !self.orderly => self.initiator.damage(&mut self.script),
            4 => {
                while let Some(index) = self.tasks.iter().position(|task| task.is_command) {
                    self.abort_task(index);
                }
            }
            _ => {}
        }
    }

    /// Hands over what the initiator has sent: up to `most` bytes of a stream, or a message.
    fn deliver(&mut self, most: usize) {
        if !self.connection.wants_input() {
            return;
        }
        let bytes = self.initiator.take_sent(most.min(16 << 10));
        if bytes.is_empty() {
            return;
        }
        let Some(mut buf) = self.recv.take(bytes.len()) else {
            panic!("receive buffers are not given back");
        };
        buf.copy_from_slice(&bytes);
        self.connection.handle_recv(buf, self.now_ms);
    }

    fn pick_task(&mut self) -> Option<usize> {
        let count = self.tasks.len();
        (count > 0).then(|| usize::from(self.script.byte()) % count)
    }

    /// The core finishes a request that waits for no data.
    fn finish(&mut self) {
        if let Some(index) = self.pick_task()
            && self.tasks[index].pull.is_none()
        {
            let task = self.tasks.remove(index);
            self.finish_task(&task);
        }
    }

    fn finish_task(&mut self, task: &Task) {
        if task.is_command {
            let outcome = self.outcome(task);
            self.connection.handle_outcome(task.exchange, outcome);
        } else {
            let response = [
                TaskManagementResponse::FunctionComplete,
                TaskManagementResponse::FunctionRejected,
                TaskManagementResponse::IncorrectLogicalUnitNumber,
                TaskManagementResponse::FunctionAuthorizationFailed,
            ][usize::from(self.script.below(4))];
            self.connection
                .handle_task_management(task.exchange, response);
        }
    }

    /// What the core says of a command; the initiator must see exactly this.
    fn outcome(&mut self, task: &Task) -> Outcome {
        let is_good = !self.script.flag();
        let most = if is_good {
            task.data_in_len.min(8192)
        } else {
            0
        };
        let len = 37 * u32::from(self.script.byte()) % (most + 1);
        let data_in = self.data.take(len as usize).map(|mut buf| {
            for (at, byte) in buf.iter_mut().enumerate() {
                *byte = initiator::memory(task.tag, at as u32);
            }
            buf
        });
        let len = data_in.as_ref().map_or(0, |buf| buf.len() as u32);
        let residual = Residual::of(task.data_in_len, len);
        let status = if is_good {
            Status::GOOD
        } else {
            Status::CHECK_CONDITION
        };
        self.initiator.expect(task.tag, status, len, residual);
        let code = AdditionalSense::INVALID_FIELD_IN_CDB;
        let sense = (!is_good).then(|| Sense::illegal_request(code));
        answer(status, sense, data_in, residual)
    }

    fn abort(&mut self) {
        if let Some(index) = self.pick_task()
            && self.tasks[index].is_command
        {
            self.abort_task(index);
        }
    }

    fn abort_task(&mut self, index: usize) {
        let task = &self.tasks[index];
        if task.pull.is_some() {
            self.connection.stop_data_out(task.exchange);
        }
        let task = self.tasks.remove(index);
        self.initiator.forget(task.tag);
        self.connection.handle_aborted(task.exchange);
    }

    fn pull(&mut self) {
        let Some(index) = self.pick_task() else {
            return;
        };
        let all = self.script.flag();
        let (skip, part) = (
            u32::from(self.script.byte()),
            1 + 8 * u32::from(self.script.byte()),
        );
        let task = &mut self.tasks[index];
        let left = task.data_out_len - task.pulled;
        if left == 0 || task.pull.is_some() {
            return;
        }
        let (skip, count) = if all { (0, left) } else { (skip % left, part) };
        let count = count.min(left - skip);
        let Some(buf) = self.data.take(count as usize) else {
            return;
        };
        let offset = task.pulled + skip;
        task.pull = Some((offset, buf.len()));
        task.pulled = offset + count;
        let id = TaskId {
            index: task.exchange.0,
            generation: 1,
        };
        self.connection
            .pull_data_out(task.exchange, id, offset, buf);
    }

    fn complete_read(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let index = usize::from(self.script.byte()) % self.reads.len();
        let mut read = self.reads.remove(index);
        self.initiator.read(&read.segments, &mut read.buf);
        self.connection.handle_pulled(read.exchange, read.buf);
    }

    fn pass_time(&mut self) {
        self.now_ms += 10 * u64::from(self.script.byte());
        self.run_timers();
    }

    fn run_timers(&mut self) {
        let due = self.connection.poll_timeout();
        if due.is_some_and(|at| at <= self.now_ms) {
            self.connection.handle_timeout(self.now_ms);
            let next = self.connection.poll_timeout();
            let rests = next.is_none_or(|at| at > self.now_ms);
            assert!(
                rests,
                "a timer that does not rest: {next:?} at {}",
                self.now_ms
            );
        }
    }

    /// The driver's turn: all events, then all that can be sent.
    fn settle(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            self.take_event(event);
        }
        while self.post() {}
        let in_use = self.connection.exchanges_in_use() as usize;
        assert!(
            in_use >= self.reads.len(),
            "an exchange has ended while the NIC reads for it"
        );
        let level = self.messages.level();
        let has_room = level.in_use_bytes < level.capacity_bytes;
        let starved = self.data.level().in_use_bytes != 0;
        assert!(
            !(self.connection.has_transmit() && has_room && !starved),
            "something waits although there are message buffers"
        );
    }

    fn take_event(&mut self, event: ChannelEvent) {
        match event {
            ChannelEvent::Command(command) => self.take_command(command),
            ChannelEvent::TaskManagement(request) => {
                let tag = self.initiator.delivered_task_management();
                self.take_task(request.exchange, tag, false, 0, 0);
            }
            ChannelEvent::DataOut { task, buf } => self.take_data_out(task, buf),
            ChannelEvent::DataOutLost { task } => self.take_loss(task),
            ChannelEvent::Transport => panic!("the login is over"),
            ChannelEvent::Close(_) => {
                assert!(!self.closed, "closed twice");
                self.closed = true;
                self.initiator.close();
            }
        }
    }

    fn take_command(&mut self, command: Command) {
        assert_eq!(command.channel, ChannelId(7));
        assert!(command.exchange.place() < usize::from(WINDOW) + 2);
        self.initiator.delivered(&command);
        let tag = u32::try_from(command.tag).expect("a tag of iSCSI");
        let data_out_len = if command.immediate.is_some() {
            0
        } else {
            command.data_out_len
        };
        self.take_task(
            command.exchange,
            tag,
            true,
            command.data_in_len,
            data_out_len,
        );
    }

    fn take_task(&mut self, exchange: ExchangeId, tag: u32, is_command: bool, in_: u32, out: u32) {
        let is_new = self.tasks.iter().all(|task| task.exchange != exchange);
        assert!(is_new, "an exchange is used twice");
        self.tasks.push(Task {
            exchange,
            tag,
            is_command,
            data_in_len: in_,
            data_out_len: out,
            pulled: 0,
            pull: None,
        });
    }

    fn take_data_out(&mut self, id: TaskId, mut buf: Buf) {
        let task = self.tasks.iter_mut().find(|t| t.exchange.0 == id.index);
        let task = task.expect("data for a command that the core has");
        let (offset, len) = task.pull.take().expect("data that were asked for");
        // The window may be on what came last.
        assert!(buf.set_window(0, len));
        self.initiator.check_data_out(task.tag, offset, &buf);
    }

    /// Of a command that was aborted, or of an initiator whose data are damaged on their way.
    fn take_loss(&mut self, id: TaskId) {
        let lost = self.tasks.iter().position(|t| t.exchange.0 == id.index);
        if let Some(index) = lost {
            assert!(
                self.initiator.is_wild(),
                "the initiator sends all data in sequence"
            );
            let task = self.tasks.remove(index);
            assert!(task.pull.is_some(), "data that were asked for");
            self.finish_task(&task);
        }
    }

    fn post(&mut self) -> bool {
        match self.connection.poll_transmit() {
            None => return false,
            Some(Transmit::Pull {
                exchange,
                buf,
                segments,
            }) => {
                assert!(!self.closed, "a read on a closed connection");
                let total: u64 = segments.iter().map(|s| u64::from(s.length)).sum();
                assert_eq!(total, buf.len() as u64, "segments cover the buffer exactly");
                let segments = segments.to_vec();
                self.reads.push(Read {
                    exchange,
                    buf,
                    segments,
                });
            }
            Some(Transmit::Respond {
                data,
                segments,
                message,
                invalidate,
            }) => {
                self.initiator
                    .message(&message, data.as_deref(), segments, invalidate);
                self.sends.push(message);
                self.sends.extend(data);
            }
            Some(Transmit::Stream {
                message,
                data,
                pieces,
            }) => {
                let mut bytes = Vec::new();
                for piece in pieces {
                    let of = match piece.of {
                        Part::Message => &message[..],
                        Part::Data => data.as_deref().expect("data"),
                    };
                    bytes.extend(&of[piece.start as usize..(piece.start + piece.len) as usize]);
                }
                self.initiator.stream(&bytes);
                self.sends.push(message);
                self.sends.extend(data);
            }
        }
        true
    }

    /// Everything comes to its end; then all is answered and the window is whole.
    fn drain(&mut self) {
        self.finish_all();
        if self.closed || self.initiator.is_wild() {
            return;
        }
        self.initiator.check_all_answered();
        assert_eq!(self.connection.exchanges_in_use(), 0, "an exchange leaks");
        self.initiator.ping(&mut self.script);
        self.finish_all();
        self.initiator.check_window_is_whole();
    }

    fn finish_all(&mut self) {
        for _ in 0..10_000 {
            self.sends.clear();
            self.initiator.all_data_out();
            self.deliver(8192);
            self.settle();
            while !self.reads.is_empty() {
                self.complete_read();
            }
            self.settle();
            let ready = |task: &Task| self.closed || task.pull.is_none();
            if let Some(index) = self.tasks.iter().position(ready) {
                let task = self.tasks.remove(index);
                self.finish_task(&task);
            } else if self.tasks.is_empty() && self.initiator.has_sent_all() {
                self.settle();
                return;
            } else if self.initiator.is_wild() && !self.tasks.is_empty() {
                // A damaged initiator may never send what was asked for.
                let index = self.tasks.len() - 1;
                match self.tasks[index].is_command {
                    true => self.abort_task(index),
                    false => drop(self.tasks.remove(index)),
                }
            }
            // Who waits for a buffer that never comes is told so.
            self.now_ms += 100;
            self.run_timers();
            self.settle();
            if self.closed && self.tasks.is_empty() && self.reads.is_empty() {
                return;
            }
        }
        assert!(
            self.initiator.is_wild(),
            "the connection does not come to rest: {} requests are with the core, {:?}",
            self.tasks.len(),
            self.data.level(),
        );
    }
}

fn answer(
    status: Status,
    sense: Option<Sense>,
    data_in: Option<Buf>,
    data_in_residual: Residual,
) -> Outcome {
    Outcome {
        status,
        sense,
        data_in,
        data_in_residual,
        data_out_residual: Residual::None,
    }
}

/// The headers of a message over iSER and its data segment.
fn split_message(message: &[u8]) -> (Bhs, &[u8]) {
    let (_, rest) = transport_iser::iser::Header::parse(message).expect("an iSER header");
    let (bhs, data) = rest.split_first_chunk().expect("a basic header");
    (*bhs, data)
}
