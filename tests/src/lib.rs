//! Scenarios: what an unmodified Linux initiator sees of a target, in a guest of the test bed.
//!
//! Room: [`vm::scenario`] turns an ordinary `#[test]` into a run in a guest, and the other modules are the pieces a
//! scenario is made of, one noun each: soft-RDMA devices, the SRP initiator, its disks, the targets, the tools.
//! All of them except [`vm`] run inside the guest, as root, and may do to it what they like.
//!
//! A piece that cannot do its work panics with what it ran and what came back: that is how a scenario fails.

pub mod autopsy;
pub mod bed;
pub mod bystander;
pub mod capture;
pub mod command;
pub mod deadline;
pub mod disk;
pub mod endpoint;
pub mod fio;
pub mod ib_srp;
pub mod kernel_log;
pub mod libiscsi;
pub mod lio;
pub mod login;
pub mod multipath;
pub mod open_iscsi;
pub mod rping;
pub mod rxe;
pub mod sim;
pub mod srptgt;
pub mod sweep;
pub mod tgt;
pub mod tree;
pub mod trial;
pub mod vm;
