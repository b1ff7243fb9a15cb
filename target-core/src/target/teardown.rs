//! Connections, nexuses, logical units and mappings go, with commands still under way.

use crate::backend::TaskId;
use crate::command::ChannelId;
use crate::ending::Ending;
use crate::nexus::{LuId, MapEntry, Nexus, NexusId};
use crate::request::LOGICAL_UNIT_NOT_SUPPORTED;
use crate::target::{Next, Target};
use crate::task::{Audience, State, Task};

impl Target {
    /// Abandons the commands and requests of one connection; the nexus lives on. Nothing more comes out for
    /// the connection.
    pub fn channel_close(&mut self, nexus: NexusId, channel: ChannelId) {
        self.abandon_all(nexus, Some(channel));
        self.settle();
    }

    /// I_T nexus loss (SAM-5): commands are abandoned without an outcome, reservations are released.
    pub fn nexus_close(&mut self, nexus: NexusId) {
        self.abandon_all(nexus, None);
        if let Some(mut gone) = self.nexuses.remove(nexus.0) {
            gone.set_map(std::iter::empty());
            self.release_unmapped(&gone);
        }
        self.settle();
    }

    /// Sets what the nexus sees; logical units that are not there are left out. A logical unit that is new to the
    /// nexus reports POWER ON, RESET, OR BUS DEVICE RESET OCCURRED. After the first map, a change of numbers also
    /// establishes REPORTED LUNS DATA HAS CHANGED, and one of write protection MODE PARAMETERS CHANGED. Commands
    /// for what is not mapped any more end as in [`Target::lu_remove`].
    pub fn nexus_set_map(&mut self, nexus: NexusId, map: &[MapEntry]) {
        let units = &self.units;
        let is_there = |lu: LuId| units.get(lu.0).is_some_and(|unit| !unit.is_removed);
        if let Some(nexus) = self.nexuses.get_mut(nexus.0) {
            nexus.set_map(map.iter().copied().filter(|entry| is_there(entry.lu)));
        }
        if let Some(nexus) = self.nexuses.get(nexus.0) {
            self.release_unmapped(nexus);
        }
        self.end_unmapped();
        self.settle();
    }

    /// A nexus that cannot reach a logical unit cannot release it either.
    fn release_unmapped(&self, nexus: &Nexus) {
        for (handle, unit) in self.units.iter() {
            if !nexus.maps(LuId(handle)) {
                unit.lu.reservation.release(&nexus.id);
            }
        }
    }

    /// Removes a logical unit. Commands that have not reached the back end end with LOGICAL UNIT NOT SUPPORTED, as
    /// do all later ones; those in the back end finish. Maps lose it, and the nexuses that had it are told.
    pub fn lu_remove(&mut self, lu: LuId) {
        for nexus in self.nexuses.values_mut() {
            nexus.unmap(lu);
        }
        self.end_unmapped();
        if let Some(unit) = self.units.get_mut(lu.0) {
            unit.is_removed = true;
            if unit.is_over() {
                self.units.remove(lu.0);
            }
        }
        self.settle();
    }

    /// Ends the tasks that wait for anything here and whose logical unit is not mapped to their nexus any more. A
    /// transport that fills a buffer learns it when it has filled it.
    pub(super) fn end_unmapped(&mut self) {
        for id in self.tasks_that(|target, task| {
            task.audience == Audience::Initiator
                && !matches!(task.state, State::Pulling { .. } | State::Executing { .. })
                && !target.is_still_mapped(task)
        }) {
            self.finish(id, Ending::refused(LOGICAL_UNIT_NOT_SUPPORTED));
        }
    }

    /// All connections of the nexus when none is named.
    fn abandon_all(&mut self, nexus: NexusId, channel: Option<ChannelId>) {
        self.pending
            .retain(|pending| !pending.is_from(nexus, channel));
        for id in self.tasks_that(|_, task| {
            let origin = &task.origin;
            origin.nexus == nexus && channel.is_none_or(|channel| channel == origin.channel)
        }) {
            self.abandon(id);
        }
        self.out.retain(|queued| {
            let to = queued.next.channel();
            let is_gone = to.is_some_and(|to| channel.is_none_or(|channel| channel == to));
            !(queued.nexus == nexus && is_gone)
        });
    }

    /// Nobody will hear how the task ends. What is in the back end cannot be taken back, only cancelled.
    fn abandon(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(id) else {
            return;
        };
        if task.audience == Audience::Nobody {
            return;
        }
        self.totals.abandoned += 1;
        if let State::Executing { .. } = task.state {
            let (nexus, audience) = (task.origin.nexus, task.audience);
            self.orphan(id);
            if audience == Audience::Initiator {
                self.push(nexus, Next::Cancel(id));
            }
        } else {
            self.forget(id);
        }
    }

    fn tasks_that(&self, wanted: impl Fn(&Self, &Task) -> bool) -> Vec<TaskId> {
        let wanted = |(id, task)| wanted(self, task).then_some(id);
        self.tasks.iter().filter_map(wanted).collect()
    }
}
