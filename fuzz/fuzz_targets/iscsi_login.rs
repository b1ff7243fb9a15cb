//! Any script of a login is answered as it should be, on both sides.
#![no_main]

use libfuzzer_sys::fuzz_target;

// Shared with the replay test; each target uses a part of it.
#[allow(dead_code)]
#[path = "../../transport-iser/tests/login_model/mod.rs"]
mod login_model;

fuzz_target!(|script: &[u8]| {
    login_model::login(script);
});
