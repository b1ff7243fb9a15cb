//! What a stream has to send: buffers in order, cut into pieces, with one gather list of them in the ring.

use std::collections::VecDeque;
use std::ptr;

use iobuf::Buf;
use target_core::port::{Part, Piece};

use super::SendError;

/// Pieces of one gather list (IOV_MAX of limits.h).
const MOST_PIECES: usize = 1024;

/// Bytes that are not known to be sent, and the buffers that they are in.
pub(super) struct Outbox {
    parcels: VecDeque<Parcel>,
    /// Pieces that are not in the gather list.
    waiting: VecDeque<libc::iovec>,
    /// The gather list, and how many of its pieces are sent. Not touched while it is in the ring.
    list: Vec<libc::iovec>,
    first: usize,
    /// What the ring's entry names. In its own memory, which does not move.
    header: Box<libc::msghdr>,
    /// An entry is in the ring.
    pub(super) in_ring: bool,
    failed: bool,
}

/// Buffers that go back to their pools when their last byte is sent.
struct Parcel {
    _message: Buf,
    _data: Option<Buf>,
    left: u64,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            parcels: VecDeque::new(),
            waiting: VecDeque::new(),
            list: Vec::new(),
            first: 0,
            header: Box::new(empty_header()),
            in_ring: false,
            failed: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Queues the pieces in order.
    pub(super) fn push(
        &mut self,
        message: Buf,
        data: Option<Buf>,
        pieces: &[Piece],
    ) -> Result<(), SendError> {
        if self.failed {
            return Err(SendError::Closed);
        }
        let before = self.waiting.len();
        let mut left = 0;
        for piece in pieces {
            match iovec_of(piece, &message, data.as_ref()) {
                Ok(iovec) => self.append(iovec, before),
                Err(error) => {
                    self.waiting.truncate(before);
                    return Err(error);
                }
            }
            left += u64::from(piece.len);
        }
        if left > 0 {
            self.parcels.push_back(Parcel {
                _message: message,
                _data: data,
                left,
            });
        }
        Ok(())
    }

    /// Adds a piece, to the one before it when they touch and are of the same parcel.
    fn append(&mut self, iovec: libc::iovec, parcel_begins: usize) {
        if iovec.iov_len == 0 {
            return;
        }
        if self.waiting.len() > parcel_begins
            && let Some(last) = self.waiting.back_mut()
            && last.iov_base.wrapping_byte_add(last.iov_len) == iovec.iov_base
        {
            last.iov_len += iovec.iov_len;
            return;
        }
        self.waiting.push_back(iovec);
    }

    /// The header of the next gather list, or nothing when one is in the ring or there is none. Counts as in the ring
    /// from here on.
    pub(super) fn next_list(&mut self) -> Option<*const libc::msghdr> {
        if self.in_ring {
            return None;
        }
        if self.first == self.list.len() {
            let count = self.waiting.len().min(MOST_PIECES);
            self.list.clear();
            self.list.extend(self.waiting.drain(..count));
            self.first = 0;
        }
        let rest = self
            .list
            .get_mut(self.first..)
            .filter(|rest| !rest.is_empty())?;
        self.header.msg_iov = rest.as_mut_ptr();
        self.header.msg_iovlen = rest.len() as _;
        self.in_ring = true;
        Some(ptr::from_ref(&*self.header))
    }

    /// The entry has completed with a count of bytes or an errno. Tells whether it moved less than was asked, or the
    /// errno when nothing can be sent any more.
    pub(super) fn handle_sent(&mut self, result: Result<u64, i32>) -> Result<bool, i32> {
        self.in_ring = false;
        match result {
            Ok(count) => {
                self.advance(count);
                self.give_back(count);
                Ok(self.first < self.list.len())
            }
            Err(libc::EINTR | libc::EAGAIN) => Ok(true),
            Err(errno) => {
                self.clear();
                self.failed = true;
                Err(errno)
            }
        }
    }

    /// Drops everything that is not in the ring.
    pub(super) fn clear(&mut self) {
        debug_assert!(!self.in_ring, "the kernel may still read it");
        self.parcels.clear();
        self.waiting.clear();
        self.list.clear();
        self.first = 0;
    }

    /// Cuts what was sent off the front of the gather list.
    fn advance(&mut self, count: u64) {
        let mut count = usize::try_from(count).unwrap_or(usize::MAX);
        while let Some(iovec) = self.list.get_mut(self.first) {
            if count < iovec.iov_len {
                iovec.iov_base = iovec.iov_base.wrapping_byte_add(count);
                iovec.iov_len -= count;
                return;
            }
            count -= iovec.iov_len;
            self.first += 1;
        }
    }

    /// Drops the buffers that are sent whole.
    fn give_back(&mut self, mut count: u64) {
        while let Some(parcel) = self.parcels.front_mut() {
            if count < parcel.left {
                parcel.left -= count;
                return;
            }
            count -= parcel.left;
            self.parcels.pop_front();
        }
    }
}

fn iovec_of(piece: &Piece, message: &Buf, data: Option<&Buf>) -> Result<libc::iovec, SendError> {
    let whole: &[u8] = match piece.of {
        Part::Message => message,
        Part::Data => data.map_or(&[], |data| data),
    };
    let outside = SendError::Outside {
        piece: *piece,
        len: whole.len(),
    };
    let start = piece.start as usize;
    let end = start.checked_add(piece.len as usize).ok_or(outside)?;
    let bytes = whole.get(start..end).ok_or(outside)?;
    Ok(libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    })
}

fn empty_header() -> libc::msghdr {
    // SAFETY: a msghdr of zeroes names nothing.
    unsafe { std::mem::zeroed() }
}
