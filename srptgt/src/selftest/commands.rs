//! What commands say (SPC-4, SBC-3): identity, size, sense data, residuals.

use initiator::{Answer, Data, Lun, Nexus, Scsi, cdb};
use target_core::command::Residual;
use target_core::sense::AdditionalSense;

use super::{Failed, Subject, differs, expect};

/// SENSE KEY.
const ILLEGAL_REQUEST: u8 = 5;

/// A LUN that nobody maps by chance.
const UNLIKELY_LUN: u8 = 253;

/// An operation code that SPC-4 leaves to nobody.
const NO_COMMAND: [u8; 6] = [0xff, 0, 0, 0, 0, 0];

/// Vital product data pages.
const SUPPORTED_PAGES: u8 = 0x00;
const DEVICE_IDENTIFICATION: u8 = 0x83;

/// Bytes asked for of a page.
const PAGE_BYTES: usize = 252;

/// The logical unit is a connected disk with names.
pub(super) fn inquiry(subject: &mut Subject) -> Result<String, Failed> {
    let lun = subject.target.lun;
    let inquiry = subject.nexus()?.inquiry(lun)?;
    expect("PERIPHERAL", &0, &inquiry.peripheral)?;
    match inquiry.vendor.is_empty() || inquiry.product.is_empty() {
        true => Err(differs("vendor and product", format!("{inquiry:?}"))),
        false => Ok(format!(
            "{} {} {}",
            inquiry.vendor, inquiry.product, inquiry.revision
        )),
    }
}

/// Every listed page can be read, is itself, and as long as it says; the device identifies itself.
pub(super) fn vital_product_data(subject: &mut Subject) -> Result<String, Failed> {
    let lun = subject.target.lun;
    let nexus = subject.nexus()?;
    let pages = page(nexus, lun, SUPPORTED_PAGES)?;
    if !pages.is_sorted() || !pages.contains(&DEVICE_IDENTIFICATION) {
        let expected = "a sorted list of pages with 83h";
        return Err(differs(expected, format!("{pages:02x?}")));
    }
    for code in pages.iter().copied() {
        let body = page(nexus, lun, code)?;
        if code == DEVICE_IDENTIFICATION && !has_logical_unit_name(&body) {
            return Err(differs(
                "a name of the logical unit in 83h",
                format!("{body:02x?}"),
            ));
        }
    }
    Ok(format!("pages {pages:02x?}"))
}

/// What comes after the header of a page.
fn page(nexus: &mut dyn Nexus, lun: Lun, code: u8) -> Result<Vec<u8>, Failed> {
    let mut data = vec![0; PAGE_BYTES];
    let cdb = cdb::inquiry(Some(code), PAGE_BYTES as u16);
    let got = nexus.execute_good(lun, &cdb, Data::In(&mut data))?;
    data.truncate(got);
    let Some(([_, came, high, low], body)) = data.split_first_chunk() else {
        return Err(differs(format!("page {code:02x}h"), format!("{got} bytes")));
    };
    expect("PAGE CODE", &code, came)?;
    let len = usize::from(u16::from_be_bytes([*high, *low]));
    match body.len() == len || 4 + len > PAGE_BYTES {
        true => Ok(body.to_vec()),
        false => Err(differs(
            format!("{len} bytes in page {code:02x}h, as its PAGE LENGTH says"),
            body.len().to_string(),
        )),
    }
}

/// A designation descriptor of the logical unit: an EUI-64 or NAA name (SPC-4 7.8.6).
fn has_logical_unit_name(mut body: &[u8]) -> bool {
    while let Some(([_, kind, _, len], rest)) = body.split_first_chunk() {
        let (association, name) = (kind >> 4 & 3, kind & 0xf);
        let Some((designator, next)) = rest.split_at_checked(usize::from(*len)) else {
            return false;
        };
        if association == 0 && matches!(name, 2 | 3) && designator.len() >= 8 {
            return true;
        }
        body = next;
    }
    false
}

/// READ CAPACITY in both lengths says the same.
pub(super) fn capacity(subject: &mut Subject) -> Result<String, Failed> {
    let lun = subject.target.lun;
    let nexus = subject.nexus()?;
    let capacity = nexus.read_capacity(lun)?;
    let mut short = [0; 8];
    nexus.execute_good(lun, &cdb::READ_CAPACITY_10, Data::In(&mut short))?;
    let [a, b, c, d, e, f, g, h] = short;
    let last = u32::try_from(capacity.blocks.saturating_sub(1)).unwrap_or(u32::MAX);
    let long = (last, capacity.block_bytes);
    let short = (
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    );
    expect(
        "last block and block length, as READ CAPACITY (16) has them,",
        &long,
        &short,
    )?;
    if capacity.bytes() < super::data::REGION_BYTES || !matches!(capacity.block_bytes, 512 | 4096) {
        return Err(differs(
            "at least 16 MiB in blocks of 512 or 4096 bytes",
            format!("{capacity:?}"),
        ));
    }
    subject.capacity = capacity;
    Ok(format!(
        "{} blocks of {} bytes",
        capacity.blocks, capacity.block_bytes
    ))
}

