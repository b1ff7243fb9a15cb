//! Waiting for descriptors, without a ring.

use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;

use crate::error::Error;

/// Waits until one of the descriptors has something to read, but not longer than `most`. Returns which have, in
/// their order. A signal ends the wait early.
pub(crate) fn wait_readable(
    fds: impl Iterator<Item = RawFd>,
    most: Duration,
) -> Result<Vec<bool>, Error> {
    let entry = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut entries: Vec<_> = fds.map(entry).collect();
    let timeout = libc::timespec {
        tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(most.subsec_nanos()),
    };
    let len = entries.len() as libc::nfds_t;
    // SAFETY: the call writes the entries of the list, whose length it is given.
    let result = unsafe { libc::ppoll(entries.as_mut_ptr(), len, &raw const timeout, ptr::null()) };
    if result < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(Error::call("ppoll", error));
        }
    }
    Ok(entries.iter().map(|entry| entry.revents != 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn only_what_has_something_is_named() {
        let (quiet, _other) = UnixStream::pair().expect("pair");
        let (ready, mut peer) = UnixStream::pair().expect("pair");
        peer.write_all(b"x").expect("write");
        let fds = [quiet.as_raw_fd(), ready.as_raw_fd()].into_iter();
        let found = wait_readable(fds, Duration::from_secs(9)).expect("wait");
        assert_eq!(found, [false, true]);
        let none = wait_readable(std::iter::empty(), Duration::ZERO).expect("wait");
        assert!(none.is_empty());
    }
}
