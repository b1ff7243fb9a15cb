//! A channel driven by a script of bytes: a model initiator that keeps to the protocol (unless the
//! script makes it send raw bytes), a model NIC, and a model core that answers, aborts and pulls as
//! the script says.
//!
//! Whatever the script, these hold: requests reach the core in the order in which they were sent;
//! every request is answered at most once, and exactly once unless the core aborted it; segments
//! are exactly those of the request; the initiator's own count of its credits is never exceeded and
//! at the end complete; a channel ends once, and nothing follows its goodbye; no buffer is lost.
//!
//! Both the replay test and the fuzz target use this file.

mod initiator;
mod script;

use std::sync::Arc;

use initiator::{Initiator, Request};
use iobuf::{Arena, Buf, Pool, RemoteSegment};
use script::Script;
use target_core::backend::TaskId;
use target_core::command::{
    ChannelId, Command, ExchangeId, Outcome, Residual, TaskManagementResponse,
};
use target_core::port::{Channel as _, ChannelEvent, Transmit};
use target_core::sense::{AdditionalSense, Sense};
use target_core::status::Status;
use transport_srp::wire::login::MultichannelResult;
use transport_srp::wire::{Iu, LoginRej, LoginRsp, Rsp};
use transport_srp::{
    Carrier, Channel, ChannelCounters, LoginPolicy, Negotiated, TargetPortId, recv_layout,
};

const MAX_IT_IU_LEN: u32 = 1024;
const IMM_DATA_OFFSET: u16 = 68;
const SLOTS: usize = 64;

/// Answers a login. Every answer is one that the initiator can read. True when it is granted.
pub(crate) fn login(private_data: &[u8], carrier: Carrier) -> bool {
    let policy = LoginPolicy::new(TargetPortId {
        id_ext: 0x0002_c903_0050_5174,
        ioc_guid: 0x0002_c903_0050_5175,
    });
    match policy.examine(private_data, carrier, Some(0x0023_7dff_ff95_169d)) {
        Ok(request) => {
            let (negotiated, answer) = policy.accept(&request, MultichannelResult::NO_CHAN);
            let answer = LoginRsp::parse(&answer).expect("a login response");
            assert_eq!(answer.tag, request.tag);
            assert!(answer.max_it_iu_len >= request.req_it_iu_len);
            assert_eq!(answer.request_limit_delta, negotiated.request_limit);
            true
        }
        Err(refused) => {
            let answer = LoginRej::parse(&refused.to_bytes()).expect("a login reject");
            assert_eq!(answer.reason, refused.refusal.reason());
            assert!(!refused.refusal.to_string().is_empty());
            false
        }
    }
}

/// Reads any information unit. What can be read means the same after it was written again. True
/// when it can.
pub(crate) fn information_unit(bytes: &[u8]) -> bool {
    match Iu::parse(bytes) {
        Ok(iu) => {
            let mut again = vec![0; bytes.len() + 64];
            let len = iu.emit(&mut again).expect("room");
            assert_eq!(Iu::parse(&again[..len]), Ok(iu));
            true
        }
        Err(error) => {
            assert!(error.offset <= bytes.len(), "{error}");
            false
        }
    }
}

/// A request that the core has.
struct Task {
    exchange: ExchangeId,
    tag: u64,
    is_command: bool,
    data_in_len: u32,
    data_out_len: u32,
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
    tables: Pool,
    channel: Channel,
    initiator: Initiator,
    tasks: Vec<Task>,
    reads: Vec<Read>,
    /// Messages whose SEND has not completed.
    sends: Vec<Buf>,
    now_ms: u64,
    /// Neither raw bytes nor goodbyes: channels live long, and see the rarer turns.
    orderly: bool,
    closed: bool,
    goodbye: bool,
}

