//! TEST UNIT READY (SPC-4).

use crate::cdb::Cdb;
use crate::request::{Refusal, UnitView, Work};

/// Always ready: what could keep a command from being served was checked before.
pub(crate) fn test_unit_ready(_cdb: Cdb<'_>, _unit: &UnitView<'_>) -> Result<Work, Refusal> {
    Ok(Work::Nothing)
}
