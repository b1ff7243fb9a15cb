//! A peer on TCP that breaks every rule of iSCSI, beside an honest session that verifies every byte: the first gets the
//! protocol's answer, the second goes on, and the daemon has lost no task and no memory when all is over. Natively.

#[path = "iscsi_hostile/attacker.rs"]
mod attacker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use attacker::{Answer, Attacker, LUN, Peer, read, text, write};
use initiator::iscsi::machine::LoginOptions;
use initiator::iscsi::{ConnectOptions, Session};
use initiator::{Lun, Scsi};
use serde_json::Value;
use target_core::status::Status;
use tests::bed::{loopback_address, natively};
use tests::deadline::{until, until_true};
use tests::srptgt::Srptgt;
use tests::sweep::Sweep;
use transport_iser::Sn;
use transport_iser::login::Datamover;
use transport_iser::pdu::{
    AttributeCode, BHS_BYTES, Bhs, DataIn, DataOut, LoginRequest, LoginStatus, LogoutReason,
    LogoutRequest, LogoutResponse, LogoutResult, NopOut, Opcode, R2t, RESERVED_TAG, RejectReason,
    ScsiCommand, ScsiResponse, Stage, TaskManagementCode, TaskManagementRequest,
    TaskManagementResponse, TaskManagementResult, TextRequest, TextResponse, scsi_response,
};

const HONEST: &str = "iqn.2026-11.example:honest";
const HOSTILE: &str = "iqn.2026-11.example:hostile";

/// What the daemon may hold in memory more than before an attack: the whole pool for the data of commands, which the honest
/// session touches too, and something for everything else.
const GROWTH_KIB: u64 = (128 << 10) + (32 << 10);

/// What an attack has to work with.
struct Scene<'a> {
    target: &'a Srptgt,
    attacker: Attacker,
    honest: &'a Honest,
}

/// A session that keeps the rules, with verified I/O on LUN 0 all the time.
struct Honest {
    sweeps: Arc<AtomicU32>,
    is_over: Arc<AtomicBool>,
    load: JoinHandle<()>,
}

impl Honest {
    fn begin(address: SocketAddr, target: &str) -> Self {
        const DEPTH: usize = 8;
        let (sweeps, is_over) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut login = LoginOptions::new(Datamover::Tcp, HONEST, Some(target));
        login.outstanding = DEPTH as u32;
        let options = ConnectOptions::new(address, login);
        let (count, end) = (Arc::clone(&sweeps), Arc::clone(&is_over));
        let load = thread::spawn(move || {
            let mut session = Session::connect_tcp(&options).expect("a session");
            session.await_ready(Lun([0; 8])).expect("ready");
            while !end.load(Ordering::Relaxed) {
                let sweep = Sweep {
                    lun: Lun([0; 8]),
                    bytes: 2 << 20,
                    depth: DEPTH,
                    seed: count.load(Ordering::Relaxed).into(),
                };
                sweep.verify(&mut session);
                count.fetch_add(1, Ordering::Relaxed);
            }
            session.logout();
        });
        Self {
            sweeps,
            is_over,
            load,
        }
    }

    /// It gets on: so many whole sweeps from now.
    #[track_caller]
    fn assert_goes_on(&self, sweeps: u32) {
        let goal = self.sweeps.load(Ordering::Relaxed) + sweeps;
        until_true("the honest session to go on", 120, || {
            assert!(!self.load.is_finished(), "the honest session has ended");
            self.sweeps.load(Ordering::Relaxed) >= goal
        });
    }

    fn leave(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.load.join().expect("the honest session");
    }
}

impl Scene<'_> {
    fn sessions(&self) -> usize {
        self.target.json::<Vec<Value>>("session list").len()
    }

    fn assert_growth(&self, before_kib: u64, most_kib: u64) {
        let after_kib = self.target.resident_kib();
        println!("resident memory: {before_kib} KiB before, {after_kib} KiB after");
        assert!(after_kib <= before_kib + most_kib);
    }
}

