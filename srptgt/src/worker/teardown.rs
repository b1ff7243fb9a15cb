//! Ends: of a channel, a connection, a session, a device. Every wait has a deadline, but that for a lost link.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use target_core::port::CloseReason;
use tracing::{info, warn};

use crate::worker_link::Event;

use super::Worker;
use super::clock::millis;
use super::connection::{DRAIN, GOODBYE, LOOK, Phase};

impl Worker {
    /// The channel is over. Its goodbye is still sent; then the connection is cut.
    pub(super) fn leave_connection(&mut self, number: u32, reason: &CloseReason) {
        if let CloseReason::Protocol(text) = reason {
            self.totals.protocol_errors += 1;
            warn!(connection = number, reason = %text, "the initiator broke the protocol");
        }
        let until = self.now + GOODBYE;
        if let Some(connection) = self.connections.get_mut(number)
            && connection.phase == Phase::Live
        {
            connection.phase = Phase::Leaving { until };
            self.forget(number);
            self.connections.mark_ending(number);
        }
    }

    /// Cuts the connection now.
    pub(super) fn end_connection(&mut self, number: u32, why: &str) {
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        let was = connection.phase;
        if matches!(was, Phase::Silent | Phase::Draining { .. }) {
            return;
        }
        // It can only fail when the device is gone, and the queue pair with it.
        let _ = connection.queue_pair.to_error();
        let (adapter, port) = (connection.adapter, connection.cm.port());
        connection.phase = Phase::Silent;
        if self.has_link(adapter, port) {
            self.disconnect(number);
        }
        if was == Phase::Live {
            info!(connection = number, why, "connection ends");
            self.forget(number);
        }
        self.connections.mark_ending(number);
    }

    fn has_link(&self, adapter: usize, port: u8) -> bool {
        let adapter = self.fabric.adapters.get(adapter);
        adapter.is_none_or(|adapter| adapter.has_link(port))
    }

    fn disconnect(&mut self, number: u32) {
        if let Some(connection) = self.connections.get_mut(number) {
            // What cannot be disconnected has been already.
            connection.parted |= connection.cm.disconnect().is_err();
            connection.phase = Phase::Draining {
                until: self.now + DRAIN,
            };
        }
    }

    /// Tells the peers of connections that ended without a link, when there is one again. The event of the new link
    /// comes at once, but not where the link was back before anybody had noticed that it was gone; so this is done
    /// from time to time too.
    pub(super) fn disconnect_silent(&mut self) {
        let mut links = HashMap::new();
        for number in self.connections.numbers() {
            let silent = self.connections.get(number);
            let silent = silent.filter(|connection| connection.phase == Phase::Silent);
            let Some(port) = silent.map(|silent| (silent.adapter, silent.cm.port())) else {
                continue;
            };
            let has_link = links.entry(port);
            if *has_link.or_insert_with(|| self.has_link(port.0, port.1)) {
                self.disconnect(number);
            }
        }
    }

    /// Takes a connection out of the core and of its session; what runs for it is abandoned.
    fn forget(&mut self, number: u32) {
        let Some(connection) = self.connections.get(number) else {
            return;
        };
        let (session, nexus, channel) = (
            connection.session,
            connection.nexus,
            connection.channel_id(),
        );
        self.target.channel_close(nexus, channel);
        if let Some(session) = self.sessions.get_mut(session) {
            session.connections.retain(|&other| other != number);
        }
        self.close_session_if_empty(session);
    }

    /// A session lives as long as it has a connection.
    pub(super) fn close_session_if_empty(&mut self, session: u64) {
        if self
            .sessions
            .get(session)
            .is_some_and(|session| session.connections.is_empty())
            && let Some(session) = self.sessions.close(session)
        {
            self.count_bytes_of(session.nexus);
            self.target.nexus_close(session.nexus);
            self.totals.sessions_closed += 1;
            info!(host = %session.host.name, identity = %session.by, session = session.id, "session ended");
        }
    }

    /// Cuts all connections of a session.
    pub(super) fn end_session(&mut self, session: u64, why: &str) {
        for number in self.connections_of(session) {
            self.end_connection(number, why);
        }
        self.close_session_if_empty(session);
    }

    /// Says goodbye on all channels of a session.
    pub(super) fn leave_session(&mut self, session: u64) {
        for number in self.connections_of(session) {
            if let Some(connection) = self.connections.get_mut(number) {
                connection.channel.handle_shutdown();
                self.handle_channel_events(number);
            }
        }
    }

    fn connections_of(&self, session: u64) -> Vec<u32> {
        self.sessions
            .get(session)
            .map(|session| session.connections.clone())
            .unwrap_or_default()
    }

    /// A device is gone: so are its connections.
    pub(super) fn lose_adapter(&mut self, adapter: usize, why: &dyn fmt::Display) {
        let Some(device) = self
            .fabric
            .adapters
            .get(adapter)
            .map(|a| a.name().to_owned())
        else {
            return;
        };
        warn!(device, reason = %why, "RDMA device lost");
        for number in self.connections.numbers() {
            if self
                .connections
                .get(number)
                .is_some_and(|c| c.adapter == adapter)
            {
                self.end_connection(number, "its RDMA device is gone");
            }
        }
        self.mailbox.events().send(Event::DeviceLost {
            device,
            text: why.to_string(),
        });
    }

    /// Moves endings forward: a goodbye that is out, a queue pair that is drained, patience that has ended.
    pub(super) fn tend_endings(&mut self) {
        for number in self.connections.take_ending() {
            let Some(connection) = self.connections.get(number) else {
                continue;
            };
            let queue_pair = &connection.queue_pair;
            match connection.phase {
                Phase::Live => {}
                Phase::Leaving { until } => {
                    let quiet =
                        queue_pair.is_drained() && !queue_pair.has_pending() && !connection.dirty;
                    if quiet || queue_pair.has_failed() || self.now >= until {
                        self.end_connection(number, "goodbye said");
                    }
                    self.connections.mark_ending(number);
                }
                Phase::Silent => self.connections.mark_ending(number),
                Phase::Draining { until } => {
                    let quiet = queue_pair.is_drained() && connection.parted;
                    if quiet || self.now >= until {
                        self.connections.remove(number);
                    } else {
                        self.connections.mark_ending(number);
                    }
                }
            }
        }
    }

    /// Tells the time to channels that wait for it, and looks for links that are back, about once a second.
    pub(super) fn tend_timeouts(&mut self) {
        if self.now < self.next_look {
            return;
        }
        self.next_look = self.now + LOOK;
        for number in self.connections.handle_timeouts(millis(self.now)) {
            self.handle_channel_events(number);
        }
        self.disconnect_silent();
    }

    /// How long this thread may sleep; `None` for as long as nothing happens.
    pub(super) fn patience(&self) -> Option<Duration> {
        let ending = self.connections.next_deadline();
        let drain = self.requests.deadline();
        let look = self.connections.wants_a_look().then(|| self.now + LOOK);
        let until = ending.into_iter().chain(drain).chain(look).min();
        let patience = until.map(|until| until.saturating_sub(self.now));
        patience.into_iter().chain(self.fabric.patience()).min()
    }
}
