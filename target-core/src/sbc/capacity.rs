//! READ CAPACITY (10) and (16) (SBC-3).

use crate::request::Answer;
use crate::sense::Sense;

/// READ CAPACITY (10): eight bytes.
pub(crate) fn read_capacity_10(answer: &mut Answer<'_>) -> Result<(), Sense> {
    let lu = answer.unit()?.lu;
    // FFFFFFFFh sends the initiator to READ CAPACITY (16).
    let last = u32::try_from(last_lba(lu.blocks())).unwrap_or(u32::MAX);
    answer.data_in.extend(last.to_be_bytes());
    answer.data_in.extend(lu.geometry.block_size.to_be_bytes());
    Ok(())
}

/// READ CAPACITY (16): 32 bytes. LBPME is 0: nothing can be unmapped.
pub(crate) fn read_capacity_16(answer: &mut Answer<'_>) -> Result<(), Sense> {
    let lu = answer.unit()?.lu;
    answer.data_in.extend(last_lba(lu.blocks()).to_be_bytes());
    answer.data_in.extend(lu.geometry.block_size.to_be_bytes());
    answer
        .data_in
        .extend([0, lu.geometry.physical_block_exponent & 0x0f]);
    answer.data_in.extend([0; 18]);
    Ok(())
}

/// RETURNED LOGICAL BLOCK ADDRESS: the last block's, not how many there are.
fn last_lba(blocks: u64) -> u64 {
    blocks.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{answer, logical_unit};

    #[test]
    fn vectors() {
        let lu = logical_unit();
        assert_eq!(
            answer(read_capacity_10, &lu, &[0x25]),
            Ok(vec![0, 0, 0x1f, 0xff, 0, 0, 2, 0])
        );
        let long = answer(read_capacity_16, &lu, &[0x9e, 0x10]).expect("data");
        assert_eq!(long.len(), 32);
        assert_eq!(
            long[..16],
            [0, 0, 0, 0, 0, 0, 0x1f, 0xff, 0, 0, 2, 0, 0, 3, 0, 0]
        );
        assert_eq!(long[16..], [0; 16]);
    }

    #[test]
    fn a_large_medium_saturates_the_short_form() {
        let lu = logical_unit();
        lu.set_blocks(0x1_0000_0000);
        let short = answer(read_capacity_10, &lu, &[0x25]).expect("data");
        assert_eq!(short[..4], [0xff; 4]);
        let long = answer(read_capacity_16, &lu, &[0x9e, 0x10]).expect("data");
        assert_eq!(long[..8], [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        lu.set_blocks(0x1_0000_0001);
        let short = answer(read_capacity_10, &lu, &[0x25]).expect("data");
        assert_eq!(short[..4], [0xff; 4]);
    }
}
