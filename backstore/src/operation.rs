//! One request on its way: what it asks of the kernel next, and what an answer means for it.
//!
//! Pure but for copying through bounce buffers: an operation gives a [`Step`], the ring does it, and the
//! result leads to the next step until nothing is left. At most one step of an operation is in the kernel.

use std::rc::Rc;

use iobuf::{Buf, Pool};
use target_core::backend::{BlockOperation, BlockRequest, MediumId, TaskId};

use crate::descriptor::Limits;
use crate::engine::EngineCounters;
use crate::medium::extent;

/// The most that one read or write step moves.
const LARGEST_STEP_BYTES: u64 = 1 << 30;

/// How often an interrupted step is tried again before the initiator is told to.
const RETRIES: u8 = 8;

/// What the kernel is asked to do. Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Read {
        address: u64,
        len: u32,
        offset: u64,
    },
    Write {
        address: u64,
        len: u32,
        offset: u64,
        durable: bool,
    },
    Sync,
    PunchHole {
        offset: u64,
        len: u64,
    },
    ZeroRange {
        offset: u64,
        len: u64,
    },
    Discard {
        offset: u64,
        len: u64,
    },
}

/// What a store is believed to do, until it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Abilities {
    pub(crate) punch_hole: bool,
    pub(crate) zero_range: bool,
    pub(crate) discard: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This goes to the kernel.
    Issue(Step),
    /// A bounce buffer is needed and none is free.
    NoBounce,
    /// The end was asked for before all was done; nothing is issued.
    Cancelled,
    /// All is done, whether the end was asked for or not.
    Finished,
}

/// Why an operation ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The kernel said so.
    Errno(i32),
    /// The store ended, or moved nothing.
    Ended,
}

/// What steps are made with.
pub(crate) struct Means<'a> {
    pub(crate) limits: Limits,
    pub(crate) bounce: &'a Pool,
    pub(crate) counters: &'a mut EngineCounters,
}

#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) task: TaskId,
    pub(crate) medium: MediumId,
    /// Somebody asked for the end of it.
    pub(crate) cancelled: bool,
    work: Work,
    offset: u64,
    len: u64,
    done: u64,
    /// A flush is still to follow.
    sync_due: bool,
    bounce: Option<Buf>,
    issued: Option<Step>,
    abilities: Abilities,
    retries_left: u8,
}

#[derive(Debug)]
enum Work {
    Read(Buf),
    Write {
        buf: Buf,
        durable: bool,
    },
    Flush,
    Unmap,
    /// The zeroes are held by every operation that may write them, so that they outlive the ring's use.
    Zero {
        unmap: bool,
        zeroes: Rc<Buf>,
    },
}

impl Operation {
    pub(crate) fn new(request: BlockRequest, abilities: Abilities, zeroes: &Rc<Buf>) -> Self {
        let (offset, len, _) = extent(&request.operation);
        let (work, sync_due) = match request.operation {
            BlockOperation::Read { buf, .. } => (Work::Read(buf), false),
            BlockOperation::Write { buf, durable, .. } => (Work::Write { buf, durable }, false),
            BlockOperation::Flush => (Work::Flush, true),
            BlockOperation::Unmap { .. } => (Work::Unmap, false),
            BlockOperation::WriteZeroes { durable, unmap, .. } => {
                let zeroes = Rc::clone(zeroes);
                (Work::Zero { unmap, zeroes }, durable)
            }
        };
        Self {
            task: request.task,
            medium: request.medium,
            cancelled: false,
            work,
            offset,
            len,
            done: 0,
            sync_due,
            bounce: None,
            issued: None,
            abilities,
            retries_left: RETRIES,
        }
    }

    /// The next step, which then counts as issued.
    pub(crate) fn next_step(&mut self, means: &mut Means<'_>) -> Next {
        let next = match (self.done < self.len, self.sync_due) {
            (false, false) => Next::Finished,
            _ if self.cancelled => Next::Cancelled,
            (true, _) => self.data_step(means),
            (false, true) => Next::Issue(Step::Sync),
        };
        if let Next::Issue(step) = next {
            self.issued = Some(step);
        }
        next
    }

    fn data_step(&mut self, means: &mut Means<'_>) -> Next {
        match self.work {
            Work::Read(_) | Work::Write { .. } => self.transfer(means),
            Work::Unmap => self.unmap(),
            Work::Zero { unmap, ref zeroes } => Next::Issue(self.zero(unmap, zeroes)),
            Work::Flush => Next::Finished,
        }
    }

    fn transfer(&mut self, means: &mut Means<'_>) -> Next {
        let rest = (self.len - self.done).min(LARGEST_STEP_BYTES);
        let (Work::Read(buf) | Work::Write { buf, .. }) = &self.work else {
            return Next::Finished;
        };
        let address = buf.address() + self.done;
        let aligned = address.is_multiple_of(means.limits.memory_align);
        if aligned && self.bounce.is_none() {
            return Next::Issue(self.transfer_step(address, rest));
        }
        self.transfer_bounced(rest, means)
    }

    /// Direct I/O does not take the memory: a piece goes through a buffer that it does take.
    fn transfer_bounced(&mut self, rest: u64, means: &mut Means<'_>) -> Next {
        if self.bounce.is_none() {
            let largest = means.bounce.largest() as u64;
            let piece = rest.min(largest - largest % means.limits.offset_align);
            self.bounce = means.bounce.take(piece as usize);
            means.counters.bounced += u64::from(self.bounce.is_some());
        }
        let Some(bounce) = &mut self.bounce else {
            return Next::NoBounce;
        };
        let piece = rest.min(bounce.len() as u64);
        if let Work::Write { buf, .. } = &self.work {
            copy(bounce, 0, buf, self.done, piece);
        }
        let address = bounce.address();
        Next::Issue(self.transfer_step(address, piece))
    }

