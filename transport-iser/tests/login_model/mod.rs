//! Logins and text exchanges driven by a script of bytes: whatever comes, each request has one answer that fits, nobody comes
//! in without the proof that is asked for, and what was agreed on lies within both ends' limits.
//!
//! Both the replay test and the fuzz targets use this file.

use transport_iser::chap::{Algorithm, CHALLENGE_BYTES, Challenge, Credentials, Required, Secret};
use transport_iser::login::{
    Admission, Datamover, Identity, Initiator, InitiatorSettings, InitiatorStep, Login,
    LoginFailure, LoginLimits, MAX_LOGIN_SEGMENT_BYTES, Negotiated, SessionType, Step,
    TargetRecord, TextAnswer, TextPhase,
};
use transport_iser::pdu::{
    LoginRequest, LoginResponse, LoginStatus, RESERVED_TAG, Stage, TextRequest,
};
use transport_iser::text::{self, Assembly, Outgoing, value};
use transport_iser::{Sn, chap};

const SECRET: &[u8] = b"the initiator's own secret";
const CHALLENGE: [u8; CHALLENGE_BYTES] = [0x3c; CHALLENGE_BYTES];
const IDENTIFIER: u8 = 17;

/// MaxBurstLength in bytes when it is not negotiated (RFC 7143 13.13).
const DEFAULT_MAX_BURST_LENGTH: u32 = 262_144;

const ISER: u8 = 0x01;
const CHAP: u8 = 0x02;
const MUTUAL: u8 = 0x04;
const NOT_ADMITTED: u8 = 0x08;
const FROM_TARGET: u8 = 0x10;
/// The target takes less than the standard's defaults allow.
const RESTRICTED: u8 = 0x20;

/// In the flags of a PDU, beside T, C, CSG and NSG: a field of the header is spoiled, or the right proof is appended.
const SPOILED: u8 = 0x10;
const PROOF: u8 = 0x20;

/// Reads text and every form of value in it. True if it was text.
pub(crate) fn text(bytes: &[u8]) -> bool {
    let Ok(pairs) = text::parse(bytes) else {
        return false;
    };
    let mut outgoing = Outgoing::default();
    for pair in &pairs {
        assert!(bytes[pair.offset..].starts_with(pair.key.as_bytes()));
        outgoing.pair(pair.key, pair.value);
        read_value(pair.value);
    }
    let mut assembly = Assembly::default();
    while !outgoing.is_empty() {
        let segment = outgoing.take_segment(100);
        assembly.push(&segment).expect("not longer than it came");
    }
    let written = assembly.take();
    let again = text::parse(&written).expect("what was written is text");
    assert!(
        again
            .iter()
            .map(|p| (p.key, p.value))
            .eq(pairs.iter().map(|p| (p.key, p.value)))
    );
    true
}

fn read_value(text: &str) {
    if let Some((low, high)) = value::range(text) {
        assert!(low <= high);
    }
    if let Some(bytes) = value::binary(text, 64) {
        assert!((1..=64).contains(&bytes.len()));
        assert_eq!(value::binary(&value::from_binary(&bytes), 64), Some(bytes));
    }
    if let Some(name) = value::name(text) {
        assert_eq!(
            value::name(&name).as_ref(),
            Some(&name),
            "small letters stay"
        );
    }
    let _ = (
        value::number(text),
        value::boolean(text),
        value::label(text),
    );
    assert!(value::list(text).count() >= 1);
}

