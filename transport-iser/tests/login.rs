//! Logins through the public interface: replays the fuzz corpora on the stable toolchain, and the order and the cutting of keys
//! make no difference.

mod login_model;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use transport_iser::login::{Admission, Datamover, Login, LoginLimits, Negotiated, Step};
use transport_iser::pdu::{LoginRequest, Stage};

/// The inputs of a fuzz target; there is at least one.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let entries = fs::read_dir(folder.join(target)).expect("a corpus");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("an input");
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}

/// Runs `check` on the corpus. Inputs whose name begins with `good_` are good, and no other one is.
fn replay(target: &str, check: impl Fn(&[u8]) -> bool) {
    let mut good = 0;
    for (path, bytes) in corpus(target) {
        let name = path.file_name().expect("a name").to_string_lossy();
        assert_eq!(check(&bytes), name.starts_with("good_"), "{name}");
        good += u32::from(name.starts_with("good_"));
    }
    assert!(good > 0, "no input of {target} is good");
}

#[test]
fn text_of_the_corpus_is_read_or_refused() {
    replay("iscsi_text", |bytes| {
        let is_answered = login_model::text_phase(bytes);
        login_model::text(bytes) || is_answered
    });
}

#[test]
fn logins_of_the_corpus_succeed_or_fail_as_they_should() {
    replay("iscsi_login", login_model::login);
}

const KEYS: [&str; 20] = [
    "HeaderDigest=CRC32C,None",
    "DataDigest=None,CRC32C",
    "MaxConnections=2",
    "InitialR2T=No",
    "ImmediateData=No",
    "MaxRecvDataSegmentLength=65536",
    "MaxBurstLength=131072",
    "FirstBurstLength=0x8000",
    "DefaultTime2Wait=7",
    "DefaultTime2Retain=9",
    "MaxOutstandingR2T=4",
    "DataPDUInOrder=No",
    "DataSequenceInOrder=No",
    "ErrorRecoveryLevel=1",
    "IFMarker=No",
    "RDMAExtensions=Yes",
    "TargetRecvDataSegmentLength=16384",
    "InitiatorRecvDataSegmentLength=4096",
    "MaxOutstandingUnexpectedPDUs=32",
    "X-com.example.unknown=1",
];
const NAMES: [&str; 3] = [
    "InitiatorName=iqn.host",
    "TargetName=iqn.target",
    "SessionType=Normal",
];

fn text_of(keys: &[&str]) -> Vec<u8> {
    keys.iter()
        .flat_map(|key| [key.as_bytes(), b"\0"].concat())
        .collect()
}

/// Sends each sequence in segments of at most `segment` bytes; the last one asks for the full feature phase. What came of it,
/// and all keys of the answers, sorted.
fn log_in(datamover: Datamover, sequences: &[Vec<u8>], segment: usize) -> (Negotiated, Vec<u8>) {
    let mut login = Login::new(LoginLimits::new(datamover));
    let mut answers = Vec::new();
    for (number, sequence) in sequences.iter().enumerate() {
        let is_last = number + 1 == sequences.len();
        let pieces: Vec<_> = sequence.chunks(segment).collect();
        for (at, piece) in pieces.iter().enumerate() {
            let continues = at + 1 < pieces.len();
            let request = LoginRequest {
                transit: is_last && !continues,
                continues,
                current_stage: Stage::LOGIN_OPERATIONAL_NEGOTIATION,
                next_stage: Stage::FULL_FEATURE_PHASE,
                ..LoginRequest::default()
            };
            login.handle_request(&request, piece);
            while let Some(step) = login.poll() {
                match step {
                    Step::Admit(_) => login.handle_admission(Ok(Admission {
                        tsih: 1,
                        portal_group_tag: 1,
                        target_alias: None,
                        chap: None,
                    })),
                    Step::Respond(_, text) => answers.extend(text),
                    Step::Done(negotiated) => return (*negotiated, sorted(&answers)),
                    Step::Failed(failure) => panic!("{failure}"),
                }
            }
        }
    }
    panic!("the login did not end");
}

fn sorted(text: &[u8]) -> Vec<u8> {
    let mut pairs: Vec<_> = text.split_inclusive(|&byte| byte == 0).collect();
    pairs.sort_unstable();
    pairs.concat()
}

proptest! {
    #[test]
    fn order_and_cutting_make_no_difference(
        is_iser: bool,
        keys in Just(KEYS.to_vec()).prop_shuffle(),
        names in Just(NAMES.to_vec()).prop_shuffle(),
        cuts in prop::collection::btree_set(0..KEYS.len(), 0..8),
        segment in 25usize..600,
    ) {
        let datamover = if is_iser { Datamover::Iser } else { Datamover::Tcp };
        let whole = [&NAMES[..], &KEYS].concat();
        let expected = log_in(datamover, &[text_of(&whole)], 8192);

        let mut sequences = vec![text_of(&names)];
        for (at, key) in keys.iter().enumerate() {
            if cuts.contains(&at) {
                sequences.push(Vec::new());
            }
            let last = sequences.last_mut().expect("the names");
            last.extend(text_of(&[key]));
        }
        prop_assert_eq!(log_in(datamover, &sequences, segment), expected);
    }

    #[test]
    fn any_script_of_a_login_is_answered(script in prop::collection::vec(any::<u8>(), 0..600)) {
        login_model::login(&script);
    }

    #[test]
    fn any_keys_in_a_login_are_answered(
        options in 0u8..64,
        flags in prop::collection::vec(prop_oneof![Just(0x04u8), Just(0x87), Just(0), Just(0x81)], 1..6),
        keys in prop::collection::vec(prop::sample::select(KEYS.to_vec()), 0..6),
        value in "[ -~]{0,20}",
    ) {
        let mut script = vec![options];
        for (at, flags) in flags.iter().enumerate() {
            let mut text = if at == 0 { text_of(&NAMES) } else { Vec::new() };
            text.extend(text_of(&keys));
            text.extend(text_of(&[&format!("MaxBurstLength={value}")]));
            script.push(*flags);
            script.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
            script.extend(text);
        }
        login_model::login(&script);
    }

    #[test]
    fn any_script_of_text_requests_is_answered(script in prop::collection::vec(any::<u8>(), 0..600)) {
        login_model::text_phase(&script);
        login_model::text(&script);
    }
}
