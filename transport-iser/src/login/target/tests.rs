use super::*;
use crate::chap::{self, Credentials, Secret};
use crate::login::{Digest, RdmaValues};

const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const FULL: u8 = 3;
const ISID: [u8; 6] = [0, 2, 0x3d, 0, 0, 1];

/// A request with CSG, T towards NSG, and what all requests of the tests have in common.
fn request(current: u8, next: Option<u8>) -> LoginRequest {
    LoginRequest {
        immediate: true,
        transit: next.is_some(),
        current_stage: Stage(current),
        next_stage: Stage(next.unwrap_or_default()),
        isid: ISID,
        initiator_task_tag: 0x1234,
        cid: 7,
        ..LoginRequest::default()
    }
}

fn text_of(pairs: &[&str]) -> Vec<u8> {
    pairs
        .iter()
        .flat_map(|pair| [pair.as_bytes(), b"\0"].concat())
        .collect()
}

fn pairs_of(text: &[u8]) -> Vec<String> {
    let pairs = text::parse(text).expect("well-formed answers");
    pairs
        .iter()
        .map(|pair| format!("{}={}", pair.key, pair.value))
        .collect()
}

fn admission(chap: Option<chap::Required>) -> Admission {
    Admission {
        tsih: 0x77,
        portal_group_tag: 1,
        target_alias: None,
        chap,
    }
}

fn required(mutual: bool) -> chap::Required {
    chap::Required {
        user: "joe".into(),
        secret: Secret::new(b"initiator's secret".to_vec()),
        mutual: mutual.then(|| Credentials {
            user: "array".into(),
            secret: Secret::new(b"target's secret".to_vec()),
        }),
        identifier: 9,
        challenge: [0x5a; chap::CHALLENGE_BYTES],
    }
}

/// A target, with what its driver will answer.
struct Target {
    login: Login,
    admission: Result<Admission, LoginStatus>,
    identity: Option<Identity>,
}

/// What one request led to.
#[derive(Debug)]
struct Answer {
    response: LoginResponse,
    text: Vec<String>,
    end: Option<Result<Negotiated, LoginFailure>>,
}

impl Answer {
    fn failure(self) -> LoginFailure {
        self.end.expect("an end").expect_err("a failure")
    }

    fn negotiated(self) -> Negotiated {
        self.end.expect("an end").expect("a session")
    }

    fn stages(&self) -> (u8, bool, u8) {
        let response = &self.response;
        (
            response.current_stage.0,
            response.transit,
            response.next_stage.0,
        )
    }
}

impl Target {
    fn new(limits: LoginLimits, chap: Option<chap::Required>) -> Self {
        Self {
            login: Login::new(limits),
            admission: Ok(admission(chap)),
            identity: None,
        }
    }

    fn tcp(chap: Option<chap::Required>) -> Self {
        Self::new(LoginLimits::new(Datamover::Tcp), chap)
    }

    fn iser() -> Self {
        Self::new(LoginLimits::new(Datamover::Iser), None)
    }

    fn send(&mut self, request: &LoginRequest, text: &[u8]) -> Answer {
        self.login.handle_request(request, text);
        let mut response = None;
        let mut end = None;
        while let Some(step) = self.login.poll() {
            match step {
                Step::Admit(identity) => {
                    assert!(response.is_none(), "the driver is asked first");
                    self.identity = Some(identity);
                    self.login.handle_admission(self.admission.clone());
                }
                Step::Respond(one, text) => {
                    assert!(response.replace((one, text)).is_none(), "one response");
                }
                Step::Done(negotiated) => end = Some(Ok(*negotiated)),
                Step::Failed(failure) => end = Some(Err(failure)),
            }
        }
        let (response, text) = response.expect("each request is answered");
        assert_eq!(response.initiator_task_tag, request.initiator_task_tag);
        assert_eq!(response.isid, request.isid);
        let text = if response.continues {
            vec![]
        } else {
            pairs_of(&text)
        };
        Answer {
            response,
            text,
            end,
        }
    }

