//! Any bytes are text or not, and any script of Text Requests is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;

// Shared with the replay test; each target uses a part of it.
#[allow(dead_code)]
#[path = "../../transport-iser/tests/login_model/mod.rs"]
mod login_model;

fuzz_target!(|bytes: &[u8]| {
    login_model::text(bytes);
    login_model::text_phase(bytes);
});
