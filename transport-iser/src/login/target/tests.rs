mod security;
mod sequence;

use super::*;
use crate::chap;
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

/// The initiator's silence would leave a default that the target cannot deal with: the target asks, and T has to wait.
#[test]
fn what_the_defaults_allow_too_much_is_asked_for() {
    let mut limits = LoginLimits::new(Datamover::Tcp);
    (limits.immediate_data, limits.max_burst_length) = (false, 65_536);
    limits.first_burst_length = 65_536;
    let mut target = Target::new(limits.clone(), None);
    let answer = target.say(OPERATIONAL, Some(FULL), &NAMES);
    assert_eq!(answer.stages(), (1, false, 0));
    assert_eq!(
        answer.text[2..],
        ["ImmediateData=No", "MaxBurstLength=65536"]
    );
    let answer = target.say(OPERATIONAL, Some(FULL), &["MaxBurstLength=4096"]);
    assert!(answer.text.is_empty());
    // No decides an AND: its answer is optional.
    let negotiated = answer.negotiated();
    assert!(!negotiated.immediate_data);
    assert_eq!(negotiated.max_burst_length, 4096);

    let mut silent = Target::new(limits.clone(), None);
    silent.say(OPERATIONAL, Some(FULL), &NAMES);
    let failure = silent.say(OPERATIONAL, Some(FULL), &[]).failure();
    assert_eq!(failure.error, LoginError::Missing("MaxBurstLength"));

    let mut greedy = Target::new(limits, None);
    greedy.say(OPERATIONAL, Some(FULL), &NAMES);
    let wrong = ["ImmediateData=Yes", "MaxBurstLength=65536"];
    let failure = greedy.say(OPERATIONAL, Some(FULL), &wrong).failure();
    assert!(matches!(
        failure.error,
        LoginError::Value {
            key: "ImmediateData",
            ..
        }
    ));
}
