//! SCSI: what a target is, whatever moves the data.
//!
//! Room: nexus, LUN map, command table, CDB and sense, SPC and SBC commands, task sets and task management,
//! unit attentions, reservations. Pure: no I/O, no clock, no threads, no `unsafe`. An event goes in by a
//! method of [`Target`], the next thing to do comes out of [`Target::poll_next`], time is an argument.
//! What a transport must be is [`port::Channel`], what a medium must be is [`backend::Backend`].
#![forbid(unsafe_code)]

pub mod backend;
pub mod command;
pub mod counters;
pub mod logical_unit;
pub mod lun;
pub mod nexus;
pub mod port;
pub mod sense;
mod slab;
pub mod status;
pub mod target;
