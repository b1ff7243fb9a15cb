//! Connections through the public interface: replays the fuzz corpora on the stable toolchain, and runs fresh random scripts over
//! both datamovers.

mod connection_model;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

/// Runs `check` on the corpus of a fuzz target. Inputs whose name begins with `good_` are good, and no other one is.
fn replay(target: &str, check: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let entries = fs::read_dir(folder.join(target)).expect("a corpus");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut good = 0;
    for path in files {
        let name = path.file_name().expect("a name").to_string_lossy();
        let bytes = fs::read(&path).expect("an input");
        assert_eq!(check(&bytes), name.starts_with("good_"), "{name}");
        good += u32::from(name.starts_with("good_"));
    }
    assert!(good > 0, "no input of {target} is good");
}

#[test]
fn headers_of_the_corpus_are_read_or_refused() {
    replay("iscsi_pdu", connection_model::raw::pdu);
}

#[test]
fn streams_of_the_corpus_end_as_they_should() {
    replay("iscsi_tcp_stream", connection_model::raw::stream);
}

#[test]
fn messages_of_the_corpus_end_as_they_should() {
    replay("iser_message", connection_model::raw::messages);
}

#[test]
fn scripts_of_the_corpus_run() {
    replay("iscsi_connection", |bytes| {
        connection_model::run(bytes).1 > 0
    });
}

proptest! {
    #[test]
    fn any_script_runs(script in prop::collection::vec(any::<u8>(), 0..800)) {
        connection_model::run(&script);
    }

    #[test]
    fn any_orderly_script_keeps_the_protocol(mut script in prop::collection::vec(any::<u8>(), 8..2000)) {
        script[0] |= 8;
        let (counters, _) = connection_model::run(&script);
        prop_assert_eq!(counters.protocol_errors, 0);
        prop_assert_eq!(counters.rejects, 0);
    }

    #[test]
    fn any_stream_is_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        connection_model::raw::stream(&bytes);
    }

    #[test]
    fn any_message_is_taken_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 120..400)) {
        // Two whole PDUs of a known type, with whatever fields.
        (bytes[1], bytes[2], bytes[78], bytes[79]) = (76, 0x1c, 76, 0x1c);
        for at in [30, 107] {
            bytes[at] &= 0x47;
            bytes[at + 4..at + 8].fill(0);
        }
        connection_model::raw::messages(&bytes);
    }
}
