//! TCP streams, as the worker asks for them.

use std::io;
use std::os::fd::OwnedFd;

use iobuf::{Buf, Pool};
use target_core::port::Piece;

use super::Engine;
use crate::stream::{SendError, StreamCounters, StreamEvent, StreamId};

/// Bytes of one entry of the table of chunks.
const TABLE_ENTRY_BYTES: usize = 16;

impl Engine {
    /// Gives the streams memory to receive into: buffers of `pool`, all as long as its largest, `count` of them at a
    /// time with the kernel. Call it once, before the first stream.
    ///
    /// # Errors
    /// `InvalidInput` when `count` is no power of two or the kernel has no such tables (before Linux 5.19),
    /// `OutOfMemory` when the bounce pool has no page for the table, `AlreadyExists` the second time.
    pub fn provide_chunks(&mut self, count: u16, pool: Pool) -> io::Result<()> {
        let bytes = usize::from(count) * TABLE_ENTRY_BYTES;
        let table = self.bounce.take(bytes).ok_or(io::ErrorKind::OutOfMemory)?;
        self.streams.provide_chunks(&self.ring, table, count, pool)
    }

    /// Accepts connections of a listening socket from now on, as [`StreamEvent::Accepted`] with this token.
    pub fn listen(&mut self, socket: OwnedFd, token: u64) {
        self.streams.listen(&mut self.ring, socket, token);
    }

    /// Accepts no more, and closes the listening socket.
    pub fn unlisten(&mut self, token: u64) {
        self.streams.unlisten(&mut self.ring, token);
    }

    /// Accepts again after [`StreamEvent::AcceptFailed`].
    pub fn resume_accept(&mut self, token: u64) {
        self.streams.resume_accept(&mut self.ring, token);
    }

    /// Adds a connected socket, and receives from it until told otherwise. The token comes with its events; it must be
    /// its own until [`StreamEvent::Closed`].
    pub fn add_stream(&mut self, socket: OwnedFd, token: u64) -> StreamId {
        self.streams.add(&mut self.ring, socket, token)
    }

    /// Stops receiving. Chunks that the kernel has filled by then still come.
    pub fn pause(&mut self, stream: StreamId) {
        self.streams.pause(&mut self.ring, stream);
    }

    /// Receives again.
    pub fn resume(&mut self, stream: StreamId) {
        self.streams.resume(&mut self.ring, stream);
    }

    /// Sends the pieces in order, behind what was given before; everything of one turn goes as one gather list. Each
    /// completion says [`StreamEvent::Sent`].
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then, and the buffers return to their pools.
    pub fn send(
        &mut self,
        stream: StreamId,
        message: Buf,
        data: Option<Buf>,
        pieces: &[Piece],
    ) -> Result<(), SendError> {
        self.streams.send(stream, message, data, pieces)
    }

    /// True when everything that was given to [`Engine::send`] has been sent, or cannot be.
    pub fn is_sent(&mut self, stream: StreamId) -> bool {
        self.streams.is_sent(stream)
    }

    /// Ends a stream in both directions, and drops what it has to send. The only event of it that comes any more is
    /// [`StreamEvent::Closed`].
    pub fn close_stream(&mut self, stream: StreamId) {
        self.streams.close(&mut self.ring, stream);
    }

    /// The next thing that happened to a listener or a stream.
    pub fn next_stream_event(&mut self) -> Option<StreamEvent> {
        self.streams.next_event()
    }

    /// What the streams did.
    pub fn stream_counters(&self) -> StreamCounters {
        self.streams.counters()
    }
}
