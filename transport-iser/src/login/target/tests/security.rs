//! The security stage: CHAP, and what happens without it.

use super::*;
use crate::chap::{Credentials, Secret};

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
