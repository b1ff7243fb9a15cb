//! The command window: ExpCmdSN and MaxCmdSN (RFC 7143 4.2.2.1).
//!
//! The window is as wide as there are free places for commands, so MaxCmdSN never goes back: a command that comes moves ExpCmdSN
//! and takes a place, and a command that ends gives its place back.

use crate::Sn;

/// What a CmdSN says about its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is this request's turn.
    Now,
    /// Outside the window, or a duplicate: ignored without a word.
    Ignored,
    /// Inside the window, but others are missing before it. On a single connection they can never come.
    Gap,
}

#[derive(Debug)]
pub(super) struct CommandWindow {
    expected: Sn,
    /// Commands at a time.
    places: u32,
    commands: u32,
    /// Immediate requests at a time.
    immediate_places: u32,
    immediate: u32,
}

impl CommandWindow {
    pub(super) fn new(first: Sn, places: u16, immediate_places: u16) -> Self {
        Self {
            expected: first,
            places: u32::from(places.max(1)),
            commands: 0,
            immediate_places: u32::from(immediate_places.max(2)),
            immediate: 0,
        }
    }

    /// ExpCmdSN.
    pub(super) fn expected(&self) -> Sn {
        self.expected
    }

    /// MaxCmdSN.
    pub(super) fn max(&self) -> Sn {
        let free = self.places - self.commands;
        self.expected.plus(free.wrapping_sub(1))
    }

    pub(super) fn contains(&self, cmd_sn: Sn) -> bool {
        cmd_sn.is_within(self.expected, self.max())
    }

    /// Judges a request that is not immediate, and counts it when it is its turn.
    pub(super) fn arrive(&mut self, cmd_sn: Sn) -> Turn {
        if !self.contains(cmd_sn) {
            return Turn::Ignored;
        }
        if cmd_sn != self.expected {
            return Turn::Gap;
        }
        self.expected = self.expected.plus(1);
        Turn::Now
    }

    /// Takes a place for a command. False when all places are taken; immediate commands leave one, so that they can be aborted.
    pub(super) fn begin(&mut self, immediate: bool) -> bool {
        self.take_place(immediate, u32::from(immediate))
    }

    /// Takes a place for a task management request. False when all places are taken.
    pub(super) fn begin_management(&mut self, immediate: bool) -> bool {
        self.take_place(immediate, 0)
    }

    fn take_place(&mut self, immediate: bool, kept: u32) -> bool {
        let (used, places) = match immediate {
            true => (&mut self.immediate, self.immediate_places - kept),
            false => (&mut self.commands, self.places),
        };
        let has_room = *used < places;
        *used += u32::from(has_room);
        has_room
    }

    /// Gives the place back.
    pub(super) fn end(&mut self, immediate: bool) {
        let used = match immediate {
            true => &mut self.immediate,
            false => &mut self.commands,
        };
        *used = used.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_window_closes_and_opens() {
        let mut window = CommandWindow::new(Sn(u32::MAX), 2, 1);
        assert_eq!(window.max(), Sn(0));
        assert_eq!(window.arrive(Sn(u32::MAX)), Turn::Now);
        assert!(window.begin(false));
        assert_eq!(window.arrive(Sn(u32::MAX)), Turn::Ignored, "a duplicate");
        assert_eq!(window.arrive(Sn(0)), Turn::Now);
        assert!(window.begin(false) && !window.begin(false));
        assert_eq!((window.expected(), window.max()), (Sn(1), Sn(0)));
        assert_eq!(window.arrive(Sn(1)), Turn::Ignored, "the window is closed");
        window.end(false);
        assert_eq!(window.max(), Sn(1));
        assert_eq!(window.arrive(Sn(1)), Turn::Now);
    }

    #[test]
    fn what_is_missing_is_seen() {
        let mut window = CommandWindow::new(Sn(5), 4, 1);
        assert_eq!(window.arrive(Sn(6)), Turn::Gap);
        assert_eq!(window.arrive(Sn(9)), Turn::Ignored);
        assert_eq!(window.expected(), Sn(5));
    }

    #[test]
    fn immediate_requests_have_places_of_their_own() {
        let mut window = CommandWindow::new(Sn(0), 1, 2);
        assert!(window.begin(true) && !window.begin(true));
        assert!(window.begin_management(true) && !window.begin_management(true));
        assert!(window.begin(false) && !window.begin_management(false));
        window.end(true);
        assert!(!window.begin(true), "the last place is kept");
        window.end(true);
        assert!(window.begin(true));
    }

    proptest! {
        /// MaxCmdSN never goes back, and is never below ExpCmdSN - 1.
        #[test]
        fn max_cmd_sn_only_grows(steps in proptest::collection::vec(any::<bool>(), 0..200), first: u32) {
            let mut window = CommandWindow::new(Sn(first), 8, 1);
            let mut max = window.max();
            for arrives in steps {
                if arrives {
                    if window.arrive(window.expected()) == Turn::Now {
                        prop_assert!(window.begin(false));
                    }
                } else {
                    window.end(false);
                }
                prop_assert!(window.max() >= max);
                prop_assert!(window.max().plus(1) >= window.expected());
                max = window.max();
            }
        }
    }
}
