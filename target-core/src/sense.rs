//! Sense data (SPC-4 4.5): a value, not an error.

use std::fmt;

use crate::length_field::set_length;

/// Sense key (SPC-4 table 47).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the standard's own words")]
pub enum SenseKey {
    NoSense = 0x0,
    RecoveredError = 0x1,
    NotReady = 0x2,
    MediumError = 0x3,
    HardwareError = 0x4,
    IllegalRequest = 0x5,
    UnitAttention = 0x6,
    DataProtect = 0x7,
    BlankCheck = 0x8,
    AbortedCommand = 0xb,
    Miscompare = 0xe,
}

/// ADDITIONAL SENSE CODE and QUALIFIER as one value, `0xAABB` (SPC-4 annex F).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AdditionalSense(pub u16);

macro_rules! additional_sense {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        impl AdditionalSense {
            $(#[doc = $text] pub const $name: AdditionalSense = AdditionalSense($code);)*
            /// T10's text for this code, or `None` for one that this target never reports.
            pub fn text(self) -> Option<&'static str> {
                match self.0 { $($code => Some($text),)* _ => None }
            }
        }
    };
}

additional_sense! {
    NO_ADDITIONAL_SENSE_INFORMATION = 0x0000, "NO ADDITIONAL SENSE INFORMATION";
    WRITE_ERROR = 0x0c00, "WRITE ERROR";
    UNEXPECTED_UNSOLICITED_DATA = 0x0c0c, "WRITE ERROR - UNEXPECTED UNSOLICITED DATA";
    NOT_ENOUGH_UNSOLICITED_DATA = 0x0c0d, "WRITE ERROR - NOT ENOUGH UNSOLICITED DATA";
    PROTOCOL_SERVICE_CRC_ERROR = 0x4705, "PROTOCOL SERVICE CRC ERROR";
    INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT = 0x0e03, "INVALID FIELD IN COMMAND INFORMATION UNIT";
    UNRECOVERED_READ_ERROR = 0x1100, "UNRECOVERED READ ERROR";
    RECORD_NOT_FOUND = 0x1401, "RECORD NOT FOUND";
    LOGICAL_UNIT_NOT_READY_BECOMING_READY = 0x0401, "LOGICAL UNIT IS IN PROCESS OF BECOMING READY";
    LOGICAL_UNIT_NOT_READY_MANUAL_INTERVENTION = 0x0403, "LOGICAL UNIT NOT READY, MANUAL INTERVENTION REQUIRED";
    LOGICAL_UNIT_NOT_READY_INITIALIZING_COMMAND_REQUIRED = 0x0402, "LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED";
    LOGICAL_UNIT_DOES_NOT_RESPOND_TO_SELECTION = 0x0500, "LOGICAL UNIT DOES NOT RESPOND TO SELECTION";
    LOGICAL_UNIT_COMMUNICATION_TIME_OUT = 0x0801, "LOGICAL UNIT COMMUNICATION TIME-OUT";
    PARAMETER_LIST_LENGTH_ERROR = 0x1a00, "PARAMETER LIST LENGTH ERROR";
    MISCOMPARE_DURING_VERIFY_OPERATION = 0x1d00, "MISCOMPARE DURING VERIFY OPERATION";
    INVALID_COMMAND_OPERATION_CODE = 0x2000, "INVALID COMMAND OPERATION CODE";
    LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE = 0x2100, "LOGICAL BLOCK ADDRESS OUT OF RANGE";
    INVALID_FIELD_IN_CDB = 0x2400, "INVALID FIELD IN CDB";
    LOGICAL_UNIT_NOT_SUPPORTED = 0x2500, "LOGICAL UNIT NOT SUPPORTED";
    INVALID_FIELD_IN_PARAMETER_LIST = 0x2600, "INVALID FIELD IN PARAMETER LIST";
    WRITE_PROTECTED = 0x2700, "WRITE PROTECTED";
    SPACE_ALLOCATION_FAILED_WRITE_PROTECT = 0x2707, "SPACE ALLOCATION FAILED WRITE PROTECT";
    POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED = 0x2900, "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED";
    POWER_ON_OCCURRED = 0x2901, "POWER ON OCCURRED";
    BUS_DEVICE_RESET_FUNCTION_OCCURRED = 0x2903, "BUS DEVICE RESET FUNCTION OCCURRED";
    I_T_NEXUS_LOSS_OCCURRED = 0x2907, "I_T NEXUS LOSS OCCURRED";
    MODE_PARAMETERS_CHANGED = 0x2a01, "MODE PARAMETERS CHANGED";
    RESERVATIONS_RELEASED = 0x2a04, "RESERVATIONS RELEASED";
    CAPACITY_DATA_HAS_CHANGED = 0x2a09, "CAPACITY DATA HAS CHANGED";
    COMMANDS_CLEARED_BY_ANOTHER_INITIATOR = 0x2f00, "COMMANDS CLEARED BY ANOTHER INITIATOR";
    COMMANDS_CLEARED_BY_DEVICE_SERVER = 0x2f02, "COMMANDS CLEARED BY DEVICE SERVER";
    SAVING_PARAMETERS_NOT_SUPPORTED = 0x3900, "SAVING PARAMETERS NOT SUPPORTED";
    LOGICAL_UNIT_HAS_NOT_SELF_CONFIGURED_YET = 0x3e00, "LOGICAL UNIT HAS NOT SELF-CONFIGURED YET";
    LOGICAL_UNIT_FAILURE = 0x3e01, "LOGICAL UNIT FAILURE";
    INQUIRY_DATA_HAS_CHANGED = 0x3f03, "INQUIRY DATA HAS CHANGED";
    REPORTED_LUNS_DATA_HAS_CHANGED = 0x3f0e, "REPORTED LUNS DATA HAS CHANGED";
    INTERNAL_TARGET_FAILURE = 0x4400, "INTERNAL TARGET FAILURE";
    INVALID_MESSAGE_ERROR = 0x4900, "INVALID MESSAGE ERROR";
    DATA_PHASE_ERROR = 0x4b00, "DATA PHASE ERROR";
    INSUFFICIENT_RESOURCES = 0x5503, "INSUFFICIENT RESOURCES";
}

