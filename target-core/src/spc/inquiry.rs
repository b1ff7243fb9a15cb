//! INQUIRY (SPC-4): standard data; vital product data is in `vpd.rs`.

use crate::length_field::set_length;
use crate::nexus::TransportId;
use crate::request::{Addressed, Answer};
use crate::sense::Sense;
use crate::spc::vpd;

/// Length of standard INQUIRY data with the version descriptors.
const STANDARD_BYTES: usize = 96;

/// PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE.
pub(crate) const DIRECT_ACCESS: u8 = 0x00;
const WELL_KNOWN: u8 = 0x1e;
/// Qualifier 011b: the target cannot have a logical unit there (SPC-4).
const NOTHING: u8 = 0x7f;

const VERSION_SPC_4: u8 = 0x06;
/// HISUP, RESPONSE DATA FORMAT 2; NORMACA is 0.
const FORMAT: u8 = 0x12;
/// MULTIP: the logical unit can be reached through more than one port.
const MULTIP: u8 = 0x10;
const CMDQUE: u8 = 0x02;

const SAM_5: u16 = 0x00a0;
const SPC_4: u16 = 0x0460;
const SBC_3: u16 = 0x04c0;
const SRP: u16 = 0x0940;
const ISCSI: u16 = 0x0960;

/// INQUIRY, for whatever is addressed.
pub(crate) fn inquiry(answer: &mut Answer<'_>) -> Result<(), Sense> {
    // CMDDT is obsolete.
    answer.cdb.refuse_bit(1, 1)?;
    match (answer.cdb.bit(1, 0), answer.cdb.byte(2)) {
        (true, page) => vpd::page(answer, page),
        (false, 0) => {
            standard(answer);
            Ok(())
        }
        (false, _) => Err(Sense::invalid_field_in_cdb(2, None)),
    }
}

fn standard(answer: &mut Answer<'_>) {
    let (peripheral, identity) = match answer.addressed {
        Addressed::Unit(unit) => (DIRECT_ACCESS, Some(&unit.lu.identity)),
        Addressed::ReportLunsWellKnown => (WELL_KNOWN, None),
        Addressed::LunZero | Addressed::Nothing => (NOTHING, None),
    };
    let data = &mut *answer.data_in;
    data.extend([peripheral, 0, VERSION_SPC_4, FORMAT, 0, 0, MULTIP, CMDQUE]);
    match identity {
        Some(identity) => {
            data.extend(identity.vendor);
            data.extend(identity.product);
            data.extend(identity.revision);
        }
        None => data.extend([b' '; 28]),
    }
    data.resize(58, 0);
    for descriptor in [SAM_5, SPC_4, SBC_3, transport_version(&answer.nexus.id)] {
        data.extend(descriptor.to_be_bytes());
    }
    data.resize(STANDARD_BYTES, 0);
    set_length(data, 4..5, 5);
}

fn transport_version(id: &TransportId) -> u16 {
    match id {
        TransportId::Srp { .. } => SRP,
        TransportId::Iscsi { .. } => ISCSI,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{answer, logical_unit};

    #[test]
    fn standard_data_vector() {
        let data = answer(inquiry, &logical_unit(), &[0x12, 0, 0, 0, 96, 0]).expect("data");
        assert_eq!(data.len(), 96);
        assert_eq!(data[..8], [0, 0, 6, 0x12, 91, 0, 0x10, 2]);
        assert_eq!(&data[8..36], b"SRPTGT  VIRTUAL-DISK    0001");
        assert_eq!(data[36..58], [0; 22]);
        assert_eq!(data[58..66], [0, 0xa0, 4, 0x60, 4, 0xc0, 9, 0x40]);
        assert_eq!(data[66..], [0; 30]);
    }

    #[test]
    fn a_page_code_needs_evpd() {
        let refused = answer(inquiry, &logical_unit(), &[0x12, 0, 0x80, 0, 96, 0]);
        assert_eq!(refused, Err(Sense::invalid_field_in_cdb(2, None)));
        let refused = answer(inquiry, &logical_unit(), &[0x12, 2, 0, 0, 96, 0]);
        assert_eq!(refused, Err(Sense::invalid_field_in_cdb(1, Some(1))));
    }
}
