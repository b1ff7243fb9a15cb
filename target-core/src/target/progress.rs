//! A task goes from state to state: it waits for what it needs, then its data moves.
//!
//! What every command passes is inlined by force, here and where it ends: the steps hand large values to each other, and a
//! call for each step costs more than the steps.

use iobuf::{Buf, Pool};

use crate::backend::{BlockOperation, BlockRequest, TaskId};
use crate::cdb::Cdb;
use crate::ending::Ending;
use crate::nexus::{LuId, Nexus, NexusId, TransportId};
use crate::opcode::Function;
use crate::request::{Addressed, Extent, LOGICAL_UNIT_NOT_SUPPORTED, Refusal, UnitView, Work};
use crate::slab::Slab;
use crate::target::completion::INTERNAL_TARGET_FAILURE;
use crate::target::{Next, Target, page};
use crate::task::{State, Task};
use crate::task_set::Older;
use crate::unit::Unit;

impl Target {
    /// An enabled task begins: its CDB is checked, then what is left to do is begun.
    #[inline(always)]
    pub(super) fn start(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        match self.work_of(task) {
            Ok(work) => self.go_on(id, work),
            Err(refusal) => self.finish(id, Ending::refused(refusal)),
        }
    }

    #[inline(always)]
    fn work_of(&self, task: &Task) -> Result<Work, Refusal> {
        let Function::Operate(operate) = task.row.function else {
            return Ok(Work::Answer);
        };
        let nexus = self.nexuses.get(task.origin.nexus.0);
        let view = nexus.and_then(|nexus| view(&self.units, nexus, &nexus.id, task));
        let view = view.ok_or(LOGICAL_UNIT_NOT_SUPPORTED)?;
        operate(Cdb::new(&task.cdb), &view)
    }

