//! A listening socket: one entry that brings every connection (multishot accept, Linux 5.19).

use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{opcode, types};
use rustix::net::{Shutdown, shutdown};

use crate::ring::Ring;
use crate::slots::Key;
use crate::submission::Target;

/// A listener of the table.
pub(super) struct Listener {
    socket: OwnedFd,
    pub(super) token: u64,
    /// The entry is in the ring.
    pub(super) armed: bool,
    /// It goes with the entry's last completion.
    pub(super) closing: bool,
}

impl Listener {
    pub(super) fn new(socket: OwnedFd, token: u64) -> Self {
        Self {
            socket,
            token,
            armed: false,
            closing: false,
        }
    }

    pub(super) fn arm(&mut self, ring: &mut Ring, key: Key) {
        if self.armed || self.closing {
            return;
        }
        self.armed = true;
        let entry = opcode::AcceptMulti::new(types::Fd(self.socket.as_raw_fd()))
            .flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
            .build()
            .user_data(Target::Accept(key).user_data());
        // SAFETY: the entry names no memory, and the socket stays in the table until its last completion.
        unsafe { ring.push(entry) };
    }

    /// Stops listening. True when nothing of it is in the ring.
    pub(super) fn close(&mut self, ring: &mut Ring, key: Key) -> bool {
        self.closing = true;
        // Others may listen on the address at once. What is not connected cannot fail to be shut down.
        let _ = shutdown(&self.socket, Shutdown::Both);
        if self.armed {
            let user_data = Target::Accept(key).user_data();
            match ring.retract(user_data) {
                true => self.armed = false,
                false => ring.cancel(user_data),
            }
        }
        !self.armed
    }
}
