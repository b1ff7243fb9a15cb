//! Packets on their way out: many for one system call, and equally long ones to one peer as one send that the
//! kernel cuts (`UDP_SEGMENT`). Payloads are not copied: the kernel reads them where they lie.

use std::fmt;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::ptr;

use roce::packet::icrc;
use roce::{Memory, Transmit};

use super::memory::Regions;
use super::socket::Socket;
use super::socket_address::RawAddress;

/// Sends for one call.
const BATCH: usize = 64;

/// Packets of one send, as old kernels allow.
const MAX_SEGMENTS: u16 = 64;

/// Bytes of one send: a UDP payload over IPv4.
const MAX_SEND_BYTES: usize = 65_507;

/// Pieces of one send (UIO_MAXIOV is 1024).
const MAX_PIECES: usize = 1000;

/// One send.
#[derive(Clone, Copy)]
struct Message {
    remote: SocketAddr,
    first_piece: usize,
    pieces: usize,
    /// Length of the first packet; only the last one may be shorter.
    segment_bytes: usize,
    bytes: usize,
    packets: u16,
    /// A shorter packet has come, or the socket takes one at a time.
    is_closed: bool,
}

/// Where a piece of a packet is.
#[derive(Clone, Copy)]
enum Piece {
    /// Headers and trailers, in the scratch memory.
    Scratch { start: usize, len: usize },
    /// Registered memory, which stays as it is until the call.
    Memory { base: *const u8, len: usize },
}

/// How long each of the packets in a send is.
#[derive(Clone, Copy)]
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    segment_bytes: u16,
}

/// Packets of one turn and one socket. Empty between turns; what it has grown to is kept.
#[derive(Default)]
pub(super) struct Outbox {
    messages: Vec<Message>,
    pieces: Vec<Piece>,
    scratch: Vec<u8>,
    addresses: Vec<RawAddress>,
    controls: Vec<Control>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// How a flush went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flushed {
    pub(super) calls: u64,
    /// Packets that did not go.
    pub(super) unsent: u64,
    /// The kernel has no room now.
    pub(super) is_congested: bool,
}

