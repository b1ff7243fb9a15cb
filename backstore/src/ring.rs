//! The worker's one io_uring.
//!
//! May touch: the kernel's ring and nothing behind it. What an entry names (memory, descriptors) belongs to
//! whoever pushes it and stays there until the entry's last completion.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::CancelBuilder;
use io_uring::{IoUring, cqueue, opcode};
use iobuf::Arena;
use rustix::process::{Resource, getrlimit};

use crate::enter::RingFd;
use crate::ring_error::RingError;
use crate::submission::Target;

/// The kernel takes no larger registered buffer.
const LARGEST_FIXED_BUFFER: usize = 1 << 30;

/// How long a turn may sleep when nothing is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until something happened, or this time has passed.
    For(Option<Duration>),
}

/// What the kernel granted; all but `no_sqarray` (Linux 6.6) is there since Linux 6.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingFeatures {
    /// Only this thread submits.
    pub single_issuer: bool,
    /// Completions are worked off when this thread asks for them, not by interrupting it.
    pub defer_taskrun: bool,
    /// Completions do not interrupt this thread.
    pub coop_taskrun: bool,
    /// A bad entry does not hold back the ones behind it.
    pub submit_all: bool,
    /// No index array between the entries and the kernel.
    pub no_sqarray: bool,
    /// The ring's descriptor is registered for this thread.
    pub registered_ring: bool,
    /// Registered pieces of the arena; 0 when buffers are mapped anew for each operation.
    pub fixed_buffers: usize,
}

const BEST: RingFeatures = RingFeatures {
    single_issuer: true,
    defer_taskrun: true,
    coop_taskrun: true,
    submit_all: true,
    no_sqarray: true,
    registered_ring: false,
    fixed_buffers: 0,
};

/// What is asked for, from the best down.
const ATTEMPTS: [RingFeatures; 4] = [
    BEST,
    RingFeatures {
        no_sqarray: false,
        ..BEST
    },
    RingFeatures {
        no_sqarray: false,
        defer_taskrun: false,
        single_issuer: false,
        ..BEST
    },
    RingFeatures {
        no_sqarray: false,
        defer_taskrun: false,
        single_issuer: false,
        coop_taskrun: false,
        submit_all: false,
        ..BEST
    },
];

/// A completion, as far as anybody asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) user_data: u64,
    /// A count, or a negated errno.
    pub(crate) result: i32,
    /// The entry goes on and more completions of it come.
    pub(crate) more: bool,
    /// Place in the table of chunks whose chunk this has taken.
    pub(crate) buffer: Option<u16>,
}

/// What the ring did since it was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RingCounters {
    pub(crate) enters: u64,
    pub(crate) submitted: u64,
    pub(crate) completed: u64,
}

/// Places in the table of registered buffers: the data memory, and the receive memory of each RDMA device.
const MOST_FIXED_BUFFERS: u32 = 256;

pub(crate) struct Ring {
    // Before `uring`, because it names its descriptor.
    fd: RingFd,
    uring: IoUring,
    /// Entries that found the submission queue full, in order.
    backlog: VecDeque<Entry>,
    /// Entries whose last completion has not come.
    outstanding: usize,
    /// Kept alive because the kernel has their addresses, and in the order of their registered buffers.
    arenas: Vec<FixedArena>,
    features: RingFeatures,
    pub(crate) counters: RingCounters,
}

/// An arena that is registered as fixed buffers from number `first` on.
struct FixedArena {
    arena: Arc<Arena>,
    first: u16,
}

impl Ring {
    /// Must be called on the thread that will use the ring. `files` is the length of the file table.
    pub(crate) fn new(entries: u32, files: u32) -> Result<Self, RingError> {
        // Linked entries need room for two.
        let (uring, mut features) = set_up(entries.max(2))?;
        register_files(&uring, files)?;
        let fd = RingFd::new(&uring);
        features.registered_ring = fd.is_registered();
        Ok(Self {
            fd,
            uring,
            backlog: VecDeque::new(),
            outstanding: 0,
            arenas: Vec::new(),
            features,
            counters: RingCounters::default(),
        })
    }

    pub(crate) fn features(&self) -> RingFeatures {
        self.features
    }

    /// Puts a descriptor in the file table, or empties the place.
    pub(crate) fn set_file(&self, index: u32, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let fd = file.map_or(-1, |file| file.as_raw_fd());
        self.uring
            .submitter()
            .register_files_update(index, &[fd])
            .map(drop)
    }

