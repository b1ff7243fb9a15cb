//! A peer on TCP that breaks every rule of iSCSI, beside an honest session that verifies every byte: the first gets the
//! protocol's answer, the second goes on, and the daemon has lost no task and no memory when all is over. Natively.

#[path = "iscsi_hostile/attacker.rs"]
mod attacker;
#[path = "iscsi_hostile/scene.rs"]
mod scene;
#[path = "iscsi_hostile/sessions.rs"]
mod sessions;
#[path = "iscsi_hostile/shortage.rs"]
mod shortage;

use attacker::{LUN, Peer, read, write};
use scene::{GROWTH_KIB, Scene, beside_an_honest_session};
use target_core::status::Status;
use tests::deadline::until_true;
use transport_iser::Sn;
use transport_iser::pdu::{
    AttributeCode, BHS_BYTES, Bhs, DataIn, DataOut, LoginRequest, LoginResponse, LoginStatus,
    LogoutReason, LogoutRequest, NopOut, Opcode, R2t, RESERVED_TAG, RejectReason, ScsiCommand,
    ScsiResponse, Stage, TaskManagementCode, TaskManagementRequest, TaskManagementResponse,
    TaskManagementResult, scsi_response,
};

/// A sequence that looks like chance and is the same in every run.
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

/// A header that is nothing but its opcode; it claims no data.
fn bare(opcode: u8, cmd_sn: u32) -> Bhs {
    let mut bhs = [0; BHS_BYTES];
    bhs[0] = opcode;
    bhs[1] = 0x80;
    bhs[16..24].copy_from_slice(&[0, 0, 0, 99, 0xff, 0xff, 0xff, 0xff]);
    bhs[24..28].copy_from_slice(&cmd_sn.to_be_bytes());
    bhs
}

fn nop(cmd_sn: u32, initiator_task_tag: u32) -> NopOut {
    NopOut {
        initiator_task_tag,
        target_transfer_tag: RESERVED_TAG,
        cmd_sn: Sn(cmd_sn),
        ..NopOut::default()
    }
}

fn status_of(bhs: &Bhs, data: &[u8]) -> (Status, Vec<u8>) {
    let response = ScsiResponse::parse(bhs).expect("a SCSI response");
    let sense = scsi_response::sense(data).expect("sense data");
    (response.status, sense.to_vec())
}

#[test]
fn what_is_no_request_is_rejected_and_the_session_lives() {
    beside_an_honest_session(|stage| {
        let mut peer = stage.attacker.session(&[]);
        // 0 to 6 and 10h are requests; the rest is reserved, of vendors, or the target's to send.
        for opcode in (0x07..0x10).chain(0x11..0x40) {
            let what = format!("opcode {opcode:#x}");
            let header = bare(opcode | 0x40, peer.cmd_sn);
            peer.send(&header, &[]);
            peer.assert_rejected(&what, RejectReason::COMMAND_NOT_SUPPORTED);
            peer.assert_alive(&what);
        }
        peer.send(&bare(Opcode::SNACK.0 | 0x40, peer.cmd_sn), &[]);
        peer.assert_rejected("a SNACK", RejectReason::SNACK_REJECT);
        peer.assert_alive("after all");
    });
}

