//! Tasks end: with an outcome, aborted, or with nobody who waits for them.

use iobuf::Buf;

use crate::backend::{BlockCompletion, TaskId};
use crate::counters::LunCounters;
use crate::ending::Ending;
use crate::opcode::{Data, Function, Row};
use crate::request::{LOGICAL_UNIT_NOT_SUPPORTED, Work};
use crate::sbc::block_error;
use crate::sense::{AdditionalSense, Sense, SenseKey};
use crate::status::Status;
use crate::target::progress::view;
use crate::target::{Next, Target};
use crate::task::{Audience, Origin, State, Task};

/// What an initiator is told of something that cannot be, rather than nothing.
pub(super) const INTERNAL_TARGET_FAILURE: Sense = Sense::new(
    SenseKey::AbortedCommand,
    AdditionalSense::INTERNAL_TARGET_FAILURE,
);

/// What an initiator is told of a write whose data did not arrive whole.
const DATA_LOST: Sense = Sense::new(
    SenseKey::AbortedCommand,
    AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR,
);

impl Target {
    /// The buffer of a [`Next::PullDataOut`] is filled. Comes too late, and only gives the buffer back, when the
    /// command's connection has gone meanwhile.
    pub fn data_out_ready(&mut self, task: TaskId, buf: Buf) {
        self.handle_data_out(task, buf);
        self.settle();
    }

    /// What a [`Next::PullDataOut`] asked for does not come: the command ends as one whose data were damaged on their way
    /// (SPC-4 table D.1; RFC 7143 11.4.7.2 has all transports' use of it). Comes too late, as [`Self::data_out_ready`] may.
    pub fn data_out_lost(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get(id)
            && matches!(task.state, State::Pulling { .. })
        {
            match task.audience {
                Audience::TaskManagement => self.finish_aborted(id),
                _ => self.finish(id, Ending::refused(DATA_LOST)),
            }
        }
        self.settle();
    }