    /// Registers an arena as fixed buffers, behind those that are registered already.
    pub(crate) fn add_arena(&mut self, arena: &Arc<Arena>) -> Result<(), RingError> {
        let pieces = pieces(arena);
        let first = self.features.fixed_buffers;
        let refused =
            |error| RingError::at_buffers(error, arena.len() as u64, soft_limit(Resource::Memlock));
        let place = u16::try_from(first)
            .ok()
            .filter(|_| first + pieces.len() <= MOST_FIXED_BUFFERS as usize)
            .ok_or_else(|| refused(io::Error::from_raw_os_error(libc::ENOSPC)))?;
        let submitter = self.uring.submitter();
        if first == 0 {
            submitter
                .register_buffers_sparse(MOST_FIXED_BUFFERS)
                .map_err(refused)?;
        }
        // SAFETY: the pieces cover the arena, which the ring keeps alive, and the kernel pins the pages besides.
        unsafe { submitter.register_buffers_update(place.into(), &pieces, None) }
            .map_err(refused)?;
        self.features.fixed_buffers += pieces.len();
        self.arenas.push(FixedArena {
            arena: Arc::clone(arena),
            first: place,
        });
        Ok(())
    }

    /// Makes a table of chunks to receive into known to the kernel.
    ///
    /// # Safety
    /// The table has room for `count` entries, and nobody else uses that memory, until [`Ring::unregister_chunks`]
    /// or the end of the ring.
    pub(crate) unsafe fn register_chunks(
        &self,
        address: u64,
        count: u16,
        group: u16,
    ) -> io::Result<()> {
        let submitter = self.uring.submitter();
        // SAFETY: the caller's promise.
        unsafe { submitter.register_buf_ring_with_flags(address, count, group, 0) }
    }

    /// Takes a table of chunks from the kernel.
    pub(crate) fn unregister_chunks(&self, group: u16) {
        // It fails only for a table that is not registered.
        let _ = self.uring.submitter().unregister_buf_ring(group);
    }

    /// The registered buffer that holds all of a range of memory. There are few arenas, so this is a short scan.
    pub(crate) fn fixed_index(&self, address: u64, len: u32) -> Option<u16> {
        self.arenas.iter().find_map(|fixed| {
            let start = address.checked_sub(fixed.arena.base().as_ptr() as u64)?;
            piece_of(start, len, fixed.arena.len() as u64)?.checked_add(fixed.first)
        })
    }

    /// Queues an entry. It goes to the kernel at the next [`Ring::enter`], or at a later one when the queue
    /// is full.
    ///
    /// # Safety
    /// Memory and descriptors that the entry names stay valid, and nobody else uses the memory, until the
    /// entry's last completion.
    pub(crate) unsafe fn push(&mut self, entry: Entry) {
        self.outstanding += 1;
        self.counters.submitted += 1;
        if !self.backlog.is_empty() {
            self.backlog.push_back(entry);
            return;
        }
        // SAFETY: the caller's promise.
        if unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.backlog.push_back(entry);
        }
    }

    /// Queues two entries that reach the kernel together, the second linked to the first. The first is told of only
    /// when it fails, and then the second is not: one completion comes for both.
    ///
    /// # Safety
    /// As for [`Ring::push`], until that completion.
    pub(crate) unsafe fn push_linked(&mut self, first: Entry, second: Entry) {
        self.outstanding += 1;
        self.counters.submitted += 2;
        let pair = [first.flags(Flags::IO_LINK | Flags::SKIP_SUCCESS), second];
        // SAFETY: the caller's promise.
        let is_queued = self.backlog.is_empty()
            && unsafe { self.uring.submission().push_multiple(&pair) }.is_ok();
        if !is_queued {
            self.backlog.extend(pair);
        }
    }

    /// Takes both entries of [`Ring::push_linked`] back, by the user data of the second. False when they have
    /// reached the kernel's queue.
    pub(crate) fn retract_linked(&mut self, first: u64, second: u64) -> bool {
        let is_waiting = self.retract(second);
        if is_waiting {
            self.backlog.retain(|entry| entry.get_user_data() != first);
        }
        is_waiting
    }

    /// Takes an entry back that has not reached the kernel's queue. False when it has.
    pub(crate) fn retract(&mut self, user_data: u64) -> bool {
        let found = self
            .backlog
            .iter()
            .position(|entry| entry.get_user_data() == user_data);
        let Some(position) = found else {
            return false;
        };
        self.backlog.remove(position);
        self.outstanding -= 1;
        true
    }

    /// Asks the kernel to cancel the entry with this user data.
    pub(crate) fn cancel(&mut self, user_data: u64) {
        self.push_cancel(CancelBuilder::user_data(user_data));
    }

    fn push_cancel(&mut self, which: CancelBuilder) {
        let entry = opcode::AsyncCancel2::new(which)
            .build()
            .user_data(Target::Nothing.user_data());
        // SAFETY: the entry names neither memory nor a descriptor.
        unsafe { self.push(entry) };
    }

    /// Submits what is queued and lets the kernel work off completions, in one system call; in none when
    /// there is nothing to submit, to work off or to wait for.
    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let queued = self.fill();
        let queue = self.uring.submission();
        let work = queue.taskrun() || queue.cq_overflow();
        drop(queue);
        let idle = self.backlog.is_empty() && self.uring.completion().is_empty();
        let timeout = match wait {
            Wait::For(timeout) if idle => Some(timeout),
            _ => None,
        };
        if queued == 0 && !work && timeout.is_none() {
            return Ok(());
        }
        self.counters.enters += 1;
        let min_complete = u32::from(timeout.is_some());
        let events = work || timeout.is_some();
        match self
            .fd
            .enter(queued, min_complete, events, timeout.flatten())
        {
            Err(error) if !is_passing(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Moves the backlog to the queue and returns how many entries are in it.
    fn fill(&mut self) -> u32 {
        let mut queue = self.uring.submission();
        self.backlog.make_contiguous();
        while let Some(entry) = self.backlog.front() {
            // A linked entry goes together with the next one, or the link ends where the submission does.
            let count = match Target::from_user_data(entry.get_user_data()) {
                Target::PollOfWatch(_) => 2,
                _ => 1,
            };
            let together = &self.backlog.as_slices().0[..count.min(self.backlog.len())];
            // SAFETY: whoever gave the entries to `push` or `push_linked` promised for them.
            if unsafe { queue.push_multiple(together) }.is_err() {
                break;
            }
            self.backlog.drain(..count.min(self.backlog.len()));
        }
        // The queue has at most 32768 entries.
        queue.len() as u32
    }

    pub(crate) fn next_completion(&mut self) -> Option<Completion> {
        let entry = self.uring.completion().next()?;
        let more = cqueue::more(entry.flags());
        self.counters.completed += 1;
        self.outstanding -= usize::from(!more);
        Some(Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            more,
            buffer: cqueue::buffer_select(entry.flags()),
        })
    }

    /// Cancels everything and waits until the kernel holds nothing of ours any more; `take` gets what completes.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(Completion)) -> io::Result<()> {
        self.outstanding -= self.backlog.len();
        self.backlog.clear();
        if self.outstanding > 0 {
            self.push_cancel(CancelBuilder::any());
        }
        while self.outstanding > 0 {
            self.enter(Wait::For(None))?;
            while let Some(completion) = self.next_completion() {
                take(completion);
            }
        }
        Ok(())
    }
}

