//! The session machine against real channels and the real SCSI core, all in one thread.

#[path = "pure/fabric.rs"]
mod fabric;

use fabric::{BLOCK, BLOCKS, Fabric, LUN, TARGET_PORT, options, policy};
use initiator::cdb;
use initiator::machine::{
    Answer, Buffer, ChannelNumber, CloseReason, Command, CommandError, Event, LoginError,
    LoginOptions, Machine, Outcome, RequestId, SubmitError, TaskFunction,
};
use iobuf::RemoteSegment;
use proptest::prelude::*;
use target_core::command::Residual;
use target_core::lun::Lun;
use target_core::port;
use target_core::sense::AdditionalSense;
use target_core::status::Status;
use transport_srp::wire::cmd::TaskAttributeCode;
use transport_srp::wire::desc::direct_to_bytes;
use transport_srp::wire::login::LoginRejReason;
use transport_srp::wire::logout::LogoutReason;
use transport_srp::wire::rsp::RspCode;
use transport_srp::wire::{AerReq, CredReq, Iu, Rsp, TLogout};
use transport_srp::{Carrier, LoginPolicy, PortIdOrder, TargetPortId};

fn command<'a>(cdb: &'a [u8], data_out: Buffer<'a>, data_in: Buffer<'a>) -> Command<'a> {
    Command {
        lun: LUN,
        attribute: TaskAttributeCode::SIMPLE,
        cdb,
        data_out,
        data_in,
    }
}

fn plain(cdb: &[u8]) -> Command<'_> {
    command(cdb, Buffer::None, Buffer::None)
}

impl Fabric {
    /// A session whose logical unit has no unit attention left.
    fn ready(policy: LoginPolicy, options: LoginOptions, channels: u16) -> Self {
        let mut fabric = Self::new(policy, options, channels);
        let answer = fabric.answer(0, &plain(&cdb::TEST_UNIT_READY));
        assert_eq!(answer.sense.expect("a unit attention").key(), 6);
        fabric.good(0, &plain(&cdb::TEST_UNIT_READY));
        fabric
    }

    fn usual() -> Self {
        Self::ready(policy(), options(), 1)
    }

    /// The answer to a command that is answered at once.
    fn answer(&mut self, channel: u16, command: &Command<'_>) -> Answer {
        let id = self.submit(channel, command, None).expect("room");
        match self.events()[..] {
            [
                Event::Done {
                    request,
                    outcome: Outcome::Answered(answer),
                },
            ] if request == id => answer,
            ref events => panic!("{events:?} for {id:?}"),
        }
    }

    fn good(&mut self, channel: u16, command: &Command<'_>) -> Answer {
        let answer = self.answer(channel, command);
        assert!(answer.is_good(), "{answer}");
        answer
    }

    /// A write that the disk holds back.
    fn held_write(&mut self, channel: u16) -> RequestId {
        self.is_disk_held = true;
        let data = Buffer::Direct(Self::segment(0, BLOCK));
        let cdb = cdb::write(0, 1);
        self.submit(channel, &command(&cdb, data, Buffer::None), None)
            .expect("room")
    }
}

/// How a buffer is told of, in the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Direct,
    Indirect,
    External,
    Immediate,
}

const FORMS: [Form; 4] = [
    Form::Direct,
    Form::Indirect,
    Form::External,
    Form::Immediate,
];
/// Where indirect tables lie in the initiator's memory.
const TABLE_AT: usize = 900 << 10;

/// Seven pieces of the memory from `at` on, the last one first.
fn pieces(at: usize, len: usize) -> Vec<RemoteSegment> {
    let piece = len.div_ceil(7);
    let starts = (0..len).step_by(piece);
    let mut pieces: Vec<_> = starts
        .map(|start| Fabric::segment(at + start, piece.min(len - start)))
        .collect();
    pieces.reverse();
    pieces
}

