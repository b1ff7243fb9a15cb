//! The client: `qemu-img bench` over libiscsi, one process for each session.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::jobs::Job;
use super::peers::INITIATOR;
use crate::repository::{self, output_of};

pub(super) struct Client {
    /// As the program says it.
    pub(super) version: String,
}

impl Client {
    pub(super) fn find() -> Result<Self> {
        let version = output_of(repository::command("qemu-img", &["--version"]))?;
        let first = version.lines().next();
        Ok(Self {
            version: first.unwrap_or_default().to_owned(),
        })
    }

    /// Does a job. Gives the seconds that the slowest of its sessions took.
    pub(super) fn run(&self, lun: &Lun, job: &Job) -> Result<f64> {
        let all: Vec<Child> = (0..job.sessions)
            .map(|session| start(lun, job, session))
            .collect::<Result<_>>()?;
        let mut longest: f64 = 0.0;
        for child in all {
            longest = longest.max(end(child)?);
        }
        Ok(longest)
    }
}

/// What the client is aimed at.
#[derive(Debug)]
pub(super) struct Lun {
    pub(super) portal: String,
    pub(super) target: String,
    pub(super) number: u32,
}

fn start(lun: &Lun, job: &Job, session: u32) -> Result<Child> {
    let Lun {
        portal,
        target,
        number,
    } = lun;
    // Each session begins in a part of its own.
    let offset = session * job.commands() * job.block_bytes;
    let mut command = Command::new("qemu-img");
    command.args(["bench", "-t", "none"]);
    for (option, value) in [
        ("-c", job.commands()),
        ("-d", job.depth),
        ("-s", job.block_bytes),
        ("-o", offset),
    ] {
        command.arg(option).arg(value.to_string());
    }
    if job.writes {
        command.arg("-w");
    }
    command.arg("--image-opts").arg(format!(
        "driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={portal},file.target={target},\
         file.lun={number},file.initiator-name={INITIATOR}"
    ));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting qemu-img")
}

fn end(child: Child) -> Result<f64> {
    let output = child.wait_with_output()?;
    let (told, failed) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "qemu-img bench: {failed}");
    seconds(&told).with_context(|| format!("qemu-img bench told no time: {told}"))
}

/// The time in `Run completed in 1.234 seconds.`
fn seconds(told: &str) -> Option<f64> {
    let (_, rest) = told.split_once("Run completed in ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_in_the_last_line() {
        let told = "Sending 100 read requests, 4096 bytes each, 32 in parallel\n\
            Run completed in 0.172 seconds.\n";
        assert_eq!(seconds(told), Some(0.172));
        assert_eq!(seconds("Sending"), None);
    }
}
