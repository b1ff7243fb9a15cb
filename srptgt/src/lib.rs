//! The daemon and its command line: configuration, control plane, data plane.
//!
//! Everything is here so that tests can use it; `main.rs` only starts it.

pub mod access;
pub mod config;
pub mod control;
pub mod identity;
pub mod portal;
pub mod worker;
pub mod worker_link;
