//! The worker's back end: all its media, and everything else it waits for, on one ring.
//!
//! May touch: the ring and the media's stores. `Buf`s move into the operations table and come out only with
//! the kernel's last word on them; dropping the engine waits for that word.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

use io_uring::types::Fixed;
use iobuf::{Arena, Buf, Pool};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_getfl};
use target_core::backend::{
    Backend, BlockCompletion, BlockError, BlockErrorKind, BlockOperation, BlockRequest, MediumId,
    TaskId,
};
use thiserror::Error;

use crate::attachment::{Attachment, medium_id, medium_key};
use crate::errno;
use crate::fault::{Bell, Fault};
use crate::medium::{Medium, Store, extent};
use crate::operation::{Failure, Means, Next, Operation, Step};
use crate::ring::{Completion, Ring, RingFeatures, Wait};
use crate::ring_error::RingError;
use crate::slots::{Key, Slots};
use crate::stream::{Streams, socket_of};
use crate::submission::{Target, entry};
use crate::watch::{Audience, EVENT_BYTES, How, Watches, Woken};

mod streams;

/// The smallest bounce buffer that is of use, and the most zeroes that are kept for writing.
const SMALLEST_BOUNCE_BYTES: usize = 4096;
const MOST_ZEROES_BYTES: usize = 256 << 10;

/// An id has 16 bits for the place.
const MOST_MEDIA: u32 = 1 << 16;

/// Sizes of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Entries that one turn submits at most; more wait for the next turn.
    pub entries: u32,
    /// Media at once, at most 65536; counts against RLIMIT_NOFILE.
    pub media: u32,
    /// Register the arena as fixed buffers. Failing to is an error then; without, every operation maps its
    /// memory anew.
    pub fixed_buffers: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            entries: 256,
            media: 512,
            fixed_buffers: true,
        }
    }
}

/// What an engine did since it was made, and what it does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounters {
    /// System calls on the ring.
    pub enters: u64,
    /// Entries given to the ring.
    pub submitted: u64,
    /// Completions taken from it.
    pub completed: u64,
    /// Reads and writes that moved less than was asked and went on.
    pub short_transfers: u64,
    /// Operations that went through a bounce buffer.
    pub bounced: u64,
    /// Operations now in the engine, whatever they wait for.
    pub in_flight: u64,
}

/// A medium cannot be detached while operations on it run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{in_flight} operations are still running on the medium: wait for them or cancel them")]
pub struct StillBusy {
    /// How many.
    pub in_flight: u64,
}

/// All media of one worker, and its one place to sleep. Belongs to the thread that made it.
pub struct Engine {
    ring: Ring,
    operations: Slots<Operation>,
    watches: Watches,
    streams: Streams,
    attachments: Slots<Attachment>,
    ready: VecDeque<BlockCompletion>,
    /// Requests to media that stall, in order.
    stalled: VecDeque<BlockRequest>,
    /// Operations that wait for a bounce buffer, in order.
    no_bounce: VecDeque<Key>,
    bounce: Pool,
    zeroes: Rc<Buf>,
    bell: Bell,
    settings: EngineSettings,
    counters: EngineCounters,
}

