//! The byte stream: PDUs in and out of a socket, many at a time (RFC 7143 clause 11.1, 13.1; digests).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use transport_iser::login::Digest;
use transport_iser::pdu::{BHS_BYTES, Bhs, Lengths, padding};

use super::machine::{ProtocolError, Segment, Transmit};
use crate::error::ConnectError;

/// Bytes of a digest.
const DIGEST_BYTES: usize = 4;

/// Bytes that are read at a time, at least.
const READ_BYTES: usize = 256 << 10;

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// Most bytes of additional headers that a PDU can have.
const MAX_AHS: usize = 1020;

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

/// A PDU that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received<'a> {
    pub(super) header: &'a Bhs,
    pub(super) data: &'a [u8],
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
        let out = &mut self.outgoing;
        let begin = out.len();
        out.extend_from_slice(&transmit.header);
        out.extend_from_slice(&transmit.ahs);
        if transmit.header_digest == Digest::Crc32c {
            push_digest(out, begin);
        }
        let begin = out.len();
        out.extend_from_slice(data(&transmit.segment, data_out));
        let len = out.len() - begin;
        if len == 0 {
            return;
        }
        out.resize(begin + len.next_multiple_of(4), 0);
        if transmit.data_digest == Digest::Crc32c {
            push_digest(out, begin);
        }
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
        let longest = BHS_BYTES + MAX_AHS + max_data as usize + 4 + digest_bytes(digests);
        let needed = longest + READ_BYTES;
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

fn data<'a>(segment: &'a Segment, data_out: &'a [u8]) -> &'a [u8] {
    match segment {
        Segment::None => &[],
        Segment::Bytes(bytes) => bytes,
        Segment::DataOut { offset, len } => {
            let begin = *offset as usize;
            data_out.get(begin..begin + *len as usize).unwrap_or(&[])
        }
    }
}

fn push_digest(out: &mut Vec<u8>, begin: usize) {
    let digest = crc32c::crc32c(out.get(begin..).unwrap_or_default());
    out.extend_from_slice(&digest.to_le_bytes());
}

fn digest_bytes((header, data): (Digest, Digest)) -> usize {
    let count = [header, data]
        .iter()
        .filter(|digest| **digest == Digest::Crc32c)
        .count();
    count * DIGEST_BYTES
}

/// The length of the PDU that `bytes` begin with, when its header is there.
fn pdu_len(
    bytes: &[u8],
    (header_digest, data_digest): (Digest, Digest),
    max_data: u32,
) -> Result<Option<usize>, ProtocolError> {
    let Some(header) = bytes.first_chunk::<BHS_BYTES>() else {
        return Ok(None);
    };
    let lengths = Lengths::parse(header, MAX_AHS as u32, max_data)?;
    let mut len = BHS_BYTES + lengths.ahs as usize + lengths.padded_data() as usize;
    len += digest_bytes((header_digest, Digest::None));
    if lengths.data > 0 {
        len += digest_bytes((Digest::None, data_digest));
    }
    Ok(Some(len))
}

/// Cuts a whole PDU, and checks its digests.
fn split(
    pdu: &[u8],
    (header_digest, data_digest): (Digest, Digest),
) -> Result<Option<Received<'_>>, ProtocolError> {
    let Some(header) = pdu.first_chunk::<BHS_BYTES>() else {
        return Ok(None);
    };
    let lengths = Lengths::of(header);
    let mut at = BHS_BYTES + lengths.ahs as usize;
    if header_digest == Digest::Crc32c {
        check_digest("header", pdu, 0..at)?;
        at += DIGEST_BYTES;
    }
    let end = at + lengths.data as usize;
    if data_digest == Digest::Crc32c && lengths.data > 0 {
        check_digest("data", pdu, at..end + padding(lengths.data) as usize)?;
    }
    let data = pdu.get(at..end).unwrap_or_default();
    Ok(Some(Received { header, data }))
}

fn check_digest(
    of: &'static str,
    pdu: &[u8],
    range: std::ops::Range<usize>,
) -> Result<(), ProtocolError> {
    let end = range.end;
    let computed = crc32c::crc32c(pdu.get(range).unwrap_or_default());
    let found = pdu.get(end..).and_then(<[u8]>::first_chunk);
    let found = found.map_or(0, |bytes| u32::from_le_bytes(*bytes));
    match found == computed {
        true => Ok(()),
        false => Err(ProtocolError::Digest {
            of,
            found,
            computed,
        }),
    }
}

#[cfg(test)]
mod tests;