/// A target, a well-behaved session with verified I/O on LUN 0, and an attacker that may use LUN 1.
fn beside_an_honest_session(attack: impl FnOnce(&Scene<'_>)) {
    natively(|bed| {
        let target = bed.target();
        let address = SocketAddr::new(loopback_address(), 3260);
        target.run(&format!("portal add tcp {address}"));
        target.run(&format!(
            "host add initiator --iqn {HONEST} --iqn {HOSTILE}"
        ));
        target.add_luns(&["--ram --size 4M", "--ram --size 16M"]);
        let shown: Value = target.json("target show");
        let name = shown["iqn"].as_str().expect("an iSCSI name");
        let honest = Honest::begin(address, name);
        honest.assert_goes_on(1);
        let before_kib = target.resident_kib();
        let stage = Scene {
            target: &target,
            attacker: Attacker::new(address, HOSTILE, name),
            honest: &honest,
        };
        attack(&stage);
        honest.assert_goes_on(1);
        until_true("the attacker's sessions to end", 120, || {
            stage.sessions() == 1
        });
        stage.assert_growth(before_kib, GROWTH_KIB);
        honest.leave();
        until_true("everybody to be gone", 60, || {
            target.json::<Vec<Value>>("session list").is_empty()
        });
        target.wait_until_idle();
        until_true("all buffers to be free", 60, || {
            target.counters().pool_used_bytes == 0
        });
    });
}

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
        for function in [0, 6, 7, 13, 0x7f] {
            let request = TaskManagementRequest {
                immediate: true,
                function: TaskManagementCode(function),
                lun: LUN,
                initiator_task_tag: 77,
                referenced_task_tag: RESERVED_TAG,
                cmd_sn: Sn(peer.cmd_sn),
                ..TaskManagementRequest::default()
            };
            peer.send(&request.encode(0), &[]);
            let (bhs, _) = peer.pdu("task management");
            let response = TaskManagementResponse::parse(&bhs).expect("an answer");
            assert_eq!(
                response.response,
                TaskManagementResult::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED,
                "function {function}"
            );
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
        let response = transport_iser::pdu::LoginResponse::parse(&bhs).expect("a login response");
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
            let response = transport_iser::pdu::LoginResponse::parse(&bhs);
            let status = response.expect("a login response").status;
            assert_eq!(status, LoginStatus::SUCCESS);
            peer.assert_gone("a login whose time is over");
        }
        attacker.session(&[]).assert_alive("there is room again");
    });
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

#[test]
fn a_session_is_known_by_its_handle() {
    beside_an_honest_session(|stage| {
        let attacker = &stage.attacker;
        let keys = attacker.keys(&[]);
        let (_, response, mut peer) = attacker.status(&keys);
        let tsih = response.tsih;
        assert_ne!(tsih, 0);
        let with = |change: &dyn Fn(&mut LoginRequest)| {
            let mut other = attacker.clone();
            change(&mut other.login);
            let (status, response, peer) = other.status(&keys);
            (status, response.tsih, peer)
        };
        let (status, ..) = with(&|login| login.tsih = tsih ^ 0x5555);
        assert_eq!(status, LoginStatus::SESSION_DOES_NOT_EXIST);
        let (status, ..) = with(&|login| (login.tsih, login.isid[5]) = (tsih, 9));
        assert_eq!(
            status,
            LoginStatus::SESSION_DOES_NOT_EXIST,
            "another port's"
        );
        let (status, ..) = with(&|login| (login.tsih, login.cid) = (tsih, 1));
        assert_eq!(status, LoginStatus::TOO_MANY_CONNECTIONS);
        let (status, ..) = with(&|login| (login.version_min, login.version_max) = (1, 1));
        assert_eq!(status, LoginStatus::UNSUPPORTED_VERSION);
        peer.assert_alive("what others tried has not touched it");
        let (status, again, mut later) = with(&|login| login.tsih = tsih);
        assert_eq!((status, again), (LoginStatus::SUCCESS, tsih));
        peer.assert_gone("its connection was taken over");
        later.assert_alive("the new connection");
        let (status, new, mut last) = with(&|_| {});
        assert_eq!(status, LoginStatus::SUCCESS);
        assert_ne!(new, 0);
        later.assert_gone("its session was reinstated");
        last.assert_alive("the new session");
        assert_eq!(stage.sessions(), 2);
        let nameless = text(&["SessionType=Discovery"]);
        assert_eq!(attacker.status(&nameless).0, LoginStatus::MISSING_PARAMETER);
        let elsewhere = Attacker {
            target: "iqn.2026-11.example:nobody".to_owned(),
            ..attacker.clone()
        };
        let status = elsewhere.status(&elsewhere.keys(&[])).0;
        assert_eq!(status, LoginStatus::NOT_FOUND);
    });
}

#[test]
fn a_logout_ends_what_it_names() {
    beside_an_honest_session(|stage| {
        let log_out = |reason, cid| {
            let mut peer = stage.attacker.session(&[]);
            let logout = LogoutRequest {
                reason,
                initiator_task_tag: 9,
                cid,
                cmd_sn: peer.take_cmd_sn(),
                ..LogoutRequest::default()
            };
            peer.send(&logout.encode(0), &[]);
            let (bhs, _) = peer.pdu("a logout");
            let response = LogoutResponse::parse(&bhs).expect("a logout response");
            (response.response, peer)
        };
        for reason in [LogoutReason::CLOSE_SESSION, LogoutReason::CLOSE_CONNECTION] {
            let (result, mut peer) = log_out(reason, 0);
            assert_eq!(result, LogoutResult::CLOSED_SUCCESSFULLY);
            peer.assert_gone("a logout");
            until_true("the session to end", 60, || stage.sessions() == 1);
        }
        let (result, mut peer) = log_out(LogoutReason::CLOSE_CONNECTION, 5);
        assert_eq!(result, LogoutResult::CID_NOT_FOUND);
        peer.assert_alive("another connection's number");
        let (result, mut peer) = log_out(LogoutReason::REMOVE_CONNECTION_FOR_RECOVERY, 0);
        assert_eq!(result, LogoutResult::CONNECTION_RECOVERY_NOT_SUPPORTED);
        peer.assert_alive("there is no recovery");
    });
}