impl Engine {
    /// Makes the ring; call it on the worker's thread. Buffers of requests come from `arena`; `bounce` is
    /// for operations whose memory direct I/O does not take, and for the engine's own few buffers.
    ///
    /// # Errors
    /// [`RingError`], which names the setting that stands in the way.
    pub fn new(
        settings: EngineSettings,
        arena: &Arc<Arena>,
        bounce: Pool,
    ) -> Result<Self, RingError> {
        let settings = EngineSettings {
            media: settings.media.min(MOST_MEDIA),
            ..settings
        };
        let zeroes = take_zeroes(&bounce)?;
        let mut ring = Ring::new(settings.entries, settings.media)?;
        if settings.fixed_buffers {
            ring.add_arena(arena)?;
        }
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| RingError::io("making an eventfd")(error.into()))?;
        let mut watches = Watches::default();
        let how = How::Read(take_bounce(&bounce, EVENT_BYTES)?);
        watches
            .add(&mut ring, &bell, how, Audience::Engine)
            .map_err(RingError::io("watching an eventfd"))?;
        Ok(Self {
            ring,
            operations: Slots::default(),
            watches,
            streams: Streams::default(),
            attachments: Slots::default(),
            ready: VecDeque::new(),
            stalled: VecDeque::new(),
            no_bounce: VecDeque::new(),
            bounce,
            zeroes,
            bell: Arc::new(bell),
            settings,
            counters: EngineCounters::default(),
        })
    }

    /// What the kernel granted.
    pub fn features(&self) -> RingFeatures {
        self.ring.features()
    }

    /// Lets buffers of another arena be used without mapping them anew for each operation.
    ///
    /// # Errors
    /// As for the arena that the engine was made with.
    pub fn add_arena(&mut self, arena: &Arc<Arena>) -> Result<(), RingError> {
        match self.settings.fixed_buffers {
            true => self.ring.add_arena(arena),
            false => Ok(()),
        }
    }

    /// Makes a medium reachable for requests of this worker.
    ///
    /// # Errors
    /// [`RingError::TableFull`], or what the kernel said to the registration.
    pub fn attach(&mut self, medium: Arc<Medium>) -> Result<MediumId, RingError> {
        if self.attachments.len() >= self.settings.media as usize {
            return Err(RingError::TableFull {
                limit: self.settings.media,
            });
        }
        medium.fault().add_bell(&self.bell);
        let attachment = Attachment::new(Arc::clone(&medium));
        let key = self.attachments.insert(attachment);
        if let Store::Descriptor(descriptor) = medium.store()
            && let Err(error) = self.ring.set_file(key.index, Some(descriptor.file.as_fd()))
        {
            self.attachments.remove(key);
            return Err(RingError::io("registering a medium's descriptor")(error));
        }
        Ok(medium_id(key))
    }

    /// Lets go of an idle medium; the store itself is closed when its last owner drops it. An id that is
    /// not attached is gone already, which is what was wanted.
    ///
    /// # Errors
    /// [`StillBusy`] while operations run; the medium stays attached.
    pub fn detach(&mut self, id: MediumId) -> Result<(), StillBusy> {
        let key = medium_key(id);
        let Some(attachment) = self.attachments.get_mut(key) else {
            return Ok(());
        };
        let in_flight = attachment.in_flight;
        if in_flight > 0 {
            return Err(StillBusy { in_flight });
        }
        // Emptying a place fails only for one outside the table.
        let _ = self.ring.set_file(key.index, None);
        self.attachments.remove(key);
        Ok(())
    }

    /// Reads eight bytes from an eventfd, a completion channel or a pipe whenever it has some, and wakes the worker
    /// with what it read. The descriptor must not block: some kernels hand a read that could block to a thread.
    ///
    /// # Errors
    /// `InvalidInput` for a blocking descriptor, `AlreadyExists` for a token in use, `OutOfMemory` when
    /// the bounce pool has no buffer for the read, or the kernel's.
    pub fn watch_read(&mut self, fd: impl AsFd, token: u64) -> io::Result<()> {
        if !fcntl_getfl(&fd)?.contains(OFlags::NONBLOCK) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a watched read needs a descriptor that does not block: set O_NONBLOCK, or poll it",
            ));
        }
        let buf = self.bounce.take(EVENT_BYTES);
        let how = How::Read(buf.ok_or(io::ErrorKind::OutOfMemory)?);
        self.watches
            .add(&mut self.ring, fd, how, Audience::Worker(token))
    }

    /// Wakes the worker whenever a descriptor becomes readable. Each change wakes once: read until the
    /// kernel says `WouldBlock`.
    ///
    /// # Errors
    /// `AlreadyExists` for a token in use, or the kernel's.
    pub fn watch_poll(&mut self, fd: impl AsFd, token: u64) -> io::Result<()> {
        self.watches
            .add(&mut self.ring, fd, How::Poll, Audience::Worker(token))
    }

    /// Ends a watch. Nothing of it comes out of [`Engine::next_woken`] any more; what a read has taken from
    /// the descriptor in the same moment is lost.
    pub fn unwatch(&mut self, token: u64) {
        self.watches.remove(&mut self.ring, token);
    }

    /// Submits what is queued and takes what is complete, in one system call at most. Sleeps as `wait` says
    /// unless completions or wake-ups are ready to be taken.
    ///
    /// # Errors
    /// The kernel's, when the ring itself is broken: no later turn will do better.
    pub fn turn(&mut self, wait: Wait) -> io::Result<()> {
        self.streams.flush(&mut self.ring);
        let idle = self.ready.is_empty() && !self.watches.has_woken() && !self.streams.has_event();
        self.ring.enter(if idle { wait } else { Wait::No })?;
        while let Some(completion) = self.ring.next_completion() {
            self.handle_completion(completion);
        }
        self.resume_no_bounce();
        Ok(())
    }

    /// The next thing that happened to a watched descriptor.
    pub fn next_woken(&mut self) -> Option<Woken> {
        self.watches.next_woken()
    }

    /// Counters, as of now.
    pub fn counters(&self) -> EngineCounters {
        let ring = self.ring.counters;
        EngineCounters {
            enters: ring.enters,
            submitted: ring.submitted,
            completed: ring.completed,
            in_flight: (self.operations.len() + self.stalled.len()) as u64,
            ..self.counters
        }
    }

    fn handle_completion(&mut self, completion: Completion) {
        match Target::from_user_data(completion.user_data) {
            Target::Operation(key) => self.handle_step(key, completion.result),
            // A poll that failed tells it for the read that was linked to it.
            Target::Watch(key) | Target::PollOfWatch(key) => {
                let audience = self
                    .watches
                    .handle_completion(&mut self.ring, key, completion);
                if audience == Audience::Engine {
                    self.sift_stalled(None);
                }
            }
            Target::Accept(key) => self
                .streams
                .handle_accepted(&mut self.ring, key, completion),
            Target::Receive(key) => self
                .streams
                .handle_received(&mut self.ring, key, completion),
            Target::Send(key) => self.streams.handle_sent(&mut self.ring, key, completion),
            Target::Nothing => {}
        }
    }

    /// Decides whether a request may run; true when its medium stalls. An admitted request counts as in
    /// flight.
    fn admit(&mut self, request: &BlockRequest) -> Result<bool, (BlockErrorKind, i32)> {
        let attachment = self
            .attachments
            .get_mut(medium_key(request.medium))
            .ok_or((BlockErrorKind::Gone, 0))?;
        let medium = &attachment.medium;
        medium.admit(&request.operation).map_err(|kind| (kind, 0))?;
        let fault = medium.fault().check();
        if let Some(Fault::Fail(errno)) = fault {
            return Err((errno::kind(errno), errno));
        }
        attachment.in_flight += 1;
        // Completing never allocates, and submitting only while more are in flight than ever before.
        self.ready
            .reserve(self.operations.len() + self.stalled.len() + 1);
        Ok(fault.is_some())
    }

    /// Starts an admitted request.
    fn start(&mut self, mut request: BlockRequest) {
        let Some(attachment) = self.attachments.get_mut(medium_key(request.medium)) else {
            return;
        };
        match attachment.medium.store() {
            Store::Memory(memory) => {
                memory.perform(&mut request.operation);
                attachment.in_flight -= 1;
                self.ready.push_back(completion_of(request, Ok(())));
            }
            Store::Descriptor(_) => {
                let operation = Operation::new(request, attachment.abilities, &self.zeroes);
                let key = self.operations.insert(operation);
                self.go_on(key);
            }
        }
    }

    /// Takes an operation to its next step, or to the end of the line for bounce buffers.
    fn go_on(&mut self, key: Key) {
        if self.advance(key) {
            return;
        }
        if self.bounce_comes_back() {
            self.no_bounce.push_back(key);
        } else {
            self.fail(key, Failure::Errno(libc::ENOBUFS));
        }
    }

    /// Whether an operation holds a bounce buffer, which it will give back. When none does, others use the
    /// pool, and the initiator is better asked to try again than kept waiting for them.
    fn bounce_comes_back(&mut self) -> bool {
        self.operations
            .iter_mut()
            .any(|(_, operation)| operation.holds_bounce())
    }

    /// Takes an operation to its next step. False when there is no bounce buffer for it.
    fn advance(&mut self, key: Key) -> bool {
        let Some((operation, attachment)) = parts(&mut self.operations, &mut self.attachments, key)
        else {
            return true;
        };
        let file = Fixed(medium_key(operation.medium).index);
        let next = operation.next_step(&mut Means {
            limits: attachment.limits(),
            bounce: &self.bounce,
            counters: &mut self.counters,
        });
        match next {
            Next::Issue(step) => self.issue(key, step, file),
            Next::NoBounce => return false,
            Next::Cancelled => self.fail(key, Failure::Errno(libc::ECANCELED)),
            Next::Finished => self.finish(key, Ok(())),
        }
        true
    }

    fn issue(&mut self, key: Key, step: Step, file: Fixed) {
        let entry = entry(step, file, &self.ring).user_data(Target::Operation(key).user_data());
        // SAFETY: the step names memory of buffers that the operation owns, and the operation stays in the table
        // until the completion; a medium with operations in flight is not detached, so the file stays registered.
        unsafe { self.ring.push(entry) };
    }

    fn handle_step(&mut self, key: Key, result: i32) {
        let Some((operation, attachment)) = parts(&mut self.operations, &mut self.attachments, key)
        else {
            return;
        };
        let mut means = Means {
            limits: attachment.limits(),
            bounce: &self.bounce,
            counters: &mut self.counters,
        };
        match operation.handle_result(result, &mut attachment.abilities, &mut means) {
            Ok(()) => self.go_on(key),
            Err(failure) => self.fail(key, failure),
        }
    }

    /// Lets waiting operations have the bounce buffers that others gave back.
    fn resume_no_bounce(&mut self) {
        while let Some(key) = self.no_bounce.pop_front() {
            if self.advance(key) {
                continue;
            }
            if self.bounce_comes_back() {
                self.no_bounce.push_front(key);
                return;
            }
            self.fail(key, Failure::Errno(libc::ENOBUFS));
        }
    }

    fn fail(&mut self, key: Key, failure: Failure) {
        if let Some((operation, attachment)) =
            parts(&mut self.operations, &mut self.attachments, key)
        {
            let error = attachment.error(operation, failure);
            self.finish(key, Err(error));
        }
    }

    fn finish(&mut self, key: Key, result: Result<(), BlockError>) {
        let Some(operation) = self.operations.remove(key) else {
            return;
        };
        if let Some(attachment) = self.attachments.get_mut(medium_key(operation.medium)) {
            attachment.in_flight -= 1;
        }
        self.ready.push_back(BlockCompletion {
            task: operation.task,
            buf: operation.into_buf(),
            result,
        });
    }

    /// Looks at each held request once: starts those of media that no longer stall, ends those of `cancelled`.
    fn sift_stalled(&mut self, cancelled: Option<TaskId>) {
        for _ in 0..self.stalled.len() {
            let Some(request) = self.stalled.pop_front() else {
                return;
            };
            // Always there: a medium with requests in flight is not detached.
            let Some(attachment) = self.attachments.get_mut(medium_key(request.medium)) else {
                continue;
            };
            if Some(request.task) == cancelled {
                attachment.in_flight -= 1;
                let error = (BlockErrorKind::Cancelled, libc::ECANCELED);
                self.ready.push_back(completion_of(request, Err(error)));
            } else if attachment.medium.fault().stalled() {
                self.stalled.push_back(request);
            } else {
                self.start(request);
            }
        }
    }

    /// Marks the task's operations, asks the kernel to cancel those it has, and ends the others.
    fn cancel_operations(&mut self, task: TaskId) {
        let mut not_issued = Vec::new();
        for (key, operation) in self.operations.iter_mut() {
            if operation.task != task || operation.cancelled {
                continue;
            }
            operation.cancelled = true;
            let user_data = Target::Operation(key).user_data();
            if operation.is_issued() && !self.ring.retract(user_data) {
                self.ring.cancel(user_data);
            } else {
                not_issued.push(key);
            }
        }
        for key in not_issued {
            self.no_bounce.retain(|waiting| *waiting != key);
            self.fail(key, Failure::Errno(libc::ECANCELED));
        }
    }
}

