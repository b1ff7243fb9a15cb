//! `srptgt portal`.

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::portal::{self, FabricKind, Listen, Protocol};

use super::cell::{list, text};
use super::{Context, Outcome, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Portal {
    /// Listen: srp ADDRESS:PORT for RDMA-CM, srp DEVICE:PORT for native InfiniBand
    Add {
        #[command(flatten)]
        place: Place,
        /// What carries it [default: what the daemon was started with]
        #[arg(
            long,
            value_enum,
            value_name = "verbs|soft",
            hide_possible_values = true
        )]
        fabric: Option<FabricKind>,
    },
    /// List portals, with what an initiator types
    List,
    /// Listen there no more; sessions stay
    Remove(Place),
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// srp
    protocol: Protocol,
    /// 10.0.0.1:5555, [fd00::1]:5555 or mlx4_0:1
    listen: Listen,
}

impl Portal {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let client = &context.client;
        match self {
            Self::Add {
                place: Place { protocol, listen },
                fabric,
            } => {
                let portal = portal::Portal {
                    protocol,
                    listen,
                    fabric,
                };
                let answer = client.post("/v1/portals", &portal).await?;
                context.print_done(&answer, |made| {
                    let head =
                        format!("listening on {portal}; a Linux initiator writes to add_target:");
                    dial(made).fold(head, |text, line| format!("{text}\n{line}"))
                })
            }
            Self::List => context.print(&client.get("/v1/portals").await?, portals),
            Self::Remove(Place { protocol, listen }) => {
                let answer = client
                    .delete(&format!("/v1/portals/{protocol}/{listen}"))
                    .await?;
                context.print_done(&answer, |_| {
                    format!("not listening on {protocol} {listen} any more")
                })
            }
        }
    }
}

fn portals(answer: &Value) -> String {
    let portals = list(answer, "");
    let table = table::list(
        portals,
        &[
            ("PROTOCOL", &|portal| text(portal, "/protocol")),
            ("LISTEN", &|portal| text(portal, "/listen")),
            ("STATE", &state),
        ],
        "no portal yet: srptgt portal add srp ADDRESS:5555",
    );
    let lines: Vec<_> = portals.iter().flat_map(dial).collect();
    if lines.is_empty() {
        return table;
    }
    // Not in the table: a line that is to be copied must not be broken.
    format!(
        "{table}\na Linux initiator writes to add_target:\n{}\n",
        lines.join("\n")
    )
}

fn state(portal: &Value) -> String {
    match portal.get("text") {
        Some(_) => format!(
            "{}: {}\nnext: {}",
            text(portal, "/state"),
            text(portal, "/text"),
            text(portal, "/fix")
        ),
        None => text(portal, "/state"),
    }
}

fn dial(portal: &Value) -> impl Iterator<Item = String> {
    list(portal, "/endpoints")
        .iter()
        .map(|endpoint| text(endpoint, "/add_target"))
}
