//! The daemon's life: start worker and control plane, serve the API, obey signals, end.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::api::server::Socket;
use crate::config::{SoftSettings, TargetIdentity};
use crate::control::{Control, Fault};
use crate::paths::Paths;
use crate::portal::FabricKind;
use crate::worker_link::{Mailbox, link};

/// What the daemon is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Configuration, state, API socket.
    pub paths: Paths,
    /// How long commands in flight may take when it ends.
    pub drain_ms: u64,
    /// How it moves data.
    pub data_plane: DataPlane,
}

/// How data moves.
#[derive(Clone, Debug)]
pub struct DataPlane {
    /// What carries the portals that do not choose.
    pub fabric: FabricKind,
    /// How the soft fabric is set up; what is empty here is as the configuration has it.
    pub soft: SoftSettings,
    /// Whether the ring keeps the memory of the data path mapped, which counts against RLIMIT_MEMLOCK.
    pub fixed_buffers: bool,
}

/// Starts the worker thread.
pub type StartWorker = fn(TargetIdentity, DataPlane, Mailbox) -> anyhow::Result<JoinHandle<()>>;

/// Runs until a signal ends it.
///
/// # Errors
/// What it lacks, or that the worker ended by itself.
pub async fn run(settings: Settings, start_worker: StartWorker) -> anyhow::Result<()> {
    let _lock = lock(&settings.paths.state)?;
    let mut signals = Signals::new()?;
    let socket = Socket::bind(&settings.paths.api)?;
    let (link, mailbox, events) = link().context("the worker's mailbox cannot be made")?;
    let (control, loaded) = Control::load(&settings.paths.config, link, &events)?;
    let data_plane = DataPlane {
        soft: settings.data_plane.soft.or(loaded.soft()),
        ..settings.data_plane
    };
    let worker = start_worker(control.target(), data_plane, mailbox)?;
    control.start(loaded).await?;
    let api = tokio::spawn(socket.serve(control.clone()));
    let mut running = tokio::spawn(control.clone().run(events));
    tracing::info!(api = %settings.paths.api.display(), config = %settings.paths.config.display(), "ready");
    notify(&[NotifyState::Ready]);
    tokio::select! {
        () = signals.until_end(&control) => {}
        _ = &mut running => bail!("the worker thread ended by itself; the log above says why"),
    }
    notify(&[NotifyState::Stopping]);
    tracing::info!(
        drain_ms = settings.drain_ms,
        "ending: no new logins, waiting for commands in flight"
    );
    tokio::select! {
        ended = control.shutdown(settings.drain_ms) => ended?,
        () = signals.until_end(&control) => bail!("ended by a second signal, with commands in flight"),
    }
    api.abort();
    // Waits until the socket is removed; being cancelled is how it ends.
    let _ = api.await;
    join(worker).await
}

async fn join(worker: JoinHandle<()>) -> anyhow::Result<()> {
    match tokio::task::spawn_blocking(|| worker.join()).await? {
        Ok(()) => Ok(()),
        Err(_) => bail!("the worker thread panicked while it ended"),
    }
}

/// Takes the state folder for this daemon alone, until the lock is dropped.
fn lock(state: &Path) -> anyhow::Result<File> {
    let path: PathBuf = state.join("lock");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .with_context(|| {
            format!(
                "the state folder {} cannot be made; give another --state DIR",
                state.display()
            )
        })?;
    let file =
        File::create(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => bail!(
            "another srptgt daemon has {}; stop it, or give this one another --state DIR",
            path.display()
        ),
        Err(error) => Err(error).with_context(|| format!("{} cannot be locked", path.display())),
    }
}

/// Without a service manager there is nobody to tell.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager was not told: {error}");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("signals cannot be received");
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hang_up: on(SignalKind::hangup())?,
        })
    }

    /// Returns at a signal to end; reads the configuration again at SIGHUP.
    async fn until_end(&mut self, control: &Arc<Control>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => drop(tokio::spawn(reload(control.clone()))),
            }
        }
    }
}

async fn reload(control: Arc<Control>) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!("the service manager was not told: {error}"),
    }
    let reloaded: Result<(), Fault> = control.reload().await;
    match reloaded {
        Ok(()) => tracing::info!("the configuration was read again"),
        Err(fault) => {
            tracing::error!("the configuration was refused, nothing has changed: {fault}")
        }
    }
    notify(&[NotifyState::Ready]);
}