impl Backend for Engine {
    fn submit(&mut self, request: BlockRequest) {
        match self.admit(&request) {
            Ok(false) => self.start(request),
            Ok(true) => self.stalled.push_back(request),
            Err(error) => self.ready.push_back(completion_of(request, Err(error))),
        }
    }

    fn poll(&mut self) -> Option<BlockCompletion> {
        self.ready.pop_front()
    }

    fn cancel(&mut self, task: TaskId) {
        self.sift_stalled(Some(task));
        self.cancel_operations(task);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let drained = self.ring.drain(|completion| {
            if let Target::Accept(_) = Target::from_user_data(completion.user_data) {
                drop(socket_of(&completion));
            }
        });
        self.streams.withdraw_chunks(&self.ring);
        if drained.is_err() {
            // The kernel may still write to what these own: lost memory is better than shared memory, and a file
            // that stays locked better than one with two writers.
            mem::forget(mem::take(&mut self.attachments));
            mem::forget(mem::take(&mut self.operations));
            mem::forget(mem::take(&mut self.watches));
            mem::forget(mem::take(&mut self.streams));
        }
    }
}

/// An operation and the medium it is on.
fn parts<'a>(
    operations: &'a mut Slots<Operation>,
    attachments: &'a mut Slots<Attachment>,
    key: Key,
) -> Option<(&'a mut Operation, &'a mut Attachment)> {
    let operation = operations.get_mut(key)?;
    let attachment = attachments.get_mut(medium_key(operation.medium))?;
    Some((operation, attachment))
}

