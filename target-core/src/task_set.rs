//! The task set of a logical unit: which commands may run, given the task attributes (SAM-5 clause 8).
//!
//! While there is nothing but SIMPLE commands, entering costs two comparisons.

use crate::command::TaskAttribute;
use crate::index_list::List;

/// Commands of one logical unit in order of arrival, and what must be known about them to admit another.
#[derive(Debug, Default)]
pub(crate) struct TaskSet {
    pub(crate) tasks: List,
    /// Commands that are not enabled yet.
    pub(crate) dormant: u32,
    ordered: u32,
    head_of_queue: u32,
}

/// The commands before a given one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Older {
    any: bool,
    ordered: bool,
}

impl Older {
    pub(crate) fn add(&mut self, attribute: TaskAttribute) {
        self.any = true;
        self.ordered |= attribute == TaskAttribute::Ordered;
    }
}

impl TaskSet {
    /// Everything that is in the set.
    pub(crate) fn all(&self) -> Older {
        Older {
            any: !self.tasks.is_empty(),
            ordered: self.ordered != 0,
        }
    }

    /// Whether a command behind `older` is enabled.
    pub(crate) fn enables(&self, attribute: TaskAttribute, older: Older) -> bool {
        match attribute {
            TaskAttribute::HeadOfQueue => true,
            TaskAttribute::Ordered => !older.any && self.head_of_queue == 0,
            TaskAttribute::Simple | TaskAttribute::Aca => !older.ordered && self.head_of_queue == 0,
        }
    }

    /// Counts a command in; its place in `tasks` is the caller's to keep.
    pub(crate) fn enter(&mut self, attribute: TaskAttribute) {
        if let Some(count) = self.count(attribute) {
            *count += 1;
        }
    }

    pub(crate) fn leave(&mut self, attribute: TaskAttribute) {
        if let Some(count) = self.count(attribute) {
            *count -= 1;
        }
    }

    fn count(&mut self, attribute: TaskAttribute) -> Option<&mut u32> {
        match attribute {
            TaskAttribute::Ordered => Some(&mut self.ordered),
            TaskAttribute::HeadOfQueue => Some(&mut self.head_of_queue),
            TaskAttribute::Simple | TaskAttribute::Aca => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TaskAttribute::{HeadOfQueue, Ordered, Simple};

    fn enabled(before: &[TaskAttribute], attribute: TaskAttribute) -> bool {
        let (mut set, mut older) = (TaskSet::default(), Older::default());
        for &attribute in before {
            set.enter(attribute);
            older.add(attribute);
        }
        set.enables(attribute, older)
    }

    #[test]
    fn simple_waits_for_ordered_and_head_of_queue() {
        assert!(enabled(&[], Simple) && enabled(&[Simple, Simple], Simple));
        assert!(!enabled(&[Ordered, Simple], Simple));
        assert!(!enabled(&[Simple, HeadOfQueue], Simple));
    }

    #[test]
    fn ordered_waits_for_everything_before_it() {
        assert!(enabled(&[], Ordered));
        assert!(!enabled(&[Simple], Ordered));
        assert!(!enabled(&[HeadOfQueue], Ordered));
    }

    #[test]
    fn head_of_queue_waits_for_nothing() {
        assert!(enabled(&[Ordered, Simple, HeadOfQueue], HeadOfQueue));
    }
}