/// Where the pieces lie, as offsets in the memory.
fn bytes_of(memory: &[u8], entries: &[RemoteSegment]) -> Vec<u8> {
    let range = |s: &RemoteSegment| {
        let at = (s.address - fabric::MEMORY_AT) as usize;
        at..at + s.length as usize
    };
    entries
        .iter()
        .flat_map(|s| &memory[range(s)])
        .copied()
        .collect()
}

/// A write or read of `len` bytes at `lba`, from or to the memory at `at`; returns the bytes in the buffer's order.
fn transfer(
    fabric: &mut Fabric,
    form: Form,
    is_write: bool,
    lba: u64,
    at: usize,
    len: usize,
) -> Vec<u8> {
    let entries = match form {
        Form::Direct | Form::Immediate => vec![Fabric::segment(at, len)],
        Form::Indirect | Form::External => pieces(at, len),
    };
    let table: Vec<u8> = entries.iter().copied().flat_map(direct_to_bytes).collect();
    fabric.memory[TABLE_AT..TABLE_AT + table.len()].copy_from_slice(&table);
    let sent = bytes_of(&fabric.memory, &entries);
    let buffer = match form {
        Form::Direct => Buffer::Direct(entries[0]),
        Form::Indirect => Buffer::inline(&entries),
        Form::External => Buffer::Indirect {
            entries: &entries,
            inline: 2.min(entries.len()),
            table: Fabric::segment(TABLE_AT, table.len()),
        },
        Form::Immediate => Buffer::Immediate(&sent),
    };
    let blocks = (len / BLOCK) as u32;
    if is_write {
        fabric.good(0, &command(&cdb::write(lba, blocks), buffer, Buffer::None));
        sent
    } else {
        fabric.good(0, &command(&cdb::read(lba, blocks), Buffer::None, buffer));
        bytes_of(&fabric.memory, &entries)
    }
}

fn fill(memory: &mut [u8], seed: u32) {
    for (index, byte) in memory.iter_mut().enumerate() {
        *byte = ((index as u32)
            .wrapping_mul(2_654_435_761)
            .wrapping_add(seed)
            >> 13) as u8;
    }
}

#[test]
fn every_form_of_buffer_moves_the_right_bytes() {
    let mut fabric = Fabric::usual();
    for (seed, form) in (0..).zip(FORMS) {
        fill(&mut fabric.memory[..8192], seed);
        let written = transfer(&mut fabric, form, true, 16, 0, 8192);
        assert_eq!(fabric.disk[16 * BLOCK..][..8192], written, "{form:?}");
        if form != Form::Immediate {
            let read = transfer(&mut fabric, form, false, 16, 100_000, 8192);
            assert_eq!(read, written, "{form:?}");
        }
    }
    let counters = fabric.channels[0].counters();
    assert_eq!((counters.immediate_writes, counters.tables_fetched), (1, 2));
    fabric.assert_idle();
}

#[test]
fn what_does_not_fit_a_message_is_refused_before_anything_happens() {
    let mut fabric = Fabric::usual();
    let credits = fabric.machine.credits(ChannelNumber(0));
    let entries = vec![Fabric::segment(0, 16); 600];
    let refused = |buffer| match fabric_refusal(&mut fabric, buffer) {
        SubmitError::Command(error) => error,
        other => panic!("{other}"),
    };
    let mut refused = refused;
    assert!(matches!(
        refused(Buffer::inline(&entries)),
        CommandError::InlineCount { .. }
    ));
    let long = vec![0; 8193];
    let error = refused(Buffer::Immediate(&long));
    assert_eq!(
        error,
        CommandError::TooLong {
            needed: 8261,
            max: 8260
        }
    );
    assert_eq!(fabric.machine.outstanding(), 0);
    assert_eq!(fabric.machine.credits(ChannelNumber(0)), credits);
    let immediate_in = command(
        &cdb::TEST_UNIT_READY,
        Buffer::None,
        Buffer::Immediate(&[0; 4]),
    );
    let refused = fabric.submit(0, &immediate_in, None);
    assert_eq!(refused, Err(CommandError::NoImmediateData.into()));
    let long_cdb = [0; 300];
    assert!(matches!(
        fabric.submit(0, &plain(&long_cdb), None),
        Err(SubmitError::Command(CommandError::CdbTooLong(300)))
    ));
    fabric.good(0, &plain(&cdb::TEST_UNIT_READY));
}

