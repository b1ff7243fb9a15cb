//! Where a message lies in a receive buffer, so that immediate data can be written to a medium in
//! place.

/// Where `ib_srp` puts immediate data: an SRP_CMD with a 32-byte CDB and an immediate descriptor
/// end here.
pub const LINUX_IMM_DATA_OFFSET: u16 = 68;

/// Alignment in bytes that immediate data gets at [`LINUX_IMM_DATA_OFFSET`]: enough for O_DIRECT
/// anywhere.
pub const IMMEDIATE_ALIGN_BYTES: usize = 4096;

/// Alignment in bytes below which immediate data is not accepted: the smallest logical block.
const LEAST_ALIGN_BYTES: u16 = 512;

/// The longest initiator-to-target message in bytes unless configured otherwise: what `ib_srp` asks
/// for by itself, 8 KiB of immediate data at its offset. With [`recv_layout`] it fills three pages
/// exactly.
pub const DEFAULT_MAX_IT_IU_LEN: u32 = LINUX_IMM_DATA_OFFSET as u32 + 8192;

/// How a shared receive queue's buffers are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvLayout {
    /// Length in bytes of a slot for [`iobuf::Pool::slots`]; the pool's region begins on a page.
    pub slot_len: usize,
    /// Where the message begins in the slot; the buffer's window is set there before it is posted.
    pub window_start: usize,
}

/// The layout for messages of up to `max_it_iu_len` bytes: immediate data that begins at
/// [`LINUX_IMM_DATA_OFFSET`] of the message is aligned to [`IMMEDIATE_ALIGN_BYTES`].
pub const fn recv_layout(max_it_iu_len: u32) -> RecvLayout {
    let window_start = IMMEDIATE_ALIGN_BYTES - LINUX_IMM_DATA_OFFSET as usize;
    let used = window_start + max_it_iu_len as usize;
    RecvLayout {
        slot_len: used.next_multiple_of(IMMEDIATE_ALIGN_BYTES),
        window_start,
    }
}

/// Whether immediate data at `offset` of a message is aligned to a logical block with this layout.
pub(crate) fn is_aligned(offset: u16) -> bool {
    offset % LEAST_ALIGN_BYTES == LINUX_IMM_DATA_OFFSET % LEAST_ALIGN_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_asks_for_three_pages() {
        let layout = recv_layout(DEFAULT_MAX_IT_IU_LEN);
        assert_eq!(layout.slot_len, 3 * 4096);
        assert_eq!(layout.window_start + 68, 4096);
    }

    #[test]
    fn a_slot_holds_its_message_and_keeps_the_next_one_aligned() {
        for max_it_iu_len in [64, 996, 4148, 8276, 65536] {
            let layout = recv_layout(max_it_iu_len);
            assert!(layout.window_start + max_it_iu_len as usize <= layout.slot_len);
            assert_eq!(layout.slot_len % IMMEDIATE_ALIGN_BYTES, 0);
        }
    }

    #[test]
    fn offsets_a_whole_number_of_blocks_away_are_aligned_too() {
        assert!(is_aligned(68) && is_aligned(68 + 512) && is_aligned(68 + 4096));
        assert!(!is_aligned(0) && !is_aligned(48) && !is_aligned(512));
    }
}