    fn say(&mut self, current: u8, next: Option<u8>, pairs: &[&str]) -> Answer {
        self.send(&request(current, next), &text_of(pairs))
    }
}

const NAMES: [&str; 2] = [
    "InitiatorName=iqn.1999-07.com.os:hostid.77",
    "TargetName=iqn.1999-07.com.example:diskarray.sn.88",
];

fn with_names<'a>(pairs: &[&'a str]) -> Vec<&'a str> {
    [&NAMES[..], pairs].concat()
}

/// RFC 7143 appendix B: an initiator that wants no security and goes straight to the operational stage.
#[test]
fn a_login_without_security_takes_one_pdu() {
    let mut target = Target::tcp(None);
    let answer = target.say(OPERATIONAL, Some(FULL), &NAMES);
    assert_eq!(answer.stages(), (1, true, 3));
    assert_eq!(answer.response.status, LoginStatus::SUCCESS);
    assert_eq!(answer.response.tsih, 0x77);
    let expected = ["TargetPortalGroupTag=1", "MaxRecvDataSegmentLength=262144"];
    assert_eq!(answer.text, expected);
    let negotiated = answer.negotiated();
    assert_eq!(
        target.identity,
        Some(Identity {
            initiator_name: "iqn.1999-07.com.os:hostid.77".into(),
            initiator_alias: None,
            target_name: Some("iqn.1999-07.com.example:diskarray.sn.88".into()),
            session_type: SessionType::Normal,
            isid: ISID,
            tsih: 0,
            cid: 7,
        })
    );
    // Nothing was said, so the standard's defaults hold.
    assert_eq!(negotiated.max_recv_data_segment_length, 262_144);
    assert_eq!(negotiated.max_xmit_data_segment_length, 8192);
    assert!(negotiated.initial_r2t && negotiated.immediate_data);
    assert_eq!(negotiated.max_burst_length, 262_144);
    assert_eq!(negotiated.first_burst_length, 65_536);
    assert_eq!(negotiated.max_outstanding_r2t, 1);
    assert_eq!(
        (negotiated.default_time2wait, negotiated.default_time2retain),
        (2, 20)
    );
    assert_eq!(negotiated.rdma, None);
}

/// RFC 7143 appendix B: CHAP with mutual authentication, then the operational stage.
#[test]
fn mutual_chap_as_in_the_appendix() {
    let mut target = Target::tcp(Some(required(true)));
    let answer = target.say(SECURITY, None, &with_names(&["AuthMethod=KRB5,CHAP,None"]));
    assert_eq!(answer.stages(), (0, false, 0));
    assert_eq!(answer.text, ["TargetPortalGroupTag=1", "AuthMethod=CHAP"]);
    let answer = target.say(SECURITY, None, &["CHAP_A=7,5"]);
    let expected = format!("CHAP_C=0x{}", "5a".repeat(32));
    assert_eq!(answer.text, ["CHAP_A=7", "CHAP_I=9", &expected]);
    let right = chap_response(9, "initiator's secret", &[0x5a; 32]);
    let answer = target.say(
        SECURITY,
        Some(OPERATIONAL),
        &["CHAP_N=joe", &right, "CHAP_I=200", "CHAP_C=0bAAECAw=="],
    );
    assert_eq!(answer.stages(), (0, true, 1));
    let shown = chap_response(200, "target's secret", &[0, 1, 2, 3]);
    assert_eq!(answer.text, ["CHAP_N=array", &shown]);
    let answer = target.say(OPERATIONAL, None, &["HeaderDigest=CRC32C,None"]);
    assert_eq!(
        answer.text,
        ["HeaderDigest=CRC32C", "MaxRecvDataSegmentLength=262144"]
    );
    let answer = target.say(OPERATIONAL, Some(FULL), &["DataDigest=None,CRC32C"]);
    assert_eq!(answer.text, ["DataDigest=None"]);
    let negotiated = answer.negotiated();
    assert_eq!(negotiated.header_digest, Digest::Crc32c);
    assert_eq!(negotiated.data_digest, Digest::None);
}