fn fabric_refusal(fabric: &mut Fabric, data_out: Buffer<'_>) -> SubmitError {
    let cdb = cdb::write(0, 16);
    let command = command(&cdb, data_out, Buffer::None);
    fabric.submit(0, &command, None).expect_err("refused")
}

#[test]
fn immediate_data_is_only_sent_when_it_was_agreed_on() {
    let without = LoginPolicy {
        immediate_data: false,
        ..policy()
    };
    let mut fabric = Fabric::ready(without, options(), 1);
    let refused = fabric_refusal(&mut fabric, Buffer::Immediate(&[0; 512]));
    assert_eq!(refused, CommandError::NoImmediateData.into());
}

#[test]
fn residuals_and_sense_come_through() {
    let mut fabric = Fabric::usual();
    let long = Buffer::Direct(Fabric::segment(0, 2 * BLOCK));
    let answer = fabric.good(0, &command(&cdb::read(0, 1), Buffer::None, long));
    assert_eq!(answer.data_in_residual, Residual::Underflow(BLOCK as u32));
    let answer = fabric.answer(0, &command(&cdb::write(0, 1), long, Buffer::None));
    assert_eq!(answer.data_out_residual, Residual::Underflow(BLOCK as u32));
    let short = Buffer::Direct(Fabric::segment(0, BLOCK));
    let answer = fabric.answer(0, &command(&cdb::read(0, 2), Buffer::None, short));
    assert_eq!(answer.data_in_residual, Residual::Overflow(BLOCK as u32));
    let beyond = cdb::read(BLOCKS as u64, 1);
    let answer = fabric.answer(0, &command(&beyond, Buffer::None, short));
    assert_eq!(answer.status, Status::CHECK_CONDITION);
    assert_eq!(
        answer.additional_sense(),
        Some(AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE)
    );
    let elsewhere = Command {
        lun: Lun::peripheral(6),
        ..plain(&cdb::TEST_UNIT_READY)
    };
    let answer = fabric.answer(0, &elsewhere);
    assert_eq!(
        answer.to_string(),
        "CHECK CONDITION, sense key 0x5, LOGICAL UNIT NOT SUPPORTED"
    );
    fabric.assert_idle();
}

#[test]
fn the_request_limit_is_kept_with_one_credit_left_to_abort() {
    let mut fabric = Fabric::usual();
    let held: Vec<_> = (0..7).map(|_| fabric.held_write(0)).collect();
    let refused = fabric.submit(0, &plain(&cdb::TEST_UNIT_READY), None);
    assert_eq!(refused, Err(SubmitError::LimitReached));
    assert!(!fabric.machine.has_room(ChannelNumber(0)));
    let abort = fabric
        .manage(TaskFunction::AbortTask(held[3]))
        .expect("the reserved credit");
    let done = |request, outcome| Event::Done { request, outcome };
    let complete = RspCode::TASK_MANAGEMENT_FUNCTION_COMPLETE;
    assert_eq!(
        fabric.events(),
        [
            done(held[3], Outcome::Aborted),
            done(abort, Outcome::TaskManagement(complete))
        ]
    );
    fabric.release_disk();
    let events = fabric.events();
    assert_eq!(events.len(), 6);
    assert!(events.iter().all(|event| matches!(event,
        Event::Done { outcome: Outcome::Answered(answer), .. } if answer.is_good())));
    assert_eq!(fabric.machine.credits(ChannelNumber(0)), 8);
    assert_eq!(fabric.channels[0].counters().protocol_errors, 0);
    fabric.assert_idle();
}

