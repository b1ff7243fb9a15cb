//! The program: its command line, with the data plane that `serve` starts.

use std::process::ExitCode;
use std::thread::JoinHandle;

use anyhow::Context;
use srptgt::config::TargetIdentity;
use srptgt::daemon::DataPlane;
use srptgt::worker::{self, MemorySettings, WorkerSettings};
use srptgt::worker_link::{MAX_TRANSFER_BYTES, Mailbox};
use transport_srp::TargetPortId;

fn main() -> ExitCode {
    srptgt::cli::main(start_worker)
}

fn start_worker(
    target: TargetIdentity,
    data_plane: DataPlane,
    mailbox: Mailbox,
) -> anyhow::Result<JoinHandle<()>> {
    let settings = WorkerSettings {
        target_port: TargetPortId {
            id_ext: target.id_ext.value(),
            ioc_guid: target.ioc_guid.value(),
        },
        memory: MemorySettings {
            max_transfer_bytes: usize::try_from(MAX_TRANSFER_BYTES)?,
            ..MemorySettings::default()
        },
        fabric: data_plane.fabric,
        soft: data_plane.soft.for_fabric(),
        fixed_buffers: data_plane.fixed_buffers,
    };
    worker::start(settings, mailbox)
        .context("the data plane cannot start; srptgt doctor says what is missing")
}