#[test]
fn what_is_wrong_in_a_request_costs_that_request_only() {
    beside_an_honest_session(|stage| {
        let mut peer = stage.attacker.session(&[]);
        let ping = nop(peer.cmd_sn, RESERVED_TAG);
        peer.send(&ping.encode(0), &[]);
        peer.assert_rejected("a ping with no tag", RejectReason::PROTOCOL_ERROR);
        let below = nop(peer.cmd_sn.wrapping_sub(1), 7);
        peer.send(&below.encode(0), &[]);
        let beyond = nop(peer.cmd_sn + 5000, 7);
        peer.send(&beyond.encode(0), &[]);
        peer.assert_alive("CmdSN outside of the window is ignored");
        let reserved = ScsiCommand {
            attribute: AttributeCode(7),
            ..read(1)
        };
        peer.command(reserved, &[]);
        peer.assert_rejected("a reserved attribute", RejectReason::INVALID_PDU_FIELD);
        peer.command(write(1), &[0; 1024]);
        peer.assert_rejected("more than was announced", RejectReason::INVALID_PDU_FIELD);
        let stray = DataOut {
            is_final: true,
            initiator_task_tag: 4711,
            target_transfer_tag: RESERVED_TAG,
            ..DataOut::default()
        };
        peer.send(&stray.encode(512), &[0; 512]);
        peer.assert_alive("data of no command are ignored");
        let (warm, cold) = (
            TaskManagementCode::TARGET_WARM_RESET,
            TaskManagementCode::TARGET_COLD_RESET,
        );
        // It resets what it has, which does not concern the honest session's LUN, and may not end that session.
        let not_there = TaskManagementResult::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED;
        for (function, expected) in [
            (TaskManagementCode(0), not_there),
            (warm, TaskManagementResult::FUNCTION_COMPLETE),
            (cold, TaskManagementResult::FUNCTION_AUTHORIZATION_FAILED),
            (TaskManagementCode(13), not_there),
            (TaskManagementCode(0x7f), not_there),
        ] {
            let request = TaskManagementRequest {
                immediate: true,
                function,
                lun: LUN,
                initiator_task_tag: 77,
                referenced_task_tag: RESERVED_TAG,
                cmd_sn: Sn(peer.cmd_sn),
                ..TaskManagementRequest::default()
            };
            peer.send(&request.encode(0), &[]);
            let (bhs, _) = peer.pdu("task management");
            let response = TaskManagementResponse::parse(&bhs).expect("an answer");
            assert_eq!(response.response, expected, "{function:?}");
        }
        let logout = LogoutRequest {
            immediate: true,
            reason: LogoutReason(0x55),
            initiator_task_tag: 78,
            cmd_sn: Sn(peer.cmd_sn),
            ..LogoutRequest::default()
        };
        peer.send(&logout.encode(0), &[]);
        peer.assert_rejected("a reserved logout", RejectReason::INVALID_PDU_FIELD);
        peer.assert_alive("after all");
    });
}

#[test]
fn what_breaks_the_stream_ends_its_connection_with_the_reason() {
    beside_an_honest_session(|stage| {
        let begin = || stage.attacker.session(&[]);
        let mut peer = begin();
        peer.send(&nop(peer.cmd_sn + 1, 7).encode(0), &[]);
        peer.assert_rejected("a gap in CmdSN", RejectReason::PROTOCOL_ERROR);
        peer.assert_gone("a gap in CmdSN");
        // Nothing of what is announced here is ever sent.
        for len in [262_145, 1 << 20, 0x00ff_ffff] {
            let mut peer = begin();
            peer.send(&nop(peer.cmd_sn, 7).encode(len), &[]);
            peer.assert_rejected("a long segment", RejectReason::PROTOCOL_ERROR);
            peer.assert_gone("a long segment");
        }
        let mut peer = begin();
        let mut long = nop(peer.cmd_sn, 7).encode(0);
        long[4] = 0xff;
        peer.send(&long, &[]);
        peer.assert_rejected("long additional headers", RejectReason::PROTOCOL_ERROR);
        peer.assert_gone("long additional headers");
        let mut peer = begin();
        let again = LoginRequest {
            cmd_sn: Sn(peer.cmd_sn),
            ..stage.attacker.login
        };
        peer.send(&again.encode(0), &[]);
        peer.assert_rejected("a login in a session", RejectReason::PROTOCOL_ERROR);
        peer.assert_gone("a login in a session");
        let mut peer = stage.attacker.connect();
        peer.send(&nop(1, 7).encode(0), &[]);
        let (bhs, _) = peer.pdu("a ping before the login");
        let response = LoginResponse::parse(&bhs).expect("a login response");
        assert_eq!(response.status, LoginStatus::INVALID_DURING_LOGIN);
        peer.assert_gone("a ping before the login");
    });
}