/// The completion of a request that never became an operation.
fn completion_of(
    request: BlockRequest,
    result: Result<(), (BlockErrorKind, i32)>,
) -> BlockCompletion {
    let (offset, _, _) = extent(&request.operation);
    let buf = match request.operation {
        BlockOperation::Read { buf, .. } | BlockOperation::Write { buf, .. } => Some(buf),
        BlockOperation::Flush
        | BlockOperation::Unmap { .. }
        | BlockOperation::WriteZeroes { .. } => None,
    };
    BlockCompletion {
        task: request.task,
        buf,
        result: result.map_err(|(kind, errno)| BlockError {
            kind,
            offset,
            errno,
        }),
    }
}

fn take_bounce(bounce: &Pool, len: usize) -> Result<Buf, RingError> {
    bounce.take(len).ok_or(RingError::BouncePool {
        needed: SMALLEST_BOUNCE_BYTES,
    })
}

fn take_zeroes(bounce: &Pool) -> Result<Rc<Buf>, RingError> {
    let len = bounce.largest().min(MOST_ZEROES_BYTES);
    let len = (len - len % SMALLEST_BOUNCE_BYTES).max(SMALLEST_BOUNCE_BYTES);
    let mut zeroes = take_bounce(bounce, len)?;
    zeroes.fill(0);
    Ok(Rc::new(zeroes))
}

#[cfg(test)]
mod tests;
