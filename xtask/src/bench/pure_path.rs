//! User instructions per command of the pure path (crate `bench`), as callgrind counts them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::Subject;
use super::kept::Kept;

/// Instructions of two runs are subtracted, so that the start of the program does not count.
const COMMANDS: [u32; 2] = [1_000, 3_000];
const DEPTHS: [u32; 2] = [1, 32];
const JOBS: [Job; 9] = [
    ("srp-read", "SRP, 4 KiB READ", Some(900)),
    (
        "srp-write-immediate",
        "SRP, 4 KiB WRITE, immediate data",
        None,
    ),
    ("srp-write-pulled", "SRP, 4 KiB WRITE, data fetched", None),
    ("iser-read", "iSER, 4 KiB READ", Some(900)),
    (
        "iser-write-immediate",
        "iSER, 4 KiB WRITE, immediate data",
        None,
    ),
    ("iser-write-pulled", "iSER, 4 KiB WRITE, data fetched", None),
    ("tcp-read", "iSCSI/TCP, 4 KiB READ", Some(1800)),
    (
        "tcp-write-immediate",
        "iSCSI/TCP, 4 KiB WRITE, immediate data",
        None,
    ),
    ("tcp-write-pulled", "iSCSI/TCP, 4 KiB WRITE, R2T", None),
];

/// Name on the program's command line, title, and the instructions that are aimed at.
type Job = (&'static str, &'static str, Option<u32>);

/// All that was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PurePath {
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) commands: Vec<Counted>,
}

/// What one command costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Counted {
    pub(super) title: String,
    /// Commands that arrive at a time.
    pub(super) depth: u32,
    pub(super) instructions: f64,
    pub(super) aim: Option<u32>,
}

impl PurePath {
    /// Counts all jobs with the release build `program`; callgrind's files lie in `folder`.
    pub(super) fn measure(program: &Path, folder: &Path, subject: &Subject) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mut commands = Vec::new();
        for job in JOBS {
            for depth in DEPTHS {
                commands.push(measure(program, folder, job, depth)?);
            }
        }
        Ok(Self {
            date: subject.date.clone(),
            commit: subject.commit.clone(),
            commands,
        })
    }
}

impl Kept for PurePath {
    const FILE: &'static str = "bench/results/pure_path.json";
}

fn measure(program: &Path, folder: &Path, job: Job, depth: u32) -> Result<Counted> {
    let (name, title, aim) = job;
    let [few, many] = COMMANDS;
    let count = |commands| {
        count(program, folder, name, commands, depth)
            .with_context(|| format!("counting instructions of {name} at depth {depth}"))
    };
    let instructions = count(many)?.abs_diff(count(few)?) as f64 / f64::from(many - few);
    println!("bench: pure path, {title}, depth {depth}: {instructions:.0} instructions");
    Ok(Counted {
        title: title.to_owned(),
        depth,
        instructions,
        aim,
    })
}

fn count(program: &Path, folder: &Path, job: &str, commands: u32, depth: u32) -> Result<u64> {
    let file = folder.join(format!("callgrind.{job}-{depth}.{commands}"));
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args([job, &commands.to_string(), &depth.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("starting valgrind")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    totals(&text).context("callgrind's file has no totals")
}

/// The line `totals: 14344198` of a callgrind file.
fn totals(text: &str) -> Option<u64> {
    let mut lines = text.lines().rev();
    let number = lines.find_map(|line| line.strip_prefix("totals:"))?;
    number.trim().parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One command.
    pub(crate) fn sample() -> PurePath {
        PurePath {
            date: "2000-01-01T000000Z".to_owned(),
            commit: "0123456".to_owned(),
            commands: vec![Counted {
                title: "SRP, 4 KiB READ".to_owned(),
                depth: 32,
                instructions: 812.3,
                aim: Some(900),
            }],
        }
    }

    #[test]
    fn the_totals_are_at_the_end_of_a_callgrind_file() {
        let text = "events: Ir\nsummary: 100\n\nfn=(1) main\n5 7\n\ntotals: 14344198\n";
        assert_eq!(totals(text), Some(14_344_198));
        assert_eq!(totals("events: Ir\n"), None);
    }
}
