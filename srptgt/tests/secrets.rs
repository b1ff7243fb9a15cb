//! No output of anything tells a CHAP secret, but the configuration file and `export --secrets`.
#![allow(clippy::unwrap_used)] // What a test relies on may panic.

mod support;

use std::io::Write;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use srptgt::access::Refused;
use srptgt::portal::Protocol;
use support::{Bed, iscsi_login, iscsi_session};
use tracing_subscriber::filter::LevelFilter;

const NAME: &str = "iqn.1998-01.com.vmware:esx01-4f2c9a10";
/// Each contains the mark; parts of a secret would be found too.
const SECRETS: [&str; 2] = ["mark-7f3a first", "mark-7f3a second"];
const MARK: &str = "mark-7f3a";

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn run(bed: &Bed, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_srptgt"));
    command
        .args(line.split_whitespace())
        .current_dir(bed.folder.path())
        .env("SRPTGT_API", bed.folder.path().join("api.sock"))
        .env("RUST_LOG", "trace");
    // The daemon runs in this thread's runtime.
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn no_output_tells_a_secret() {
    let log = Log::default();
    let sink = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || sink.clone())
        .init();
    let bed = Bed::new().await;
    for (file, secret) in [("first", SECRETS[0]), ("second", SECRETS[1])] {
        std::fs::write(bed.folder.path().join(file), format!("{secret}\n")).unwrap();
    }
    std::fs::write(bed.folder.path().join("bad"), "mark-7f3a").unwrap();
    std::fs::write(bed.folder.path().join("worse"), "mark-7f3a \u{7} control").unwrap();
    let login = iscsi_login(Protocol::Tcp, NAME, None);
    bed.told().sessions = vec![iscsi_session(7, Protocol::Tcp, NAME)];
    let set = format!(
        "host add esx01 --iqn {NAME} --chap-user u --chap-secret-file first --mutual-chap-user t \
         --mutual-chap-secret-file second"
    );
    let output = run(&bed, &set).await;
    assert!(output.status.success(), "{}", said(&output));
    let why = Refused::chap_failed("esx01", "u", "the response does not match its secret");
    bed.refuse_with(login, why).await;

    let lines = [
        "host list",
        "host show esx01",
        "host set esx01 --chap-secret-file first",
        "host set esx01 --chap-secret-file bad",
        "host set esx01 --chap-secret-file worse",
        "host set esx01 --mutual-chap-secret-file first",
        "host set esx01 --chap-user u --chap-secret-file first --no-chap",
        "host add esx01 --chap-user u --chap-secret-file first",
        "lun add ds1 --ram --size 1M",
        "map ds1 --host esx01",
        "portal add tcp 10.99.0.1",
        "portal list",
        "session list",
        "session show 7",
        "pending",
        "target show",
        "status",
        "export",
        "doctor --config srptgt.toml",
    ];
    for line in lines {
        for format in ["table", "json"] {
            let output = run(&bed, &format!("{line} --output {format}")).await;
            assert!(!said(&output).contains(MARK), "{line}: {}", said(&output));
        }
    }
    for path in [
        "status",
        "config",
        "config.toml",
        "hosts",
        "pending",
        "target",
    ] {
        let text = bed.client.text(&format!("/v1/{path}")).await.unwrap();
        assert!(!text.contains(MARK), "{path}: {text}");
    }
    let broken = bed.config_text().replace("user =", "usr =");
    assert_ne!(broken, bed.config_text());
    std::fs::write(bed.config_path(), broken).unwrap();
    let fault = bed.control.reload().await.unwrap_err();
    let unclosed = bed.config_text().replace("first\"", "first");
    std::fs::write(bed.config_path(), unclosed).unwrap();
    let syntax = bed.control.reload().await.unwrap_err();
    for shown in [
        format!("{fault:?}{fault}{syntax:?}{syntax}"),
        format!("{:?}", bed.control),
        format!("{:?}", bed.told().access),
    ] {
        assert!(!shown.contains(MARK), "{shown}");
    }
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("the configuration has changed"), "it logs");
    assert!(!logged.contains(MARK), "{logged}");
}

#[tokio::test]
async fn the_file_and_an_export_that_asks_for_them_have_them() {
    let bed = Bed::new().await;
    std::fs::write(bed.folder.path().join("first"), SECRETS[0]).unwrap();
    let add = format!("host add esx01 --iqn {NAME} --chap-user u --chap-secret-file first");
    assert!(run(&bed, &add).await.status.success());
    for line in ["export --secrets", "export --secrets -o json"] {
        assert!(said(&run(&bed, line).await).contains(SECRETS[0]), "{line}");
    }
    assert!(bed.config_text().contains(SECRETS[0]));
}

#[tokio::test]
async fn standard_input_gives_one_secret_for_each_line() {
    let bed = Bed::new().await;
    let both = bed.folder.path().join("both");
    std::fs::write(&both, SECRETS.map(|secret| format!("{secret}\n")).concat()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_srptgt"));
    command
        .args([
            "host",
            "add",
            "esx01",
            "--chap-user",
            "u",
            "--mutual-chap-user",
            "t",
        ])
        .args(["--chap-secret-file", "-", "--mutual-chap-secret-file", "-"])
        .env("SRPTGT_API", bed.folder.path().join("api.sock"))
        .stdin(std::fs::File::open(both).unwrap());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let host = bed.told().access.hosts()[0].clone();
    let chap = host.chap.as_ref().unwrap();
    let given = [&chap.initiator, chap.target.as_ref().unwrap()];
    assert_eq!(given.map(|account| account.secret.expose()), SECRETS);
}
