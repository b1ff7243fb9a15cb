//! What a session is known by, what ends it, and what may still be said while it runs (RFC 7143 6.3, 7.11, 11.14).

use std::time::Duration;

use tests::deadline::{until, until_true};
use transport_iser::pdu::{
    DataIn, LoginRequest, LoginStatus, LogoutReason, LogoutRequest, LogoutResponse, LogoutResult,
    RESERVED_TAG, Reject, RejectReason, TextRequest, TextResponse,
};

use crate::attacker::{Answer, Attacker, Peer, read, text};
use crate::nop;
use crate::scene::{HOSTILE, beside_an_honest_session};

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
    if let Ok(reject) = Reject::parse(&bhs) {
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
                Err(_) => Some(Reject::parse(&bhs).expect("a Reject")),
            }
        });
        assert_eq!(rejected.reason, RejectReason::PROTOCOL_ERROR);
        assert!(peer.cmd_sn < 40, "{} parts were taken", peer.cmd_sn);
        peer.assert_alive("after all");
        assert_eq!(peer.answer_within(Duration::ZERO), Answer::Silence);
    });
}
