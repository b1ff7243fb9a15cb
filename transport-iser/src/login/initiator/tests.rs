use proptest::prelude::*;

use super::*;
use crate::chap::{CHALLENGE_BYTES, ChapError, Credentials, Required, Secret};
use crate::login::{Admission, Digest, Login, Step, TaskReporting};

fn identity(session_type: SessionType) -> Identity {
    Identity {
        initiator_name: "iqn.2026-11.io.example:host".into(),
        initiator_alias: Some("a host".into()),
        target_name: (session_type == SessionType::Normal).then(|| "iqn.target".into()),
        session_type,
        isid: [0x80, 1, 2, 3, 4, 5],
        tsih: 0,
        cid: 3,
    }
}

fn settings(limits: LoginLimits) -> InitiatorSettings {
    InitiatorSettings {
        limits,
        identity: identity(SessionType::Normal),
        chap: None,
        initiator_task_tag: 0xbeef,
        cmd_sn: Sn(100),
    }
}

fn credentials(user: &str, secret: &str) -> Credentials {
    Credentials {
        user: user.into(),
        secret: Secret::new(secret.as_bytes().to_vec()),
    }
}

fn shown(mutual: Option<&str>) -> Option<chap::Initiator> {
    let own = credentials("joe", "secret of the host");
    let target = mutual.map(|secret| credentials("array", secret));
    Some(chap::Initiator::new(own, target, 1, [1; CHALLENGE_BYTES]).expect("two secrets"))
}

fn required(mutual: bool) -> Option<Required> {
    Some(Required {
        user: "joe".into(),
        secret: Secret::new(b"secret of the host".to_vec()),
        mutual: mutual.then(|| credentials("array", "secret of the array")),
        identifier: 2,
        challenge: [2; CHALLENGE_BYTES],
    })
}

type End = Result<Negotiated, LoginFailure>;

/// Lets both ends talk until neither has anything to say: what each of them came to.
fn meet(initiator: &mut Initiator, target: &mut Login, chap: Option<Required>) -> (End, End) {
    let (mut here, mut there) = (None, None);
    let mut stat_sn = Sn(50);
    initiator.start();
    while let Some(step) = initiator.poll() {
        let (request, data) = match step {
            InitiatorStep::Send(request, data) => (request, data),
            InitiatorStep::Done(negotiated) => {
                here = Some(Ok(*negotiated));
                continue;
            }
            InitiatorStep::Failed(failure) => {
                here = Some(Err(failure));
                continue;
            }
        };
        assert_eq!((request.cmd_sn, request.immediate), (Sn(100), true));
        target.handle_request(&request, &data);
        while let Some(step) = target.poll() {
            match step {
                Step::Admit(_) => target.handle_admission(Ok(Admission {
                    tsih: 9,
                    portal_group_tag: 1,
                    target_alias: Some("an array".into()),
                    chap: chap.clone(),
                })),
                Step::Respond(mut response, data) => {
                    response.stat_sn = stat_sn;
                    initiator.handle_response(&response, &data);
                    assert_eq!(
                        initiator.exp_stat_sn,
                        expected(&response, stat_sn, initiator)
                    );
                    stat_sn = stat_sn.plus(1);
                }
                Step::Done(negotiated) => there = Some(Ok(*negotiated)),
                Step::Failed(failure) => there = Some(Err(failure)),
            }
        }
    }
    let unfinished = || {
        Err(LoginFailure::from(LoginError::Missing(
            "an end of the login",
        )))
    };
    (
        here.unwrap_or_else(unfinished),
        there.unwrap_or_else(unfinished),
    )
}

/// ExpStatSN follows every response that was taken.
fn expected(response: &LoginResponse, stat_sn: Sn, initiator: &Initiator) -> Sn {
    if response.status == LoginStatus::SUCCESS {
        stat_sn.plus(1)
    } else {
        initiator.exp_stat_sn
    }
}

fn meet_with(
    datamover: Datamover,
    here: Option<chap::Initiator>,
    there: Option<Required>,
) -> (End, End) {
    let limits = LoginLimits::new(datamover);
    let mut initiator = Initiator::new(InitiatorSettings {
        chap: here,
        ..settings(limits.clone())
    });
    meet(&mut initiator, &mut Login::new(limits), there)
}

