//! Any series of connection management messages leaves a node bounded and able to answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

// Shared with the replay test; each target uses a part of it.
#[allow(dead_code)]
#[path = "../../roce/tests/fuzzed/mod.rs"]
mod fuzzed;

fuzz_target!(|bytes: &[u8]| fuzzed::cm(bytes));
