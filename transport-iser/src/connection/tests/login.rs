//! From the first Login Request to the first command.

use target_core::port::{Channel, ChannelEvent, CloseReason, Transmit};

use super::harness::{Bed, FIRST, Posted, Sent, read};
use crate::Sn;
use crate::connection::LoginEvent;
use crate::login::{Admission, Datamover, Digest};
use crate::pdu::{BHS_BYTES, Bhs, LoginRequest, LoginResponse, LoginStatus, NopOut, Stage};

const KEYS: &str = "InitiatorName=iqn.2026-11.test:initiator\0TargetName=iqn.2026-11.test:target\0\
    SessionType=Normal\0HeaderDigest=CRC32C,None\0DataDigest=CRC32C\0MaxRecvDataSegmentLength=8192\0";

fn request() -> LoginRequest {
    LoginRequest {
        immediate: true,
        transit: true,
        current_stage: Stage::LOGIN_OPERATIONAL_NEGOTIATION,
        next_stage: Stage::FULL_FEATURE_PHASE,
        isid: [0x80, 1, 2, 3, 4, 5],
        initiator_task_tag: 1,
        cid: 7,
        cmd_sn: FIRST,
        ..LoginRequest::default()
    }
}

fn admission() -> Admission {
    Admission {
        tsih: 5,
        portal_group_tag: 1,
        target_alias: None,
        chap: None,
    }
}

fn send(bed: &mut Bed, bhs: &Bhs, keys: &str) {
    bed.send(bhs, keys.as_bytes());
}

fn knock(bed: &mut Bed) {
    let keys = KEYS;
    send(bed, &request().encode(keys.len() as u32), keys);
    assert!(matches!(bed.events()[..], [ChannelEvent::Transport]));
    let Some(LoginEvent::Admit(identity)) = bed.connection.poll_login() else {
        panic!("a question expected");
    };
    assert_eq!(identity.initiator_name, "iqn.2026-11.test:initiator");
    assert!(
        bed.sent().is_empty(),
        "nothing is said before the driver has answered"
    );
}

fn response(sent: &Sent) -> LoginResponse {
    LoginResponse::parse(&sent.bhs).unwrap()
}

#[test]
fn a_login_comes_to_full_feature_phase_and_its_digests() {
    let mut bed = Bed::login(Datamover::Tcp);
    knock(&mut bed);
    bed.connection.handle_admission(Ok(admission()));
    assert!(matches!(bed.events()[..], [ChannelEvent::Transport]));
    let Some(LoginEvent::Established(negotiated)) = bed.connection.poll_login() else {
        panic!("a session expected");
    };
    assert_eq!(
        (negotiated.tsih, negotiated.header_digest),
        (5, Digest::Crc32c)
    );
    // The response itself has no digests.
    let sent = bed.sent_one();
    let pdu = response(&sent);
    assert!(pdu.transit && pdu.status == LoginStatus::SUCCESS);
    assert_eq!((pdu.tsih, pdu.stat_sn), (5, Sn(1)));
    assert_eq!((pdu.exp_cmd_sn, pdu.max_cmd_sn), (FIRST, FIRST.plus(7)));
    bed.agree(&negotiated);
    assert_eq!(bed.read(1, 0).tag, 1);
}

/// The final response waited for a message buffer until a ping was due.
#[test]
fn what_waits_behind_the_final_response_has_digests() {
    let mut bed = Bed::login(Datamover::Tcp);
    knock(&mut bed);
    bed.connection.handle_admission(Ok(admission()));
    bed.events();
    let Some(LoginEvent::Established(negotiated)) = bed.connection.poll_login() else {
        panic!("a session expected");
    };
    bed.connection.handle_timeout(15_000);
    let mut framed = || match bed.connection.poll_transmit() {
        Some(Transmit::Stream { message, .. }) => message.len(),
        other => panic!("bytes expected, {other:?} came"),
    };
    let (first, second) = (framed(), framed());
    let digest = 4;
    assert!(first > BHS_BYTES && negotiated.header_digest == Digest::Crc32c);
    assert_eq!(second, BHS_BYTES + digest, "the ping");
    assert!(!bed.connection.has_transmit());
}

