//! A device: the node of one interface, and who waits for its completions.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

use roce::cm::CmConfig;
use roce::qp::{PathMtu, Tuning};
use roce::{CompletionKind, Node, NodeConfig, Pd, PostError, SharedReceiveQueueId, Status};

use super::SoftConfig;
use super::cq::{CompletionQueue, QueueInner};
use super::interface::Interface;
use super::memory::Regions;
use super::qp::with_request;
use super::socket;
use crate::completion::{QueuePairNumber, WorkCompletion, WorkKind, WorkStatus};
use crate::counters::{Counters, VerbsCounters};
use crate::device_info::{DeviceEvent, DeviceInfo};
use crate::error::Error;
use crate::send_queue::WorkRequest;

/// Events that wait for somebody to ask; peers cause them, so the oldest give way.
const MAX_EVENTS: usize = 1024;

/// Clones are the same device.
#[derive(Clone, Debug)]
pub(crate) struct Device(Rc<DeviceInner>);

struct DeviceInner {
    info: DeviceInfo,
    path_mtu: PathMtu,
    start: Instant,
    core: RefCell<Core>,
    events: RefCell<VecDeque<DeviceEvent>>,
    counters: Counters,
    domains: Cell<u32>,
}

/// The node, and what it works on.
pub(super) struct Core {
    pub(super) node: Node,
    pub(super) memory: Regions,
    queues: HashMap<u32, Queues>,
}

/// Where the completions of a queue pair go.
struct Queues {
    sends: Rc<QueueInner>,
    receives: Rc<QueueInner>,
}

impl Device {
    pub(super) fn new(
        interface: &Interface,
        config: &SoftConfig,
        start: Instant,
    ) -> Result<Self, Error> {
        let random =
            || getrandom::u64().map_err(|error| Error::refused("draw a random number", error));
        let info = interface.device_info(config);
        let path_mtu = interface.path_mtu(config);
        let receive_buffer_bytes = socket::receive_buffer_bytes()
            .map_err(|error| Error::call("getsockopt SO_RCVBUF", error))?;
        let is_unique = interface.has_hardware_address() || config.port_guid.is_some();
        let node = Node::new(NodeConfig {
            secret: random()?,
            cm: CmConfig {
                // Peers tell nodes apart by it, so two processes on the loopback interface must not share it.
                ca_guid: if is_unique { info.node_guid } else { random()? },
                max_mtu: path_mtu,
                ..CmConfig::default()
            },
            tuning: tuning(path_mtu, receive_buffer_bytes),
        });
        Ok(Self(Rc::new(DeviceInner {
            info,
            path_mtu,
            start,
            core: RefCell::new(Core {
                node,
                memory: Regions::default(),
                queues: HashMap::new(),
            }),
            events: RefCell::default(),
            counters: Counters::default(),
            domains: Cell::new(0),
        })))
    }

    pub(crate) fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// Refuses what belongs to another device: its numbers would mean something else here.
    pub(super) fn check_same(&self, other: &Self) -> Result<(), Error> {
        match Rc::ptr_eq(&self.0, &other.0) {
            true => Ok(()),
            false => Err(Error::OtherFabric),
        }
    }

