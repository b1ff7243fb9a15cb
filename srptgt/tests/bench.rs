//! Measuring and self-testing as a user runs them: against a target of their own, and against one that runs.
#![allow(clippy::unwrap_used)] // What a test relies on may panic.

mod program;

use std::fs::Permissions;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use program::{Daemon, is_empty, json, program, run_in, text, until, words};
use serde_json::Value;
use tempfile::TempDir;

const ID_EXT: &str = "0x0253525000000011";
const IOC_GUID: &str = "0x0253525000000012";
const GUID: &str = "0x0252010000de3011";
const IQN: &str = "iqn.2026-11.test.initiator:bench";
const SECRET: &str = "correct horse battery";
const OUR_SECRET: &str = "staple of the target";

#[test]
fn a_target_of_its_own_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "bench --address 127.71.0.1 --seconds 0.1";
    let output = run_in(&folder, &words(arguments));
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}{errors}");
    assert_eq!(errors, "", "no progress bar where no terminal is");
    for job in [
        "4 KiB read, depth 1 ",
        "4 KiB read, depth 32",
        "4 KiB write, depth 32",
        "1 MiB read, depth 8",
        "1 MiB write, depth 8",
    ] {
        let lines = told.lines().filter(|line| line.starts_with(job));
        let over = lines.filter_map(|line| line[job.len()..].split_whitespace().next());
        let over: Vec<&str> = over.collect();
        assert_eq!(over, ["srp", "iser", "tcp"], "{job}:\n{told}");
    }
    assert!(is_empty(&folder), "something is left behind");
}

#[test]
fn the_figures_of_several_sessions_are_json() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "bench --address 127.72.0.1 --seconds 0.2 --sessions 2 --pattern mixed --block-size 8K \
        --depth 1,16 --output json";
    let output = run_in(&folder, &words(arguments));
    let report = json(&output);
    assert_eq!(report["sessions"], 2);
    let measured = report["measured"].as_array().unwrap();
    let transports: Vec<_> = measured.iter().map(|row| &row["transport"]).collect();
    assert_eq!(transports, ["srp", "iser", "tcp", "srp", "iser", "tcp"]);
    for row in measured {
        let figure = |name: &str| {
            row[name]
                .as_f64()
                .unwrap_or_else(|| panic!("{name}: {row}"))
        };
        let ratio = figure("bytes_per_second") / figure("iops");
        assert!((ratio - 8192.0).abs() < 1e-3, "{row}");
        assert!(figure("p50_us") <= figure("p99_us"), "{row}");
        assert!(figure("p999_us") <= figure("max_us") * 1.001, "{row}");
        assert!(figure("target_cpu_us") > 0.0, "{row}");
        assert!(figure("target_system_calls") > 0.0, "{row}");
    }
    assert!(is_empty(&folder), "something is left behind");
}

#[test]
fn a_target_of_its_own_passes_every_check() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_in(&folder, &words("selftest --address 127.73.0.1"));
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}{errors}");
    assert!(
        told.contains("\n60 passed, 0 failed, 0 skipped\n"),
        "{told}"
    );
    for transport in ["srp ", "iser", "tcp "] {
        let passed = format!("PASS  {transport}  ");
        assert_eq!(told.matches(&passed).count(), 20, "{told}");
    }
    assert!(is_empty(&folder), "something is left behind");
}

#[test]
fn one_transport_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "--address 127.79.0.1 --transport tcp --output json";
    let bench = format!("bench {arguments} --seconds 0.1 --pattern read");
    let report = json(&run_in(&folder, &words(&bench)));
    let measured = report["measured"].as_array().unwrap();
    assert_eq!(measured.len(), 1);
    assert_eq!(measured[0]["transport"], "tcp");
    let report = json(&run_in(&folder, &words(&format!("selftest {arguments}"))));
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 20);
    for check in checks {
        assert_eq!(
            (&check["transport"], &check["verdict"]),
            (&"tcp".into(), &"pass".into())
        );
    }
}

#[test]
fn who_has_the_address_is_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let _other = UdpSocket::bind(("127.74.0.1", 4791)).unwrap();
    for command in ["bench", "selftest"] {
        let output = run_in(&folder, &[command, "--address", "127.74.0.1"]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("UDP port 4791 of 127.74.0.1"), "{errors}");
        assert!(errors.contains("--address 127.1.0.1"), "{errors}");
    }
    assert!(is_empty(&folder), "something is left behind");
}

/// A daemon that nobody started for this.
struct Foreign {
    _daemon: Daemon,
    _folder: TempDir,
}

impl Foreign {
    fn start(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "[target]\nid_ext = \"{ID_EXT}\"\nioc_guid = \"{IOC_GUID}\"\n\n\
             [[portal]]\nprotocol = \"srp\"\nlisten = \"{address}:5555\"\n\n\
             [[portal]]\nprotocol = \"iser\"\nlisten = \"{address}:3260\"\n\n\
             [[portal]]\nprotocol = \"tcp\"\nlisten = \"{address}:3261\"\n\n\
             [lun.ds1]\nram = \"20M\"\n\n[host.h]\nguids = [\"{GUID}\"]\n\n\
             [host.i]\niqns = [\"{IQN}\"]\n\
             chap = {{ user = \"them\", secret = \"{SECRET}\" }}\n\
             mutual_chap = {{ user = \"us\", secret = \"{OUR_SECRET}\" }}\n\n\
             [[map]]\nhost = \"i\"\nlun = \"ds1\"\nnumber = 3\n\n\
             [[map]]\nhost = \"h\"\nlun = \"ds1\"\nnumber = 3\n"
        );
        std::fs::write(path("srptgt.toml"), config).unwrap();
        // It has secrets, and is refused when others may read it.
        let owner_only = Permissions::from_mode(0o600);
        std::fs::set_permissions(path("srptgt.toml"), owner_only).unwrap();
        let serve = ["serve", "--fabric", "soft", "--no-fixed-buffers"];
        let child = program(&serve)
            .args(["--config", &path("srptgt.toml")])
            .args(["--state", &path("")])
            .args(["--api", &path("api.sock")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the daemon to answer", || {
            let status = run_in(&folder, &["status", "--api", &path("api.sock")]);
            status.status.success().then_some(())
        });
        Self {
            _daemon: Daemon { child },
            _folder: folder,
        }
    }
}