/// The logical unit is listed.
pub(super) fn report_luns(subject: &mut Subject) -> Result<String, Failed> {
    let lun = subject.target.lun;
    let luns = subject.nexus()?.report_luns()?;
    match luns.contains(&lun) {
        true => Ok(format!("{} listed", luns.len())),
        false => Err(differs(format!("{lun:?} in the list"), format!("{luns:?}"))),
    }
}

/// Nothing is where nothing is mapped.
pub(super) fn unknown_lun(subject: &mut Subject) -> Result<String, Failed> {
    let nexus = subject.nexus()?;
    let nowhere = Lun::peripheral(UNLIKELY_LUN);
    if nexus.report_luns()?.contains(&nowhere) {
        return Err(Failed::Impossible("LUN 253 is mapped"));
    }
    let answer = nexus.execute(nowhere, &cdb::TEST_UNIT_READY, Data::None)?;
    refused(&answer, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED)
}

/// An operation code that there is not.
pub(super) fn unknown_command(subject: &mut Subject) -> Result<String, Failed> {
    let lun = subject.target.lun;
    let answer = subject.nexus()?.execute(lun, &NO_COMMAND, Data::None)?;
    refused(&answer, AdditionalSense::INVALID_COMMAND_OPERATION_CODE)
}

/// READs and WRITEs that begin or end behind the last block.
pub(super) fn out_of_range(subject: &mut Subject) -> Result<String, Failed> {
    let (lun, capacity) = (subject.target.lun, subject.capacity);
    let nexus = subject.nexus()?;
    let mut data = vec![0; 2 * capacity.block_bytes as usize];
    for lba in [capacity.blocks, capacity.blocks - 1, u64::MAX - 1] {
        let read = nexus.execute(lun, &cdb::read(lba, 2), Data::In(&mut data))?;
        refused(&read, AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE)?;
        let write = nexus.execute(lun, &cdb::write(lba, 2), Data::Out(&data))?;
        refused(&write, AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE)?;
    }
    Ok("LOGICAL BLOCK ADDRESS OUT OF RANGE each time".to_owned())
}

fn refused(answer: &Answer, code: AdditionalSense) -> Result<String, Failed> {
    let key = answer.sense.map(|sense| sense.key());
    match key == Some(ILLEGAL_REQUEST) && answer.additional_sense() == Some(code) {
        true => Ok(answer.to_string()),
        false => Err(differs(
            format!("sense key {ILLEGAL_REQUEST:#x}, {code:?}"),
            answer.to_string(),
        )),
    }
}

/// Less data than the buffer has room for.
pub(super) fn residual_in(subject: &mut Subject) -> Result<String, Failed> {
    let (lun, block) = (subject.target.lun, subject.capacity.block_bytes);
    let nexus = subject.nexus()?;
    let mut short = [0; 255];
    let inquiry = nexus.execute(lun, &cdb::inquiry(None, 36), Data::In(&mut short))?;
    residual(
        &inquiry,
        Residual::Underflow(255 - 36),
        inquiry.data_in_residual,
    )?;
    let mut blocks = vec![0; 3 * block as usize];
    let read = nexus.execute(lun, &cdb::read(0, 1), Data::In(&mut blocks))?;
    residual(&read, Residual::Underflow(2 * block), read.data_in_residual)?;
    Ok(format!("219 of INQUIRY, {} of READ", 2 * block))
}

/// A WRITE takes less than there is.
pub(super) fn residual_out(subject: &mut Subject) -> Result<String, Failed> {
    let (lun, block) = (subject.target.lun, subject.capacity.block_bytes);
    let nexus = subject.nexus()?;
    let blocks = vec![0x5a; 3 * block as usize];
    let write = nexus.execute(lun, &cdb::write(0, 1), Data::Out(&blocks))?;
    residual(
        &write,
        Residual::Underflow(2 * block),
        write.data_out_residual,
    )?;
    Ok(format!("{} of WRITE", 2 * block))
}

/// More data than the buffer has room for.
pub(super) fn residual_overflow(subject: &mut Subject) -> Result<String, Failed> {
    let (lun, block) = (subject.target.lun, subject.capacity.block_bytes);
    let nexus = subject.nexus()?;
    let mut one = vec![0; block as usize];
    let read = nexus.execute(lun, &cdb::read(0, 3), Data::In(&mut one))?;
    residual(&read, Residual::Overflow(2 * block), read.data_in_residual)?;
    Ok(format!("{} of READ", 2 * block))
}

fn residual(answer: &Answer, expected: Residual, came: Residual) -> Result<(), Failed> {
    match answer.is_good() {
        true => expect("residual", &expected, &came),
        false => Err(differs(
            format!("status GOOD and residual {expected:?}"),
            format!("{answer}, {came:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_logical_unit_is_found_behind_others() {
        let port = [0x41, 0x94, 0, 4, 0, 0, 0, 1];
        let naa = [0x01, 0x03, 0, 8, 0x53, 1, 2, 3, 4, 5, 6, 7];
        assert!(has_logical_unit_name(&[&port[..], &naa[..]].concat()));
        assert!(!has_logical_unit_name(&port));
        assert!(!has_logical_unit_name(&naa[..3]));
        assert!(
            !has_logical_unit_name(&[1, 3, 0, 255]),
            "cut, and without end"
        );
    }
}
