//! `cargo xtask bench`: srptgt beside the kernel's own target, in instructions; and its soft fabric, in time.
//!
//! One boot of one guest runs the same jobs against LIO, srptgt and LIO again, over SRP and then over iSER; the two LIO
//! rounds show how well the setup repeats. What the guest does is in `bench/*.sh`; this room boots it ([`guest`], [`kernel`]), says what to
//! run ([`jobs`]) and turns what it left behind into a table ([`figures`], [`results`], [`table`]). Beside it the user
//! instructions of the pure path are counted on the host ([`pure_path`]), and SRP over the soft fabric is measured
//! there ([`native`]), and iSCSI over TCP beside another target in user space ([`iscsi`]).

mod figures;
mod guest;
mod iscsi;
mod jobs;
mod kept;
mod kernel;
mod native;
mod pure_path;
mod readme;
mod results;
mod syscalls;
mod table;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::repository::{self, output_of, run};
use guest::Guest;
use iscsi::{Iscsi, Programs};
use jobs::Transport;
use kept::Kept;
use kernel::Kernel;
use native::Native;
use pure_path::PurePath;
use results::{Results, Rounds};

#[derive(Args)]
pub(crate) struct Bench {
    /// Put the table into README.md, between its markers
    #[arg(long)]
    update_readme: bool,
    /// Run nothing, show the results of the last whole run
    #[arg(long)]
    last: bool,
    /// A tenth of the I/Os, for work on the benchmark itself; the results are not kept as the latest
    #[arg(long, conflicts_with_all = ["update_readme", "last"])]
    quick: bool,
    /// Only the kernel's target, twice: how well the setup repeats; not kept as the latest either
    #[arg(long, conflicts_with_all = ["update_readme", "last"])]
    baseline: bool,
    /// Only over this transport, against the kernel's target for it; not kept as the latest either
    #[arg(long, value_enum, conflicts_with_all = ["update_readme", "last"])]
    transport: Option<Transport>,
    /// Only what is counted in instructions, in the guest and on the pure path; the rest stays as it was kept
    #[arg(long, conflicts_with_all = ["last", "native", "tcp", "pure_path"])]
    instructions: bool,
    /// Only what runs natively: the pure path, SRP over the soft fabric and iSCSI over TCP on loopback; the rest stays as
    /// it was kept
    #[arg(long, conflicts_with_all = ["last", "quick", "baseline", "transport"])]
    native: bool,
    /// Of that, only iSCSI over TCP
    #[arg(long, conflicts_with_all = ["last", "quick", "baseline", "transport", "native"])]
    tcp: bool,
    /// Of that, only the pure path
    #[arg(long, conflicts_with_all = ["last", "quick", "baseline", "transport", "native", "tcp"])]
    pure_path: bool,
    /// Fetch a newer kernel for the guest first
    #[arg(long, conflicts_with = "last")]
    update_kernel: bool,
}

/// The guest's scripts; `run` is the one that it starts.
const SCRIPTS: [(&str, &str); 5] = [
    ("run", include_str!("../../bench/run.sh")),
    ("srp.sh", include_str!("../../bench/srp.sh")),
    ("iser.sh", include_str!("../../bench/iser.sh")),
    ("lio.sh", include_str!("../../bench/lio.sh")),
    ("srptgt.sh", include_str!("../../bench/srptgt.sh")),
];
/// Packages beside those of the test bed.
const PACKAGES: [&str; 3] = ["qemu-system-x86", "strace", "valgrind"];
/// The guest needs a few minutes of a processor, which a busy machine does not give at once.
const TIME_LIMIT: Duration = Duration::from_secs(90 * 60);
const ADDRESS: &str = "10.99.0.1";
/// What the iSCSI initiator calls itself.
const INITIATOR: &str = "iqn.2026-11.bench.initiator:guest";

/// What is measured, and when. Keeping results changes files of the repository, so this is asked once, before any are kept.
struct Subject {
    /// When the run began.
    date: String,
    /// The commit of this repository, with `-dirty` when files were changed.
    commit: String,
}

