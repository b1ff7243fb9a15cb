//! `srptgt target`.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::control::request::TargetSet;

use super::cell::text;
use super::{Context, Outcome, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Target {
    /// Show the target's names
    Show,
    /// Give the target another iSCSI name; sessions stay
    Set(Set),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Set {
    /// Its iSCSI name
    #[arg(long, value_name = "IQN")]
    iqn: Option<String>,
    /// A text that initiators show beside the name; an empty one takes it away
    #[arg(long, value_name = "TEXT")]
    alias: Option<String>,
    /// Tag of the group that all portals are in [default: 1]
    #[arg(long, value_name = "NUMBER")]
    portal_group_tag: Option<u16>,
}

impl Target {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let client = &context.client;
        match self {
            Self::Show => context.print(&client.get("/v1/target").await?, target),
            Self::Set(set) => {
                let set = TargetSet {
                    iqn: set.iqn,
                    alias: set.alias,
                    portal_group_tag: set.portal_group_tag,
                };
                let answer = client.patch("/v1/target", &set).await?;
                context.print_done(&answer, |target| {
                    format!("the target's iSCSI name is {}", text(target, "/iqn"))
                })
            }
        }
    }
}

fn target(target: &Value) -> String {
    table::pairs([
        ("iSCSI name", text(target, "/iqn")),
        ("alias", text(target, "/alias")),
        ("portal group tag", text(target, "/portal_group_tag")),
        ("id_ext", text(target, "/id_ext")),
        ("ioc_guid", text(target, "/ioc_guid")),
    ])
}
