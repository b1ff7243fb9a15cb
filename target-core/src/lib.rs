//! SCSI: what a target is, whatever moves the data.
//!
//! Room: nexus, LUN map, command table, CDB and sense, SPC and SBC commands, task sets and task management,
//! unit attentions, reservations. Pure: no I/O, no clock, no threads, no `unsafe`. An event goes in by a
//! method of [`Target`], the next thing to do comes out of [`Target::poll_next`], time is an argument.
//! What a transport must be is [`port::Channel`], what a medium must be is [`backend::Backend`].
#![forbid(unsafe_code)]

pub mod backend;
mod cdb;
pub mod command;
pub mod counters;
mod ending;
mod index_list;
mod length_field;
pub mod logical_unit;
pub mod lun;
pub mod nexus;
mod opcode;
pub mod port;
mod request;
mod reservation;
mod sbc;
pub mod sense;
mod slab;
mod spc;
pub mod status;
pub mod target;
mod task;
mod task_set;
mod unit;
mod unit_attention;

pub use opcode::command_name;
pub use target::Target;
