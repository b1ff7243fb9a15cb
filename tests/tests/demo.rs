//! The demonstration of `make demo` does not lie.

use tests::command::run;
use tests::vm::{Options, scenario};

#[test]
fn the_demonstration_reaches_its_end() {
    scenario(
        "the_demonstration_reaches_its_end",
        Options::default(),
        || {
            run(env!("CARGO_BIN_EXE_demo"));
        },
    );
}