/// Nothing is wrong: the time passed, a signal came, or the kernel is short and the next turn goes on.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
    )
}

fn set_up(entries: u32) -> Result<(IoUring, RingFeatures), RingError> {
    let mut refused = io::Error::from(io::ErrorKind::Unsupported);
    for features in ATTEMPTS {
        match build(entries, features) {
            Ok(uring) => return Ok((uring, features)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(RingError::at_setup(error)),
        }
    }
    Err(RingError::at_setup(refused))
}

fn build(entries: u32, features: RingFeatures) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_clamp()
        .setup_cqsize(entries.saturating_mul(4));
    if features.single_issuer {
        builder.setup_single_issuer();
    }
    if features.defer_taskrun {
        builder.setup_defer_taskrun();
    }
    if features.coop_taskrun {
        builder.setup_coop_taskrun().setup_taskrun_flag();
    }
    if features.submit_all {
        builder.setup_submit_all();
    }
    if features.no_sqarray {
        builder.setup_no_sqarray();
    }
    builder.build(entries)
}

fn register_files(uring: &IoUring, files: u32) -> Result<(), RingError> {
    uring
        .submitter()
        .register_files_sparse(files)
        .map_err(|error| RingError::at_files(error, files, soft_limit(Resource::Nofile)))
}

/// An arena in pieces that are not too large for a registered buffer.
fn pieces(arena: &Arc<Arena>) -> Vec<libc::iovec> {
    let base = arena.base().as_ptr();
    (0..arena.len())
        .step_by(LARGEST_FIXED_BUFFER)
        .map(|offset| libc::iovec {
            iov_base: base.wrapping_add(offset).cast(),
            iov_len: LARGEST_FIXED_BUFFER.min(arena.len() - offset),
        })
        .collect()
}

/// The piece of an arena that has all of `len` bytes from offset `start`.
fn piece_of(start: u64, len: u32, arena_len: u64) -> Option<u16> {
    let piece = LARGEST_FIXED_BUFFER as u64;
    let end = start.checked_add(u64::from(len.max(1)))?;
    let index = start / piece;
    if end > arena_len || (end - 1) / piece != index {
        return None;
    }
    u16::try_from(index).ok()
}

fn soft_limit(resource: Resource) -> u64 {
    getrlimit(resource).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
