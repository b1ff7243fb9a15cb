//! A scenario: an ordinary test whose body runs in a guest.
//!
//! On the host the call boots a guest and lets it run the same test of the same executable; there, told by an
//! environment variable, the same call runs the body. Both consoles are kept below the build folder, in
//! `scenarios/<test file>/<test name>/`, and the end of them is printed when the scenario fails. A guest that says
//! nothing has failed: passing needs the body's own word, a clean kernel log and the test's exit status.

use std::env;
use std::fs;
use std::io::Write;
use std::panic;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use testbed::{Console, Ended, Guest, Slot, kernel, last_lines};

use crate::{autopsy, kernel_log};

const MARKER: &str = "SRPTGT_SCENARIO";
/// The folder of the host that guest and host share, as the guest sees it.
const SHARED: &str = "/run/bed";
/// So long before it is killed, a guest says where everything is stuck.
const LAST_WORDS: Duration = Duration::from_secs(10);
const KERNEL_LINES_SHOWN: usize = 25;
const GUEST_LINES_SHOWN: usize = 40;

/// What a scenario needs of its guest.
#[derive(Clone, Debug)]
pub struct Options {
    /// The host ends the guest after this time. It is a bound, not a measurement: at least three times what the
    /// scenario takes beside four processes that never rest on a machine with two processors, which is about nine
    /// times what it takes alone.
    pub time_limit_s: u64,
    /// Processors; `ib_srp` opens one channel for each.
    pub cpus: u32,
    /// Memory of the guest.
    pub memory_mib: u32,
    /// More words for the kernel's command line: everything is built in, so module parameters go here.
    pub kernel_arguments: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            time_limit_s: 180,
            cpus: 2,
            memory_mib: 2048,
            kernel_arguments: Vec::new(),
        }
    }
}

/// Runs `body` in a guest; `name` is the name of the calling test, with its modules.
///
/// # Panics
///
/// The scenario failed, or the bed cannot run here; the message says which and where the logs are.
pub fn scenario(name: &str, options: Options, body: impl FnOnce()) {
    if env::var(MARKER).as_deref() == Ok(name) {
        run_body(&options, body);
    } else if let Err(report) = run_guest(name, &options) {
        panic!("{report}");
    }
}

fn run_body(options: &Options, body: impl FnOnce()) {
    let before_the_end = Duration::from_secs(options.time_limit_s).saturating_sub(LAST_WORDS);
    thread::spawn(move || {
        thread::sleep(before_the_end);
        println!("--- the time limit is near");
        autopsy::print();
    });
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        leave("panic", &format!("{panic}\n"));
        print(panic);
    }));
    body();
    leave("passed", "");
}

/// Written through to the host at once: the guest may be killed the moment its script has ended.
fn leave(file: &str, text: &str) {
    let path = Path::new(SHARED).join(file);
    let written = fs::File::options()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    if let Err(error) = written {
        eprintln!("leaving {} for the host: {error}", path.display());
    }
}

fn run_guest(name: &str, options: &Options) -> Result<(), String> {
    let executable = env::current_exe().map_err(|error| format!("finding this test: {error}"))?;
    let scenarios = build_folder(&executable).join("scenarios");
    let guest = Guest {
        kernel: kernel::require().map_err(|error| format!("{name} cannot run: {error:#}"))?,
        folder: scenarios
            .join(test_file(&executable))
            .join(name.replace("::", ".")),
        script: script(name, &executable),
        cpus: options.cpus,
        memory_mib: options.memory_mib,
        kernel_arguments: options
            .kernel_arguments
            .iter()
            .map(ToString::to_string)
            .collect(),
        time_limit: Duration::from_secs(options.time_limit_s),
        console: Console::Log,
    };
    let _slot = Slot::take(&scenarios).map_err(|error| format!("{name}: {error:#}"))?;
    let ended = guest
        .run()
        .map_err(|error| format!("{name} cannot run: {error:#}"))?;
    verdict(ended, &guest.folder, options).map_err(|reason| report(name, &reason, &guest.folder))
}

/// The folder that cargo builds into (`target/debug`): programs lie in it, test executables in its `deps`.
pub(crate) fn build_folder(executable: &Path) -> PathBuf {
    let folder = executable.parent().unwrap_or(executable);
    folder
        .parent()
        .filter(|_| folder.ends_with("deps"))
        .unwrap_or(folder)
        .to_path_buf()
}

