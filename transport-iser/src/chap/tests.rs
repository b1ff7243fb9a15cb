use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn credentials(user: &str, text: &str) -> Credentials {
    Credentials {
        user: user.into(),
        secret: secret(text),
    }
}

fn required(mutual: Option<Credentials>) -> Required {
    Required {
        user: "joe".into(),
        secret: secret("a secret of joe"),
        mutual,
        identifier: 7,
        challenge: [0xa5; CHALLENGE_BYTES],
    }
}

fn challenge(identifier: u8, bytes: &[u8]) -> Challenge {
    let bytes = bytes.to_vec();
    Challenge { identifier, bytes }
}

/// Vectors: the hash of 07 | "secret" | 00 01 02 03 by another implementation (OpenSSL).
#[test]
fn responses_are_the_hash_of_identifier_secret_and_challenge() {
    let vectors = [
        (Algorithm::Md5, "0x1f5613bd2fa745266857a83d1d6a451a"),
        (
            Algorithm::Sha1,
            "0x4250a0abb4392339b0eeb0782a40e81f28d0d97f",
        ),
        (
            Algorithm::Sha256,
            "0xf267c8d267eaa7452b5eb8b2d618f62554e257fb18784aade8be38fe46fd628e",
        ),
        (
            Algorithm::Sha3_256,
            "0x09e7a72aab9823eb13a4a13d5ae01193c09177549a1083a962fb0113daa52c53",
        ),
    ];
    for (algorithm, expected) in vectors {
        let response = algorithm.response(&secret("secret"), &challenge(7, &[0, 1, 2, 3]));
        assert_eq!(response.to_string(), expected, "{algorithm:?}");
        assert!(response.is_written(&expected.to_uppercase().replace("0X", "0x")));
        assert!(!response.is_written(&expected[..expected.len() - 2]));
        assert!(!response.is_written(&expected.replacen("0x", "", 1)));
    }
}

#[test]
fn the_initiators_order_decides() {
    let choose = |list: &str| {
        let mut target = Target::new(required(None)).expect("two secrets");
        target.choose(list).map(|(algorithm, _)| algorithm)
    };
    assert_eq!(choose("5"), Ok(Algorithm::Md5));
    assert_eq!(choose("9,7,5"), Ok(Algorithm::Sha256));
    assert_eq!(choose("5,8"), Ok(Algorithm::Md5));
    assert_eq!(
        choose(&initiator(None, 1).algorithms()),
        Ok(Algorithm::Sha3_256)
    );
    for none in ["", "4", "none", "5 ", "05"] {
        assert_eq!(choose(none), Err(ChapError::NoAlgorithm), "{none}");
    }
}

#[test]
fn one_way_takes_the_right_response_only() {
    let mut target = Target::new(required(None)).expect("two secrets");
    let (algorithm, asked) = target.choose("7").expect("SHA-256");
    let right = algorithm
        .response(&secret("a secret of joe"), asked)
        .to_string();
    let wrong = algorithm
        .response(&secret("a secret of jim"), asked)
        .to_string();
    let verify = |user, response| {
        let proof = Proof { user, response };
        target.verify(proof, None).map(|answer| answer.is_some())
    };
    assert_eq!(verify("joe", &right), Ok(false));
    assert_eq!(verify("jim", &right), Err(ChapError::User));
    assert_eq!(verify("jim", &wrong), Err(ChapError::User));
    assert_eq!(verify("joe", &wrong), Err(ChapError::Response));
    assert_eq!(verify("joe", ""), Err(ChapError::Response));
}

#[test]
fn a_proof_before_a_challenge_and_a_second_list_are_out_of_order() {
    let mut target = Target::new(required(None)).expect("two secrets");
    let proof = Proof {
        user: "joe",
        response: "0x00",
    };
    assert_eq!(
        target.verify(proof, None).map(|_| ()),
        Err(ChapError::Order)
    );
    target.choose("5").expect("MD5");
    assert_eq!(
        target.choose("7").map(|_| ()),
        Err(ChapError::Order),
        "the algorithm would change under the challenge"
    );
}

fn initiator(target: Option<Credentials>, own_challenge: u8) -> Initiator {
    let own = credentials("joe", "a secret of joe");
    Initiator::new(own, target, 9, [own_challenge; CHALLENGE_BYTES]).expect("two secrets")
}

#[test]
fn what_was_not_offered_is_not_answered() {
    let joe = initiator(None, 1);
    let mut initiator = joe.with_algorithms(&[Algorithm::Md5]);
    assert_eq!(initiator.algorithms(), "5");
    let asked = Challenge {
        identifier: 1,
        bytes: vec![2; 16],
    };
    let answer = initiator.answer("7", &asked).map(|_| ());
    assert_eq!(answer, Err(ChapError::NoAlgorithm));
    assert!(initiator.answer("5", &asked).is_ok());
}

