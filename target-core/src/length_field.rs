//! Length fields that are known only after what they count is there.

use std::ops::Range;

/// Puts the number of bytes from `from` to the end of `data` into `field`, big-endian.
pub(crate) fn set_length(data: &mut [u8], field: Range<usize>, from: usize) {
    let count = data.len().saturating_sub(from) as u64;
    let bytes = count.to_be_bytes();
    let width = field.len();
    data[field].copy_from_slice(&bytes[bytes.len() - width..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_follows() {
        let mut data = [0; 300];
        set_length(&mut data, 2..4, 4);
        assert_eq!(data[..5], [0, 0, 1, 40, 0]);
        set_length(&mut data[..8], 0..1, 1);
        assert_eq!(data[0], 7);
    }
}
