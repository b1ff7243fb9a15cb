//! What a medium without a descriptor is: it finishes every operation at once.

use std::fmt::Debug;

use target_core::backend::BlockOperation;

/// A medium in this process. Operations come checked against its size, block size and write protection.
pub(crate) trait Memory: Debug + Send + Sync {
    /// Does all of the operation. There is nothing volatile below it, so durable is the same as done.
    fn perform(&self, operation: &mut BlockOperation);

    /// What to tell an operator who wants to resize it, or `None` when only the number changes.
    fn why_fixed(&self) -> Option<&'static str>;
}
