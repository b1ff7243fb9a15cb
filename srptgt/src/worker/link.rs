//! What carries a connection: a queue pair, or a stream of bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;

use backstore::{Engine, SendError, StreamId};
use rdma::QueuePair;
use target_core::port::{Channel, Transmit};

use super::machine::Machine;

/// The lower end of a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "a queue pair is used for each command, and a few hundred bytes too much for a stream are no loss"
)]
pub(super) enum Link {
    /// RDMA.
    Rdma(RdmaLink),
    /// TCP.
    Stream(StreamLink),
}

/// A queue pair, and the connection manager's end of it.
pub(super) struct RdmaLink {
    /// The connection manager's end.
    pub(super) cm: rdma::Connection,
    /// Where messages go.
    pub(super) queue_pair: QueuePair,
    /// Which device it is on, for which protocol.
    pub(super) adapter: usize,
    /// RDMA READs that have not come back.
    pub(super) pulls: u32,
    /// The queue pair has more than its send queue has room for.
    pub(super) blocked: bool,
    /// Sends have not completed.
    pub(super) sending: bool,
    /// The peer knows that the connection has ended. Until then the connection manager repeats it, as long as its end
    /// of the connection is kept.
    pub(super) parted: bool,
}

/// A socket on the worker's ring.
pub(super) struct StreamLink {
    /// In the engine.
    pub(super) stream: StreamId,
    /// Our end.
    pub(super) local: SocketAddr,
    /// What came while the machine wanted nothing, in order. Copies: the chunks are needed by those who can go on, and
    /// by whose going on this one gets what it waits for.
    pub(super) held: VecDeque<Vec<u8>>,
    /// Receiving has stopped until the channel wants something.
    pub(super) paused: bool,
    /// The kernel holds nothing of the socket any more.
    pub(super) closed: bool,
}

impl RdmaLink {
    /// One that has moved nothing.
    pub(super) fn new(cm: rdma::Connection, queue_pair: QueuePair, adapter: usize) -> Self {
        Self {
            cm,
            queue_pair,
            adapter,
            pulls: 0,
            blocked: false,
            sending: false,
            parted: false,
        }
    }

    /// Hands everything that the machine wants to send to the queue pair, and rings its doorbell once. Returns how
    /// many RDMA READs went out with it.
    fn transmit(&mut self, machine: &mut Machine) -> Result<u32, TransmitError> {
        let mut pulls = 0;
        while let Some(transmit) = machine.poll_transmit() {
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
                Transmit::Pull {
                    exchange,
                    buf,
                    segments,
                } => {
                    self.queue_pair
                        .queue_pull(u64::from(exchange.0), buf, segments)?;
                    pulls += 1;
                }
                Transmit::Stream { .. } => return Err(TransmitError::WrongLink),
            }
        }
        self.queue_pair.flush()?;
        Ok(pulls)
    }
}

impl StreamLink {
    /// One that has moved nothing.
    pub(super) fn new(stream: StreamId, local: SocketAddr) -> Self {
        Self {
            stream,
            local,
            held: VecDeque::new(),
            paused: false,
            closed: false,
        }
    }

    /// Queues everything that the machine wants to send; it leaves with the ring's next turn.
    fn transmit(
        &mut self,
        machine: &mut Machine,
        engine: &mut Engine,
    ) -> Result<(), TransmitError> {
        while let Some(transmit) = machine.poll_transmit() {
            match transmit {
                Transmit::Stream {
                    message,
                    data,
                    pieces,
                } => engine.send(self.stream, message, data, pieces)?,
                Transmit::Respond { .. } | Transmit::Pull { .. } => {
                    return Err(TransmitError::WrongLink);
                }
            }
        }
        Ok(())
    }
}

impl Link {
    /// The queue pair, when it is one.
    pub(super) fn rdma(&self) -> Option<&RdmaLink> {
        match self {
            Self::Rdma(link) => Some(link),
            Self::Stream(_) => None,
        }
    }

    /// The queue pair, when it is one.
    pub(super) fn rdma_mut(&mut self) -> Option<&mut RdmaLink> {
        match self {
            Self::Rdma(link) => Some(link),
            Self::Stream(_) => None,
        }
    }

    /// The stream, when it is one.
    pub(super) fn stream_mut(&mut self) -> Option<&mut StreamLink> {
        match self {
            Self::Rdma(_) => None,
            Self::Stream(link) => Some(link),
        }
    }

    /// Our address, when it has one.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        match self {
            Self::Rdma(link) => link.cm.local().socket,
            Self::Stream(link) => Some(link.local),
        }
    }

    /// Sends what the machine has. Returns how many RDMA READs went out.
    ///
    /// # Errors
    /// What stands in the way; the connection is lost then.
    pub(super) fn transmit(
        &mut self,
        machine: &mut Machine,
        engine: &mut Engine,
    ) -> Result<u32, TransmitError> {
        match self {
            Self::Rdma(link) => link.transmit(machine),
            Self::Stream(link) => link.transmit(machine, engine).map(|()| 0),
        }
    }
}

/// Why nothing more can be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransmitError {
    /// What was to be sent is not possible.
    #[error(transparent)]
    Post(#[from] rdma::PostError),
    /// The queue pair does not take it.
    #[error(transparent)]
    Device(#[from] rdma::Error),
    /// The stream does not take it.
    #[error(transparent)]
    Stream(#[from] SendError),
    /// The machine is for another kind of link: a mistake of this daemon.
    #[error("the protocol's answer does not fit what carries the connection")]
    WrongLink,
}
