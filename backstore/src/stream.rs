//! TCP on the worker's ring: listeners, and streams of bytes that come in chunks and go out as gather lists.
//!
//! May touch: sockets, and the ring that everything else of the worker is on, so that a turn costs one system call
//! however many sockets moved. What the bytes mean is not known here. Memory that the kernel may touch is owned by a
//! table entry until the kernel's last completion: chunks that wait to be filled by [`chunks`], buffers that are
//! being sent by [`outbox`], and both with their socket by [`socket`].

use std::collections::VecDeque;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use iobuf::{Buf, Pool};
use target_core::port::Piece;
use thiserror::Error;

use crate::ring::{Completion, Ring};
use crate::slots::{Key, Slots};

mod chunks;
mod listener;
mod outbox;
mod socket;

use chunks::Chunks;
use listener::Listener;
use socket::Socket;

/// A stream of an [`crate::Engine`]. One that was closed names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId(Key);

/// What happened to a listener or a stream; `token` is what it was added with.
#[derive(Debug)]
pub enum StreamEvent {
    /// Somebody has connected.
    Accepted {
        /// The listener's.
        token: u64,
        /// Nonblocking, closed on exec.
        socket: OwnedFd,
    },
    /// Nobody can be accepted for want of descriptors or memory, until [`crate::Engine::resume_accept`].
    AcceptFailed {
        /// The listener's.
        token: u64,
        /// The errno.
        errno: i32,
    },
    /// Bytes have come, at least one.
    Received {
        /// The stream's.
        token: u64,
        /// A window on them. Dropped, it takes the next bytes that come for anybody.
        chunk: Buf,
    },
    /// Nothing more comes. What is being sent goes on.
    Ended {
        /// The stream's.
        token: u64,
        /// The errno, or none when the peer has said that it sends no more.
        errno: Option<i32>,
    },
    /// Some of what was given to [`crate::Engine::send`] has been sent, and its buffers are back in their pools.
    Sent {
        /// The stream's.
        token: u64,
    },
    /// Nothing more can be sent; what was not is dropped.
    SendFailed {
        /// The stream's.
        token: u64,
        /// The errno.
        errno: i32,
    },
    /// The last of a stream that was closed: the kernel holds nothing of it any more.
    Closed {
        /// The stream's.
        token: u64,
    },
}

/// Bytes cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// The stream was closed, or sending failed before.
    #[error("the stream is closed")]
    Closed,
    /// A piece lies outside its buffer.
    #[error("{piece:?} lies outside its buffer of {len} bytes")]
    Outside {
        /// Which.
        piece: Piece,
        /// The buffer's length, 0 when there is none.
        len: usize,
    },
}

/// What streams did since the engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Chunks received.
    pub chunks: u64,
    /// Bytes in them.
    pub received_bytes: u64,
    /// Times that a stream found no chunk to receive into.
    pub starved: u64,
    /// Gather lists given to the kernel.
    pub sends: u64,
    /// Sends that moved less than was asked and went on.
    pub short_sends: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Streams now, with those that are being closed.
    pub open: u64,
}

/// All listeners and streams of an engine.
#[derive(Default)]
pub(crate) struct Streams {
    chunks: Option<Chunks>,
    listeners: Slots<Listener>,
    sockets: Slots<Socket>,
    events: VecDeque<StreamEvent>,
    /// Sockets with something to send that is not in the ring.
    unsent: Vec<Key>,
    /// Sockets that found no chunk.
    starved: Vec<Key>,
    /// The kernel does not know multishot receives (before 6.0).
    one_shot: bool,
    counters: StreamCounters,
}

impl Streams {
    /// Registers the table of chunks, as many as `count` (a power of two), which come from `pool`.
    pub(crate) fn provide_chunks(
        &mut self,
        ring: &Ring,
        table: Buf,
        count: u16,
        pool: Pool,
    ) -> io::Result<()> {
        if self.chunks.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.chunks = Some(Chunks::register(ring, table, count, pool)?);
        Ok(())
    }

