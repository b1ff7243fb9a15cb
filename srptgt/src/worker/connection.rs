//! One connection: a queue pair, the protocol machine that it feeds, and how far its life has come.

use std::time::Duration;

use rdma::{AcceptParameters, QueuePair};
use target_core::command::{ChannelId, ExchangeId};
use target_core::port::{Channel, Transmit};
use target_core::target::NexusId;
use transport_srp::Negotiated;

/// How long a goodbye may take before the connection is cut.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);

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
    /// Over, but not disconnected, because its port has no link. The goodbye could reach nobody, and on `rdma_rxe` it
    /// would be the last: the first management datagram that its network device does not take leaves the queue pair
    /// of connection management in error for good. So this lasts until there is a link or the device is gone.
    Silent,
    /// Disconnected; the NIC gives back its buffers, and the peer hears of the end, until then.
    Draining {
        /// When patience ends.
        until: Duration,
    },
}

/// What a login came to.
pub(super) struct Login {
    /// Whose.
    pub(super) session: u64,
    /// The same, in the core.
    pub(super) nexus: NexusId,
    /// What was agreed.
    pub(super) negotiated: Negotiated,
}

/// A connection of a session.
pub(super) struct Connection {
    /// Our number for it; the core's channel id is the same number.
    pub(super) number: u32,
    /// The connection manager's end of it.
    pub(super) cm: rdma::Connection,
    /// Where its messages go.
    pub(super) queue_pair: QueuePair,
    /// The protocol.
    pub(super) channel: Box<dyn Channel>,
    /// Which device it is on.
    pub(super) adapter: usize,
    /// Whose it is.
    pub(super) session: u64,
    /// The same, in the core.
    pub(super) nexus: NexusId,
    /// How far.
    pub(super) phase: Phase,
    /// What the login agreed on.
    pub(super) negotiated: Negotiated,
    /// Commands that the core has and has not answered.
    pub(super) in_flight: u32,
    /// On the list of those that may have something to send.
    pub(super) dirty: bool,
    /// RDMA READs that have not come back.
    pub(super) pulls: u32,
    /// The queue pair has more than its send queue has room for.
    pub(super) blocked: bool,
    /// Sends have not completed.
    pub(super) sending: bool,
    /// The channel waits for a time.
    pub(super) timed: bool,
    /// The peer knows that the connection has ended. Until then the connection manager repeats it, as long as its end
    /// of the connection is kept.
    pub(super) parted: bool,
    /// Arrival of the command of each exchange, by place.
    started: Vec<Duration>,
}

impl Connection {
    /// A connection that is about to be accepted.
    pub(super) fn new(
        number: u32,
        cm: rdma::Connection,
        queue_pair: QueuePair,
        channel: Box<dyn Channel>,
        adapter: usize,
        login: Login,
    ) -> Self {
        Self {
            number,
            cm,
            queue_pair,
            channel,
            adapter,
            session: login.session,
            nexus: login.nexus,
            negotiated: login.negotiated,
            phase: Phase::Live,
            in_flight: 0,
            dirty: false,
            pulls: 0,
            blocked: false,
            sending: false,
            timed: false,
            parted: false,
            started: Vec::new(),
        }
    }

    /// Tells the peer that it is in; its first message may come before this returns.
    ///
    /// # Errors
    /// The peer has given up, or the device is gone.
    pub(super) fn accept(&mut self, parameters: &AcceptParameters<'_>) -> Result<(), rdma::Error> {
        self.cm.accept(&mut self.queue_pair, parameters)
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

    /// Hands everything that the channel wants to send to the queue pair, and rings its doorbell once.
    /// Returns how many RDMA READs went out with it.
    ///
    /// # Errors
    /// What stands in the way; the connection is lost then.
    pub(super) fn transmit(&mut self) -> Result<u32, TransmitError> {
        let mut pulls = 0;
        while let Some(transmit) = self.channel.poll_transmit() {
            match transmit {
                Transmit::Respond {
                    data,
                    segments,
                    message,
                    invalidate,
                } => {
                    self.queue_pair
                        .queue_respond(data, segments, message, invalidate)?;
                }
                Transmit::Stream { .. } => return Err(TransmitError::NoStream),
                Transmit::Pull {
                    exchange,
                    buf,
                    segments,
                } => {
                    self.queue_pair
                        .queue_pull(u64::from(exchange.0), buf, segments)?;
                    pulls += 1;
                }
            }
        }
        self.queue_pair.flush()?;
        Ok(pulls)
    }
}

/// Why nothing more can be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransmitError {
    /// What was to be sent is not possible.
    #[error(transparent)]
    Post(#[from] rdma::PostError),
    /// A channel of a byte stream sits on a queue pair: a mistake of this daemon.
    #[error("bytes for a stream cannot be sent on a queue pair")]
    NoStream,
    /// The queue pair does not take it.
    #[error(transparent)]
    Device(#[from] rdma::Error),
}
