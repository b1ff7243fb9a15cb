//! The results of a run: plain data, kept as JSON beside the raw reports of the guest.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Subject;
use super::figures::{self, Measured};
use super::jobs::{JOBS, Job, Transport};
use super::kept;
use super::syscalls;
use crate::repository;

/// Everything that one run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Results {
    /// When the run began.
    pub(super) date: String,
    /// The commit of this repository, with `-dirty` when files were changed.
    pub(super) commit: String,
    /// Debian's kernel package in the guest.
    pub(super) kernel: String,
    pub(super) qemu: String,
    pub(super) jobs: Vec<JobResult>,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct JobResult {
    pub(super) name: String,
    pub(super) title: String,
    /// The ratio that is aimed at, in hundredths.
    pub(super) aim_percent: Option<u32>,
    /// The kernel's target, before and after srptgt.
    pub(super) lio: Vec<Measured>,
    pub(super) srptgt: Option<Measured>,
    /// System calls of the daemon's worker per I/O, as the daemon counts them.
    pub(super) syscalls: Option<f64>,
    /// System calls of all its threads per I/O, as strace counts them.
    pub(super) traced_syscalls: Option<f64>,
}

/// The rounds of one transport, by their names in the guest.
pub(super) struct Rounds {
    /// Those with the kernel's target.
    pub(super) baseline: [String; 2],
    /// The one with srptgt.
    pub(super) srptgt: String,
    /// The one in which strace counts the system calls of srptgt.
    pub(super) traced: String,
}

impl Rounds {
    pub(super) fn of(transport: Transport) -> Self {
        let name = |round| format!("{}-{round}", transport.name());
        Self {
            baseline: ["lio-1", "lio-2"].map(name),
            srptgt: name("srptgt"),
            traced: name("srptgt-traced"),
        }
    }
}

impl JobResult {
    fn read(folder: &Path, transport: Transport, job: &Job) -> Result<Self> {
        let rounds = Rounds::of(transport);
        let lio = rounds.baseline.iter();
        let lio = lio.map(|round| figures::read(&folder.join(round), job));
        let round = folder.join(rounds.srptgt);
        let srptgt = round.is_dir().then(|| figures::read(&round, job));
        Ok(Self {
            name: format!("{}-{}", transport.name(), job.name()),
            title: format!("{transport}, {job}"),
            aim_percent: job.aim_percent,
            lio: lio.collect::<Result<_>>()?,
            srptgt: srptgt.transpose()?,
            syscalls: syscalls::counted(&round, job)?,
            traced_syscalls: syscalls::traced(&folder.join(rounds.traced), job)?,
        })
    }

    /// Mean of the baseline, when every round of it gave a figure.
    pub(super) fn lio_us(&self) -> Result<f64, &str> {
        let figures: Vec<f64> = self.lio.iter().map(figure).collect::<Result<_, _>>()?;
        match figures.len() {
            0 => Err("not measured"),
            rounds => Ok(figures.iter().sum::<f64>() / rounds as f64),
        }
    }

    /// How far the baseline's rounds lie apart, in percent of their mean.
    pub(super) fn spread_percent(&self) -> Option<f64> {
        let mean = self.lio_us().ok()?;
        let figures = self.lio.iter().filter_map(|round| figure(round).ok());
        let (low, high) = figures.fold((f64::MAX, f64::MIN), |(low, high), one| {
            (low.min(one), high.max(one))
        });
        Some((high - low) / mean * 100.0)
    }

    /// srptgt's figure, unless only the baseline was measured.
    pub(super) fn srptgt_us(&self) -> Option<Result<f64, &str>> {
        self.srptgt.as_ref().map(figure)
    }

    /// srptgt's instructions for one of LIO's.
    pub(super) fn ratio(&self) -> Option<f64> {
        Some(self.srptgt_us()?.ok()? / self.lio_us().ok()?)
    }
}

fn figure(measured: &Measured) -> Result<f64, &str> {
    match measured {
        Measured::PerIoUs(us) => Ok(*us),
        Measured::Failed(reason) => Err(reason),
    }
}

impl Results {
    /// Reads what the guest left in `folder` of these transports.
    pub(super) fn read(
        folder: &Path,
        transports: &[Transport],
        subject: &Subject,
        kernel: &str,
        qemu: String,
    ) -> Result<Self> {
        let rounds = folder.join("rounds");
        let jobs = transports.iter().flat_map(|&transport| {
            let rounds = &rounds;
            let read = move |job| JobResult::read(rounds, transport, job);
            JOBS.iter().map(read)
        });
        Ok(Self {
            date: subject.date.clone(),
            commit: subject.commit.clone(),
            kernel: kernel.to_owned(),
            qemu,
            jobs: jobs.collect::<Result<_>>()?,
        })
    }

    /// Keeps the results as `file`.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        kept::write(self, file)
    }

    /// The results that the README's table comes from.
    pub(super) fn latest() -> Result<Self> {
        let file = latest();
        kept::read(&file)?.with_context(|| {
            format!(
                "{} is missing; `cargo xtask bench` makes it",
                file.display()
            )
        })
    }
}

/// Where the results of the last whole run are.
pub(super) fn latest() -> PathBuf {
    repository::root().join("bench/results/latest.json")
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    /// Two rows: one with a figure, one that failed.
    pub(crate) fn sample() -> Results {
        let row = |job: &Job, srptgt| JobResult {
            name: format!("srp-{}", job.name()),
            title: format!("SRP, {job}"),
            aim_percent: job.aim_percent,
            lio: vec![Measured::PerIoUs(99.0), Measured::PerIoUs(101.0)],
            srptgt: Some(srptgt),
            syscalls: Some(4.0),
            traced_syscalls: None,
        };
        let failure = "ib_srp: failed FAST REG status local QP operation error (2)";
        Results {
            date: "2000-01-01T000000Z".to_owned(),
            commit: "0123456".to_owned(),
            kernel: "linux-image-6.1.0-56-amd64_6.1.192-2_amd64".to_owned(),
            qemu: "QEMU emulator version 7.2.0".to_owned(),
            jobs: vec![
                row(&JOBS[0], Measured::PerIoUs(115.0)),
                row(&JOBS[6], Measured::Failed(failure.to_owned())),
            ],
        }
    }

    #[test]
    fn ratio_and_spread_are_of_the_mean_of_the_baseline() {
        let results = sample();
        assert_eq!(results.jobs[0].ratio(), Some(1.15));
        assert_eq!(results.jobs[0].spread_percent(), Some(2.0));
        assert_eq!(results.jobs[1].ratio(), None);
    }

    #[test]
    fn one_failed_round_leaves_no_baseline() {
        let mut row = sample().jobs.remove(0);
        row.lio[1] = Measured::Failed("why".to_owned());
        assert_eq!(row.lio_us(), Err("why"));
        assert_eq!((row.ratio(), row.spread_percent()), (None, None));
    }

    #[test]
    fn results_come_back_from_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.json");
        sample().write(&file).unwrap();
        let read: Results = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(read, sample());
    }
}
