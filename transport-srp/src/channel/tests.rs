//! Traces: messages by the emitters, a core that answers what the test says.

use std::sync::Arc;

use iobuf::Arena;
use target_core::command::{Command, Residual, TaskManagement, TaskManagementFunction};
use target_core::lun::Lun;
use target_core::port::Channel as _;
use target_core::sense::{AdditionalSense, Sense};
use target_core::status::Status;

use super::*;
use crate::credit::OFFER_TIMEOUT_MS;
use crate::layout::{IMMEDIATE_ALIGN_BYTES, recv_layout};
use crate::wire::cmd::{BufferFormat, TaskAttributeCode};
use crate::wire::desc::{IndirectDesc, direct_to_bytes, immediate_to_bytes};
use crate::wire::rsp::RspCode;
use crate::wire::tsk_mgmt::TaskFunctionCode;
use crate::wire::{AerRsp, Cmd, CredReq, CredRsp, ILogout, Iu, Rsp, TLogout, TskMgmt};

const MAX_IT_IU_LEN: u32 = 8260;
const TASK: TaskId = TaskId {
    index: 3,
    generation: 4,
};

struct Rig {
    _arena: Arc<Arena>,
    recv: Pool,
    data: Pool,
    messages: Pool,
    tables: Pool,
    channel: Channel,
}

/// What `poll_transmit` gave, with the segments copied.
#[derive(Debug)]
struct Posted {
    data: Option<Buf>,
    segments: Vec<RemoteSegment>,
    /// The exchange of a pull and its buffer, or the message.
    pull: Option<(ExchangeId, Buf)>,
    message: Vec<u8>,
}

impl Posted {
    fn iu(&self) -> Iu<'_> {
        Iu::parse(&self.message).expect("a message of SRP")
    }

    fn rsp(&self) -> Rsp<'_> {
        match self.iu() {
            Iu::Rsp(rsp) => rsp,
            other => panic!("{other:?} instead of a response"),
        }
    }
}

impl Rig {
    fn new(request_limit: u32) -> Self {
        let arena = Arena::new(1).expect("map");
        let layout = recv_layout(MAX_IT_IU_LEN + 1);
        let recv = Pool::slots(&arena, 0..8 * layout.slot_len, layout.slot_len);
        let data = Pool::buddy(&arena, 1 << 19..1 << 20, 1 << 16);
        let messages = Pool::slots(&arena, 1 << 20..(1 << 20) + 4 * 256, 256);
        let tables = Pool::buddy(&arena, 3 << 19..(3 << 19) + 8192, 4096);
        let login = Negotiated {
            request_limit,
            max_it_iu_len: MAX_IT_IU_LEN,
            imm_data_offset: Some(68),
        };
        let pools = (messages.clone(), tables.clone());
        let channel = Channel::new(ChannelId(1), login, pools.0, pools.1);
        Self {
            _arena: arena,
            recv,
            data,
            messages,
            tables,
            channel,
        }
    }

    /// Delivers bytes as the driver would, in a buffer with the receive layout.
    fn receive(&mut self, bytes: &[u8]) {
        let layout = recv_layout(MAX_IT_IU_LEN + 1);
        let mut message = self.recv.take(layout.slot_len).expect("a receive buffer");
        assert!(message.set_window(layout.window_start, bytes.len()));
        message.copy_from_slice(bytes);
        self.channel.handle_recv(message, 0);
    }

    fn send(&mut self, iu: Iu<'_>) {
        let mut bytes = vec![0; MAX_IT_IU_LEN as usize];
        let len = iu.emit(&mut bytes).expect("room");
        self.receive(&bytes[..len]);
    }

    fn events(&mut self) -> Vec<ChannelEvent> {
        std::iter::from_fn(|| self.channel.poll_event()).collect()
    }

