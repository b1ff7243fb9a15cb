//! What is in a block: who wrote it and where it belongs, sixteen bytes again and again.

const MARK: usize = 16;

/// Fills whole blocks from `lba` on with the marks of one write.
pub(crate) fn fill(bytes: &mut [u8], block_size: usize, op: u64, lba: u64) {
    for (lba, block) in (lba..).zip(bytes.chunks_mut(block_size)) {
        block[..8].copy_from_slice(&op.to_le_bytes());
        block[8..MARK].copy_from_slice(&lba.to_le_bytes());
        let mut filled = MARK;
        while filled < block.len() {
            block.copy_within(..filled, filled);
            filled *= 2;
        }
    }
}

/// Who wrote a block, 0 when nobody did; `None` when it is torn, or belongs elsewhere.
pub(crate) fn writer(block: &[u8], lba: u64) -> Option<u64> {
    let (mark, _) = block.split_first_chunk::<MARK>()?;
    if block[MARK..] != block[..block.len() - MARK] {
        return None;
    }
    let [op, place] = [&mark[..8], &mark[8..]].map(|half| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(half);
        u64::from_le_bytes(bytes)
    });
    (op == 0 && place == 0 || op != 0 && place == lba).then_some(op)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_and_misplaced_blocks_are_seen() {
        let mut bytes = vec![0; 1024];
        assert_eq!(writer(&bytes[..512], 9), Some(0));
        fill(&mut bytes, 512, 7, 3);
        assert_eq!(writer(&bytes[..512], 3), Some(7));
        assert_eq!(writer(&bytes[512..], 4), Some(7));
        assert_eq!(writer(&bytes[512..], 3), None);
        bytes[511] ^= 1;
        assert_eq!(writer(&bytes[..512], 3), None);
    }
}
