//! iSCSI over TCP, natively: srptgt beside Debian's `tgt`, each asked by the same client on loopback. `tgt` serves the
//! same memory in two ways: with the backing store that it takes by itself, and with the one that costs it least.
//!
//! These figures are of time, and what else the machine does gets into them. So they take turns within each round,
//! a ratio is one of the same round, and the median over the rounds is what counts. System calls are counted in a pass
//! of their own, because counting makes them slow.

mod client;
mod idle;
mod jobs;
mod peers;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::Subject;
use super::kept::Kept;
use super::native::Machine;
use client::Client;
use idle::IdleSessions;
use jobs::{IDLE_SESSIONS, JOBS, Job};
use peers::{BACKENDS, Peer, Srptgt, Tgt};

const ROUNDS: usize = 5;

/// The programs of a run.
pub(super) struct Programs {
    pub(super) srptgt: PathBuf,
    pub(super) idle_sessions: PathBuf,
}

/// All that was measured beside `tgt`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Iscsi {
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) machine: Machine,
    /// What asked.
    pub(super) client: String,
    /// The peer.
    pub(super) tgt: String,
    /// Its backing stores, in the order of the figures.
    pub(super) backends: Vec<String>,
    pub(super) rounds: usize,
    pub(super) jobs: Vec<Compared>,
}

/// A job against all; medians over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Compared {
    pub(super) title: String,
    pub(super) block_bytes: u32,
    pub(super) srptgt: Figures,
    pub(super) tgt: Vec<Beside>,
    /// The least that is aimed at, beside the backing store that tgt takes by itself.
    pub(super) speed_aim: Option<f64>,
}

/// What tgt did with one of its backing stores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Beside {
    pub(super) figures: Figures,
    /// I/Os per second of srptgt for one of tgt in the same round.
    pub(super) speed: f64,
    /// CPU time of srptgt for an I/O to that of tgt in the same round.
    pub(super) cpu: f64,
}

/// What one of them did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) iops: f64,
    /// CPU time of the whole process, user and system, in microseconds for an I/O.
    pub(super) cpu_us: f64,
    /// CPU time for an I/O beside idle sessions, to that without them in the same round.
    pub(super) idle_cost: Option<f64>,
    /// System calls of the whole process for an I/O, as strace counts them.
    pub(super) system_calls: f64,
    /// The same as the process counts them itself, in the rounds.
    pub(super) own_system_calls: Option<f64>,
}

/// One job against one of them in one round.
#[derive(Clone, Copy, Debug)]
struct Sample {
    iops: f64,
    cpu_us: f64,
    system_calls: Option<f64>,
}

impl Iscsi {
    /// Measures the release build; raw files lie in `folder`.
    pub(super) fn measure(programs: &Programs, folder: &Path, subject: &Subject) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let client = Client::find()?;
        let srptgt = Srptgt::start(&programs.srptgt, folder).context("starting srptgt")?;
        let tgt = Tgt::start(folder).context("starting tgt")?;
        let [first, second] = &tgt.luns();
        let peers: [&dyn Peer; PEERS] = [&srptgt, first, second];
        let bench = Bench { programs, peers };
        bench.warm_up(&client)?;
        let mut rounds = Vec::new();
        for round in 1..=ROUNDS {
            rounds.push(bench.round(&client, round)?);
            println!("bench: iSCSI beside tgt, round {round} of {ROUNDS}");
        }
        let calls = bench.count_calls(&client, folder)?;
        Ok(Self {
            date: subject.date.clone(),
            commit: subject.commit.clone(),
            machine: Machine::here()?,
            client: client.version,
            tgt: Tgt::version()?,
            backends: BACKENDS.map(str::to_owned).to_vec(),
            rounds: ROUNDS,
            jobs: compare(&rounds, &calls),
        })
    }
}

impl Kept for Iscsi {
    const FILE: &'static str = "bench/results/iscsi.json";
}

/// srptgt, and tgt with each of its backing stores.
const PEERS: usize = 1 + BACKENDS.len();

