//! `cargo xtask gen-bindings`: makes `rdma-sys/src/types.rs` from the C headers of this machine.

use std::fs;

use anyhow::{Context, Result};

use crate::repository::{command, root, run};

/// The generator is run by hand, once in years; building needs neither it nor libclang nor the headers.
const INSTALL: &str =
    "cargo install bindgen-cli --version 0.72.1 --locked, and apt-get install libclang-dev";

pub(crate) fn generate() -> Result<()> {
    let crate_folder = root().join("rdma-sys");
    let arguments = fs::read_to_string(crate_folder.join("gen/bindgen.args"))
        .context("reading rdma-sys/gen/bindgen.args, the generator's options")?;
    let mut bindgen = command("bindgen", &["gen/wrapper.h", "--output", "src/types.rs"]);
    bindgen
        .args(arguments.lines().filter(|line| !line.is_empty()))
        .current_dir(crate_folder);
    run(bindgen).with_context(|| format!("running bindgen; if it is missing: {INSTALL}"))?;
    println!("rdma-sys/src/types.rs is new; `cargo test -p rdma-sys` compares it with the headers");
    Ok(())
}
