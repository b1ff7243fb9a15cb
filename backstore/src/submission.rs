//! Steps as ring entries, and whose completion is whose.

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{Fixed, FsyncFlags};

use crate::operation::Step;
use crate::ring::Ring;
use crate::slots::Key;

/// `BLOCK_URING_CMD_DISCARD`, which is `_IO(0x12, 0)` (Linux 6.12).
const BLOCK_URING_CMD_DISCARD: u32 = 0x1200;

const KEEP_SIZE: i32 = libc::FALLOC_FL_KEEP_SIZE;

/// Whose completion it is; travels through the kernel as user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Operation(Key),
    Watch(Key),
    /// The poll that a watch's read is linked to; it tells only that it failed, and the read then tells nothing.
    PollOfWatch(Key),
    /// A listener's accepts.
    Accept(Key),
    /// A stream's receive.
    Receive(Key),
    /// A stream's send.
    Send(Key),
    /// The answer to a cancellation, which tells nothing: the cancelled entry has its own completion.
    Nothing,
}

const OPERATION: u64 = 0;
const WATCH: u64 = 1;
const NOTHING: u64 = 2;
const POLL_OF_WATCH: u64 = 3;
const ACCEPT: u64 = 4;
const RECEIVE: u64 = 5;
const SEND: u64 = 6;

impl Target {
    pub(crate) fn user_data(self) -> u64 {
        let pack =
            |kind, key: Key| kind << 48 | u64::from(key.generation) << 32 | u64::from(key.index);
        match self {
            Self::Operation(key) => pack(OPERATION, key),
            Self::Watch(key) => pack(WATCH, key),
            Self::PollOfWatch(key) => pack(POLL_OF_WATCH, key),
            Self::Accept(key) => pack(ACCEPT, key),
            Self::Receive(key) => pack(RECEIVE, key),
            Self::Send(key) => pack(SEND, key),
            Self::Nothing => NOTHING << 48,
        }
    }

    pub(crate) fn from_user_data(user_data: u64) -> Self {
        // Each `as` takes one of the fields that `user_data` packed.
        let key = Key {
            index: user_data as u32,
            generation: (user_data >> 32) as u16,
        };
        match user_data >> 48 {
            OPERATION => Self::Operation(key),
            WATCH => Self::Watch(key),
            POLL_OF_WATCH => Self::PollOfWatch(key),
            ACCEPT => Self::Accept(key),
            RECEIVE => Self::Receive(key),
            SEND => Self::Send(key),
            _ => Self::Nothing,
        }
    }
}

/// The entry for a step on a registered file.
pub(crate) fn entry(step: Step, file: Fixed, ring: &Ring) -> Entry {
    match step {
        Step::Read {
            address,
            len,
            offset,
        } => match ring.fixed_index(address, len) {
            Some(index) => opcode::ReadFixed::new(file, address as *mut u8, len, index)
                .offset(offset)
                .build(),
            None => opcode::Read::new(file, address as *mut u8, len)
                .offset(offset)
                .build(),
        },
        Step::Write {
            address,
            len,
            offset,
            durable,
        } => match ring.fixed_index(address, len) {
            Some(index) => opcode::WriteFixed::new(file, address as *const u8, len, index)
                .offset(offset)
                .rw_flags(write_flags(durable))
                .build(),
            None => opcode::Write::new(file, address as *const u8, len)
                .offset(offset)
                .rw_flags(write_flags(durable))
                .build(),
        },
        Step::Sync => opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
        Step::PunchHole { offset, len } => {
            allocate(file, libc::FALLOC_FL_PUNCH_HOLE | KEEP_SIZE, offset, len)
        }
        Step::ZeroRange { offset, len } => {
            allocate(file, libc::FALLOC_FL_ZERO_RANGE | KEEP_SIZE, offset, len)
        }
        Step::Discard { offset, len } => discard(file, offset, len),
    }
}

fn write_flags(durable: bool) -> i32 {
    if durable { libc::RWF_DSYNC } else { 0 }
}

fn allocate(file: Fixed, mode: i32, offset: u64, len: u64) -> Entry {
    opcode::Fallocate::new(file, len)
        .offset(offset)
        .mode(mode)
        .build()
}

fn discard(file: Fixed, offset: u64, len: u64) -> Entry {
    let mut command = [0; 16];
    command[..8].copy_from_slice(&len.to_ne_bytes());
    opcode::UringCmd16::new(file, BLOCK_URING_CMD_DISCARD)
        .addr(Some(offset))
        .cmd(command)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_survive_the_way_through_the_kernel() {
        let key = Key {
            index: u32::MAX,
            generation: u16::MAX,
        };
        for target in [
            Target::Operation(key),
            Target::Watch(key),
            Target::PollOfWatch(key),
            Target::Accept(key),
            Target::Receive(key),
            Target::Send(key),
            Target::Nothing,
        ] {
            assert_eq!(Target::from_user_data(target.user_data()), target);
        }
    }

    #[test]
    fn only_durable_writes_carry_dsync() {
        assert_eq!(write_flags(true), libc::RWF_DSYNC);
        assert_eq!(write_flags(false), 0);
    }
}
