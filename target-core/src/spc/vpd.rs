//! Vital product data pages (SPC-4, SBC-3): one row and one function per page.

use crate::length_field::set_length;
use crate::logical_unit::Identity;
use crate::request::{Addressed, Answer, UnitView};
use crate::sense::Sense;
use crate::spc::inquiry::DIRECT_ACCESS;

type PageBody = fn(&UnitView<'_>, &mut Vec<u8>);

/// Page code and what comes after the four-byte header, in the order of page 00h.
const PAGES: [(u8, PageBody); 7] = [
    (0x00, supported_pages),
    (0x80, unit_serial_number),
    (0x83, device_identification),
    (0x86, extended_inquiry),
    (0xb0, block_limits),
    (0xb1, block_device_characteristics),
    (0xb2, logical_block_provisioning),
];

/// The page with this code. Only a mapped logical unit has any.
pub(crate) fn page(answer: &mut Answer<'_>, code: u8) -> Result<(), Sense> {
    let Addressed::Unit(unit) = answer.addressed else {
        return Err(Sense::invalid_field_in_cdb(1, Some(0)));
    };
    let Some((_, body)) = PAGES.iter().find(|(c, _)| *c == code) else {
        return Err(Sense::invalid_field_in_cdb(2, None));
    };
    answer.data_in.extend([DIRECT_ACCESS, code, 0, 0]);
    body(&unit, answer.data_in);
    set_length(answer.data_in, 2..4, 4);
    Ok(())
}

/// 00h, Supported VPD Pages.
fn supported_pages(_unit: &UnitView<'_>, data: &mut Vec<u8>) {
    data.extend(PAGES.iter().map(|(code, _)| code));
}

/// 80h, Unit Serial Number.
fn unit_serial_number(unit: &UnitView<'_>, data: &mut Vec<u8>) {
    data.extend(unit.lu.identity.serial_bytes());
}

/// Bytes 0 and 1 of a designation descriptor (SPC-4).
const BINARY: u8 = 1;
const ASCII: u8 = 2;
const LOGICAL_UNIT: u8 = 0 << 4;
/// PIV: the protocol identifier is valid.
const TARGET_PORT: u8 = 0x80 | 1 << 4;
const T10_VENDOR_ID: u8 = 1;
const NAA: u8 = 3;
const RELATIVE_TARGET_PORT: u8 = 4;
const TARGET_PORT_GROUP: u8 = 5;

/// PROTOCOL IDENTIFIER (SPC-4).
const PROTOCOL_SRP: u8 = 0x4;

/// 83h, Device Identification. SRP gives its ports no name beside the identifier, so that the port's designators are
/// numbers only. All ports are one: every path reaches the same worker by the same rules.
fn device_identification(unit: &UnitView<'_>, data: &mut Vec<u8>) {
    let identity = &unit.lu.identity;
    let port = PROTOCOL_SRP << 4 | BINARY;
    designator(data, BINARY, LOGICAL_UNIT | NAA, identity.naa);
    t10_vendor_id(identity, data);
    designator(data, port, TARGET_PORT | RELATIVE_TARGET_PORT, [0, 0, 0, 1]);
    designator(data, port, TARGET_PORT | TARGET_PORT_GROUP, [0, 0, 0, 1]);
}

/// Vendor, then product and serial number, as SPC-4 proposes.
fn t10_vendor_id(identity: &Identity, data: &mut Vec<u8>) {
    let vendor = identity.vendor.into_iter();
    let text = vendor
        .chain(identity.product)
        .chain(identity.serial_bytes());
    designator(data, ASCII, LOGICAL_UNIT | T10_VENDOR_ID, text);
}

fn designator(
    data: &mut Vec<u8>,
    code_set: u8,
    kind: u8,
    designator: impl IntoIterator<Item = u8>,
) {
    let at = data.len();
    data.extend([code_set, kind, 0, 0]);
    data.extend(designator);
    set_length(data, at + 3..at + 4, at + 4);
}

/// HEADSUP, ORDSUP, SIMPSUP.
const ALL_TASK_ATTRIBUTES: u8 = 0x07;
/// V_SUP: there is a volatile cache.
const V_SUP: u8 = 0x01;

/// 86h, Extended INQUIRY Data.
fn extended_inquiry(unit: &UnitView<'_>, data: &mut Vec<u8>) {
    let volatile = if unit.lu.write_cache() { V_SUP } else { 0 };
    data.extend([0, ALL_TASK_ATTRIBUTES, volatile]);
    data.resize(64, 0);
}

/// B0h, Block Limits. What is zero is not limited or not supported.
fn block_limits(unit: &UnitView<'_>, data: &mut Vec<u8>) {
    let granularity = 1u16 << unit.lu.geometry.physical_block_exponent.min(15);
    let maximum = u32::try_from(unit.max_transfer_blocks().0).unwrap_or(u32::MAX);
    data.extend([0, 0]);
    data.extend(granularity.to_be_bytes());
    data.extend(maximum.to_be_bytes());
    data.resize(64, 0);
}

/// MEDIUM ROTATION RATE: "not reported" and "non-rotating".
const ROTATING: u16 = 0;
const NON_ROTATING: u16 = 1;

/// B1h, Block Device Characteristics.
fn block_device_characteristics(unit: &UnitView<'_>, data: &mut Vec<u8>) {
    let rate = match unit.lu.geometry.rotational {
        true => ROTATING,
        false => NON_ROTATING,
    };
    data.extend(rate.to_be_bytes());
    data.resize(64, 0);
}

/// B2h, Logical Block Provisioning: no block can be unmapped, so there is no provisioning to report.
fn logical_block_provisioning(_unit: &UnitView<'_>, data: &mut Vec<u8>) {
    data.extend([0; 4]);
}

#[cfg(test)]
mod tests {
    use crate::request::tests::{answer, logical_unit};
    use crate::spc::inquiry::inquiry;

    fn vpd(code: u8) -> Vec<u8> {
        let cdb = [0x12, 1, code, 0xff, 0xff, 0];
        let data = answer(inquiry, &logical_unit(), &cdb).expect("page");
        assert_eq!(data[..2], [0, code]);
        let length = u16::from_be_bytes([data[2], data[3]]);
        assert_eq!(usize::from(length), data.len() - 4);
        data[4..].to_vec()
    }

    #[test]
    fn every_listed_page_is_there() {
        let listed = vpd(0);
        assert_eq!(listed, [0, 0x80, 0x83, 0x86, 0xb0, 0xb1, 0xb2]);
        for code in 0..=255 {
            let cdb = [0x12, 1, code, 0xff, 0xff, 0];
            let there = answer(inquiry, &logical_unit(), &cdb).is_ok();
            assert_eq!(there, listed.contains(&code), "page {code:#x}");
        }
    }

    #[test]
    fn unit_serial_number_vector() {
        assert_eq!(vpd(0x80), b"0123456789abcdef");
    }

    #[test]
    fn device_identification_vector() {
        let mut expected = vec![1, 3, 0, 16];
        expected.extend([0x60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        expected.extend([2, 1, 0, 40]);
        expected.extend(b"SRPTGT  VIRTUAL-DISK    0123456789abcdef");
        expected.extend([0x41, 0x94, 0, 4, 0, 0, 0, 1]);
        expected.extend([0x41, 0x95, 0, 4, 0, 0, 0, 1]);
        assert_eq!(vpd(0x83), expected);
    }

    #[test]
    fn extended_inquiry_tells_of_a_volatile_cache() {
        let page = vpd(0x86);
        assert_eq!((page.len(), &page[..4]), (60, &[0, 7, 0, 0][..]));
        let lu = logical_unit();
        lu.set_write_cache(true);
        let data = answer(inquiry, &lu, &[0x12, 1, 0x86, 0, 64, 0]).expect("page");
        assert_eq!(data[6], 1);
    }

    #[test]
    fn block_limits_vector() {
        let page = vpd(0xb0);
        assert_eq!(page.len(), 60);
        // Granularity of eight blocks, at most 2,048 blocks of 512 bytes.
        assert_eq!(page[..8], [0, 0, 0, 8, 0, 0, 8, 0]);
        assert_eq!(page[8..], [0; 52]);
    }

    #[test]
    fn characteristics_and_provisioning_vectors() {
        let page = vpd(0xb1);
        assert_eq!((page.len(), &page[..2]), (60, &[0, 1][..]));
        assert_eq!(vpd(0xb2), [0; 4]);
    }
}