    fn event(&mut self) -> ChannelEvent {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    fn command(&mut self) -> Command {
        match self.event() {
            ChannelEvent::Command(command) => command,
            other => panic!("{other:?} instead of a command"),
        }
    }

    fn task_management(&mut self) -> TaskManagement {
        match self.event() {
            ChannelEvent::TaskManagement(request) => request,
            other => panic!("{other:?} instead of task management"),
        }
    }

    fn post(&mut self) -> Option<Posted> {
        Some(match self.channel.poll_transmit()? {
            Transmit::Respond {
                data,
                segments,
                message,
                ..
            } => Posted {
                data,
                segments: segments.to_vec(),
                pull: None,
                message: message.to_vec(),
            },
            Transmit::Stream { .. } => panic!("SRP has no byte stream"),
            Transmit::Pull {
                exchange,
                buf,
                segments,
            } => Posted {
                data: None,
                segments: segments.to_vec(),
                pull: Some((exchange, buf)),
                message: Vec::new(),
            },
        })
    }

    fn posted(&mut self) -> Posted {
        self.post().expect("something to post")
    }

    fn finish(&mut self, exchange: ExchangeId) {
        self.channel.handle_outcome(exchange, good());
    }
}

fn good() -> Outcome {
    Outcome {
        status: Status::GOOD,
        sense: None,
        data_in: None,
        data_in_residual: Residual::None,
        data_out_residual: Residual::None,
    }
}

fn plain(tag: u64) -> Cmd<'static> {
    Cmd {
        sol_not: 0,
        data_out_format: BufferFormat::NONE,
        data_in_format: BufferFormat::NONE,
        data_out_count: 0,
        data_in_count: 0,
        tag,
        lun: Lun::peripheral(5),
        task_attribute: TaskAttributeCode::SIMPLE,
        cdb: &[0x28; 16],
        data: &[],
    }
}

fn segment(address: u64, length: u32) -> RemoteSegment {
    RemoteSegment {
        address,
        key: 9,
        length,
    }
}

fn list(segments: &[RemoteSegment]) -> Vec<u8> {
    segments.iter().copied().flat_map(direct_to_bytes).collect()
}

/// An indirect descriptor with the first `inline` entries in the message.
fn indirect(entries: &[RemoteSegment], inline: usize) -> Vec<u8> {
    let partial_list = list(&entries[..inline]);
    let descriptor = IndirectDesc {
        table: segment(0x9000, u32::try_from(entries.len() * 16).expect("short")),
        total_len: entries.iter().map(|s| s.length).sum(),
        partial_list: &partial_list,
    };
    let mut out = vec![0; 20 + partial_list.len()];
    descriptor.emit(&mut out).expect("room");
    out
}

fn read<'a>(tag: u64, format: BufferFormat, count: u8, data: &'a [u8]) -> Cmd<'a> {
    Cmd {
        data_in_format: format,
        data_in_count: count,
        data,
        ..plain(tag)
    }
}

fn write<'a>(tag: u64, format: BufferFormat, count: u8, data: &'a [u8]) -> Cmd<'a> {
    Cmd {
        data_out_format: format,
        data_out_count: count,
        data,
        ..plain(tag)
    }
}

fn abort(tag: u64, task_tag: u64) -> Iu<'static> {
    Iu::TskMgmt(TskMgmt {
        sol_not: 0,
        tag,
        lun: Lun::peripheral(5),
        function: TaskFunctionCode::ABORT_TASK,
        task_tag,
    })
}

#[test]
fn a_read_moves_its_data_before_its_response() {
    let mut rig = Rig::new(8);
    let entries = [
        segment(0x1000, 512),
        segment(0x4000, 512),
        segment(0x8000, 512),
    ];
    let data = indirect(&entries, 3);
    rig.send(Iu::Cmd(read(
        u64::MAX - 1,
        BufferFormat::INDIRECT,
        3,
        &data,
    )));
    let command = rig.command();
    assert_eq!((command.data_in_len, command.data_out_len), (1536, 0));
    assert_eq!(command.tag, u64::MAX - 1);
    assert_eq!(command.lun, Lun::peripheral(5));
    assert_eq!(command.cdb.as_slice(), [0x28; 16]);
    let outcome = Outcome {
        data_in: rig.data.take(600),
        data_in_residual: Residual::Underflow(936),
        ..good()
    };
    rig.channel.handle_outcome(command.exchange, outcome);
    let posted = rig.posted();
    assert_eq!(posted.data.as_ref().map(Buf::len), Some(600));
    assert_eq!(
        posted.segments,
        entries[..2],
        "a prefix that covers the data"
    );
    let rsp = posted.rsp();
    assert_eq!((rsp.tag, rsp.status), (u64::MAX - 1, Status::GOOD));
    assert_eq!(rsp.data_in_residual, Residual::Underflow(936));
    assert_eq!(rsp.data_out_residual, Residual::None);
    assert_eq!(rsp.request_limit_delta, 1);
    assert!(rig.post().is_none());
    assert_eq!(rig.channel.exchanges_in_use(), 0);
}

