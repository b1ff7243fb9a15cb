//! Ends: of a channel, a connection, a session, a device. Every wait has a deadline, but that for a lost link.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use target_core::port::{Channel, CloseReason};
use tracing::{debug, info, warn};

use crate::worker_link::Event;

use super::Worker;
use super::clock::millis;
use super::connection::{Connection, DRAIN, GOODBYE, LOOK, MOST_PARTING, Member, PARTING, Phase};
use super::link::{Link, RdmaLink};
use super::machine::Machine;

impl Worker {
    /// The channel is over. Its goodbye is still sent; then the connection is cut.
    pub(super) fn leave_connection(&mut self, number: u32, reason: &CloseReason) {
        let connection = self.connections.get(number);
        let is_logging_in = connection.is_some_and(Connection::is_logging_in);
        match reason {
            CloseReason::PeerLogout | CloseReason::Shutdown | CloseReason::LoginRefused(_) => {}
            CloseReason::Protocol(text) => {
                self.totals.protocol_errors += 1;
                match is_logging_in {
                    true => self.login_broken(number, text),
                    false => {
                        warn!(connection = number, reason = %text, "the initiator broke the protocol")
                    }
                }
            }
            CloseReason::Silent(text) => {
                self.totals.peers_silent += 1;
                match is_logging_in {
                    true => self.login_unfinished(number, text),
                    false => warn!(connection = number, reason = %text, "the initiator is silent"),
                }
            }
        }
        let may_part = self.connections.parting() < MOST_PARTING;
        if let Some(connection) = self.connections.get_mut(number)
            && connection.phase == Phase::Live
        {
            connection.phase = match may_part && connection.is_left_by_peer(reason) {
                true => Phase::Parting {
                    until: self.now + PARTING,
                },
                false => Phase::Leaving {
                    until: self.now + GOODBYE,
                },
            };
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
        connection.phase = Phase::Silent;
        let port = match &mut connection.link {
            Link::Stream(_) => None,
            Link::Rdma(link) => {
                // It can only fail when the device is gone, and the queue pair with it.
                let _ = link.queue_pair.to_error();
                Some((link.adapter, link.cm.port()))
            }
        };
        let is_member = connection.member.is_some();
        if port.is_none_or(|(adapter, port)| self.has_link(adapter, port)) {
            self.disconnect(number);
        }
        if was == Phase::Live {
            // Whoever has no session yet may be anybody, and many.
            match is_member {
                true => info!(connection = number, why, "connection ends"),
                false => debug!(connection = number, why, "connection ends"),
            }
            self.forget(number);
        }
        self.connections.mark_ending(number);
    }

    /// The same, of a peer that does not answer any more.
    pub(super) fn end_silent_connection(&mut self, number: u32, why: &str) {
        let connection = self.connections.get(number);
        let is_live = connection.is_some_and(|connection| connection.phase == Phase::Live);
        self.totals.peers_silent += u64::from(is_live);
        self.end_connection(number, why);
    }

    fn has_link(&self, adapter: usize, port: u8) -> bool {
        let adapter = self.fabric.adapters.get(adapter);
        adapter.is_none_or(|adapter| adapter.has_link(port))
    }

    fn disconnect(&mut self, number: u32) {
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        connection.phase = Phase::Draining {
            until: self.now + DRAIN,
        };
        match &mut connection.link {
            // What cannot be disconnected has been already.
            Link::Rdma(link) => link.parted |= link.cm.disconnect().is_err(),
            Link::Stream(link) => {
                let held: usize = link.held.drain(..).map(|bytes| bytes.len()).sum();
                self.tcp.held_bytes -= held;
                self.engine.close_stream(link.stream);
            }
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
            let link = silent.and_then(|connection| connection.link.rdma());
            let Some(port) = link.map(|link| (link.adapter, link.cm.port())) else {
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
        let channel = connection.channel_id();
        let Some(Member { session, nexus }) = connection.member else {
            return;
        };
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
            self.leave(number);
        }
    }

    /// Says goodbye on all connections of iSCSI, whosever they are: a TARGET COLD RESET is like a power on (RFC 7143 11.5.1).
    pub(super) fn leave_iscsi(&mut self) {
        info!("an initiator has reset the target: every iSCSI session ends");
        for number in self.connections.numbers() {
            let connection = self.connections.get(number);
            if connection.is_some_and(|connection| matches!(connection.machine, Machine::Iscsi(_)))
            {
                self.leave(number);
            }
        }
    }

    /// Says goodbye on a connection.
    pub(super) fn leave(&mut self, number: u32) {
        if let Some(connection) = self.connections.get_mut(number) {
            connection.machine.handle_shutdown();
            self.handle_channel_events(number);
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
                .and_then(|connection| connection.link.rdma())
                .is_some_and(|link| link.adapter == adapter)
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
            match connection.phase {
                Phase::Live => continue,
                Phase::Leaving { until } => {
                    if self.is_sent(number) || self.now >= until {
                        self.end_connection(number, "goodbye said");
                    }
                }
                Phase::Parting { until } => {
                    let is_over = self.requests.is_draining() && self.is_sent(number);
                    if self.now >= until || is_over {
                        self.end_connection(number, "the initiator has not disconnected");
                    }
                }
                Phase::Silent => {}
                Phase::Draining { until } => {
                    if self.now >= until || self.is_drained(number) {
                        self.connections.remove(number);
                        // It may have held answers that were never sent, with their data.
                        self.target.handle_buffers_freed();
                        continue;
                    }
                }
            }
            self.connections.mark_ending(number);
        }
    }

    /// True when nothing that a connection had to say is on its way any more.
    fn is_sent(&mut self, number: u32) -> bool {
        let Some(connection) = self.connections.get(number) else {
            return true;
        };
        let sent = match &connection.link {
            Link::Rdma(RdmaLink { queue_pair, .. }) if queue_pair.has_failed() => return true,
            Link::Rdma(RdmaLink { queue_pair, .. }) => {
                queue_pair.is_drained() && !queue_pair.has_pending()
            }
            Link::Stream(link) => self.engine.is_sent(link.stream),
        };
        sent && !connection.dirty
    }

    /// True when the NIC or the kernel has given back everything of a connection that was cut.
    fn is_drained(&self, number: u32) -> bool {
        let connection = self.connections.get(number);
        connection.is_none_or(|connection| match &connection.link {
            Link::Rdma(link) => link.queue_pair.is_drained() && link.parted,
            Link::Stream(link) => link.closed,
        })
    }

    /// Tells the time to channels that wait for it, and looks for links that are back, about once a second.
    pub(super) fn tend_timeouts(&mut self) {
        if self.now < self.next_look {
            return;
        }
        self.next_look = self.now + LOOK;
        self.tcp.resume(&mut self.engine);
        for number in self.connections.handle_timeouts(millis(self.now)) {
            self.handle_channel_events(number);
        }
        self.disconnect_silent();
    }

    /// How long this thread may sleep; `None` for as long as nothing happens.
    pub(super) fn patience(&self) -> Option<Duration> {
        let ending = self.connections.next_deadline();
        let drain = self.requests.deadline();
        let look = self.connections.wants_a_look() || self.tcp.is_stalled();
        let look = look.then(|| self.now + LOOK);
        let until = ending.into_iter().chain(drain).chain(look).min();
        let patience = until.map(|until| until.saturating_sub(self.now));
        patience.into_iter().chain(self.fabric.patience()).min()
    }
}
