//! Bytes that belong to one place and no other, so that lost, torn and misplaced blocks are all seen.

/// What every byte of a medium is to be, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Tells one writing from another.
    pub seed: u64,
}

/// Bytes that are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the 8 bytes at byte {offset_bytes} are {found:016x}, {expected:016x} was written: the data path is broken, please \
     report it"
)]
pub struct Mismatch {
    /// Where on the medium.
    pub offset_bytes: u64,
    /// What was written there.
    pub expected: u64,
    /// What came back.
    pub found: u64,
}

impl Pattern {
    /// Fills memory with what belongs to the medium from `offset_bytes` on, which is a multiple of 8.
    pub fn fill(self, offset_bytes: u64, bytes: &mut [u8]) {
        for (offset_bytes, word) in (offset_bytes..).step_by(8).zip(bytes.as_chunks_mut().0) {
            *word = self.word(offset_bytes).to_le_bytes();
        }
    }

    /// Compares memory with what belongs to the medium from `offset_bytes` on.
    ///
    /// # Errors
    /// The first place that differs.
    pub fn check(self, offset_bytes: u64, bytes: &[u8]) -> Result<(), Mismatch> {
        for (offset_bytes, word) in (offset_bytes..).step_by(8).zip(bytes.as_chunks().0) {
            let (expected, found) = (self.word(offset_bytes), u64::from_le_bytes(*word));
            if expected != found {
                return Err(Mismatch {
                    offset_bytes,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    /// A permutation of all places (the finalizer of SplitMix64), so no two words of a medium are equal.
    fn word(self, offset_bytes: u64) -> u64 {
        let mut word = self.seed.wrapping_add(offset_bytes);
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_misplaced_byte_is_seen() {
        let pattern = Pattern { seed: 7 };
        let mut bytes = [0; 1024];
        pattern.fill(4096, &mut bytes);
        assert_eq!(pattern.check(4096, &bytes), Ok(()));
        assert_eq!(
            pattern.check(4096 + 512, &bytes[512..]),
            Ok(()),
            "by place, not by buffer"
        );
        assert!(pattern.check(4608, &bytes).is_err(), "misplaced");
        assert!(Pattern { seed: 8 }.check(4096, &bytes).is_err(), "stale");
        bytes[1001] ^= 1;
        let mismatch = pattern.check(4096, &bytes).expect_err("changed");
        assert_eq!(mismatch.offset_bytes, 4096 + 1000);
    }
}