#[test]
fn a_check_condition_has_its_sense_and_no_data() {
    let mut rig = Rig::new(8);
    let data = direct_to_bytes(segment(0x1000, 512));
    rig.send(Iu::Cmd(read(1, BufferFormat::DIRECT, 0, &data)));
    let exchange = rig.command().exchange;
    let sense = Sense::illegal_request(AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED);
    let outcome = Outcome {
        status: Status::CHECK_CONDITION,
        sense: Some(sense),
        data_in_residual: Residual::Underflow(512),
        ..good()
    };
    rig.channel.handle_outcome(exchange, outcome);
    let posted = rig.posted();
    assert!(posted.data.is_none() && posted.segments.is_empty());
    assert_eq!(posted.rsp().status, Status::CHECK_CONDITION);
    assert_eq!(posted.rsp().sense, Some(&sense.to_fixed()[..]));
}

#[test]
fn a_write_is_pulled_from_any_offset() {
    let mut rig = Rig::new(8);
    let entries = [segment(0x1000, 512), segment(0x4000, 512)];
    let data = indirect(&entries, 2);
    rig.send(Iu::Cmd(write(1, BufferFormat::INDIRECT, 2, &data)));
    let command = rig.command();
    assert_eq!((command.data_in_len, command.data_out_len), (0, 1024));
    let exchange = command.exchange;
    let pulls = [
        (0, 512, vec![segment(0x1000, 512)]),
        (256, 600, vec![segment(0x1100, 256), segment(0x4000, 344)]),
    ];
    for (offset, len, segments) in pulls {
        let buf = rig.data.take(len).expect("room");
        rig.channel.pull_data_out(exchange, TASK, offset, buf);
        let posted = rig.posted();
        assert_eq!(posted.segments, segments);
        let (pulled, buf) = posted.pull.expect("a pull");
        rig.channel.handle_pulled(pulled, buf);
        match rig.event() {
            ChannelEvent::DataOut { task, buf } => assert_eq!((task, buf.len()), (TASK, len)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn immediate_data_is_the_receive_buffer_itself_and_aligned() {
    let mut rig = Rig::new(8);
    let mut data = immediate_to_bytes(512).to_vec();
    data.resize(20, 0xff);
    data.extend([0x5a; 512]);
    rig.send(Iu::Cmd(write(1, BufferFormat::IMMEDIATE, 0, &data)));
    let command = rig.command();
    assert_eq!(command.data_out_len, 512);
    let immediate = command.immediate.expect("the data");
    assert_eq!(immediate[..], [0x5a; 512]);
    assert_eq!(immediate.address() % IMMEDIATE_ALIGN_BYTES as u64, 0);
    assert_eq!(rig.channel.counters().immediate_writes, 1);
}

#[test]
fn a_receive_buffer_comes_back_at_once_without_immediate_data() {
    let mut rig = Rig::new(8);
    rig.send(Iu::Cmd(plain(1)));
    assert_eq!(rig.recv.level().in_use_bytes, 0);
    assert!(rig.recv.level().high_water_bytes > 0);
}

#[test]
fn nothing_overtakes_a_command_that_fetches_its_table() {
    let mut rig = Rig::new(8);
    let entries = [
        segment(0x1000, 100),
        segment(0x2000, 28),
        segment(0x3000, 1),
    ];
    let data = indirect(&entries, 1);
    rig.send(Iu::Cmd(write(1, BufferFormat::INDIRECT, 1, &data)));
    rig.send(Iu::Cmd(read(2, BufferFormat::INDIRECT, 1, &data)));
    rig.send(Iu::Cmd(plain(3)));
    rig.send(abort(4, 1));
    assert!(rig.events().is_empty());
    let mut fetches = [rig.posted(), rig.posted()].map(|posted| {
        assert_eq!(posted.segments, [segment(0x9010, 32)]);
        posted.pull.expect("a pull")
    });
    for (_, buf) in &mut fetches {
        buf.copy_from_slice(&list(&entries[1..]));
    }
    let [first, second] = fetches;
    rig.channel.handle_pulled(second.0, second.1);
    assert!(rig.events().is_empty(), "the first is still to come");
    rig.channel.handle_pulled(first.0, first.1);
    let events = rig.events();
    let tags: Vec<_> = events
        .iter()
        .map(|event| match event {
            ChannelEvent::Command(command) => command.tag,
            ChannelEvent::TaskManagement(_) => 4,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tags, [1, 2, 3, 4]);
    assert_eq!(rig.channel.counters().tables_fetched, 2);
    assert_eq!(rig.tables.level().in_use_bytes, 0);

    // The segments are the whole table's.
    let ChannelEvent::Command(command) = &events[0] else {
        panic!("checked above");
    };
    let buf = rig.data.take(129).expect("room");
    rig.channel.pull_data_out(command.exchange, TASK, 0, buf);
    assert_eq!(rig.posted().segments, entries);
}

#[test]
fn a_fetched_table_that_is_wrong_is_answered_and_stops_nothing() {
    let mut rig = Rig::new(8);
    let data = indirect(&[segment(0x1000, 100), segment(0x2000, 28)], 0);
    rig.send(Iu::Cmd(read(1, BufferFormat::INDIRECT, 0, &data)));
    rig.send(Iu::Cmd(plain(2)));
    let (exchange, mut buf) = rig.posted().pull.expect("a pull");
    buf.fill(0);
    rig.channel.handle_pulled(exchange, buf);
    assert_eq!(rig.command().tag, 2);
    let posted = rig.posted();
    assert_eq!(
        (posted.rsp().tag, posted.rsp().status),
        (1, Status::CHECK_CONDITION)
    );
}

#[test]
fn without_a_table_buffer_the_initiator_tries_again() {
    let mut rig = Rig::new(8);
    let held: Vec<_> = std::iter::from_fn(|| rig.tables.take(1)).collect();
    let data = indirect(&[segment(0x1000, 100)], 0);
    rig.send(Iu::Cmd(read(1, BufferFormat::INDIRECT, 0, &data)));
    assert_eq!(rig.posted().rsp().status, Status::BUSY);
    assert_eq!(rig.channel.counters().busy_commands, 1);
    drop(held);
    rig.send(Iu::Cmd(read(1, BufferFormat::INDIRECT, 0, &data)));
    assert!(rig.posted().pull.is_some());
}

#[test]
fn a_table_that_no_buffer_holds_is_refused_for_good() {
    let mut rig = Rig::new(8);
    let data = indirect(&[segment(0x1000, 1); 257], 0);
    rig.send(Iu::Cmd(read(1, BufferFormat::INDIRECT, 0, &data)));
    assert_eq!(rig.posted().rsp().status, Status::CHECK_CONDITION);
}

#[test]
fn task_management_answers_have_the_codes_of_srp() {
    let answers = [
        (
            TaskManagementResponse::FunctionComplete,
            RspCode::TASK_MANAGEMENT_FUNCTION_COMPLETE,
        ),
        (
            TaskManagementResponse::FunctionRejected,
            RspCode::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED,
        ),
        (
            TaskManagementResponse::IncorrectLogicalUnitNumber,
            RspCode::REQUEST_FIELDS_INVALID,
        ),
    ];
    let mut rig = Rig::new(1);
    for (response, code) in answers {
        rig.send(abort(0x8000_0001, 7));
        let request = rig.task_management();
        assert_eq!(request.lun, Lun::peripheral(5));
        assert_eq!(
            request.function,
            TaskManagementFunction::AbortTask { tag: 7 }
        );
        rig.channel
            .handle_task_management(request.exchange, response);
        let posted = rig.posted();
        let rsp = posted.rsp();
        assert_eq!((rsp.tag, rsp.response), (0x8000_0001, Some(code)));
        assert_eq!((rsp.status, rsp.request_limit_delta), (Status::GOOD, 1));
    }
}

#[test]
fn an_aborted_command_gets_no_response_and_its_credit_comes_with_the_abort() {
    let mut rig = Rig::new(8);
    rig.send(Iu::Cmd(plain(1)));
    let command = rig.command();
    rig.send(abort(2, 1));
    let request = rig.task_management();
    rig.channel.handle_aborted(command.exchange);
    let complete = TaskManagementResponse::FunctionComplete;
    rig.channel
        .handle_task_management(request.exchange, complete);
    let posted = rig.posted();
    assert_eq!((posted.rsp().tag, posted.rsp().request_limit_delta), (2, 2));
    rig.finish(command.exchange);
    assert!(rig.post().is_none(), "it had ended");
    assert_eq!(rig.channel.exchanges_in_use(), 0);
}

#[test]
fn a_queued_pull_of_an_aborted_command_is_never_posted() {
    let mut rig = Rig::new(8);
    let data = direct_to_bytes(segment(0x1000, 512));
    rig.send(Iu::Cmd(write(1, BufferFormat::DIRECT, 0, &data)));
    let exchange = rig.command().exchange;
    let buf = rig.data.take(512).expect("room");
    rig.channel.pull_data_out(exchange, TASK, 0, buf);
    rig.channel.handle_aborted(exchange);
    assert!(rig.post().is_none());
    assert_eq!(rig.data.level().in_use_bytes, 0);
    assert_eq!(rig.channel.exchanges_in_use(), 0);
}

#[test]
fn an_aborted_command_keeps_its_credit_until_the_nic_has_stopped() {
    let mut rig = Rig::new(2);
    let data = direct_to_bytes(segment(0x1000, 512));
    rig.send(Iu::Cmd(write(1, BufferFormat::DIRECT, 0, &data)));
    let exchange = rig.command().exchange;
    let buf = rig.data.take(512).expect("room");
    rig.channel.pull_data_out(exchange, TASK, 0, buf);
    let (_, buf) = rig.posted().pull.expect("a pull");
    rig.channel.handle_aborted(exchange);
    assert_eq!(rig.channel.exchanges_in_use(), 1);
    rig.channel.handle_pulled(exchange, buf);
    assert!(rig.events().is_empty(), "nobody waits for the data");
    assert_eq!(rig.channel.exchanges_in_use(), 0);
}

#[test]
fn commands_that_another_initiator_cleared_are_made_good_by_a_credit_request() {
    let mut rig = Rig::new(2);
    rig.send(Iu::Cmd(plain(1)));
    let first = rig.command().exchange;
    rig.send(Iu::Cmd(plain(2)));
    let second = rig.command().exchange;
    rig.channel.handle_aborted(first);
    assert!(
        !rig.channel.has_transmit() && rig.post().is_none(),
        "one is still to answer"
    );
    rig.channel.handle_aborted(second);
    assert!(rig.channel.has_transmit());
    let posted = rig.posted();
    let Iu::CredReq(CredReq {
        request_limit_delta,
        tag,
        ..
    }) = posted.iu()
    else {
        panic!("{:?}", posted.iu());
    };
    assert_eq!(request_limit_delta, 2);
    assert!(rig.post().is_none(), "one at a time");
    assert_eq!(rig.channel.counters().credit_requests, 1);
    rig.send(Iu::CredRsp(CredRsp { tag }));
    assert!(rig.events().is_empty());
    rig.send(Iu::Cmd(plain(3)));
    rig.send(Iu::Cmd(plain(4)));
    assert_eq!(rig.events().len(), 2);
}

#[test]
fn an_initiator_that_ignores_the_credit_request_gets_its_credits_by_a_response() {
    let mut rig = Rig::new(3);
    rig.send(Iu::Cmd(plain(1)));
    let first = rig.command().exchange;
    rig.send(Iu::Cmd(plain(2)));
    let second = rig.command().exchange;
    rig.channel.handle_aborted(first);
    rig.channel.handle_aborted(second);
    assert!(matches!(rig.posted().iu(), Iu::CredReq(_)));
    assert_eq!(rig.channel.poll_timeout(), Some(0));
    rig.channel.handle_timeout(100);
    assert_eq!(rig.channel.poll_timeout(), Some(100 + OFFER_TIMEOUT_MS));
    rig.channel.handle_timeout(100 + OFFER_TIMEOUT_MS);
    assert!(rig.post().is_none(), "no further one");
    rig.send(abort(3, 1));
    let request = rig.task_management();
    let complete = TaskManagementResponse::FunctionComplete;
    rig.channel
        .handle_task_management(request.exchange, complete);
    assert_eq!(rig.posted().rsp().request_limit_delta, 3);
}

#[test]
fn a_tag_that_is_used_twice_is_answered_twice() {
    let mut rig = Rig::new(8);
    rig.send(Iu::Cmd(plain(1)));
    rig.send(Iu::Cmd(plain(1)));
    for event in rig.events() {
        match event {
            ChannelEvent::Command(command) => rig.finish(command.exchange),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((rig.posted().rsp().tag, rig.posted().rsp().tag), (1, 1));
}

#[test]
fn an_empty_message_pool_delays_responses_and_loses_none() {
    let mut rig = Rig::new(8);
    rig.send(Iu::Cmd(plain(1)));
    let exchange = rig.command().exchange;
    let held: Vec<_> = std::iter::from_fn(|| rig.messages.take(1)).collect();
    rig.finish(exchange);
    assert!(rig.post().is_none() && rig.channel.has_transmit());
    drop(held);
    assert_eq!(rig.posted().rsp().tag, 1);
    assert!(!rig.channel.has_transmit());
}

#[test]
fn an_outcome_that_comes_twice_is_sent_once() {
    let mut rig = Rig::new(8);
    rig.send(Iu::Cmd(plain(1)));
    let exchange = rig.command().exchange;
    rig.finish(exchange);
    rig.finish(exchange);
    rig.channel.handle_aborted(exchange);
    assert!(rig.post().is_some() && rig.post().is_none());
    rig.finish(exchange);
    assert!(rig.post().is_none());
}

/// The last event and the last message after `bytes` ended the channel.
fn broken_by(rig: &mut Rig, bytes: &[u8]) -> (String, LogoutReason) {
    rig.receive(bytes);
    let ChannelEvent::Close(CloseReason::Protocol(text)) = rig.event() else {
        panic!("the channel goes on");
    };
    assert_eq!(rig.channel.counters().protocol_errors, 1);
    let mut posted = rig.posted();
    while let Some(next) = rig.post() {
        posted = next;
    }
    let Iu::TLogout(TLogout { reason, .. }) = posted.iu() else {
        panic!("{:?}", posted.iu());
    };
    rig.receive(bytes);
    assert!(rig.events().is_empty(), "a closed channel reads no more");
    (text, reason)
}

fn emitted(iu: Iu<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 9000];
    let len = iu.emit(&mut bytes).expect("room");
    bytes.truncate(len);
    bytes
}

#[test]
fn what_ends_a_channel_has_the_reason_of_the_standard() {
    let format = BufferFormat(9);
    let direct = direct_to_bytes(segment(0, 1));
    let cut = write(1, BufferFormat::DIRECT, 0, &direct[..15]);
    let mut long_cdb = emitted(Iu::Cmd(plain(1)));
    long_cdb[31] = 8;
    let cases: [(Vec<u8>, &str, LogoutReason); 10] = [
        (vec![], "TYPE at byte 0", LogoutReason::INVALID_IU_LENGTH),
        (
            vec![0x7f; 16],
            "TYPE at byte 0",
            LogoutReason::INVALID_IU_TYPE,
        ),
        (
            vec![2; 47],
            "SRP_CMD at byte 0",
            LogoutReason::INVALID_IU_LENGTH,
        ),
        (
            long_cdb,
            "ADDITIONAL CDB at byte 48",
            LogoutReason::INVALID_IU_LENGTH,
        ),
        (vec![0; 64], "LOGIN_REQ came", LogoutReason::INVALID_IU_TYPE),
        (
            vec![0; MAX_IT_IU_LEN as usize + 1],
            "8261 bytes",
            LogoutReason::INVALID_IU_LENGTH,
        ),
        (
            emitted(Iu::Cmd(cut)),
            "descriptor at byte 48: 16 bytes expected, 15 came",
            LogoutReason::INVALID_IU_LENGTH,
        ),
        (
            emitted(Iu::Cmd(write(1, format, 0, &[]))),
            "DataOut",
            LogoutReason::INVALID_DATA_OUT_FORMAT,
        ),
        (
            emitted(Iu::Cmd(read(1, format, 0, &[]))),
            "DataIn",
            LogoutReason::INVALID_DATA_IN_FORMAT,
        ),
        (
            emitted(Iu::CredRsp(CredRsp { tag: 1 })),
            "CRED_RSP with tag 0x1",
            LogoutReason::UNEXPECTED_INITIATOR_RESPONSE,
        ),
    ];
    for (bytes, expected, reason) in cases {
        let (text, got) = broken_by(&mut Rig::new(8), &bytes);
        assert!(text.contains(expected), "{text}");
        assert_eq!(got, reason, "{text}");
    }
}

#[test]
fn a_request_beyond_the_limit_ends_the_channel_after_what_was_answered() {
    let mut rig = Rig::new(1);
    rig.send(Iu::Cmd(plain(1)));
    let exchange = rig.command().exchange;
    rig.finish(exchange);
    let bytes = emitted(Iu::Cmd(plain(2)));
    let (text, reason) = broken_by(&mut rig, &bytes);
    assert!(text.contains("request limit of 1"), "{text}");
    assert_eq!(reason, LogoutReason::NO_REASON);
    assert_eq!(rig.channel.counters().responses, 1);
}

#[test]
fn what_is_wrong_in_one_command_only_is_answered_to_it() {
    let mut rig = Rig::new(8);
    let mut wrong_total = indirect(&[segment(0x1000, 100)], 1);
    wrong_total[19] += 1;
    let attribute = Cmd {
        task_attribute: TaskAttributeCode(3),
        ..plain(1)
    };
    let total = read(1, BufferFormat::INDIRECT, 1, &wrong_total);
    for cmd in [attribute, total] {
        rig.send(Iu::Cmd(cmd));
        assert!(rig.events().is_empty());
        let posted = rig.posted();
        let rsp = posted.rsp();
        assert_eq!((rsp.tag, rsp.status), (1, Status::CHECK_CONDITION));
        let code = AdditionalSense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT;
        let sense = Sense::illegal_request(code).to_fixed();
        assert_eq!(rsp.sense, Some(&sense[..]));
        assert_eq!((rsp.response, rsp.request_limit_delta), (None, 1));
    }
    assert_eq!(rig.channel.counters().refused_commands, 2);
    rig.send(Iu::Cmd(plain(2)));
    assert_eq!(rig.command().tag, 2, "the channel goes on");
}

#[test]
fn an_initiator_logout_ends_the_channel_without_a_word() {
    let mut rig = Rig::new(8);
    rig.send(Iu::Cmd(plain(1)));
    let exchange = rig.command().exchange;
    rig.finish(exchange);
    rig.send(Iu::ILogout(ILogout { tag: 0 }));
    assert!(matches!(
        rig.event(),
        ChannelEvent::Close(CloseReason::PeerLogout)
    ));
    assert!(rig.post().is_none());
}

#[test]
fn a_shutdown_says_goodbye_once() {
    let mut rig = Rig::new(8);
    rig.send(Iu::Cmd(plain(1)));
    let exchange = rig.command().exchange;
    rig.channel.handle_shutdown();
    rig.channel.handle_shutdown();
    assert!(matches!(
        rig.event(),
        ChannelEvent::Close(CloseReason::Shutdown)
    ));
    let posted = rig.posted();
    let Iu::TLogout(TLogout { reason, .. }) = posted.iu() else {
        panic!("{:?}", posted.iu());
    };
    assert_eq!(reason, LogoutReason::NO_REASON);
    rig.finish(exchange);
    assert!(rig.post().is_none(), "nothing follows the goodbye");
    assert_eq!(rig.channel.exchanges_in_use(), 0);
}

#[test]
fn a_shutdown_sends_what_is_answered_and_reads_no_more() {
    let mut rig = Rig::new(8);
    let data = direct_to_bytes(segment(0x1000, 512));
    rig.send(Iu::Cmd(write(1, BufferFormat::DIRECT, 0, &data)));
    let pulling = rig.command().exchange;
    rig.send(Iu::Cmd(plain(2)));
    let answered = rig.command().exchange;
    let buf = rig.data.take(512).expect("room");
    rig.channel.pull_data_out(pulling, TASK, 0, buf);
    rig.finish(answered);
    rig.channel.handle_shutdown();
    assert_eq!(rig.posted().rsp().tag, 2);
    assert!(matches!(rig.posted().iu(), Iu::TLogout(_)));
    assert!(rig.post().is_none());
    assert_eq!(rig.data.level().in_use_bytes, 0);
}

#[test]
fn an_answer_to_an_event_report_does_no_harm() {
    let mut rig = Rig::new(8);
    rig.send(Iu::AerRsp(AerRsp { tag: 1 }));
    assert!(rig.events().is_empty() && rig.post().is_none());
}

/// A burst of everything at once, then silence: what stays is small.
#[test]
fn an_idle_channel_is_small() {
    let mut rig = Rig::new(128);
    let entries = [segment(0x1000, 16); 64];
    let data = indirect(&entries, 64);
    let mut exchanges = Vec::new();
    for tag in 0..128 {
        rig.send(Iu::Cmd(read(tag, BufferFormat::INDIRECT, 64, &data)));
        exchanges.push(rig.command().exchange);
    }
    for exchange in exchanges {
        rig.finish(exchange);
    }
    while rig.post().is_some() {}
    assert!(rig.channel.heap_bytes() > 128 * 1024);
    let deadline = rig.channel.poll_timeout().expect("memory to give back");
    assert_eq!(deadline, IDLE_MS);
    rig.channel.handle_timeout(deadline);
    assert_eq!(rig.channel.poll_timeout(), None);
    let idle = rig.channel.heap_bytes() + size_of::<Channel>();
    assert!(idle < 16 * 1024, "{idle} bytes");
}

/// Responses that wait for message buffers hold memory that cannot be given back: the timer rests
/// meanwhile.
#[test]
fn memory_in_use_does_not_keep_the_timer_running() {
    let mut rig = Rig::new(128);
    for tag in 0..128 {
        rig.send(Iu::Cmd(plain(tag)));
        let exchange = rig.command().exchange;
        rig.finish(exchange);
    }
    rig.channel.handle_timeout(IDLE_MS);
    assert_eq!(rig.channel.poll_timeout(), Some(2 * IDLE_MS));
}

/// After the first round no list or queue grows any more.
#[test]
fn a_steady_load_allocates_nothing() {
    let mut rig = Rig::new(8);
    let data = indirect(&[segment(0x1000, 100), segment(0x2000, 28)], 1);
    let mut sizes = Vec::new();
    for tag in 0..20 {
        rig.send(Iu::Cmd(read(tag, BufferFormat::INDIRECT, 1, &data)));
        let (exchange, mut buf) = rig.posted().pull.expect("a pull");
        buf.copy_from_slice(&list(&[segment(0x2000, 28)]));
        rig.channel.handle_pulled(exchange, buf);
        let exchange = rig.command().exchange;
        rig.finish(exchange);
        rig.posted();
        sizes.push(rig.channel.heap_bytes());
    }
    assert!(sizes[2..].iter().all(|&size| size == sizes[2]), "{sizes:?}");
}