/// `CHAP_R=…` with SHA-256.
fn chap_response(identifier: u8, secret: &str, challenge: &[u8]) -> String {
    let challenge = chap::Challenge {
        identifier,
        bytes: challenge.to_vec(),
    };
    let secret = Secret::new(secret.as_bytes().to_vec());
    let response = chap::Algorithm::Sha256.response(&secret, &challenge);
    format!("CHAP_R={response}")
}

/// What open-iscsi sends: everything in one sequence, the obsolete keys too.
#[test]
fn every_operational_key_has_its_answer() {
    let mut target = Target::tcp(None);
    let answer = target.say(
        SECURITY,
        Some(OPERATIONAL),
        &with_names(&[
            "InitiatorAlias=seven",
            "SessionType=Normal",
            "AuthMethod=None",
        ]),
    );
    assert_eq!(answer.stages(), (0, true, 1));
    assert_eq!(answer.text, ["TargetPortalGroupTag=1", "AuthMethod=None"]);
    let answer = target.say(
        OPERATIONAL,
        Some(FULL),
        &[
            "HeaderDigest=None,CRC32C",
            "DataDigest=CRC32C,None",
            "DefaultTime2Wait=5",
            "DefaultTime2Retain=30",
            "IFMarker=No",
            "OFMarker=Yes",
            "IFMarkInt=1~4096",
            "ErrorRecoveryLevel=2",
            "InitialR2T=No",
            "ImmediateData=Yes",
            "MaxBurstLength=16776192",
            "FirstBurstLength=0x10000",
            "MaxOutstandingR2T=1",
            "MaxConnections=4",
            "DataPDUInOrder=No",
            "DataSequenceInOrder=Yes",
            "MaxRecvDataSegmentLength=131072",
            "TaskReporting=FastAbort,RFC3720",
            "iSCSIProtocolLevel=2",
            "RDMAExtensions=Yes",
            "TargetRecvDataSegmentLength=4096",
            "X-com.example.key=1",
            "X#NodeArchitecture=vax",
        ],
    );
    let expected = [
        "HeaderDigest=None",
        "DataDigest=CRC32C",
        "DefaultTime2Wait=5",
        "DefaultTime2Retain=0",
        "IFMarker=No",
        "OFMarker=No",
        "IFMarkInt=Reject",
        "ErrorRecoveryLevel=0",
        "InitialR2T=No",
        "ImmediateData=Yes",
        "MaxBurstLength=1048576",
        "FirstBurstLength=65536",
        "MaxOutstandingR2T=1",
        "MaxConnections=1",
        "DataPDUInOrder=Yes",
        "DataSequenceInOrder=Yes",
        "TaskReporting=RFC3720",
        "iSCSIProtocolLevel=1",
        "RDMAExtensions=No",
        "TargetRecvDataSegmentLength=Irrelevant",
        "X-com.example.key=NotUnderstood",
        "MaxRecvDataSegmentLength=262144",
    ];
    assert_eq!(answer.text, expected);
    let negotiated = answer.negotiated();
    assert_eq!(negotiated.max_xmit_data_segment_length, 131_072);
    assert!(!negotiated.initial_r2t && negotiated.immediate_data);
    assert_eq!(
        negotiated.identity.initiator_alias.as_deref(),
        Some("seven")
    );
    assert_eq!(negotiated.data_digest, Digest::Crc32c);
    assert_eq!(negotiated.rdma, None);
}

