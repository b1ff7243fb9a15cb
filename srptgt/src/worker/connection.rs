//! One connection: what carries it, the protocol machine that it feeds, and how far its life has come.

use std::time::Duration;

use target_core::command::{ChannelId, ExchangeId};
use target_core::port::CloseReason;
use target_core::target::NexusId;

use crate::access::{Admitted, LoginIdentity};

use super::link::Link;
use super::machine::Machine;

/// How long a goodbye may take before the connection is cut.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);

/// How long an initiator that has logged out over RDMA may take to disconnect. Most do at once, so it may be long.
pub(super) const PARTING: Duration = Duration::from_secs(30);

/// So many may take that long at a time; with more, this end is the first.
pub(super) const MOST_PARTING: usize = 64;

/// How long the NIC may take to give back what it holds before the queue pair is destroyed under it.
pub(super) const DRAIN: Duration = Duration::from_secs(10);

/// How often somebody looks, although nothing happens, at connections that have something to look at: sends that have
/// not completed, because a peer that does not answer shows there and nowhere else, times that channels wait for, and
/// ports without a link.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// Only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Commands run.
    Live,
    /// The channel is over; its last messages are on their way until then.
    Leaving {
        /// When patience ends.
        until: Duration,
    },
    /// The initiator has logged out, and is the one to disconnect.
    Parting {
        /// When patience ends.
        until: Duration,
    },
    /// Over, but not disconnected, because its port has no link. The goodbye could reach nobody, and on `rdma_rxe` it
    /// would be the last: the first management datagram that its network device does not take leaves the queue pair
    /// of connection management in error for good. So this lasts until there is a link or the device is gone.
    Silent,
    /// Disconnected; the NIC or the kernel gives back its buffers, and the peer hears of the end, until then.
    Draining {
        /// When patience ends.
        until: Duration,
    },
}

/// A connection's place in a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Whose.
    pub(super) session: u64,
    /// The same, in the core.
    pub(super) nexus: NexusId,
}

/// How far a connection's login has come.
pub(super) enum Progress {
    /// It is not over; what it has shown and been granted so far.
    LoggingIn(Box<Pending>),
    /// SRP: over before the connection was made.
    Srp(transport_srp::Negotiated),
    /// iSCSI: these values hold.
    Iscsi(Box<transport_iser::login::Negotiated>),
}

/// An iSCSI login that is not over.
pub(super) struct Pending {
    /// Everything that is known of who logs in.
    pub(super) login: LoginIdentity,
    /// What it was granted, when it was asked for.
    pub(super) admitted: Option<Admitted>,
    /// The operator was told of the refusal.
    pub(super) was_refused: bool,
}

/// A connection of a session, or one that is about to have one.
pub(super) struct Connection {
    /// Our number for it; the core's channel id is the same number, and so is the engine's token.
    pub(super) number: u32,
    /// What carries it.
    pub(super) link: Link,
    /// The protocol.
    pub(super) machine: Machine,
    /// Whose it is; nobody's before its login is over, nor when it is for discovery.
    pub(super) member: Option<Member>,
    /// How far its login is.
    pub(super) progress: Progress,
    /// How far.
    pub(super) phase: Phase,
    /// Commands that the core has and has not answered.
    pub(super) in_flight: u32,
    /// On the list of those that may have something to send.
    pub(super) dirty: bool,
    /// The machine waits for a time.
    pub(super) timed: bool,
    /// Arrival of the command of each exchange, by place.
    started: Vec<Duration>,
}

impl Connection {
    /// One that has moved nothing.
    pub(super) fn new(number: u32, link: Link, machine: Machine, progress: Progress) -> Self {
        Self {
            number,
            link,
            machine,
            member: None,
            progress,
            phase: Phase::Live,
            in_flight: 0,
            dirty: false,
            timed: false,
            started: Vec::new(),
        }
    }

    /// The session that it belongs to.
    pub(super) fn session(&self) -> Option<u64> {
        self.member.map(|member| member.session)
    }

    /// True while the login is not over.
    pub(super) fn is_logging_in(&self) -> bool {
        matches!(self.progress, Progress::LoggingIn(_))
    }

    /// Whether the initiator is the one to disconnect, when the channel is over for this reason. After a logout either end may
    /// be the first (RFC 7143 8.1.2). Over RDMA it is not this one: the end of the connection is an event for a process
    /// that may have freed what its handler needs, as libiscsi 1.19 has by then.
    pub(super) fn is_left_by_peer(&self, reason: &CloseReason) -> bool {
        *reason == CloseReason::PeerLogout
            && matches!(self.link, Link::Rdma(_))
            && matches!(self.machine, Machine::Iscsi(_))
    }

    /// What the core calls it.
    pub(super) fn channel_id(&self) -> ChannelId {
        ChannelId(self.number)
    }

    /// Notes when a command came. The table grows to the request limit at most.
    pub(super) fn command_started(&mut self, exchange: ExchangeId, now: Duration) {
        let index = exchange.place();
        if self.started.len() <= index {
            self.started.resize(index + 1, Duration::ZERO);
        }
        if let Some(started) = self.started.get_mut(index) {
            *started = now;
        }
        self.in_flight += 1;
    }

    /// How long the exchange's command took.
    pub(super) fn command_ended(&mut self, exchange: ExchangeId, now: Duration) -> Duration {
        self.in_flight = self.in_flight.saturating_sub(1);
        let started = self.started.get(exchange.place()).copied().unwrap_or(now);
        now.saturating_sub(started)
    }
}
