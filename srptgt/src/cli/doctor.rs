//! `srptgt doctor`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::doctor::{Finding, examine};
use crate::paths::Paths;

use super::cell::{list, text};
use super::{Context, Failure, Outcome, table};

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Configuration file to check [default: as for serve]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Doctor {
    pub(crate) async fn run(self, context: &Context, paths: &Paths) -> Outcome {
        let config = self.config.unwrap_or_else(|| paths.config.clone());
        let mut report = examine(&Paths {
            config,
            ..paths.clone()
        });
        report.findings.push(daemon(context).await);
        let answer = serde_json::to_value(&report).map_err(anyhow::Error::from)?;
        context.print(&answer, show)?;
        if report.can_serve() {
            Ok(())
        } else {
            Err(Failure::Said)
        }
    }
}

async fn daemon(context: &Context) -> Finding {
    const CHECK: &str = "daemon";
    match context.client.get("/v1/status").await {
        Ok(status) => Finding::good(
            CHECK,
            format!("answers, process {}", text(&status, "/process")),
        ),
        Err(error) => Finding::warning(
            CHECK,
            error.to_string(),
            "srptgt serve, or systemctl start srptgt",
        ),
    }
}

fn show(report: &Value) -> String {
    let ports = table::list(
        list(report, "/ports"),
        &[
            ("PORT", &|port| {
                format!("{}:{}", text(port, "/device"), text(port, "/port"))
            }),
            ("PORT GUID", &|port| text(port, "/guid")),
            ("FABRIC", &|port| text(port, "/fabric")),
            ("LINK", &|port| text(port, "/link")),
            ("ACTIVE", &|port| text(port, "/active")),
            ("MTU", &|port| text(port, "/mtu")),
            ("ADDRESSES", &|port| {
                let addresses = list(port, "/addresses").iter();
                let addresses: Vec<_> = addresses.filter_map(Value::as_str).collect();
                addresses.join(" ")
            }),
        ],
        "no RDMA port",
    );
    let findings = table::list(
        list(report, "/findings"),
        &[
            ("CHECK", &|finding| text(finding, "/check")),
            ("RESULT", &|finding| text(finding, "/level")),
            ("FOUND", &found),
        ],
        "nothing was looked at",
    );
    format!("{ports}\n{findings}")
}

fn found(finding: &Value) -> String {
    match finding.get("fix") {
        Some(_) => format!(
            "{}\nnext: {}",
            text(finding, "/text"),
            text(finding, "/fix")
        ),
        None => text(finding, "/text"),
    }
}
