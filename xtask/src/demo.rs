//! `cargo xtask demo`: builds, boots a guest, and lets the demonstration tell its story on this terminal.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testbed::{Console, Ended, Guest, last_lines};

use crate::repository::{command, run};
use crate::{kernel, vm};

const TIME_LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn run_demo() -> Result<ExitCode> {
    vm::prepare()?;
    println!("Building srptgt ...");
    run(command(
        "cargo",
        &[
            "build",
            "--quiet",
            "--package",
            "srptgt",
            "--package",
            "tests",
            "--bins",
        ],
    ))?;
    let build = std::env::current_exe()?
        .parent()
        .context("a program lies in a folder")?
        .to_path_buf();
    let folder = build.join("scenarios/xtask-demo");
    println!(
        "srptgt: a SCSI target in user space, an unmodified Linux initiator (ib_srp), soft RDMA between them\n"
    );
    let guest = Guest {
        kernel: kernel::ensure(false)?,
        folder: folder.clone(),
        script: format!(
            "exec '{}' > /run/bed/transcript.log\n",
            build.join("demo").display()
        ),
        cpus: 2,
        memory_mib: 2048,
        kernel_arguments: Vec::new(),
        time_limit: TIME_LIMIT,
        console: Console::Output,
    };
    match guest.run()? {
        Ended::Exit(0) => {
            println!(
                "Every command behind this: {}/transcript.log",
                folder.display()
            );
            Ok(ExitCode::SUCCESS)
        }
        ended => bail!(
            "the demonstration failed ({ended:?}); the end of its transcript:\n{}\nAll logs: {}",
            last_lines(&folder.join("transcript.log"), 20),
            folder.display()
        ),
    }
}
