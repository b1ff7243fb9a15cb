//! Any private data, by either carrier, gets an answer that the initiator can read.
#![no_main]

use libfuzzer_sys::fuzz_target;

// Shared with the replay test; each target uses a part of it.
#[allow(dead_code)]
#[path = "../../transport-srp/tests/model/mod.rs"]
mod model;

fuzz_target!(|bytes: &[u8]| {
    model::login(bytes, transport_srp::Carrier::IbCm);
    model::login(bytes, transport_srp::Carrier::RdmaCm);
});
