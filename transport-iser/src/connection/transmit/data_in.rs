//! The data of a READ, cut into Data-In PDUs (RFC 7143 11.7): each at most what the initiator takes, in sequences of at most
//! MaxBurstLength.

/// A Data-In PDU that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) data_sn: u32,
    pub(super) offset: u32,
    pub(super) len: u32,
    /// F: the last of its sequence.
    pub(super) is_final: bool,
    /// The last of all.
    pub(super) is_last: bool,
}

/// How the data of a READ are cut, by what the login agreed on.
#[derive(Clone, Copy, Debug)]
pub(in crate::connection) struct DataInLimits {
    /// Bytes of a whole PDU.
    step: u32,
    /// Whole PDUs of a sequence.
    burst_pdus: u32,
}

impl DataInLimits {
    /// Nothing is agreed on yet, and nothing to be read.
    pub(in crate::connection) const NONE: Self = Self {
        step: 1,
        burst_pdus: 1,
    };

    pub(in crate::connection) fn new(max_segment: u32, max_burst: u32) -> Self {
        let step = max_segment.min(max_burst).max(1);
        let burst_pdus = (max_burst / step).max(1);
        Self { step, burst_pdus }
    }

    /// How many PDUs `len` bytes take.
    #[inline]
    pub(super) fn count(self, len: u32) -> u32 {
        match len <= self.step {
            // Most reads are short, and a division takes its time.
            true => u32::from(len != 0),
            false => len.div_ceil(self.step),
        }
    }

    /// The PDUs of `len` bytes.
    #[inline]
    pub(super) fn cuts(self, len: u32) -> impl Iterator<Item = Cut> {
        let first = (len != 0).then(|| self.cut(0, 0, len));
        std::iter::successors(first, move |last| {
            (!last.is_last).then(|| self.cut(last.data_sn + 1, last.offset + last.len, len))
        })
    }

    #[inline]
    fn cut(self, data_sn: u32, offset: u32, len: u32) -> Cut {
        let rest = len - offset;
        let is_last = rest <= self.step;
        Cut {
            data_sn,
            offset,
            len: rest.min(self.step),
            is_final: is_last || (data_sn + 1).is_multiple_of(self.burst_pdus),
            is_last,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_end_with_f() {
        let limits = DataInLimits::new(2048, 5000);
        let flags: Vec<_> = limits
            .cuts(10_000)
            .map(|cut| (cut.len, cut.is_final))
            .collect();
        let expected = [
            (2048, false),
            (2048, true),
            (2048, false),
            (2048, true),
            (1808, true),
        ];
        assert_eq!(flags, expected);
    }

    proptest! {
        #[test]
        fn every_byte_goes_once_and_no_burst_is_too_long(len in 1u32..100_000, segment in 512u32..9000, burst in 512u32..20_000) {
            let limits = DataInLimits::new(segment, burst);
            let cuts: Vec<_> = limits.cuts(len).collect();
            prop_assert_eq!(cuts.len() as u32, limits.count(len));
            let (mut next, mut in_burst) = (0, 0);
            for (at, cut) in cuts.iter().enumerate() {
                prop_assert_eq!((cut.offset, cut.data_sn), (next, at as u32));
                prop_assert!(cut.len <= segment);
                next += cut.len;
                in_burst += cut.len;
                prop_assert!(in_burst <= burst);
                if cut.is_final {
                    in_burst = 0;
                }
                prop_assert_eq!(cut.is_last, at + 1 == cuts.len());
            }
            prop_assert_eq!(next, len);
            prop_assert!(cuts.last().is_some_and(|cut| cut.is_final));
        }
    }
}
