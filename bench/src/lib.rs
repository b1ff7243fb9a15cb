//! The pure path: what a command costs in a transport's crate and `target-core` alone.
//!
//! Room: a worker's loop with the outside cut off. Messages are canned, and lie where a NIC or a socket would have
//! written them, the back end does nothing and is done at once, and what would be posted is dropped. What is left are the
//! hops of the design that are code of this house and no system call: receive, parse, command, checks, block
//! request, completion, outcome, response. Instructions are counted from outside (`cargo xtask bench`), allocations by
//! this crate's test. The scripts beside this crate run in the guest of the other half of the benchmark.
#![forbid(unsafe_code)]

mod end;
mod job;
mod pure_path;

pub use job::{Job, Kind, Transport};
pub use pure_path::PurePath;
