//! Ends and times: of a channel, of a connection, of patience.

use target_core::command::ChannelId;

use super::carrier::{Carrier, Machine};
use super::{Past, Phase, TargetSide};
use crate::sim::journal::Entry;
use crate::sim::stream::Side;

/// How long a goodbye may take.
pub(super) const GOODBYE_US: u64 = 1_000_000;

impl Past {
    fn add(&mut self, channel: &Machine) {
        match channel {
            Machine::Srp(channel) => {
                let counters = channel.counters();
                self.immediate += counters.immediate_writes;
                self.tables += counters.tables_fetched;
                self.offers += counters.credit_requests;
            }
            Machine::Iscsi(connection) => {
                let (sum, counters) = (&mut self.iscsi, connection.counters());
                sum.immediate_writes += counters.immediate_writes;
                sum.data_out_pdus += counters.data_out_pdus;
                sum.r2ts += counters.r2ts;
                sum.phase_collapses += counters.phase_collapses;
                sum.pings += counters.pings;
                sum.rejects += counters.rejects;
                sum.buffer_waits += counters.buffer_waits;
                sum.buffer_timeouts += counters.buffer_timeouts;
                sum.unread += counters.unread;
            }
        }
    }
}

impl TargetSide {
    /// Takes a channel out of the core; what runs for it is abandoned.
    pub(super) fn forget(&mut self, link: u32) {
        let Some(connection) = self.connections.get(&link) else {
            return;
        };
        let Some((port, nexus)) = connection.member.clone() else {
            return;
        };
        self.target.channel_close(nexus, ChannelId(link));
        self.journal.write(Entry::Closed { link });
        if let Some(session) = self.sessions.get_mut(&port) {
            session.links.retain(|&other| other != link);
        }
        self.close_session_if_empty(&port);
    }

    pub(super) fn end_connection(&mut self, link: u32, now_us: u64) {
        let Some(connection) = self.connections.get_mut(&link) else {
            return;
        };
        let was = std::mem::replace(&mut connection.phase, Phase::Draining);
        if was == Phase::Draining {
            return;
        }
        match &mut connection.carrier {
            Carrier::Queue { cm, qp, .. } => {
                self.node.fail_queue_pair(*qp).ok();
                self.node.disconnect(*cm, now_us).ok();
            }
            Carrier::Stream(outgoing) => {
                outgoing.clear();
                self.streams.close(link, Side::Target, now_us);
            }
        }
        if was == Phase::Live {
            self.forget(link);
        }
    }

    /// True when a connection has ended, and others may go on.
    pub(super) fn tend_endings(&mut self, now_us: u64) -> bool {
        let mut ended = false;
        let links: Vec<_> = self.connections.keys().copied().collect();
        for link in links {
            let connection = &self.connections[&link];
            let is_empty = connection.carrier.is_empty();
            match connection.phase {
                Phase::Leaving(until)
                    if now_us >= until || is_empty && !connection.channel.has_transmit() =>
                {
                    self.end_connection(link, now_us);
                    ended = true;
                }
                Phase::Draining if is_empty => {
                    self.past.add(&connection.channel);
                    if let Some(qp) = connection.carrier.qp() {
                        self.node.destroy_queue_pair(qp);
                    }
                    self.connections.remove(&link);
                    // It may have held answers that were never sent, with their data.
                    self.target.handle_buffers_freed();
                    ended = true;
                }
                _ => {}
            }
        }
        ended
    }

    pub(super) fn tend_times(&mut self, now_us: u64) {
        let links: Vec<_> = self.connections.keys().copied().collect();
        for link in links {
            let connection = self.connections.get_mut(&link);
            let live = connection.filter(|c| c.phase == Phase::Live);
            if let Some(channel) = live.map(|c| &mut c.channel)
                && channel.poll_timeout().is_some_and(|at| at <= now_us / 1000)
            {
                channel.handle_timeout(now_us / 1000);
                self.run_channel(link, now_us);
            }
        }
    }

    pub(crate) fn next_time(&self) -> Option<u64> {
        let connections = self.connections.values().flat_map(|connection| {
            let channel = connection.channel.poll_timeout().map(|ms| ms * 1000);
            let leaving = match connection.phase {
                Phase::Leaving(until) => Some(until),
                _ => None,
            };
            let channel = channel.filter(|_| connection.phase == Phase::Live);
            channel.into_iter().chain(leaving)
        });
        let node = self.node.poll_timeout();
        let disk = self.disk.next_completion();
        connections.chain(node).chain(disk).min()
    }

    /// The operator ends one channel, whichever `nth` chooses.
    pub(crate) fn kick(&mut self, nth: u64, now_us: u64) {
        let place = nth.checked_rem(self.connections.len() as u64).unwrap_or(0);
        let Some(&link) = self.connections.keys().nth(place as usize) else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.channel.handle_shutdown();
        }
        self.run_channel(link, now_us);
    }
}