    /// What is left to do is begun, or waited with until it can be.
    #[inline(always)]
    pub(super) fn go_on(&mut self, id: TaskId, work: Work) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        if self.waits_for_orphan(task, work) {
            return self.wait_for_orphan(id, work);
        }
        let buf = match self.buffer_len(task, work) {
            0 => None,
            len => match self.take_buffer(task.origin.nexus, len) {
                Some(buf) => Some(buf),
                None => return self.wait_for_buffer(id, work),
            },
        };
        self.run(id, work, buf);
    }

    /// Whether an orphaned write to the same bytes is still in the back end.
    #[inline]
    fn waits_for_orphan(&self, task: &Task, work: Work) -> bool {
        let Some(unit) = self.units.get(task.lu.0) else {
            return false;
        };
        !unit.orphans.is_empty()
            && work
                .extent()
                .is_some_and(|extent| self.is_orphaned(unit, extent))
    }

    fn is_orphaned(&self, unit: &Unit, extent: Extent) -> bool {
        let mut orphans = self.tasks.in_unit.iter(&unit.orphans);
        orphans.any(|index| {
            let orphan = self.tasks.at(index);
            let written = orphan.and_then(|(_, orphan)| orphan.write_extent());
            written.is_some_and(|written| written.overlaps(extent))
        })
    }

    #[cold]
    fn wait_for_orphan(&mut self, id: TaskId, work: Work) {
        self.totals.orphan_waits += 1;
        self.tasks.set_state(id, State::WaitingForOrphan(work));
        let task = self.tasks.get(id);
        if let Some(unit) = task.and_then(|task| self.units.get_mut(task.lu.0)) {
            unit.waiting_for_orphan += 1;
        }
    }

    /// Who comes later does not go first, even when there is room for a small one.
    #[inline(always)]
    fn take_buffer(&self, nexus: NexusId, len: usize) -> Option<Buf> {
        match self.waits_for_buffer() {
            true => None,
            false => self.share_of(nexus).take(len),
        }
    }

    /// Where the buffers of a nexus come from. What it left behind when it was closed is nobody's.
    #[inline(always)]
    fn share_of(&self, nexus: NexusId) -> &Pool {
        let nexus = self.nexuses.get(nexus.0);
        nexus.map_or(&self.data, |nexus| &nexus.data)
    }

    #[cold]
    fn wait_for_buffer(&mut self, id: TaskId, work: Work) {
        self.totals.buffer_waits += 1;
        self.tasks.enter_buffer_queue(id, work);
    }

    /// The task that gets the next buffer, and how long that has to be: the one that has waited longest, past those whose nexus
    /// holds its share. Who takes nothing of what it asked for keeps nobody else waiting.
    pub(super) fn next_for_buffer(&self) -> Option<(TaskId, Work, NexusId, usize)> {
        let mut waiting = self.tasks.waiting_for_buffer();
        waiting.find_map(|(id, task, work)| {
            let len = self.buffer_len(task, work);
            let share = self.share_of(task.origin.nexus);
            (!share.exceeds_share(len)).then_some((id, work, task.origin.nexus, len))
        })
    }

    /// Gives a buffer to who is next. False when there is no buffer, or nobody who may have one.
    pub(super) fn grant_buffer(&mut self) -> bool {
        let Some((id, work, nexus, len)) = self.next_for_buffer() else {
            return false;
        };
        let task = self.tasks.get(id);
        if task.is_some_and(|task| self.waits_for_orphan(task, work)) {
            self.tasks.leave_buffer_queue(id);
            self.wait_for_orphan(id, work);
            return true;
        }
        let Some(buf) = self.share_of(nexus).take(len) else {
            return false;
        };
        self.tasks.leave_buffer_queue(id);
        self.run(id, work, Some(buf));
        true
    }

    /// Bytes of buffer memory that the task needs.
    #[inline(always)]
    fn buffer_len(&self, task: &Task, work: Work) -> usize {
        let (data_in, data_out) = (task.origin.data_in_len, task.origin.data_out_len);
        match work {
            Work::Nothing | Work::Flush { .. } => 0,
            Work::Answer => page::buffer_len(task.row, Cdb::new(&task.cdb), data_in, &self.data),
            Work::Read(extent) => extent.read_len(data_in) as usize,
            Work::Write { extent, .. } => {
                let len = extent.write_len(data_out) as usize;
                let is_here = task.data_out.as_ref().is_some_and(|buf| buf.len() >= len);
                if is_here { 0 } else { len }
            }
        }
    }

    /// The task has the memory that it needs.
    #[inline(always)]
    fn run(&mut self, id: TaskId, work: Work, buf: Option<Buf>) {
        match work {
            Work::Answer => self.run_answer(id, buf),
            Work::Read(extent) => self.run_read(id, extent, buf),
            Work::Write { extent, durable } => self.run_write(id, extent, durable, buf),
            Work::Nothing => self.finish(id, Ending::default()),
            Work::Flush { immediate } => self.run_flush(id, immediate),
        }
    }

    fn run_answer(&mut self, id: TaskId, buf: Option<Buf>) {
        let ending = self.answer_page(id, buf).unwrap_or_else(Ending::refused);
        self.finish(id, ending);
    }

    fn answer_page(&mut self, id: TaskId, buf: Option<Buf>) -> Result<Ending, Refusal> {
        let gone = LOGICAL_UNIT_NOT_SUPPORTED;
        let task = self.tasks.get(id).ok_or(gone)?;
        let Function::Answer(function) = task.row.function else {
            return Err(INTERNAL_TARGET_FAILURE.into());
        };
        let nexus = self.nexuses.get_mut(task.origin.nexus.0).ok_or(gone)?;
        let initiator = nexus.id.clone();
        let addressed = view(&self.units, nexus, &initiator, task).ok_or(gone)?;
        let addressed = Addressed::Unit(addressed);
        let cdb = Cdb::new(&task.cdb);
        self.page.fill(function, cdb, addressed, nexus)?;
        Ok(self.page.ending(task.row, cdb, buf))
    }

    #[inline(always)]
    fn run_read(&mut self, id: TaskId, extent: Extent, buf: Option<Buf>) {
        let offset = extent.offset;
        match buf {
            Some(buf) => {
                self.execute(id, Work::Read(extent), BlockOperation::Read { offset, buf });
            }
            None => self.finish(
                id,
                Ending {
                    data_in_bytes: extent.len,
                    ..Ending::default()
                },
            ),
        }
    }

    /// Without a buffer, the data is all here or there is none.
    #[inline]
    fn run_write(&mut self, id: TaskId, extent: Extent, durable: bool, buf: Option<Buf>) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let len = extent.write_len(task.origin.data_out_len);
        match (task.data_out.take(), buf) {
            _ if len == 0 => self.finish(
                id,
                Ending {
                    data_out_bytes: extent.len,
                    ..Ending::default()
                },
            ),
            (here, Some(buf)) => self.pull(id, extent, durable, here, buf),
            (Some(mut buf), None) => {
                buf.truncate(len as usize);
                self.write(id, extent, durable, buf);
            }
            (None, None) => self.finish(id, Ending::refused(INTERNAL_TARGET_FAILURE)),
        }
    }

    /// Asks for what is not here yet.
    fn pull(&mut self, id: TaskId, extent: Extent, durable: bool, here: Option<Buf>, mut buf: Buf) {
        let offset = here.as_ref().map_or(0, |here| here.len());
        if let (Some(here), Some(front)) = (here, buf.get_mut(..offset)) {
            front.copy_from_slice(&here);
        }
        buf.advance(offset);
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        task.state = State::Pulling { extent, durable };
        let origin = task.origin;
        self.push(
            origin.nexus,
            Next::PullDataOut {
                channel: origin.channel,
                exchange: origin.exchange,
                task: id,
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                buf,
            },
        );
    }

    #[inline]
    fn write(&mut self, id: TaskId, extent: Extent, durable: bool, buf: Buf) {
        let operation = BlockOperation::Write {
            offset: extent.offset,
            buf,
            durable,
        };
        self.execute(id, Work::Write { extent, durable }, operation);
    }

    /// With IMMED the initiator is answered now; the flush goes on as nobody's.
    fn run_flush(&mut self, id: TaskId, immediate: bool) {
        let work = Work::Flush { immediate };
        self.execute(id, work, BlockOperation::Flush);
        let row_and_origin = self.tasks.get(id).map(|task| (task.row, task.origin));
        if let Some((row, origin)) = row_and_origin.filter(|_| immediate) {
            self.orphan(id);
            self.answer(&origin, Some(row), Ending::default());
        }
    }

    #[inline(always)]
    fn execute(&mut self, id: TaskId, work: Work, operation: BlockOperation) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let Some(unit) = self.units.get_mut(task.lu.0) else {
            return;
        };
        let medium = unit.medium;
        unit.in_backend += 1;
        task.state = State::Executing { work, medium };
        let request = BlockRequest {
            task: id,
            medium,
            operation,
        };
        let nexus = task.origin.nexus;
        self.push(nexus, Next::Execute(request));
    }

    /// Lets every task go on that can. Called at the end of every event; does nothing while nothing waits.
    #[inline]
    pub(super) fn settle(&mut self) {
        if !self.unsettled.is_empty() || self.waits_for_buffer() {
            self.settle_waiting();
        }
    }

    #[cold]
    fn settle_waiting(&mut self) {
        loop {
            if let Some(lu) = self.unsettled.pop() {
                self.settle_unit(lu);
            } else if !self.grant_buffer() {
                return;
            }
        }
    }

    /// Something has ended on this logical unit: its waiting tasks are looked at in order of arrival.
    fn settle_unit(&mut self, lu: LuId) {
        let Some(unit) = self.units.get_mut(lu.0) else {
            return;
        };
        unit.is_unsettled = false;
        let mut older = Older::default();
        let mut next = unit.task_set.tasks.first();
        while let Some(index) = next {
            // A task that goes on may end, but takes no other with it.
            next = self.tasks.in_unit.next(index);
            self.reconsider(lu, index, older);
            if let Some((_, task)) = self.tasks.at(index) {
                older.add(task.attribute);
            }
        }
    }

    fn reconsider(&mut self, lu: LuId, index: u32, older: Older) {
        let (Some((id, task)), Some(unit)) = (self.tasks.at(index), self.units.get(lu.0)) else {
            return;
        };
        match task.state {
            State::Dormant if unit.task_set.enables(task.attribute, older) => {
                self.leave_wait(id);
                self.start(id);
            }
            State::WaitingForOrphan(work) if !self.waits_for_orphan(task, work) => {
                self.leave_wait(id);
                self.go_on(id, work);
            }
            _ => {}
        }
    }

    fn leave_wait(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let state = std::mem::replace(&mut task.state, State::Received);
        if let Some(unit) = self.units.get_mut(task.lu.0) {
            unit.leave_state(state);
        }
    }
}

/// What the task's nexus sees behind the task's number; `None` when that is not the task's logical unit any more.
#[inline(always)]
pub(super) fn view<'a>(
    units: &'a Slab<Unit>,
    nexus: &Nexus,
    initiator: &'a TransportId,
    task: &Task,
) -> Option<UnitView<'a>> {
    let entry = nexus.mapping(task.origin.number?)?.entry;
    let unit = units.get(task.lu.0)?;
    (entry.lu == task.lu).then(|| UnitView {
        lu: &unit.lu,
        number: entry.number,
        write_protected: unit.lu.read_only() || entry.read_only,
        max_transfer: unit.max_transfer,
        initiator,
    })
}