/// Text Requests in a session that the first byte chooses. True if one was answered to the end.
pub(crate) fn text_phase(script: &[u8]) -> bool {
    let mut script = Script(script);
    let options = script.byte();
    let mut phase = TextPhase::new(&session(options));
    let targets = [TargetRecord {
        name: "iqn.target".into(),
        addresses: vec![([192, 0, 2, 1], 3260).into(); 40],
        portal_group_tag: 1,
    }];
    let mut tag = 0;
    let mut answered = false;
    while let Some((flags, data)) = script.pdu() {
        let request = TextRequest {
            is_final: flags & 0x80 != 0,
            continues: flags & 0x40 != 0,
            initiator_task_tag: u32::from(flags & 1),
            target_transfer_tag: if flags & 2 == 0 { RESERVED_TAG } else { tag },
            ..TextRequest::default()
        };
        match phase.handle_request(&request, data, &targets) {
            TextAnswer::Respond(response, segment) => {
                let max = phase.max_xmit_data_segment_length();
                assert!((512..0x100_0000).contains(&max));
                assert!(segment.len() <= max as usize);
                assert!(!response.is_final || request.is_final && !response.continues);
                assert_eq!(
                    response.is_final,
                    response.target_transfer_tag == RESERVED_TAG
                );
                tag = response.target_transfer_tag;
                answered |= response.is_final && !segment.is_empty();
            }
            TextAnswer::Reject(_) => tag = 0,
        }
    }
    answered
}

/// A session that one request led to.
fn session(options: u8) -> Negotiated {
    let mut limits = LoginLimits::new(datamover(options));
    limits.max_xmit_data_segment_length = 8192;
    let mut login = Login::new(limits);
    let mut names = b"InitiatorName=iqn.x\0RDMAExtensions=Yes\0TargetName=iqn.target\0".to_vec();
    if options & CHAP != 0 {
        names.extend(b"SessionType=Discovery\0");
    }
    let request = LoginRequest {
        transit: true,
        current_stage: Stage::LOGIN_OPERATIONAL_NEGOTIATION,
        next_stage: Stage::FULL_FEATURE_PHASE,
        ..LoginRequest::default()
    };
    login.handle_request(&request, &names);
    loop {
        match login.poll().expect("a session") {
            Step::Admit(_) => login.handle_admission(Ok(admission(0))),
            Step::Respond(..) => {}
            Step::Done(negotiated) => return *negotiated,
            Step::Failed(failure) => panic!("{failure}"),
        }
    }
}

/// A login from either side, as the first byte says. True if it came to a session.
pub(crate) fn login(script: &[u8]) -> bool {
    let mut script = Script(script);
    let options = script.byte();
    if options & FROM_TARGET != 0 {
        return from_target(options, script);
    }
    from_initiator(options, script)
}

fn datamover(options: u8) -> Datamover {
    if options & ISER == 0 {
        Datamover::Tcp
    } else {
        Datamover::Iser
    }
}

fn admission(options: u8) -> Admission {
    let mutual = (options & MUTUAL != 0).then(|| Credentials {
        user: "array".into(),
        secret: Secret::new(b"the target's own secret".to_vec()),
    });
    Admission {
        tsih: 1,
        portal_group_tag: 1,
        target_alias: Some("an array".into()),
        chap: (options & CHAP != 0).then(|| Required {
            user: "joe".into(),
            secret: Secret::new(SECRET.to_vec()),
            mutual,
            identifier: IDENTIFIER,
            challenge: CHALLENGE,
        }),
    }
}

/// What came of one PDU.
#[derive(Debug)]
enum End {
    Session(Box<Negotiated>),
    Failure(LoginFailure),
}

fn from_initiator(options: u8, mut script: Script<'_>) -> bool {
    let mut limits = LoginLimits::new(datamover(options));
    if options & RESTRICTED != 0 {
        limits.immediate_data = false;
        (limits.max_burst_length, limits.first_burst_length) = (65_536, 65_536);
    }
    let mut login = Login::new(limits.clone());
    let mut algorithm = None;
    let mut has_proof = false;
    while let Some((flags, data)) = script.pdu() {
        let mut data = data.to_vec();
        if let Some(algorithm) = algorithm.filter(|_| flags & PROOF != 0) {
            data.extend(proof(algorithm));
            has_proof = true;
        }
        let request = request(flags, &mut script);
        login.handle_request(&request, &data);
        let (response, text, end) = answer_of(&mut login, options);
        check_response(&request, &response, &text);
        algorithm = algorithm_in(&text).or(algorithm);
        match end {
            Some(End::Session(negotiated)) => {
                assert!(
                    has_proof || options & CHAP == 0,
                    "nobody comes in without the proof"
                );
                assert_eq!(options & NOT_ADMITTED, 0);
                assert!(response.transit && response.next_stage == Stage::FULL_FEATURE_PHASE);
                // Who leaves out the operational stage gets the defaults.
                if response.current_stage == Stage::SECURITY_NEGOTIATION {
                    limits = LoginLimits::new(datamover(options));
                }
                check_session(&negotiated, &limits);
                assert!(login.poll().is_none());
                return true;
            }
            Some(End::Failure(failure)) => {
                assert_eq!(response.status, failure.status);
                assert!(failure.status.class() >= 2 && !failure.to_string().is_empty());
                login.handle_request(&request, &data);
                assert!(login.poll().is_none(), "it is over");
                return false;
            }
            None => assert_eq!(response.status, LoginStatus::SUCCESS),
        }
    }
    false
}

