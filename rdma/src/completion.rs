//! Completions: plain data.

use std::fmt;

/// Number of a queue pair on its device (24 bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueuePairNumber(pub u32);

impl fmt::Display for QueuePairNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#08x}", self.0)
    }
}

/// Names a completion queue in the events of its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CompletionQueueId(pub(crate) u64);

/// One completion, as it was polled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkCompletion {
    /// Whose. It may have been destroyed in the meantime.
    pub queue_pair: QueuePairNumber,
    /// Which queue: this says who takes the completion.
    pub kind: WorkKind,
    /// How it ended.
    pub status: WorkStatus,
    /// Bytes received; meaningful for successful receives.
    pub byte_len: u32,
    /// The key that the peer's SEND WITH INVALIDATE invalidated.
    pub invalidated_key: Option<u32>,
    /// What the posting side put in to find its work again.
    pub(crate) work_id: u64,
}

/// Which queue a completion is from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkKind {
    /// A receive: give it to `SharedReceiveQueue::take`.
    #[default]
    Receive,
    /// A send, RDMA WRITE or RDMA READ: give it to `QueuePair::handle_completion`.
    Send,
}

/// Set in the work ID of receives, because a failed completion has no valid opcode.
const RECEIVE: u64 = 1 << 63;

/// Work ID of the receive in this slot.
pub(crate) fn receive_id(slot: u32) -> u64 {
    RECEIVE | u64::from(slot)
}

/// Work ID of a request of the send queue. The generation tells queue pairs apart that had the same number.
pub(crate) fn send_id(generation: u32, sequence: u32) -> u64 {
    (u64::from(generation) << 32 | u64::from(sequence)) & !RECEIVE
}

impl WorkKind {
    pub(crate) fn of(work_id: u64) -> Self {
        match work_id & RECEIVE {
            0 => Self::Send,
            _ => Self::Receive,
        }
    }
}

impl WorkCompletion {
    /// The low half of the work ID: slot or sequence number.
    pub(crate) fn index(&self) -> u32 {
        // The cast keeps the low 32 bits, which is what is asked for.
        self.work_id as u32
    }
}

/// How a work request ended (InfiniBand Architecture, 11.6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkStatus {
    /// Done.
    #[default]
    Success,
    /// Not done because the queue pair is in the error state.
    Flushed,
    /// The received message was longer than the buffer.
    LocalLength,
    /// The queue pair could not carry out the request.
    LocalOperation,
    /// The memory key or its rights do not cover the local buffer.
    LocalProtection,
    /// The peer refused the memory key, range or rights of an RDMA READ or WRITE.
    RemoteAccess,
    /// The peer found the request invalid.
    RemoteInvalidRequest,
    /// The peer could not carry out the request.
    RemoteOperation,
    /// The peer does not answer.
    RetryExceeded,
    /// The peer has no receive posted.
    ReceiverNotReady,
    /// Another status, by its number in the verbs interface.
    Other(u32),
}

impl WorkStatus {
    /// True for [`WorkStatus::Success`].
    pub fn is_success(self) -> bool {
        self == Self::Success
    }
}

impl fmt::Display for WorkStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Success => "success",
            Self::Flushed => "flushed: the queue pair is in the error state",
            Self::LocalLength => "the message is longer than the receive buffer",
            Self::LocalOperation => "the queue pair could not carry out the request",
            Self::LocalProtection => "the local buffer is not registered for this",
            Self::RemoteAccess => "the peer refused the memory key, range or rights",
            Self::RemoteInvalidRequest => "the peer found the request invalid",
            Self::RemoteOperation => "the peer could not carry out the request",
            Self::RetryExceeded => "the peer does not answer",
            Self::ReceiverNotReady => "the peer has no receive posted",
            Self::Other(number) => return write!(f, "work completion status {number}"),
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receives_and_sends_keep_apart() {
        assert_eq!(WorkKind::of(receive_id(u32::MAX)), WorkKind::Receive);
        assert_eq!(WorkKind::of(send_id(u32::MAX, u32::MAX)), WorkKind::Send);
        let completion = WorkCompletion {
            work_id: send_id(7, 0xdead_beef),
            ..WorkCompletion::default()
        };
        assert_eq!(completion.index(), 0xdead_beef);
    }
}
