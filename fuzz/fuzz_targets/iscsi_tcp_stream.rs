//! Any bytes on a TCP connection are taken or refused, and no buffer is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;

// Shared with the replay test; each target uses a part of it.
#[allow(dead_code)]
#[path = "../../transport-iser/tests/connection_model/mod.rs"]
mod connection_model;

fuzz_target!(|bytes: &[u8]| {
    connection_model::raw::stream(bytes);
});