#[test]
fn the_sessions_own_limit_is_kept_too() {
    let options = LoginOptions {
        outstanding: 2,
        ..options()
    };
    let mut fabric = Fabric::ready(policy(), options, 1);
    fabric.held_write(0);
    fabric.held_write(0);
    let refused = fabric.submit(0, &plain(&cdb::TEST_UNIT_READY), None);
    assert_eq!(refused, Err(SubmitError::LimitReached));
}

#[test]
fn a_target_that_grants_one_request_gets_one_at_a_time() {
    let single = LoginPolicy {
        request_limit: 1,
        ..policy()
    };
    let mut fabric = Fabric::ready(single, options(), 1);
    fabric.held_write(0);
    let refused = fabric.submit(0, &plain(&cdb::TEST_UNIT_READY), None);
    assert_eq!(refused, Err(SubmitError::LimitReached));
    fabric.release_disk();
    fabric.events();
    fabric.good(0, &plain(&cdb::TEST_UNIT_READY));
}

#[test]
fn a_reset_ends_the_commands_of_all_channels_and_no_later_ones() {
    let mut fabric = Fabric::ready(policy(), options(), 2);
    let held = [fabric.held_write(0), fabric.held_write(1)];
    let reset = fabric
        .manage(TaskFunction::LogicalUnitReset(LUN))
        .expect("room");
    let mut ended: Vec<_> = fabric
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Done { request, outcome } => (request, outcome),
            other => panic!("{other:?}"),
        })
        .collect();
    let complete = RspCode::TASK_MANAGEMENT_FUNCTION_COMPLETE;
    assert_eq!(
        ended.pop(),
        Some((reset, Outcome::TaskManagement(complete)))
    );
    assert_eq!(ended, held.map(|request| (request, Outcome::Aborted)));
    fabric.is_disk_held = false;
    // Everybody is told of the reset, who asked for it too.
    let told = fabric.answer(0, &plain(&cdb::TEST_UNIT_READY));
    let reset = AdditionalSense::BUS_DEVICE_RESET_FUNCTION_OCCURRED;
    assert_eq!(told.additional_sense(), Some(reset));
    for channel in [0, 1] {
        fabric.good(channel, &plain(&cdb::TEST_UNIT_READY));
    }
    fabric.assert_idle();
}

#[test]
fn an_unknown_lun_ends_nothing() {
    let mut fabric = Fabric::usual();
    let held = fabric.held_write(0);
    let other = Lun::peripheral(9);
    let reset = fabric
        .manage(TaskFunction::LogicalUnitReset(other))
        .expect("room");
    let outcome = Outcome::TaskManagement(RspCode::REQUEST_FIELDS_INVALID);
    assert_eq!(
        fabric.events(),
        [Event::Done {
            request: reset,
            outcome
        }]
    );
    fabric.release_disk();
    assert!(matches!(fabric.events()[..], [Event::Done { request, .. }] if request == held));
    let gone = fabric.manage(TaskFunction::AbortTask(held));
    assert_eq!(gone, Err(SubmitError::NothingToAbort));
}

#[test]
fn a_starved_session_takes_the_credits_that_it_is_offered() {
    let mut fabric = Fabric::usual();
    let held: Vec<_> = (0..7).map(|_| fabric.held_write(0)).collect();
    fabric.other_initiator_resets();
    assert_eq!(fabric.channels[0].counters().credit_requests, 1);
    assert_eq!(fabric.machine.credits(ChannelNumber(0)), 8);
    // The target never answers these; only their time tells.
    assert_eq!(fabric.events(), []);
    fabric.is_disk_held = false;
    for request in held {
        fabric
            .manage(TaskFunction::AbortTask(request))
            .expect("a credit");
    }
    let aborted = fabric.events();
    let is_abort = |event: &&Event| {
        matches!(
            event,
            Event::Done {
                outcome: Outcome::Aborted,
                ..
            }
        )
    };
    assert_eq!(aborted.iter().filter(is_abort).count(), 7);
    let answer = fabric.answer(0, &plain(&cdb::TEST_UNIT_READY));
    assert_eq!(answer.sense.expect("a unit attention").key(), 6);
    assert_eq!(fabric.channels[0].counters().protocol_errors, 0);
    fabric.assert_idle();
}

