//! The fuzz targets' bodies on stable Rust: their corpus, and random bytes.

// The fuzz targets include the same file.
#[allow(unreachable_pub)]
mod fuzzed;

use std::path::Path;

use proptest::prelude::*;

fn corpus(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let files: Vec<_> = std::fs::read_dir(folder)
        .expect("a committed corpus")
        .collect();
    assert!(!files.is_empty());
    for file in files {
        run(&std::fs::read(file.expect("entry").path()).expect("readable"));
    }
}

#[test]
fn the_packet_corpus_is_harmless() {
    corpus("roce_packet", fuzzed::packet);
}

#[test]
fn the_cm_corpus_is_harmless() {
    corpus("roce_cm", fuzzed::cm);
}

/// A packet with a length, a hint and a plausible BTH in front of noise.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..60);
    (0..0x18_u8, 0..24_u8, noise).prop_map(|(opcode, psn, noise)| {
        let mut body = vec![opcode, 0, 0xff, 0xff, 0, 0, 0, 0, 0x80, 0, 0, psn];
        body.extend(noise);
        body.truncate(body.len() / 4 * 4);
        let mut bytes = vec![u8::try_from(body.len()).expect("short"), 7];
        bytes.extend(body);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzzed::packet(&bytes);
        fuzzed::cm(&bytes);
    }

    #[test]
    fn plausible_packets_are_harmless(packets in proptest::collection::vec(plausible(), 1..30)) {
        fuzzed::packet(&packets.concat());
    }
}
