//! Work requests and completions, in the words of the verbs (IBTA 10.7 and 11.4).

use std::fmt;

use thiserror::Error;

use crate::memory::{AccessError, Key, RegionHandle};
use crate::qp::State;

/// Number of a queue pair, 24 bits. Never used again soon after its queue pair is destroyed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueuePairNumber(pub u32);

impl fmt::Debug for QueuePairNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Qp({:#08x})", self.0)
    }
}

/// Most scatter/gather elements in one work request.
pub const MAX_SGE: usize = 4;

/// The longest message (IBTA 9.7.7).
pub const MAX_MESSAGE_LEN: u32 = 1 << 31;

/// A scatter/gather element: registered local memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sge {
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub length: u32,
    /// Under which key.
    pub key: Key,
}

/// A peer's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// First byte.
    pub address: u64,
    /// Under which of the peer's keys.
    pub key: Key,
}

/// What a send work request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A message for the peer's receive queue.
    Send,
    /// The same with four bytes of immediate data.
    SendWithImmediate(u32),
    /// The same, and the peer's key is invalid when it arrives.
    SendWithInvalidate(Key),
    /// Local memory to the peer's.
    Write(Remote),
    /// The same, and a receive completes at the peer.
    WriteWithImmediate(Remote, u32),
    /// The peer's memory to local.
    Read(Remote),
}

/// A send work request.
#[derive(Clone, Copy, Debug)]
pub struct SendRequest<'a> {
    /// The caller's number, handed back in the completion.
    pub wr_id: u64,
    /// What to do.
    pub operation: Operation,
    /// Local memory, up to [`MAX_SGE`] elements.
    pub sges: &'a [Sge],
    /// A completion is wanted; failures always complete.
    pub signaled: bool,
    /// Wait until all RDMA READs before it are done.
    pub fence: bool,
    /// Ask the peer to wake up (solicited event).
    pub solicited: bool,
}

/// A receive work request.
#[derive(Clone, Copy, Debug)]
pub struct RecvRequest<'a> {
    /// The caller's number, handed back in the completion.
    pub wr_id: u64,
    /// Local memory, up to [`MAX_SGE`] elements.
    pub sges: &'a [Sge],
}

/// Why a work request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PostError {
    /// No such queue pair or shared receive queue.
    #[error("no queue of that number")]
    Unknown,
    /// Not in this state.
    #[error("a work request of this kind is not taken in state {0:?}")]
    State(State),
    /// As many requests as were asked for at creation are waiting.
    #[error("the queue is full ({0} requests): wait for completions")]
    Full(usize),
    /// The queue pair receives from a shared receive queue.
    #[error("the queue pair has a shared receive queue: post there")]
    Shared,
    /// Too many elements or bytes.
    #[error("{elements} elements with {bytes} bytes, at most {MAX_SGE} and {MAX_MESSAGE_LEN}")]
    Size {
        /// Elements.
        elements: usize,
        /// Bytes in all.
        bytes: u64,
    },
    /// Local memory is not the caller's to use.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// How a work request ended (IBTA 11.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Success,
    /// A message longer than the receive buffer.
    LocalLengthError,
    /// Local memory is not there.
    LocalProtectionError,
    /// The queue pair failed before its turn came.
    Flushed,
    /// The peer, or this side, saw a request that makes no sense.
    RemoteInvalidRequestError,
    /// The peer's key, bounds or rights forbid it.
    RemoteAccessError,
    /// The peer failed on its own account.
    RemoteOperationError,
    /// No acknowledge after all retries.
    TransportRetryExceeded,
    /// The peer had no receive buffer after all retries.
    RnrRetryExceeded,
}

/// Which kind of work request completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionKind {
    /// Any SEND.
    Send,
    /// Any RDMA WRITE.
    Write,
    /// RDMA READ.
    Read,
    /// A message arrived.
    Recv,
    /// An RDMA WRITE with immediate arrived; the length is that of the write.
    RecvWriteWithImmediate,
}

