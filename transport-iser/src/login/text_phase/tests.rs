use super::*;
use crate::login::negotiation::Negotiation;
use crate::login::{Datamover, Identity, LoginLimits, RdmaValues};

fn negotiated(session_type: SessionType) -> Negotiated {
    let identity = Identity {
        initiator_name: "iqn.initiator".into(),
        initiator_alias: None,
        target_name: (session_type == SessionType::Normal).then(|| "iqn.one".into()),
        session_type,
        isid: [0; 6],
        tsih: 0,
        cid: 0,
    };
    let limits = LoginLimits::new(Datamover::Tcp);
    Negotiation::new(Side::Target, &limits).finish(identity, 1)
}

fn discovery() -> TextPhase {
    TextPhase::new(&negotiated(SessionType::Discovery))
}

fn normal() -> TextPhase {
    TextPhase::new(&negotiated(SessionType::Normal))
}

fn targets() -> Vec<TargetRecord> {
    let address = |text: &str| text.parse().expect("an address");
    vec![
        TargetRecord {
            name: "iqn.one".into(),
            addresses: vec![address("192.0.2.1:3260"), address("[2001:db8::1]:3260")],
            portal_group_tag: 1,
        },
        TargetRecord {
            name: "iqn.two".into(),
            addresses: vec![address("192.0.2.2:860")],
            portal_group_tag: 2,
        },
    ]
}

fn request(tag: u32) -> TextRequest {
    TextRequest {
        is_final: true,
        initiator_task_tag: 5,
        target_transfer_tag: tag,
        ..TextRequest::default()
    }
}

/// One request, answered by one final response.
fn ask(phase: &mut TextPhase, text: &str) -> Vec<String> {
    let answer = phase.handle_request(&request(RESERVED_TAG), text.as_bytes(), &targets());
    let TextAnswer::Respond(response, text) = answer else {
        panic!("{answer:?}");
    };
    assert!(response.is_final && !response.continues);
    assert_eq!(response.target_transfer_tag, RESERVED_TAG);
    assert_eq!(response.initiator_task_tag, 5);
    let pairs = text::parse(&text).expect("well-formed");
    pairs
        .iter()
        .map(|p| format!("{}={}", p.key, p.value))
        .collect()
}

const ONE: [&str; 3] = [
    "TargetName=iqn.one",
    "TargetAddress=192.0.2.1:3260,1",
    "TargetAddress=[2001:db8::1]:3260,1",
];
const TWO: [&str; 2] = ["TargetName=iqn.two", "TargetAddress=192.0.2.2:860,2"];

#[test]
fn discovery_tells_of_all_or_one() {
    let all = [&ONE[..], &TWO].concat();
    assert_eq!(ask(&mut discovery(), "SendTargets=All\0"), all);
    assert_eq!(ask(&mut discovery(), "SendTargets=iqn.TWO\0"), TWO);
    let nothing: [&str; 0] = [];
    assert_eq!(ask(&mut discovery(), "SendTargets=iqn.three\0"), nothing);
    assert_eq!(
        ask(&mut discovery(), "SendTargets=\0"),
        ["SendTargets=Reject"]
    );
    assert_eq!(
        ask(&mut discovery(), "SendTargets=a b\0"),
        ["SendTargets=Reject"]
    );
}

#[test]
fn a_normal_session_knows_its_own_target_only() {
    assert_eq!(ask(&mut normal(), "SendTargets=\0"), ONE);
    assert_eq!(ask(&mut normal(), "SendTargets=iqn.one\0"), ONE);
    let nothing: [&str; 0] = [];
    assert_eq!(ask(&mut normal(), "SendTargets=iqn.two\0"), nothing);
    assert_eq!(
        ask(&mut normal(), "SendTargets=All\0"),
        ["SendTargets=Reject"]
    );
}

#[test]
fn only_the_segment_length_may_change() {
    let mut phase = normal();
    assert!(
        ask(
            &mut phase,
            "MaxRecvDataSegmentLength=4096\0InitiatorAlias=x\0"
        )
        .is_empty()
    );
    assert_eq!(phase.max_xmit_data_segment_length(), 4096);
    let answers = ask(
        &mut phase,
        "MaxRecvDataSegmentLength=1\0MaxBurstLength=512\0AuthMethod=None\0TargetAlias=x\0\
         X-k=1\0X-l=NotUnderstood\0InitiatorName=iqn.x\0HeaderDigest=None\0",
    );
    let expected = [
        "MaxRecvDataSegmentLength=Reject",
        "MaxBurstLength=Reject",
        "AuthMethod=Reject",
        "TargetAlias=Reject",
        "X-k=NotUnderstood",
        "InitiatorName=Reject",
        "HeaderDigest=Reject",
    ];
    assert_eq!(answers, expected);
    assert_eq!(phase.max_xmit_data_segment_length(), 4096);
}

