//! Replays the fuzz corpus and runs fresh random scripts, on the stable toolchain.

mod model;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use transport_srp::Carrier;

/// The inputs of a fuzz target; there is at least one.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let entries = fs::read_dir(folder.join(target)).expect("a corpus");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("an input");
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}

/// Runs `check` on the corpus; at least one input is good.
fn replay(target: &str, check: impl Fn(&[u8]) -> bool) {
    let mut good = 0;
    for (path, bytes) in corpus(target) {
        println!("{}", path.display());
        good += u32::from(check(&bytes));
    }
    assert!(good > 0, "no input of {target} is good");
}

#[test]
fn logins_of_the_corpus_are_answered() {
    replay("srp_login", |bytes| {
        let native = model::login(bytes, Carrier::IbCm);
        model::login(bytes, Carrier::RdmaCm) || native
    });
}

#[test]
fn units_of_the_corpus_are_read_or_refused() {
    replay("srp_iu", model::information_unit);
}

#[test]
fn scripts_of_the_corpus_run() {
    replay("srp_channel", |bytes| model::run(bytes).responses > 0);
}

proptest! {
    #[test]
    fn any_script_runs(script in prop::collection::vec(any::<u8>(), 0..600)) {
        model::run(&script);
    }

    #[test]
    fn any_orderly_script_keeps_the_protocol(
        mut script in prop::collection::vec(any::<u8>(), 4..1500),
    ) {
        script[3] |= 1;
        prop_assert_eq!(model::run(&script).protocol_errors, 0);
    }
}
