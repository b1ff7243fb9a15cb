//! SCSI commands that most users of a session need (SPC-4, SBC-3), and what they say.

use target_core::command::Residual;
use target_core::lun::Lun;

use crate::cdb;
use crate::{Data, ExecuteError, Nexus};

/// UNIT ATTENTION.
const UNIT_ATTENTION: u8 = 0x6;

/// Unit attentions that a logical unit may report in a row before [`Scsi::await_ready`] gives up.
const MOST_ATTENTIONS: u32 = 16;

/// Bytes of standard INQUIRY data up to the product revision.
const INQUIRY_BYTES: usize = 36;

/// Bytes of READ CAPACITY (16) data.
const CAPACITY_BYTES: usize = 32;

/// Bytes before the list that REPORT LUNS gives.
const LUN_LIST_AT: usize = 8;

/// Logical units that are asked for.
const MOST_LUNS: usize = 256;

/// Standard INQUIRY data (SPC-4 6.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE; 0 is a connected disk.
    pub peripheral: u8,
    /// T10 VENDOR IDENTIFICATION, without trailing spaces.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION, without trailing spaces.
    pub product: String,
    /// PRODUCT REVISION LEVEL, without trailing spaces.
    pub revision: String,
}

impl Inquiry {
    fn parse(data: &[u8; INQUIRY_BYTES]) -> Self {
        let text = |field: &[u8]| String::from_utf8_lossy(field).trim_end().to_string();
        Self {
            peripheral: data[0],
            vendor: text(&data[8..16]),
            product: text(&data[16..32]),
            revision: text(&data[32..36]),
        }
    }
}

/// Size of a medium (SBC-3 5.16.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Logical blocks.
    pub blocks: u64,
    /// Length of one in bytes.
    pub block_bytes: u32,
}

impl Capacity {
    fn parse(data: &[u8; CAPACITY_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *data;
        let last = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        Self {
            blocks: last.saturating_add(1),
            block_bytes: u32::from_be_bytes([i, j, k, l]),
        }
    }

    /// Bytes of the medium.
    pub fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_bytes.into())
    }
}

/// The commands, over any transport.
pub trait Scsi: Nexus {
    /// As [`Nexus::execute`], and wants status GOOD; returns how many bytes of Data-In came.
    ///
    /// # Errors
    /// There is no answer, or one with another status.
    fn execute_good(
        &mut self,
        lun: Lun,
        cdb: &[u8],
        data: Data<'_>,
    ) -> Result<usize, ExecuteError> {
        let len = match &data {
            Data::In(into) => into.len(),
            Data::None | Data::Out(_) => 0,
        };
        let answer = self.execute(lun, cdb, data)?;
        if !answer.is_good() {
            return Err(ExecuteError::Answer(Box::new(answer)));
        }
        Ok(match answer.data_in_residual {
            Residual::Underflow(unused) => len.saturating_sub(unused as usize),
            Residual::None | Residual::Overflow(_) => len,
        })
    }

    /// Asks TEST UNIT READY until the logical unit has told all of its unit attentions, as an initiator does after its
    /// login: the first command for anything else would fail with them.
    ///
    /// # Errors
    /// The logical unit is not ready for another reason.
    fn await_ready(&mut self, lun: Lun) -> Result<(), ExecuteError> {
        let mut attentions = 0;
        loop {
            let answer = self.execute(lun, &cdb::TEST_UNIT_READY, Data::None)?;
            if answer.is_good() {
                return Ok(());
            }
            let is_attention = answer.sense.is_some_and(|s| s.key() == UNIT_ATTENTION);
            attentions += 1;
            if !is_attention || attentions > MOST_ATTENTIONS {
                return Err(ExecuteError::Answer(Box::new(answer)));
            }
        }
    }

    /// INQUIRY, the standard data.
    ///
    /// # Errors
    /// No good answer, or a short one.
    fn inquiry(&mut self, lun: Lun) -> Result<Inquiry, ExecuteError> {
        let mut data = [0; INQUIRY_BYTES];
        let allocation_length = INQUIRY_BYTES as u16;
        let cdb = cdb::inquiry(None, allocation_length);
        let got = self.execute_good(lun, &cdb, Data::In(&mut data))?;
        expect("INQUIRY data", got, INQUIRY_BYTES)?;
        Ok(Inquiry::parse(&data))
    }

    /// REPORT LUNS: the logical units that this initiator may use, up to 256.
    ///
    /// # Errors
    /// No good answer, or a short one.
    fn report_luns(&mut self) -> Result<Vec<Lun>, ExecuteError> {
        const BYTES: usize = LUN_LIST_AT + 8 * MOST_LUNS;
        let mut data = [0; BYTES];
        let cdb = cdb::report_luns(BYTES as u32);
        let got = self.execute_good(Lun::peripheral(0), &cdb, Data::In(&mut data))?;
        expect("REPORT LUNS data", got, LUN_LIST_AT)?;
        Ok(luns(data.get(..got).unwrap_or(&data)))
    }