/// Runs a script and gives the channel's counters. Panics when anything does not hold.
pub(crate) fn run(script: &[u8]) -> ChannelCounters {
    let arena = Arena::new(1).expect("map");
    let mut world = World::new(&arena, Script::new(script));
    while let Some(step) = world.script.step() {
        world.step(step);
        world.settle();
    }
    world.drain();
    let counters = *world.channel.counters();
    let pools = [
        world.recv.clone(),
        world.data.clone(),
        world.messages.clone(),
        world.tables.clone(),
    ];
    drop(world);
    for pool in pools {
        assert_eq!(pool.level().in_use_bytes, 0, "a buffer is lost");
    }
    counters
}

impl<'a> World<'a> {
    fn new(arena: &Arc<Arena>, mut script: Script<'a>) -> Self {
        let slot_len = recv_layout(MAX_IT_IU_LEN).slot_len;
        let data = 1 << 20;
        let messages = data + (1 << 18);
        let tables = messages + (1 << 16);
        let request_limit = 1 + u32::from(script.below(12));
        let login = Negotiated {
            request_limit,
            max_it_iu_len: MAX_IT_IU_LEN,
            imm_data_offset: script.flag().then_some(IMM_DATA_OFFSET),
        };
        let (messages, tables) = (
            Pool::slots(arena, messages..messages + 8 * 64, 64),
            Pool::buddy(arena, tables..tables + 3 * 4096, 4096),
        );
        let channel = Channel::new(ChannelId(7), login, messages.clone(), tables.clone());
        Self {
            initiator: Initiator::new(&login, script.flag()),
            orderly: script.flag(),
            script,
            recv: Pool::slots(arena, 0..SLOTS * slot_len, slot_len),
            data: Pool::buddy(arena, data..data + (1 << 18), 4096),
            messages,
            tables,
            channel,
            tasks: Vec::new(),
            reads: Vec::new(),
            sends: Vec::new(),
            now_ms: 0,
            closed: false,
            goodbye: false,
        }
    }

    fn step(&mut self, step: u8) {
        match step % 16 {
            0..=3 => self.send_command(),
            4 => self.send_task_management(),
            5 if !self.orderly => self.send_raw(),
            6..=8 => self.finish(),
            9 => self.abort(),
            10 => self.pull(),
            11 | 12 => self.complete_read(),
            13 => self.sends.clear(),
            14 => self.pass_time(),
            _ => self.rare(),
        }
    }

    fn rare(&mut self) {
        match self.script.below(8) {
            0 if !self.orderly => self.channel.handle_shutdown(),
            1 if !self.orderly => self.deliver(&self.initiator.logout()),
            2 => self.abort_everything(),
            3 => self.send_credit_response(),
            _ => {}
        }
    }

    /// Delivers a message in a buffer with the receive layout.
    fn deliver(&mut self, bytes: &[u8]) {
        let layout = recv_layout(MAX_IT_IU_LEN);
        let mut message = self
            .recv
            .take(layout.slot_len)
            .expect("as many as requests");
        assert!(message.set_window(layout.window_start, bytes.len()));
        message.copy_from_slice(bytes);
        self.channel.handle_recv(message, self.now_ms);
    }

    /// A conforming initiator answers SRP_CRED_REQ before it sends anything else.
    fn send_credit_response(&mut self) {
        if let Some(bytes) = self.initiator.credit_response() {
            self.deliver(&bytes);
        }
    }

    fn send_command(&mut self) {
        self.send_credit_response();
        if let Some(bytes) = self.initiator.command(&mut self.script) {
            self.deliver(&bytes);
        }
    }

    fn send_task_management(&mut self) {
        self.send_credit_response();
        if let Some(bytes) = self.initiator.task_management(&mut self.script) {
            self.deliver(&bytes);
        }
    }

    fn send_raw(&mut self) {
        self.send_credit_response();
        let bytes = self.initiator.raw(&mut self.script);
        self.deliver(&bytes);
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
        let request = self.initiator.answering(task.tag);
        if task.is_command {
            let outcome = outcome(task, request, &mut self.script, &self.data);
            self.channel.handle_outcome(task.exchange, outcome);
        } else {
            let response = [
                TaskManagementResponse::FunctionComplete,
                TaskManagementResponse::FunctionRejected,
                TaskManagementResponse::IncorrectLogicalUnitNumber,
                TaskManagementResponse::FunctionAuthorizationFailed,
            ][usize::from(self.script.below(4))];
            self.channel.handle_task_management(task.exchange, response);
        }
    }

