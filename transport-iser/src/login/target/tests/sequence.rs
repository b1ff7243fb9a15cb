//! Headers, stages, and sequences of several PDUs.

use super::*;

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