impl Subject {
    fn here() -> Result<Self> {
        let describe = ["describe", "--always", "--dirty", "--exclude=*"];
        let commit = output_of(repository::command("git", &describe))?;
        Ok(Self {
            date: now()?,
            commit: commit.trim().to_owned(),
        })
    }
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        let subject = Subject::here()?;
        let results = match self.last || self.native || self.tcp || self.pure_path {
            true => Results::latest()?,
            false => self.measure(&subject)?,
        };
        if !(self.last || self.is_partial()) {
            self.measure_natively(&subject)?;
        }
        let table = table::markdown(
            &results,
            PurePath::kept()?.as_ref(),
            Native::kept()?.as_ref(),
            Iscsi::kept()?.as_ref(),
        );
        if !self.is_partial() {
            keep_table(&table)?;
        }
        println!("\n{table}");
        if self.update_readme {
            readme::update(&table)?;
            println!("bench: README.md has this table now");
        }
        Ok(())
    }

    fn measure(&self, subject: &Subject) -> Result<Results> {
        ensure!(
            cfg!(target_arch = "x86_64"),
            "the guest is x86-64 and runs this machine's programs: the benchmark needs an x86-64 machine"
        );
        repository::install_packages(&PACKAGES)?;
        let kernel = Kernel::ensure(self.update_kernel)?;
        let folder = output_folder()?.join(&subject.date);
        self.prepare(&folder)
            .with_context(|| format!("preparing {}", folder.display()))?;
        println!(
            "bench: {} under QEMU, raw results in {}",
            kernel.package,
            folder.display()
        );
        let guest = Guest {
            kernel: &kernel,
            folder: &folder,
            time_limit: TIME_LIMIT,
        };
        guest.run(|line| println!("{line}"))?;
        let results = Results::read(
            &folder,
            self.transports(),
            subject,
            &kernel.package,
            guest::qemu_version()?,
        )?;
        results.write(&folder.join("results.json"))?;
        // What can be made again need not be kept with the raw results.
        fs::remove_file(folder.join("initramfs"))?;
        if !self.is_partial() {
            keep(&results)?;
        }
        Ok(results)
    }

    fn measure_natively(&self, subject: &Subject) -> Result<()> {
        repository::install_packages(&PACKAGES)?;
        let folder = output_folder()?.join(&subject.date);
        if !self.tcp {
            let folder = folder.join("pure-path");
            PurePath::measure(&build("bench")?, &folder, subject)?.keep()?;
        }
        if self.pure_path || self.instructions {
            return Ok(());
        }
        let srptgt = build("srptgt")?;
        if !self.tcp {
            Native::measure(&srptgt, subject)?.keep()?;
        }
        let programs = Programs {
            srptgt,
            idle_sessions: build_example("initiator", "idle_sessions")?,
        };
        Iscsi::measure(&programs, &folder.join("iscsi"), subject)?.keep()
    }

    /// Fills the folder that the guest works in.
    fn prepare(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        for (name, text) in SCRIPTS {
            fs::write(folder.join(name), text)?;
        }
        let divisor = if self.quick { 10 } else { 1 };
        fs::write(folder.join("jobs-plain"), jobs::list(divisor))?;
        // strace makes every system call many times slower.
        fs::write(folder.join("jobs-traced"), jobs::traced_list(divisor * 4))?;
        fs::write(folder.join("plan"), self.plan())?;
        fs::write(
            folder.join("parameters"),
            format!(
                "address={ADDRESS}\ninitiator={INITIATOR}\nramdisk_mib={}\n",
                jobs::RAMDISK_MIB
            ),
        )?;
        if !self.baseline {
            fs::copy(build("srptgt")?, folder.join("srptgt"))?;
        }
        Ok(())
    }

    /// Whether the results are not those that the README's table comes from.
    fn is_partial(&self) -> bool {
        self.quick || self.baseline || self.transport.is_some()
    }

    fn transports(&self) -> &[Transport] {
        match &self.transport {
            Some(transport) => std::slice::from_ref(transport),
            None => &Transport::ALL,
        }
    }

    /// The rounds: name, transport, peer and mode.
    fn plan(&self) -> String {
        let transports = self.transports().iter();
        transports
            .map(|&transport| self.rounds(transport))
            .collect()
    }

    /// The daemon stands between two rounds of the baseline.
    fn rounds(&self, transport: Transport) -> String {
        let names = Rounds::of(transport);
        let [before, after] = &names.baseline;
        let mut rounds = vec![(before, "lio plain"), (after, "lio plain")];
        if !self.baseline {
            let srptgt = [
                (&names.srptgt, "srptgt plain"),
                (&names.traced, "srptgt traced"),
            ];
            rounds.splice(1..1, srptgt);
        }
        let line = |(name, how)| format!("{name} {} {how}\n", transport.name());
        rounds.into_iter().map(line).collect()
    }
}

/// The folder of cargo's output, two above this program.
fn output_folder() -> Result<PathBuf> {
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2);
    Ok(target
        .context("this program stands in no folder")?
        .join("bench"))
}

/// Makes the release build of a package, whose program has the same name.
fn build(package: &str) -> Result<PathBuf> {
    let arguments = ["build", "--quiet", "--release", "--package", package];
    run(repository::command("cargo", &arguments))?;
    Ok(output_folder()?.with_file_name("release").join(package))
}

/// Makes an example of a package; one that is not measured itself.
fn build_example(package: &str, example: &str) -> Result<PathBuf> {
    let arguments = [
        "build",
        "--quiet",
        "--package",
        package,
        "--example",
        example,
    ];
    run(repository::command("cargo", &arguments))?;
    let folder = output_folder()?.with_file_name("debug").join("examples");
    Ok(folder.join(example))
}

fn keep(results: &Results) -> Result<()> {
    let latest = results::latest();
    fs::create_dir_all(latest.parent().unwrap_or(Path::new(".")))?;
    results.write(&latest)?;
    println!("bench: kept as {}", latest.display());
    Ok(())
}

/// The table of what is kept, as the README has it.
fn keep_table(table: &str) -> Result<()> {
    let file = results::latest().with_extension("md");
    fs::write(&file, table).with_context(|| format!("writing {}", file.display()))
}

fn now() -> Result<String> {
    let command = repository::command("date", &["--utc", "+%Y-%m-%dT%H%M%SZ"]);
    Ok(output_of(command)?.trim().to_owned())
}
