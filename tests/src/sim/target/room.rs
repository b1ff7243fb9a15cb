//! What the target is made of before anybody comes: memory and logical units.

use std::sync::Arc;

use iobuf::{Arena, Pool};
use target_core::logical_unit::{Geometry, Identity, LogicalUnit};
use transport_srp::{LoginPolicy, RecvLayout, recv_layout};

use crate::sim::scenario::Scenario;

const MESSAGE_BYTES: usize = 256;

/// The pools that all buffers come from.
pub(crate) struct Pools {
    pub(crate) data: Pool,
    pub(crate) messages: Pool,
    pub(crate) receives: Pool,
    pub(super) layout: RecvLayout,
    pub(super) recv_len: usize,
}

impl Pools {
    pub(super) fn new(scenario: &Scenario, policy: &LoginPolicy) -> (Arc<Arena>, Self) {
        let layout = recv_layout(policy.max_it_iu_len);
        let data = 0..scenario.data_bytes;
        let receives = data.end..data.end + scenario.receives * layout.slot_len;
        let messages = receives.end..receives.end + scenario.messages * MESSAGE_BYTES;
        let arena = Arena::new(messages.end).expect("memory");
        let pools = Self {
            data: Pool::buddy(&arena, data, Scenario::MAX_TRANSFER),
            receives: Pool::slots(&arena, receives, layout.slot_len),
            messages: Pool::slots(&arena, messages, MESSAGE_BYTES),
            layout,
            recv_len: policy.max_it_iu_len as usize,
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
