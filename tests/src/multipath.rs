//! dm-multipath: one disk over several paths. The paths are given to the kernel's device mapper as `multipathd` would
//! give them to it; the scenario is the one who says that a path is back.

use crate::command::{attempt, attempt_with_input, run};
use crate::deadline::until_true;
use crate::disk::Disk;

const LIMIT_S: u64 = 60;
const NO_UDEV: &str = "--noudevrules --noudevsync";

/// A disk over several paths, each used for some commands in turn. It stays until it is removed.
#[derive(Debug)]
pub struct Multipath {
    name: String,
}

impl Multipath {
    /// Makes it of paths to one LUN; commands wait while it has none.
    ///
    /// # Panics
    ///
    /// The device mapper refuses.
    pub fn of(name: &str, paths: &[&Disk]) -> Self {
        let sectors = paths.first().expect("a path").bytes() / 512;
        let selected = paths
            .iter()
            .map(|path| format!(" {} 1", path.device_number()));
        // One feature, no hardware handler, one group, which is the first: its selector without arguments, and its
        // paths with one argument each, the commands that a path takes before it is the next one's turn.
        let table = format!(
            "0 {sectors} multipath 1 queue_if_no_path 0 1 1 round-robin 0 {} 1{}",
            paths.len(),
            selected.collect::<String>()
        );
        attempt_with_input(&format!("dmsetup create {name} {NO_UDEV}"), &table).output();
        Self { name: name.into() }
    }

    /// Its block device, by the name that the kernel gives it: nobody else names devices in a guest.
    ///
    /// # Panics
    ///
    /// The device mapper does not know it.
    #[track_caller]
    pub fn path(&self) -> String {
        let info = "dmsetup info --columns --noheadings -o blkdevname";
        format!("/dev/{}", run(&format!("{info} {}", self.name)))
    }

    /// Whether the kernel uses this path: it stops to when a command fails on it.
    ///
    /// # Panics
    ///
    /// The disk, or the path, is none of it.
    #[track_caller]
    pub fn uses(&self, path: &Disk) -> bool {
        let status = run(&format!("dmsetup status {}", self.name));
        let words: Vec<&str> = status.split_whitespace().collect();
        let number = path.device_number();
        let at = words.iter().position(|word| *word == number);
        match at.and_then(|at| words.get(at + 1)) {
            Some(state) => *state == "A",
            None => panic!("{number} is no path: {status}"),
        }
    }

    /// Asks a path that leads nowhere, without which an initiator whose requests were all acknowledged learns nothing,
    /// and waits until the kernel uses it no more.
    ///
    /// # Panics
    ///
    /// It answers, or the kernel goes on.
    #[track_caller]
    pub fn wait_for_failure_of(&self, path: &Disk) {
        assert!(!answers(path), "{} answers", path.path());
        let what = format!("{} to be used no more", path.path());
        until_true(&what, LIMIT_S, || !self.uses(path));
    }

    /// Waits until a path answers again, and uses it from then on.
    ///
    /// # Panics
    ///
    /// It does not answer.
    #[track_caller]
    pub fn reinstate(&self, path: &Disk) {
        let what = format!("{} to answer", path.path());
        until_true(&what, LIMIT_S, || answers(path));
        let (name, number) = (&self.name, path.device_number());
        run(&format!("dmsetup message {name} 0 reinstate_path {number}"));
    }

    /// Removes it; its paths stay.
    ///
    /// # Panics
    ///
    /// It is in use.
    #[track_caller]
    pub fn remove(self) {
        run(&format!(
            "dmsetup remove --noudevrules --noudevsync {}",
            self.name
        ));
    }
}

/// Whether a block can be read by this path.
fn answers(path: &Disk) -> bool {
    let path = path.path();
    attempt(&format!(
        "dd if={path} of=/dev/null bs=4k count=1 iflag=direct"
    ))
    .succeeded()
}