impl fmt::Debug for AdditionalSense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [asc, ascq] = self.0.to_be_bytes();
        match self.text() {
            Some(text) => f.write_str(text),
            None => write!(f, "asc {asc:#04x} ascq {ascq:#04x}"),
        }
    }
}

/// Which CDB or parameter list field was wrong (SPC-4 4.5.2.4.2, the sense key specific field pointer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPointer {
    /// True when the field is in the CDB, false when it is in the parameter list.
    pub in_cdb: bool,
    /// Byte of the field's first (most significant) byte.
    pub byte: u16,
    /// Most significant bit of the field in that byte, when it is smaller than the byte.
    pub bit: Option<u8>,
}

/// What a CHECK CONDITION says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// What exactly, with T10's text.
    pub code: AdditionalSense,
    /// INFORMATION field: a logical block address, or the offset of a miscompare.
    pub information: Option<u64>,
    /// Which field was wrong.
    pub field: Option<FieldPointer>,
}

/// Length in bytes of fixed format sense data (SPC-4 4.5.3): ADDITIONAL SENSE LENGTH 10.
pub const FIXED_SENSE_BYTES: usize = 18;

impl Sense {
    /// Sense data without an INFORMATION field.
    pub const fn new(key: SenseKey, code: AdditionalSense) -> Self {
        Self {
            key,
            code,
            information: None,
            field: None,
        }
    }

    /// ILLEGAL REQUEST with `code`.
    pub const fn illegal_request(code: AdditionalSense) -> Self {
        Self::new(SenseKey::IllegalRequest, code)
    }

    /// ILLEGAL REQUEST, INVALID FIELD IN CDB, pointing to the field.
    pub const fn invalid_field_in_cdb(byte: u16, bit: Option<u8>) -> Self {
        Self {
            field: Some(FieldPointer {
                in_cdb: true,
                byte,
                bit,
            }),
            ..Self::illegal_request(AdditionalSense::INVALID_FIELD_IN_CDB)
        }
    }

