//! A read sees the last acknowledged write of each block, or one that was under way meanwhile; and so does the disk.

use std::collections::{BTreeMap, BTreeSet};

use super::View;
use crate::sim::journal::{End, Entry, Work};

/// A command, and when it was sent and over, counted in journal entries. A write is over when it cannot change the
/// medium behind a later one any more.
#[derive(Debug)]
struct Command {
    link: u32,
    lun: u8,
    work: Work,
    sent: u64,
    over: Option<u64>,
    /// Of a read: what its blocks could hold when it was sent.
    could_hold: Vec<BTreeSet<u64>>,
}

#[derive(Debug, Default)]
pub(super) struct Data {
    clock: u64,
    commands: BTreeMap<u64, Command>,
    /// Writes whose bytes a block may hold; 0 is none at all.
    may_hold: BTreeMap<(u8, u64), BTreeSet<u64>>,
    lost: Vec<u64>,
    closed: BTreeSet<u32>,
}

impl Data {
    pub(super) fn read(&mut self, entry: &Entry) {
        self.clock += 1;
        match entry {
            &Entry::Submitted {
                op,
                link,
                lun,
                work,
                ..
            } => self.send(op, link, lun, work),
            Entry::Fetched { op, blocks } => self.fetch(*op, blocks),
            &Entry::Ended { op, end } => self.end(op, end),
            &Entry::Closed { link } => self.close(link),
            _ => {}
        }
    }

    fn holds(&mut self, lun: u8, lba: u64) -> &mut BTreeSet<u64> {
        let nobody = || BTreeSet::from([0]);
        self.may_hold.entry((lun, lba)).or_insert_with(nobody)
    }

    fn send(&mut self, op: u64, link: u32, lun: u8, work: Work) {
        let mut could_hold = Vec::new();
        match work {
            Work::Write { lba, blocks } => {
                for lba in lba..lba + blocks {
                    self.holds(lun, lba).insert(op);
                }
            }
            Work::Read { lba, blocks } => {
                could_hold.extend((lba..lba + blocks).map(|lba| self.holds(lun, lba).clone()));
            }
            Work::Other => {}
        }
        let command = Command {
            link,
            lun,
            work,
            sent: self.clock,
            over: None,
            could_hold,
        };
        self.commands.insert(op, command);
    }

    fn fetch(&mut self, op: u64, blocks: &[Option<u64>]) {
        let Some(read) = self.commands.get(&op) else {
            return;
        };
        let Work::Read { lba, .. } = read.work else {
            return;
        };
        for ((lba, found), could_hold) in (lba..).zip(blocks).zip(&read.could_hold) {
            let lun = read.lun;
            let found =
                found.unwrap_or_else(|| panic!("read {op}: block {lba} of LUN {lun} is torn"));
            let later = self.commands.get(&found);
            let is_concurrent = later.is_some_and(|write| write.sent > read.sent);
            assert!(
                could_hold.contains(&found) || is_concurrent,
                "read {op}: block {lba} of LUN {lun} holds write {found}, one of {could_hold:?} was expected"
            );
        }
    }

    fn end(&mut self, op: u64, end: End) {
        let clock = self.clock;
        let Some(command) = self.commands.get_mut(&op) else {
            return;
        };
        if matches!(end, End::Lost | End::Overtaken) && !self.closed.contains(&command.link) {
            // It may still be on its way to the target.
            return self.lost.push(op);
        }
        command.over = Some(clock);
        command.could_hold.clear();
        if end == End::Good {
            self.acknowledge(op);
        }
    }

    /// What was over before this write was sent is overwritten.
    fn acknowledge(&mut self, op: u64) {
        let write = &self.commands[&op];
        let Work::Write { lba, blocks } = write.work else {
            return;
        };
        let (lun, sent) = (write.lun, write.sent);
        let commands = &self.commands;
        for lba in lba..lba + blocks {
            if let Some(holds) = self.may_hold.get_mut(&(lun, lba)) {
                holds.retain(|old| {
                    let over = commands.get(old).map_or(Some(0), |old| old.over);
                    over.is_none_or(|over| over > sent) || *old == op
                });
            }
        }
    }

    /// The core has forgotten the channel: what it left behind, it orders before later writes to the same blocks.
    fn close(&mut self, link: u32) {
        self.closed.insert(link);
        let clock = self.clock;
        let commands = &mut self.commands;
        self.lost.retain(|op| {
            let command = commands.get_mut(op).filter(|c| c.link == link);
            command.map(|command| command.over = Some(clock)).is_none()
        });
    }

    pub(super) fn look_at_rest(&self, view: &View<'_>) {
        for lun in 0..view.scenario.luns.len() {
            for (lba, writer) in (0..).zip(view.target.disk.writers(lun)) {
                let untouched = writer == Some(0);
                let expected = self.may_hold.get(&(lun as u8, lba));
                let is_right = expected.map_or(untouched, |expected| {
                    writer.is_some_and(|writer| expected.contains(&writer))
                });
                assert!(
                    is_right,
                    "block {lba} of LUN {lun} holds {writer:?}, one of {expected:?} was expected"
                );
            }
        }
    }
}