#[test]
fn a_late_command_is_reported_once_and_may_still_be_answered() {
    let mut fabric = Fabric::usual();
    fabric.is_disk_held = true;
    let data = Buffer::Direct(Fabric::segment(0, BLOCK));
    let cdb = cdb::read(0, 1);
    let read = command(&cdb, Buffer::None, data);
    let late = fabric.submit(0, &read, Some(500)).expect("room");
    let later = fabric.submit(0, &read, Some(900)).expect("room");
    assert_eq!(fabric.machine.poll_timeout(), Some(500));
    fabric.machine.handle_timeout(499);
    assert_eq!(fabric.events(), []);
    fabric.machine.handle_timeout(500);
    assert_eq!(fabric.events(), [Event::TimedOut(late)]);
    assert_eq!(fabric.machine.poll_timeout(), Some(900));
    fabric.release_disk();
    let ended: Vec<_> = fabric.events();
    assert!(
        matches!(ended[..], [Event::Done { request: a, .. }, Event::Done { request: b, .. }]
        if a == late && b == later)
    );
    assert_eq!(fabric.machine.poll_timeout(), None);
    fabric.assert_idle();
}

#[test]
fn a_logout_is_heard() {
    let mut fabric = Fabric::ready(policy(), options(), 2);
    fabric.machine.logout();
    fabric.run();
    let goodbye = port::CloseReason::PeerLogout;
    assert_eq!(fabric.target_closes, [goodbye.clone(), goodbye]);
    for channel in [0, 1].map(ChannelNumber) {
        fabric.machine.handle_disconnected(channel);
    }
    let closed = |channel| Event::Closed {
        channel: ChannelNumber(channel),
        reason: CloseReason::Disconnected,
    };
    assert_eq!(fabric.events(), [closed(0), closed(1)]);
    let refused = fabric.submit(0, &plain(&cdb::TEST_UNIT_READY), None);
    assert_eq!(refused, Err(SubmitError::NotLoggedIn(ChannelNumber(0))));
}

#[test]
fn a_logout_of_the_target_ends_what_is_outstanding_on_its_channel() {
    let mut fabric = Fabric::ready(policy(), options(), 2);
    let held = [fabric.held_write(0), fabric.held_write(1)];
    port::Channel::handle_shutdown(&mut fabric.channels[1]);
    fabric.run();
    let channel = ChannelNumber(1);
    let reason = CloseReason::TargetLogout(LogoutReason::NO_REASON);
    let lost = Event::Done {
        request: held[1],
        outcome: Outcome::ChannelLost,
    };
    assert_eq!(fabric.events(), [lost, Event::Closed { channel, reason }]);
    fabric.machine.handle_disconnected(channel);
    assert_eq!(fabric.events(), [], "a channel ends once");
    fabric.release_disk();
    assert_eq!(fabric.events().len(), 1, "the other channel lives");
    assert_eq!(fabric.machine.outstanding(), 0);
    fabric.good(0, &plain(&cdb::TEST_UNIT_READY));
}

