//! How requests of an initiator end: by an answer, by task management, with their channel, or too late.

use initiator::machine::{RequestId, TaskFunction};
use target_core::lun::Lun;

use super::command::Op;
use super::session::{News, Outcome};
use super::step::Step;
use super::{CALM_TIMEOUT_MS, Initiator, MANAGEMENT_TIMEOUT_MS, Stage};
use crate::sim::journal::{End, Entry};

impl Initiator {
    pub(super) fn run_machine(&mut self, now_us: u64) {
        while let Some(news) = self.machine.poll() {
            match news {
                News::LoggedIn => self.links.iter_mut().for_each(|link| link.is_live = true),
                News::Done(request, outcome) => self.handle_done(request, outcome, now_us),
                News::TimedOut(request) => self.handle_timed_out(request, now_us),
                News::Closed(channel) => self.lose(|link| link.channel == channel, now_us),
            }
        }
    }

    fn handle_done(&mut self, request: RequestId, outcome: Outcome, now_us: u64) {
        if let Some((_, function)) = self.managements.remove(&request.0) {
            // Somebody else's reset may have ended the command without a word, and a refused abort says nothing of it.
            if let TaskFunction::AbortTask(task) = function
                && self.ops.contains_key(&task.0)
            {
                let at = now_us + MANAGEMENT_TIMEOUT_MS * 1000;
                self.plans.insert((at, Step::GiveUp(task.0)));
            }
            return;
        }
        let op = self.ops.remove(&request.0);
        let op = op.expect("an end of a command that runs");
        let end = self.meaning_of(request, &op, outcome);
        self.end(op, end, outcome, now_us);
    }

    /// A reset that went by another channel may have overtaken the command.
    fn meaning_of(&self, request: RequestId, op: &Op, outcome: Outcome) -> End {
        let lun = Lun::peripheral(op.lun);
        let mut reasons = self
            .managements
            .values()
            .filter(|(_, function)| match *function {
                TaskFunction::AbortTask(task) => task == request,
                TaskFunction::ClearAca(_) => false,
                TaskFunction::AbortTaskSet(of)
                | TaskFunction::ClearTaskSet(of)
                | TaskFunction::LogicalUnitReset(of) => of == lun,
            });
        match outcome {
            Outcome::Answered(answer) if answer.is_good() => End::Good,
            Outcome::Answered(_) => End::Failed,
            Outcome::Managed | Outcome::Refused => panic!("command {} is rejected", op.number),
            Outcome::Aborted if reasons.all(|(channel, _)| *channel == op.channel) => End::Aborted,
            Outcome::Aborted => End::Overtaken,
            Outcome::ChannelLost => End::Lost,
        }
    }

    fn handle_timed_out(&mut self, request: RequestId, now_us: u64) {
        let Some(op) = self.ops.get(&request.0) else {
            // Task management has failed: only a new login helps.
            self.plans.insert((now_us, Step::LogIn));
            return;
        };
        let number = op.number;
        self.journal.write(Entry::TimedOut { op: number });
        assert!(
            self.stage < Stage::Verifying,
            "command {number} was not answered in {CALM_TIMEOUT_MS} ms although nothing is wrong"
        );
        self.manage(op.channel, TaskFunction::AbortTask(request), now_us);
    }

    pub(super) fn finish_op(&mut self, number: u64, end: End) {
        self.journal.write(Entry::Ended { op: number, end });
    }
}