    fn transfer_step(&self, address: u64, len: u64) -> Step {
        let offset = self.offset + self.done;
        // At most `LARGEST_STEP_BYTES`.
        let len = len as u32;
        match self.work {
            Work::Write { durable, .. } => Step::Write {
                address,
                len,
                offset,
                durable,
            },
            _ => Step::Read {
                address,
                len,
                offset,
            },
        }
    }

    /// A range that cannot be unmapped stays as it is, which is what an unmap may do.
    fn unmap(&mut self) -> Next {
        let (offset, len) = (self.offset, self.len);
        if self.abilities.punch_hole {
            return Next::Issue(Step::PunchHole { offset, len });
        }
        if self.abilities.discard {
            return Next::Issue(Step::Discard { offset, len });
        }
        self.done = self.len;
        Next::Finished
    }

    fn zero(&self, unmap: bool, zeroes: &Buf) -> Step {
        let (offset, len) = (self.offset + self.done, self.len - self.done);
        if unmap && self.abilities.punch_hole {
            return Step::PunchHole { offset, len };
        }
        if self.abilities.zero_range {
            return Step::ZeroRange { offset, len };
        }
        Step::Write {
            address: zeroes.address(),
            len: len.min(zeroes.len() as u64) as u32,
            offset,
            durable: false,
        }
    }

    /// Takes the result of the issued step. What the store turns out not to do is also noted in `known`.
    pub(crate) fn handle_result(
        &mut self,
        result: i32,
        known: &mut Abilities,
        means: &mut Means<'_>,
    ) -> Result<(), Failure> {
        let Some(step) = self.issued.take() else {
            return Ok(());
        };
        let Ok(count) = u64::try_from(result) else {
            return self.handle_errno(step, result.saturating_neg(), known);
        };
        match step {
            Step::Read { len, .. } | Step::Write { len, .. } => {
                self.handle_moved(count.min(u64::from(len)), u64::from(len), means)
            }
            Step::Sync => {
                self.sync_due = false;
                Ok(())
            }
            Step::PunchHole { .. } | Step::ZeroRange { .. } | Step::Discard { .. } => {
                self.done = self.len;
                Ok(())
            }
        }
    }

    /// A short transfer goes on where it stopped, at the last offset that direct I/O takes.
    fn handle_moved(
        &mut self,
        count: u64,
        asked: u64,
        means: &mut Means<'_>,
    ) -> Result<(), Failure> {
        let count = if count == asked {
            count
        } else {
            means.counters.short_transfers += 1;
            count - count % means.limits.offset_align
        };
        if count == 0 {
            return Err(Failure::Ended);
        }
        if let (Work::Read(buf), Some(bounce)) = (&mut self.work, &self.bounce) {
            copy(buf, self.done, bounce, 0, count);
        }
        self.done += count;
        Ok(())
    }

    fn handle_errno(
        &mut self,
        step: Step,
        errno: i32,
        known: &mut Abilities,
    ) -> Result<(), Failure> {
        let interrupted = matches!(errno, libc::EINTR | libc::EAGAIN);
        if interrupted && self.cancelled {
            return Err(Failure::Errno(libc::ECANCELED));
        }
        if interrupted && self.retries_left > 0 {
            self.retries_left -= 1;
            return Ok(());
        }
        let never = matches!(errno, libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOTTY);
        // EINVAL: not this range, for a device whose blocks are larger than ours.
        if (never || errno == libc::EINVAL) && self.abilities.lose(step) {
            if never {
                known.lose(step);
            }
            return Ok(());
        }
        Err(Failure::Errno(errno))
    }

    /// First byte on the medium that is not known to be done.
    pub(crate) fn position(&self) -> u64 {
        self.offset + self.done
    }

    /// End of the range on the medium.
    pub(crate) fn end(&self) -> u64 {
        self.offset + self.len
    }

    /// True for a read, whose early end tells where the store ends.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.work, Work::Read(_))
    }

    /// True while a step is with the ring.
    pub(crate) fn is_issued(&self) -> bool {
        self.issued.is_some()
    }

    pub(crate) fn holds_bounce(&self) -> bool {
        self.bounce.is_some()
    }

    /// The initiator's buffer, when it has one.
    pub(crate) fn into_buf(self) -> Option<Buf> {
        match self.work {
            Work::Read(buf) | Work::Write { buf, .. } => Some(buf),
            Work::Flush | Work::Unmap | Work::Zero { .. } => None,
        }
    }
}

impl Abilities {
    /// Notes that a step cannot be done; false when there is no other way to do it.
    fn lose(&mut self, step: Step) -> bool {
        match step {
            Step::PunchHole { .. } => self.punch_hole = false,
            Step::ZeroRange { .. } => self.zero_range = false,
            Step::Discard { .. } => self.discard = false,
            Step::Read { .. } | Step::Write { .. } | Step::Sync => return false,
        }
        true
    }
}

/// Copies `len` bytes; nothing when either window is shorter, which its maker has excluded.
fn copy(to: &mut [u8], to_offset: u64, from: &[u8], from_offset: u64, len: u64) {
    let range = |offset: u64| offset as usize..(offset + len) as usize;
    if let (Some(to), Some(from)) = (to.get_mut(range(to_offset)), from.get(range(from_offset))) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests;
