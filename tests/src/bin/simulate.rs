//! Simulates fresh seeds for a while, or one seed again: `simulate --seconds N [--mixed] [--seed S]`.
//!
//! Started by `cargo xtask sim`. It may touch nothing but its own memory and standard output.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tests::sim;

fn main() -> ExitCode {
    match number_after("--seed") {
        Some(seed) => tell(sim::run(seed)),
        None => {
            let time = Duration::from_secs(number_after("--seconds").unwrap_or(30));
            let is_mixed = std::env::args().any(|argument| argument == "--mixed");
            run_for(
                time,
                if is_mixed {
                    sim::fresh_mixed_seed
                } else {
                    sim::fresh_seed
                },
            )
        }
    }
}

fn number_after(option: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != option);
    arguments.nth(1)?.parse().ok()
}

fn tell(told: Result<sim::Summary, sim::Failure>) -> ExitCode {
    match told {
        Ok(summary) => {
            println!("{summary:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run_for(time: Duration, fresh_seed: impl Fn() -> u64) -> ExitCode {
    let begin = Instant::now();
    let (mut seeds, mut commands, mut packets) = (0_u64, 0, 0);
    while begin.elapsed() < time {
        match sim::run(fresh_seed()) {
            Ok(summary) => {
                seeds += 1;
                commands += summary.commands;
                packets += summary.packets;
            }
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{seeds} seeds, {commands} commands, {packets} packets: nothing wrong");
    ExitCode::SUCCESS
}
