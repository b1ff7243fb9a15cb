//! The null medium: reads zeroes, drops writes. For measuring everything above it.

use target_core::backend::BlockOperation;

use crate::memory::Memory;

/// Nothing, of any size.
#[derive(Debug)]
pub(crate) struct Null;

impl Memory for Null {
    fn perform(&self, operation: &mut BlockOperation) {
        if let BlockOperation::Read { buf, .. } = operation {
            buf.fill(0);
        }
    }

    fn why_fixed(&self) -> Option<&'static str> {
        None
    }
}
