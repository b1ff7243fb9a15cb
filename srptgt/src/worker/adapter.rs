//! What all connections of one RDMA device share: memory registration, completion queues, receives.

use std::sync::Arc;

use iobuf::{Arena, Pool};
use rdma::{
    CompletionChannel, CompletionQueue, Device, MemoryRegion, PortState, ProtectionDomain,
    QueuePair, QueuePairConfig, SharedReceiveQueue, VerbsCounters, WorkCompletion,
};

use super::memory::{ISER_LAYOUT, ReceiveLayout, SRP_LAYOUT};

/// Completions that one poll takes: enough to batch, few enough that no session waits long for its turn.
pub(super) const BATCH: usize = 32;

/// Receives of one device, shared by all of its connections: what eight of them may have outstanding at once. More is
/// allowed, and then waits in the NIC.
const RECEIVE_DEPTH: u32 = 1023;

/// Receives that are posted at a time, so that each call is for many; the queue is never short of more than that.
const REFILL: usize = 32;

/// The protocol that an adapter receives for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdapterKind {
    /// SRP.
    Srp,
    /// iSER.
    Iser,
}

impl AdapterKind {
    fn layout(self) -> ReceiveLayout {
        match self {
            Self::Srp => SRP_LAYOUT,
            Self::Iser => ISER_LAYOUT,
        }
    }
}

/// The objects of a device for one protocol. Connections hold clones of what they need, so the order of dropping is theirs.
pub(super) struct Adapter {
    device: Device,
    kind: AdapterKind,
    domain: ProtectionDomain,
    events: CompletionChannel,
    receive_cq: ArmedQueue,
    send_cq: ArmedQueue,
    receives: SharedReceiveQueue,
    /// Ports whose link is down, by the device's events.
    down: Vec<u8>,
    /// Where receives come from: its own arena, so that a further device takes nothing from the others.
    slots: Pool,
    /// Keep the memory of commands, messages and receives registered.
    _regions: Vec<MemoryRegion>,
}

/// A completion queue, and whether it will report its next completion.
struct ArmedQueue {
    queue: CompletionQueue,
    armed: bool,
}

impl ArmedQueue {
    fn arm(&mut self) -> Result<bool, rdma::Error> {
        if self.armed {
            return Ok(false);
        }
        self.queue.arm()?;
        self.armed = true;
        Ok(true)
    }
}

impl Adapter {
    /// Makes the objects of the device and registers the arenas with it.
    ///
    /// # Errors
    /// What the device or the limits of this process stand in the way with.
    pub(super) fn open(
        device: Device,
        kind: AdapterKind,
        arenas: &[&Arc<Arena>],
    ) -> Result<Self, rdma::Error> {
        let domain = ProtectionDomain::new(&device)?;
        let depth = RECEIVE_DEPTH.min(device.info().limits.shared_receives);
        let slot_len = kind.layout().slot_len;
        let bytes = depth as usize * slot_len;
        let receive_arena = Arena::new(bytes).map_err(no_memory)?;
        let all = arenas.iter().copied().chain([&receive_arena]);
        let regions: Result<Vec<_>, _> = all
            .map(|arena| MemoryRegion::register(&domain, arena))
            .collect();
        let events = CompletionChannel::new(&device)?;
        let queue = |receives| CompletionQueue::new(&device, receives, Some(&events));
        let adapter = Self {
            receive_cq: ArmedQueue {
                queue: queue(depth)?,
                armed: false,
            },
            send_cq: ArmedQueue {
                queue: queue(0)?,
                armed: false,
            },
            receives: SharedReceiveQueue::new(&domain, depth)?,
            device,
            kind,
            domain,
            events,
            down: Vec::new(),
            slots: Pool::slots(&receive_arena, 0..bytes, slot_len),
            _regions: regions?,
        };
        adapter.refill()?;
        Ok(adapter)
    }

    /// The device's name.
    pub(super) fn name(&self) -> &str {
        &self.device.info().name
    }

    /// The protocol that it receives for.
    pub(super) fn kind(&self) -> AdapterKind {
        self.kind
    }

    /// The device itself: its events and limits.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Notes an event: the port's link has come or gone.
    pub(super) fn set_link(&mut self, port: u8, up: bool) {
        self.down.retain(|&other| other != port);
        if !up {
            self.down.push(port);
        }
    }

