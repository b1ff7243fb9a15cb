//! The daemon's life, with the real program and data plane: start, signals, a crash, a broken configuration.
#![allow(clippy::unwrap_used)] // What a test relies on may panic.

mod program;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use program::{Daemon, LIMIT, json, program, text, until, words};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

struct Bed {
    folder: TempDir,
}

impl Bed {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn serve(&self) -> Command {
        let mut command = self.command(&["serve"]);
        command.arg("--config").arg(self.path("srptgt.toml"));
        command.arg("--state").arg(self.path("state"));
        command.env("NOTIFY_SOCKET", self.path("notify.sock"));
        command.stdin(Stdio::null());
        command
    }

    fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    fn start_with(&self, arguments: &[&str]) -> Daemon {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let mut serve = self.serve();
        let daemon = Daemon {
            child: serve.args(arguments).stderr(log).spawn().unwrap(),
        };
        until("the daemon to answer", || {
            self.run(&["status"]).status.success().then_some(())
        });
        daemon
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(arguments);
        command.env("SRPTGT_API", self.path("api.sock"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs commands that have to succeed.
    fn configure(&self, lines: &[String]) {
        for line in lines {
            let output = self.run(&words(line));
            assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        }
    }

    fn json(&self, arguments: &[&str]) -> Value {
        json(&self.run(&[arguments, &["-o", "json"]].concat()))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }
}

fn signal(daemon: &Daemon, signal: Signal) {
    let process = Pid::from_child(&daemon.child);
    kill_process(process, signal).unwrap();
}

fn ended(daemon: &mut Daemon) -> ExitStatus {
    until("the daemon to end", || daemon.child.try_wait().unwrap())
}

#[test]
fn it_tells_the_service_manager_and_ends_in_order() {
    let bed = Bed::new();
    let notify = std::os::unix::net::UnixDatagram::bind(bed.path("notify.sock")).unwrap();
    notify.set_read_timeout(Some(LIMIT)).unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let len = notify.recv(&mut buffer).unwrap();
        text(&buffer[..len])
    };
    let mut daemon = bed.start();
    assert!(told().contains("READY=1"));
    signal(&daemon, Signal::HUP);
    assert!(told().contains("RELOADING=1"));
    assert!(told().contains("READY=1"));
    signal(&daemon, Signal::TERM);
    assert!(told().contains("STOPPING=1"));
    assert!(ended(&mut daemon).success(), "{}", bed.log());
    assert!(!bed.path("api.sock").exists());
}

#[test]
fn what_was_answered_survives_a_kill() {
    let bed = Bed::new();
    let mut daemon = bed.start();
    let image = bed.path("ds1.img");
    let add = [
        "lun",
        "add",
        "ds1",
        "--file",
        image.to_str().unwrap(),
        "--size",
        "1M",
    ];
    let added = bed.run(&add);
    assert!(added.status.success(), "{}", text(&added.stderr));
    bed.run(&["host", "add", "esx01", "--guid", "0x0002c903000e0b73"]);
    bed.run(&["map", "ds1", "--host", "esx01"]);
    let before = text(&bed.run(&["export"]).stdout);
    daemon.child.kill().unwrap();
    ended(&mut daemon);
    let _daemon = bed.start();
    assert_eq!(text(&bed.run(&["export"]).stdout), before);
    assert!(text(&bed.run(&["lun", "list"]).stdout).contains("online"));
}

#[test]
fn a_changed_file_is_taken_over_and_a_broken_one_is_not() {
    let bed = Bed::new();
    let daemon = bed.start();
    let config = bed.path("srptgt.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{good}\n[lun.scratch]\nram = \"1M\"\n")).unwrap();
    signal(&daemon, Signal::HUP);
    until("the new LUN", || {
        bed.run(&["lun", "show", "scratch"])
            .status
            .success()
            .then_some(())
    });
    std::fs::write(&config, format!("{good}\n[lun.scratch]\nram = 1\n")).unwrap();
    signal(&daemon, Signal::HUP);
    until("the refusal", || {
        bed.log().contains("srptgt.toml, line").then_some(())
    });
    assert!(bed.run(&["lun", "show", "scratch"]).status.success());
}

#[test]
fn a_second_daemon_is_refused() {
    let bed = Bed::new();
    let _daemon = bed.start();
    let second = bed.serve().output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        text(&second.stderr).contains("another srptgt daemon has"),
        "{}",
        text(&second.stderr)
    );
    assert!(
        bed.run(&["status"]).status.success(),
        "the first one goes on"
    );
}

#[test]
fn a_broken_configuration_is_refused_whole() {
    let bed = Bed::new();
    let write = |text: &str| std::fs::write(bed.path("srptgt.toml"), text).unwrap();
    write("[lun.a]\nram = \"1M\"\n\n[host.b]\nrequire = \"maybe\"\n");
    let output = bed.serve().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let file = Path::new(&bed.path("srptgt.toml")).display().to_string();
    assert!(
        said.contains(&format!("{file}, line 5: 'maybe'")) && said.contains("any, fabric"),
        "{said}"
    );
    assert!(!bed.path("api.sock").exists());
}

/// Addresses of the loopback interface that are this test's own.
const SOFT: &str = r#"
[soft]
addresses = ["127.83.7.1"]
guid = "0x02505600000000aa"

[[portal]]
protocol = "srp"
listen = "0.0.0.0:5555"
fabric = "soft"
"#;

