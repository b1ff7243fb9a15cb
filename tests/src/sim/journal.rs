//! What happened, in order: both sides and the disk write it, the checkers read it.

use std::cell::RefCell;
use std::rc::Rc;

/// What a command is to do. Blocks are counted in logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Read { lba: u64, blocks: u64 },
    Write { lba: u64, blocks: u64 },
    Other,
}

/// How a command ended for its initiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Good,
    Failed,
    Aborted,
    /// A reset was answered that went by another channel. Whether it was before or after the command, nobody knows.
    Overtaken,
    /// Its channel is gone.
    Lost,
}

/// The commands that a task management request is about, besides the logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One command of the nexus.
    Task(u64),
    /// All commands of the nexus.
    Nexus,
    /// Everybody's.
    Everybody,
    /// Everybody's, on every logical unit.
    Target,
    Nothing,
}

/// Something that happened. `op` is a command of any initiator, `link` an attempt to connect: both never come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// An initiator sent a command.
    Submitted {
        op: u64,
        link: u32,
        tag: u64,
        lun: u8,
        work: Work,
    },
    /// A read brought these writes' blocks; `None` is no whole block of its place.
    Fetched { op: u64, blocks: Vec<Option<u64>> },
    /// An initiator knows how its command ended.
    Ended { op: u64, end: End },
    /// A response reached an initiator.
    Responded { link: u32, tag: u64 },
    /// An initiator waited too long for its command.
    TimedOut { op: u64 },
    /// The target has accepted a login.
    Opened { link: u32, nexus: u32 },
    /// The target's core forgot a channel.
    Closed { link: u32 },
    /// A command reached the target's core.
    Arrived { link: u32, exchange: u32, tag: u64 },
    /// The core answered a command.
    Finished { link: u32, exchange: u32 },
    /// The core ended a command without an answer.
    Stopped { link: u32, exchange: u32 },
    /// A task management request reached the target's core.
    ManagementArrived {
        link: u32,
        exchange: u32,
        lun: u8,
        scope: Scope,
    },
    /// The core answered a task management request, and did it or refused.
    ManagementFinished {
        link: u32,
        exchange: u32,
        is_done: bool,
    },
    /// The disk changed blocks.
    Applied {
        lun: u8,
        lba: u64,
        blocks: u64,
        op: u64,
    },
}

#[derive(Debug, Default)]
struct Pages {
    entries: Vec<Entry>,
    ops: u64,
    links: u32,
}

/// One journal, held by everybody who writes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Rc<RefCell<Pages>>);

impl Journal {
    pub(crate) fn write(&self, entry: Entry) {
        self.0.borrow_mut().entries.push(entry);
    }

    pub(crate) fn next_op(&self) -> u64 {
        let mut pages = self.0.borrow_mut();
        pages.ops += 1;
        pages.ops
    }

    /// Fits the port number of a connection request, which is how the target learns it.
    pub(crate) fn next_link(&self) -> u32 {
        let mut pages = self.0.borrow_mut();
        pages.links += 1;
        assert!(
            pages.links < 0xffff,
            "too many attempts to connect for one run"
        );
        pages.links
    }

    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.0.borrow_mut().entries)
    }
}
