//! A peer that breaks every rule, beside one that keeps them: the first gets the protocol's answer, the second notices
//! nothing, and the daemon has lost no task and no memory when all is over.

#[path = "srp_hostile/attacker.rs"]
mod attacker;

use std::time::Duration;

use attacker::{Answer, Attacker, bytes, emitted, plain};
use iobuf::RemoteSegment;
use target_core::sense::AdditionalSense;
use target_core::status::Status;
use tests::bed::Bed;
use tests::bystander::Bystander;
use tests::srptgt::Srptgt;
use transport_srp::wire::cmd::{BufferFormat, TaskAttributeCode};
use transport_srp::wire::desc::{IndirectDesc, direct_to_bytes, immediate_to_bytes};
use transport_srp::wire::login::{LoginRejReason, MultichannelAction};
use transport_srp::wire::logout::LogoutReason;
use transport_srp::wire::tsk_mgmt::TaskFunctionCode;
use transport_srp::wire::{AerRsp, Cmd, CredRsp, ILogout, Iu, LoginReq, TskMgmt};

const READ: [u8; 16] = [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
const WRITE: [u8; 16] = [0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
const TRANSFER_BYTES: u32 = 8 * 512;

/// A target, a well-behaved session with verified I/O on LUN 0, and an attacker that may use LUN 1.
fn beside_a_bystander(bed: &Bed, attack: impl FnOnce(&Srptgt, &Attacker)) {
    let (honest, hostile) = (bed.peer(), bed.peer());
    let luns = ["--ram --size 32M", "--ram --size 16M"];
    let target = bed.serving(&luns, &[&honest, &hostile]);
    let bystander = Bystander::on(bed, &target, honest);
    let attacker = Attacker::new(&hostile);
    attack(&target, &attacker);
    drop(attacker);
    bystander.leave(&target);
}

tests::on_both_beds! {
    malformed_logins_are_refused_with_their_reason,
    reserved_bits_and_absurd_offsets_in_a_login_do_no_harm,
    what_breaks_a_message_ends_its_channel_with_the_reason,
    what_breaks_a_command_is_answered_and_the_channel_lives,
    memory_that_is_not_the_peers_to_give_ends_its_channel_only,
    requests_beyond_the_limit_end_the_channel_and_leak_no_task,
    a_tag_used_twice_and_a_hasty_goodbye_are_survived,
    noise_on_a_channel_is_survived,
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(byte).take(len).collect()
}

fn malformed_logins_are_refused_with_their_reason(bed: &Bed) {
    beside_a_bystander(bed, |_, attacker| {
        let good = attacker.login;
        let whole = good.to_rdma_cm_bytes();
        let with = |change: &dyn Fn(&mut LoginReq)| {
            let mut login = good;
            change(&mut login);
            login.to_rdma_cm_bytes().to_vec()
        };
        let mut other_type = whole.to_vec();
        other_type[11] = 0x02;
        use LoginRejReason as Reason;
        let nothing = Reason::UNABLE_TO_ESTABLISH_CHANNEL;
        let not_here = Reason::UNABLE_TO_ASSOCIATE_CHANNEL;
        let too_large = Reason::REQ_IT_IU_LENGTH_TOO_LARGE;
        let cases = [
            ("no private data", Vec::new(), nothing),
            ("cut in the tag", whole[..5].to_vec(), nothing),
            ("cut in the target's name", whole[..40].to_vec(), not_here),
            ("another type", other_type, nothing),
            ("the native form", good.to_bytes()[..56].to_vec(), nothing),
            (
                "messages of 63 bytes",
                with(&|l| l.req_it_iu_len = 63),
                nothing,
            ),
            (
                "messages of 4 GiB",
                with(&|l| l.req_it_iu_len = u32::MAX),
                too_large,
            ),
            (
                "unknown buffer formats",
                with(&|l| l.req_buf_fmt = u16::MAX),
                Reason::UNSUPPORTED_DESCRIPTOR_FORMAT,
            ),
            (
                "a reserved multi-channel action",
                with(&|l| l.multichannel = MultichannelAction(3)),
                nothing,
            ),
            (
                "another target",
                with(&|l| l.target_port_id = [7; 16]),
                not_here,
            ),
            (
                "a stranger",
                with(&|l| l.initiator_port_id = [9; 16]),
                not_here,
            ),
        ];
        for (what, private_data, reason) in cases {
            assert_eq!(attacker.refused(what, &private_data), reason, "{what}");
        }
        for seed in 1..=24 {
            let private_data = noise(seed, 56);
            attacker.refused(&format!("noise {seed}"), &private_data);
        }
    });
}

fn reserved_bits_and_absurd_offsets_in_a_login_do_no_harm(bed: &Bed) {
    beside_a_bystander(bed, |_, attacker| {
        let mut reserved = attacker.login.to_rdma_cm_bytes();
        reserved[10] |= 0x7c;
        reserved[50..].fill(0xff);
        let (mut channel, response) = attacker.admitted(&reserved);
        assert!(response.immediate_data);
        channel.assert_alive("reserved bits");
        for offset in [0, 1, 51, 8260, u16::MAX] {
            let login = LoginReq {
                imm_data_offset: Some(offset),
                ..attacker.login
            };
            let (mut channel, response) = attacker.admitted(&login.to_rdma_cm_bytes());
            assert!(!response.immediate_data, "offset {offset}");
            channel.assert_alive("an absurd offset");
        }
    });
}

/// A command with this CDB and descriptor, in one direction.
fn write<'a>(format: BufferFormat, count: u8, data: &'a [u8]) -> Cmd<'a> {
    Cmd {
        data_out_format: format,
        data_out_count: count,
        cdb: &WRITE,
        data,
        ..plain(7)
    }
}

