//! The data plane: one thread, one ring, and everything that a command meets on its way.
//!
//! Room: between the NIC, the core and the media. It names all crates and is the only place that decides order
//! ([`Worker::turn`]); the control plane is reached by messages only ([`crate::worker_link`]). Nothing here waits
//! for anything but the ring, and nothing on the data path allocates, locks or logs.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use backstore::{Engine, EngineSettings, RingError, Wait};
use rdma::WorkCompletion;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use target_core::target::{Target, TargetLimits};
use tracing::{error, warn};
use transport_srp::{LoginPolicy, TargetPortId};

use crate::access::Access;
use crate::portal::FabricKind;
use crate::worker_link::Mailbox;

mod adapter;
mod clock;
mod connection;
mod connections;
mod data_path;
mod endpoints;
mod fabric;
mod iscsi;
mod latency;
mod link;
mod login;
mod luns;
mod machine;
mod memory;
mod reports;
mod requests;
mod sessions;
mod slab;
mod tcp;
mod teardown;
mod wakes;

use clock::Clock;
use connections::Connections;
use fabric::Fabric;
use iscsi::{Iscsi, IscsiMemory};
use luns::Luns;
use memory::Memory;
pub use memory::MemorySettings;
use sessions::Sessions;
use tcp::TcpPortals;

/// Commands at a time over all sessions; more are answered with TASK SET FULL.
const TASKS: u32 = 4096;

/// Sizes and names that a worker has for life.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// What initiators call the target port.
    pub target_port: TargetPortId,
    /// Memory of the data path.
    pub memory: MemorySettings,
    /// What portals listen on that do not choose.
    pub fabric: FabricKind,
    /// How the soft fabric is set up, if a portal is on it.
    pub soft: rdma::SoftConfig,
    /// Whether the ring keeps the memory of the data path mapped, which counts against RLIMIT_MEMLOCK.
    pub fixed_buffers: bool,
}

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The memory of the data path.
    #[error("{bytes} bytes for the data path cannot be had: {source}; lower the memory settings")]
    Memory {
        /// What was asked for.
        bytes: usize,
        /// The system's error.
        source: std::io::Error,
    },
    /// The ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The mailbox, or the thread itself.
    #[error("the worker thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Starts the worker thread and waits until it is ready to take requests from the mailbox's link.
