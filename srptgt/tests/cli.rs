//! The command line as people see it: what it prints and how it exits, against a control plane with a fake worker.
//!
//! The transcripts are in `tests/cli/`; `SNAPSHOTS=overwrite cargo test -p srptgt --test cli` writes them anew.
#![allow(clippy::unwrap_used)] // What a test relies on may panic.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use snapbox::{Assert, Data, Redactions};
use srptgt::access::Refused;
use srptgt::portal::Protocol;
use support::Bed;

fn transcript(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cli")
        .join(name)
}

/// Lines are `$ srptgt …`, what it printed, and `? N` when it did not exit with 0.
async fn play(bed: &Bed, name: &str, lines: &[&str]) {
    let mut played = String::new();
    for line in lines {
        let (line, input) = line.split_once(" < ").unwrap_or((line, ""));
        let output = run(bed, line, input).await;
        let code = output.status.code().unwrap_or(-1);
        let shown = if input.is_empty() {
            line.to_owned()
        } else {
            format!("{line} < {input}")
        };
        played += &format!("$ srptgt {shown}\n");
        played += &String::from_utf8_lossy(&output.stdout);
        played += &String::from_utf8_lossy(&output.stderr);
        played += &if code == 0 {
            String::new()
        } else {
            format!("? {code}\n")
        };
        played += "\n";
    }
    compare(bed, name, played);
}

/// What differs from run to run has a name in the transcripts.
fn compare(bed: &Bed, name: &str, played: String) {
    // A slow machine takes its seconds.
    let played = (1..60).fold(played, |played, age| {
        played.replace(&format!(" {age} s"), " 0 s")
    });
    // Not a redaction: any number may be that of a process.
    let process = format!("process {}", std::process::id());
    let played = played.replace(&process, "process [PROCESS]");
    let mut redactions = Redactions::new();
    let target = bed.control.target();
    let folder = bed.folder.path().display().to_string();
    redactions.insert("[FOLDER]", folder).unwrap();
    redactions
        .insert("[IDEXT]", format!("{:016x}", target.id_ext.value()))
        .unwrap();
    redactions
        .insert("[IOCGUID]", format!("{:016x}", target.ioc_guid.value()))
        .unwrap();
    redactions
        .insert("[VERSION]", env!("CARGO_PKG_VERSION"))
        .unwrap();
    Assert::new()
        .action_env("SNAPSHOTS")
        .redact_with(redactions)
        .eq(played, Data::read_from(&transcript(name), None));
}