#[test]
fn a_running_target_is_written_to_only_when_that_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let _daemon = Foreign::start("127.75.0.1");
    let peer = format!(
        "--target 127.75.0.1 --fabric soft --id-ext {ID_EXT} --ioc-guid {IOC_GUID} --guid {GUID} \
         --source 127.75.0.2 --lun 3"
    );
    let run = |line: String| run_in(&folder, &words(&line));

    let bench = run(format!("bench {peer} --pattern write"));
    assert_eq!(bench.status.code(), Some(2));
    assert!(
        text(&bench.stderr).contains("add --write"),
        "{}",
        text(&bench.stderr)
    );
    let selftest = run(format!("selftest {peer}"));
    assert_eq!(selftest.status.code(), Some(2));
    assert!(
        text(&selftest.stderr).contains("--destroy-data"),
        "{}",
        text(&selftest.stderr)
    );

    let reads = run(format!("bench {peer} --seconds 0.1 --output json"));
    let rows = json(&reads)["measured"].clone();
    let names = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap());
    let names: Vec<&str> = names.collect();
    assert!(
        names.len() == 3 && names.iter().all(|name| name.contains("read")),
        "{names:?}"
    );
    assert_eq!(
        rows[0]["target_cpu_us"],
        Value::Null,
        "it is not ours to look into"
    );

    let both = run(format!("bench {peer} --seconds 0.1 --write --output json"));
    assert_eq!(json(&both)["measured"].as_array().unwrap().len(), 5);
    let selftest = run(format!("selftest {peer} --destroy-data --output json"));
    let report = json(&selftest);
    assert!(selftest.status.success(), "{report:#}");
    let skipped = report["checks"].as_array().unwrap().iter();
    let skipped: Vec<_> = skipped.filter(|check| check["verdict"] == "skip").collect();
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    assert_eq!(skipped[0]["name"], "stranger");
}

#[test]
fn a_running_target_is_found_by_discovery_and_both_sides_prove_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = tempfile::tempdir().unwrap();
    let file = |name: &str, secret: &str| {
        let path = secrets.path().join(name);
        std::fs::write(&path, secret).unwrap();
        path.display().to_string()
    };
    let (theirs, ours) = (file("theirs", SECRET), file("ours", OUR_SECRET));
    let wrong = file("wrong", "not what was agreed");
    let _daemon = Foreign::start("127.77.0.1");
    let run = |transport: &str, own: &str, target: &str| {
        let line = format!(
            "bench {transport} --iqn {IQN} --chap-user them --chap-secret-file {own} --mutual-chap-user us \
             --mutual-chap-secret-file {target} --lun 3 --seconds 0.1 --pattern read --output json"
        );
        run_in(&folder, &words(&line))
    };
    let tcp = "--transport tcp --target 127.77.0.1:3261 --sessions 2";
    let iser = "--transport iser --target 127.77.0.1 --fabric soft --source 127.77.0.2,127.77.0.3 \
                --guid 0x0252010000de3012 --sessions 2";
    for (transport, name) in [(tcp, "tcp"), (iser, "iser")] {
        let report = json(&run(transport, &theirs, &ours));
        assert_eq!(report["measured"][0]["transport"], name);
        assert_eq!(report["sessions"], 2);
    }
    for (own, target) in [(&wrong, &ours), (&theirs, &wrong)] {
        let output = run(tcp, own, target);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("the CHAP options"), "{errors}");
        assert!(!errors.contains("agreed"), "{errors}");
    }
    let stranger = "bench --transport tcp --target 127.77.0.1:3261 --pattern read";
    let errors = text(&run_in(&folder, &words(stranger)).stderr);
    assert!(
        errors.contains("srptgt:initiator") || errors.contains("--iqn"),
        "{errors}"
    );
}

#[test]
fn sessions_over_soft_need_addresses_and_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let peer = format!(
        "bench --target 127.78.0.1 --fabric soft --ioc-guid {IOC_GUID} --sessions 3 --pattern read"
    );
    for given in [
        "",
        "--source 127.78.0.2,127.78.0.3 --guid 0x0252010000de3011",
        "--source 127.78.0.2,127.78.0.3,127.78.0.4",
    ] {
        let output = run_in(&folder, &words(&format!("{peer} {given}")));
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(
            errors.contains("one GUID to go by: 3 are wanted"),
            "{errors}"
        );
        assert!(errors.contains("--guid GUID --source IP,IP"), "{errors}");
    }
}

#[test]
fn a_check_that_fails_says_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let _daemon = Foreign::start("127.76.0.1");
    // LUN 0 is mapped to nobody.
    let peer = format!(
        "selftest --target 127.76.0.1 --fabric soft --id-ext {ID_EXT} --ioc-guid {IOC_GUID} --guid {GUID} \
         --source 127.76.0.2 --destroy-data"
    );
    let output = run_in(&folder, &words(&peer));
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.starts_with("FAIL  srp   login "), "{told}");
    assert!(told.contains("LOGICAL UNIT NOT SUPPORTED"), "{told}");
    assert!(told.contains("\n0 passed, 1 failed, 0 skipped\n"), "{told}");
}
