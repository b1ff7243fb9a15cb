//! srptgt itself: the daemon as cargo built it, and its command line.
//!
//! Configuration and state live in a folder that is empty at first, in a guest in its memory, so every scenario begins
//! with a target that serves nothing.

use std::env;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::autopsy;
use crate::command::{Finished, attempt_with_input};
use crate::deadline::{until, until_true};
use crate::ib_srp::Login;
use crate::open_iscsi;
use crate::rxe::Rxe;
use crate::vm;

/// The port of RDMA-CM that the target listens on.
pub const PORT: u16 = 5555;
/// A half of the target's port identifier; a fixed one, as an administrator's initiators would know it.
pub const ID_EXT: &str = "0x5eed000000000001";
/// The other half.
pub const IOC_GUID: &str = "0x5eed000000000002";

const LIMIT_S: u64 = 30;

/// Where a daemon lives, and what it is started with.
#[derive(Clone, Debug)]
pub struct Home {
    /// What `serve --fabric` is told.
    pub fabric: &'static str,
    /// Configuration, state, socket, and on a host the log.
    pub folder: PathBuf,
    /// Its one portal.
    pub listen: SocketAddr,
    /// Whether the daemon goes with the guest; on a host it goes with its [`Srptgt`].
    pub in_guest: bool,
    /// Memory that the daemon may lock, as most users may; none leaves that as it is.
    pub memory_lock_bytes: Option<u64>,
    /// The network namespace of a guest that it lives in, if not the first.
    pub namespace: Option<String>,
}

