//! `cargo xtask fuzz`: every fuzz target for a while. A crash leaves its input in `fuzz/artifacts`, to become a test.

use anyhow::{Context, Result};

use crate::repository::{command, output_of, run};

const INSTALL: &str = "rustup toolchain install nightly, and cargo install cargo-fuzz --locked";

pub(crate) fn run_all(seconds: u32) -> Result<()> {
    let list = output_of(command("cargo", &["+nightly", "fuzz", "list"]));
    let list =
        list.with_context(|| format!("listing fuzz targets; if the tools are missing: {INSTALL}"))?;
    for target in list.lines() {
        println!("== {target}, {seconds} s");
        let time = format!("-max_total_time={seconds}");
        run(command(
            "cargo",
            &["+nightly", "fuzz", "run", target, "--", &time],
        ))?;
    }
    Ok(())
}
