//! The byte stream: PDUs in and out of a socket, many at a time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use transport_iser::login::Digest;

use super::codec::{self, Received, pdu_len, split};
use super::machine::{ProtocolError, Transmit};
use crate::error::ConnectError;

/// Bytes that are read at a time, at least.
const READ_BYTES: usize = 256 << 10;

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    outgoing: Vec<u8>,
    /// Bytes of `outgoing` that were written.
    written: usize,
    incoming: Vec<u8>,
    /// What of `incoming` was read and not yet taken.
    begin: usize,
    end: usize,
}

impl Stream {
    pub(super) fn connect(
        address: SocketAddr,
        source: Option<SocketAddr>,
        timeout: Duration,
    ) -> Result<Self, ConnectError> {
        let failed = |error| ConnectError::Tcp { address, error };
        let socket = match source {
            None => TcpStream::connect_timeout(&address, timeout),
            Some(source) => connect_from(source, address, timeout),
        };
        let socket = socket.map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self::new(socket))
    }

    fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            outgoing: Vec::with_capacity(WRITE_BYTES),
            written: 0,
            incoming: vec![0; READ_BYTES],
            begin: 0,
            end: 0,
        }
    }

    /// Whether enough is gathered to be written.
    pub(super) fn is_full(&self) -> bool {
        self.outgoing.len() - self.written >= WRITE_BYTES
    }

    /// Whether something waits to be written.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Appends a PDU; `data_out` is the request's whole Data-Out Buffer.
    pub(super) fn push(&mut self, transmit: &Transmit, data_out: &[u8]) {
        codec::encode(&mut self.outgoing, transmit, data_out);
    }

    /// Appends bytes as they are.
    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.outgoing.get(self.written..).filter(|r| !r.is_empty()) {
            match self.socket.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what the socket has, once; false when it has nothing.
    ///
    /// # Errors
    /// The connection is gone, or was ended by the peer.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        let room = self.incoming.get_mut(self.end..).unwrap_or_default();
        loop {
            return match self.socket.read(room) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.end += count;
                    Ok(true)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// The next whole PDU that came; `None` when the rest of it has yet to come. Data segments are bounded by
    /// `max_data`.
    ///
    /// # Errors
    /// A length or a digest is wrong.
    pub(super) fn next(
        &mut self,
        digests: (Digest, Digest),
        max_data: u32,
    ) -> Result<Option<Received<'_>>, ProtocolError> {
        let bytes = self.incoming.get(self.begin..self.end).unwrap_or_default();
        let Some(len) = pdu_len(bytes, digests, max_data)?.filter(|len| *len <= bytes.len()) else {
            self.make_room(digests, max_data);
            return Ok(None);
        };
        let begin = self.begin;
        self.begin += len;
        let pdu = self.incoming.get(begin..begin + len).unwrap_or_default();
        split(pdu, digests)
    }

    /// Takes everything that came.
    pub(super) fn take(&mut self, into: &mut Vec<u8>) {
        into.extend_from_slice(self.incoming.get(self.begin..self.end).unwrap_or_default());
        (self.begin, self.end) = (0, 0);
    }

    /// Moves what is left to the front, so that the longest PDU and a good deal more have room.
    fn make_room(&mut self, digests: (Digest, Digest), max_data: u32) {
        self.incoming.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        let needed = codec::longest(digests, max_data) + READ_BYTES;
        if self.incoming.len() < needed {
            self.incoming.resize(needed, 0);
        }
    }

    /// Waits until something came, what waits can be written, or `most` has passed.
    pub(super) fn wait(&self, most: Duration) -> io::Result<()> {
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, self.has_outgoing());
        let timeout = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: most.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.socket, wanted)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// Ends both directions.
    pub(super) fn close(&mut self) {
        // It fails when the connection is gone already, which is what is wanted.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

fn connect_from(
    source: SocketAddr,
    address: SocketAddr,
    timeout: Duration,
) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let descriptor = socket(family, SocketType::STREAM, None)?;
    bind(&descriptor, &source)?;
    // The send time-out bounds a connect too (socket(7)).
    sockopt::set_socket_timeout(&descriptor, sockopt::Timeout::Send, Some(timeout))?;
    connect(&descriptor, &address)?;
    Ok(descriptor.into())
}

#[cfg(test)]
mod tests;
