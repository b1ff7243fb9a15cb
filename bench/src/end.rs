//! The other end of a channel: makes the messages that an initiator sends, and judges what comes back.

mod iscsi;
mod iser;
mod srp;
mod tcp;

use std::collections::VecDeque;

use anyhow::Result;
use iobuf::{Arena, Buf, Pool};
use target_core::port::{Channel, Transmit};
use target_core::target::TransportId;

use crate::job::{Job, Transport};

/// Commands that an initiator may have open.
pub(crate) const MOST_OUTSTANDING: u32 = 128;

/// Memory of one path.
const DATA_BYTES: usize = 16 << 20;
const RECEIVE_BYTES: usize = 4 << 20;
const MESSAGES_BYTES: usize = 4 << 20;

/// An initiator whose messages are canned.
pub(crate) trait End: std::fmt::Debug {
    /// Who it is.
    fn transport_id(&self) -> TransportId;

    /// Sends so many commands: they lie in receive buffers as a NIC or a socket would have written them.
    fn send(&mut self, commands: u64, arrived: &mut VecDeque<Buf>);

    /// Takes what the channel sends, and may answer. Gives how many commands have ended with GOOD.
    fn receive(&mut self, transmit: &Transmit<'_>, arrived: &mut VecDeque<Buf>) -> u64;
}

/// What a path is made of.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) data: Pool,
    pub(crate) channel: Box<dyn DebugChannel>,
    pub(crate) end: Box<dyn End>,
}

/// A channel that can be shown.
pub(crate) trait DebugChannel: Channel + std::fmt::Debug {}
impl<C: Channel + std::fmt::Debug> DebugChannel for C {}

/// Pools of one path, before they are cut as the transport wants.
struct Room {
    arena: std::sync::Arc<Arena>,
    data: Pool,
}

impl Room {
    fn new() -> Result<Self> {
        let arena = Arena::new(DATA_BYTES + RECEIVE_BYTES + MESSAGES_BYTES)?;
        let data = Pool::buddy(&arena, 0..DATA_BYTES, 1 << 20);
        Ok(Self { arena, data })
    }

    /// Receive buffers.
    fn slots(&self, slot_len: usize) -> Pool {
        let begin = DATA_BYTES;
        Pool::slots(&self.arena, begin..begin + RECEIVE_BYTES, slot_len)
    }

    /// Buffers of a channel's own messages, all alike.
    fn message_slots(&self, slot_len: usize) -> Pool {
        let begin = DATA_BYTES + RECEIVE_BYTES;
        Pool::slots(&self.arena, begin..begin + MESSAGES_BYTES, slot_len)
    }

    /// Buffers of a channel's own messages, of many sizes.
    fn messages(&self) -> Pool {
        let begin = DATA_BYTES + RECEIVE_BYTES;
        Pool::buddy(&self.arena, begin..begin + MESSAGES_BYTES, 1 << 20)
    }
}

/// Both ends for a job.
///
/// # Errors
/// There is no memory, or a canned message is wrong.
pub(crate) fn ends(job: Job) -> Result<Ends> {
    let room = Room::new()?;
    let (channel, end): (Box<dyn DebugChannel>, Box<dyn End>) = match job.transport {
        Transport::Srp => srp::ends(&room, job.kind)?,
        Transport::Iser => iser::ends(&room, job.kind),
        Transport::Tcp => tcp::ends(&room, job.kind),
    };
    Ok(Ends {
        data: room.data,
        channel,
        end,
    })
}
