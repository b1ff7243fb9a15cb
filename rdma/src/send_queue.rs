//! Who owns which buffer of a send queue: operations become work requests in order, as many as the queue
//! has room for, and completions give them back in order (InfiniBand Architecture, 10.8.3: completions of
//! one send queue are ordered).
//!
//! Safe code without a library call, so that every provider shares it.

use std::collections::VecDeque;
use std::mem;

use iobuf::{Buf, RemoteSegment};

use crate::completion::WorkStatus;
use crate::work::{Completed, PostError};

/// One work request, ready to be written into a provider's queue. The memory it names belongs to a buffer
/// that the queue holds until the request is retired, or until it is posted when `inline` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkRequest {
    pub(crate) sequence: u32,
    pub(crate) operation: Operation,
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) key: u32,
    pub(crate) signalled: bool,
    pub(crate) inline: bool,
}

/// What a work request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Send,
    /// A SEND that invalidates one of the peer's keys.
    SendWithInvalidate {
        key: u32,
    },
    Write {
        address: u64,
        key: u32,
    },
    Read {
        address: u64,
        key: u32,
    },
}

/// A buffer and the local key that its memory is registered under.
#[derive(Debug)]
pub(crate) struct KeyedBuf {
    pub(crate) buf: Buf,
    pub(crate) key: u32,
}

/// Sizes that do not change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendLimits {
    /// Work requests that fit the provider's queue.
    pub(crate) depth: u32,
    /// Messages up to this length are copied when posted.
    pub(crate) max_inline_bytes: u32,
    /// RDMA READs and WRITEs are cut to this length.
    pub(crate) max_message_bytes: u32,
}

/// The operations of one queue pair.
#[derive(Debug)]
pub(crate) struct SendQueue {
    limits: SendLimits,
    pending: VecDeque<Pending>,
    /// Remote segments of the pending operations, in order, cut to what each operation moves.
    segments: VecDeque<RemoteSegment>,
    in_flight: VecDeque<InFlight>,
    /// Inline messages of the chain that is being posted.
    copied: Vec<Buf>,
    completed: VecDeque<Completed>,
    /// Sequence number of the next work request; wraps.
    next: u32,
    /// Sequence number of the oldest request that is not retired; wraps.
    oldest: u32,
    unsignalled: u32,
    failure: Option<WorkStatus>,
}

/// An operation that has requests to be posted.
#[derive(Debug)]
struct Pending {
    work: Work,
    /// Remote segments that are not used up.
    segments: usize,
    /// Local address and key of the data that goes next.
    address: u64,
    key: u32,
    /// Whether requests of this operation were posted.
    started: bool,
}

#[derive(Debug)]
enum Work {
    Respond {
        data: Option<Buf>,
        message: KeyedBuf,
        invalidate: Option<u32>,
    },
    Pull {
        token: u64,
        buf: Buf,
    },
}

/// An operation whose requests are all posted; over when the one with sequence number `last` is retired.
#[derive(Debug)]
struct InFlight {
    last: u32,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// Both return to their pools when the response is through.
    Respond {
        _data: Option<Buf>,
        message: Option<Buf>,
    },
    Pull {
        token: u64,
        buf: Buf,
    },
}

impl SendQueue {
    pub(crate) fn new(limits: SendLimits) -> Self {
        Self {
            limits,
            pending: VecDeque::new(),
            segments: VecDeque::new(),
            in_flight: VecDeque::new(),
            copied: Vec::new(),
            completed: VecDeque::new(),
            next: 0,
            oldest: 0,
            unsignalled: 0,
            failure: None,
        }
    }

    /// Queues RDMA WRITEs of `data` to the segments, and then a SEND of `message`, with invalidate of that key of the
    /// peer's when there is one.
    pub(crate) fn queue_respond(
        &mut self,
        data: Option<KeyedBuf>,
        segments: &[RemoteSegment],
        message: KeyedBuf,
        invalidate: Option<u32>,
    ) -> Result<(), PostError> {
        let len = message.buf.len();
        if u32::try_from(len).is_err() {
            return Err(PostError::TooLong { len: len as u64 });
        }
        let (key, data) = match data {
            Some(data) => (data.key, Some(data.buf)),
            None => (0, None),
        };
        let segments = self.take_segments(data.as_deref().unwrap_or_default().len(), segments)?;
        self.pending.push_back(Pending {
            address: data.as_ref().map_or(0, Buf::address),
            work: Work::Respond {
                data,
                message,
                invalidate,
            },
            segments,
            key,
            started: false,
        });
        Ok(())
    }

