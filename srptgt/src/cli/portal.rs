//! `srptgt portal`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::portal::{self, FabricKind, Listen, Protocol};

use super::cell::{list, text};
use super::{Context, Failure, Outcome, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Portal {
    /// Listen: srp ADDRESS:PORT for RDMA-CM, srp DEVICE:PORT for native InfiniBand, iser or tcp ADDRESS[:PORT]
    Add {
        #[command(flatten)]
        place: Place,
        /// What carries srp or iser [default: what the daemon was started with]
        #[arg(
            long,
            value_enum,
            value_name = "verbs|soft",
            hide_possible_values = true
        )]
        fabric: Option<FabricKind>,
    },
    /// List portals, with what an initiator dials
    List,
    /// Show one portal, with the lines that an initiator types
    Show(Place),
    /// Listen there no more; sessions stay
    Remove(Place),
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// srp, iser or tcp
    protocol: Protocol,
    /// 10.0.0.1:5555, [fd00::1]:5555 or, for srp, mlx4_0:1; iser and tcp have port 3260 when none is given, and
    /// 0.0.0.0 is every address
    listen: String,
}

impl Place {
    fn parse(&self) -> Result<(Protocol, Listen), Failure> {
        let listen = self.protocol.listen(&self.listen).map_err(|error| {
            Failure::Usage(error.to_string(), "srptgt portal add --help".to_owned())
        })?;
        Ok((self.protocol, listen))
    }

    fn path(&self) -> Result<String, Failure> {
        let (protocol, listen) = self.parse()?;
        Ok(format!("/v1/portals/{protocol}/{listen}"))
    }
}

impl Portal {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let client = &context.client;
        match self {
            Self::Add { place, fabric } => {
                let (protocol, listen) = place.parse()?;
                let portal = portal::Portal {
                    protocol,
                    listen,
                    fabric,
                };
                let answer = client.post("/v1/portals", &portal).await?;
                context.print_done(&answer, |made| {
                    let head = format!("listening on {portal}; {}", types(protocol));
                    typed(made).fold(head, |text, line| format!("{text}\n{line}"))
                })
            }
            Self::List => context.print(&client.get("/v1/portals").await?, portals),
            Self::Show(place) => {
                let answer = client.get(&place.path()?).await?;
                context.print(&answer, |portal| show(portal, place.protocol))
            }
            Self::Remove(place) => {
                let (protocol, listen) = place.parse()?;
                let answer = client.delete(&place.path()?).await?;
                context.print_done(&answer, |_| {
                    format!("not listening on {protocol} {listen} any more")
                })
            }
        }
    }
}

/// What a Linux initiator does with the lines of a portal.
fn types(protocol: Protocol) -> &'static str {
    match protocol.is_iscsi() {
        true => "a Linux initiator types:",
        false => "a Linux initiator writes to add_target:",
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
        "no portal yet: srptgt portal add srp ADDRESS:5555, iser ADDRESS or tcp ADDRESS",
    );
    // Not in the table: a line that is to be copied must not be broken.
    let srp = section(types(Protocol::Srp), portals, "/add_target", |_| {
        String::new()
    });
    let iscsi = section("an iSCSI initiator dials:", portals, "/dial", |portal| {
        format!("{:<5}", text(portal, "/protocol"))
    });
    format!("{table}{srp}{iscsi}{}", ports(portals))
}

/// The RDMA ports that the portals are reached at; nothing without one.
fn ports(portals: &[Value]) -> String {
    let of_portal = |portal: &Value| {
        let endpoints = list(portal, "/endpoints").iter();
        let at_port = endpoints.filter(|endpoint| endpoint.get("rdma_port").is_some());
        let rows = at_port.map(|endpoint| json!({ "portal": portal, "endpoint": endpoint }));
        rows.collect::<Vec<_>>()
    };
    let rows: Vec<_> = portals.iter().flat_map(of_portal).collect();
    if rows.is_empty() {
        return String::new();
    }
    let table = table::list(
        &rows,
        &[
            ("RDMA PORT", &|row| text(row, "/endpoint/rdma_port/port")),
            ("FABRIC", &|row| text(row, "/endpoint/rdma_port/fabric")),
            ("PORT GUID", &|row| text(row, "/endpoint/rdma_port/guid")),
            ("GID", &|row| text(row, "/endpoint/rdma_port/gid")),
            ("LISTENS ON", &|row| {
                let address = row
                    .pointer("/endpoint/ip")
                    .or(row.pointer("/portal/listen"));
                let address = address.and_then(Value::as_str).unwrap_or_default();
                format!("{} {address}", text(row, "/portal/protocol"))
            }),
        ],
        "",
    );
    format!("\n{table}")
}

/// A head and a line for each endpoint that has this member; nothing without one.
fn section(
    head: &str,
    portals: &[Value],
    pointer: &str,
    prefix: impl Fn(&Value) -> String,
) -> String {
    let lines = portals.iter().flat_map(|portal| {
        let endpoints = list(portal, "/endpoints").iter();
        let lines = endpoints.filter_map(|endpoint| endpoint.pointer(pointer)?.as_str());
        lines.map(|line| format!("{}{line}\n", prefix(portal)))
    });
    let lines: String = lines.collect();
    if lines.is_empty() {
        lines
    } else {
        format!("\n{head}\n{lines}")
    }
}

fn show(portal: &Value, protocol: Protocol) -> String {
    let head = table::pairs([
        ("protocol", text(portal, "/protocol")),
        ("listen", text(portal, "/listen")),
        ("state", state(portal)),
    ]);
    let lines: Vec<_> = typed(portal).collect();
    let lines = match lines.is_empty() {
        true => String::new(),
        false => format!("\n{}\n{}\n", types(protocol), lines.join("\n")),
    };
    format!("{head}{lines}{}", ports(std::slice::from_ref(portal)))
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

/// The lines that an initiator types to reach a portal.
fn typed(portal: &Value) -> impl Iterator<Item = String> {
    const LINES: [&str; 3] = ["/add_target", "/iscsiadm/discovery", "/iscsiadm/login"];
    let endpoints = list(portal, "/endpoints").iter();
    endpoints.flat_map(|endpoint| {
        LINES
            .iter()
            .filter_map(|pointer| endpoint.pointer(pointer)?.as_str().map(str::to_owned))
    })
}