impl Outbox {
    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= BATCH
    }

    /// Appends a packet. Nothing of it may change before [`Outbox::flush`]; that is why both happen in one call of
    /// the fabric. Does nothing when its memory is gone.
    pub(super) fn push(&mut self, transmit: &Transmit<'_>, memory: &Regions, joins: bool) {
        let first_piece = self.pieces.len();
        let header = self.keep(transmit.header);
        self.pieces.push(header);
        for part in transmit.payload {
            let Some(bytes) = memory.bytes(part.region, part.offset, part.length) else {
                self.pieces.truncate(first_piece);
                return;
            };
            self.pieces.push(Piece::Memory {
                base: bytes.as_ptr(),
                len: bytes.len(),
            });
        }
        let trailer = self.keep(transmit.trailer);
        self.pieces.push(trailer);
        let pieces = self.pieces.len() - first_piece;
        match self
            .messages
            .last_mut()
            .filter(|message| message.takes(transmit, pieces))
        {
            Some(message) => {
                let number = message.packets;
                message.append(transmit, pieces);
                if transmit.path.remote.is_ipv4() {
                    self.renumber(number, transmit.length);
                }
            }
            None => self.messages.push(Message {
                remote: transmit.path.remote,
                first_piece,
                pieces,
                segment_bytes: transmit.length,
                bytes: transmit.length,
                packets: 1,
                is_closed: !joins,
            }),
        }
    }

    fn keep(&mut self, bytes: &[u8]) -> Piece {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(bytes);
        Piece::Scratch {
            start,
            len: bytes.len(),
        }
    }

    /// The kernel counts the IPv4 identification up over the packets of one send, and the ICRC, which was pushed
    /// last, covers it.
    fn renumber(&mut self, identification: u16, length: usize) {
        if let Some(field) = self.scratch.last_chunk_mut::<4>() {
            let icrc = icrc::renumber(u32::from_le_bytes(*field), identification, length);
            *field = icrc.to_le_bytes();
        }
    }

    /// Sends everything, or gives it up: what the kernel does not take is as good as lost on the way.
    pub(super) fn flush(&mut self, socket: &Socket) -> Flushed {
        let mut flushed = Flushed::default();
        self.point();
        let mut sent = 0;
        while let Some(headers) = self.headers.get_mut(sent..).filter(|rest| !rest.is_empty()) {
            flushed.calls += 1;
            // SAFETY: the headers point into this object, which does not change meanwhile, and to registered memory.
            let result = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    headers.as_mut_ptr(),
                    headers.len() as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            if let Ok(count @ 1..) = usize::try_from(result) {
                sent += count;
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::EAGAIN | libc::ENOBUFS) => {
                    flushed.is_congested = true;
                    flushed.unsent += self.packets_from(sent);
                    break;
                }
                // This driver or kernel does not cut sends.
                Some(libc::EIO | libc::EINVAL) => socket.segments.set(false),
                _ => {}
            }
            flushed.unsent += self.packets_of(sent);
            sent += 1;
        }
        self.clear();
        flushed
    }

    fn packets_of(&self, index: usize) -> u64 {
        self.messages
            .get(index)
            .map_or(0, |message| message.packets.into())
    }

    fn packets_from(&self, first: usize) -> u64 {
        let rest = self.messages.iter().skip(first);
        rest.map(|message| u64::from(message.packets)).sum()
    }

    /// Sets all pointers: from here on nothing moves.
    fn point(&mut self) {
        let scratch = self.scratch.as_mut_ptr();
        self.parts
            .extend(self.pieces.iter().map(|piece| match *piece {
                Piece::Scratch { start, len } => libc::iovec {
                    iov_base: scratch.wrapping_add(start).cast(),
                    iov_len: len,
                },
                Piece::Memory { base, len } => libc::iovec {
                    iov_base: base.cast_mut().cast(),
                    iov_len: len,
                },
            }));
        self.addresses.extend(
            self.messages
                .iter()
                .map(|message| RawAddress::new(message.remote)),
        );
        self.controls
            .extend(self.messages.iter().map(Message::control));
        let places = self.addresses.iter_mut().zip(&mut self.controls);
        for (message, (address, control)) in self.messages.iter().zip(places) {
            // SAFETY: plain numbers and pointers that may be NULL.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_name = ptr::from_mut(address).cast();
            header.msg_hdr.msg_namelen = RawAddress::len_of(&message.remote);
            header.msg_hdr.msg_iov = self.parts.as_mut_ptr().wrapping_add(message.first_piece);
            header.msg_hdr.msg_iovlen = message.pieces;
            if message.packets > 1 {
                header.msg_hdr.msg_control = ptr::from_mut(control).cast();
                header.msg_hdr.msg_controllen = size_of::<Control>();
            }
            self.headers.push(header);
        }
    }

    fn clear(&mut self) {
        self.messages.clear();
        self.pieces.clear();
        self.scratch.clear();
        self.addresses.clear();
        self.controls.clear();
        self.parts.clear();
        self.headers.clear();
    }
}

impl Message {
    /// True when the packet can be one more of this send.
    fn takes(&self, transmit: &Transmit<'_>, pieces: usize) -> bool {
        !self.is_closed
            && self.remote == transmit.path.remote
            && transmit.length <= self.segment_bytes
            && self.packets < MAX_SEGMENTS
            && self.bytes + transmit.length <= MAX_SEND_BYTES
            && self.pieces + pieces <= MAX_PIECES
    }

    fn append(&mut self, transmit: &Transmit<'_>, pieces: usize) {
        self.pieces += pieces;
        self.bytes += transmit.length;
        self.packets += 1;
        self.is_closed = transmit.length < self.segment_bytes;
    }

    fn control(&self) -> Control {
        // SAFETY: plain numbers, for which zero is a value.
        let mut header: libc::cmsghdr = unsafe { mem::zeroed() };
        header.cmsg_level = libc::SOL_UDP;
        header.cmsg_type = libc::UDP_SEGMENT;
        header.cmsg_len = size_of::<libc::cmsghdr>() + size_of::<u16>();
        Control {
            header,
            segment_bytes: u16::try_from(self.segment_bytes).unwrap_or(u16::MAX),
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("sends", &self.messages.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