/// A Text Request with these keys; the answer's keys.
#[track_caller]
fn ask(peer: &mut Peer, keys: &[&str]) -> Result<String, RejectReason> {
    let data = text(keys);
    let request = TextRequest {
        is_final: true,
        initiator_task_tag: peer.next_tag(),
        target_transfer_tag: RESERVED_TAG,
        cmd_sn: peer.take_cmd_sn(),
        ..TextRequest::default()
    };
    peer.send(&request.encode(data.len() as u32), &data);
    let (bhs, answer) = peer.pdu("a text answer");
    if let Ok(reject) = transport_iser::pdu::Reject::parse(&bhs) {
        return Err(reject.reason);
    }
    TextResponse::parse(&bhs).expect("a text response");
    Ok(String::from_utf8(answer).expect("text").replace('\0', " "))
}

#[test]
fn a_discovery_session_discovers_and_does_nothing_else() {
    beside_an_honest_session(|stage| {
        let attacker = &stage.attacker;
        let keys = text(&[&format!("InitiatorName={HOSTILE}"), "SessionType=Discovery"]);
        let (status, _, mut peer) = attacker.status(&keys);
        assert_eq!(status, LoginStatus::SUCCESS);
        let all = ask(&mut peer, &["SendTargets=All"]).expect("a list");
        assert!(all.contains(&attacker.target), "{all}");
        assert!(all.contains(&attacker.address.to_string()), "{all}");
        let other = ask(&mut peer, &["SendTargets=iqn.2026-11.example:nobody"]);
        assert_eq!(other.as_deref(), Ok(""));
        peer.command(read(1), &[]);
        peer.assert_rejected("a command", RejectReason::COMMAND_NOT_SUPPORTED);
        let ping = nop(peer.cmd_sn, 7);
        peer.take_cmd_sn();
        peer.send(&ping.encode(0), &[]);
        peer.assert_rejected("a ping", RejectReason::COMMAND_NOT_SUPPORTED);
        assert!(ask(&mut peer, &["SendTargets=All"]).is_ok(), "it lives");
        assert_eq!(stage.sessions(), 1, "it is no session of commands");
    });
}

#[test]
fn text_is_negotiated_while_commands_run() {
    beside_an_honest_session(|stage| {
        let mut peer = stage.attacker.session(&[]);
        ask(&mut peer, &["MaxRecvDataSegmentLength=512"]).expect("a declaration");
        peer.command(read(4), &[]);
        for _ in 0..4 {
            let (bhs, data) = peer.pdu("Data-In");
            DataIn::parse(&bhs).expect("Data-In");
            assert_eq!(data.len(), 512);
        }
        peer.assert_alive("after short segments");
        let answer = ask(&mut peer, &["X-com.example.unknown=1"]);
        assert_eq!(
            answer.as_deref(),
            Ok("X-com.example.unknown=NotUnderstood ")
        );
        // What holds for the whole session cannot change any more.
        for key in [
            "MaxBurstLength=512",
            "HeaderDigest=CRC32C",
            "InitiatorName=x",
        ] {
            let answer = ask(&mut peer, &[key]);
            let refused = match &answer {
                Ok(answer) => answer.ends_with("=Reject "),
                Err(reason) => *reason == RejectReason::PROTOCOL_ERROR,
            };
            assert!(refused, "{key}: {answer:?}");
            peer.assert_alive(key);
        }
        // A text without an end is not kept for ever.
        let part = vec![b'x'; 8192];
        let tag = peer.next_tag();
        let mut target_transfer_tag = RESERVED_TAG;
        let rejected = until("a text that is too long", 60, || {
            let request = TextRequest {
                continues: true,
                initiator_task_tag: tag,
                target_transfer_tag,
                cmd_sn: peer.take_cmd_sn(),
                ..TextRequest::default()
            };
            peer.send(&request.encode(part.len() as u32), &part);
            let (bhs, _) = peer.pdu("a part of a text");
            match TextResponse::parse(&bhs) {
                Ok(response) => {
                    target_transfer_tag = response.target_transfer_tag;
                    None
                }
                Err(_) => Some(transport_iser::pdu::Reject::parse(&bhs).expect("a Reject")),
            }
        });
        assert_eq!(rejected.reason, RejectReason::PROTOCOL_ERROR);
        assert!(peer.cmd_sn < 40, "{} parts were taken", peer.cmd_sn);
        peer.assert_alive("after all");
        assert_eq!(peer.answer_within(Duration::ZERO), Answer::Silence);
    });
}