#[test]
fn every_refusal_of_the_policy_has_its_reason() {
    let ask = |options: LoginOptions, channel: u16, policy: LoginPolicy| {
        let machine = Machine::new(options, 2);
        let channel = ChannelNumber(channel);
        let request = machine.login_request(channel, Carrier::RdmaCm);
        let refused = policy
            .examine(&request, Carrier::RdmaCm, None)
            .expect_err("refused");
        match machine.handle_rejected(channel, &refused.to_bytes()) {
            LoginError::Rejected(reject) => reject.reason,
            other => panic!("{other}"),
        }
    };
    let stranger = LoginOptions::new(
        TargetPortId {
            id_ext: 9,
            ..TARGET_PORT
        },
        1,
    );
    let reason = ask(stranger, 0, policy());
    assert_eq!(reason, LoginRejReason::UNABLE_TO_ASSOCIATE_CHANNEL);
    let talkative = LoginOptions {
        max_it_iu_len: 1 << 20,
        ..options()
    };
    let reason = ask(talkative, 0, policy());
    assert_eq!(reason, LoginRejReason::REQ_IT_IU_LENGTH_TOO_LARGE);
    let single = LoginPolicy {
        multichannel: false,
        ..policy()
    };
    let reason = ask(options(), 1, single);
    assert_eq!(reason, LoginRejReason::MULTI_CHANNEL_UNSUPPORTED);
    let swapped = LoginOptions {
        order: PortIdOrder::Rev10,
        ..options()
    };
    Fabric::ready(policy(), swapped, 1);
}

fn emitted(iu: &Iu<'_>) -> Vec<u8> {
    let mut out = vec![0; 512];
    let len = iu.emit(&mut out).expect("room");
    out.truncate(len);
    out
}

fn response(tag: u64) -> Rsp<'static> {
    Rsp {
        sol_not: 0,
        request_limit_delta: 1,
        tag,
        status: Status::GOOD,
        data_out_residual: Residual::None,
        data_in_residual: Residual::None,
        response: None,
        sense: None,
    }
}