#[test]
fn the_soft_fabric_is_as_the_configuration_says_and_flags_go_first() {
    let bed = Bed::new();
    let config = bed.path("srptgt.toml");
    std::fs::write(&config, SOFT).unwrap();
    let mut daemon = bed.start();
    assert_eq!(
        soft_ports(&bed),
        ["127.83.7.1:5555 soft_lo:1 0x02505600000000aa 0000:0000:0000:0000:0000:ffff:7f53:0701"]
    );
    let exported = text(&bed.run(&["export"]).stdout);
    let soft = "[soft]\naddresses = [\"127.83.7.1\"]\nguid = \"0x02505600000000aa\"\n";
    assert!(exported.contains(soft), "{exported}");

    let other = exported.replace("0x02505600000000aa", "0x02505600000000bb");
    std::fs::write(&config, other).unwrap();
    signal(&daemon, Signal::HUP);
    until("the refusal", || {
        let refusal = "addresses and guid cannot change while the daemon runs";
        bed.log().contains(refusal).then_some(())
    });
    signal(&daemon, Signal::TERM);
    ended(&mut daemon);

    let flags = [
        "--soft-address",
        "127.83.7.2",
        "--soft-guid",
        "02505600000000cc",
    ];
    let _daemon = bed.start_with(&flags);
    assert_eq!(
        soft_ports(&bed),
        ["127.83.7.2:5555 soft_lo:1 0x02505600000000cc 0000:0000:0000:0000:0000:ffff:7f53:0702"]
    );
    assert!(text(&bed.run(&["export"]).stdout).contains("127.83.7.1"));
}

/// Where the only portal listens, and the port there; the summary has the same.
fn soft_ports(bed: &Bed) -> Vec<String> {
    let portals = bed.json(&["portal", "list"]);
    let endpoints = portals[0]["endpoints"].as_array().unwrap();
    let ports: Vec<_> = endpoints.iter().map(|at| at["rdma_port"].clone()).collect();
    assert_eq!(bed.json(&["status"])["rdma_ports"], Value::Array(ports));
    let line = |at: &Value| {
        let port = &at["rdma_port"];
        assert_eq!(port["fabric"], "soft");
        [&at["ip"], &port["port"], &port["guid"], &port["gid"]]
            .map(|member| member.as_str().unwrap().to_owned())
            .join(" ")
    };
    endpoints.iter().map(line).collect()
}

const MARK: &str = "mark-7f3a";
const NAME: &str = "iqn.1998-01.com.vmware:esx01";

/// A login by CHAP with a secret that is right, mutual, and with one that is wrong; all is logged.
#[test]
fn nothing_that_the_daemon_says_has_a_secret() {
    let bed = Bed::new();
    std::fs::write(bed.path("right"), format!("{MARK} right\n")).unwrap();
    std::fs::write(bed.path("wrong"), format!("{MARK} wrong\n")).unwrap();
    let log = std::fs::File::create(bed.path("log")).unwrap();
    let mut serve = bed.serve();
    let mut daemon = Daemon {
        child: serve.env("RUST_LOG", "trace").stderr(log).spawn().unwrap(),
    };
    until("the daemon to answer", || {
        bed.run(&["status"]).status.success().then_some(())
    });
    let right = bed.path("right").display().to_string();
    let wrong = bed.path("wrong").display().to_string();
    bed.configure(&[
        "lun add ds1 --ram --size 1M".to_owned(),
        format!("host add esx01 --iqn {NAME} --chap-user u --chap-secret-file {right}"),
        "map ds1 --host esx01".to_owned(),
        "portal add tcp 127.83.7.3:32600".to_owned(),
    ]);
    let login = "bench --target 127.83.7.3:32600 --transport tcp --pattern read --seconds 1 --depth 1 --chap-user u --iqn";
    let knock = |secret: &str| {
        let line = format!("{login} {NAME} --chap-secret-file {secret}");
        bed.run(&words(&line))
    };
    let output = knock(&right);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!knock(&wrong).status.success());
    until("the refusal", || {
        (bed.json(&["pending"])[0]["reason"] == "chap-failed").then_some(())
    });
    let mut said = String::new();
    for line in [
        "pending",
        "status",
        "session list",
        "host show esx01",
        "export",
    ] {
        for format in ["table", "json"] {
            let output = bed.run(&[&words(line)[..], &["-o", format]].concat());
            said += &text(&output.stdout);
        }
    }
    signal(&daemon, Signal::TERM);
    ended(&mut daemon);
    let log = bed.log();
    assert!(
        log.contains("login refused") && said.contains("chap-failed"),
        "{log}"
    );
    for shown in [log, said] {
        assert!(!shown.contains(MARK), "{shown}");
    }
}

/// Who measures when the session ends hears why, whether or not a command was under way.
#[test]
fn a_session_that_is_dropped_is_named_as_the_reason() {
    let bed = Bed::new();
    let _daemon = bed.start();
    bed.configure(&[
        "lun add ds1 --ram --size 1M".to_owned(),
        format!("host add esx01 --iqn {NAME}"),
        "map ds1 --host esx01".to_owned(),
        "portal add tcp 127.83.7.4:32600".to_owned(),
    ]);
    let bench = format!(
        "bench --target 127.83.7.4:32600 --transport tcp --pattern read --seconds 600 --depth 8 --iqn {NAME}"
    );
    let mut bench = bed.command(&words(&bench));
    let bench = bench.stdout(Stdio::piped()).stderr(Stdio::piped());
    let bench = bench.spawn().unwrap();
    let reads = || bed.json(&["session", "list"])[0]["luns"][0]["reads"].as_u64();
    until("the measurement to begin", || {
        reads().filter(|reads| *reads > 100)
    });
    let id = bed.json(&["session", "list"])[0]["id"].to_string();
    assert!(bed.run(&["session", "drop", &id]).status.success());
    let output = bench.wait_with_output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("session"), "{errors}");
    assert!(!errors.contains("stands still"), "{errors}");
}
