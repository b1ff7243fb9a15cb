//! The daemon and its command line: configuration, control plane, data plane.
//!
//! Everything is here so that tests can use it; `main.rs` only starts it.

pub mod access;
pub mod api;
mod as_text;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod doctor;
pub mod exercise;
pub mod identity;
mod interfaces;
pub mod loopback;
pub mod paths;
pub mod portal;
pub mod rxe;
pub mod selftest;
pub mod worker;
pub mod worker_link;