fn request(flags: u8, script: &mut Script<'_>) -> LoginRequest {
    let mut request = LoginRequest {
        immediate: true,
        transit: flags & 0x80 != 0,
        continues: flags & 0x40 != 0,
        current_stage: Stage(flags >> 2 & 3),
        next_stage: Stage(flags & 3),
        ..LoginRequest::default()
    };
    if flags & SPOILED != 0 {
        let value = script.byte();
        match value & 7 {
            0 => request.isid[0] = value,
            1 => request.tsih = value.into(),
            2 => request.cid = value.into(),
            3 => request.initiator_task_tag = value.into(),
            4 => request.version_min = value,
            _ => request.version_max = value,
        }
    }
    request
}

/// Each request has one response, before the end if there is one.
fn answer_of(login: &mut Login, options: u8) -> (LoginResponse, Vec<u8>, Option<End>) {
    let mut response = None;
    let mut end = None;
    while let Some(step) = login.poll() {
        assert!(end.is_none(), "nothing comes after the end");
        match step {
            Step::Admit(identity) => {
                assert!(response.is_none() && !identity.initiator_name.is_empty());
                let refused = options & NOT_ADMITTED != 0;
                let answer = Ok(admission(options)).and_then(|admission| {
                    if refused {
                        Err(LoginStatus::NOT_FOUND)
                    } else {
                        Ok(admission)
                    }
                });
                login.handle_admission(answer);
            }
            Step::Respond(one, text) => assert!(response.replace((one, text)).is_none()),
            Step::Done(negotiated) => end = Some(End::Session(negotiated)),
            Step::Failed(failure) => end = Some(End::Failure(failure)),
        }
    }
    let (response, text) = response.expect("a response");
    (response, text, end)
}

fn check_response(request: &LoginRequest, response: &LoginResponse, text: &[u8]) {
    assert!(text.len() <= MAX_LOGIN_SEGMENT_BYTES);
    assert!(!(response.transit && response.continues));
    assert!(!response.transit || request.transit && response.next_stage == request.next_stage);
    assert_eq!(response.current_stage, request.current_stage);
    assert_eq!(response.initiator_task_tag, request.initiator_task_tag);
    assert!(response.status == LoginStatus::SUCCESS || text.is_empty() && !response.transit);
}

fn check_session(negotiated: &Negotiated, limits: &LoginLimits) {
    let segment = 512..0x100_0000;
    assert!(segment.contains(&negotiated.max_recv_data_segment_length));
    assert!(segment.contains(&negotiated.max_xmit_data_segment_length));
    assert!(negotiated.max_recv_data_segment_length <= limits.max_recv_data_segment_length);
    assert!(segment.contains(&negotiated.max_burst_length));
    assert!(negotiated.first_burst_length <= negotiated.max_burst_length);
    let is_normal = negotiated.identity.session_type == SessionType::Normal;
    // A value that was rejected leaves the default, with which the target can live.
    let max_burst_length = limits.max_burst_length.max(DEFAULT_MAX_BURST_LENGTH);
    assert!(negotiated.max_burst_length <= max_burst_length || !is_normal);
    assert!(limits.immediate_data || !negotiated.immediate_data || !is_normal);
    assert!((1..=limits.max_outstanding_r2t).contains(&negotiated.max_outstanding_r2t));
    assert!(negotiated.default_time2wait <= 3600 && negotiated.default_time2retain <= 3600);
    assert!(negotiated.data_pdu_in_order && negotiated.data_sequence_in_order);
    let is_iser = limits.datamover == Datamover::Iser;
    assert!(negotiated.identity.target_name.is_some() || !is_normal);
    assert!(!is_iser || !is_normal || negotiated.rdma.is_some());
    assert!(is_iser || negotiated.rdma.is_none());
}