    fn abort(&mut self) {
        if let Some(index) = self.pick_task()
            && self.tasks[index].is_command
        {
            self.abort_task(index);
        }
    }

    fn abort_task(&mut self, index: usize) {
        let task = self.tasks.remove(index);
        self.initiator.forget(task.tag);
        self.channel.handle_aborted(task.exchange);
    }

    /// Another initiator's logical unit reset.
    fn abort_everything(&mut self) {
        while let Some(index) = self.tasks.iter().position(|task| task.is_command) {
            self.abort_task(index);
        }
    }

    fn pull(&mut self) {
        let Some(index) = self.pick_task() else {
            return;
        };
        let task = &mut self.tasks[index];
        let pullable = self.initiator.is_remote_write(task.tag);
        let len = task.data_out_len.min(4096);
        if !pullable || len == 0 || task.pull.is_some() {
            return;
        }
        let offset = u32::from(self.script.byte()) % len;
        let count = 1 + u32::from(self.script.byte()) % (len - offset);
        let Some(buf) = self.data.take(count as usize) else {
            return;
        };
        task.pull = Some((offset, buf.len()));
        let id = TaskId {
            index: task.exchange.0,
            generation: 1,
        };
        self.channel.pull_data_out(task.exchange, id, offset, buf);
    }

    fn complete_read(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let index = usize::from(self.script.byte()) % self.reads.len();
        let mut read = self.reads.remove(index);
        self.initiator.read(&read.segments, &mut read.buf);
        self.channel.handle_pulled(read.exchange, read.buf);
    }

    fn pass_time(&mut self) {
        self.now_ms += 50 * u64::from(self.script.byte());
        self.run_timers();
    }

    fn run_timers(&mut self) {
        if self
            .channel
            .poll_timeout()
            .is_some_and(|at| at <= self.now_ms)
        {
            self.channel.handle_timeout(self.now_ms);
            let next = self.channel.poll_timeout();
            assert!(
                next.is_none_or(|at| at > self.now_ms),
                "a timer that does not rest"
            );
        }
    }

    /// The driver's turn: all events, then all that can be posted.
    fn settle(&mut self) {
        while let Some(event) = self.channel.poll_event() {
            self.take_event(event);
        }
        while self.post() {}
        let in_use = self.channel.exchanges_in_use();
        assert!(
            self.closed || in_use as usize >= self.reads.len(),
            "an exchange has ended while the NIC reads for it"
        );
        let level = self.messages.level();
        assert!(
            !self.channel.has_transmit() || level.in_use_bytes == level.capacity_bytes,
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
            ChannelEvent::DataOut { task, buf } => self.take_data_out(task, &buf),
            ChannelEvent::DataOutLost { .. } => panic!("an RDMA READ that fails ends the channel"),
            ChannelEvent::Transport => panic!("SRP has no question of its own"),
            ChannelEvent::Close(_) => {
                assert!(!self.closed, "closed twice");
                self.closed = true;
                self.initiator.close();
            }
        }
    }

    fn take_command(&mut self, command: Command) {
        assert_eq!(command.channel, ChannelId(7));
        self.initiator.delivered(&command);
        let (data_in, data_out) = (command.data_in_len, command.data_out_len);
        self.take_task(command.exchange, command.tag, true, data_in, data_out);
    }

    fn take_task(&mut self, exchange: ExchangeId, tag: u64, is_command: bool, in_: u32, out: u32) {
        assert!(
            self.tasks.iter().all(|task| task.exchange != exchange),
            "an exchange is used twice"
        );
        self.tasks.push(Task {
            exchange,
            tag,
            is_command,
            data_in_len: in_,
            data_out_len: out,
            pull: None,
        });
    }

