//! `srptgt demo`: a target, a host that may come in over every transport and a stranger that may not, on loopback
//! addresses of any machine.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::exercise::Measured;
use crate::loopback::Target;
use crate::portal::Protocol;

use super::{Failure, Outcome, Output, say};

mod stage;

use stage::{LUN_BYTES, Stage};

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The target's address, one of 127.0.0.0/8; the initiators have the next three
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    address: Ipv4Addr,
    /// How long each measurement over each transport takes, in milliseconds
    #[arg(long, value_name = "MS", default_value = "500")]
    measure_ms: u64,
}

/// What the run has shown, for `--output json`.
#[derive(Debug, Serialize)]
struct Report {
    verified_bytes: u64,
    refused: String,
    pending: serde_json::Value,
    measured: Vec<Figures>,
    seconds: f64,
}

impl Demo {
    pub(crate) async fn run(self, output: Output) -> Outcome {
        let addresses = self.addresses()?;
        tokio::select! {
            told = tell(addresses, Duration::from_millis(self.measure_ms), Story(output)) => told,
            _ = tokio::signal::ctrl_c() => Err(Failure::Failed("interrupted".to_owned(), String::new())),
        }
    }

    fn addresses(&self) -> Result<Addresses, Failure> {
        let first = u32::from(self.address);
        let all = [0, 1, 2, 3].map(|more| Ipv4Addr::from(first.wrapping_add(more)));
        if all.iter().all(Ipv4Addr::is_loopback) {
            let [target, host_srp, host_iser, stranger] = all.map(IpAddr::V4);
            return Ok(Addresses {
                target,
                host_srp,
                host_iser,
                stranger,
            });
        }
        Err(Failure::Usage(
            format!(
                "{} and the three addresses behind it are not all of 127.0.0.0/8",
                self.address
            ),
            "leave --address out, or give one like 127.0.1.1".to_owned(),
        ))
    }
}

/// Who is where: over the fabric in user space each has an address of its own.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    target: IpAddr,
    host_srp: IpAddr,
    host_iser: IpAddr,
    stranger: IpAddr,
}

/// What was measured over one transport.
#[derive(Debug, Serialize)]
struct Figures {
    transport: Protocol,
    #[serde(flatten)]
    measured: Measured,
}

/// Tells people what happens while it happens; who wants JSON gets the report at the end.
#[derive(Clone, Copy, Debug)]
struct Story(Output);

impl Story {
    fn tell(self, what: &str, text: &str) -> Outcome {
        match self.0 {
            Output::Json => Ok(()),
            Output::Table => text
                .lines()
                .zip([what].into_iter().chain(std::iter::repeat("")))
                .try_for_each(|(line, what)| say(&format!("  {what:<10} {line}\n"))),
        }
    }

    fn headline(self, text: &str) -> Outcome {
        match self.0 {
            Output::Json => Ok(()),
            Output::Table => say(&format!("{text}\n")),
        }
    }
}

async fn tell(addresses: Addresses, measure: Duration, story: Story) -> Outcome {
    let begin = Instant::now();
    story.headline(
        "srptgt demo: a SCSI target and two hosts on loopback, over SRP, iSER and iSCSI/TCP. RDMA is RoCEv2 that this\n\
         process speaks itself, over UDP: no card, no kernel module, no root.\n",
    )?;
    let target = Target::start().await?;
    let mut stage = Stage::new(target, addresses, story);
    stage.serve().await?;
    stage.grant().await?;
    let host = stage.let_in().await?;
    let refused = stage.refuse().await?;
    let pending = stage.show_pending().await?;
    let stranger = stage.admit().await?;
    stage.verify(&host, &stranger).await?;
    let measured = stage.measure(&host, &stranger, measure).await?;
    for session in host {
        session.initiator.log_out().await;
    }
    stranger.log_out().await;
    stage.end().await?;
    let seconds = begin.elapsed().as_secs_f64();
    if story.0 == Output::Json {
        let report = Report {
            verified_bytes: LUN_BYTES,
            refused,
            pending,
            measured,
            seconds,
        };
        return say(&format!("{:#}\n", json!(report)));
    }
    say(&format!(
        "\nEvery byte verified, everyone logged out, nothing left behind, in {seconds:.1} s.\n\
         To serve your own files: srptgt serve --fabric soft, or without it over RDMA hardware; README.md goes on.\n"
    ))
}
