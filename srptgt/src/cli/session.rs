//! `srptgt session`.

use clap::Subcommand;
use serde_json::Value;

use super::cell::{age, bytes, list, number, text};
use super::{Context, Outcome, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Session {
    /// List sessions
    List,
    /// Show one session, with the traffic of each LUN
    Show {
        /// Its number in `session list`
        id: u64,
    },
    /// End a session; the initiator may come again
    Drop {
        /// Its number in `session list`
        id: u64,
    },
}

impl Session {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let client = &context.client;
        match self {
            Self::List => context.print(&client.get("/v1/sessions").await?, sessions),
            Self::Show { id } => {
                context.print(&client.get(&format!("/v1/sessions/{id}")).await?, session)
            }
            Self::Drop { id } => {
                let answer = client.delete(&format!("/v1/sessions/{id}")).await?;
                context.print_done(&answer, |_| {
                    format!("session {id} has ended; its initiator may come again")
                })
            }
        }
    }
}

fn sum(session: &Value, pointer: &str) -> u64 {
    list(session, "/luns")
        .iter()
        .fold(0, |sum, lun| sum.saturating_add(number(lun, pointer)))
}

fn rounded(bytes: u64) -> String {
    crate::config::ByteSize(bytes).rounded()
}

fn sessions(answer: &Value) -> String {
    table::list(
        list(answer, ""),
        &[
            ("ID", &|session| text(session, "/id")),
            ("HOST", &|session| text(session, "/host")),
            ("TRANSPORT", &|session| text(session, "/transport")),
            ("IDENTITY", &|session| text(session, "/identity")),
            ("VOUCHED", &|session| text(session, "/vouched")),
            ("PORTAL", &|session| text(session, "/login/portal/listen")),
            ("READ", &|session| rounded(sum(session, "/read_bytes"))),
            ("WRITTEN", &|session| {
                rounded(sum(session, "/written_bytes"))
            }),
            ("SINCE", &|session| age(session, "/since_unix_ms")),
        ],
        "nobody is in; srptgt pending shows who was refused, srptgt portal list what to dial",
    )
}

fn session(session: &Value) -> String {
    let given = |name, pointer| match text(session, pointer) {
        nothing if nothing == "-" => None,
        something => Some((name, something)),
    };
    let identity = format!(
        "{} ({})",
        text(session, "/identity"),
        text(session, "/vouched")
    );
    let portal = ["/login/portal/protocol", "/login/portal/listen"];
    let always = [
        ("id", text(session, "/id")),
        ("host", text(session, "/host")),
        ("transport", text(session, "/transport")),
        ("identity", identity),
        ("portal", portal.map(|part| text(session, part)).join(" ")),
    ];
    // What a transport does not have is not shown.
    let shown = [
        given("our port", "/login/local"),
        given("link layer", "/login/link_layer"),
        given("source GID", "/login/source_gid"),
        given("address", "/login/address"),
        given("initiator port id", "/login/initiator_port_id"),
        given("initiator name", "/login/initiator_name"),
        given("ISID", "/login/isid"),
    ];
    let since = ("since", age(session, "/since_unix_ms"));
    let rows = always.into_iter().chain(shown.into_iter().flatten());
    let head = table::pairs(rows.chain([since]));
    let channels = table::list(
        list(session, "/channels"),
        &[
            ("QUEUE PAIR", &|channel| text(channel, "/queue_pair")),
            ("IN FLIGHT", &|channel| text(channel, "/in_flight")),
            ("REQUEST LIMIT", &|channel| text(channel, "/request_limit")),
            ("LONGEST REQUEST", &|channel| {
                bytes(channel, "/max_it_iu_bytes")
            }),
            ("IMMEDIATE DATA", &|channel| {
                text(channel, "/immediate_data")
            }),
        ],
        "no channel",
    );
    format!("{head}\n{channels}\n{}", traffic(session))
}

fn traffic(session: &Value) -> String {
    table::list(
        list(session, "/luns"),
        &[
            ("LUN", &|lun| {
                format!("{} {}", text(lun, "/number"), text(lun, "/lun"))
            }),
            ("READS", &|lun| text(lun, "/reads")),
            ("WRITES", &|lun| text(lun, "/writes")),
            ("READ", &|lun| bytes(lun, "/read_bytes")),
            ("WRITTEN", &|lun| bytes(lun, "/written_bytes")),
            ("ERRORS", &|lun| text(lun, "/errors")),
            ("P50", &|lun| micros(lun, "/latency/p50_us")),
            ("P99", &|lun| micros(lun, "/latency/p99_us")),
            ("P99.9", &|lun| micros(lun, "/latency/p999_us")),
            ("MAX", &|lun| micros(lun, "/latency/max_us")),
        ],
        "no LUN is mapped to this host: srptgt map LUN --host HOST",
    )
}

fn micros(lun: &Value, pointer: &str) -> String {
    match number(lun, pointer) {
        0 => "-".to_owned(),
        us if us < 10_000 => format!("{us} µs"),
        us => format!("{} ms", us / 1000),
    }
}