    fn take_data_out(&mut self, id: TaskId, buf: &Buf) {
        let task = self.tasks.iter_mut().find(|t| t.exchange.0 == id.index);
        let task = task.expect("data for a command that the core has");
        let (offset, len) = task.pull.take().expect("data that was asked for");
        assert_eq!(buf.len(), len);
        self.initiator.check_data_out(task.tag, offset, buf);
    }

    fn post(&mut self) -> bool {
        match self.channel.poll_transmit() {
            None => return false,
            Some(Transmit::Pull {
                exchange,
                buf,
                segments,
            }) => {
                assert!(!self.closed, "a read on a closed channel");
                let total: u64 = segments.iter().map(|s| u64::from(s.length)).sum();
                assert_eq!(total, buf.len() as u64, "segments cover the buffer exactly");
                self.reads.push(Read {
                    exchange,
                    buf,
                    segments: segments.to_vec(),
                });
            }
            Some(Transmit::Respond {
                data,
                segments,
                message,
                ..
            }) => {
                assert!(!self.goodbye, "nothing follows the goodbye");
                match Iu::parse(&message).expect("a message of SRP") {
                    Iu::Rsp(rsp) => self.initiator.response(&rsp, data.as_deref(), segments),
                    Iu::CredReq(request) => self.initiator.credit_request(&request),
                    Iu::TLogout(_) => self.goodbye = true,
                    other => panic!("{other:?} is not for an initiator"),
                }
                self.sends.push(message);
            }
            Some(Transmit::Stream { .. }) => panic!("SRP has no byte stream"),
        }
        true
    }

    /// Everything comes to its end; then the initiator must have all its credits.
    fn drain(&mut self) {
        self.finish_all();
        if self.closed {
            return;
        }
        self.initiator.check_all_answered();
        assert_eq!(self.channel.exchanges_in_use(), 0, "an exchange leaks");
        self.send_credit_response();
        // An initiator that does not know SRP_CRED_REQ must hear of its credits by a response.
        for _ in 0..2 {
            self.now_ms += 10_000;
            self.run_timers();
            self.settle();
        }
        if let Some(bytes) = self.initiator.task_management(&mut self.script) {
            self.deliver(&bytes);
            self.settle();
            self.finish_all();
            self.initiator.check_credits_complete();
        } else {
            assert!(
                self.initiator.ignores_credit_requests(),
                "the initiator is starved"
            );
        }
    }

    fn finish_all(&mut self) {
        self.settle();
        while !(self.reads.is_empty() && self.tasks.is_empty() && self.sends.is_empty()) {
            self.sends.clear();
            while !self.reads.is_empty() {
                self.complete_read();
            }
            self.settle();
            if !self.reads.is_empty() {
                continue;
            }
            let ready = |task: &Task| self.closed || task.pull.is_none();
            if let Some(index) = self.tasks.iter().position(ready) {
                let task = self.tasks.remove(index);
                self.finish_task(&task);
            }
            self.settle();
        }
    }
}

/// What the core says of a command, and what the initiator must see of it.
fn outcome(task: &Task, request: &mut Request, script: &mut Script<'_>, pool: &Pool) -> Outcome {
    let good = !script.flag();
    let most = if good { task.data_in_len.min(4096) } else { 0 };
    let len = u32::from(script.byte()) % (most + 1);
    let data_in = pool.take(len as usize).map(|mut buf| {
        buf.fill(0x6c);
        buf
    });
    let len = data_in.as_ref().map_or(0, |buf| buf.len() as u32);
    let residual = match task.data_in_len - len {
        0 if script.flag() => Residual::Overflow(5),
        0 => Residual::None,
        left => Residual::Underflow(left),
    };
    let status = if good {
        Status::GOOD
    } else {
        Status::CHECK_CONDITION
    };
    let sense = (!good).then(|| Sense::illegal_request(AdditionalSense::INVALID_FIELD_IN_CDB));
    request.expect_answer(status, len, residual);
    Outcome {
        status,
        sense,
        data_in,
        data_in_residual: residual,
        data_out_residual: Residual::None,
    }
}