#[test]
fn both_ends_come_to_the_same_on_tcp() {
    let (here, there) = meet_with(Datamover::Tcp, None, None);
    let (here, there) = (here.expect("a session"), there.expect("a session"));
    assert_eq!(here, there);
    assert_eq!(here.tsih, 9);
    assert_eq!(here.header_digest, Digest::Crc32c);
    assert_eq!(here.data_digest, Digest::Crc32c);
    assert!(!here.initial_r2t && here.immediate_data);
    assert_eq!(here.max_burst_length, 1_048_576);
    assert_eq!(here.max_outstanding_r2t, 8);
    assert_eq!(here.max_xmit_data_segment_length, 262_144);
    assert_eq!(here.rdma, None);
}

#[test]
fn both_ends_come_to_the_same_on_iser() {
    let (here, there) = meet_with(Datamover::Iser, None, None);
    let (here, there) = (here.expect("a session"), there.expect("a session"));
    assert_eq!(here, there);
    assert_eq!(here.header_digest, Digest::None);
    let rdma = here.rdma.expect("RDMAExtensions=Yes");
    assert_eq!(rdma.target_recv_data_segment_length, 8192);
    assert_eq!(rdma.initiator_recv_data_segment_length, 8192);
}

#[test]
fn iser_and_tcp_do_not_meet() {
    let mut initiator = Initiator::new(settings(LoginLimits::new(Datamover::Iser)));
    let mut target = Login::new(LoginLimits::new(Datamover::Tcp));
    let (here, _) = meet(&mut initiator, &mut target, None);
    assert_eq!(
        here.expect_err("no session").error,
        LoginError::NoRdmaExtensions
    );
}

#[test]
fn discovery_logs_in_on_both_datamovers() {
    for datamover in [Datamover::Tcp, Datamover::Iser] {
        let limits = LoginLimits::new(datamover);
        let mut initiator = Initiator::new(InitiatorSettings {
            identity: identity(SessionType::Discovery),
            ..settings(limits.clone())
        });
        let (here, there) = meet(&mut initiator, &mut Login::new(limits), None);
        let there = there.expect("a session");
        assert_eq!(there.identity, identity(SessionType::Discovery));
        assert_eq!(here.expect("a session"), there);
    }
}

#[test]
fn chap_one_way_mutual_and_not_needed() {
    let secret = Some("secret of the array");
    for (here, there) in [
        (shown(None), required(false)),
        (shown(None), required(true)),
        (shown(secret), required(true)),
        (shown(None), None),
    ] {
        let (here, there) = meet_with(Datamover::Tcp, here, there);
        assert_eq!(here.expect("a session"), there.expect("a session"));
    }
}

#[test]
fn chap_fails_where_it_should() {
    let fail = |here, there| {
        let (here, _) = meet_with(Datamover::Tcp, here, there);
        here.expect_err("no session")
    };
    let wrong = fail(shown(Some("another secret")), required(true));
    assert_eq!(wrong.chap(), Some(ChapError::Response));
    let not_mutual = fail(shown(Some("secret of the array")), required(false));
    let refused = LoginStatus::AUTHENTICATION_FAILURE;
    assert_eq!(not_mutual.error, LoginError::Refused(refused));
    // Who wants a proof does not go on with AuthMethod=None.
    let none = fail(shown(Some("secret of the array")), None);
    assert_eq!(none.error, LoginError::Refused(refused));
    assert_eq!(
        fail(None, required(false)).error,
        LoginError::Refused(refused)
    );
}

/// The first request has been sent.
fn started(chap: Option<chap::Initiator>) -> (Initiator, LoginRequest) {
    let limits = LoginLimits::new(Datamover::Tcp);
    let mut initiator = Initiator::new(InitiatorSettings {
        chap,
        ..settings(limits)
    });
    initiator.start();
    match initiator.poll() {
        Some(InitiatorStep::Send(request, _)) => (initiator, request),
        other => panic!("{other:?}"),
    }
}

fn granting(request: &LoginRequest) -> LoginResponse {
    LoginResponse {
        transit: true,
        current_stage: request.current_stage,
        next_stage: request.next_stage,
        isid: request.isid,
        initiator_task_tag: request.initiator_task_tag,
        ..LoginResponse::default()
    }
}

