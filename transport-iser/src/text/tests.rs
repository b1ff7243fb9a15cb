use proptest::prelude::*;

use super::*;

fn keys_and_values(sequence: &[u8]) -> Vec<(&str, &str)> {
    let pairs = parse(sequence).expect("well-formed text");
    pairs
        .into_iter()
        .map(|pair| (pair.key, pair.value))
        .collect()
}

#[test]
fn pairs_come_out_in_their_order_with_their_places() {
    let pairs = parse(b"InitiatorName=iqn.x\0\0A=b=c\0Empty=\0").expect("well-formed text");
    let expected = [
        ("InitiatorName", "iqn.x", 0),
        ("A", "b=c", 21),
        ("Empty", "", 27),
    ];
    let found: Vec<_> = pairs.iter().map(|p| (p.key, p.value, p.offset)).collect();
    assert_eq!(found, expected);
    assert_eq!(parse(b""), Ok(vec![]));
    assert_eq!(parse(b"\0\0\0\0"), Ok(vec![]));
}

#[test]
fn keys_of_the_standards_are_keys() {
    let text = b"iSCSIProtocolLevel=2\0X-com.example.k=1\0X#NodeArchitecture=x\0CHAP_A=5\0";
    assert_eq!(keys_and_values(text).len(), 4);
}

#[test]
fn what_is_no_pair_is_named_with_its_place() {
    let cases: [(&[u8], TextError); 7] = [
        (b"A=b", TextError::Unterminated { offset: 0 }),
        (b"A=b\0Cd\0", TextError::NoEquals { offset: 4 }),
        (b"A=b\0=d\0", TextError::KeyLength { offset: 4, len: 0 }),
        (b"A b=d\0", TextError::KeyCharacters { offset: 0 }),
        (b"7=d\0", TextError::KeyCharacters { offset: 0 }),
        (b"\xffa=d\0", TextError::KeyCharacters { offset: 0 }),
        (
            b"Z=1\0A=\xff\0",
            TextError::ValueCharacters {
                key: "A".into(),
                offset: 4,
            },
        ),
    ];
    for (text, error) in cases {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn lengths_are_bounded() {
    let key = |len| format!("{}=x\0", "K".repeat(len)).into_bytes();
    let value = |len| format!("K={}\0", "x".repeat(len)).into_bytes();
    assert!(parse(&key(63)).is_ok());
    assert_eq!(
        parse(&key(64)),
        Err(TextError::KeyLength { offset: 0, len: 64 })
    );
    assert!(parse(&value(8192)).is_ok());
    assert!(matches!(
        parse(&value(8193)),
        Err(TextError::ValueLength { len: 8193, .. })
    ));
    assert!(parse("K=x\0".repeat(256).as_bytes()).is_ok());
    assert_eq!(
        parse("K=x\0".repeat(257).as_bytes()),
        Err(TextError::TooManyPairs { offset: 1024 })
    );
}

#[test]
fn a_sequence_holds_64_kib_and_no_byte_more() {
    let mut assembly = Assembly::default();
    for _ in 0..8 {
        assembly.push(&[b'x'; 8192]).expect("room");
    }
    assert_eq!(
        assembly.push(b"x"),
        Err(TextError::TooLong { limit: 65536 })
    );
    assembly.push(b"").expect("nothing always fits");
    assert_eq!(assembly.take().len(), 65536);
    assert!(assembly.take().is_empty());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(pairs) = parse(&bytes) {
            for pair in pairs {
                prop_assert!(bytes[pair.offset..].starts_with(pair.key.as_bytes()));
            }
        }
    }

    #[test]
    fn no_text_makes_a_value_panic(text in ".{0,40}", prefix in "(0x|0b|0X|)") {
        let text = prefix + &text;
        let _ = (value::number(&text), value::range(&text), value::name(&text));
        if let Some(bytes) = value::binary(&text, 8) {
            prop_assert!(bytes.len() <= 8);
        }
    }

    #[test]
    fn binary_strings_come_back(bytes in prop::collection::vec(any::<u8>(), 1..1025)) {
        prop_assert_eq!(value::binary(&value::from_binary(&bytes), 1024), Some(bytes));
    }

    #[test]
    fn what_is_written_in_segments_is_read(
        pairs in prop::collection::vec(("[A-Z][A-Za-z0-9.+@_-]{0,62}", "[^\0]{0,60}"), 0..30),
        max in 1usize..200,
    ) {
        let mut outgoing = Outgoing::default();
        for (key, value) in &pairs {
            outgoing.pair(key, value);
        }
        let mut assembly = Assembly::default();
        while !outgoing.is_empty() {
            let segment = outgoing.take_segment(max);
            prop_assert!(!segment.is_empty() && segment.len() <= max);
            assembly.push(&segment).expect("room");
        }
        let text = assembly.take();
        let read = keys_and_values(&text);
        let written: Vec<_> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        prop_assert_eq!(read, written);
    }
}