    /// READ CAPACITY (16).
    ///
    /// # Errors
    /// No good answer, or a short one.
    fn read_capacity(&mut self, lun: Lun) -> Result<Capacity, ExecuteError> {
        let mut data = [0; CAPACITY_BYTES];
        let cdb = cdb::read_capacity(CAPACITY_BYTES as u32);
        let got = self.execute_good(lun, &cdb, Data::In(&mut data))?;
        expect("READ CAPACITY data", got, 12)?;
        Ok(Capacity::parse(&data))
    }

    /// READ (16): fills `into`, whole blocks of `block_bytes`, from `lba` on.
    ///
    /// # Errors
    /// No good answer, or a short one.
    fn read(
        &mut self,
        lun: Lun,
        lba: u64,
        block_bytes: u32,
        into: &mut [u8],
    ) -> Result<(), ExecuteError> {
        let needed = into.len();
        let cdb = cdb::read(lba, blocks(needed, block_bytes));
        let got = self.execute_good(lun, &cdb, Data::In(into))?;
        expect("READ data", got, needed)
    }

    /// WRITE (16): writes `from`, whole blocks of `block_bytes`, from `lba` on.
    ///
    /// # Errors
    /// No good answer.
    fn write(
        &mut self,
        lun: Lun,
        lba: u64,
        block_bytes: u32,
        from: &[u8],
    ) -> Result<(), ExecuteError> {
        let cdb = cdb::write(lba, blocks(from.len(), block_bytes));
        self.execute_good(lun, &cdb, Data::Out(from)).map(drop)
    }

    /// SYNCHRONIZE CACHE of the whole medium.
    ///
    /// # Errors
    /// No good answer.
    fn flush(&mut self, lun: Lun) -> Result<(), ExecuteError> {
        self.execute_good(lun, &cdb::SYNCHRONIZE_CACHE, Data::None)
            .map(drop)
    }
}

impl<N: Nexus + ?Sized> Scsi for N {}

/// Buffers are far below 4 GiB, and a block length of 0 transfers nothing.
fn blocks(bytes: usize, block_bytes: u32) -> u32 {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    bytes.checked_div(block_bytes).unwrap_or(0)
}

/// The list in REPORT LUNS data, as far as it came.
fn luns(data: &[u8]) -> Vec<Lun> {
    let Some((header, list)) = data.split_first_chunk::<LUN_LIST_AT>() else {
        return Vec::new();
    };
    let len = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let (whole, _) = list.get(..len).unwrap_or(list).as_chunks::<8>();
    whole.iter().copied().map(Lun).collect()
}

fn expect(what: &'static str, got: usize, needed: usize) -> Result<(), ExecuteError> {
    match got >= needed {
        true => Ok(()),
        false => Err(ExecuteError::ShortData { what, got, needed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inquiry_data_is_read_without_its_padding() {
        let mut data = [0; INQUIRY_BYTES];
        data[8..].copy_from_slice(b"LIO-ORG disk            4.0 ");
        let inquiry = Inquiry::parse(&data);
        assert_eq!((&*inquiry.vendor, &*inquiry.product), ("LIO-ORG", "disk"));
        assert_eq!((&*inquiry.revision, inquiry.peripheral), ("4.0", 0));
    }

    #[test]
    fn a_capacity_counts_from_the_last_block() {
        let mut data = [0; CAPACITY_BYTES];
        data[7] = 9;
        data[10] = 2;
        let capacity = Capacity::parse(&data);
        assert_eq!((capacity.blocks, capacity.block_bytes), (10, 512));
        assert_eq!(capacity.bytes(), 5120);
        assert_eq!(Capacity::parse(&[0xff; CAPACITY_BYTES]).bytes(), u64::MAX);
    }

    #[test]
    fn a_list_of_luns_ends_where_it_says_or_where_the_data_does() {
        let mut data = vec![0, 0, 0, 16, 0, 0, 0, 0];
        data.extend(Lun::peripheral(3).0);
        data.extend(Lun::peripheral(7).0);
        let both = [Lun::peripheral(3), Lun::peripheral(7)];
        assert_eq!(luns(&data), both);
        data.extend(Lun::peripheral(9).0);
        assert_eq!(luns(&data), both);
        assert_eq!(luns(&data[..23]), both[..1]);
        assert_eq!(luns(&data[..3]), []);
    }

    #[test]
    fn blocks_of_no_length_are_no_blocks() {
        assert_eq!((blocks(4096, 512), blocks(4096, 0)), (8, 0));
    }
}