fn failure_of(initiator: &mut Initiator, response: &LoginResponse, text: &str) -> LoginError {
    initiator.handle_response(response, text.as_bytes());
    match initiator.poll() {
        Some(InitiatorStep::Failed(failure)) => failure.error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_target_that_goes_ahead_is_not_followed() {
    let (mut initiator, request) = started(shown(None));
    let mut response = granting(&request);
    response.next_stage = Stage::LOGIN_OPERATIONAL_NEGOTIATION;
    let error = failure_of(&mut initiator, &response, "AuthMethod=CHAP\0");
    assert!(matches!(error, LoginError::Transition { .. }), "{error}");

    let (mut initiator, request) = started(None);
    let mut response = granting(&request);
    response.next_stage = Stage::FULL_FEATURE_PHASE;
    let error = failure_of(&mut initiator, &response, "AuthMethod=None\0");
    assert!(matches!(error, LoginError::Transition { .. }), "{error}");
}

#[test]
fn a_target_that_makes_things_up_is_not_believed() {
    let (mut initiator, request) = started(None);
    let error = failure_of(&mut initiator, &granting(&request), "AuthMethod=CHAP\0");
    assert!(matches!(
        error,
        LoginError::Value {
            key: "AuthMethod",
            ..
        }
    ));

    for wrong in [
        "MaxBurstLength=16777215",
        "InitialR2T=Maybe",
        "MaxConnections=2",
        "ErrorRecoveryLevel=1",
        "DefaultTime2Wait=1",
        "HeaderDigest=Other",
    ] {
        let (mut initiator, request) = started(None);
        initiator.handle_response(&granting(&request), b"AuthMethod=None\0");
        let Some(InitiatorStep::Send(request, _)) = initiator.poll() else {
            panic!("the operational keys are offered");
        };
        let error = failure_of(&mut initiator, &granting(&request), &format!("{wrong}\0"));
        assert!(
            matches!(error, LoginError::Value { .. }),
            "{wrong}: {error}"
        );
    }
}

#[test]
fn an_offer_without_an_answer_fails() {
    let (mut initiator, request) = started(None);
    initiator.handle_response(&granting(&request), b"AuthMethod=None\0");
    let Some(InitiatorStep::Send(request, _)) = initiator.poll() else {
        panic!("the operational keys are offered");
    };
    let error = failure_of(&mut initiator, &granting(&request), "");
    assert_eq!(error, LoginError::Missing("HeaderDigest"));
}

#[test]
fn a_boolean_that_the_offer_decides_needs_no_answer() {
    let mut limits = LoginLimits::new(Datamover::Tcp);
    (limits.initial_r2t, limits.immediate_data) = (true, false);
    let mut initiator = Initiator::new(settings(limits));
    initiator.start();
    let Some(InitiatorStep::Send(request, _)) = initiator.poll() else {
        panic!("the login begins");
    };
    initiator.handle_response(&granting(&request), b"AuthMethod=None\0");
    let Some(InitiatorStep::Send(request, _)) = initiator.poll() else {
        panic!("the operational keys are offered");
    };
    // DataPDUInOrder=Yes and DataSequenceInOrder=Yes were offered too.
    let answer = b"HeaderDigest=None\0DataDigest=None\0MaxBurstLength=65536\0FirstBurstLength=65536\0\
        MaxOutstandingR2T=1\0MaxConnections=1\0DefaultTime2Wait=2\0DefaultTime2Retain=0\0ErrorRecoveryLevel=0\0";
    initiator.handle_response(&granting(&request), answer);
    let Some(InitiatorStep::Done(negotiated)) = initiator.poll() else {
        panic!("the login ends");
    };
    assert!(negotiated.initial_r2t && !negotiated.immediate_data);
    assert!(negotiated.data_pdu_in_order && negotiated.data_sequence_in_order);
}

#[test]
fn a_target_that_says_nothing_ends() {
    let (mut initiator, request) = started(None);
    let mut response = granting(&request);
    (response.transit, response.next_stage) = (false, Stage::default());
    for _ in 0..MAX_LOGIN_REQUESTS {
        initiator.handle_response(&response, b"");
        assert!(
            matches!(initiator.poll(), Some(InitiatorStep::Send(request, data))
            if request.transit && data.is_empty())
        );
    }
    let error = failure_of(&mut initiator, &response, "");
    assert_eq!(error, LoginError::TooManyRequests);
}

#[test]
fn a_redirection_is_told() {
    let (mut initiator, request) = started(None);
    let mut response = granting(&request);
    response.status = LoginStatus::TARGET_MOVED_TEMPORARILY;
    initiator.handle_response(&response, b"TargetAddress=192.0.2.1:3260\0");
    assert!(
        matches!(initiator.poll(), Some(InitiatorStep::Failed(failure))
        if failure.status == LoginStatus::TARGET_MOVED_TEMPORARILY)
    );
}

fn any_limits(datamover: Datamover) -> impl Strategy<Value = LoginLimits> {
    let flags = any::<[bool; 6]>();
    let segment = 8192u32..0x100_0000;
    let burst = 512u32..0x100_0000;
    let reporting = prop_oneof![
        Just(TaskReporting::Rfc3720),
        Just(TaskReporting::ResponseFence),
        Just(TaskReporting::FastAbort),
    ];
    let numbers = (1u16.., 0u16..=3600, 0u16..=3600, 1u8..32, 2u32..);
    (
        flags,
        (segment.clone(), segment),
        (burst.clone(), burst),
        reporting,
        numbers,
    )
        .prop_map(
            move |(flags, segments, bursts, task_reporting, numbers)| LoginLimits {
                datamover,
                max_recv_data_segment_length: segments.0,
                max_xmit_data_segment_length: segments.1,
                header_digest: flags[0],
                data_digest: flags[1],
                initial_r2t: flags[2],
                immediate_data: flags[3],
                max_burst_length: bursts.0.max(bursts.1),
                first_burst_length: bursts.0.min(bursts.1),
                max_outstanding_r2t: numbers.0,
                default_time2wait: numbers.1,
                default_time2retain: numbers.2,
                data_pdu_in_order: flags[4],
                data_sequence_in_order: flags[5],
                max_outstanding_unexpected_pdus: numbers.4,
                protocol_level: numbers.3,
                task_reporting,
            },
        )
}

/// What one end came to, as the other end should see it.
fn mirrored(mut negotiated: Negotiated, other: &LoginLimits) -> Negotiated {
    std::mem::swap(
        &mut negotiated.max_recv_data_segment_length,
        &mut negotiated.max_xmit_data_segment_length,
    );
    if let Some(rdma) = &mut negotiated.rdma {
        rdma.max_outstanding_unexpected_pdus = other.max_outstanding_unexpected_pdus;
    }
    negotiated
}

fn both_limits() -> impl Strategy<Value = (LoginLimits, LoginLimits)> {
    prop_oneof![Just(Datamover::Tcp), Just(Datamover::Iser)]
        .prop_flat_map(|datamover| (any_limits(datamover), any_limits(datamover)))
}

proptest! {
    #[test]
    fn any_two_ends_come_to_the_same(
        (ours, theirs) in both_limits(),
        with_chap: bool,
    ) {
        let mut initiator = Initiator::new(InitiatorSettings {
            chap: shown(Some("secret of the array")).filter(|_| with_chap),
            ..settings(ours.clone())
        });
        let mut target = Login::new(theirs.clone());
        let chap = required(true).filter(|_| with_chap);
        let (here, there) = meet(&mut initiator, &mut target, chap);
        let (here, there) = (here.expect("a session"), there.expect("a session"));
        prop_assert_eq!(here.initial_r2t, ours.initial_r2t || theirs.initial_r2t);
        prop_assert_eq!(here.immediate_data, ours.immediate_data && theirs.immediate_data);
        prop_assert_eq!(here.max_burst_length, ours.max_burst_length.min(theirs.max_burst_length));
        prop_assert!(here.first_burst_length <= here.max_burst_length);
        prop_assert_eq!(
            here.default_time2wait,
            ours.default_time2wait.max(theirs.default_time2wait)
        );
        prop_assert!(here.max_recv_data_segment_length <= ours.max_recv_data_segment_length);
        prop_assert!(there.max_recv_data_segment_length <= theirs.max_recv_data_segment_length);
        prop_assert_eq!(mirrored(there, &theirs), here);
    }
}
