//! What is posted, and what comes back.

use iobuf::Buf;

use crate::completion::{QueuePairNumber, WorkStatus};

/// Size and rights of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePairConfig {
    /// Work requests in the send queue. One less than a power of two wastes nothing on soft devices.
    pub send_depth: u32,
    /// Messages up to this many bytes are copied when posted. With 48, a slot of the send queue stays at
    /// 256 bytes on soft devices.
    pub max_inline_bytes: u32,
    /// Whether the peer may use RDMA READ and WRITE on what an `ExposedRegion` shows. Initiators need it,
    /// targets do not.
    pub remote_access: bool,
}

impl Default for QueuePairConfig {
    fn default() -> Self {
        Self {
            send_depth: 127,
            max_inline_bytes: 48,
            remote_access: false,
        }
    }
}

/// Something that was queued on a queue pair has ended. Buffers that are not given back here returned to
/// their pool.
#[derive(Debug)]
pub enum Completed {
    /// The RDMA READs of a pull are done.
    Pulled {
        /// What `queue_pull` was called with.
        token: u64,
        /// Filled with the peer's memory.
        buf: Buf,
    },
    /// Data and message of a response have reached the peer.
    Sent,
    /// The operation failed or was never posted because the queue pair failed before.
    Failed {
        /// The token of a pull, or `None` for a response.
        token: Option<u64>,
        /// Why.
        status: WorkStatus,
    },
}

/// Why nothing was queued. The buffers have returned to their pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The data does not fit what the peer offers.
    #[error("{data_len} bytes of data for segments of {segments_len} bytes in total")]
    SegmentsTooShort {
        /// Bytes of data.
        data_len: u64,
        /// Bytes that the segments have room for.
        segments_len: u64,
    },
    /// The buffer's arena has no memory region in the queue pair's protection domain.
    #[error("the buffer's arena is not registered with the protection domain of the queue pair")]
    NotRegistered,
    /// The queue pair has failed, or was put into the error state.
    #[error("the queue pair is in the error state")]
    QueuePairFailed,
    /// A SEND has a length of at most 4 GiB.
    #[error("a buffer of {len} bytes is longer than a message can be")]
    TooLong {
        /// Bytes of the buffer.
        len: u64,
    },
}

/// Why a receive was not posted. The buffer comes back.
#[derive(Debug, thiserror::Error)]
pub enum ReceivePostError {
    /// As many receives as the queue has room for are posted.
    #[error("the receive queue is full")]
    Full(Buf),
    /// The buffer's arena has no memory region in the queue's protection domain.
    #[error("the buffer's arena is not registered with the protection domain of the receive queue")]
    NotRegistered(Buf),
}

/// A receive that has ended.
#[derive(Debug)]
pub struct Received {
    /// The buffer, its window cut to the bytes that came. After a failure it is as it was posted.
    pub buf: Buf,
    /// Which queue pair took it.
    pub queue_pair: QueuePairNumber,
    /// How it ended.
    pub status: WorkStatus,
}
