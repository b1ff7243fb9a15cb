//! `srptgt status`.

use serde_json::Value;

use super::cell::{age, bytes, list, number, text};
use super::{Context, Outcome, table};

pub(crate) async fn run(context: &Context) -> Outcome {
    context.print(&context.client.get("/v1/status").await?, status)
}

fn status(status: &Value) -> String {
    let of = |up: &str, all: &str, word: &str| {
        format!("{} of {} {word}", text(status, up), text(status, all))
    };
    let mut shown = table::pairs([
        (
            "srptgt",
            format!(
                "{}, process {}, up {}",
                text(status, "/version"),
                text(status, "/process"),
                age(status, "/since_unix_ms")
            ),
        ),
        (
            "target",
            format!(
                "id_ext {}, ioc_guid {}",
                text(status, "/target/id_ext"),
                text(status, "/target/ioc_guid")
            ),
        ),
        ("iSCSI name", text(status, "/target/iqn")),
        ("configuration", text(status, "/config")),
        ("portals", of("/portals_listening", "/portals", "listening")),
        ("RDMA ports", rdma_ports(status)),
        (
            "LUNs",
            format!(
                "{}, {}",
                of("/luns_online", "/luns", "online"),
                bytes(status, "/lun_bytes")
            ),
        ),
        (
            "hosts",
            format!("{}, {} maps", text(status, "/hosts"), text(status, "/maps")),
        ),
        (
            "sessions",
            format!(
                "{} now, {} logins, {} refused, {} fell silent, {} broke the protocol",
                text(status, "/sessions"),
                text(status, "/counters/logins_accepted"),
                text(status, "/counters/logins_refused"),
                text(status, "/counters/peers_silent"),
                text(status, "/counters/protocol_errors")
            ),
        ),
        ("commands", commands(status)),
        (
            "traffic",
            format!(
                "{} read, {} written",
                bytes(status, "/counters/read_bytes"),
                bytes(status, "/counters/written_bytes")
            ),
        ),
        (
            "buffers",
            format!(
                "{} of {} in use",
                bytes(status, "/counters/pool_used_bytes"),
                bytes(status, "/counters/pool_bytes")
            ),
        ),
    ]);
    for problem in list(status, "/problems") {
        shown.push_str(&format!(
            "\n! {}\n  next: {}\n",
            text(problem, "/text"),
            text(problem, "/fix")
        ));
    }
    shown
}

/// A line for each port and GID.
fn rdma_ports(status: &Value) -> String {
    let ports = list(status, "/rdma_ports").iter().map(|port| {
        format!(
            "{} ({}), port GUID {}, GID {}",
            text(port, "/port"),
            text(port, "/fabric"),
            text(port, "/guid"),
            text(port, "/gid")
        )
    });
    match ports.collect::<Vec<_>>().join("\n") {
        lines if lines.is_empty() => "-".to_owned(),
        lines => lines,
    }
}

fn commands(status: &Value) -> String {
    let started = number(status, "/counters/commands_started");
    let running = started.saturating_sub(number(status, "/counters/commands_finished"));
    format!(
        "{started} so far, {running} running, {} failed, {} aborted",
        text(status, "/counters/commands_failed"),
        text(status, "/counters/commands_aborted")
    )
}
