//! The demonstration of `make demo-vm` does not lie.

use std::process::Command;

use tests::vm::{Options, scenario};

#[test]
fn the_demonstration_reaches_its_end() {
    scenario(
        "the_demonstration_reaches_its_end",
        Options::default(),
        || {
            let ended = Command::new(env!("CARGO_BIN_EXE_demo"))
                .status()
                .expect("starting the demonstration");
            assert!(ended.success(), "{ended}");
        },
    );
}