impl Home {
    /// In a guest, on every address.
    pub fn in_guest(fabric: &'static str) -> Self {
        Self {
            fabric,
            folder: "/run/srptgt".into(),
            listen: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT),
            in_guest: true,
            memory_lock_bytes: None,
            namespace: None,
        }
    }

    /// The same in the network namespace of this device.
    #[must_use]
    pub fn beside(self, device: &Rxe) -> Self {
        Self {
            namespace: device.namespace.clone(),
            ..self
        }
    }

    /// What starts the daemon: itself, or programs that put it elsewhere or take rights from it.
    fn launcher(&self, program: &Path) -> Command {
        let mut words = Vec::new();
        if let Some(namespace) = &self.namespace {
            words.extend([
                "nsenter".to_owned(),
                format!("--net=/run/netns/{namespace}"),
            ]);
        }
        if let Some(bytes) = self.memory_lock_bytes {
            words.extend(["prlimit".to_owned(), format!("--memlock={bytes}")]);
            if rustix::process::geteuid().is_root() {
                // The limit is for those without this right, which only who has it can give up.
                let right = "-ipc_lock";
                let setpriv = ["setpriv", "--bounding-set", right, "--inh-caps", right];
                words.extend(setpriv.map(str::to_owned));
            }
        }
        words.push(program.display().to_string());
        let mut launcher = Command::new(&words[0]);
        launcher.args(&words[1..]);
        launcher
    }

    fn config_file(&self) -> PathBuf {
        self.folder.join("srptgt.toml")
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("api.sock")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("daemon.log")
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Srptgt {
    program: PathBuf,
    home: Home,
    daemon: Child,
}

impl Srptgt {
    /// Starts a daemon that listens on every address and serves nothing yet.
    ///
    /// # Panics
    ///
    /// The program is not built, or does not come up.
    pub fn start() -> Self {
        Self::start_on("verbs")
    }

    /// The same on the fabric `verbs` or `soft`.
    ///
    /// # Panics
    ///
    /// The program is not built, or does not come up.
    pub fn start_on(fabric: &'static str) -> Self {
        Self::start_at(Home::in_guest(fabric))
    }

    /// Starts a daemon that serves nothing yet.
    ///
    /// # Panics
    ///
    /// The program is not built, or does not come up.
    pub fn start_at(home: Home) -> Self {
        let program = program();
        fs::create_dir_all(&home.folder).expect("making a folder for the daemon");
        let config = format!(
            "[target]\nid_ext = \"{ID_EXT}\"\nioc_guid = \"{IOC_GUID}\"\n\n\
             [[portal]]\nprotocol = \"srp\"\nlisten = \"{}\"\n",
            home.listen
        );
        fs::write(home.config_file(), config).expect("writing the daemon's configuration");
        let daemon = serve(&program, &home);
        let srptgt = Self {
            program,
            home,
            daemon,
        };
        srptgt.wait_until_up();
        srptgt
    }

    /// Starts a daemon that serves these LUNs, numbered from 0 and named `lun0` and so on, to the host `initiator`,
    /// which is the given device. A LUN is given by its options, such as `--ram --size 16M`.
    ///
    /// # Panics
    ///
    /// The daemon does not come up, or refuses.
    #[track_caller]
    pub fn serving(initiator: &Rxe, luns: &[&str]) -> Self {
        Self::serving_on("verbs", initiator, luns)
    }

    /// The same on the fabric `verbs` or `soft`.
    ///
    /// # Panics
    ///
    /// The daemon does not come up, or refuses.
    #[track_caller]
    pub fn serving_on(fabric: &'static str, initiator: &Rxe, luns: &[&str]) -> Self {
        let srptgt = Self::start_on(fabric);
        srptgt.add_host("initiator", initiator);
        srptgt.add_luns(luns);
        srptgt
    }

    /// Starts a daemon that serves these LUNs to the host `initiator`, which is the kernel's iSCSI initiator, over TCP
    /// and iSER on every address.
    ///
    /// # Panics
    ///
    /// The daemon does not come up, or refuses.
    #[track_caller]
    pub fn serving_iscsi(home: Home, luns: &[&str]) -> Self {
        let srptgt = Self::start_at(home);
        srptgt.run(&format!(
            "host add initiator --iqn {}",
            open_iscsi::INITIATOR
        ));
        srptgt.listen_for_iscsi();
        srptgt.add_luns(luns);
        srptgt
    }

    /// Adds portals for TCP and iSER on every address.
    ///
    /// # Panics
    ///
    /// The daemon refuses.
    #[track_caller]
    pub fn listen_for_iscsi(&self) {
        for transport in open_iscsi::Transport::ALL {
            let name = transport.name();
            self.run(&format!("portal add {name} 0.0.0.0"));
        }
    }

    /// Makes these LUNs as [`Srptgt::serving`] does, and maps them to the host `initiator`.
    ///
    /// # Panics
    ///
    /// The daemon refuses.
    #[track_caller]
    pub fn add_luns(&self, luns: &[&str]) {
        for (number, options) in luns.iter().enumerate() {
            self.run(&format!("lun add lun{number} {options}"));
            self.run(&format!("map lun{number} --host initiator --lun {number}"));
        }
    }

    fn wait_until_up(&self) {
        until_true("srptgt to answer on its socket", LIMIT_S, || {
            self.attempt("status").succeeded()
        });
    }

    /// Runs a command of the command line and gives its standard output.
    ///
    /// # Panics
    ///
    /// It was refused.
    #[track_caller]
    pub fn run(&self, line: &str) -> String {
        self.attempt(line).output().trim_end().to_string()
    }

    /// As [`Srptgt::run`], with a text on standard input.
    ///
    /// # Panics
    ///
    /// It was refused.
    #[track_caller]
    pub fn run_with_input(&self, line: &str, input: &str) -> String {
        attempt_with_input(&self.line(line), input).output()
    }

    /// Runs a command of the command line; a refusal is an answer too.
    #[track_caller]
    pub fn attempt(&self, line: &str) -> Finished {
        attempt_with_input(&self.line(line), "")
    }

    /// Runs a command of the command line and reads its JSON.
    ///
    /// # Panics
    ///
    /// It was refused, or its JSON is not what the scenario expects.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self, line: &str) -> T {
        let text = self.run(&format!("{line} --output json"));
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("`srptgt {line}`: {error}\n{text}"))
    }

    /// The row of a refused login in `srptgt pending`, once it is one that is looked for: the worker tells the control plane
    /// of a refusal after it told the initiator.
    ///
    /// # Panics
    ///
    /// There is none within 30 seconds.
    #[track_caller]
    pub fn pending(&self, identity: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        until(&format!("{identity} to be pending"), 30, || {
            let rows: Vec<Value> = self.json("pending");
            rows.into_iter()
                .find(|row| row["identity"] == identity && is_it(row))
        })
    }

    /// Everything that the daemon counts.
    ///
    /// # Panics
    ///
    /// The daemon does not answer.
    #[track_caller]
    pub fn counters(&self) -> Counters {
        #[derive(Deserialize)]
        struct Status {
            counters: Counters,
        }
        let Status { counters } = self.json("status");
        counters
    }

    /// The target's iSCSI name.
    ///
    /// # Panics
    ///
    /// The daemon does not answer.
    #[track_caller]
    pub fn iqn(&self) -> String {
        #[derive(Deserialize)]
        struct Target {
            iqn: String,
        }
        let Target { iqn } = self.json("target show");
        iqn
    }

    /// Waits until every command that began has ended: a leaked task would keep the two apart for ever.
    ///
    /// # Panics
    ///
    /// They do not meet.
    #[track_caller]
    pub fn wait_until_idle(&self) {
        until_true("every command to be answered or aborted", LIMIT_S, || {
            let counters = self.counters();
            counters.commands_started == counters.commands_finished
        });
    }

    /// Lists a host under a name by what `ibstat` prints about its device.
    ///
    /// # Panics
    ///
    /// The daemon refuses.
    #[track_caller]
    pub fn add_host(&self, name: &str, device: &Rxe) {
        self.run_with_input(&format!("host add {name} --ibstat -"), &device.ibstat());
    }

    /// A login from `initiator` to the target's address `address`.
    pub fn login(&self, initiator: &Rxe, address: impl Into<IpAddr>) -> Login {
        let address = SocketAddr::new(address.into(), PORT);
        Login::new(initiator, address, ID_EXT, IOC_GUID)
    }

    /// The daemon's process.
    pub fn process(&self) -> u32 {
        self.daemon.id()
    }

    /// Ends the daemon as a power failure would: no farewell to anyone.
    ///
    /// # Panics
    ///
    /// There is no daemon.
    pub fn kill(&mut self) {
        println!("$ kill -9 {}", self.daemon.id());
        self.daemon.kill().expect("killing the daemon");
        self.daemon.wait().expect("waiting for the daemon");
    }

    /// Ends the daemon in order, by SIGTERM.
    ///
    /// # Panics
    ///
    /// It does not end, or not in order.
    #[track_caller]
    pub fn terminate(&mut self) {
        crate::command::run(&format!("kill -TERM {}", self.daemon.id()));
        let status = until("the daemon to end", LIMIT_S, || {
            self.daemon.try_wait().expect("waiting for the daemon")
        });
        assert!(status.success(), "the daemon ended with {status}");
    }

    /// Whether the daemon that was started last has not ended.
    ///
    /// # Panics
    ///
    /// Nobody can say.
    pub fn is_running(&mut self) -> bool {
        let ended = self.daemon.try_wait().expect("the daemon's state");
        ended.is_none()
    }

    /// Starts the daemon again, on the configuration that it left.
    ///
    /// # Panics
    ///
    /// It does not come up.
    pub fn start_again(&mut self) {
        self.daemon = serve(&self.program, &self.home);
        self.wait_until_up();
    }

    /// Memory that the daemon holds in RAM.
    ///
    /// # Panics
    ///
    /// There is no daemon.
    #[track_caller]
    pub fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.daemon.id());
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        kib.unwrap_or_else(|| panic!("{path} has no VmRSS:\n{status}"))
    }

    /// The descriptors that the daemon has open.
    ///
    /// # Panics
    ///
    /// There is no daemon.
    #[track_caller]
    pub fn descriptors(&self) -> Vec<u64> {
        let path = format!("/proc/{}/fd", self.daemon.id());
        let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// Processor time in milliseconds that the daemon has used.
    ///
    /// # Panics
    ///
    /// There is no daemon.
    #[track_caller]
    pub fn cpu_ms(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.daemon.id());
        let stat = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        // The program's name may have spaces; user and system time are fields 14 and 15, in ticks.
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let ticks = |field: usize| {
            fields
                .get(field - 3)
                .and_then(|text| text.parse::<u64>().ok())
        };
        let ticks = ticks(14).zip(ticks(15)).map(|(user, system)| user + system);
        let ticks = ticks.unwrap_or_else(|| panic!("{path} has no times: {stat}"));
        // Linux counts 100 of them in a second.
        ticks * 10
    }

    /// What it has logged so far; in a guest that goes to the transcript.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.log()).unwrap_or_else(|error| error.to_string())
    }

    fn line(&self, line: &str) -> String {
        let socket = self.home.socket();
        format!(
            "{} {line} --api {}",
            self.program.display(),
            socket.display()
        )
    }
}

