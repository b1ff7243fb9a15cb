//! `cargo xtask vm`: the test bed's kernel, and a guest for a command or for a look around.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use testbed::{Console, Ended, Guest};

use crate::{kernel, repository};

#[derive(Subcommand)]
pub(crate) enum Vm {
    /// Build the guest's kernel from Debian's linux-source, unless it is in the cache
    Kernel {
        /// Ask the archive for a newer source and build that
        #[arg(long)]
        update: bool,
    },
    /// Run a command (or a script's path with its arguments) in a guest; exits as it does
    Run {
        #[command(flatten)]
        size: Size,
        /// Bring up a soft-RDMA device (rxe0, 10.99.0.1) before the command runs
        #[arg(long)]
        soft_rdma: bool,
        /// End the guest after this many seconds
        #[arg(long, default_value_t = 600)]
        time_limit: u64,
        /// The command and its arguments; they go through the guest's shell
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// A shell in a guest, on this terminal; `exit` ends it
    Shell {
        #[command(flatten)]
        size: Size,
    },
}

#[derive(Args)]
pub(crate) struct Size {
    /// Processors, 1 to 4
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=4))]
    cpus: u32,
    /// Memory in MiB
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(128..))]
    memory: u32,
    /// A word for the kernel's command line, such as ib_srp.use_imm_data=0 (repeatable)
    #[arg(long = "kernel-argument", value_name = "WORD")]
    kernel_arguments: Vec<String>,
}

const SOFT_RDMA: &str = "set -e
ip link set lo up
ip link add bed0 address 02:5e:00:00:00:00 mtu 4200 type dummy
ip link set bed0 up
ip address add 10.99.0.1/24 dev bed0
rdma link add rxe0 type rxe netdev bed0
set +e
";

const SHELL_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

impl Vm {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Kernel { update } => {
                let linux = kernel::ensure(update)?;
                println!("{}", linux.display());
                Ok(ExitCode::SUCCESS)
            }
            Self::Run {
                size,
                soft_rdma,
                time_limit,
                command,
            } => {
                let prelude = if soft_rdma { SOFT_RDMA } else { "" };
                let folder = env::current_dir()?;
                let script = format!(
                    "{prelude}cd '{}' && {}\n",
                    folder.display(),
                    command.join(" ")
                );
                boot(
                    size,
                    script,
                    Duration::from_secs(time_limit),
                    Console::Output,
                )
            }
            Self::Shell { size } => {
                println!(
                    "The host's files are below you, writes stay in memory. `exit` ends the guest."
                );
                let script =
                    "TERM=linux exec busybox setsid busybox cttyhack /bin/bash -i\n".to_string();
                boot(size, script, SHELL_TIME, Console::Terminal)
            }
        }
    }
}

fn boot(size: Size, script: String, time_limit: Duration, console: Console) -> Result<ExitCode> {
    let folder = env::current_exe()?
        .with_file_name("vm")
        .join(std::process::id().to_string());
    let guest = Guest {
        kernel: kernel::ensure(false)?,
        folder,
        script,
        cpus: size.cpus,
        memory_mib: size.memory,
        kernel_arguments: size.kernel_arguments,
        time_limit,
        console,
    };
    let ended = guest.run().context("booting a guest")?;
    let log = Guest::kernel_log(&guest.folder);
    match ended {
        Ended::Exit(status) => {
            std::fs::remove_dir_all(&guest.folder)?;
            Ok(u8::try_from(status).map_or(ExitCode::FAILURE, ExitCode::from))
        }
        Ended::TimeLimit => bail!(
            "no end after {} s; the guest was killed. Its kernel's log: {}",
            time_limit.as_secs(),
            log.display()
        ),
        Ended::Died => bail!(
            "the guest went away before its command ended. Its kernel's log: {}",
            log.display()
        ),
    }
}

/// What building and testing need besides cargo: packages and the guest's kernel.
pub(crate) fn prepare() -> Result<()> {
    repository::install_packages(&[])?;
    kernel::ensure(false)?;
    Ok(())
}