    /// Queues RDMA READs of the segments into `data`.
    pub(crate) fn queue_pull(
        &mut self,
        token: u64,
        data: KeyedBuf,
        segments: &[RemoteSegment],
    ) -> Result<(), PostError> {
        let KeyedBuf { buf, key } = data;
        let segments = self.take_segments(buf.len(), segments)?;
        if segments == 0 {
            self.completed.push_back(Completed::Pulled { token, buf });
            return Ok(());
        }
        self.pending.push_back(Pending {
            address: buf.address(),
            work: Work::Pull { token, buf },
            segments,
            key,
            started: false,
        });
        Ok(())
    }

    /// Keeps the first `len` bytes of the segments. Returns how many segments that are.
    fn take_segments(
        &mut self,
        len: usize,
        segments: &[RemoteSegment],
    ) -> Result<usize, PostError> {
        if self.failure.is_some() {
            return Err(PostError::QueuePairFailed);
        }
        let data_len = len as u64;
        let segments_len = segments.iter().map(|s| u64::from(s.length)).sum();
        if data_len > segments_len {
            return Err(PostError::SegmentsTooShort {
                data_len,
                segments_len,
            });
        }
        let before = self.segments.len();
        let mut left = data_len;
        for segment in segments {
            let length = segment.length.min(u32::try_from(left).unwrap_or(u32::MAX));
            if length > 0 {
                self.segments
                    .push_back(RemoteSegment { length, ..*segment });
            }
            left -= u64::from(length);
        }
        Ok(self.segments.len() - before)
    }

    /// Appends to `chain` what fits the queue now; its last request is signalled. Follow with
    /// [`SendQueue::posted`] or [`SendQueue::not_posted`].
    pub(crate) fn fill(&mut self, chain: &mut Vec<WorkRequest>) {
        while self.posted_len() < self.limits.depth {
            match self.next_request() {
                Some(request) => chain.push(request),
                None => break,
            }
        }
        if let Some(last) = chain.last_mut() {
            last.signalled = true;
            self.unsignalled = 0;
        }
    }

    /// The chain of [`SendQueue::fill`] is in the provider's queue.
    pub(crate) fn posted(&mut self) {
        self.copied.clear();
    }

    /// Of the chain of [`SendQueue::fill`], the requests from `first` on could not be posted: nothing more
    /// will be.
    pub(crate) fn not_posted(&mut self, first: u32) {
        self.posted();
        self.fail(WorkStatus::Flushed);
        self.next = first;
        let last_posted = first.wrapping_sub(1);
        let unfinished = self.in_flight.iter_mut().rev();
        for operation in unfinished.take_while(|operation| !is_before(operation.last, first)) {
            operation.last = last_posted;
        }
        if self.is_drained() {
            self.give_back(last_posted, WorkStatus::Flushed);
        }
    }

    /// A completion has come. Returns false when it is not of a request in flight.
    pub(crate) fn retire(&mut self, sequence: u32, status: WorkStatus) -> bool {
        if sequence.wrapping_sub(self.oldest) >= self.posted_len() {
            return false;
        }
        self.oldest = sequence.wrapping_add(1);
        if !status.is_success() {
            self.fail(status);
        }
        self.give_back(sequence, status);
        true
    }

    /// Stops posting: what has no request in the provider's queue fails now, the rest waits for its
    /// completions.
    pub(crate) fn fail(&mut self, status: WorkStatus) {
        if self.failure.is_some() {
            return;
        }
        self.failure = Some(status);
        self.segments.clear();
        while let Some(Pending { work, started, .. }) = self.pending.pop_front() {
            if started && !self.is_drained() {
                let last = self.next.wrapping_sub(1);
                let held = work.into_held();
                self.in_flight.push_back(InFlight { last, held });
            } else {
                self.completed.push_back(work.into_held().completed(status));
            }
        }
    }

    /// The next operation that has ended.
    pub(crate) fn poll_completed(&mut self) -> Option<Completed> {
        self.completed.pop_front()
    }

    /// True when the provider's queue holds no request.
    pub(crate) fn is_drained(&self) -> bool {
        self.next == self.oldest
    }

    /// True when something waits for room in the provider's queue or for the next chain.
    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// True after [`SendQueue::fail`] or a failed completion.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Never gives the buffers back: for a provider's queue that could not be destroyed.
    pub(crate) fn leak(&mut self) {
        self.in_flight.drain(..).for_each(mem::forget);
        self.pending.drain(..).for_each(mem::forget);
    }

    fn posted_len(&self) -> u32 {
        self.next.wrapping_sub(self.oldest)
    }