    fn handle_data_out(&mut self, id: TaskId, mut buf: Buf) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let State::Pulling { extent, durable } = task.state else {
            return;
        };
        if task.audience == Audience::TaskManagement {
            return self.finish_aborted(id);
        }
        if !self.is_still_mapped(task) {
            return self.finish(id, Ending::refused(LOGICAL_UNIT_NOT_SUPPORTED));
        }
        let len = extent.write_len(task.origin.data_out_len);
        // The window was on what came last; now it is on everything.
        if !buf.set_window(0, len as usize) {
            return self.finish(id, Ending::refused(INTERNAL_TARGET_FAILURE));
        }
        if let Some(task) = self.tasks.get_mut(id) {
            task.data_out = Some(buf);
            task.state = State::Received;
        }
        self.go_on(id, Work::Write { extent, durable });
    }

    /// The operation of a [`Next::Execute`] has ended.
    pub fn complete(&mut self, completion: BlockCompletion) {
        self.handle_completion(completion);
        self.settle();
    }

    fn handle_completion(&mut self, completion: BlockCompletion) {
        let id = completion.task;
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        let State::Executing { work, .. } = task.state else {
            return;
        };
        match task.audience {
            Audience::Initiator => {
                let ending = ending(work, &task.origin, completion);
                self.finish(id, ending);
            }
            Audience::TaskManagement => self.finish_aborted(id),
            Audience::Nobody => self.forget(id),
        }
    }

    /// Whether the task's nexus still sees the task's logical unit behind the task's number.
    pub(super) fn is_still_mapped(&self, task: &Task) -> bool {
        let nexus = self.nexuses.get(task.origin.nexus.0);
        nexus.is_some_and(|nexus| view(&self.units, nexus, &nexus.id, task).is_some())
    }

    /// The task ends with an outcome.
    #[inline(always)]
    pub(super) fn finish(&mut self, id: TaskId, ending: Ending) {
        if let Some((origin, row)) = self.remove(id) {
            self.answer(&origin, Some(row), ending);
        }
    }

    /// The task has stopped because task management wanted it to.
    pub(super) fn finish_aborted(&mut self, id: TaskId) {
        self.count_stopped(id);
        let Some((origin, _)) = self.remove(id) else {
            return;
        };
        self.totals.aborted += 1;
        let (channel, exchange) = (origin.channel, origin.exchange);
        self.push(origin.nexus, Next::Aborted { channel, exchange });
        self.answer_requests();
    }

    /// The task has stopped, and nobody hears of it but task management.
    pub(super) fn forget(&mut self, id: TaskId) {
        self.count_stopped(id);
        self.remove(id);
        self.answer_requests();
    }

    /// The only place where commands are answered.
    #[inline(always)]
    pub(super) fn answer(&mut self, origin: &Origin, row: Option<&'static Row>, ending: Ending) {
        self.totals.answered += 1;
        let nexus = self.nexuses.get_mut(origin.nexus.0);
        let number = origin.number;
        if let Some(mapping) = nexus.and_then(|nexus| nexus.mapping_mut(number?)) {
            count(&mut mapping.counters, origin, row, &ending);
        }
        self.push(
            origin.nexus,
            Next::Done {
                channel: origin.channel,
                exchange: origin.exchange,
                lun: number,
                outcome: ending.into_outcome(origin),
            },
        );
    }

    /// The only place where tasks leave the table.
    #[inline(always)]
    fn remove(&mut self, id: TaskId) -> Option<(Origin, &'static Row)> {
        let task = self.tasks.get(id)?;
        let (lu, left) = (task.lu, (task.origin, task.row));
        if let Some(unit) = self.units.get_mut(lu.0) {
            unit.leave_state(task.state);
            let list = match task.audience {
                Audience::Nobody => &mut unit.orphans,
                Audience::Initiator | Audience::TaskManagement => {
                    unit.task_set.leave(task.attribute);
                    &mut unit.task_set.tasks
                }
            };
            self.tasks.in_unit.remove(list, id.index);
            if unit.becomes_unsettled() {
                self.unsettled.push(lu);
            }
            if unit.is_over() {
                self.units.remove(lu.0);
            }
        }
        self.tasks.remove(id);
        Some(left)
    }

    /// Nobody waits any more for the task, which is in the back end.
    pub(super) fn orphan(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let Some(unit) = self.units.get_mut(task.lu.0) else {
            return;
        };
        if std::mem::replace(&mut task.audience, Audience::Nobody) == Audience::Nobody {
            return;
        }
        unit.task_set.leave(task.attribute);
        let lu = task.lu;
        self.tasks
            .in_unit
            .remove(&mut unit.task_set.tasks, id.index);
        self.tasks.in_unit.push_back(&mut unit.orphans, id.index);
        if unit.becomes_unsettled() {
            self.unsettled.push(lu);
        }
    }
}

/// What the end of an operation means for its command.
#[inline]
fn ending(work: Work, origin: &Origin, completion: BlockCompletion) -> Ending {
    let refusal = completion
        .result
        .err()
        .map(|error| block_error::refusal(error, work));
    match work {
        Work::Read(extent) if refusal.is_none() => {
            let mut buf = completion.buf;
            if let Some(buf) = &mut buf {
                buf.truncate(origin.data_in_len as usize);
            }
            Ending {
                refusal: buf.is_none().then(|| INTERNAL_TARGET_FAILURE.into()),
                data_in: buf,
                data_in_bytes: extent.len,
                ..Ending::default()
            }
        }
        // Whether it could be written or not, the data was transferred.
        Work::Write { extent, .. } => Ending {
            refusal,
            data_out_bytes: extent.len,
            ..Ending::default()
        },
        _ => Ending {
            refusal,
            ..Ending::default()
        },
    }
}

#[inline]
fn count(counters: &mut LunCounters, origin: &Origin, row: Option<&'static Row>, ending: &Ending) {
    let moves_blocks = row.filter(|row| matches!(row.function, Function::Operate(_)));
    if ending.status() != Status::GOOD {
        counters.errors += 1;
        return;
    }
    match moves_blocks.map(|row| row.data) {
        Some(Data::In) => {
            counters.reads += 1;
            counters.read_bytes += u64::from(ending.data_in_bytes.min(origin.data_in_len));
        }
        Some(Data::Out) => {
            counters.writes += 1;
            counters.write_bytes += u64::from(ending.data_out_bytes.min(origin.data_out_len));
        }
        _ => counters.other += 1,
    }
}