#[test]
fn iser_negotiates_its_own_lengths_and_no_digests() {
    let mut target = Target::iser();
    target.login.limits.max_outstanding_unexpected_pdus = 128;
    let limits = target.login.limits.clone();
    target.login = Login::new(limits);
    let answer = target.say(
        OPERATIONAL,
        Some(FULL),
        &with_names(&[
            "HeaderDigest=CRC32C",
            "DataDigest=CRC32C,None",
            "RDMAExtensions=Yes",
            "TargetRecvDataSegmentLength=262144",
            "InitiatorRecvDataSegmentLength=4096",
            "MaxOutstandingUnexpectedPDUs=16",
            "MaxAHSLength=0",
            "iSERHelloRequired=Yes",
            "TaggedBufferForSolicitedDataOnly=Yes",
        ]),
    );
    let expected = [
        "TargetPortalGroupTag=1",
        "HeaderDigest=Reject",
        "DataDigest=None",
        "RDMAExtensions=Yes",
        "TargetRecvDataSegmentLength=8192",
        "InitiatorRecvDataSegmentLength=4096",
        "MaxRecvDataSegmentLength=8192",
        "MaxOutstandingUnexpectedPDUs=128",
    ];
    assert_eq!(answer.text, expected);
    let negotiated = answer.negotiated();
    assert_eq!(negotiated.header_digest, Digest::None);
    assert_eq!(negotiated.max_recv_data_segment_length, 8192);
    assert_eq!(negotiated.max_xmit_data_segment_length, 4096);
    let rdma = RdmaValues {
        initiator_recv_data_segment_length: 4096,
        target_recv_data_segment_length: 8192,
        max_outstanding_unexpected_pdus: 16,
        max_ahs_length: 0,
        tagged_buffer_for_solicited_data_only: true,
        iser_hello_required: true,
    };
    assert_eq!(negotiated.rdma, Some(rdma));
}

#[test]
fn iser_needs_its_extensions_but_for_discovery() {
    for pairs in [&["RDMAExtensions=No"][..], &[]] {
        let answer = Target::iser().say(OPERATIONAL, Some(FULL), &with_names(pairs));
        let failure = answer.failure();
        assert_eq!(failure.error, LoginError::NoRdmaExtensions);
        assert_eq!(failure.status, LoginStatus::INITIATOR_ERROR);
    }
    let discovery = ["InitiatorName=iqn.x", "SessionType=Discovery"];
    let answer = Target::iser().say(OPERATIONAL, Some(FULL), &discovery);
    assert_eq!(answer.negotiated().rdma, None);
}

#[test]
fn discovery_needs_no_target_and_finds_most_keys_irrelevant() {
    let mut target = Target::tcp(None);
    let answer = target.say(
        OPERATIONAL,
        Some(FULL),
        &[
            "MaxBurstLength=512",
            "HeaderDigest=None",
            "DefaultTime2Wait=0",
            "InitiatorName=iqn.x",
            "SessionType=Discovery",
        ],
    );
    let expected = [
        "MaxBurstLength=Irrelevant",
        "HeaderDigest=None",
        "DefaultTime2Wait=2",
        "MaxRecvDataSegmentLength=262144",
    ];
    assert_eq!(answer.text, expected);
    let negotiated = answer.negotiated();
    assert_eq!(negotiated.identity.session_type, SessionType::Discovery);
    assert_eq!(negotiated.identity.target_name, None);
}

#[test]
fn each_failure_has_its_status() {
    let status = |current, next, pairs: &[&str]| {
        let failure = Target::tcp(None).say(current, next, pairs).failure();
        (failure.status.0, failure.error)
    };
    let missing = |key| (0x0207, LoginError::Missing(key));
    assert_eq!(
        status(OPERATIONAL, None, &NAMES[1..]),
        missing("InitiatorName")
    );
    assert_eq!(
        status(OPERATIONAL, None, &NAMES[..1]),
        missing("TargetName")
    );
    assert_eq!(
        status(OPERATIONAL, None, &with_names(&["SessionType=Other"])),
        (0x0209, LoginError::SessionType("Other".into()))
    );
    for wrong in [
        "AuthMethod=None",
        "SendTargets=All",
        "TargetPortalGroupTag=1",
        "CHAP_A=5",
        "MaxRecvDataSegmentLength=511",
        "MaxRecvDataSegmentLength=16777216",
        "MaxRecvDataSegmentLength=Reject",
        "InitiatorAlias=\u{1b}[2J",
        "InitiatorName=iqn.other",
        "no pair",
    ] {
        let (status, error) = status(OPERATIONAL, None, &with_names(&[wrong]));
        assert_eq!(status, 0x0200, "{wrong}: {error}");
    }
    let (code, error) = status(SECURITY, None, &with_names(&["AuthMethod=CHAP,KRB5"]));
    assert_eq!(
        (code, error),
        (0x0201, LoginError::AuthMethod("CHAP,KRB5".into(), "None"))
    );
}

