//! MODE SENSE (6) and (10) and the mode pages (SPC-4, SBC-3). No field can be changed.

use crate::length_field::set_length;
use crate::request::{Answer, UnitView};
use crate::sense::{AdditionalSense, Sense};

type PageBody = fn(&UnitView<'_>, &mut [u8]);

/// Page code, PAGE LENGTH, and what fills the page after its two-byte header.
const PAGES: [(u8, u8, PageBody); 4] = [
    (0x01, 10, |_, _| ()),
    (0x08, 18, caching),
    (0x0a, 10, control),
    (0x1c, 10, informational_exceptions_control),
];

const LONGEST_PAGE: usize = 18;
const ALL_PAGES: u8 = 0x3f;
const ALL_SUBPAGES: u8 = 0xff;

/// DEVICE-SPECIFIC PARAMETER (SBC-3).
const WP: u8 = 0x80;
const DPOFUA: u8 = 0x10;

/// MODE SENSE (6): four bytes of header, short block descriptor.
pub(crate) fn mode_sense_6(answer: &mut Answer<'_>) -> Result<(), Sense> {
    let unit = answer.unit()?;
    answer.data_in.extend([0, 0, device_specific(&unit), 0]);
    if !answer.cdb.bit(1, 3) {
        block_descriptor(&unit, answer.data_in);
    }
    set_length(answer.data_in, 3..4, 4);
    pages(answer, &unit)?;
    set_length(answer.data_in, 0..1, 1);
    Ok(())
}

/// MODE SENSE (10): eight bytes of header; LLBAA asks for the long block descriptor.
pub(crate) fn mode_sense_10(answer: &mut Answer<'_>) -> Result<(), Sense> {
    let unit = answer.unit()?;
    let (long, disabled) = (answer.cdb.bit(1, 4), answer.cdb.bit(1, 3));
    let data = &mut *answer.data_in;
    let long_lba = u8::from(long && !disabled);
    data.extend([0, 0, 0, device_specific(&unit), long_lba, 0, 0, 0]);
    match (disabled, long) {
        (true, _) => (),
        (false, true) => long_block_descriptor(&unit, data),
        (false, false) => block_descriptor(&unit, data),
    }
    set_length(data, 6..8, 8);
    pages(answer, &unit)?;
    set_length(answer.data_in, 0..2, 2);
    Ok(())
}

fn device_specific(unit: &UnitView<'_>) -> u8 {
    match unit.write_protected {
        true => WP | DPOFUA,
        false => DPOFUA,
    }
}

/// Short LBA mode parameter block descriptor (SBC-3).
fn block_descriptor(unit: &UnitView<'_>, data: &mut Vec<u8>) {
    let blocks = u32::try_from(unit.lu.blocks()).unwrap_or(u32::MAX);
    data.extend(blocks.to_be_bytes());
    // Three bytes of length after a reserved one.
    data.extend((unit.lu.geometry.block_size & 0xff_ffff).to_be_bytes());
}

/// Long LBA mode parameter block descriptor (SBC-3).
fn long_block_descriptor(unit: &UnitView<'_>, data: &mut Vec<u8>) {
    data.extend(unit.lu.blocks().to_be_bytes());
    data.extend([0; 4]);
    data.extend(unit.lu.geometry.block_size.to_be_bytes());
}

/// PAGE CONTROL, PAGE CODE and SUBPAGE CODE stand in bytes 2 and 3 of both CDBs.
fn pages(answer: &mut Answer<'_>, unit: &UnitView<'_>) -> Result<(), Sense> {
    let (control, code, subpage) = (
        PageControl::parse(answer.cdb.byte(2) >> 6)?,
        answer.cdb.byte(2) & 0x3f,
        answer.cdb.byte(3),
    );
    let wanted = |page: u8| code == page || code == ALL_PAGES;
    if !PAGES.iter().any(|&(page, ..)| wanted(page)) {
        return Err(Sense::invalid_field_in_cdb(2, Some(5)));
    }
    if subpage != 0 && subpage != ALL_SUBPAGES {
        return Err(Sense::invalid_field_in_cdb(3, None));
    }
    for &(page, length, body) in PAGES.iter().filter(|&&(page, ..)| wanted(page)) {
        let mut fields = [0; LONGEST_PAGE];
        if control == PageControl::Values {
            body(unit, &mut fields);
        }
        answer.data_in.extend([page, length]);
        answer.data_in.extend(&fields[..usize::from(length)]);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageControl {
    /// Current or default values, which are the same.
    Values,
    /// A mask of what MODE SELECT can change: nothing.
    Changeable,
}

impl PageControl {
    fn parse(control: u8) -> Result<Self, Sense> {
        match control {
            0 | 2 => Ok(PageControl::Values),
            1 => Ok(PageControl::Changeable),
            _ => Err(Sense::illegal_request(
                AdditionalSense::SAVING_PARAMETERS_NOT_SUPPORTED,
            )),
        }
    }
}

/// WCE, byte 2 of the caching page.
const WCE: u8 = 0x04;

/// 08h, Caching (SBC-3).
fn caching(unit: &UnitView<'_>, fields: &mut [u8]) {
    if unit.lu.write_cache() {
        fields[0] = WCE;
    }
}

/// QUEUE ALGORITHM MODIFIER 1: SIMPLE commands may be reordered. One task set, QERR 0, TAS 0, fixed sense.
const UNRESTRICTED_REORDERING: u8 = 0x10;

/// 0Ah, Control (SPC-4).
fn control(_unit: &UnitView<'_>, fields: &mut [u8]) {
    fields[1] = UNRESTRICTED_REORDERING;
}

/// DEXCPT: no informational exception is ever reported.
const DEXCPT: u8 = 0x08;

/// 1Ch, Informational Exceptions Control (SPC-4).
fn informational_exceptions_control(_unit: &UnitView<'_>, fields: &mut [u8]) {
    fields[0] = DEXCPT;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{answer, logical_unit};

    const DESCRIPTOR: [u8; 8] = [0, 0, 0x20, 0, 0, 0, 2, 0];

    fn six(byte_1: u8, page: u8, subpage: u8) -> Result<Vec<u8>, Sense> {
        answer(
            mode_sense_6,
            &logical_unit(),
            &[0x1a, byte_1, page, subpage, 255, 0],
        )
    }

    fn ten(byte_1: u8, page: u8) -> Vec<u8> {
        let cdb = [0x5a, byte_1, page, 0, 0, 0, 0, 0, 255, 0];
        answer(mode_sense_10, &logical_unit(), &cdb).expect("data")
    }

    #[test]
    fn headers_and_block_descriptors() {
        let data = six(0, 0x0a, 0).expect("data");
        assert_eq!(data[..4], [23, 0, 0x10, 8]);
        assert_eq!(data[4..12], DESCRIPTOR);
        assert_eq!(data[12..], [0x0a, 10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(six(8, 0x0a, 0).expect("data")[..4], [15, 0, 0x10, 0]);
        let data = ten(0, 0x0a);
        assert_eq!(data[..8], [0, 26, 0, 0x10, 0, 0, 0, 8]);
        assert_eq!(data[8..16], DESCRIPTOR);
        let data = ten(0x10, 0x0a);
        assert_eq!(data[..8], [0, 34, 0, 0x10, 1, 0, 0, 16]);
        assert_eq!(
            data[8..24],
            [0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 2, 0]
        );
        assert_eq!(ten(0x18, 0x0a)[..8], [0, 18, 0, 0x10, 0, 0, 0, 0]);
    }

    #[test]
    fn page_vectors() {
        let body = |page| six(8, page, 0).expect("data")[4..].to_vec();
        assert_eq!(body(0x01), [1, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            (body(0x08).len(), &body(0x08)[..4]),
            (20, &[8, 18, 0, 0][..])
        );
        assert_eq!(body(0x1c), [0x1c, 10, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let all = [body(0x01), body(0x08), body(0x0a), body(0x1c)].concat();
        assert_eq!(body(0x3f), all);
        assert_eq!(six(8, 0x3f, 0xff).expect("data")[4..], all);
        assert_eq!(six(8, 0x08, 0xff).expect("data")[4..], body(0x08));
    }

    #[test]
    fn write_cache_and_write_protection_show() {
        let lu = logical_unit();
        lu.set_write_cache(true);
        lu.set_read_only(true);
        let data = answer(mode_sense_6, &lu, &[0x1a, 8, 0x08, 0, 255, 0]).expect("data");
        assert_eq!(data[2], 0x90);
        assert_eq!(data[4..7], [8, 18, 4]);
    }

    #[test]
    fn page_control() {
        let changeable = six(8, 0x40 | 0x0a, 0).expect("data");
        assert_eq!(changeable[4..], [0x0a, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(six(8, 0x80 | 0x0a, 0), six(8, 0x0a, 0));
        let saved = six(8, 0xc0 | 0x0a, 0).expect_err("saved values");
        assert_eq!(saved.code, AdditionalSense::SAVING_PARAMETERS_NOT_SUPPORTED);
    }

    #[test]
    fn unknown_pages_point_to_their_field() {
        let refused = Err(Sense::invalid_field_in_cdb(2, Some(5)));
        assert_eq!(six(8, 0x02, 0), refused);
        let refused = Err(Sense::invalid_field_in_cdb(3, None));
        assert_eq!(six(8, 0x0a, 1), refused);
    }
}