/// The name of the test file: the executable's name without cargo's hash.
fn test_file(executable: &Path) -> String {
    let stem = executable.file_stem().unwrap_or_default().to_string_lossy();
    stem.rsplit_once('-')
        .map_or(&*stem, |(file, _)| file)
        .to_string()
}

fn script(name: &str, executable: &Path) -> String {
    format!(
        "export {MARKER}='{name}'\n\
         exec '{}' --exact '{name}' --include-ignored --nocapture --test-threads=1\n",
        executable.display()
    )
}

fn verdict(ended: Ended, folder: &Path, options: &Options) -> Result<(), String> {
    if let Ok(panic) = fs::read_to_string(folder.join("panic")) {
        return Err(panic.trim_end().to_string());
    }
    match ended {
        Ended::TimeLimit => return Err(format!("no end after {} s, killed", options.time_limit_s)),
        Ended::Died => {
            return Err("the guest went away without finishing (kernel log below)".into());
        }
        Ended::Exit(0) if folder.join("passed").exists() => {}
        Ended::Exit(0) => {
            return Err(
                "no test of that name ran in the guest: is the name given to `scenario` its own?"
                    .into(),
            );
        }
        Ended::Exit(status) => {
            return Err(format!("the test ended with status {status} and no panic"));
        }
    }
    let log = fs::read_to_string(Guest::kernel_log(folder)).map_err(|error| error.to_string())?;
    match kernel_log::faults(&log).as_slice() {
        [] => Ok(()),
        faults => Err(format!(
            "the scenario passed, but the kernel complained:\n{}",
            faults.join("\n")
        )),
    }
}

fn report(name: &str, reason: &str, folder: &Path) -> String {
    format!(
        "{name} failed in the guest: {reason}\n\n--- its output, last lines ---\n{}\n\n\
         --- its kernel's log, last lines ---\n{}\n\nAll of it: {}/{{guest,kernel}}.log",
        quoted(&last_lines(&Guest::guest_log(folder), GUEST_LINES_SHOWN)),
        quoted(&last_lines(&Guest::kernel_log(folder), KERNEL_LINES_SHOWN)),
        folder.display(),
    )
}

/// The guest's words, so marked that nobody takes its `test … ok` for one of the host.
fn quoted(text: &str) -> String {
    text.lines().map(|line| format!("| {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_filed_by_test_file_and_build_folder() {
        let executable = Path::new("/b/target/debug/deps/srp_login-0123456789abcdef");
        assert_eq!(test_file(executable), "srp_login");
        assert_eq!(build_folder(executable), Path::new("/b/target/debug"));
        assert_eq!(
            build_folder(Path::new("/b/target/debug/demo")),
            Path::new("/b/target/debug")
        );
    }

    #[test]
    fn only_the_bodys_own_word_is_a_pass() {
        let folder = tempfile::tempdir().unwrap();
        let verdict = |ended| verdict(ended, folder.path(), &Options::default());
        fs::write(Guest::kernel_log(folder.path()), "[0.1] all quiet\n").unwrap();
        assert!(
            verdict(Ended::Exit(0))
                .unwrap_err()
                .contains("no test of that name")
        );
        fs::write(folder.path().join("passed"), "").unwrap();
        verdict(Ended::Exit(0)).unwrap();
        assert!(verdict(Ended::Exit(101)).is_err());
        assert!(verdict(Ended::Died).is_err());
        assert!(verdict(Ended::TimeLimit).is_err());
    }

    #[test]
    fn a_kernel_warning_fails_a_scenario_that_passed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("passed"), "").unwrap();
        fs::write(
            Guest::kernel_log(folder.path()),
            "[1.0] WARNING: CPU: 0 PID: 9 at fs/x.c:1\n",
        )
        .unwrap();
        let reason = verdict(Ended::Exit(0), folder.path(), &Options::default()).unwrap_err();
        assert!(reason.contains("fs/x.c:1"), "{reason}");
    }

    #[test]
    fn a_panic_is_the_reason_whatever_else_happened() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("panic"), "panicked at a.rs:1:1:\nboom\n").unwrap();
        let reason = verdict(Ended::TimeLimit, folder.path(), &Options::default()).unwrap_err();
        assert_eq!(reason, "panicked at a.rs:1:1:\nboom");
        assert!(report("name", &reason, folder.path()).contains("boom"));
    }
}
