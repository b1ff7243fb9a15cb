//! What carries a connection of the target, and the protocol on it, as the daemon's worker has them.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use iobuf::Buf;
use roce::QueuePairNumber;
use roce::cm::ConnectionId;
use target_core::port::{self, Part, Piece};
use transport_iser::connection::Connection as IscsiConnection;
use transport_srp::Channel;

use super::nic::SendQueue;
use crate::sim::stream::{Side, Streams};

/// The protocol machine of a connection.
pub(super) enum Machine {
    Srp(Box<Channel>),
    Iscsi(Box<IscsiConnection>),
}

impl Machine {
    /// Heap bytes and exchanges.
    pub(super) fn size(&self) -> (usize, u32) {
        match self {
            Self::Srp(channel) => (channel.heap_bytes(), channel.exchanges_in_use()),
            Self::Iscsi(connection) => (connection.heap_bytes(), connection.exchanges_in_use()),
        }
    }

    pub(super) fn iscsi(&mut self) -> Option<&mut IscsiConnection> {
        match self {
            Self::Srp(_) => None,
            Self::Iscsi(connection) => Some(connection),
        }
    }
}

impl Deref for Machine {
    type Target = dyn port::Channel;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Srp(channel) => &**channel,
            Self::Iscsi(connection) => &**connection,
        }
    }
}

impl DerefMut for Machine {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Srp(channel) => &mut **channel,
            Self::Iscsi(connection) => &mut **connection,
        }
    }
}

/// What is below the protocol.
pub(super) enum Carrier {
    Queue {
        cm: ConnectionId,
        qp: QueuePairNumber,
        sends: SendQueue,
    },
    Stream(Outgoing),
}

impl Carrier {
    pub(super) fn queue(cm: ConnectionId, qp: QueuePairNumber) -> Self {
        let sends = SendQueue::new(qp);
        Self::Queue { cm, qp, sends }
    }

    pub(super) fn qp(&self) -> Option<QueuePairNumber> {
        match self {
            Self::Queue { qp, .. } => Some(*qp),
            Self::Stream(_) => None,
        }
    }

    pub(super) fn cm(&self) -> Option<ConnectionId> {
        match self {
            Self::Queue { cm, .. } => Some(*cm),
            Self::Stream(_) => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Queue { sends, .. } => sends.is_empty(),
            Self::Stream(outgoing) => outgoing.0.is_empty(),
        }
    }
}

/// Buffers whose bytes the stream has not taken yet.
#[derive(Default)]
pub(super) struct Outgoing(VecDeque<Sending>);

struct Sending {
    message: Buf,
    data: Option<Buf>,
    pieces: VecDeque<Piece>,
}

impl Outgoing {
    pub(super) fn push(&mut self, message: Buf, data: Option<Buf>, pieces: &[Piece]) {
        let pieces = pieces.iter().copied().collect();
        self.0.push_back(Sending {
            message,
            data,
            pieces,
        });
    }

    /// Writes as much as the stream takes; true when buffers came back.
    pub(super) fn flush(&mut self, streams: &Streams, link: u32, now_us: u64) -> bool {
        let mut freed = false;
        while let Some(sending) = self.0.front_mut() {
            while let Some(piece) = sending.pieces.front_mut() {
                let buf = match piece.of {
                    Part::Message => &sending.message,
                    Part::Data => sending.data.as_ref().expect("data of a piece"),
                };
                let start = piece.start as usize;
                let bytes = &buf[start..start + piece.len as usize];
                let written = streams.write(link, Side::Target, bytes, now_us);
                if written < bytes.len() {
                    piece.start += written as u32;
                    piece.len -= written as u32;
                    return freed;
                }
                sending.pieces.pop_front();
            }
            self.0.pop_front();
            freed = true;
        }
        freed
    }

    /// The stream has ended.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
