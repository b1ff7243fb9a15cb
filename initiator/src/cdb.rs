//! Command descriptor blocks that the helpers of a session send (SPC-4 clause 6, SBC-3 clause 5).

/// TEST UNIT READY.
pub const TEST_UNIT_READY: [u8; 6] = [0; 6];

/// SYNCHRONIZE CACHE (10) of the whole medium.
pub const SYNCHRONIZE_CACHE: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// MODE SENSE (6) of the caching page, without block descriptors.
pub const MODE_SENSE_CACHING: [u8; 6] = [0x1a, 0x08, 0x08, 0, 64, 0];

/// READ CAPACITY (10).
pub const READ_CAPACITY_10: [u8; 10] = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// INQUIRY for the standard data, or for a page of vital product data.
pub fn inquiry(page: Option<u8>, allocation_length: u16) -> [u8; 6] {
    let [high, low] = allocation_length.to_be_bytes();
    [0x12, page.is_some().into(), page.unwrap_or(0), high, low, 0]
}

/// REPORT LUNS, of all logical units but well-known ones.
pub fn report_luns(allocation_length: u32) -> [u8; 12] {
    let [a, b, c, d] = allocation_length.to_be_bytes();
    [0xa0, 0, 0, 0, 0, 0, a, b, c, d, 0, 0]
}

/// READ CAPACITY (16).
pub fn read_capacity(allocation_length: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = 0x9e;
    cdb[1] = 0x10;
    cdb[10..14].copy_from_slice(&allocation_length.to_be_bytes());
    cdb
}

/// READ (16).
pub fn read(lba: u64, blocks: u32) -> [u8; 16] {
    transfer(0x88, lba, blocks)
}

/// WRITE (16).
pub fn write(lba: u64, blocks: u32) -> [u8; 16] {
    transfer(0x8a, lba, blocks)
}

fn transfer(opcode: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_standards_want_them() {
        assert_eq!(inquiry(None, 36), [0x12, 0, 0, 0, 36, 0]);
        assert_eq!(inquiry(Some(0x83), 0x1234), [0x12, 1, 0x83, 0x12, 0x34, 0]);
        assert_eq!(report_luns(0x10)[6..10], [0, 0, 0, 16]);
        assert_eq!(read_capacity(32)[..2], [0x9e, 0x10]);
        assert_eq!(read_capacity(32)[13], 32);
        let cdb = write(0x0102_0304_0506_0708, 0x0a0b_0c0d);
        let expected = [0x8a, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 0, 0];
        assert_eq!(cdb, expected);
        assert_eq!(read(0, 1)[0], 0x88);
    }
}
