//! What ends a sleep: messages of the control plane, the connection manager, completions, device events.

use backstore::{Engine, Woken};
use rdma::{CmEvent, DeviceEvent};
use tracing::warn;

use crate::worker_link::Event;

use super::Worker;
use super::adapter::Adapter;

/// The mailbox's eventfd.
pub(super) const MAILBOX: u64 = 0;
/// The connection manager's events.
pub(super) const CM: u64 = 1;
/// Completion channel of adapter 0; two tokens for each adapter from here on.
const ADAPTERS: u64 = 2;
/// Socket 0 of the soft fabric; one token for each from here on.
pub(super) const SOCKETS: u64 = 1 << 32;

/// Events of the connection manager in one turn: logins in a storm leave room for those who are in.
const CM_EVENTS: usize = 8;

/// Waits for a device's completions and events from now on.
///
/// # Errors
/// The ring has no room for it.
pub(super) fn watch_adapter(
    engine: &mut Engine,
    number: usize,
    adapter: &Adapter,
) -> Result<(), rdma::Error> {
    let token = ADAPTERS + 2 * number as u64;
    let watch = |result: std::io::Result<()>| {
        result.map_err(|source| rdma::Error::Call {
            call: "io_uring",
            advice: "",
            source,
        })
    };
    // The soft fabric has no descriptors but its sockets.
    if let Some(completions) = adapter.events().fd() {
        watch(engine.watch_read(completions, token))?;
    }
    if let Some(events) = adapter.device().event_fd() {
        watch(engine.watch_poll(events, token + 1))?;
    }
    Ok(())
}

impl Worker {
    /// Everything that woke the thread.
    pub(super) fn handle_wakes(&mut self) {
        while let Some(woken) = self.engine.next_woken() {
            match woken.token {
                MAILBOX => self.handle_mailbox(),
                CM => self.cm_ready = true,
                token @ SOCKETS.. => self.fabric.handle_readable((token - SOCKETS) as usize),
                token => self.handle_adapter_wake(token, &woken),
            }
        }
        if self.fabric.receive() {
            // Both are queues of this thread: looking costs nothing.
            self.cm_ready = true;
            self.handle_soft_device_events();
        }
        if self.cm_ready {
            self.handle_cm_events();
        }
    }

    fn handle_soft_device_events(&mut self) {
        for number in 0..self.fabric.adapters.len() {
            if self.fabric.adapters[number].is_soft() {
                self.handle_device_events(number);
            }
        }
    }

    fn handle_adapter_wake(&mut self, token: u64, woken: &Woken) {
        let number = ((token - ADAPTERS) / 2) as usize;
        let is_completion = (token - ADAPTERS).is_multiple_of(2);
        let Some(adapter) = self.fabric.adapters.get_mut(number) else {
            return;
        };
        match is_completion {
            true => adapter.handle_event(woken.value),
            false => self.handle_device_events(number),
        }
    }

    pub(super) fn handle_device_events(&mut self, number: usize) {
        while let Some(adapter) = self.fabric.adapters.get(number) {
            match adapter.device().next_event() {
                Ok(Some(DeviceEvent::DeviceFatal | DeviceEvent::CompletionQueueError)) => {
                    for number in self.fabric.siblings(number) {
                        self.lose_adapter(number, &"the device reports that it has failed");
                    }
                    return;
                }
                Ok(Some(event)) => {
                    warn_of(adapter.name(), event);
                    self.handle_port_event(number, event);
                }
                Ok(None) => return,
                Err(error) => return self.lose_adapter(number, &error),
            }
        }
    }

    fn handle_port_event(&mut self, number: usize, event: DeviceEvent) {
        for number in self.fabric.siblings(number) {
            let Some(adapter) = self.fabric.adapters.get_mut(number) else {
                return;
            };
            match event {
                DeviceEvent::PortError(port) => adapter.set_link(port, false),
                // Nothing may be posted on it whose completion would tell.
                DeviceEvent::QueuePairError(failed) => {
                    let connection = self.connections.of_queue_pair(number, failed);
                    if let Some(connection) = connection.map(|connection| connection.number) {
                        let why = "the queue pair failed by what the peer sent";
                        self.end_connection(connection, why);
                    }
                }
                DeviceEvent::PortActive(port) => {
                    adapter.set_link(port, true);
                    self.disconnect_silent();
                }
                _ => {}
            }
        }
    }

    /// A bounded number of events; the rest is for the next turn.
    fn handle_cm_events(&mut self) {
        for _ in 0..CM_EVENTS {
            match self.fabric.next_cm_event() {
                Ok(Some(event)) => self.handle_cm_event(event),
                Ok(None) => {
                    self.cm_ready = false;
                    return;
                }
                Err(error) => {
                    warn!(%error, "the connection manager cannot be read");
                    self.cm_ready = false;
                    return;
                }
            }
        }
    }

    fn handle_cm_event(&mut self, event: CmEvent) {
        match event {
            CmEvent::ConnectRequest(request) => self.handle_connect_request(*request),
            CmEvent::Disconnected(id) => self.end_of_cm(id, "the initiator disconnected"),
            CmEvent::ConnectFailed { id, .. }
            | CmEvent::Unreachable { id, .. }
            | CmEvent::Rejected { id, .. } => {
                self.end_of_cm(id, "the initiator gave up during login");
            }
            CmEvent::DeviceRemoval(id) => self.handle_device_removal(id),
            CmEvent::AddressChanged(id) => {
                self.end_of_cm(id, "the network device's address changed")
            }
            // An accepted connection needs no further step, and the active side's events do not come here.
            CmEvent::Established(_)
            | CmEvent::TimewaitExit(_)
            | CmEvent::AddressResolved(_)
            | CmEvent::RouteResolved(_)
            | CmEvent::ResolveFailed { .. }
            | CmEvent::Accepted { .. } => {}
        }
    }

    fn end_of_cm(&mut self, id: rdma::ConnectionId, why: &str) {
        let Some(number) = self.connections.of_cm(id) else {
            return;
        };
        let connection = self.connections.get_mut(number);
        if let Some(link) = connection.and_then(|connection| connection.link.rdma_mut()) {
            link.parted = true;
        }
        self.end_connection(number, why);
    }

    fn handle_device_removal(&mut self, id: rdma::ConnectionId) {
        if let Some(portal) = self.fabric.portal_of(id).cloned() {
            self.fabric.stop_listening(&portal);
            let error = crate::worker_link::WorkerError {
                text: format!("the RDMA device under {portal} was removed"),
                fix: "when it is back, srptgt portal add listens again".to_owned(),
            };
            self.mailbox
                .events()
                .send(Event::PortalDown { portal, error });
        }
        self.end_of_cm(id, "its RDMA device was removed");
    }
}

fn warn_of(device: &str, event: DeviceEvent) {
    match event {
        DeviceEvent::PortActive(_)
        | DeviceEvent::PortError(_)
        | DeviceEvent::SharedReceiveQueueError => {
            warn!(device, ?event, "RDMA device event");
        }
        // The connection's own completions tell.
        _ => tracing::debug!(device, ?event, "RDMA device event"),
    }
}