async fn run(bed: &Bed, line: &str, input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_srptgt"));
    command
        .args(line.split_whitespace())
        .current_dir(bed.folder.path())
        .env("SRPTGT_API", bed.folder.path().join("api.sock"))
        .env("COLUMNS", "120")
        .env_remove("RUST_LOG")
        .stdin(match input {
            "" => Stdio::null(),
            file => std::fs::File::open(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("testdata")
                    .join(file),
            )
            .unwrap()
            .into(),
        });
    // The daemon runs in this thread's runtime.
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn the_way_of_a_user() {
    let bed = Bed::new().await;
    let naa = "--naa naa.60253520000000000000000000000001";
    bed.told().sessions = vec![support::session(7)];
    play(
        &bed,
        "user.txt",
        &[
            "lun list",
            "host list",
            "portal list",
            &format!("lun add ds1 --file ds1.img --size 64M {naa}"),
            "lun add scratch --ram --size 1M --block-size 4096 --write-cache on --serial S2 --naa naa.60253520000000000000000000000002",
            "host add esx01 --ibstat - < ibstat-connectx2-two-ports.txt",
            "host add esx02",
            "map ds1 --host esx01",
            "map scratch --host esx01 --lun 7 --read-only",
            "portal add srp 10.99.0.1:5555",
            "portal add srp mlx4_0:1",
            "lun list",
            "lun show ds1",
            "host list",
            "host show esx01",
            "portal list",
            "session list",
            "session show 7",
            "session drop 7",
            "lun set ds1 --read-only on",
            "lun resize ds1 128M",
            "host set esx01 --address 10.99.0.0/24 --pkey 0x8001 --port mlx4_0:1 --require fabric",
            "host set esx01 --address none --pkey none --port none --require any --remove-guid 0002:c903:000e:0b74",
            "export",
            "unmap scratch --host esx01",
            "portal remove srp 10.99.0.1:5555",
            "host remove esx02",
            "lun remove ds1 --force",
            "status",
        ],
    )
    .await;
}

#[tokio::test]
async fn who_was_refused_and_the_command_that_admits_them() {
    let bed = Bed::new().await;
    bed.refuse(0x0002_c903_000e_0b73).await;
    play(
        &bed,
        "pending.txt",
        &[
            "pending",
            "allow 0x0002c903000e0b72 --as esx01",
            "pending",
            "allow 0x0002c903000e0b73 --as esx01",
            "pending",
            "host show esx01 --output json",
        ],
    )
    .await;
}

const NAME: &str = "iqn.1993-08.org.debian:01:1ec01ae32adf";

/// Files for secrets.
fn write_secrets(bed: &Bed) {
    for (file, secret) in [
        ("secret", "first secret of a test\n"),
        ("mutual-secret", "second secret of a test\n"),
        ("short-secret", "elevenbytes\n"),
    ] {
        std::fs::write(bed.folder.path().join(file), secret).unwrap();
    }
}

#[tokio::test]
async fn the_way_of_an_iscsi_user() {
    let bed = Bed::new().await;
    write_secrets(&bed);
    bed.told().sessions = vec![
        support::session(7),
        support::iscsi_session(8, Protocol::Iser, NAME),
        support::iscsi_session(9, Protocol::Tcp, NAME),
    ];
    play(
        &bed,
        "iscsi.txt",
        &[
            "target show",
            "portal add tcp 10.99.0.1",
            "portal add iser 0.0.0.0",
            "portal list",
            "portal show iser 0.0.0.0",
            "portal list -o json",
            &format!("host add pve01 --iqn {}", NAME.to_ascii_uppercase()),
            "host set pve01 --guid 0x0002c903000e0b73 --chap-user pve01 --chap-secret-file secret",
            "host set pve01 --mutual-chap-user tank --mutual-chap-secret-file mutual-secret",
            "host list",
            "host show pve01",
            "session list",
            "session show 8",
            "session show 9",
            "export",
            "host set pve01 --no-chap",
            "target set --iqn iqn.2001-04.com.example:tank --alias tank",
            "status",
            "portal remove tcp 10.99.0.1",
        ],
    )
    .await;
}

#[tokio::test]
async fn which_iscsi_names_were_refused_and_the_command_that_admits_them() {
    let bed = Bed::new().await;
    write_secrets(&bed);
    bed.refuse_iscsi(NAME).await;
    let own = bed.control.target_names().iscsi.target_name;
    let first = play_iscsi_pending(&bed, own.as_str()).await;
    play(
        &bed,
        "pending-iscsi.txt",
        &first.each_ref().map(String::as_str),
    )
    .await;
}

/// Beside the first: its own name, a name that is none, a near miss, and a wrong secret.
async fn play_iscsi_pending(bed: &Bed, own: &str) -> [String; 6] {
    let near = "iqn.1998-01.com.vmware:esx01-4f2c9a10";
    run(bed, &format!("host add esx01 --iqn {near}"), "").await;
    bed.refuse_iscsi(own).await;
    bed.refuse_iscsi("esx02").await;
    bed.refuse_iscsi(&format!("{near}0")).await;
    let chap = "host add esx03 --iqn iqn.1998-01.com.vmware:esx03 --chap-user esx03 --chap-secret-file secret";
    run(bed, chap, "").await;
    let login = support::iscsi_login(Protocol::Iser, "iqn.1998-01.com.vmware:esx03", None);
    let why = Refused::chap_failed("esx03", "esx03", "the response does not match its secret");
    bed.refuse_with(login, why).await;
    [
        "pending".to_owned(),
        format!("allow {} --as pve01", NAME.replace("adf", "ade")),
        format!("allow {NAME} --as pve01"),
        format!("allow {near}0 --as esx01"),
        "pending".to_owned(),
        "host list".to_owned(),
    ]
}

#[tokio::test]
async fn what_is_wrong_about_iscsi_is_said_with_the_next_step() {
    let bed = Bed::new().await;
    write_secrets(&bed);
    run(&bed, &format!("host add pve01 --iqn {NAME}"), "").await;
    let own = bed.control.target_names().iscsi.target_name;
    play(
        &bed,
        "errors-iscsi.txt",
        &[
            "host add pve02 --iqn pve02",
            "host add pve02 --iqn iqn.com.example:pve02",
            "host add pve02 --iqn iqn.2001-04.com.example:pve/02",
            "host add pve02 --iqn eui.12",
            &format!("host add pve02 --iqn {NAME}"),
            &format!("host add pve02 --iqn {own}"),
            "host set pve01 --remove-iqn iqn.2001-04.com.example:other",
            "host set pve01 --chap-user pve01",
            "host set pve01 --chap-user pve01 --chap-secret-file missing",
            "host set pve01 --chap-user pve01 --chap-secret-file short-secret",
            "host set pve01 --mutual-chap-user tank --mutual-chap-secret-file secret",
            "host set pve01 --chap-user u --chap-secret-file secret --mutual-chap-user t --mutual-chap-secret-file secret",
            "host set pve01 --chap-user u --chap-secret-file secret --no-chap",
            "allow iqn.2001-04 --as pve02",
            "portal add iser mlx4_0:1",
            "portal add tcp 10.0.0.1:0",
            "portal add tcp 10.0.0.1 --fabric soft",
            "portal show tcp 10.0.0.1",
            "target set",
            "target set --iqn tank",
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_said_with_the_next_step() {
    let bed = Bed::new().await;
    run(&bed, "lun add ds1 --ram --size 1M", "").await;
    run(&bed, "host add esx01 --guid 0x0002c903000e0b73", "").await;
    run(&bed, "map ds1 --host esx01", "").await;
    play(
        &bed,
        "errors.txt",
        &[
            "lun add",
            "lun add ds1 --ram --size 1M",
            "lun add ds2 --ram",
            "lun add ds2 --ram --file x --size 1M",
            "lun add ds2 --ram --size lots",
            "lun add ds2 --ram --size 1000",
            "lun add ds2 --file missing.img",
            "lun add -- -x --ram --size 1M",
            "lun show ds9",
            "lun set ds1",
            "lun resize ds1 512K",
            "lun remove ds1",
            "host add esx02 --guid 0x12",
            "host add esx02 --guid fe80::202:c903:e:b73",
            "host add esx02 --guid 0002:c903:000e:0b73",
            "host add esx02 --ibstat missing.txt",
            "host show esx09",
            "host remove esx01",
            "map ds1 --host esx01",
            "map ds1 --host esx01 --lun 256",
            "map ds9 --host esx01",
            "unmap ds1 --host esx09",
            "portal add srp 10.99.0.1",
            "portal add nvme 10.99.0.1:5555",
            "portal remove srp 10.99.0.9:5555",
            "session show 99",
            "session drop x",
            "allow 0x0002c903000e0b73 --as esx02",
            "--api nowhere.sock status",
            "rxe up no-such-netdev",
            "serve --config srptgt.toml --state state --api api.sock",
            "bench --target 10.99.0.1",
            "bench --target 10.99.0.1 --transport tcp --fabric soft",
            "bench --target 10.99.0.1 --transport iser --ioc-guid 0x0002c903000e0b72",
            "bench --target 10.99.0.1 --ioc-guid 0x0002c903000e0b72 --iqn iqn.2001-04.com.example:x",
            "bench --target 10.99.0.1 --transport tcp --chap-user x",
            "bench --target 10.99.0.1 --transport tcp --chap-user x --chap-secret-file missing.txt --pattern read",
            "bench --target 10.99.0.1 --transport nvme",
            "bench --target 10.99.0.1 --ioc-guid 0x0002c903000e0b72 --fabric soft --sessions 2 --source 10.99.0.2",
            "bench --target 127.0.0.1:1 --transport tcp --pattern read",
            "bench --target nowhere --ioc-guid 0x0002c903000e0b72",
            "bench --target 10.99.0.1 --ioc-guid 0x0002c903000e0b72 --pattern mixed",
            "bench --block-size 1000",
            "bench --depth 0",
            "bench --address 10.99.0.1",
            "selftest --target 10.99.0.1 --ioc-guid 0x0002c903000e0b72 --lun 3",
            "selftest --skip nothing",
        ],
    )
    .await;
}

#[tokio::test]
async fn help() {
    let bed = Bed::new().await;
    play(
        &bed,
        "help.txt",
        &[
            "--help",
            "serve --help",
            "bench --help",
            "selftest --help",
            "lun add --help",
            "lun set --help",
            "lun resize --help",
            "host add --help",
            "host set --help",
            "map --help",
            "portal add --help",
            "target set --help",
            "export --help",
            "session --help",
            "allow --help",
            "rxe up --help",
            "doctor --help",
        ],
    )
    .await;
}

#[tokio::test]
async fn json_is_what_the_api_answers() {
    let bed = Bed::new().await;
    run(&bed, "lun add ds1 --ram --size 1M", "").await;
    for (line, path) in [
        ("lun list", "/v1/luns"),
        ("lun show ds1", "/v1/luns/ds1"),
        ("export", "/v1/config"),
        ("portal list", "/v1/portals"),
    ] {
        let output = run(&bed, &format!("{line} --output json"), "").await;
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(printed, bed.client.get(path).await.unwrap(), "{line}");
    }
}

#[tokio::test]
async fn tables_keep_to_the_width_of_the_terminal() {
    let bed = Bed::new().await;
    run(
        &bed,
        &format!("lun add ds1 --file {}.img --size 1M", "x".repeat(100)),
        "",
    )
    .await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_srptgt"));
    command
        .args(["lun", "list"])
        .env("COLUMNS", "60")
        .env("SRPTGT_API", bed.folder.path().join("api.sock"));
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.lines().count() > 3 && text.lines().all(|line| line.chars().count() <= 60),
        "{text}"
    );
}

#[tokio::test]
async fn completions_and_manual_pages_are_made() {
    let bed = Bed::new().await;
    for (line, part) in [
        ("completions bash", "complete -F _srptgt"),
        ("completions zsh", "#compdef srptgt"),
        ("completions fish", "complete -c srptgt"),
        ("man", ".TH srptgt 1"),
    ] {
        let output = run(&bed, line, "").await;
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(part),
            "{line}"
        );
    }
    run(&bed, "man --dir pages", "").await;
    let pages = bed.folder.path().join("pages");
    for page in ["srptgt.1", "srptgt-lun-add.1", "srptgt-session-show.1"] {
        assert!(pages.join(page).exists(), "{page}");
    }
}

#[tokio::test]
async fn doctor_says_by_its_exit_status_what_its_findings_say() {
    let bed = Bed::new().await;
    let output = run(&bed, "doctor --config srptgt.toml --output json", "").await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let missing = findings.iter().any(|finding| finding["level"] == "missing");
    assert_eq!(output.status.code(), Some(i32::from(missing)), "{report:#}");
    let daemon = findings
        .iter()
        .find(|finding| finding["check"] == "daemon")
        .unwrap();
    assert_eq!(daemon["level"], "good");
    let unfixed = findings
        .iter()
        .filter(|finding| finding["level"] != "good" && finding["fix"].is_null());
    assert_eq!(unfixed.count(), 0, "{report:#}");
}