    /// UNIT ATTENTION with `code`.
    pub const fn unit_attention(code: AdditionalSense) -> Self {
        Self::new(SenseKey::UnitAttention, code)
    }

    /// The same sense with an INFORMATION field.
    #[must_use]
    pub const fn with_information(mut self, information: u64) -> Self {
        self.information = Some(information);
        self
    }

    /// Fixed format, current (SPC-4 4.5.3). An INFORMATION value that has no room in four bytes is left out
    /// with VALID = 0, as the clause demands.
    pub fn to_fixed(&self) -> [u8; FIXED_SENSE_BYTES] {
        let mut data = [0; FIXED_SENSE_BYTES];
        data[0] = 0x70;
        data[2] = self.key as u8;
        if let Some(information) = self.information.and_then(|i| u32::try_from(i).ok()) {
            data[0] |= 0x80;
            data[3..7].copy_from_slice(&information.to_be_bytes());
        }
        data[7] = (FIXED_SENSE_BYTES - 8) as u8;
        data[12..14].copy_from_slice(&self.code.0.to_be_bytes());
        if let Some(field) = self.field {
            data[15..18].copy_from_slice(&field.to_bytes());
        }
        data
    }

    /// Descriptor format, current (SPC-4 4.5.2), after what `data` already holds.
    pub fn append_descriptors(&self, data: &mut Vec<u8>) {
        let [asc, ascq] = self.code.0.to_be_bytes();
        let length_at = data.len() + 7;
        data.extend([0x72, self.key as u8, asc, ascq, 0, 0, 0, 0]);
        if let Some(information) = self.information {
            // Information sense data descriptor with VALID.
            data.extend([0x00, 10, 0x80, 0]);
            data.extend(information.to_be_bytes());
        }
        if let Some(field) = self.field {
            // Sense key specific sense data descriptor.
            data.extend([0x02, 6, 0, 0]);
            data.extend(field.to_bytes());
            data.push(0);
        }
        set_length(data, length_at..length_at + 1, length_at + 1);
    }
}

impl FieldPointer {
    /// The three sense key specific bytes, with SKSV (SPC-4 4.5.2.4.2).
    fn to_bytes(self) -> [u8; 3] {
        let bit = self.bit.map_or(0, |bit| 0x08 | bit & 0x07);
        let [high, low] = self.byte.to_be_bytes();
        [0x80 | u8::from(self.in_cdb) << 6 | bit, high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_format_vectors() {
        let sense = Sense::invalid_field_in_cdb(1, Some(3));
        assert_eq!(
            sense.to_fixed(),
            [
                0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcb, 0, 1
            ]
        );
        let sense = Sense::new(
            SenseKey::Miscompare,
            AdditionalSense::MISCOMPARE_DURING_VERIFY_OPERATION,
        );
        assert_eq!(
            sense.with_information(0x1234).to_fixed(),
            [
                0xf0, 0, 0xe, 0, 0, 0x12, 0x34, 10, 0, 0, 0, 0, 0x1d, 0, 0, 0, 0, 0
            ]
        );
    }

    #[test]
    fn descriptor_format_vectors() {
        let emit = |sense: Sense| {
            let mut data = Vec::new();
            sense.append_descriptors(&mut data);
            data
        };
        let plain = Sense::unit_attention(AdditionalSense::CAPACITY_DATA_HAS_CHANGED);
        assert_eq!(emit(plain), [0x72, 6, 0x2a, 9, 0, 0, 0, 0]);
        let field = Sense::invalid_field_in_cdb(2, None).with_information(1 << 40);
        assert_eq!(
            emit(field),
            [
                0x72, 5, 0x24, 0, 0, 0, 0, 20, 0, 10, 0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 6, 0, 0,
                0xc0, 0, 2, 0
            ]
        );
    }

    #[test]
    fn information_too_large_for_fixed_format_is_not_valid() {
        let sense = Sense::illegal_request(AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE);
        assert_eq!(sense.with_information(1 << 40).to_fixed()[0], 0x70);
    }
}
