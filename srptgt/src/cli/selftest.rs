//! `srptgt selftest`: is a target's data path right, as initiators of ours see it?

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::api::client::Client;
use crate::config::ByteSize;
use crate::loopback::Daemon;
use crate::portal::Protocol;
use crate::selftest::{Finding, Stall, Target, Verdict, names, run};

use super::peer::Peer;
use super::{Failure, Outcome, Output, say};

/// Size of the LUN of a target of our own.
const LUN_BYTES: u64 = 64 << 20;

/// Memory in bytes for the data of a session's commands.
const DATA_BYTES: usize = 32 << 20;

#[derive(Debug, Args)]
pub(crate) struct Selftest {
    #[command(flatten)]
    peer: Peer,
    /// Needed with --target: THE FIRST 16 MiB OF THE LUN ARE LOST
    #[arg(long)]
    destroy_data: bool,
    /// Checks to leave out, with commas
    #[arg(long, value_name = "CHECK", value_delimiter = ',', value_parser = PossibleValuesParser::new(names()))]
    skip: Vec<String>,
}

impl Selftest {
    pub(crate) async fn run(self, output: Output) -> Outcome {
        self.peer.check(1)?;
        if !self.peer.is_own() && !self.destroy_data {
            return Err(Failure::Usage(
                format!(
                    "the test writes over the first 16 MiB of {}, and what they hold is lost",
                    self.peer.name()
                ),
                "if nobody needs it, add --destroy-data; otherwise name a LUN that nobody needs by --lun".to_owned(),
            ));
        }
        tokio::select! {
            done = self.examine(output) => done,
            _ = tokio::signal::ctrl_c() => Err(Failure::Failed("interrupted".to_owned(), String::new())),
        }
    }

    async fn examine(&self, output: Output) -> Outcome {
        let own = self.peer.start(ByteSize(LUN_BYTES)).await?;
        let mut findings = Vec::new();
        let mut passed = true;
        for transport in self.peer.transports() {
            let (all, mut found) = self.examine_over(own.as_ref(), transport, output).await?;
            passed &= all;
            findings.append(&mut found);
        }
        let report = json!({ "target": self.peer.name(), "passed": passed, "checks": findings });
        match output {
            Output::Json => say(&format!("{report:#}\n"))?,
            Output::Table => say(&summary(&findings))?,
        }
        match passed {
            true => Ok(()),
            false => Err(Failure::Said),
        }
    }

    /// All checks over one transport; true when none failed.
    async fn examine_over(
        &self,
        own: Option<&Daemon>,
        transport: Protocol,
        output: Output,
    ) -> Result<(bool, Vec<Finding>), Failure> {
        let route = self.peer.route(own, transport).await?;
        let target = Target {
            dial: route.dial(0)?.with_memory(DATA_BYTES),
            lun: self.peer.lun(),
            stranger: route.stranger(),
            stall: own.map(|own| stall(own.client().clone())),
        };
        let skip = self.skip.clone();
        // The checks block, and a held-up command is let go by this runtime.
        let examined = tokio::task::spawn_blocking(move || {
            let mut findings = Vec::new();
            let passed = run(target, &skip, |finding| {
                if output == Output::Table {
                    let _ = say(&line(finding));
                }
                findings.push(finding.clone());
            });
            (passed, findings)
        });
        Ok(examined.await.map_err(anyhow::Error::from)?)
    }
}

/// Holds up the LUN by the API, from the thread of the checks.
fn stall(client: Client) -> Stall {
    let runtime = tokio::runtime::Handle::current();
    Box::new(move |on| runtime.block_on(Daemon::stall(&client, on)))
}

fn line(finding: &Finding) -> String {
    let verdict = match finding.verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Skip => "SKIP",
    };
    let (transport, name) = (finding.transport, finding.name);
    match &finding.expected {
        None => format!("{verdict}  {transport:<4}  {name:<20} {}\n", finding.came),
        Some(expected) => format!(
            "{verdict}  {transport:<4}  {name:<20} expected {expected}; came: {}\n",
            finding.came
        ),
    }
}

fn summary(findings: &[Finding]) -> String {
    let count = |verdict| {
        let of = findings.iter().filter(|finding| finding.verdict == verdict);
        of.count()
    };
    format!(
        "\n{} passed, {} failed, {} skipped\n",
        count(Verdict::Pass),
        count(Verdict::Fail),
        count(Verdict::Skip)
    )
}
