//! One guest: its folder on the host, its command line, its life and its end.
//!
//! The folder is the only thing the two sides share. The host puts `init` and `run` there, the guest answers with
//! `exit` (and whatever else the script leaves); `kernel.log` and `guest.log` are the guest's two consoles, written
//! by the host's kernel, so they are complete however the guest ends. User-Mode Linux's own exit status says
//! nothing about the script and is not looked at.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, setrlimit};

const INIT: &str = include_str!("../init.sh");
const POLL: Duration = Duration::from_millis(20);
/// How long a guest whose script has ended may take to power off; a session without its target can hang there.
const POWER_OFF: Duration = Duration::from_secs(3);

/// A guest to be booted.
#[derive(Debug)]
pub struct Guest {
    /// The kernel, a program of the host: see [`crate::kernel::require`].
    pub kernel: PathBuf,
    /// The folder of this run; what an earlier run left there is removed.
    pub folder: PathBuf,
    /// A `/bin/sh` script that runs in the guest as root.
    pub script: String,
    /// Processors of the guest, 1 to 4.
    pub cpus: u32,
    /// Memory of the guest; the host spends only what the guest touches.
    pub memory_mib: u32,
    /// More words for the kernel's command line, such as `ib_srp.use_imm_data=0`.
    pub kernel_arguments: Vec<String>,
    /// After this time the guest is killed.
    pub time_limit: Duration,
    /// Where the script's output goes.
    pub console: Console,
}

/// Where the script reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Output to `guest.log` in the guest's folder, nothing to read.
    Log,
    /// The caller's own output, nothing to read.
    Output,
    /// The caller's terminal, both ways.
    Terminal,
}

/// How a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The script ended with this exit status.
    Exit(i32),
    /// The time limit passed; the guest was killed.
    TimeLimit,
    /// The guest went away before its script ended: it panicked or never booted.
    Died,
}

impl Guest {
    /// The guest's kernel messages.
    pub fn kernel_log(folder: &Path) -> PathBuf {
        folder.join("kernel.log")
    }

    /// The script's output, when it goes to [`Console::Log`].
    pub fn guest_log(folder: &Path) -> PathBuf {
        folder.join("guest.log")
    }

    /// Boots the guest, waits until its script or its time has ended, and leaves no process behind.
    ///
    /// # Errors
    ///
    /// The folder cannot be prepared, no place for the guest's memory was found, or the kernel cannot be started.
    pub fn run(&self) -> Result<Ended> {
        self.prepare_folder()
            .with_context(|| format!("preparing {}", self.folder.display()))?;
        raise_open_file_limit()?;
        let umid = tempfile::tempdir().context("creating the guest's control folder")?;
        let mut running = Running(self.command(umid.path())?.spawn().with_context(|| {
            format!(
                "starting {} through setpriv (package util-linux)",
                self.kernel.display()
            )
        })?);
        self.wait(&mut running.0)
    }

    fn prepare_folder(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&self.folder)?,
        }
        fs::write(self.folder.join("init"), INIT)?;
        fs::write(self.folder.join("run"), &self.script)
    }

    fn command(&self, umid: &Path) -> Result<Command> {
        let folder = plain_word(&self.folder)?;
        // The guest dies with the thread that waits for it, so an interrupted test run leaves none behind.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.kernel)
            .args([
                format!("mem={}M", self.memory_mib),
                format!("ncpus={}", self.cpus),
            ])
            .args([
                "root=none",
                "rootfstype=hostfs",
                "rootflags=/",
                "ro",
                "seccomp=on",
                // Scenarios look for what the kernel said long ago.
                "log_buf_len=4M",
            ])
            .args([
                format!("uml_dir={}/", plain_word(umid)?),
                "umid=guest".into(),
            ])
            .args(self.consoles())
            .args(&self.kernel_arguments)
            .args(["init=/bin/busybox".into(), format!("BED={folder}")])
            .args(["--".into(), "sh".into(), format!("{folder}/init")])
            .env("TMPDIR", memory_folder(self.memory_mib)?)
            .env_remove("TMP")
            .env_remove("TEMP")
            .stderr(File::create(Self::kernel_log(&self.folder))?)
            .process_group(0);
        match self.console {
            Console::Log => command
                .stdin(Stdio::null())
                .stdout(File::create(Self::guest_log(&self.folder))?),
            Console::Output => command.stdin(Stdio::null()),
            Console::Terminal => &mut command,
        };
        Ok(command)
    }

    /// The script's console is the first, the kernel's the second.
    fn consoles(&self) -> [&'static str; 4] {
        let script = match self.console {
            Console::Log | Console::Output => "con0=null,fd:1",
            Console::Terminal => "con0=fd:0,fd:1",
        };
        ["con=null", script, "con1=null,fd:2", "console=tty1"]
    }

    fn wait(&self, guest: &mut Child) -> Result<Ended> {
        let deadline = Instant::now() + self.time_limit;
        let mut power_off = None;
        loop {
            let over = guest.try_wait().context("waiting for the guest")?.is_some();
            if let Some(status) = self.exit_status()? {
                let power_off = *power_off.get_or_insert_with(|| Instant::now() + POWER_OFF);
                if over || Instant::now() >= power_off {
                    return Ok(Ended::Exit(status));
                }
            } else if over {
                return Ok(Ended::Died);
            } else if Instant::now() >= deadline {
                return Ok(Ended::TimeLimit);
            }
            thread::sleep(POLL);
        }
    }

    fn exit_status(&self) -> Result<Option<i32>> {
        let path = self.folder.join("exit");
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
            Ok(text) => {
                let status = text.trim().parse();
                Ok(Some(status.with_context(|| {
                    format!("{}: {text:?}", path.display())
                })?))
            }
        }
    }
}

