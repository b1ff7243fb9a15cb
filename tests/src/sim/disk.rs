//! A model disk behind the core's `Backend`: as slow and as faulty as the seed wants.
//!
//! An operation takes effect at one moment between its arrival and its completion, block by block; a write that fails
//! or is cancelled may have changed its first blocks. Every block that changes goes to the journal.

use std::collections::{BTreeMap, VecDeque};

use iobuf::Buf;
use target_core::backend::{
    Backend, BlockCompletion, BlockError, BlockErrorKind, BlockOperation, BlockRequest, TaskId,
};

use super::block;
use super::journal::{Entry, Journal};
use super::random::Random;
use super::scenario::DiskHabits;

const ERRORS: [BlockErrorKind; 4] = [
    BlockErrorKind::Medium,
    BlockErrorKind::NoSpace,
    BlockErrorKind::Busy,
    BlockErrorKind::TimedOut,
];

#[derive(Debug)]
struct Running {
    request: BlockRequest,
    error: Option<BlockErrorKind>,
    /// It takes effect when it comes, not when it completes.
    is_early: bool,
}

#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) habits: DiskHabits,
    pub(crate) now_us: u64,
    block_size: usize,
    media: Vec<Vec<u8>>,
    random: Random,
    journal: Journal,
    /// By the time of completion, then in the order of arrival.
    running: BTreeMap<(u64, u64), Running>,
    ended: VecDeque<BlockCompletion>,
    arrivals: u64,
}

impl Disk {
    /// One medium for each size in blocks; their numbers are places in the list.
    pub(crate) fn new(
        habits: DiskHabits,
        block_size: u32,
        sizes: &[u64],
        random: Random,
        journal: Journal,
    ) -> Self {
        let block_size = block_size as usize;
        let medium = |blocks: &u64| vec![0; *blocks as usize * block_size];
        Self {
            habits,
            now_us: 0,
            block_size,
            media: sizes.iter().map(medium).collect(),
            random,
            journal,
            running: BTreeMap::new(),
            ended: VecDeque::new(),
            arrivals: 0,
        }
    }

    pub(crate) fn next_completion(&self) -> Option<u64> {
        let ended = self.ended.front().map(|_| self.now_us);
        let running = self.running.first_key_value().map(|((at, _), _)| *at);
        ended.or(running)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.running.len() + self.ended.len()
    }

    /// Who wrote each block of a medium.
    pub(crate) fn writers(&self, medium: usize) -> Vec<Option<u64>> {
        let blocks = self.media[medium].chunks(self.block_size);
        (0..)
            .zip(blocks)
            .map(|(lba, b)| block::writer(b, lba))
            .collect()
    }

    /// The first `bytes` of the operation take effect.
    fn apply(&mut self, request: &mut BlockRequest, bytes: usize) {
        let medium = request.medium.0 as usize;
        match &mut request.operation {
            BlockOperation::Read { offset, buf } => {
                let start = *offset as usize;
                buf[..bytes].copy_from_slice(&self.media[medium][start..start + bytes]);
            }
            BlockOperation::Write { offset, buf, .. } => {
                let start = *offset as usize;
                self.media[medium][start..start + bytes].copy_from_slice(&buf[..bytes]);
                let lba = (start / self.block_size) as u64;
                let blocks = (lba..).zip(buf[..bytes].chunks(self.block_size));
                let mut writers = blocks.map(|(lba, b)| block::writer(b, lba));
                if let Some(op) = writers.next() {
                    let is_whole = op.is_some() && writers.all(|writer| writer == op);
                    assert!(
                        is_whole,
                        "what reaches block {lba} of medium {medium} is broken"
                    );
                    self.journal.write(Entry::Applied {
                        lun: medium as u8,
                        lba,
                        blocks: (bytes / self.block_size) as u64,
                        op: op.unwrap_or(0),
                    });
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, mut running: Running, error: Option<BlockErrorKind>) {
        let len = transfer_len(&running.request.operation);
        if !running.is_early {
            let part = self.random.below((len / self.block_size) as u64 + 1);
            let bytes = error.map_or(len, |_| part as usize * self.block_size);
            self.apply(&mut running.request, bytes);
        }
        let (offset, buf) = into_parts(running.request.operation);
        let error = error.map(|kind| BlockError {
            kind,
            offset,
            errno: 5,
        });
        self.ended.push_back(BlockCompletion {
            task: running.request.task,
            buf,
            result: error.map_or(Ok(()), Err),
        });
    }
}

impl Backend for Disk {
    fn submit(&mut self, mut request: BlockRequest) {
        let habits = self.habits;
        let random = &mut self.random;
        let mut takes_us = 1 + random.below(habits.latency_us);
        if random.chance(habits.stalls) {
            takes_us += random.below(habits.stall_us);
        }
        let error = random.chance(habits.errors).then(|| random.pick(&ERRORS));
        let is_early = error.is_none() && random.chance(300);
        if is_early {
            let len = transfer_len(&request.operation);
            self.apply(&mut request, len);
        }
        self.arrivals += 1;
        let key = (self.now_us + takes_us, self.arrivals);
        let running = Running {
            request,
            error,
            is_early,
        };
        self.running.insert(key, running);
    }

    fn poll(&mut self) -> Option<BlockCompletion> {
        while let Some(next) = self.running.first_entry() {
            if next.key().0 > self.now_us {
                break;
            }
            let running = next.remove();
            let error = running.error;
            self.finish(running, error);
        }
        self.ended.pop_front()
    }

    /// Sometimes it is too late, or the medium does not care.
    fn cancel(&mut self, task: TaskId) {
        let found = self
            .running
            .iter()
            .find(|(_, running)| running.request.task == task);
        let Some((&key, _)) = found else { return };
        if self.random.chance(400)
            && let Some(running) = self.running.remove(&key)
        {
            self.finish(running, Some(BlockErrorKind::Cancelled));
        }
    }
}

fn transfer_len(operation: &BlockOperation) -> usize {
    match operation {
        BlockOperation::Read { buf, .. } | BlockOperation::Write { buf, .. } => buf.len(),
        _ => 0,
    }
}

fn into_parts(operation: BlockOperation) -> (u64, Option<Buf>) {
    match operation {
        BlockOperation::Read { offset, buf } | BlockOperation::Write { offset, buf, .. } => {
            (offset, Some(buf))
        }
        BlockOperation::Unmap { offset, .. } | BlockOperation::WriteZeroes { offset, .. } => {
            (offset, None)
        }
        BlockOperation::Flush => (0, None),
    }
}