/// All that are measured, srptgt first.
struct Bench<'a> {
    programs: &'a Programs,
    peers: [&'a dyn Peer; PEERS],
}

/// All jobs of one round, for each of the peers.
type Round = Vec<Vec<Sample>>;

impl Bench<'_> {
    /// The first time that memory is written it is made.
    fn warm_up(&self, client: &Client) -> Result<()> {
        for peer in self.peers {
            client.run(peer.url(), &jobs::WARM_UP)?;
        }
        Ok(())
    }

    fn round(&self, client: &Client, number: usize) -> Result<Round> {
        JOBS.iter()
            .map(|job| self.job(client, job, number))
            .collect()
    }

    /// Who is first changes with the round.
    fn job(&self, client: &Client, job: &Job, round: usize) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for turn in 0..PEERS {
            let which = (turn + round) % PEERS;
            let sample = self.sample(client, self.peers[which], job);
            samples.push((which, sample.with_context(|| job.title.to_owned())?));
        }
        samples.sort_by_key(|(which, _)| *which);
        Ok(samples.into_iter().map(|(_, sample)| sample).collect())
    }

    fn sample(&self, client: &Client, peer: &dyn Peer, job: &Job) -> Result<Sample> {
        let idle = match job.has_idle_sessions {
            true => Some(IdleSessions::log_in(&self.programs.idle_sessions, peer)?),
            false => None,
        };
        let calls = peer.system_calls()?;
        let cpu_us = peer.cpu_us()?;
        let seconds = client.run(peer.url(), job)?;
        let cpu_us = peer.cpu_us()? - cpu_us;
        let calls = peer.system_calls()?.zip(calls);
        if let Some(idle) = idle {
            idle.end()?;
        }
        let ios = f64::from(job.ios());
        Ok(Sample {
            iops: ios / seconds,
            cpu_us: cpu_us / ios,
            system_calls: calls.map(|(after, before)| (after - before) as f64 / ios),
        })
    }

    /// System calls for an I/O of each job.
    fn count_calls(&self, client: &Client, folder: &Path) -> Result<Vec<Vec<f64>>> {
        let count = |job: &Job, peer: &dyn Peer| -> Result<f64> {
            let summary = folder.join("strace");
            let trace = peers::Trace::of(peer.process_id(), &summary)?;
            client.run(peer.url(), &job.shorter())?;
            Ok(trace.end()? as f64 / f64::from(job.shorter().ios()))
        };
        JOBS.iter()
            .map(|job| self.peers.iter().map(|peer| count(job, *peer)).collect())
            .collect()
    }
}

fn compare(rounds: &[Round], calls: &[Vec<f64>]) -> Vec<Compared> {
    let plain = JOBS
        .iter()
        .position(|job| !job.has_idle_sessions && job.is_like_the_idle_one());
    let figures = |at: usize, which: usize| Figures {
        iops: median(rounds.iter().map(|round| round[at][which].iops)),
        cpu_us: median(rounds.iter().map(|round| round[at][which].cpu_us)),
        idle_cost: plain.filter(|_| JOBS[at].has_idle_sessions).map(|plain| {
            let cost = |round: &Round| round[at][which].cpu_us / round[plain][which].cpu_us;
            median(rounds.iter().map(cost))
        }),
        system_calls: calls[at][which],
        own_system_calls: own_calls(rounds.iter().map(|round| round[at][which])),
    };
    let ratio = |at: usize, which: usize, of: fn(&Sample) -> f64| {
        let ratio = |round: &Round| of(&round[at][0]) / of(&round[at][which]);
        median(rounds.iter().map(ratio))
    };
    let beside = |at: usize, which: usize| Beside {
        figures: figures(at, which),
        speed: ratio(at, which, |sample| sample.iops),
        cpu: ratio(at, which, |sample| sample.cpu_us),
    };
    let compared = |(at, job): (usize, &Job)| Compared {
        title: match job.has_idle_sessions {
            true => format!("{}, {IDLE_SESSIONS} idle sessions", job.title),
            false => job.title.to_owned(),
        },
        block_bytes: job.block_bytes,
        srptgt: figures(at, 0),
        tgt: (1..PEERS).map(|which| beside(at, which)).collect(),
        speed_aim: job.speed_aim,
    };
    JOBS.iter().enumerate().map(compared).collect()
}

