//! The daemon's life, with the real program and data plane: start, signals, a crash, a broken configuration.
#![allow(clippy::unwrap_used)] // What a test relies on may panic.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);

struct Daemon {
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begin.elapsed() < LIMIT, "waited {LIMIT:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

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
        command
            .env("NOTIFY_SOCKET", self.path("notify.sock"))
            .env_remove("RUST_LOG");
        command.stdin(Stdio::null());
        command
    }

    fn start(&self) -> Daemon {
        let log = std::fs::File::create(self.path("log")).unwrap();
        let daemon = Daemon {
            child: self.serve().stderr(log).spawn().unwrap(),
        };
        until("the daemon to answer", || {
            self.run(&["status"]).status.success().then_some(())
        });
        daemon
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_srptgt"));
        command
            .args(arguments)
            .env("SRPTGT_API", self.path("api.sock"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
