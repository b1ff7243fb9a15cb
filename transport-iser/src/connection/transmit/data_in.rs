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

/// How many PDUs `len` bytes take.
pub(super) fn count(len: u32, max_segment: u32, max_burst: u32) -> u32 {
    match step(max_segment, max_burst) {
        // Most reads are short, and a division takes its time.
        step if len <= step => u32::from(len != 0),
        step => len.div_ceil(step),
    }
}

/// The PDUs of `len` bytes.
#[inline]
pub(super) fn cuts(len: u32, max_segment: u32, max_burst: u32) -> impl Iterator<Item = Cut> {
    let cut = move |data_sn, offset| Cut::at(data_sn, offset, len, max_segment, max_burst);
    let first = (len != 0).then(|| cut(0, 0));
    std::iter::successors(first, move |last| {
        (!last.is_last).then(|| cut(last.data_sn + 1, last.offset + last.len))
    })
}

impl Cut {
    #[inline]
    fn at(data_sn: u32, offset: u32, len: u32, max_segment: u32, max_burst: u32) -> Self {
        let step = step(max_segment, max_burst);
        // Whole PDUs of a sequence.
        let per_burst = || (max_burst / step).max(1);
        let rest = len - offset;
        let is_last = rest <= step;
        Self {
            data_sn,
            offset,
            len: rest.min(step),
            is_final: is_last || (data_sn + 1).is_multiple_of(per_burst()),
            is_last,
        }
    }
}

fn step(max_segment: u32, max_burst: u32) -> u32 {
    max_segment.min(max_burst).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_end_with_f() {
        let flags: Vec<_> = cuts(10_000, 2048, 5000)
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
            let cuts: Vec<_> = cuts(len, segment, burst).collect();
            prop_assert_eq!(cuts.len() as u32, count(len, segment, burst));
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
