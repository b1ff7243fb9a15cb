//! `srptgt serve`.

use std::path::PathBuf;

use clap::Args;
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::termios::isatty;
use tracing_subscriber::EnvFilter;

use crate::config::{SoftAddress, SoftSettings};
use crate::daemon::{DataPlane, Settings, StartWorker, run};
use crate::identity::Guid;
use crate::paths::Paths;
use crate::portal::FabricKind;

use super::Outcome;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Configuration file [default: /etc/srptgt/srptgt.toml; without root ~/.config/srptgt/srptgt.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// State folder [default: /var/lib/srptgt; without root ~/.local/state/srptgt]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// How long commands in flight may take when the daemon ends, in milliseconds
    #[arg(long, value_name = "MS", default_value = "5000")]
    drain_ms: u64,
    /// What carries the portals that do not choose: verbs (RDMA hardware, the kernel's soft RoCE) or soft (RoCEv2 in
    /// this process, which needs no RDMA)
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "verbs|soft",
        hide_possible_values = true
    )]
    fabric: FabricKind,
    /// An address that soft portals on all addresses listen on; can be given several times [default: those of the
    /// configuration; every address of this machine without, those that come later too]
    #[arg(long, value_name = "ADDRESS")]
    soft_address: Vec<SoftAddress>,
    /// Port GUID of the soft fabric [default: that of the configuration; without, from the network device's hardware
    /// address, as Linux does]
    #[arg(long, value_name = "GUID")]
    soft_guid: Option<Guid>,
    /// Do not keep the buffers mapped for disk I/O: a little slower, for users who may not lock memory
    #[arg(long)]
    no_fixed_buffers: bool,
    /// End when the process that started it has ended
    #[arg(long, hide = true)]
    end_with_parent: bool,
}

impl Serve {
    pub(crate) async fn run(self, paths: Paths, start_worker: StartWorker) -> Outcome {
        log_to_standard_error();
        if self.end_with_parent {
            set_parent_process_death_signal(Some(Signal::TERM)).map_err(std::io::Error::from)?;
        }
        let settings = Settings {
            paths: Paths {
                config: self.config.unwrap_or(paths.config),
                state: self.state.unwrap_or(paths.state),
                api: paths.api,
            },
            drain_ms: self.drain_ms,
            data_plane: DataPlane {
                fabric: self.fabric,
                soft: SoftSettings {
                    addresses: self.soft_address.into_iter().collect(),
                    guid: self.soft_guid,
                },
                fixed_buffers: !self.no_fixed_buffers,
            },
        };
        Ok(run(settings, start_worker).await?)
    }
}

/// `RUST_LOG` chooses what is logged; the service manager's journal has its own clock.
fn log_to_standard_error() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(isatty(std::io::stderr()))
        .with_writer(std::io::stderr);
    let set = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => log.without_time().try_init(),
        None => log.try_init(),
    };
    if let Err(error) = set {
        eprintln!("nothing will be logged: {error}");
    }
}
