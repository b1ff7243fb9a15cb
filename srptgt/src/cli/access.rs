//! `srptgt pending` and `srptgt allow`.

use clap::Args;
use serde_json::Value;

use crate::config::Name;
use crate::control::request;

use super::cell::{age, list, number, text};
use super::host::identities;
use super::{Context, Outcome};

#[derive(Debug, Args)]
pub(crate) struct Allow {
    /// Port GUID in any form, or iSCSI name
    identity: String,
    /// The host that gets it; made when there is none
    #[arg(long = "as", value_name = "HOST")]
    host: Name,
}

impl Allow {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let allow = request::Allow {
            identity: self.identity,
            host: self.host,
        };
        let answer = context.client.post("/v1/allow", &allow).await?;
        context.print_done(&answer, |host| {
            format!("host {}: {}", allow.host, identities(host))
        })
    }
}

pub(crate) async fn pending(context: &Context) -> Outcome {
    context.print(&context.client.get("/v1/pending").await?, refused)
}

/// Not a table: what is to be typed must not be broken into lines.
pub(super) fn refused(answer: &Value) -> String {
    let entries: Vec<_> = list(answer, "").iter().map(entry).collect();
    if entries.is_empty() {
        "nobody was refused\n".to_owned()
    } else {
        entries.join("\n")
    }
}

fn entry(entry: &Value) -> String {
    let shown = [
        "/identity",
        "/login/initiator_name",
        "/login/source_gid",
        "/login/address",
    ];
    let who = shown.map(|pointer| text(entry, pointer));
    let who = who.iter().find(|who| *who != "-").map_or("-", |who| who);
    let times = match number(entry, "/count") {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    format!(
        "{who}  refused {times}, last {} ago, {}\n  {}\n  next: {}\n",
        age(entry, "/last_unix_ms"),
        from(entry),
        text(entry, "/text"),
        text(entry, "/fix")
    )
}

fn from(entry: &Value) -> String {
    let portal = format!(
        "{} {}",
        text(entry, "/login/portal/protocol"),
        text(entry, "/login/portal/listen")
    );
    match text(entry, "/login/address").as_str() {
        "-" => format!("at {portal}"),
        address => format!("from {address} at {portal}"),
    }
}
