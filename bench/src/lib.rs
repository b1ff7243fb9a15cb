//! The pure path: what a command costs in `transport-srp` or `transport-iser` and `target-core` alone.
//!
//! Room: a worker's loop with the outside cut off. Messages are copied from a canned SRP_CMD as a NIC would write
//! them, the back end does nothing and is done at once, and what would be posted is dropped. What is left are the
//! hops of the design that are code of this house and no system call: receive, parse, command, checks, block
//! request, completion, outcome, response. Instructions are counted from outside (`cargo xtask bench`), allocations by
//! this crate's test. The scripts beside this crate run in the guest of the other half of the benchmark.
#![forbid(unsafe_code)]

mod canned;
mod pure_path;
mod stream_path;

pub use canned::Job;
pub use pure_path::PurePath;
pub use stream_path::{StreamJob, StreamPath};
