//! A channel under any script of requests, answers, aborts and raw bytes keeps what its model
//! demands.
#![no_main]

use libfuzzer_sys::fuzz_target;

// Shared with the replay test; each target uses a part of it.
#[allow(dead_code)]
#[path = "../../transport-srp/tests/model/mod.rs"]
mod model;

fuzz_target!(|bytes: &[u8]| {
    model::run(bytes);
});
