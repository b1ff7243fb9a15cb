//! `cargo xtask test`: everything that must hold before a change goes in, and one summary at the end.
//!
//! Every step runs, whatever the ones before it found, so that one run shows all there is to mend.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::libtest::{Reader, Tally};
use crate::repository::{command, run as run_command};
use crate::{tidy, vm};

/// Runs everything; whether nothing failed.
pub(crate) fn run() -> Result<bool> {
    let start = Instant::now();
    vm::prepare()?;
    let mut tally = Tally::default();
    tally.add(step("format (cargo fmt --all)", || {
        cargo(&["fmt", "--all", "--check"])
    }));
    tally.add(step("tidy (cargo xtask tidy)", check_tidy));
    let clippy = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    tally.add(step("lints (cargo clippy)", || cargo(&clippy)));
    // The scenarios start the program as it lies in the build folder, beside them.
    tally.add(step("the program (cargo build)", || {
        cargo(&["build", "--package", "srptgt"])
    }));
    let host = [
        "--workspace",
        "--exclude",
        "tests",
        "--exclude",
        "rdma",
        "--exclude",
        "backstore",
    ];
    tally.add(cargo_test(&host)?);
    // A guest's own soft RDMA has the port that the soft fabric wants, so what needs no device stays here.
    tally.add(cargo_test(&[
        "--package",
        "rdma",
        "--lib",
        "--test",
        "soft",
    ])?);
    tally.add(cargo_test(&["--package", "rdma", "--doc"])?);
    // These want an RDMA device and loop devices, which a guest has on any machine and for any user.
    let runner = runner()?;
    for wanted in [&["rdma", "--test", "rxe"][..], &["backstore"]] {
        let guest = [&["--config", &runner, "--package"], wanted].concat();
        tally.add(cargo_test(&guest)?);
    }
    tally.add(cargo_test(&["--package", "tests"])?);
    summarise(&tally, start);
    Ok(tally.failed.is_empty())
}

fn step(name: &str, check: impl FnOnce() -> Result<()>) -> Tally {
    println!("== {name}");
    match check() {
        Ok(()) => Tally {
            passed: 1,
            ..Tally::default()
        },
        Err(error) => {
            println!("{error:#}");
            Tally {
                failed: vec![name.to_string()],
                ..Tally::default()
            }
        }
    }
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run_command(command("cargo", arguments))
}

/// Makes cargo run every test executable in a guest with soft RDMA.
fn runner() -> Result<String> {
    let xtask = env::current_exe()?.display().to_string();
    let words = [&xtask, "vm", "run", "--soft-rdma", "--"];
    Ok(format!("target.'cfg(all())'.runner = {words:?}"))
}

fn check_tidy() -> Result<()> {
    let findings = tidy::check(crate::repository::root())?;
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    anyhow::ensure!(findings.is_empty(), "{}", lines.join("\n"));
    Ok(())
}

/// Runs `cargo test`, showing its output and reading it. Both streams share one pipe: the name of the test file
/// comes on the one, its tests on the other, and only their order tells which belongs to which.
fn cargo_test(packages: &[&str]) -> Result<Tally> {
    println!("== tests (cargo test {})", packages.join(" "));
    let (read, write) = io::pipe().context("making a pipe for the output of cargo test")?;
    let mut cargo = command("cargo", &["test", "--no-fail-fast"]);
    cargo
        .args(packages)
        .stdout(write.try_clone()?)
        .stderr(write)
        .stdin(Stdio::null());
    let reading = thread::spawn(move || show(read));
    let succeeded = status_of(cargo)?;
    let reader = reading.join().unwrap_or_else(|_| Ok(Reader::default()))?;
    Ok(reader.finish(succeeded))
}

/// The command is dropped with its ends of the pipe, so that the reader sees the end.
fn status_of(mut command: Command) -> Result<bool> {
    Ok(command
        .status()
        .with_context(|| format!("starting {command:?}"))?
        .success())
}

fn show(output: impl io::Read) -> Result<Reader> {
    let mut reader = Reader::default();
    let mut screen = io::stdout();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(screen, "{line}")?;
        reader.handle_line(&line);
    }
    Ok(reader)
}

fn summarise(tally: &Tally, start: Instant) {
    let seconds = start.elapsed().as_secs();
    println!("\n== summary, {} min {:02} s", seconds / 60, seconds % 60);
    for (name, reason) in &tally.skipped {
        println!("skipped  {name}: {reason}");
    }
    for name in &tally.failed {
        println!("FAILED   {name}");
    }
    println!("{tally}");
}