    /// The next request of the first pending operation, which goes in flight with its last one.
    fn next_request(&mut self) -> Option<WorkRequest> {
        let pending = self.pending.front_mut()?;
        let mut request = match self.segments.front_mut().filter(|_| pending.segments > 0) {
            Some(segment) => {
                let request = pending.transfer(segment, self.limits.max_message_bytes);
                if segment.length == 0 {
                    self.segments.pop_front();
                    pending.segments -= 1;
                }
                request
            }
            None => pending.message(self.limits.max_inline_bytes)?,
        };
        pending.started = true;
        let ends_pull = pending.segments == 0 && matches!(pending.work, Work::Pull { .. });
        self.number(&mut request, ends_pull);
        if ends_pull || request.operation.is_send() {
            self.finish_front(&request);
        }
        Some(request)
    }

    /// Gives the request its place in the queue, and a signal when one is wanted or none was given for a
    /// quarter of the queue.
    fn number(&mut self, request: &mut WorkRequest, signalled: bool) {
        request.sequence = self.next;
        self.next = self.next.wrapping_add(1);
        self.unsignalled += 1;
        if signalled || self.unsignalled > self.limits.depth / 4 {
            request.signalled = true;
            self.unsignalled = 0;
        }
    }

    /// Moves the first pending operation, whose last request this is, to those in flight.
    fn finish_front(&mut self, request: &WorkRequest) {
        let Some(pending) = self.pending.pop_front() else {
            return;
        };
        let mut held = pending.work.into_held();
        if let (true, Held::Respond { message, .. }) = (request.inline, &mut held) {
            self.copied.extend(message.take());
        }
        let last = request.sequence;
        self.in_flight.push_back(InFlight { last, held });
    }

    /// Ends the operations whose last request is `sequence` or one before. Requests without a signal that a
    /// failed completion retires count as failed: whether they were done cannot be known.
    fn give_back(&mut self, sequence: u32, status: WorkStatus) {
        while let Some(InFlight { held, .. }) = self
            .in_flight
            .pop_front_if(|operation| !is_before(sequence, operation.last))
        {
            self.completed.push_back(held.completed(status));
        }
    }
}

impl Pending {
    /// RDMA READ or WRITE of as much of `segment` as one message can carry, which is cut off its front.
    fn transfer(&mut self, segment: &mut RemoteSegment, max_message_bytes: u32) -> WorkRequest {
        let RemoteSegment { address, key, .. } = *segment;
        let len = segment.length.min(max_message_bytes);
        let operation = match self.work {
            Work::Respond { .. } => Operation::Write { address, key },
            Work::Pull { .. } => Operation::Read { address, key },
        };
        let request = WorkRequest::new(operation, self.address, len, self.key);
        self.address += u64::from(len);
        segment.address = address.wrapping_add(u64::from(len));
        segment.length -= len;
        request
    }

    /// SEND of the message; a pull has none.
    fn message(&self, max_inline_bytes: u32) -> Option<WorkRequest> {
        let Work::Respond {
            message,
            invalidate,
            ..
        } = &self.work
        else {
            return None;
        };
        let operation = match *invalidate {
            Some(key) => Operation::SendWithInvalidate { key },
            None => Operation::Send,
        };
        let len = u32::try_from(message.buf.len()).ok()?;
        let address = message.buf.address();
        Some(WorkRequest {
            inline: len <= max_inline_bytes,
            ..WorkRequest::new(operation, address, len, message.key)
        })
    }
}

impl Work {
    fn into_held(self) -> Held {
        match self {
            Self::Respond { data, message, .. } => Held::Respond {
                _data: data,
                message: Some(message.buf),
            },
            Self::Pull { token, buf } => Held::Pull { token, buf },
        }
    }
}

impl Held {
    fn completed(self, status: WorkStatus) -> Completed {
        match (self, status.is_success()) {
            (Self::Pull { token, buf }, true) => Completed::Pulled { token, buf },
            (Self::Respond { .. }, true) => Completed::Sent,
            (Self::Pull { token, .. }, false) => Completed::Failed {
                token: Some(token),
                status,
            },
            (Self::Respond { .. }, false) => Completed::Failed {
                token: None,
                status,
            },
        }
    }
}

impl Operation {
    fn is_send(self) -> bool {
        matches!(self, Self::Send | Self::SendWithInvalidate { .. })
    }
}

impl WorkRequest {
    fn new(operation: Operation, address: u64, len: u32, key: u32) -> Self {
        Self {
            sequence: 0,
            operation,
            address,
            len,
            key,
            signalled: false,
            inline: false,
        }
    }
}

/// Order of sequence numbers that wrap (RFC 1982).
fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > u32::MAX / 2
}

#[cfg(test)]
mod tests;