#[test]
fn with_rdma_the_segment_length_stays() {
    let mut values = negotiated(SessionType::Normal);
    values.rdma = Some(RdmaValues {
        initiator_recv_data_segment_length: 8192,
        target_recv_data_segment_length: 8192,
        max_outstanding_unexpected_pdus: 0,
        max_ahs_length: 256,
        tagged_buffer_for_solicited_data_only: false,
        iser_hello_required: false,
    });
    let mut phase = TextPhase::new(&values);
    assert!(ask(&mut phase, "MaxRecvDataSegmentLength=4096\0").is_empty());
    assert_eq!(phase.max_xmit_data_segment_length(), 8192);
}

#[test]
fn a_long_answer_goes_in_pieces() {
    let mut phase = discovery();
    ask(&mut phase, "MaxRecvDataSegmentLength=512\0");
    let record = |n: u16| TargetRecord {
        name: format!("iqn.{n}"),
        addresses: vec![SocketAddr::from(([192, 0, 2, 1], n))],
        portal_group_tag: n,
    };
    let many: Vec<_> = (0..100).map(record).collect();
    let mut text = Vec::new();
    let mut next = request(RESERVED_TAG);
    let mut data: &[u8] = b"SendTargets=All\0";
    loop {
        let answer = phase.handle_request(&next, data, &many);
        let TextAnswer::Respond(response, segment) = answer else {
            panic!("{answer:?}");
        };
        assert!(segment.len() <= 512);
        text.extend(segment);
        assert_eq!(response.continues, !response.is_final);
        if response.is_final {
            break;
        }
        next = request(response.target_transfer_tag);
        data = b"";
    }
    assert_eq!(text::parse(&text).expect("well-formed").len(), 200);
    assert_eq!(
        phase.handle_request(&next, b"", &many),
        TextAnswer::Reject(RejectReason::PROTOCOL_ERROR),
        "the exchange is over"
    );
}

#[test]
fn a_question_may_come_in_pieces() {
    let mut phase = discovery();
    let mut piece = request(RESERVED_TAG);
    (piece.is_final, piece.continues) = (false, true);
    let mut tag = RESERVED_TAG;
    for data in [&b"SendTar"[..], b"gets=A"] {
        piece.target_transfer_tag = tag;
        let answer = phase.handle_request(&piece, data, &targets());
        let TextAnswer::Respond(response, text) = answer else {
            panic!("{answer:?}");
        };
        assert!(!response.is_final && !response.continues && text.is_empty());
        tag = response.target_transfer_tag;
        assert_ne!(tag, RESERVED_TAG);
    }
    let answer = phase.handle_request(&request(tag), b"ll\0", &targets());
    assert!(matches!(answer, TextAnswer::Respond(response, text)
        if response.is_final && text.starts_with(b"TargetName=iqn.one\0")));
}

#[test]
fn without_f_the_exchange_goes_on() {
    let mut phase = normal();
    let mut first = request(RESERVED_TAG);
    first.is_final = false;
    let answer = phase.handle_request(&first, b"X-k=1\0", &targets());
    let TextAnswer::Respond(response, text) = answer else {
        panic!("{answer:?}");
    };
    assert!(!response.is_final && !response.continues);
    assert_eq!(text, b"X-k=NotUnderstood\0");
    let last = request(response.target_transfer_tag);
    assert!(matches!(
        phase.handle_request(&last, b"", &targets()),
        TextAnswer::Respond(response, _) if response.is_final
    ));
}

#[test]
fn what_is_wrong_is_rejected_and_forgotten() {
    let reject = |change: fn(&mut TextRequest), data: &[u8]| {
        let mut phase = normal();
        let mut one = request(RESERVED_TAG);
        change(&mut one);
        let answer = phase.handle_request(&one, data, &targets());
        assert_eq!(
            ask(&mut phase, "SendTargets=\0"),
            ONE,
            "the session goes on"
        );
        answer
    };
    let protocol_error = TextAnswer::Reject(RejectReason::PROTOCOL_ERROR);
    assert_eq!(reject(|_| {}, b"SendTargets"), protocol_error);
    assert_eq!(
        reject(|_| {}, b"SendTargets=\0SendTargets=\0"),
        protocol_error
    );
    assert_eq!(reject(|r| r.target_transfer_tag = 3, b""), protocol_error);
    assert_eq!(
        reject(|r| r.continues = true, b""),
        TextAnswer::Reject(RejectReason::INVALID_PDU_FIELD)
    );
}

#[test]
fn text_in_the_middle_of_an_answer_is_rejected() {
    let mut phase = discovery();
    ask(&mut phase, "MaxRecvDataSegmentLength=512\0");
    let many = vec![targets().remove(0); 20];
    let answer = phase.handle_request(&request(RESERVED_TAG), b"SendTargets=All\0", &many);
    let TextAnswer::Respond(response, _) = answer else {
        panic!("{answer:?}");
    };
    let interrupted = request(response.target_transfer_tag);
    assert_eq!(
        phase.handle_request(&interrupted, b"X=1\0", &many),
        TextAnswer::Reject(RejectReason::PROTOCOL_ERROR)
    );
}
