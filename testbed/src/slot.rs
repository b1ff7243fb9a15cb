//! How many guests run at once: a semaphore of file locks, shared by every process that uses one folder.
//!
//! `cargo test` starts one process per test file and several threads in each; on a machine with two cores more
//! than two guests only make each other miss their time limits. A lock dies with its process, so a killed run
//! leaves no slot taken.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

const SLOTS: u32 = 2;
const RETRY: Duration = Duration::from_millis(100);

/// The right to run one guest, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    _lock: File,
}

impl Slot {
    /// Waits until fewer than two guests of this folder's users run.
    ///
    /// # Errors
    ///
    /// The lock files cannot be made in `folder`.
    pub fn take(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        loop {
            for number in 0..SLOTS {
                if let Some(slot) = Self::try_take(&folder.join(format!("slot-{number}.lock")))? {
                    return Ok(slot);
                }
            }
            thread::sleep(RETRY);
        }
    }

    fn try_take(path: &Path) -> Result<Option<Self>> {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path);
        let lock = lock.with_context(|| format!("opening the slot {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("locking the slot {}", path.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_third_guest_waits_for_one_of_two_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let first = Slot::take(folder.path()).unwrap();
        let _second = Slot::take(folder.path()).unwrap();
        let (taken, third_taken) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let third = Slot::take(folder.path()).unwrap();
                taken.send(()).unwrap();
                drop(third);
            });
            assert!(
                third_taken.recv_timeout(RETRY * 3).is_err(),
                "three guests at once"
            );
            drop(first);
            third_taken.recv_timeout(Duration::from_secs(10)).unwrap();
        });
    }
}