fn own_calls(samples: impl Iterator<Item = Sample>) -> Option<f64> {
    let calls: Option<Vec<f64>> = samples.map(|sample| sample.system_calls).collect();
    calls.map(|calls| median(calls.into_iter()))
}

/// The middle of an odd number of figures; of an even number, the upper one of the two.
fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn sample(iops: f64, cpu_us: f64, system_calls: Option<f64>) -> Sample {
        Sample {
            iops,
            cpu_us,
            system_calls,
        }
    }

    /// One job.
    pub(crate) fn kept() -> Iscsi {
        let tgt = |iops, cpu_us, system_calls| Figures {
            iops,
            cpu_us,
            idle_cost: Some(1.8),
            system_calls,
            own_system_calls: None,
        };
        let beside = |figures, speed, cpu| Beside {
            figures,
            speed,
            cpu,
        };
        Iscsi {
            date: "2000-01-01T000000Z".to_owned(),
            commit: "0123456".to_owned(),
            machine: Machine {
                cores: 2,
                kernel: "6.1.0".to_owned(),
            },
            client: "qemu-img 7.2".to_owned(),
            tgt: "tgt 1.0.85".to_owned(),
            backends: BACKENDS.map(str::to_owned).to_vec(),
            rounds: 5,
            jobs: vec![Compared {
                title: "4 KiB read, depth 32".to_owned(),
                block_bytes: 4096,
                srptgt: Figures {
                    iops: 30_000.0,
                    cpu_us: 10.0,
                    idle_cost: Some(1.01),
                    system_calls: 0.4,
                    own_system_calls: Some(0.3),
                },
                tgt: vec![
                    beside(tgt(10_000.0, 40.0, 16.7), 3.0, 0.25),
                    beside(tgt(15_000.0, 20.0, 12.9), 2.0, 0.5),
                ],
                speed_aim: Some(2.5),
            }],
        }
    }

    #[test]
    fn the_median_is_of_ratios_of_the_same_round() {
        let round = |srptgt, tgt| {
            let tgt = sample(tgt, 20.0, None);
            vec![vec![sample(srptgt, 5.0, Some(0.5)), tgt, tgt]; JOBS.len()]
        };
        // The second round was slow for all.
        let rounds = [round(300.0, 100.0), round(40.0, 10.0), round(200.0, 100.0)];
        let calls = vec![vec![1.0, 16.0, 12.0]; JOBS.len()];
        let job = &compare(&rounds, &calls)[0];
        let tgt = &job.tgt[0];
        assert_eq!((tgt.speed, tgt.cpu), (3.0, 0.25));
        assert_eq!((job.srptgt.iops, tgt.figures.iops), (200.0, 100.0));
        assert_eq!(job.srptgt.own_system_calls, Some(0.5));
        assert_eq!(tgt.figures.own_system_calls, None);
        assert_eq!(job.tgt[1].figures.system_calls, 12.0);
    }

    #[test]
    fn idle_sessions_are_compared_with_the_same_job_without_them() {
        let with_idle = JOBS.iter().position(|job| job.has_idle_sessions).unwrap();
        let mut round = vec![vec![sample(1.0, 10.0, None); PEERS]; JOBS.len()];
        round[with_idle][1].cpu_us = 18.0;
        let jobs = compare(&[round], &vec![vec![1.0; PEERS]; JOBS.len()]);
        assert_eq!(jobs[with_idle].tgt[0].figures.idle_cost, Some(1.8));
        assert_eq!(jobs[with_idle].srptgt.idle_cost, Some(1.0));
        assert!(jobs[0].srptgt.idle_cost.is_none());
    }
}
