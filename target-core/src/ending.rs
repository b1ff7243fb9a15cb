//! How a command ends, and the outcome that its initiator is told.

use iobuf::Buf;

use crate::command::{Outcome, Residual};
use crate::request::Refusal;
use crate::status::Status;
use crate::task::Origin;

/// How a command ends. The default is GOOD without data.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) refusal: Option<Refusal>,
    /// What goes to the initiator.
    pub(crate) data_in: Option<Buf>,
    /// Bytes that the command had for the Data-In Buffer, whatever room it has.
    pub(crate) data_in_bytes: u32,
    /// Bytes that the command wanted from the Data-Out Buffer, however many it has.
    pub(crate) data_out_bytes: u32,
}

impl Ending {
    /// Refused before any data moved.
    pub(crate) fn refused(refusal: impl Into<Refusal>) -> Self {
        Self {
            refusal: Some(refusal.into()),
            ..Self::default()
        }
    }

    #[inline]
    pub(crate) fn status(&self) -> Status {
        self.refusal.map_or(Status::GOOD, Refusal::status)
    }

    /// The residuals say by how much the buffers and the bytes did not fit (SAM-5).
    #[inline]
    pub(crate) fn into_outcome(self, origin: &Origin) -> Outcome {
        Outcome {
            status: self.status(),
            sense: self.refusal.and_then(Refusal::sense),
            data_in: self.data_in,
            data_in_residual: Residual::of(origin.data_in_len, self.data_in_bytes),
            data_out_residual: Residual::of(origin.data_out_len, self.data_out_bytes),
        }
    }
}
