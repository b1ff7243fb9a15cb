//! A connected socket: at most one receive and one send of it are in the ring.

use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::squeue::{Entry, Flags};
use io_uring::{opcode, types};
use iobuf::Buf;
use rustix::net::{Shutdown, shutdown};
use target_core::port::Piece;

use super::SendError;
use super::chunks::GROUP;
use super::outbox::Outbox;
use crate::ring::Ring;
use crate::slots::Key;
use crate::submission::Target;

/// A stream of the table.
pub(super) struct Socket {
    socket: OwnedFd,
    pub(super) token: u64,
    receiving: Receiving,
    /// The driver takes what comes.
    pub(super) wanted: bool,
    pub(super) outbox: Outbox,
    /// On the list of those with something to send.
    pub(super) unsent: bool,
    /// It goes with the last completion.
    pub(super) closing: bool,
}

/// How far the receive of a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    /// Not in the ring.
    Idle,
    /// In the ring.
    Armed,
    /// In the ring, and on its way out of it.
    Stopping,
    /// Not in the ring, because there was no chunk.
    Starved,
    /// Nothing comes any more.
    Ended,
}

impl Socket {
    pub(super) fn new(socket: OwnedFd, token: u64) -> Self {
        Self {
            socket,
            token,
            receiving: Receiving::Idle,
            wanted: true,
            outbox: Outbox::new(),
            unsent: false,
            closing: false,
        }
    }

    /// Puts a receive in the ring when one is wanted and can be.
    pub(super) fn receive(&mut self, ring: &mut Ring, key: Key, one_shot: bool) {
        let can = matches!(self.receiving, Receiving::Idle | Receiving::Starved);
        if !can || !self.wanted || self.closing {
            return;
        }
        self.receiving = Receiving::Armed;
        let entry = self.receive_entry(one_shot);
        // SAFETY: the entry names memory of the table of chunks only, which owns it; the socket stays in its table
        // until the entry's last completion.
        unsafe { ring.push(entry.user_data(Target::Receive(key).user_data())) };
    }

    fn receive_entry(&self, one_shot: bool) -> Entry {
        let fd = types::Fd(self.socket.as_raw_fd());
        match one_shot {
            false => opcode::RecvMulti::new(fd, GROUP).build(),
            // Length 0 is that of the chunk.
            true => opcode::Recv::new(fd, std::ptr::null_mut(), 0)
                .buf_group(GROUP)
                .build()
                .flags(Flags::BUFFER_SELECT),
        }
    }

    /// The entry of the receive is out of the ring.
    pub(super) fn receive_is_over(&mut self) {
        self.receiving = Receiving::Idle;
    }

    /// There was no chunk: waits for one.
    pub(super) fn starve(&mut self) {
        if self.receiving == Receiving::Idle {
            self.receiving = Receiving::Starved;
        }
    }

    /// Nothing comes any more.
    pub(super) fn end(&mut self) {
        self.receiving = Receiving::Ended;
    }

    /// Stops receiving; what the kernel has taken from the socket by then still comes.
    pub(super) fn pause(&mut self, ring: &mut Ring, key: Key) {
        self.wanted = false;
        self.stop_receiving(ring, key);
    }

    fn stop_receiving(&mut self, ring: &mut Ring, key: Key) {
        if self.receiving != Receiving::Armed {
            return;
        }
        let user_data = Target::Receive(key).user_data();
        if ring.retract(user_data) {
            self.receiving = Receiving::Idle;
            return;
        }
        self.receiving = Receiving::Stopping;
        ring.cancel(user_data);
    }

    pub(super) fn queue(
        &mut self,
        message: Buf,
        data: Option<Buf>,
        pieces: &[Piece],
    ) -> Result<(), SendError> {
        if self.closing {
            return Err(SendError::Closed);
        }
        self.outbox.push(message, data, pieces)
    }

    /// Puts what is to be sent in the ring, when nothing of this socket is. True when it did.
    pub(super) fn send(&mut self, ring: &mut Ring, key: Key) -> bool {
        if self.closing {
            return false;
        }
        let Some(header) = self.outbox.next_list() else {
            return false;
        };
        let fd = types::Fd(self.socket.as_raw_fd());
        let entry = opcode::SendMsg::new(fd, header)
            .flags((libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32)
            .build()
            .user_data(Target::Send(key).user_data());
        // SAFETY: the header, the gather list and the buffers that it names belong to the outbox, which leaves them
        // alone until the completion; the socket stays in its table until then.
        unsafe { ring.push(entry) };
        true
    }

    /// Ends both directions; what is not sent is dropped when the kernel lets go of it.
    pub(super) fn close(&mut self, ring: &mut Ring, key: Key) {
        if self.closing {
            return;
        }
        self.closing = true;
        // It fails when the peer has ended the connection, which is what is wanted.
        let _ = shutdown(&self.socket, Shutdown::Both);
        self.stop_receiving(ring, key);
        if self.outbox.in_ring {
            let user_data = Target::Send(key).user_data();
            match ring.retract(user_data) {
                true => self.outbox.in_ring = false,
                false => ring.cancel(user_data),
            }
        }
        if !self.outbox.in_ring {
            self.outbox.clear();
        }
    }

    /// True when nothing of it is in the ring.
    pub(super) fn is_quiet(&self) -> bool {
        let receiving = matches!(self.receiving, Receiving::Armed | Receiving::Stopping);
        self.closing && !receiving && !self.outbox.in_ring
    }
}
