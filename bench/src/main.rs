//! `bench JOB COMMANDS DEPTH`: so many 4 KiB commands on the pure path, for callgrind to count.
#![forbid(unsafe_code)]

use std::env;

use anyhow::{Context, Result};
use bench::PurePath;

fn main() -> Result<()> {
    let usage = "usage: bench srp|iser|tcp-read|write-immediate|write-pulled COMMANDS DEPTH";
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [job, commands, depth] = &arguments[..] else {
        anyhow::bail!(usage);
    };
    let (commands, depth) = (commands.parse(), depth.parse());
    let (commands, depth) = (commands.context(usage)?, depth.context(usage)?);
    PurePath::new(job.parse()?)?.run(commands, depth)
}