    /// Whether a management datagram can leave a port. Its present state and its events must agree on that: the event
    /// of a lost link comes long after the first send has failed of it, and that of a new link only when the network
    /// device, whose carrier is there before, takes packets.
    ///
    /// A device that does not answer is gone; there is nothing to wait for.
    pub(super) fn has_link(&self, port: u8) -> bool {
        let state = self.device.port_state(port);
        let is_active = matches!(state, Ok(PortState::Active | PortState::ActiveDeferred));
        state.is_err() || is_active && !self.down.contains(&port)
    }

    /// True when it is of the soft fabric, which tells nothing by descriptors.
    pub(super) fn is_soft(&self) -> bool {
        self.device.event_fd().is_none()
    }

    /// Where armed queues report.
    pub(super) fn events(&self) -> &CompletionChannel {
        &self.events
    }

    /// What its objects have cost so far.
    pub(super) fn counters(&self) -> VerbsCounters {
        self.device.counters()
    }

    /// A queue pair on the shared queues.
    ///
    /// # Errors
    /// The device is used up or gone.
    pub(super) fn queue_pair(&self) -> Result<QueuePair, rdma::Error> {
        QueuePair::new(
            &self.domain,
            &self.send_cq.queue,
            &self.receive_cq.queue,
            &self.receives,
            QueuePairConfig::default(),
        )
    }

    /// The memory that receives come to; immediate data goes from there to a medium.
    pub(super) fn receive_arena(&self) -> &Arc<Arena> {
        self.slots.arena()
    }

    /// The receive queue that all connections share.
    pub(super) fn receives(&self) -> &SharedReceiveQueue {
        &self.receives
    }

    /// Posts receive slots until the queue is full or the slots are all in use, when many are missing: buffers of
    /// finished commands come back to the pool, and from there to the NIC here.
    ///
    /// # Errors
    /// The device is gone.
    pub(super) fn refill(&self) -> Result<(), rdma::Error> {
        let room = self.receives.room();
        // A device of few receives needs them all.
        if room < REFILL.min(self.receives.depth() as usize / 16) {
            return Ok(());
        }
        let layout = self.kind.layout();
        for _ in 0..room {
            let Some(mut buf) = self.slots.take(layout.slot_len) else {
                break;
            };
            let fits = buf.set_window(layout.window_start, layout.message_len);
            debug_assert!(fits, "a slot is as long as its layout says");
            if self.receives.post(buf).is_err() {
                break;
            }
        }
        self.receives.flush()
    }

    /// Receives that have come.
    ///
    /// # Errors
    /// The queue is broken, and all connections with it.
    pub(super) fn poll_receives(&self, batch: &mut [WorkCompletion]) -> Result<usize, rdma::Error> {
        self.receive_cq.queue.poll(batch)
    }

    /// Sends, RDMA WRITEs and READs that have ended.
    ///
    /// # Errors
    /// As [`Adapter::poll_receives`].
    pub(super) fn poll_sends(&self, batch: &mut [WorkCompletion]) -> Result<usize, rdma::Error> {
        self.send_cq.queue.poll(batch)
    }

    /// Asks for an event at the next receive, and with `sends` at the next send completion too. True when that was
    /// not asked for already: then poll once more, for what came before.
    ///
    /// Responses complete without anybody waiting for it, so `sends` is only for RDMA READs and for buffers or
    /// queue space that is waited for.
    ///
    /// # Errors
    /// The device is gone.
    pub(super) fn arm(&mut self, sends: bool) -> Result<bool, rdma::Error> {
        let receives = self.receive_cq.arm()?;
        Ok(sends && self.send_cq.arm()? || receives)
    }

    /// An event was read from the channel: its queue is not armed any more.
    pub(super) fn handle_event(&mut self, raw: u64) {
        let Some(id) = self.events.event_from_raw(raw) else {
            return;
        };
        for queue in [&mut self.receive_cq, &mut self.send_cq] {
            if queue.queue.id() == id {
                queue.armed = false;
            }
        }
    }
}

fn no_memory(source: std::io::Error) -> rdma::Error {
    rdma::Error::Call {
        call: "mmap of receive memory",
        advice: "",
        source,
    }
}