///
/// # Errors
/// [`StartError`]: what the machine lacks.
pub fn start(
    settings: WorkerSettings,
    mailbox: Mailbox,
) -> Result<thread::JoinHandle<()>, StartError> {
    allow_descriptors();
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name("worker".to_owned())
        .spawn(move || {
            // The ring belongs to the thread that makes it.
            match Worker::new(&settings, mailbox) {
                Ok(worker) => {
                    let _ = ready.send(Ok(()));
                    worker.run();
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        })?;
    started
        .recv()
        .unwrap_or_else(|_| Err(std::io::Error::other("it ended at once").into()))?;
    Ok(thread)
}

/// Takes as many descriptors as this process may have: each TCP connection is one. With fewer it works all the same,
/// and accepts fewer.
fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
}

/// Everything that the thread owns. Fields are dropped in this order: what the NIC may write to goes before the
/// memory that it writes to.
struct Worker {
    connections: Connections,
    fabric: Fabric,
    target: Target,
    engine: Engine,
    memory: Memory,
    /// From the first iSCSI portal on.
    iscsi_memory: Option<IscsiMemory>,
    iscsi: Iscsi,
    tcp: TcpPortals,
    luns: Luns,
    sessions: Sessions,
    access: Arc<Access>,
    policy: LoginPolicy,
    mailbox: Mailbox,
    totals: reports::Totals,
    requests: requests::Pending,
    /// The connection manager has events that were not read yet.
    cm_ready: bool,
    /// Where a poll writes completions; kept, so that none has to clear it first.
    completions: Vec<WorkCompletion>,
    clock: Clock,
    /// Time of this turn.
    now: Duration,
    /// When channels are told the time again.
    next_look: Duration,
}

/// The ring. Whoever serves over the soft fabric often may not lock memory, and needs not: then it does without.
fn open_engine(settings: &WorkerSettings, memory: &Memory) -> Result<Engine, RingError> {
    let open = |fixed_buffers| {
        let ring = EngineSettings {
            fixed_buffers,
            ..EngineSettings::default()
        };
        Engine::new(ring, &memory.arena, memory.bounce.clone())
    };
    match open(settings.fixed_buffers) {
        Err(RingError::MemoryLock { needed, limit }) if settings.fabric == FabricKind::Soft => {
            warn!(
                "RLIMIT_MEMLOCK is {limit} bytes, so the {needed} bytes of buffers are not kept mapped for disk I/O, \
                 which is a little slower; `ulimit -l unlimited` allows it, --no-fixed-buffers says that it is meant"
            );
            open(false)
        }
        opened => opened,
    }
}

impl Worker {
    fn new(settings: &WorkerSettings, mailbox: Mailbox) -> Result<Self, StartError> {
        let memory = Memory::new(&settings.memory).map_err(|source| StartError::Memory {
            bytes: settings.memory.data_bytes,
            source,
        })?;
        let mut engine = open_engine(settings, &memory)?;
        engine.watch_poll(mailbox.fd(), wakes::MAILBOX)?;
        Ok(Self {
            connections: Connections::default(),
            fabric: Fabric::new(settings.fabric, settings.soft.clone()),
            target: Target::new(TargetLimits { tasks: TASKS }, memory.data.clone()),
            engine,
            memory,
            iscsi_memory: None,
            iscsi: Iscsi::default(),
            tcp: TcpPortals::default(),
            luns: Luns::default(),
            sessions: Sessions::default(),
            access: Arc::default(),
            policy: LoginPolicy::new(settings.target_port),
            mailbox,
            totals: reports::Totals::default(),
            requests: requests::Pending::default(),
            cm_ready: false,
            completions: vec![WorkCompletion::default(); adapter::BATCH],
            clock: Clock::new(),
            now: Duration::ZERO,
            next_look: Duration::ZERO,
        })
    }

    fn run(mut self) {
        while !self.requests.has_ended() {
            if let Err(error) = self.turn() {
                error!(%error, "the ring is broken; the daemon ends, so that its supervisor starts it anew");
                std::process::abort();
            }
        }
        // A completion queue can only be destroyed when all of its events were handled, and the ring's last read may
        // hold one. The process is about to end, and the kernel takes everything back.
        std::mem::forget(self.fabric);
    }

    /// One turn: move everything that can move, then sleep until something happens. The turn that finds nothing
    /// arms the completion queues first and looks once more, because a completion that came before gives no event.
    fn turn(&mut self) -> std::io::Result<()> {
        let full = self.work() >= adapter::BATCH;
        let more = full
            || self.cm_ready
            || self.arm() && self.look_again()
            || self.target.has_next()
            || self.fabric.is_busy()
            || self.requests.has_ended();
        let wait = if more {
            Wait::No
        } else {
            Wait::For(self.patience())
        };
        self.engine.turn(wait)?;
        self.now = self.clock.now();
        self.handle_wakes();
        Ok(())
    }

    /// Completions, commands and answers, as far as they go without sleeping. Returns how many completions came.
    fn work(&mut self) -> usize {
        let completions = self.poll_completions() + self.handle_stream_events();
        self.act();
        completions
    }

    /// Takes the completions that came before the queues were armed. False when there was none: then nothing else has
    /// happened either.
    fn look_again(&mut self) -> bool {
        let came = self.poll_completions() > 0;
        if came {
            self.act();
        }
        came
    }

    /// What follows from what has happened.
    fn act(&mut self) {
        self.tend_timeouts();
        self.settle();
        self.tend_paused();
        self.refill();
        self.transmit();
        // Machines give back the buffers of unsolicited data when the core asks for data, and when they answer.
        if self.target.waits_for_buffer() {
            self.target.handle_buffers_freed();
        }
        self.tend_endings();
        self.tend_requests();
        self.fabric.transmit();
    }
}