/// One whole exchange; what the target and then the initiator say.
fn meet(
    initiator: &mut Initiator,
    target: &mut Target,
) -> (Result<(), ChapError>, Result<(), ChapError>) {
    let (algorithm, asked) = target.choose(&initiator.algorithms()).expect("in common");
    let (algorithm, asked) = (algorithm.number().to_string(), asked.clone());
    let (user, response, question) = match initiator.answer(&algorithm, &asked) {
        Ok((user, response, question)) => (user.to_owned(), response, question.cloned()),
        Err(error) => return (Ok(()), Err(error)),
    };
    let response = response.to_string();
    let proof = Proof {
        user: &user,
        response: &response,
    };
    match target.verify(proof, question.as_ref()) {
        Ok(Some((user, response))) => {
            let response = response.to_string();
            let proof = Proof {
                user,
                response: &response,
            };
            (Ok(()), initiator.verify(Some(proof)))
        }
        Ok(None) => (Ok(()), initiator.verify(None)),
        Err(error) => (Err(error), Ok(())),
    }
}

#[test]
fn both_sides_meet_one_way_and_mutually() {
    let shown = credentials("array", "a secret of the array");
    let mut one_way = Target::new(required(None)).expect("one secret");
    assert_eq!(
        meet(&mut initiator(None, 1), &mut one_way),
        (Ok(()), Ok(()))
    );
    let mut mutual = Target::new(required(Some(shown.clone()))).expect("two secrets");
    assert_eq!(
        meet(&mut initiator(Some(shown.clone()), 1), &mut mutual),
        (Ok(()), Ok(()))
    );
    let mut not_asked = Target::new(required(Some(shown))).expect("two secrets");
    assert_eq!(
        meet(&mut initiator(None, 1), &mut not_asked),
        (Ok(()), Ok(()))
    );
}

#[test]
fn mutual_fails_on_each_side_for_its_own_reason() {
    let shown = credentials("array", "a secret of the array");
    let target = |mutual| Target::new(required(mutual)).expect("two secrets");
    let other_secret = credentials("array", "some other secret");
    let other_user = credentials("shelf", "a secret of the array");
    let asks = || initiator(Some(shown.clone()), 1);
    assert_eq!(
        meet(&mut asks(), &mut target(None)).0,
        Err(ChapError::NotMutual)
    );
    assert_eq!(
        meet(&mut asks(), &mut target(Some(other_secret))).1,
        Err(ChapError::Response)
    );
    assert_eq!(
        meet(&mut asks(), &mut target(Some(other_user))).1,
        Err(ChapError::User)
    );
    assert_eq!(asks().verify(None), Err(ChapError::Order));
}

#[test]
fn a_challenge_that_comes_back_is_not_answered() {
    let shown = credentials("array", "a secret of the array");
    let mut target = Target::new(required(Some(shown.clone()))).expect("two secrets");
    let mut initiator = initiator(Some(shown), 0xa5);
    assert_eq!(
        meet(&mut initiator, &mut target).1,
        Err(ChapError::Reflected)
    );

    let (algorithm, asked) = target_with_choice(&mut target);
    let response = algorithm
        .response(&secret("a secret of joe"), &asked)
        .to_string();
    let proof = Proof {
        user: "joe",
        response: &response,
    };
    assert_eq!(
        target
            .verify(proof, Some(&challenge(200, &asked.bytes)))
            .map(|_| ()),
        Err(ChapError::Reflected),
        "another identifier does not make it another challenge"
    );
}

/// The target has chosen already; its challenge is the constant one.
fn target_with_choice(target: &mut Target) -> (Algorithm, Challenge) {
    assert_eq!(target.choose("5").map(|_| ()), Err(ChapError::Order));
    (Algorithm::Sha3_256, challenge(7, &[0xa5; CHALLENGE_BYTES]))
}

#[test]
fn one_secret_for_both_directions_is_refused() {
    let same = credentials("array", "a secret of joe");
    assert_eq!(
        Target::new(required(Some(same.clone()))).map(|_| ()),
        Err(ChapError::SameSecret)
    );
    let own = credentials("joe", "a secret of joe");
    assert_eq!(
        Initiator::new(own, Some(same), 0, [0; CHALLENGE_BYTES]).map(|_| ()),
        Err(ChapError::SameSecret)
    );
}

#[test]
fn challenges_are_bounded() {
    let read = |identifier, text: &str| Challenge::parse(identifier, text);
    assert_eq!(read("255", "0x01"), Ok(challenge(255, &[1])));
    assert_eq!(read("0x10", "0bAQ=="), Ok(challenge(16, &[1])));
    assert_eq!(read("256", "0x01"), Err(ChapError::Identifier));
    assert_eq!(read("x", "0x01"), Err(ChapError::Identifier));
    assert_eq!(read("1", "0x"), Err(ChapError::Challenge));
    let longest = format!("0x{}", "ab".repeat(MAX_CHALLENGE_BYTES));
    assert!(read("1", &longest).is_ok());
    assert_eq!(read("1", &(longest + "ab")), Err(ChapError::Challenge));
}

#[test]
fn nobody_prints_a_secret() {
    let all = format!("{:?}", required(Some(credentials("array", "hush hush"))));
    assert!(all.contains("Secret(..)"));
    for part in ["a secret", "hush", "97, 32"] {
        assert!(!all.contains(part), "{all}");
    }
}
