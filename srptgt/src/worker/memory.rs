//! The worker's memory: one arena, cut once into the pools of the data path.
//!
//! Everything that a NIC or the kernel's ring may touch lies in this arena, so one registration with each
//! covers all of it and no command ever looks a key up.

use std::io;
use std::sync::Arc;

use iobuf::{Arena, Pool};
use transport_iser::iser::{HEADER_BYTES, MESSAGE_BYTES};
use transport_iser::pdu::BHS_BYTES;
use transport_srp::layout::DEFAULT_MAX_IT_IU_LEN;
use transport_srp::{RecvLayout, recv_layout};

/// Bytes of an outgoing message slot: an SRP_RSP with sense data, and any other message of a target.
const MESSAGE_SLOT_BYTES: usize = 256;

/// Which part of the bytes for data is for data that come before the core has asked for them.
const UNSOLICITED_PART: usize = 4;

/// Bytes for operations whose memory direct I/O does not take.
const BOUNCE_BYTES: usize = 4 << 20;

/// How messages lie in receive slots, so that immediate data can go to a medium where it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiveLayout {
    /// Bytes of a slot.
    pub(super) slot_len: usize,
    /// Where in it a message begins.
    pub(super) window_start: usize,
    /// Bytes of the longest message.
    pub(super) message_len: usize,
}

/// SRP: immediate data of Linux initiators begins on a page.
pub(super) const SRP_LAYOUT: ReceiveLayout = {
    let RecvLayout {
        slot_len,
        window_start,
    } = recv_layout(DEFAULT_MAX_IT_IU_LEN);
    ReceiveLayout {
        slot_len,
        window_start,
        message_len: DEFAULT_MAX_IT_IU_LEN as usize,
    }
};

/// iSER: what follows the iSER header and the basic header begins on a page.
pub(super) const ISER_LAYOUT: ReceiveLayout = ReceiveLayout {
    slot_len: (PAGE_BYTES - ISER_HEADERS_BYTES + MESSAGE_BYTES).next_multiple_of(PAGE_BYTES),
    window_start: PAGE_BYTES - ISER_HEADERS_BYTES,
    message_len: MESSAGE_BYTES,
};

const PAGE_BYTES: usize = 4096;

/// The iSER header and the basic header of a PDU (RFC 7145 9, RFC 7143 11.2.1).
const ISER_HEADERS_BYTES: usize = HEADER_BYTES + BHS_BYTES;

/// How much memory a worker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySettings {
    /// Bytes for the data of commands in flight; a command that finds no room waits.
    pub data_bytes: usize,
    /// Longest transfer of one command in bytes: a power of two, at most an eighth of `data_bytes`.
    pub max_transfer_bytes: usize,
    /// Outgoing messages on their way, over all sessions.
    pub messages: usize,
    /// Bytes that may have come over TCP and be kept, over all connections, for want of buffers; a connection that brings
    /// more is cut. Receiving stops with the first of them, and what is kept is what was on its way.
    pub most_held_bytes: usize,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            data_bytes: 128 << 20,
            max_transfer_bytes: 4 << 20,
            messages: 4096,
            most_held_bytes: 256 << 20,
        }
    }
}

/// The pools of one worker.
#[derive(Debug)]
pub(super) struct Memory {
    /// What all pools are cut from.
    pub(super) arena: Arc<Arena>,
    /// Data of commands, and descriptor tables.
    pub(super) data: Pool,
    /// Unsolicited data of iSCSI. Its commands wait for buffers of `data`, so that it must not take them all: nobody who has one
    /// waits for one of these.
    pub(super) unsolicited: Pool,
    /// Outgoing messages.
    pub(super) messages: Pool,
    /// For the back end.
    pub(super) bounce: Pool,
    /// Bytes that came over TCP and may be kept for want of buffers.
    pub(super) most_held_bytes: usize,
}

impl Memory {
    /// Maps the arena and cuts the pools.
    ///
    /// # Errors
    /// The kernel's error when there is not that much address space or memory.
    pub(super) fn new(settings: &MemorySettings) -> io::Result<Self> {
        // Buddies are aligned to their size from the start of their region: the largest ones come first.
        let largest = settings.max_transfer_bytes;
        let unsolicited_bytes = (settings.data_bytes / UNSOLICITED_PART).next_multiple_of(largest);
        let data = 0..settings.data_bytes - unsolicited_bytes;
        let unsolicited = data.end..settings.data_bytes;
        let bounce = unsolicited.end..unsolicited.end + BOUNCE_BYTES;
        let messages = bounce.end..bounce.end + settings.messages * MESSAGE_SLOT_BYTES;
        let arena = Arena::new(messages.end)?;
        Ok(Self {
            data: Pool::buddy(&arena, data, largest),
            unsolicited: Pool::buddy(&arena, unsolicited, largest),
            bounce: Pool::buddy(&arena, bounce, BOUNCE_BYTES),
            messages: Pool::slots(&arena, messages, MESSAGE_SLOT_BYTES),
            most_held_bytes: settings.most_held_bytes,
            arena,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immediate_data_is_aligned_in_every_slot() {
        for (layout, headers) in [(SRP_LAYOUT, 68), (ISER_LAYOUT, 76)] {
            let bytes = 3 * layout.slot_len;
            let arena = Arena::new(bytes).expect("map");
            let pool = Pool::slots(&arena, 0..bytes, layout.slot_len);
            let held: Vec<_> = std::iter::from_fn(|| pool.take(layout.slot_len)).collect();
            assert_eq!(held.len(), 3);
            for mut buf in held {
                assert!(buf.set_window(layout.window_start + headers, 8192));
                assert_eq!(buf.address() % 4096, 0);
                assert!(buf.set_window(layout.window_start, layout.message_len));
            }
        }
    }

    #[test]
    fn the_pools_share_the_arena_without_overlapping() {
        let memory = Memory::new(&MemorySettings::default()).expect("map");
        let MemorySettings {
            data_bytes,
            max_transfer_bytes,
            ..
        } = MemorySettings::default();
        let pools = [&memory.data, &memory.unsolicited];
        for pool in pools {
            assert_eq!(pool.largest(), max_transfer_bytes);
        }
        let bytes = pools.map(|pool| pool.level().capacity_bytes);
        assert_eq!(bytes.iter().sum::<usize>(), data_bytes);
        assert!(memory.messages.take(MESSAGE_SLOT_BYTES).is_some());
    }
}