fn read<'a>(format: BufferFormat, count: u8, data: &'a [u8]) -> Cmd<'a> {
    Cmd {
        data_in_format: format,
        data_in_count: count,
        cdb: &READ,
        data,
        ..plain(7)
    }
}

fn segment(address: u64, length: u32) -> RemoteSegment {
    RemoteSegment {
        address,
        key: 0xdead,
        length,
    }
}

fn indirect(table: RemoteSegment, total_len: u32, entries: &[RemoteSegment]) -> Vec<u8> {
    let partial_list: Vec<u8> = entries.iter().copied().flat_map(direct_to_bytes).collect();
    let descriptor = IndirectDesc {
        table,
        total_len,
        partial_list: &partial_list,
    };
    let mut out = vec![0; 20 + partial_list.len()];
    descriptor.emit(&mut out).expect("room");
    out
}

fn what_breaks_a_message_ends_its_channel_with_the_reason(bed: &Bed) {
    beside_a_bystander(bed, |_, attacker| {
        let command = bytes(&plain(7));
        let management = emitted(&Iu::TskMgmt(abort(1, 2)));
        let mut long_cdb = command.clone();
        long_cdb[31] = 0xfc;
        let direct = direct_to_bytes(segment(0, TRANSFER_BYTES));
        let table = indirect(segment(0, 255 * 16), TRANSFER_BYTES, &[]);
        let immediate = immediate_to_bytes(TRANSFER_BYTES);
        let everything = immediate_to_bytes(u32::MAX);
        let unknown = BufferFormat(9);
        use LogoutReason as Reason;
        let length = Reason::INVALID_IU_LENGTH;
        let type_ = Reason::INVALID_IU_TYPE;
        let stray = Reason::UNEXPECTED_INITIATOR_RESPONSE;
        let data_out = Reason::INVALID_DATA_OUT_FORMAT;
        let data_in = Reason::INVALID_DATA_IN_FORMAT;
        let cases = [
            ("nothing at all", Vec::new(), length),
            ("an unknown type", vec![0x7f; 64], type_),
            ("a second login", attacker.login.to_bytes().to_vec(), type_),
            ("a response", response(), type_),
            ("a target's logout", vec![0x80; 16], type_),
            ("a cut command", command[..47].to_vec(), length),
            ("a command of one byte", command[..1].to_vec(), length),
            ("cut task management", management[..47].to_vec(), length),
            ("a CDB beyond the message", long_cdb, length),
            (
                "an unknown data-out format",
                bytes(&write(unknown, 0, &direct)),
                data_out,
            ),
            (
                "an unknown data-in format",
                bytes(&read(unknown, 0, &direct)),
                data_in,
            ),
            (
                "immediate data-in",
                bytes(&read(BufferFormat::IMMEDIATE, 0, &immediate)),
                data_in,
            ),
            (
                "no descriptor",
                bytes(&read(BufferFormat::DIRECT, 0, &[])),
                length,
            ),
            (
                "half a descriptor",
                bytes(&read(BufferFormat::DIRECT, 0, &direct[..9])),
                length,
            ),
            (
                "a partial list beyond the message",
                bytes(&read(BufferFormat::INDIRECT, 255, &table)),
                length,
            ),
            (
                "immediate data that is not there",
                bytes(&write(BufferFormat::IMMEDIATE, 0, &immediate)),
                length,
            ),
            (
                "4 GiB of immediate data",
                bytes(&write(BufferFormat::IMMEDIATE, 0, &everything)),
                length,
            ),
            (
                "an answer to nothing",
                emitted(&Iu::CredRsp(CredRsp { tag: 99 })),
                stray,
            ),
        ];
        for (what, message, reason) in cases {
            let mut channel = attacker.channel();
            channel.send(&message);
            channel.assert_logged_out(what, reason);
        }
    });
}