/// Why a channel ends on which this message comes while a write is outstanding.
fn ends_by(message: impl Fn(RequestId) -> Vec<u8>) -> CloseReason {
    let mut fabric = Fabric::usual();
    let held = fabric.held_write(0);
    fabric
        .machine
        .handle_message(ChannelNumber(0), &message(held));
    match fabric.events()[..] {
        [
            Event::Done {
                request,
                outcome: Outcome::ChannelLost,
            },
            Event::Closed { reason, .. },
        ] if request == held => reason,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_target_that_breaks_the_protocol_loses_the_channel() {
    let text = |reason: CloseReason| reason.to_string();
    let garbage = text(ends_by(|_| vec![0x7f; 40]));
    assert!(
        garbage.contains("a type of SRP expected, 0x7f came"),
        "{garbage}"
    );
    let cut = text(ends_by(|held| {
        emitted(&Iu::Rsp(response(held.0)))[..30].to_vec()
    }));
    assert!(cut.contains("36 bytes expected, 30 came"), "{cut}");
    let stray = text(ends_by(|held| emitted(&Iu::Rsp(response(held.0 + 1)))));
    assert!(stray.contains("answers nothing"), "{stray}");
    let login = text(ends_by(|_| vec![0; 64]));
    assert!(login.contains("LOGIN_REQ came"), "{login}");
    let logout = TLogout {
        sol_not: 0,
        reason: LogoutReason::INVALID_IU_LENGTH,
        tag: 0,
    };
    let logout = text(ends_by(|_| emitted(&Iu::TLogout(logout))));
    assert_eq!(logout, "the target logged out: INVALID_IU_LENGTH");
}

#[test]
fn a_response_on_another_channel_than_its_command_is_no_response() {
    let mut fabric = Fabric::ready(policy(), options(), 2);
    let held = fabric.held_write(0);
    let bytes = emitted(&Iu::Rsp(response(held.0)));
    fabric.machine.handle_message(ChannelNumber(1), &bytes);
    let closed = fabric.events();
    assert!(matches!(
        closed[..],
        [Event::Closed {
            channel: ChannelNumber(1),
            ..
        }]
    ));
    assert_eq!(fabric.machine.outstanding(), 1);
}

#[test]
fn task_management_needs_a_response_code() {
    let mut fabric = Fabric::usual();
    fabric.is_disk_held = true;
    let held = fabric.held_write(0);
    let mut out = [0; 64];
    let abort = TaskFunction::AbortTask(held);
    let channel = ChannelNumber(0);
    let made = fabric
        .machine
        .task_management(channel, abort, None, &mut out);
    let (id, _, len) = made.expect("room");
    assert_eq!(len, 48);
    let bytes = emitted(&Iu::Rsp(response(id.0)));
    fabric.machine.handle_message(channel, &bytes);
    let events = fabric.events();
    assert!(matches!(
        events[..],
        [
            ..,
            Event::Closed {
                reason: CloseReason::Protocol(_),
                ..
            }
        ]
    ));
}

#[test]
fn event_reports_and_credit_requests_are_answered_with_their_tags() {
    let mut fabric = Fabric::usual();
    let report = Iu::AerReq(AerReq {
        sol_not: 0,
        request_limit_delta: 0,
        tag: 0xabcd,
        lun: LUN,
        sense: &[0x70, 0, 6],
    });
    let less = Iu::CredReq(CredReq {
        sol_not: 0,
        request_limit_delta: -3,
        tag: 0xef,
    });
    let channel = ChannelNumber(0);
    for iu in [report, less] {
        fabric.machine.handle_message(channel, &emitted(&iu));
    }
    assert_eq!(fabric.machine.credits(channel), 5);
    let mut out = [0; 16];
    for expected in [(0x42, 0xabcd), (0x41, 0xef)] {
        assert_eq!(fabric.machine.poll_transmit(&mut out), Some((channel, 16)));
        let tag = u64::from_be_bytes(out[8..].try_into().expect("eight bytes"));
        assert_eq!((out[0], tag), expected);
    }
    assert_eq!(fabric.machine.poll_transmit(&mut out), None);
}

proptest! {
    /// Writes and reads of any form, some held and released together: the disk and the model agree.
    #[test]
    fn any_mix_of_forms_agrees_with_the_model(
        steps in prop::collection::vec((0usize..4, any::<bool>(), 0u64..64, 1usize..17), 1..40),
    ) {
        let mut fabric = Fabric::usual();
        let mut model = vec![0; BLOCKS * BLOCK];
        for (seed, (form, is_write, lba, blocks)) in (0..).zip(steps) {
            let (at, len) = (lba as usize * BLOCK, blocks * BLOCK);
            let form = FORMS[form];
            if is_write {
                fill(&mut fabric.memory[..len], seed);
                let written = transfer(&mut fabric, form, true, lba, 0, len);
                model[at..at + len].copy_from_slice(&written);
            } else if form != Form::Immediate {
                let read = transfer(&mut fabric, form, false, lba, 100_000, len);
                prop_assert_eq!(&read[..], &model[at..at + len]);
            }
        }
        prop_assert!(fabric.disk == model);
        fabric.assert_idle();
    }

    /// No message of a target, however wrong, does more than end the channel: every request ends once.
    #[test]
    fn any_message_leaves_the_machine_whole(
        messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)), 0..20),
        opcodes in prop::collection::vec(0usize..5, 20),
    ) {
        let mut fabric = Fabric::ready(policy(), options(), 2);
        let held = [fabric.held_write(0), fabric.held_write(0), fabric.held_write(1)];
        for ((second, mut bytes), opcode) in messages.into_iter().zip(opcodes) {
            if let Some(first) = bytes.first_mut() {
                *first = [0xc1, 0x80, 0x81, 0x82, *first][opcode];
            }
            // Sometimes a response to what is outstanding.
            if let (Some(tag), true) = (bytes.get_mut(8..16), second) {
                tag.copy_from_slice(&held[1].0.to_be_bytes());
            }
            fabric.machine.handle_message(ChannelNumber(second.into()), &bytes);
            let mut out = [0; 64];
            while fabric.machine.poll_transmit(&mut out).is_some() {}
        }
        fabric.machine.handle_disconnected(ChannelNumber(0));
        fabric.machine.handle_disconnected(ChannelNumber(1));
        let events = fabric.events();
        for request in held {
            let ends = events.iter().filter(|e| matches!(e, Event::Done { request: r, .. } if *r == request));
            prop_assert_eq!(ends.count(), 1);
        }
        prop_assert_eq!(fabric.machine.outstanding(), 0);
    }
}