#[test]
fn values_out_of_range_are_rejected_and_the_default_holds() {
    for wrong in ["MaxBurstLength=511", "MaxBurstLength=No", "MaxBurstLength="] {
        let answer = Target::tcp(None).say(OPERATIONAL, Some(FULL), &with_names(&[wrong]));
        assert_eq!(answer.text[1], "MaxBurstLength=Reject", "{wrong}");
        assert_eq!(answer.negotiated().max_burst_length, 262_144);
    }
}

#[test]
fn first_burst_stays_below_a_lowered_max_burst() {
    let answer = Target::tcp(None).say(
        OPERATIONAL,
        Some(FULL),
        &with_names(&["MaxBurstLength=512"]),
    );
    assert_eq!(answer.negotiated().first_burst_length, 512);
}

#[test]
fn the_drivers_refusal_is_told() {
    for status in [
        LoginStatus::NOT_FOUND,
        LoginStatus::AUTHORIZATION_FAILURE,
        LoginStatus::SESSION_DOES_NOT_EXIST,
        LoginStatus::OUT_OF_RESOURCES,
    ] {
        let mut target = Target::tcp(None);
        target.admission = Err(status);
        let answer = target.say(OPERATIONAL, Some(FULL), &NAMES);
        assert_eq!(answer.response.status, status);
        assert!(!answer.response.transit);
        assert_eq!(answer.failure().error, LoginError::NotAdmitted(status));
    }
}

#[test]
fn the_authentication_cannot_be_left_out() {
    let chap = || Target::tcp(Some(required(false)));
    for (current, next) in [
        (OPERATIONAL, FULL),
        (SECURITY, OPERATIONAL),
        (SECURITY, FULL),
    ] {
        let failure = chap().say(current, Some(next), &NAMES).failure();
        assert_eq!(failure.status.0, 0x0201);
        assert_eq!(failure.error, LoginError::NotAuthenticated);
    }
    let none = chap().say(SECURITY, None, &with_names(&["AuthMethod=None"]));
    assert_eq!(none.failure().status.0, 0x0201);
    // T is not granted before the proof, and the next stage cannot be entered without it.
    let mut target = chap();
    let agreed = target.say(
        SECURITY,
        Some(OPERATIONAL),
        &with_names(&["AuthMethod=CHAP"]),
    );
    assert_eq!(agreed.stages(), (0, false, 0));
    let asked = target.say(SECURITY, Some(FULL), &[]);
    assert_eq!(asked.stages(), (0, false, 0));
    let entered = target.say(OPERATIONAL, Some(FULL), &[]);
    assert!(matches!(
        entered.failure().error,
        LoginError::Field { field: "CSG", .. }
    ));
}

#[test]
fn chap_fails_with_its_reason() {
    let fail = |mutual, steps: &[&[&str]]| {
        let mut target = Target::tcp(Some(required(mutual)));
        target.say(SECURITY, None, &with_names(&["AuthMethod=CHAP"]));
        let mut last = None;
        for step in steps {
            last = Some(target.say(SECURITY, Some(OPERATIONAL), step));
        }
        let failure = last.expect("a step").failure();
        assert_eq!(failure.status.0, 0x0201);
        failure.chap().expect("CHAP failed")
    };
    use chap::ChapError as E;
    let right = chap_response(9, "initiator's secret", &[0x5a; 32]);
    let wrong = chap_response(9, "another secret", &[0x5a; 32]);
    let reflected = format!("CHAP_C=0x{}", "5A".repeat(32));
    let sha256: &[&str] = &["CHAP_A=7"];
    assert_eq!(fail(false, &[&["CHAP_A=1,2"]]), E::NoAlgorithm);
    assert_eq!(fail(false, &[sha256, &["CHAP_N=joe", &wrong]]), E::Response);
    assert_eq!(fail(false, &[sha256, &["CHAP_N=jim", &right]]), E::User);
    assert_eq!(fail(false, &[&["CHAP_N=joe", &right]]), E::Order);
    assert_eq!(fail(false, &[sha256, &["CHAP_N=joe"]]), E::Order);
    assert_eq!(
        fail(false, &[sha256, &["CHAP_N=joe", &right, "CHAP_I=1"]]),
        E::Order
    );
    let question = ["CHAP_N=joe", &right, "CHAP_I=1", "CHAP_C=0x01"];
    assert_eq!(fail(false, &[sha256, &question]), E::NotMutual);
    let reflection = ["CHAP_N=joe", &right, "CHAP_I=1", &reflected];
    assert_eq!(fail(true, &[sha256, &reflection]), E::Reflected);
}