#[test]
fn digests_that_do_not_fit_cost_what_they_guard() {
    beside_an_honest_session(|stage| {
        let keys = ["HeaderDigest=CRC32C", "DataDigest=CRC32C"];
        let spoilt = |peer: &Peer, bhs: &Bhs, data: &[u8], at: usize| {
            let mut bytes = peer.bytes(bhs, data);
            bytes[at] ^= 1;
            bytes
        };
        let mut peer = stage.attacker.session(&keys);
        peer.assert_alive("digests are agreed on");
        let bytes = spoilt(&peer, &nop(peer.cmd_sn, 7).encode(0), &[], BHS_BYTES);
        peer.send_bytes(&bytes);
        peer.assert_gone("a wrong header digest: nothing that follows can be found");
        let mut peer = stage.attacker.session(&keys);
        let bytes = spoilt(
            &peer,
            &nop(peer.cmd_sn, 7).encode(4),
            b"ping",
            BHS_BYTES + 8,
        );
        peer.send_bytes(&bytes);
        peer.assert_rejected("a ping", RejectReason::DATA_DIGEST_ERROR);
        peer.assert_gone("a request whose data cannot be asked for again");
        let mut peer = stage.attacker.session(&keys);
        let damaged = ScsiCommand {
            initiator_task_tag: 7,
            cmd_sn: peer.take_cmd_sn(),
            ..write(1)
        };
        let bytes = spoilt(&peer, &damaged.encode(512), &[0x5a; 512], 100);
        peer.send_bytes(&bytes);
        peer.assert_rejected("a write", RejectReason::DATA_DIGEST_ERROR);
        let (bhs, data) = peer.pdu("a write");
        let (status, sense) = status_of(&bhs, &data);
        assert_eq!((status, sense[2] & 0xf), (Status::CHECK_CONDITION, 0x0b));
        peer.command(read(1), &[]);
        let (bhs, data) = peer.pdu("what was there before");
        assert!(DataIn::parse(&bhs).is_ok());
        assert!(data == [0; 512], "damaged data were written");
    });
}

#[test]
fn streams_that_break_off_leave_nothing() {
    beside_an_honest_session(|stage| {
        let attacker = &stage.attacker;
        let keys = attacker.keys(&[]);
        let whole = attacker
            .connect()
            .bytes(&attacker.login.encode(keys.len() as u32), &keys);
        for len in (0..whole.len()).step_by(5) {
            attacker.connect().send_bytes(&whole[..len]);
        }
        // A write whose immediate data break off, one whose unsolicited data do, and one that gets no answer to its R2T.
        for len in (0..BHS_BYTES + 4096).step_by(307) {
            let mut peer = attacker.session(&[]);
            let cut = ScsiCommand {
                initiator_task_tag: 7,
                cmd_sn: peer.take_cmd_sn(),
                ..write(64)
            };
            let bytes = peer.bytes(&cut.encode(4096), &[1; 4096]);
            peer.send_bytes(&bytes[..len]);
        }
        let mut peer = attacker.session(&["InitialR2T=No"]);
        let promised = ScsiCommand {
            is_final: false,
            ..write(64)
        };
        peer.command(promised, &[1; 4096]);
        let mut peer = attacker.session(&[]);
        peer.command(write(64), &[]);
        let (bhs, _) = peer.pdu("an R2T");
        assert!(R2t::parse(&bhs).is_ok());
        // And one that goes with commands under way.
        for _ in 0..8 {
            let mut peer = attacker.session(&[]);
            for _ in 0..32 {
                peer.command(read(2048), &[]);
            }
        }
    });
}

#[test]
fn noise_is_survived() {
    beside_an_honest_session(|stage| {
        for seed in 1..=60 {
            let mut peer = match seed % 2 {
                0 => stage.attacker.connect(),
                _ => stage.attacker.session(&[]),
            };
            let mut bytes = noise(seed, 48 * 40);
            if seed % 3 == 0 {
                // Headers that are wrong in everything but their lengths.
                for header in bytes.chunks_mut(BHS_BYTES) {
                    header[4..8].fill(0);
                }
            }
            peer.send_bytes(&bytes);
            drop(peer);
        }
        stage.attacker.session(&[]).assert_alive("after the noise");
    });
}

/// A login that begins and does not go on holds what its connection holds and a text of a page, 32 KiB in all, until its
/// time is over.
#[test]
fn a_thousand_half_open_logins_cost_little_and_time_out() {
    const LOGINS: u64 = 1000;
    beside_an_honest_session(|stage| {
        let attacker = &stage.attacker;
        let half = LoginRequest {
            transit: false,
            current_stage: Stage::SECURITY_NEGOTIATION,
            next_stage: Stage::default(),
            ..attacker.login
        };
        let keys = attacker.keys(&["AuthMethod=None"]);
        let before_kib = stage.target.resident_kib();
        let mut peers: Vec<Peer> = (0..LOGINS)
            .map(|number| {
                let mut peer = attacker.connect();
                let mut isid = half.isid;
                isid[4..].copy_from_slice(&(number as u16).to_be_bytes());
                let request = LoginRequest { isid, ..half };
                peer.send(&request.encode(keys.len() as u32), &keys);
                peer
            })
            .collect();
        stage.honest.assert_goes_on(1);
        stage.assert_growth(before_kib, LOGINS * 32);
        for peer in &mut peers {
            let (bhs, _) = peer.pdu("the first answer");
            let response = LoginResponse::parse(&bhs);
            let status = response.expect("a login response").status;
            assert_eq!(status, LoginStatus::SUCCESS);
            peer.assert_gone("a login whose time is over");
        }
        attacker.session(&[]).assert_alive("there is room again");
    });
}

