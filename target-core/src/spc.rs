//! The commands of every device type (SPC-4, SPC-2 for RESERVE and RELEASE).

pub(crate) mod inquiry;
pub(crate) mod mode_sense;
pub(crate) mod report_luns;
pub(crate) mod request_sense;
pub(crate) mod reserve;
pub(crate) mod supported_functions;
pub(crate) mod supported_opcodes;
pub(crate) mod test_unit_ready;
pub(crate) mod vpd;