/// SRP_RSP, which only a target sends.
fn response() -> Vec<u8> {
    let mut bytes = vec![0; 36];
    bytes[0] = 0xc1;
    bytes
}

fn abort(tag: u64, task_tag: u64) -> TskMgmt {
    TskMgmt {
        sol_not: 0,
        tag,
        lun: plain(0).lun,
        function: TaskFunctionCode::ABORT_TASK,
        task_tag,
    }
}

fn what_breaks_a_command_is_answered_and_the_channel_lives(bed: &Bed) {
    beside_a_bystander(bed, |_, attacker| {
        let mut channel = attacker.channel();
        channel.assert_alive("the unit attention");
        let reserved = Cmd {
            task_attribute: TaskAttributeCode(7),
            ..plain(7)
        };
        let odd = indirect(segment(0, 17), TRANSFER_BYTES, &[]);
        let absurd = indirect(segment(0, u32::MAX - 15), TRANSFER_BYTES, &[]);
        let wrong_total = indirect(segment(0, 16), u32::MAX, &[segment(0, TRANSFER_BYTES)]);
        let wraps = direct_to_bytes(segment(u64::MAX - 5, TRANSFER_BYTES));
        let far_table = indirect(segment(u64::MAX - 5, 1024), TRANSFER_BYTES, &[]);
        let cases = [
            ("a reserved attribute", reserved),
            ("a table of 17 bytes", read(BufferFormat::INDIRECT, 0, &odd)),
            (
                "a table of 4 GiB",
                write(BufferFormat::INDIRECT, 0, &absurd),
            ),
            (
                "a wrong total length",
                read(BufferFormat::INDIRECT, 1, &wrong_total),
            ),
            (
                "memory beyond the end",
                read(BufferFormat::DIRECT, 0, &wraps),
            ),
            (
                "a table beyond the end",
                read(BufferFormat::INDIRECT, 0, &far_table),
            ),
        ];
        for (what, command) in cases {
            channel.send(&bytes(&command));
            let response = channel.response(what);
            assert_eq!(
                (response.tag, response.status),
                (7, Status::CHECK_CONDITION),
                "{what}"
            );
            let sense = AdditionalSense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT;
            assert_eq!(response.sense, Some(sense), "{what}");
            channel.assert_alive(what);
        }
        let unknown = TskMgmt {
            function: TaskFunctionCode(0xff),
            ..abort(8, 0)
        };
        channel.send(&emitted(&Iu::TskMgmt(unknown)));
        let response = channel.response("an unknown function");
        assert_eq!((response.tag, response.code), (8, Some(4)), "not supported");
        channel.send(&emitted(&Iu::AerRsp(AerRsp { tag: 5 })));
        channel.assert_alive("an answer to an event report");

        let mut reserved = bytes(&plain(9));
        reserved[2..5].fill(0xff);
        reserved[16..20].fill(0xff);
        reserved[28] = 0xff;
        reserved[29] |= 0xf8;
        channel.send(&reserved);
        let response = channel.response("reserved bits");
        assert_eq!((response.tag, response.status), (9, Status::GOOD));
    });
}

