//! The demonstration as a user runs it: the whole story is told, nothing is left behind, and who is in its way is named.
#![allow(clippy::unwrap_used)] // What a test relies on may panic.

mod program;

use std::net::{TcpListener, UdpSocket};
use std::process::Output;

use program::{is_empty, run_in, text};
use serde_json::Value;
use tempfile::TempDir;

/// Runs it with its temporary files in `folder`.
fn demo(folder: &TempDir, arguments: &[&str]) -> Output {
    run_in(
        folder,
        &[&["demo", "--measure-ms", "100"], arguments].concat(),
    )
}

#[test]
fn the_story_is_told_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&folder, &["--address", "127.61.0.1"]);
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}{errors}");
    assert_eq!(errors, "", "no progress bar where no terminal is");
    let mut rest = told.as_str();
    for next in [
        "serving    LUN ds1, a file of 64 MiB",
        "srp   127.61.0.1:5555\n",
        "iser  127.61.0.1:3260\n",
        "tcp   127.61.0.1:",
        "--guid 0x0252010000de3001 --iqn iqn.2026-11.io.srptgt:esx01",
        "esx01 from 127.61.0.2 over srp ",
        "esx01 from 127.61.0.3 over iser ",
        "esx01 from 127.61.0.3 over tcp ",
        "0x0252020000de3002 over srp from 127.61.0.4 is refused",
        "login rejected, reason",
        "0x0252020000de3002  refused once",
        "next: srptgt allow 0x0252020000de3002 --as",
        "srptgt allow 0x0252020000de3002 --as esx02",
        "esx02 sees the same 64 MiB",
        "64 MiB written by esx01 over srp",
        "read back by esx01 over iser and tcp, and by esx02 over srp",
        "4 KiB read, depth 1 ",
        " iser ",
        " tcp ",
        "4 KiB read, depth 32",
        "4 KiB write, depth 32",
        "1 MiB read, depth 8",
        " iser ",
        " tcp ",
        "Every byte verified",
    ] {
        let found = rest.find(next);
        assert!(
            found.is_some(),
            "{next:?} is not told, or not in its place:\n{told}"
        );
        rest = &rest[found.unwrap() + next.len()..];
    }
    assert!(is_empty(&folder), "something is left behind");
}

#[test]
fn the_report_is_json_for_who_asks() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&folder, &["--address", "127.62.0.1", "--output", "json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["verified_bytes"], 64 << 20);
    assert_eq!(report["pending"][0]["identity"], "0x0252020000de3002");
    let measured = report["measured"].as_array().unwrap();
    assert_eq!(measured.len(), 12);
    for (row, transport) in measured.iter().zip(["srp", "iser", "tcp"].iter().cycle()) {
        assert_eq!(row["transport"], *transport);
        let figure = |name: &str| row[name].as_f64().unwrap();
        assert!(
            figure("iops") > 0.0 && figure("bytes_per_second") > 0.0,
            "{row}"
        );
        assert!(figure("p50_us") > 0.0, "{row}");
        assert!(figure("p50_us") <= figure("p99_us"), "{row}");
        assert!(figure("p99_us") <= figure("p999_us"), "{row}");
    }
}

#[test]
fn who_has_the_port_is_in_the_way_of_each() {
    // A network of its own for each: a child that another test is about to start may hold the last socket a moment longer.
    for host in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let taken = format!("127.63.{host}.{host}");
        let _other = UdpSocket::bind((taken.as_str(), 4791)).unwrap();
        let output = demo(&folder, &["--address", &format!("127.63.{host}.1")]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(
            errors.contains(&format!("UDP port 4791 of {taken}")),
            "{errors}"
        );
        assert!(errors.contains("srptgt demo --address"), "{errors}");
        assert!(is_empty(&folder), "something is left behind");
    }
}

#[test]
fn who_has_the_port_of_iscsi_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    // Where it is taken already, so much the better.
    let _other = TcpListener::bind(("0.0.0.0", 3260));
    let output = demo(&folder, &["--address", "127.64.0.1", "--output", "json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn addresses_of_others_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for address in ["10.0.0.1", "127.255.255.254"] {
        let output = demo(&folder, &["--address", address]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("127.0.0.0/8"));
    }
}