impl Drop for Srptgt {
    fn drop(&mut self) {
        // A scenario that fails says what became of the daemon: often that is the answer.
        if thread::panicking() {
            println!("the daemon: {:?}", self.daemon.try_wait());
            match self.home.in_guest {
                true => autopsy::print(),
                false => println!("--- its log\n{}", self.log()),
            }
        }
        if !self.home.in_guest {
            // It may have ended by itself; then there is nothing to end.
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
    }
}

/// Counters of the daemon.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Counters {
    /// Connections that were let in.
    pub logins_accepted: u64,
    /// Connections that ended because the peer broke the protocol.
    pub protocol_errors: u64,
    /// Connections that ended because the peer was silent.
    pub peers_silent: u64,
    /// Commands that arrived.
    pub commands_started: u64,
    /// Commands that were answered or aborted.
    pub commands_finished: u64,
    /// Of these, aborted.
    pub commands_aborted: u64,
    /// Bytes taken from initiators.
    pub written_bytes: u64,
    /// Task management functions that were answered.
    pub task_management: u64,
    /// Packets that came over the soft fabric.
    #[serde(default)]
    pub packets_received: u64,
    /// Packets that were sent over it.
    #[serde(default)]
    pub packets_sent: u64,
    /// Packets over the soft fabric that were damaged, forged or for nobody.
    #[serde(default)]
    pub packets_refused: u64,
    /// Times that a queue pair of the soft fabric began again at its oldest packet.
    #[serde(default)]
    pub packet_retries: u64,
    /// Buffer memory in use now.
    pub pool_used_bytes: u64,
}

/// The program lies where cargo puts it, beside the folder of the test executables.
///
/// # Panics
///
/// It is not built.
pub fn program() -> PathBuf {
    let executable = env::current_exe().expect("a test has an executable");
    let program = vm::build_folder(&executable).join("srptgt");
    assert!(
        program.exists(),
        "{} is missing: run `cargo build -p srptgt` first (`make test` does)",
        program.display()
    );
    program
}

fn serve(program: &Path, home: &Home) -> Child {
    let mut command = home.launcher(program);
    command.args(["serve", "--fabric", home.fabric, "--config"]);
    command.arg(home.config_file()).arg("--state");
    command.arg(&home.folder).arg("--api").arg(home.socket());
    command.stdin(Stdio::null());
    match home.in_guest {
        // Its log belongs to the transcript.
        true => command.stderr(io::stdout()),
        false => command.stderr(log(home)),
    };
    println!("$ {command:?} &");
    command
        .spawn()
        .unwrap_or_else(|error| panic!("starting {}: {error}", program.display()))
}

fn log(home: &Home) -> fs::File {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(home.log());
    log.unwrap_or_else(|error| panic!("{}: {error}", home.log().display()))
}