/// The end of a work request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Whose.
    pub qp: QueuePairNumber,
    /// Which.
    pub wr_id: u64,
    /// What kind; of a flushed receive always [`CompletionKind::Recv`].
    pub kind: CompletionKind,
    /// How it ended; the rest counts only after a success.
    pub status: Status,
    /// Bytes transferred.
    pub length: u32,
    /// Immediate data.
    pub immediate: Option<u32>,
    /// The key that the peer has invalidated.
    pub invalidated: Option<Key>,
    /// The peer asked for a wake-up.
    pub solicited: bool,
}

/// A piece of the caller's memory, resolved and inside its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whose memory.
    pub region: RegionHandle,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
}

const NO_SEGMENT: Segment = Segment {
    region: RegionHandle(0),
    offset: 0,
    length: 0,
};

/// Up to [`MAX_SGE`] segments, in place.
#[derive(Clone, Copy)]
pub(crate) struct Segments {
    segments: [Segment; MAX_SGE],
    count: usize,
}

impl Default for Segments {
    fn default() -> Self {
        Self {
            segments: [NO_SEGMENT; MAX_SGE],
            count: 0,
        }
    }
}

impl Segments {
    pub(crate) fn as_slice(&self) -> &[Segment] {
        self.segments.get(..self.count).unwrap_or(&[])
    }

    /// Adds a segment; empty ones vanish. The lists were counted when they were posted.
    pub(crate) fn push(&mut self, segment: Segment) {
        if segment.length == 0 {
            return;
        }
        if let Some(slot) = self.segments.get_mut(self.count) {
            *slot = segment;
            self.count += 1;
        }
    }

    pub(crate) fn single(segment: Segment) -> Self {
        let mut segments = Self::default();
        segments.push(segment);
        segments
    }

    /// Bytes in all.
    pub(crate) fn length(&self) -> u32 {
        self.as_slice().iter().map(|segment| segment.length).sum()
    }

    /// The `length` bytes from byte `skip` on, or as many as there are.
    pub(crate) fn cut(&self, mut skip: u32, length: u32) -> Self {
        let mut left = length;
        let mut piece = Self::default();
        for segment in self.as_slice() {
            let passed = skip.min(segment.length);
            skip -= passed;
            let taken = left.min(segment.length - passed);
            left -= taken;
            piece.push(Segment {
                region: segment.region,
                offset: segment.offset + u64::from(passed),
                length: taken,
            });
        }
        piece
    }
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// The size of a list, when it is one that may be posted.
pub(crate) fn checked_length(sges: &[Sge]) -> Result<u32, PostError> {
    let bytes = sges.iter().map(|sge| u64::from(sge.length)).sum();
    let size = PostError::Size {
        elements: sges.len(),
        bytes,
    };
    let length = u32::try_from(bytes).map_err(|_| size)?;
    if sges.len() > MAX_SGE || length > MAX_MESSAGE_LEN {
        return Err(size);
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Segments {
        let mut segments = Segments::default();
        for (region, length) in [(1, 10), (2, 0), (3, 5), (4, 7)] {
            segments.push(Segment {
                region: RegionHandle(region),
                offset: 100,
                length,
            });
        }
        segments
    }

    #[test]
    fn cutting_covers_exactly_the_bytes_asked_for() {
        let segments = three();
        assert_eq!(segments.length(), 22);
        for skip in 0..=22 {
            for length in 0..=22 - skip {
                let piece = segments.cut(skip, length);
                assert_eq!(piece.length(), length, "{skip} {length}");
            }
        }
        let piece = segments.cut(8, 5);
        let seen: Vec<_> = piece
            .as_slice()
            .iter()
            .map(|s| (s.region.0, s.offset, s.length))
            .collect();
        assert_eq!(seen, [(1, 108, 2), (3, 100, 3)]);
        assert_eq!(segments.cut(20, 10).length(), 2);
    }

    #[test]
    fn a_list_is_counted_before_it_is_taken() {
        let sge = Sge {
            address: 0,
            length: 1 << 30,
            key: Key(0),
        };
        assert_eq!(checked_length(&[sge; 2]), Ok(1 << 31));
        assert!(checked_length(&[sge; 3]).is_err());
        assert!(checked_length(&[Sge { length: 0, ..sge }; 5]).is_err());
    }
}
