//! Waiting for something that the kernel does on its own time: always with a bound and a name.

use std::thread;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// Waits until `probe` finds what it looks for.
///
/// # Panics
///
/// It did not within `limit_s` seconds; `what` names it.
#[track_caller]
pub fn until<T>(what: &str, limit_s: u64, mut probe: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(limit_s);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            Instant::now() < limit,
            "waited {limit_s} s in vain for: {what}"
        );
        thread::sleep(POLL);
    }
}

/// Waits until `condition` holds.
///
/// # Panics
///
/// It did not within `limit_s` seconds; `what` names it.
#[track_caller]
pub fn until_true(what: &str, limit_s: u64, mut condition: impl FnMut() -> bool) {
    until(what, limit_s, || condition().then_some(()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_is_waited_for() {
        let mut left = 3;
        let found = until("a countdown", 5, || {
            left -= 1;
            (left == 0).then_some("found")
        });
        assert_eq!(found, "found");
    }

    #[test]
    #[should_panic(expected = "waited 0 s in vain for: the impossible")]
    fn what_never_comes_is_named() {
        until_true("the impossible", 0, || false);
    }
}
