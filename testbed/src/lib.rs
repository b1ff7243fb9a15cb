//! The test bed: a guest kernel with real rxe, real `ib_srp` and the host's file system as its root.
//!
//! Room: where the guest's kernel lies ([`kernel`]), how one guest is booted, watched and ended ([`Guest`]), and
//! how many may run at once ([`Slot`]). The guest is an ordinary process of the caller (User-Mode Linux): no KVM,
//! no root, no network. Building the kernel belongs to `xtask`, what happens inside a guest to `tests`.
#![forbid(unsafe_code)]

mod guest;
pub mod kernel;
mod log;
mod slot;

pub use guest::{Console, Ended, Guest};
pub use log::last_lines;
pub use slot::Slot;