/// Ends the guest and all its helper processes on every way out of [`Guest::run`].
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Whoever is gone already cannot be killed, and nothing else can go wrong here.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

/// The kernel's command line is split at spaces, and the mount option that carries the folder at commas.
fn plain_word(path: &Path) -> Result<&str> {
    match path.to_str() {
        Some(word) if path.is_absolute() && !word.contains([' ', ',', '"', '\n', '\t']) => Ok(word),
        _ => bail!(
            "the guest can only use an absolute folder without spaces, commas and quotes, not {path:?}; \
             move the build folder (CARGO_TARGET_DIR) or TMPDIR"
        ),
    }
}

/// hostfs keeps one descriptor per file that the guest has in its cache: with the usual limit of 1,024 a guest dies
/// while it copies a tree of 2,000 files.
fn raise_open_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raising the limit of open files (ulimit -n)")
}

/// The guest maps its memory from an unlinked file, executable; on a tmpfs it costs no disk writes.
fn memory_folder(memory_mib: u32) -> Result<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let places = [
        Some(PathBuf::from("/dev/shm")),
        runtime,
        Some(PathBuf::from("/tmp")),
    ];
    places.into_iter().flatten().find(|place| can_hold(place, memory_mib)).with_context(|| {
        format!(
            "no place for {memory_mib} MiB of guest memory: /dev/shm, $XDG_RUNTIME_DIR and /tmp are all too full \
             or mounted noexec; try `mount -o remount,exec,size=4G /dev/shm`"
        )
    })
}

fn can_hold(place: &Path, memory_mib: u32) -> bool {
    let Ok(stat) = statvfs(place) else {
        return false;
    };
    let free_mib = stat.f_bavail.saturating_mul(stat.f_frsize) >> 20;
    !stat.f_flag.contains(StatVfsMountFlags::NOEXEC) && free_mib >= u64::from(memory_mib)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(folder: &Path, script: &str) -> Guest {
        Guest {
            kernel: crate::kernel::require().unwrap(),
            folder: folder.join("guest"),
            script: script.into(),
            cpus: 1,
            memory_mib: 256,
            kernel_arguments: Vec::new(),
            time_limit: Duration::from_secs(60),
            console: Console::Log,
        }
    }

    #[test]
    fn the_exit_status_is_the_scripts_and_its_output_is_kept_apart_from_the_kernels() {
        let folder = tempfile::tempdir().unwrap();
        let guest = guest(
            folder.path(),
            "echo from the script; echo to the kernel > /dev/kmsg; exit 7",
        );
        assert_eq!(guest.run().unwrap(), Ended::Exit(7));
        let output = fs::read_to_string(Guest::guest_log(&guest.folder)).unwrap();
        assert_eq!(output, "from the script\n");
        let kernel = fs::read_to_string(Guest::kernel_log(&guest.folder)).unwrap();
        assert!(
            kernel.contains("to the kernel") && !kernel.contains("from the script"),
            "{kernel}"
        );
    }

    #[test]
    fn a_guest_that_hangs_is_killed_with_all_its_processes() {
        let folder = tempfile::tempdir().unwrap();
        let mut guest = guest(folder.path(), "echo begun; sleep 1000");
        guest.time_limit = Duration::from_secs(3);
        assert_eq!(guest.run().unwrap(), Ended::TimeLimit);
        assert_eq!(
            fs::read_to_string(Guest::guest_log(&guest.folder)).unwrap(),
            "begun\n"
        );
        assert!(
            !processes().contains(guest.folder.to_str().unwrap()),
            "a process stayed behind"
        );
    }

    #[test]
    fn a_guest_that_goes_away_before_its_script_ended_has_died() {
        let folder = tempfile::tempdir().unwrap();
        let guest = guest(folder.path(), "busybox poweroff -f");
        assert_eq!(guest.run().unwrap(), Ended::Died);
    }

    #[test]
    fn the_hosts_files_are_seen_and_never_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "host").unwrap();
        let path = file.display();
        let guest = guest(
            folder.path(),
            &format!("grep -q host {path} && echo guest > {path} && grep -q guest {path}"),
        );
        assert_eq!(guest.run().unwrap(), Ended::Exit(0));
        assert_eq!(fs::read_to_string(&file).unwrap(), "host");
    }

    #[test]
    fn a_folder_with_a_space_is_refused() {
        assert!(plain_word(Path::new("/a b")).is_err());
        assert!(plain_word(Path::new("relative")).is_err());
    }

    fn processes() -> String {
        let list = Command::new("ps").args(["-eo", "args"]).output().unwrap();
        String::from_utf8_lossy(&list.stdout).into_owned()
    }
}