#[test]
fn one_secret_for_both_directions_is_the_targets_fault() {
    let mut required = required(true);
    required.mutual.as_mut().expect("mutual").secret = required.secret.clone();
    let failure = Target::tcp(Some(required))
        .say(SECURITY, None, &NAMES)
        .failure();
    assert_eq!(failure.status, LoginStatus::TARGET_ERROR);
    assert_eq!(failure.chap(), Some(chap::ChapError::SameSecret));
}

#[test]
fn headers_have_to_stay_the_same() {
    type Change = fn(&mut LoginRequest);
    let changes: [(&str, Change); 4] = [
        ("ISID", |request| request.isid[5] = 9),
        ("TSIH", |request| request.tsih = 1),
        ("CID", |request| request.cid = 8),
        ("Initiator Task Tag", |request| {
            request.initiator_task_tag = 9;
        }),
    ];
    for (expected, change) in changes {
        let mut target = Target::tcp(None);
        target.say(OPERATIONAL, None, &NAMES);
        let mut second = request(OPERATIONAL, Some(FULL));
        change(&mut second);
        let failure = target.send(&second, b"").failure();
        assert!(
            matches!(failure.error, LoginError::Field { field, .. } if field == expected),
            "{failure}"
        );
    }
}

#[test]
fn stages_only_go_forward() {
    for (current, next) in [
        (SECURITY, SECURITY),
        (SECURITY, 2),
        (OPERATIONAL, OPERATIONAL),
        (OPERATIONAL, SECURITY),
        (2, FULL),
        (FULL, FULL),
    ] {
        let failure = Target::tcp(None).say(current, Some(next), &NAMES).failure();
        assert!(matches!(failure.error, LoginError::Transition { .. }));
    }
    let mut both = request(OPERATIONAL, Some(FULL));
    both.continues = true;
    let failure = Target::tcp(None).send(&both, &text_of(&NAMES)).failure();
    assert!(matches!(failure.error, LoginError::Transition { .. }));
    let full = Target::tcp(None).say(SECURITY, Some(FULL), &NAMES);
    assert_eq!(full.stages(), (0, true, 3));
    assert_eq!(full.negotiated().max_recv_data_segment_length, 8192);
}

#[test]
fn a_version_that_is_not_spoken_is_told() {
    let mut later = request(OPERATIONAL, Some(FULL));
    (later.version_min, later.version_max) = (1, 2);
    let answer = Target::tcp(None).send(&later, &text_of(&NAMES));
    assert_eq!(answer.response.version_active, 0);
    assert_eq!(answer.failure().status, LoginStatus::UNSUPPORTED_VERSION);
    later.version_min = 0;
    let answer = Target::tcp(None).send(&later, &text_of(&NAMES));
    answer.negotiated();
}

#[test]
fn keys_span_pdus_by_the_c_bit() {
    let text = text_of(&with_names(&["InitialR2T=No"]));
    let mut target = Target::tcp(None);
    let mut piece = request(OPERATIONAL, None);
    piece.continues = true;
    let (before, last) = text.split_last_chunk::<5>().expect("long enough");
    for chunk in before.chunks(20) {
        let answer = target.send(&piece, chunk);
        assert_eq!(answer.stages(), (1, false, 0));
        assert!(answer.text.is_empty() && target.identity.is_none());
    }
    let answer = target.send(&request(OPERATIONAL, Some(FULL)), last);
    assert!(!answer.negotiated().initial_r2t);
}

