//! One guest: QEMU that counts instructions instead of time, with the host's file system as the guest's root.
//!
//! With `-icount shift=0,sleep=off` the guest's clock goes on by one nanosecond per instruction of its one
//! processor, so what fio calls a microsecond are a thousand instructions of initiator, soft RDMA and target
//! together, however busy the host is. `idle=poll` keeps the clock at that pace: an idle processor would be sent to
//! its next timer at once, and while the guest waits for a file of the host hours would pass.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::kernel::Kernel;
use crate::repository::{output_of, run};

const INIT: &str = include_str!("../../../bench/init.sh");
const POLL: Duration = Duration::from_millis(200);
const QEMU: &str = "qemu-system-x86_64";

/// A guest to be booted.
pub(super) struct Guest<'a> {
    pub(super) kernel: &'a Kernel,
    /// The folder that host and guest share; the guest runs the script `run` in it.
    pub(super) folder: &'a Path,
    /// After this time the guest is killed.
    pub(super) time_limit: Duration,
}

impl Guest<'_> {
    /// Boots the guest and waits for the end of its script, whose new lines go to `show` as they come.
    pub(super) fn run(&self, mut show: impl FnMut(&str)) -> Result<()> {
        let initramfs = self.initramfs().context("making the guest's initramfs")?;
        let mut running = Running(self.command(&initramfs).spawn().context("starting QEMU")?);
        let deadline = Instant::now() + self.time_limit;
        let mut shown = 0;
        loop {
            let over = running.0.try_wait()?.is_some();
            shown += self.show_new_lines(shown, &mut show)?;
            if over {
                return self.script_status();
            }
            if Instant::now() >= deadline {
                bail!(
                    "no end after {} minutes; the guest was killed. See {}",
                    self.time_limit.as_secs() / 60,
                    self.folder.display()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// The first process, the program that it is written in, and the modules that reach the host's file system.
    fn initramfs(&self) -> Result<PathBuf> {
        let tree = self.folder.join("initramfs.d");
        fs::create_dir_all(tree.join("bin"))?;
        fs::create_dir_all(tree.join("modules"))?;
        fs::copy(busybox()?, tree.join("bin/busybox"))?;
        fs::write(tree.join("init"), INIT)?;
        fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
        for (place, module) in self.kernel.boot_modules()?.iter().enumerate() {
            // The first process loads them in the order of their names.
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            fs::copy(module, tree.join(format!("modules/{place:02}-{name}")))?;
        }
        let archive = self.folder.join("initramfs");
        let mut pack = Command::new("sh");
        pack.args(["-c", "find . | busybox cpio -o -H newc 2>/dev/null"])
            .current_dir(&tree)
            .stdout(File::create(&archive)?);
        run(pack)?;
        fs::remove_dir_all(&tree)?;
        Ok(archive)
    }

    fn command(&self, initramfs: &Path) -> Command {
        // The guest dies with the thread that waits for it, so an interrupted run leaves none behind.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", QEMU])
            .args(["-machine", "q35", "-cpu", "max", "-smp", "1", "-m", "2048"])
            .args(["-accel", "tcg,thread=single"])
            .args(["-icount", "shift=0,sleep=off"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-serial")
            .arg(format!("file:{}", option(&self.folder.join("console"))))
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", "console=ttyS0 loglevel=4 panic=-1 idle=poll"]);
        for (path, tag, access) in [
            (Path::new("/"), "host", ",readonly=on,multidevs=remap"),
            (&self.kernel.modules, "modules", ",readonly=on"),
            (self.folder, "bed", ""),
        ] {
            let path = option(path);
            command.arg("-virtfs").arg(format!(
                "local,path={path},mount_tag={tag},security_model=none{access}"
            ));
        }
        command.stdin(Stdio::null());
        command
    }

    fn show_new_lines(&self, shown: usize, show: &mut impl FnMut(&str)) -> Result<usize> {
        let log = read_if_there(&self.folder.join("log"))?;
        // The last line may be half written.
        let whole = &log[..log.rfind('\n').map_or(0, |end| end + 1)];
        let new: Vec<&str> = whole.lines().skip(shown).collect();
        new.iter().for_each(|line| show(line));
        Ok(new.len())
    }

    fn script_status(&self) -> Result<()> {
        let status = read_if_there(&self.folder.join("exit"))?;
        ensure!(
            status.trim() == "0",
            "the guest's script ended with status {:?}; see log, dmesg and console in {}",
            status.trim(),
            self.folder.display()
        );
        Ok(())
    }
}

/// The version of the emulator; figures of two versions may differ.
pub(super) fn qemu_version() -> Result<String> {
    let mut command = Command::new(QEMU);
    command.arg("--version");
    let text = output_of(command)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Ends the guest on every way out of [`Guest::run`].
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Who is gone already cannot be killed, and nothing else can go wrong here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// QEMU splits its options at commas; a doubled one stands for itself.
fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

fn busybox() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("busybox"));
    found
        .into_iter()
        .find(|file| file.is_file())
        .context("busybox is not in PATH (package busybox-static)")
}

fn read_if_there(path: &Path) -> Result<String> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_a_path_reach_qemu() {
        assert_eq!(option(Path::new("/a,b/c")), "/a,,b/c");
    }
}