#[test]
fn who_is_not_admitted_hears_the_status() {
    let mut bed = Bed::login(Datamover::Tcp);
    knock(&mut bed);
    bed.connection
        .handle_admission(Err(LoginStatus::AUTHORIZATION_FAILURE));
    assert!(matches!(
        bed.connection.poll_login(),
        Some(LoginEvent::Failed(_))
    ));
    assert_eq!(
        response(&bed.sent_one()).status,
        LoginStatus::AUTHORIZATION_FAILURE
    );
    let reason = bed.close_reason();
    assert!(
        matches!(reason, Some(CloseReason::LoginRefused(_))),
        "{reason:?}"
    );
    assert_eq!(bed.connection.counters().protocol_errors, 0);
}

#[test]
fn other_pdus_have_no_place_in_a_login() {
    for bhs in [NopOut::default().encode(0), read(FIRST, 3, 0).encode(0)] {
        let mut bed = Bed::login(Datamover::Tcp);
        bed.send(&bhs, &[]);
        assert_eq!(
            response(&bed.sent_one()).status,
            LoginStatus::INVALID_DURING_LOGIN
        );
        assert!(bed.close_reason().is_some());
    }
}

#[test]
fn a_login_that_is_not_over_in_time_ends() {
    let mut bed = Bed::login(Datamover::Tcp);
    assert_eq!(bed.connection.poll_timeout(), Some(15_000));
    knock(&mut bed);
    bed.connection.handle_timeout(15_000);
    assert!(format!("{:?}", bed.close_reason()).contains("15000 ms"));
    assert!(bed.sent().is_empty());
    bed.connection.handle_admission(Ok(admission()));
    assert!(bed.connection.poll_login().is_none() && bed.sent().is_empty());
}

#[test]
fn a_half_open_login_holds_little_memory() {
    let mut bed = Bed::login(Datamover::Tcp);
    // The longest segment, but for its last byte.
    bed.receive(&request().encode(8192));
    bed.receive(&[b'a'; 8191]);
    assert!(bed.events().is_empty());
    let bytes = bed.connection.heap_bytes() + size_of_val(&bed.connection);
    assert!(bytes < 16 << 10, "{bytes}");
    assert_eq!(bed.recv.level().in_use_bytes, 0);
    assert_eq!(
        bed.data.level().in_use_bytes + bed.messages.level().in_use_bytes,
        0
    );
}

#[test]
fn a_login_segment_longer_than_the_standard_allows_is_refused() {
    let mut bed = Bed::login(Datamover::Tcp);
    bed.receive(&request().encode(8193));
    assert_eq!(
        response(&bed.sent_one()).status,
        LoginStatus::INVALID_DURING_LOGIN
    );
    assert!(bed.close_reason().is_some());
}

#[test]
fn a_login_over_iser_comes_by_messages() {
    let mut bed = Bed::login(Datamover::Iser);
    let keys = "InitiatorName=iqn.2026-11.test:initiator\0TargetName=iqn.2026-11.test:target\0\
        RDMAExtensions=Yes\0InitiatorRecvDataSegmentLength=16384\0TargetRecvDataSegmentLength=8192\0";
    let bhs = request().encode(keys.len() as u32);
    bed.send_iser(None, None, &bhs, keys.as_bytes());
    assert!(matches!(bed.events()[..], [ChannelEvent::Transport]));
    let event = bed.connection.poll_login();
    assert!(matches!(event, Some(LoginEvent::Admit(_))));
    bed.connection.handle_admission(Ok(admission()));
    let event = bed.connection.poll_login();
    let Some(LoginEvent::Established(negotiated)) = event else {
        panic!("a session expected, {event:?} came");
    };
    assert!(negotiated.rdma.is_some());
    let Some(Posted::Respond {
        sent, invalidate, ..
    }) = bed.posted().pop()
    else {
        panic!("a response expected");
    };
    assert_eq!(response(&sent).status, LoginStatus::SUCCESS);
    assert_eq!(invalidate, None);
    let text = String::from_utf8(sent.data).expect("text");
    assert!(text.contains("RDMAExtensions=Yes\0"), "{text}");
    bed.send_iser(None, None, &read(FIRST, 1, 0).encode(0), &[]);
    let events = bed.events();
    assert!(matches!(
        events[..],
        [ChannelEvent::Transport, ChannelEvent::Command(_)]
    ));
}