/// Four sessions ask for eight times the memory that there is for the data of commands, and move none of it. An honest session
/// goes on while they are there, and in the end they are dropped: they do not even answer pings.
fn hoard(stage: &Scene<'_>, command: ScsiCommand) {
    let before_kib = stage.target.resident_kib();
    let mut peers: Vec<Peer> = (0..4)
        .map(|number| {
            let mut attacker = stage.attacker.clone();
            attacker.login.isid[5] = number;
            attacker.session(&[])
        })
        .collect();
    for peer in &mut peers {
        for _ in 0..64 {
            peer.command(command, &[]);
        }
    }
    stage.honest.assert_goes_on(2);
    assert_eq!(stage.sessions(), 5, "nobody had to go for that");
    stage.assert_growth(before_kib, GROWTH_KIB);
    until_true("those who move nothing to be dropped", 120, || {
        stage.sessions() == 1
    });
    stage.honest.assert_goes_on(1);
}

#[test]
fn who_reads_nothing_starves_nobody_and_is_dropped() {
    beside_an_honest_session(|stage| hoard(stage, read(8192)));
}

#[test]
fn who_never_sends_its_data_starves_nobody_and_is_dropped() {
    beside_an_honest_session(|stage| hoard(stage, write(8192)));
}

#[test]
fn who_writes_byte_by_byte_starves_nobody_and_is_served() {
    const BLOCKS: u32 = 128;
    beside_an_honest_session(|stage| {
        let data = noise(5, BLOCKS as usize * 512);
        let mut slow: Vec<(Peer, Vec<u8>, usize)> = (0..16)
            .map(|number| {
                let mut attacker = stage.attacker.clone();
                attacker.login.isid[5] = number;
                let mut peer = attacker.session(&[]);
                peer.command(write(BLOCKS), &[]);
                let (bhs, _) = peer.pdu("an R2T");
                let r2t = R2t::parse(&bhs).expect("an R2T");
                let len = BLOCKS * 512;
                assert_eq!(r2t.desired_data_transfer_length, len);
                let data_out = DataOut {
                    is_final: true,
                    lun: r2t.lun,
                    initiator_task_tag: r2t.initiator_task_tag,
                    target_transfer_tag: r2t.target_transfer_tag,
                    ..DataOut::default()
                };
                let bytes = peer.bytes(&data_out.encode(len), &data);
                (peer, bytes, 0)
            })
            .collect();
        for round in 0..100 {
            for (peer, bytes, sent) in &mut slow {
                assert!(peer.send_bytes(&bytes[*sent..=*sent]));
                *sent += 1;
            }
            if round % 40 == 0 {
                stage.honest.assert_goes_on(1);
            }
        }
        for (mut peer, bytes, sent) in slow {
            assert!(peer.send_bytes(&bytes[sent..]));
            let (bhs, answer) = peer.pdu("the end of a slow write");
            assert_eq!(status_of(&bhs, &answer).0, Status::GOOD);
            peer.command(read(BLOCKS), &[]);
            assert!(gathered(&mut peer) == data, "what was written slowly");
        }
    });
}

/// The data of a READ, to its status.
#[track_caller]
fn gathered(peer: &mut Peer) -> Vec<u8> {
    let mut gathered = Vec::new();
    loop {
        let (bhs, data) = peer.pdu("Data-In");
        if let Ok(data_in) = DataIn::parse(&bhs) {
            assert_eq!(data_in.buffer_offset as usize, gathered.len());
            gathered.extend(data);
            if data_in.has_status {
                assert_eq!(data_in.status, Status::GOOD);
                return gathered;
            }
        } else {
            assert_eq!(status_of(&bhs, &data).0, Status::GOOD);
            return gathered;
        }
    }
}