fn algorithm_in(text: &[u8]) -> Option<Algorithm> {
    let pairs = text::parse(text).ok()?;
    let pair = pairs.iter().find(|pair| pair.key == "CHAP_A")?;
    Algorithm::parse(pair.value)
}

/// CHAP_N and CHAP_R as they have to be.
fn proof(algorithm: Algorithm) -> Vec<u8> {
    let challenge = Challenge {
        identifier: IDENTIFIER,
        bytes: CHALLENGE.to_vec(),
    };
    let response = algorithm.response(&Secret::new(SECRET.to_vec()), &challenge);
    format!("CHAP_N=joe\0CHAP_R={response}\0").into_bytes()
}

/// A script of a target's responses, before an initiator.
fn from_target(options: u8, mut script: Script<'_>) -> bool {
    let mut initiator = Initiator::new(initiator_settings(options));
    initiator.start();
    let mut request = sent(&mut initiator).expect("a first request");
    while let Some((flags, data)) = script.pdu() {
        let response = LoginResponse {
            transit: flags & 0x80 != 0,
            continues: flags & 0x40 != 0,
            current_stage: Stage(flags >> 2 & 3),
            next_stage: Stage(flags & 3),
            isid: request.isid,
            tsih: u16::from(flags),
            status: LoginStatus(u16::from(flags & SPOILED) << 5),
            ..LoginResponse::default()
        };
        initiator.handle_response(&response, data);
        match sent(&mut initiator) {
            Ok(next) => request = next,
            Err(End::Session(negotiated)) => {
                assert!(request.transit && response.transit);
                assert_eq!(options & MUTUAL, 0, "the script does not know the secret");
                check_session(&negotiated, &LoginLimits::new(datamover(options)));
                return true;
            }
            Err(End::Failure(failure)) => {
                assert!(!failure.to_string().is_empty());
                initiator.handle_response(&response, data);
                assert!(initiator.poll().is_none(), "it is over");
                return false;
            }
        }
    }
    false
}

fn initiator_settings(options: u8) -> InitiatorSettings {
    let credentials = |user: &str, secret: &[u8]| Credentials {
        user: user.into(),
        secret: Secret::new(secret.to_vec()),
    };
    let own = credentials("joe", SECRET);
    let target = (options & MUTUAL != 0).then(|| credentials("array", b"of the target"));
    let wants_chap = options & (CHAP | MUTUAL) != 0;
    InitiatorSettings {
        limits: LoginLimits::new(datamover(options)),
        identity: Identity {
            initiator_name: "iqn.host".into(),
            initiator_alias: None,
            target_name: Some("iqn.target".into()),
            session_type: SessionType::Normal,
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: 0,
            cid: 0,
        },
        chap: wants_chap
            .then(|| chap::Initiator::new(own, target, 1, CHALLENGE).expect("two secrets")),
        initiator_task_tag: 0,
        cmd_sn: Sn(1),
    }
}

/// The initiator's next request, or its end; there is always one of them.
fn sent(initiator: &mut Initiator) -> Result<LoginRequest, End> {
    let step = initiator.poll().expect("a step");
    assert!(initiator.poll().is_none(), "one at a time");
    match step {
        InitiatorStep::Send(request, text) => {
            assert!(text.len() <= MAX_LOGIN_SEGMENT_BYTES);
            assert!(!(request.transit && request.continues));
            Ok(request)
        }
        InitiatorStep::Done(negotiated) => Err(End::Session(negotiated)),
        InitiatorStep::Failed(failure) => Err(End::Failure(failure)),
    }
}

/// One byte of options, then PDUs: one byte of flags, two of length, the text; a length beyond the end is cut.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn pdu(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[flags, high, low], rest) = self.0.split_first_chunk()?;
        let len = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (data, rest) = rest.split_at(len);
        self.0 = rest;
        Some((flags, data))
    }
}
