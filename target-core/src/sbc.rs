//! The block commands (SBC-3), and what a failed medium tells the initiator.

pub(crate) mod block_error;
pub(crate) mod block_size;
pub(crate) mod capacity;
pub(crate) mod read_write;
pub(crate) mod start_stop;
pub(crate) mod synchronize_cache;
