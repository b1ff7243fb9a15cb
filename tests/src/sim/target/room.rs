//! What the target is made of before anybody comes: memory and logical units.

use std::sync::Arc;

use iobuf::{Arena, Pool};
use target_core::logical_unit::{Geometry, Identity, LogicalUnit};
use transport_iser::iser;
use transport_iser::pdu::BHS_BYTES;
use transport_srp::{LoginPolicy, RecvLayout, recv_layout};

use crate::sim::scenario::Scenario;

const MESSAGE_BYTES: usize = 256;

/// Outgoing PDUs that leave together: the headers of the longest READ.
const LONGEST_PDU_BYTES: usize = 8 << 10;

/// What a stream brings at a time at most.
pub(super) const CHUNK_BYTES: usize = 4 << 10;

/// Every connection may keep one, and more than these there never are.
const CHUNKS: usize = 256;

/// As in the daemon, data behind the headers begin on a page.
const ISER_WINDOW_START: usize = 4096 - iser::HEADER_BYTES - BHS_BYTES;
const ISER_SLOT_BYTES: usize = (ISER_WINDOW_START + iser::MESSAGE_BYTES).next_multiple_of(4096);

/// The pools that all buffers come from.
pub(crate) struct Pools {
    pub(crate) data: Pool,
    /// What comes before the core has asked for it. Its commands wait for buffers of the core, and not the other way round.
    pub(crate) unsolicited: Pool,
    pub(crate) messages: Pool,
    /// Of iSCSI: outgoing PDUs, and what streams bring.
    pub(crate) pdus: Pool,
    pub(crate) chunks: Pool,
    /// Of SRP and of iSER.
    pub(crate) receives: [Receives; 2],
}

/// Memory of one receive queue.
pub(crate) struct Receives {
    pub(super) pool: Pool,
    pub(super) slot_len: usize,
    pub(super) window_start: usize,
    pub(super) message_len: usize,
}

impl Pools {
    pub(super) fn new(scenario: &Scenario, policy: &LoginPolicy) -> (Arc<Arena>, Self) {
        let RecvLayout {
            slot_len,
            window_start,
        } = recv_layout(policy.max_it_iu_len);
        let data = 0..scenario.data_bytes;
        let unsolicited = data.end..data.end + scenario.iscsi.unsolicited_bytes;
        let receives = unsolicited.end..unsolicited.end + scenario.receives * slot_len;
        let iser = receives.end..receives.end + scenario.receives * ISER_SLOT_BYTES;
        let messages = iser.end..iser.end + scenario.messages * MESSAGE_BYTES;
        let pdus = messages.end.next_multiple_of(LONGEST_PDU_BYTES);
        let pdus = pdus..pdus + scenario.iscsi.messages;
        let chunks = pdus.end..pdus.end + CHUNKS * CHUNK_BYTES;
        let arena = Arena::new(chunks.end).expect("memory");
        let pools = Self {
            data: Pool::buddy(&arena, data, Scenario::MAX_TRANSFER),
            unsolicited: Pool::buddy(&arena, unsolicited, Scenario::MAX_TRANSFER),
            messages: Pool::slots(&arena, messages, MESSAGE_BYTES),
            pdus: Pool::buddy(&arena, pdus, LONGEST_PDU_BYTES),
            chunks: Pool::slots(&arena, chunks, CHUNK_BYTES),
            receives: [
                Receives {
                    pool: Pool::slots(&arena, receives, slot_len),
                    slot_len,
                    window_start,
                    message_len: policy.max_it_iu_len as usize,
                },
                Receives {
                    pool: Pool::slots(&arena, iser, ISER_SLOT_BYTES),
                    slot_len: ISER_SLOT_BYTES,
                    window_start: ISER_WINDOW_START,
                    message_len: iser::MESSAGE_BYTES,
                },
            ],
        };
        (arena, pools)
    }
}

pub(super) fn logical_unit(number: u8, block_size: u32, blocks: u64) -> LogicalUnit {
    let identity = Identity {
        name: format!("model{number}"),
        serial: format!("{number:04}"),
        naa: [0x60 + number; 16],
        vendor: *b"MODEL   ",
        product: *b"DISK            ",
        revision: *b"0001",
    };
    let geometry = Geometry {
        block_size,
        physical_block_exponent: 0,
        max_transfer_bytes: Scenario::MAX_TRANSFER as u32,
        unmap_granularity_bytes: 0,
        rotational: false,
        thin: false,
    };
    LogicalUnit::new(identity, geometry, blocks)
}