    /// Takes the table of chunks from the kernel; call it when nothing is received any more.
    pub(crate) fn withdraw_chunks(&mut self, ring: &Ring) {
        if let Some(chunks) = &self.chunks {
            chunks.unregister(ring);
        }
    }

    pub(crate) fn listen(&mut self, ring: &mut Ring, socket: OwnedFd, token: u64) {
        let key = self.listeners.insert(Listener::new(socket, token));
        self.accept(ring, key);
    }

    pub(crate) fn unlisten(&mut self, ring: &mut Ring, token: u64) {
        self.events.retain(
            |event| !matches!(event, StreamEvent::Accepted { token: of, .. } if *of == token),
        );
        if let Some(key) = self.listener_of(token)
            && self
                .listeners
                .get_mut(key)
                .is_some_and(|l| l.close(ring, key))
        {
            self.listeners.remove(key);
        }
    }

    pub(crate) fn resume_accept(&mut self, ring: &mut Ring, token: u64) {
        if let Some(key) = self.listener_of(token) {
            self.accept(ring, key);
        }
    }

    fn listener_of(&mut self, token: u64) -> Option<Key> {
        self.listeners
            .iter_mut()
            .find_map(|(key, listener)| (listener.token == token).then_some(key))
    }

    fn accept(&mut self, ring: &mut Ring, key: Key) {
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.arm(ring, key);
        }
    }

    /// Adds a connected socket and begins to receive.
    pub(crate) fn add(&mut self, ring: &mut Ring, socket: OwnedFd, token: u64) -> StreamId {
        let key = self.sockets.insert(Socket::new(socket, token));
        self.counters.open += 1;
        self.receive(ring, key);
        StreamId(key)
    }

    pub(crate) fn pause(&mut self, ring: &mut Ring, stream: StreamId) {
        if let Some(socket) = self.sockets.get_mut(stream.0) {
            socket.pause(ring, stream.0);
        }
    }

    pub(crate) fn resume(&mut self, ring: &mut Ring, stream: StreamId) {
        if let Some(socket) = self.sockets.get_mut(stream.0) {
            socket.wanted = true;
            self.receive(ring, stream.0);
        }
    }

    /// Queues bytes; they are in the ring with the next [`Streams::flush`].
    pub(crate) fn send(
        &mut self,
        stream: StreamId,
        message: Buf,
        data: Option<Buf>,
        pieces: &[Piece],
    ) -> Result<(), SendError> {
        let socket = self.sockets.get_mut(stream.0).ok_or(SendError::Closed)?;
        socket.queue(message, data, pieces)?;
        if !socket.unsent {
            socket.unsent = true;
            self.unsent.push(stream.0);
        }
        Ok(())
    }

    /// True when everything that was given to [`Streams::send`] has been sent, or cannot be.
    pub(crate) fn is_sent(&mut self, stream: StreamId) -> bool {
        self.sockets
            .get_mut(stream.0)
            .is_none_or(|socket| socket.outbox.is_empty())
    }

    pub(crate) fn close(&mut self, ring: &mut Ring, stream: StreamId) {
        let Some(socket) = self.sockets.get_mut(stream.0) else {
            return;
        };
        let token = socket.token;
        socket.close(ring, stream.0);
        self.events
            .retain(|event| event.stream_token() != Some(token));
        self.bury(stream.0);
    }

    /// Puts everything that waits into the ring.
    pub(crate) fn flush(&mut self, ring: &mut Ring) {
        if self.chunks.as_mut().is_some_and(Chunks::refill) {
            while let Some(key) = self.starved.pop() {
                self.receive(ring, key);
            }
        }
        while let Some(key) = self.unsent.pop() {
            if let Some(socket) = self.sockets.get_mut(key) {
                socket.unsent = false;
                self.counters.sends += u64::from(socket.send(ring, key));
            }
        }
    }

    pub(crate) fn next_event(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    pub(crate) fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn counters(&self) -> StreamCounters {
        self.counters
    }

    /// Receives from now on only as kernels before 6.0 can.
    #[cfg(test)]
    pub(crate) fn forget_multishot(&mut self) {
        self.one_shot = true;
    }

    fn receive(&mut self, ring: &mut Ring, key: Key) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.receive(ring, key, self.one_shot);
        }
    }

    pub(crate) fn handle_accepted(&mut self, ring: &mut Ring, key: Key, completion: Completion) {
        let accepted = socket_of(&completion);
        let Some(listener) = self.listeners.get_mut(key) else {
            return;
        };
        let token = listener.token;
        if !completion.more {
            listener.armed = false;
        }
        if listener.closing {
            if !completion.more {
                self.listeners.remove(key);
            }
            return;
        }
        match accepted {
            Ok(socket) => {
                self.counters.accepted += 1;
                self.events
                    .push_back(StreamEvent::Accepted { token, socket });
            }
            Err(errno) if is_shortage(errno) => {
                self.events
                    .push_back(StreamEvent::AcceptFailed { token, errno });
                return;
            }
            // A connection that ended before it was accepted, or a signal.
            Err(_) => {}
        }
        self.accept(ring, key);
    }

    pub(crate) fn handle_received(&mut self, ring: &mut Ring, key: Key, completion: Completion) {
        let len = usize::try_from(completion.result).unwrap_or(0);
        let chunk = completion
            .buffer
            .and_then(|place| self.chunks.as_mut()?.take(place, len));
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let token = socket.token;
        if !completion.more {
            socket.receive_is_over();
        }
        if socket.closing {
            return self.bury(key);
        }
        match (chunk, completion.result) {
            (Some(chunk), 1..) => {
                self.counters.chunks += 1;
                self.counters.received_bytes += len as u64;
                self.events
                    .push_back(StreamEvent::Received { token, chunk });
            }
            (_, result) => self.handle_no_chunk(key, result.saturating_neg()),
        }
        self.receive(ring, key);
    }

    /// A receive that brought nothing, by its errno.
    fn handle_no_chunk(&mut self, key: Key, errno: i32) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        match errno {
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            libc::ENOBUFS => {
                self.counters.starved += 1;
                socket.starve();
                self.starved.push(key);
            }
            libc::EINVAL if !self.one_shot => self.one_shot = true,
            errno => {
                socket.end();
                let (token, errno) = (socket.token, (errno != 0).then_some(errno));
                self.events.push_back(StreamEvent::Ended { token, errno });
            }
        }
    }

    pub(crate) fn handle_sent(&mut self, ring: &mut Ring, key: Key, completion: Completion) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        let token = socket.token;
        let result =
            u64::try_from(completion.result).map_err(|_| completion.result.saturating_neg());
        let sent = socket.outbox.handle_sent(result);
        if socket.closing {
            return self.bury(key);
        }
        match sent {
            Ok(short) => {
                self.counters.sent_bytes += result.unwrap_or(0);
                self.counters.short_sends += u64::from(short);
                self.counters.sends += u64::from(socket.send(ring, key));
                self.events.push_back(StreamEvent::Sent { token });
            }
            Err(errno) => self
                .events
                .push_back(StreamEvent::SendFailed { token, errno }),
        }
    }

    /// Lets go of a closed socket when the kernel has.
    fn bury(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else {
            return;
        };
        if !socket.is_quiet() {
            return;
        }
        let token = socket.token;
        self.sockets.remove(key);
        self.counters.open -= 1;
        self.events.push_back(StreamEvent::Closed { token });
    }
}

impl StreamEvent {
    /// The token of the stream that this is of; none for what a listener says.
    fn stream_token(&self) -> Option<u64> {
        match self {
            Self::Accepted { .. } | Self::AcceptFailed { .. } => None,
            Self::Received { token, .. }
            | Self::Ended { token, .. }
            | Self::Sent { token }
            | Self::SendFailed { token, .. }
            | Self::Closed { token } => Some(*token),
        }
    }
}

/// The socket that an accept has made, or the errno. Call it once for each completion.
pub(crate) fn socket_of(completion: &Completion) -> Result<OwnedFd, i32> {
    if completion.result < 0 {
        return Err(completion.result.saturating_neg());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(completion.result) })
}

/// Errors of accept(2) that come again at once.
fn is_shortage(errno: i32) -> bool {
    matches!(
        errno,
        libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EPERM
    )
}