    pub(crate) fn counters(&self) -> VerbsCounters {
        self.0.counters.read()
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut VerbsCounters)) {
        self.0.counters.count(change);
    }

    pub(crate) fn next_event(&self) -> Result<Option<DeviceEvent>, Error> {
        Ok(self.0.events.borrow_mut().pop_front())
    }

    pub(super) fn tell(&self, event: DeviceEvent) {
        let mut events = self.0.events.borrow_mut();
        if events.len() >= MAX_EVENTS {
            events.pop_front();
        }
        events.push_back(event);
    }

    pub(super) fn path_mtu(&self) -> PathMtu {
        self.0.path_mtu
    }

    /// Never kept over a call of anything else in this folder.
    pub(super) fn core(&self) -> RefMut<'_, Core> {
        self.0.core.borrow_mut()
    }

    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.0.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn next_domain(&self) -> Pd {
        self.0.domains.set(self.0.domains.get() + 1);
        Pd(self.0.domains.get())
    }

    pub(super) fn create_queue_pair(
        &self,
        config: roce::qp::QueuePairConfig,
        srq: SharedReceiveQueueId,
        send_cq: &CompletionQueue,
        recv_cq: &CompletionQueue,
    ) -> Option<QueuePairNumber> {
        let core = &mut *self.core();
        let number = core.node.create_queue_pair(config, Some(srq))?;
        let queues = Queues {
            sends: Rc::clone(&send_cq.0),
            receives: Rc::clone(&recv_cq.0),
        };
        core.queues.insert(number.0, queues);
        Some(QueuePairNumber(number.0))
    }

    pub(super) fn post_send(
        &self,
        number: QueuePairNumber,
        generation: u32,
        request: &WorkRequest,
    ) -> Result<(), PostError> {
        let node = &mut self.core().node;
        let number = roce::QueuePairNumber(number.0);
        with_request(request, generation, |request| {
            node.post_send(number, request)
        })
    }

    /// Flushes everything that is posted on the queue pair.
    pub(super) fn fail_queue_pair(&self, number: QueuePairNumber) {
        let qp = roce::QueuePairNumber(number.0);
        // An unknown one has nothing to flush.
        let _ = self.core().node.fail_queue_pair(qp);
        self.settle();
        self.tell(DeviceEvent::LastReceiveReached(number));
    }

    /// A receive that was being filled comes back flushed, as all receives do that a message has begun.
    pub(super) fn destroy_queue_pair(&self, number: QueuePairNumber) {
        let qp = roce::QueuePairNumber(number.0);
        let _ = self.core().node.fail_queue_pair(qp);
        self.settle();
        let core = &mut *self.core();
        core.node.destroy_queue_pair(qp);
        core.queues.remove(&number.0);
    }

    pub(super) fn next_node_event(&self) -> Option<roce::cm::Event> {
        self.core().node.poll_event()
    }

    /// Takes the node's completions to their queues.
    pub(super) fn settle(&self) {
        let core = &mut *self.core();
        while let Some(completion) = core.node.poll_completion() {
            let Some(queues) = core.queues.get(&completion.qp.0) else {
                continue;
            };
            match completion.kind {
                CompletionKind::Recv | CompletionKind::RecvWriteWithImmediate => &queues.receives,
                CompletionKind::Send | CompletionKind::Write | CompletionKind::Read => {
                    &queues.sends
                }
            }
            .push(translate(&completion));
        }
    }
}

impl fmt::Debug for DeviceInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("name", &self.info.name)
            .finish_non_exhaustive()
    }
}

/// As many packets at once as the receive buffer holds; the peer's is taken to be like our own. Half of it is left to
/// other queue pairs.
fn tuning(path_mtu: PathMtu, receive_buffer_bytes: u32) -> Tuning {
    /// What the kernel counts for a packet: a block of a power of two with payload and headers, and its own records.
    const RECORDS_BYTES: u32 = 512;
    let packet_bytes = 2 * path_mtu.bytes() + RECORDS_BYTES;
    let fits = (receive_buffer_bytes / 2 / packet_bytes).max(4);
    let usual = Tuning::default();
    let window = usual.window.min(fits);
    Tuning {
        window,
        ack_interval: usual.ack_interval.min(window / 2),
        read_chunk: usual.read_chunk.min(fits),
    }
}

fn translate(from: &roce::Completion) -> WorkCompletion {
    WorkCompletion {
        queue_pair: QueuePairNumber(from.qp.0),
        kind: WorkKind::of(from.wr_id),
        status: status(from.status),
        byte_len: from.length,
        invalidated_key: from.invalidated.map(|key| key.0),
        work_id: from.wr_id,
    }
}

fn status(status: Status) -> WorkStatus {
    match status {
        Status::Success => WorkStatus::Success,
        Status::LocalLengthError => WorkStatus::LocalLength,
        Status::LocalProtectionError => WorkStatus::LocalProtection,
        Status::Flushed => WorkStatus::Flushed,
        Status::RemoteInvalidRequestError => WorkStatus::RemoteInvalidRequest,
        Status::RemoteAccessError => WorkStatus::RemoteAccess,
        Status::RemoteOperationError => WorkStatus::RemoteOperation,
        Status::TransportRetryExceeded => WorkStatus::RetryExceeded,
        Status::RnrRetryExceeded => WorkStatus::ReceiverNotReady,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_receive_buffer_makes_a_small_window() {
        let large = tuning(PathMtu::Mtu4096, 16 << 20);
        assert_eq!((large.window, large.read_chunk), (128, 64));
        let small = tuning(PathMtu::Mtu4096, 425_984);
        assert_eq!(
            (small.window, small.ack_interval, small.read_chunk),
            (24, 12, 24)
        );
        assert_eq!(tuning(PathMtu::Mtu4096, 0).window, 4);
    }
}
