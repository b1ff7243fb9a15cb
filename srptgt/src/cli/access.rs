//! `srptgt pending` and `srptgt allow`.

use clap::Args;
use serde_json::Value;

use crate::config::Name;
use crate::control::request;

use super::cell::{age, list, text};
use super::host::guids;
use super::{Context, Outcome, table};

#[derive(Debug, Args)]
pub(crate) struct Allow {
    /// Port GUID, in any form
    guid: String,
    /// The host that gets it; made when there is none
    #[arg(long = "as", value_name = "HOST")]
    host: Name,
}

impl Allow {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let allow = request::Allow {
            guid: self.guid,
            host: self.host,
        };
        let answer = context.client.post("/v1/allow", &allow).await?;
        context.print_done(&answer, |host| {
            format!("host {}: {}", allow.host, guids(host))
        })
    }
}

pub(crate) async fn pending(context: &Context) -> Outcome {
    context.print(&context.client.get("/v1/pending").await?, refused)
}

fn refused(answer: &Value) -> String {
    table::list(
        list(answer, ""),
        &[
            ("PORT GUID", &|entry| text(entry, "/guid")),
            ("TIMES", &|entry| text(entry, "/count")),
            ("LAST", &|entry| {
                format!("{} ago", age(entry, "/last_unix_ms"))
            }),
            ("FROM", &from),
            ("WHY, AND WHAT TO TYPE", &|entry| {
                format!("{}\n{}", text(entry, "/text"), text(entry, "/fix"))
            }),
        ],
        "nobody was refused",
    )
}

fn from(entry: &Value) -> String {
    let address = match text(entry, "/login/address").as_str() {
        "-" => text(entry, "/login/source_gid"),
        address => address.to_owned(),
    };
    format!("{address}\nby {}", text(entry, "/login/local"))
}