fn memory_that_is_not_the_peers_to_give_ends_its_channel_only(bed: &Bed) {
    beside_a_bystander(bed, |_, attacker| {
        let bad_key = direct_to_bytes(segment(0x1000, TRANSFER_BYTES));
        let bad_table = indirect(segment(0x1000, 64 * 16), TRANSFER_BYTES, &[]);
        let cases = [
            (
                "a read to memory without a key",
                read(BufferFormat::DIRECT, 0, &bad_key),
            ),
            (
                "a write from memory without a key",
                write(BufferFormat::DIRECT, 0, &bad_key),
            ),
            (
                "a table in memory without a key",
                read(BufferFormat::INDIRECT, 0, &bad_table),
            ),
        ];
        for (what, command) in cases {
            let mut channel = attacker.channel();
            channel.assert_alive("the unit attention");
            channel.send(&bytes(&command));
            assert_eq!(channel.answer(), Answer::Gone, "{what}");
        }
        // A buffer that is shorter than it was said to be: what lies behind it is not touched.
        let mut channel = attacker.channel();
        channel.assert_alive("the unit attention");
        let buffer = channel.raw().buffer(512).expect("room");
        let longer = RemoteSegment {
            length: 1 << 20,
            ..buffer.segment()
        };
        let descriptor = direct_to_bytes(longer);
        channel.send(&bytes(&read(BufferFormat::DIRECT, 0, &descriptor)));
        assert_eq!(channel.answer(), Answer::Gone, "a buffer that is too short");

        let mut channel = attacker.channel();
        channel.send(&vec![0x02; 20_000]);
        let ended = matches!(channel.answer(), Answer::Gone | Answer::Logout(_));
        assert!(ended, "a message longer than any receive buffer");
    });
}

fn requests_beyond_the_limit_end_the_channel_and_leak_no_task(bed: &Bed) {
    beside_a_bystander(bed, |target, attacker| {
        let (mut channel, granted) = attacker.admitted(&attacker.login.to_rdma_cm_bytes());
        channel.assert_alive("the unit attention");
        let buffer = channel.raw().buffer(TRANSFER_BYTES as usize).expect("room");
        let descriptor = direct_to_bytes(buffer.segment());
        target.run("lun stall lun1 on");
        for tag in 0..=u64::from(granted.request_limit_delta) {
            let command = Cmd {
                tag,
                ..read(BufferFormat::DIRECT, 0, &descriptor)
            };
            channel.send(&bytes(&command));
        }
        channel.assert_logged_out("one request too many", LogoutReason::NO_REASON);
        target.run("lun stall lun1 off");
    });
}

fn a_tag_used_twice_and_a_hasty_goodbye_are_survived(bed: &Bed) {
    beside_a_bystander(bed, |target, attacker| {
        let mut channel = attacker.channel();
        channel.assert_alive("the unit attention");
        let buffer = channel.raw().buffer(TRANSFER_BYTES as usize).expect("room");
        let descriptor = direct_to_bytes(buffer.segment());
        let command = bytes(&read(BufferFormat::DIRECT, 0, &descriptor));
        channel.send(&command);
        channel.send(&command);
        for _ in 0..2 {
            let response = channel.response("a tag used twice");
            assert_eq!((response.tag, response.status), (7, Status::GOOD));
        }
        target.run("lun stall lun1 on");
        channel.send(&command);
        channel.send(&emitted(&Iu::ILogout(ILogout { tag: 0 })));
        assert_eq!(
            channel.answer(),
            Answer::Gone,
            "a goodbye with a read under way"
        );

        let mut vanishing = attacker.channel();
        vanishing.send(&command);
        vanishing.send(&bytes(&write(BufferFormat::DIRECT, 0, &descriptor)));
        drop(vanishing);
        target.run("lun stall lun1 off");
    });
}

fn noise_on_a_channel_is_survived(bed: &Bed) {
    beside_a_bystander(bed, |_, attacker| {
        let types = [0x00, 0x01, 0x02, 0x02, 0x03, 0x41, 0x42, 0x7f];
        let mut logouts = 0;
        for seed in 1..=40 {
            let mut message = noise(seed, 1 + seed as usize * 13 % 400);
            message[0] = types[seed as usize % types.len()];
            let mut channel = attacker.channel();
            channel.send(&message);
            // Only an AER_RSP may be taken without a word.
            let patience = match message[0] {
                0x42 => Duration::from_millis(300),
                _ => attacker::PATIENCE,
            };
            match channel.answer_within(patience) {
                Answer::Logout(_) => {
                    logouts += 1;
                    assert_eq!(channel.answer(), Answer::Gone, "noise {seed}");
                }
                Answer::Silence if message[0] == 0x42 => {
                    channel.assert_alive_or_ended("noise that asks for nothing");
                }
                Answer::Silence => panic!("noise {seed}: no answer"),
                Answer::Response(_) | Answer::Gone => {}
                Answer::Other(message) => panic!("noise {seed}: {message:02x?}"),
            }
        }
        assert!(logouts > 10, "{logouts} logouts only: is it noise?");
    });
}