#[test]
fn a_long_answer_goes_in_pieces() {
    let key = |n| format!("X-com.example.{n:0>44}=1");
    let keys: Vec<_> = (0..200).map(key).collect();
    let unknown: Vec<_> = keys.iter().map(String::as_str).collect();
    let mut target = Target::tcp(None);
    let text = text_of(&with_names(&unknown));
    let mut piece = request(OPERATIONAL, None);
    piece.continues = true;
    let (before, last) = text.split_at(8192);
    target.send(&piece, before);
    let ask = request(OPERATIONAL, Some(FULL));
    target.login.handle_request(&ask, last);
    let Some(Step::Admit(_)) = target.login.poll() else {
        panic!("the driver is asked");
    };
    target.login.handle_admission(Ok(admission(None)));
    let mut assembled = Vec::new();
    loop {
        let Some(Step::Respond(response, segment)) = target.login.poll() else {
            panic!("each request is answered");
        };
        assert!(segment.len() <= MAX_LOGIN_SEGMENT_BYTES);
        assembled.extend(segment);
        assert_eq!(response.transit, !response.continues);
        if response.transit {
            break;
        }
        target.login.handle_request(&ask, b"");
    }
    let answers = pairs_of(&assembled);
    assert_eq!(answers.len(), 202);
    assert!(
        answers[1..201]
            .iter()
            .all(|a| a.ends_with("=NotUnderstood"))
    );
    assert!(matches!(target.login.poll(), Some(Step::Done(_))));
}

#[test]
fn text_in_the_middle_of_an_answer_is_refused() {
    let keys: Vec<_> = (0..250).map(|n| format!("X-{n:0>50}=1")).collect();
    let unknown: Vec<_> = keys.iter().map(String::as_str).collect();
    let mut target = Target::tcp(None);
    let answer = target.say(OPERATIONAL, Some(FULL), &with_names(&unknown));
    assert!(answer.response.continues);
    let failure = target.say(OPERATIONAL, None, &["InitialR2T=No"]).failure();
    assert_eq!(failure.error, LoginError::Interrupted);
}

#[test]
fn a_login_ends() {
    let mut target = Target::tcp(None);
    target.say(OPERATIONAL, None, &NAMES);
    for _ in 1..MAX_LOGIN_REQUESTS {
        assert!(target.say(OPERATIONAL, None, &[]).end.is_none());
    }
    let failure = target.say(OPERATIONAL, None, &[]).failure();
    assert_eq!(failure.error, LoginError::TooManyRequests);
    target
        .login
        .handle_request(&request(OPERATIONAL, Some(FULL)), b"");
    assert!(target.login.poll().is_none(), "it is over");
    target.login.handle_admission(Ok(admission(None)));
    assert!(target.login.poll().is_none(), "nobody was asked for");
}

#[test]
fn a_sequence_without_end_is_cut() {
    let mut target = Target::tcp(None);
    let mut piece = request(OPERATIONAL, None);
    piece.continues = true;
    for _ in 0..8 {
        assert!(target.send(&piece, &[b'A'; 8192]).end.is_none());
    }
    let failure = target.send(&piece, b"A").failure();
    assert_eq!(failure.status, LoginStatus::INITIATOR_ERROR);
    assert!(matches!(failure.error, LoginError::Text(_)));
}

#[test]
fn the_alias_is_told_behind_the_authentication() {
    let mut target = Target::tcp(Some(required(false)));
    let mut granted = admission(Some(required(false)));
    granted.target_alias = Some("the array".into());
    target.admission = Ok(granted);
    let first = target.say(SECURITY, None, &with_names(&["AuthMethod=CHAP"]));
    assert!(!first.text.iter().any(|pair| pair.contains("Alias")));
    target.say(SECURITY, None, &["CHAP_A=7"]);
    let right = chap_response(9, "initiator's secret", &[0x5a; 32]);
    target.say(SECURITY, Some(OPERATIONAL), &["CHAP_N=joe", &right]);
    let last = target.say(OPERATIONAL, Some(FULL), &[]);
    assert!(last.text.contains(&"TargetAlias=the array".to_owned()));
}
