//! Chores of the repository, run as `cargo xtask <chore>`.
//!
//! Room: everything that is done to the repository and not by the product: rules that a compiler does not check
//! ([`tidy`]), the test bed's kernel and guests ([`kernel`], [`vm`]), the whole test run ([`check`]).
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod bindings;
mod check;
mod demo;
mod fuzz;
mod kernel;
mod libtest;
mod repository;
mod sim;
mod tidy;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install the Debian packages that building and testing need (as root; otherwise say the command)
    Setup,
    /// The test bed: a User-Mode Linux guest with soft RDMA and the host's file system
    #[command(subcommand)]
    Vm(vm::Vm),
    /// Check the arrow rule, purity, where `unsafe` stands, module headers and leftovers
    Tidy,
    /// Generate rdma-sys/src/types.rs from the C headers of this machine (needs bindgen)
    GenBindings,
    /// Compare srptgt with the kernel's own target, in instructions
    Bench(bench::Bench),
    /// The product at work in a guest: a LUN, a login, a stranger, verified I/O, a short report
    Demo,
    /// Run every fuzz target for a while (needs a nightly toolchain and cargo-fuzz)
    Fuzz {
        /// Seconds for each target
        #[arg(long, default_value_t = 30)]
        seconds: u32,
    },
    /// Simulate initiators and the target over a bad network, under fresh seeds
    Sim(sim::Sim),
    /// Everything: format, lints, tidy, all tests and scenarios, with a summary
    Test,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Setup => repository::install_packages(&[]).map(|()| ExitCode::SUCCESS),
        Chore::Vm(vm) => vm.run(),
        Chore::Tidy => run_tidy().map(exit_code),
        Chore::GenBindings => bindings::generate().map(|()| ExitCode::SUCCESS),
        Chore::Bench(bench) => bench.run().map(|()| ExitCode::SUCCESS),
        Chore::Demo => demo::run_demo(),
        Chore::Fuzz { seconds } => fuzz::run_all(seconds).map(|()| ExitCode::SUCCESS),
        Chore::Sim(sim) => sim.run().map(|()| ExitCode::SUCCESS),
        Chore::Test => check::run().map(exit_code),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn exit_code(passed: bool) -> ExitCode {
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_tidy() -> Result<bool> {
    let findings = tidy::check(repository::root())?;
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} finding(s)", findings.len());
    Ok(findings.is_empty())
}
