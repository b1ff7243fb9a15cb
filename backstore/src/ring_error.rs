//! Why a worker cannot have its ring: what the kernel said, which setting that is, and how to change it.

use std::fs;
use std::io;

use thiserror::Error;

/// Why [`Engine::new`](crate::Engine::new) or [`Engine::attach`](crate::Engine::attach) failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RingError {
    /// The administrator has switched io_uring off.
    #[error(
        "io_uring is switched off by the sysctl kernel.io_uring_disabled, which is {level} (expected 0): run \
         `sysctl kernel.io_uring_disabled=0`{instead}"
    )]
    Disabled {
        /// Value of the sysctl.
        level: u32,
        /// Another way for level 1.
        instead: &'static str,
    },
    /// A seccomp filter or security module forbids it.
    #[error(
        "io_uring_setup is forbidden (EPERM) though the sysctl allows it: a seccomp filter or security module of the \
         container or unit stands in the way; allow io_uring_setup, io_uring_enter and io_uring_register there"
    )]
    Forbidden,
    /// The kernel has none, or a filter says so.
    #[error(
        "this kernel has no io_uring (ENOSYS): Linux 6.1 or newer is expected, or a seccomp filter hides it"
    )]
    Missing,
    /// Pinned memory is limited.
    #[error(
        "{needed} bytes of buffers cannot be pinned: RLIMIT_MEMLOCK is {limit} bytes; set LimitMEMLOCK=infinity in the \
         unit, or `ulimit -l unlimited` in the shell that starts it"
    )]
    MemoryLock {
        /// Bytes of the arena.
        needed: u64,
        /// Soft limit in bytes.
        limit: u64,
    },
    /// The file table counts against open files.
    #[error(
        "a table of {wanted} media is more than RLIMIT_NOFILE allows ({limit}): set LimitNOFILE= in the unit, or \
         `ulimit -n`"
    )]
    FileLimit {
        /// Entries asked for.
        wanted: u32,
        /// Soft limit.
        limit: u64,
    },
    /// The bounce pool is of no use.
    #[error(
        "the bounce pool has no buffer of {needed} bytes: give it slots or blocks of at least that size"
    )]
    BouncePool {
        /// Bytes of the smallest useful buffer.
        needed: usize,
    },
    /// All places for media are taken.
    #[error("all {limit} places for media are taken: remove one, or start with more")]
    TableFull {
        /// Places.
        limit: u32,
    },
    /// Anything else that the kernel said.
    #[error("{doing} failed: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What came.
        source: io::Error,
    },
}

impl RingError {
    /// For `map_err`.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// What the kernel's answer to the registration of `needed` bytes of buffers means.
    pub(crate) fn at_buffers(source: io::Error, needed: u64, limit: u64) -> Self {
        match source.raw_os_error() {
            Some(libc::ENOMEM) => Self::MemoryLock { needed, limit },
            _ => Self::io("registering the buffers")(source),
        }
    }

    /// What the kernel's answer to the registration of a table of `wanted` files means.
    pub(crate) fn at_files(source: io::Error, wanted: u32, limit: u64) -> Self {
        match source.raw_os_error() {
            Some(libc::EMFILE) => Self::FileLimit { wanted, limit },
            _ => Self::io("registering the file table")(source),
        }
    }

    /// What the kernel's answer to io_uring_setup means.
    pub(crate) fn at_setup(source: io::Error) -> Self {
        Self::setup_refused(source, sysctl())
    }

    fn setup_refused(source: io::Error, level: u32) -> Self {
        match (source.raw_os_error(), level) {
            (Some(libc::EPERM), 1) => Self::Disabled {
                level,
                instead: ", or put the daemon's user in the group of kernel.io_uring_group",
            },
            (Some(libc::EPERM), 2..) => Self::Disabled { level, instead: "" },
            (Some(libc::EPERM | libc::EACCES), _) => Self::Forbidden,
            (Some(libc::ENOSYS), _) => Self::Missing,
            _ => Self::Io {
                doing: "io_uring_setup",
                source,
            },
        }
    }
}

fn sysctl() -> u32 {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(errno: i32, level: u32) -> String {
        RingError::setup_refused(io::Error::from_raw_os_error(errno), level).to_string()
    }

    #[test]
    fn a_refusal_names_the_setting_that_refuses() {
        assert!(message(libc::EPERM, 2).contains("kernel.io_uring_disabled, which is 2"));
        assert!(message(libc::EPERM, 1).contains("kernel.io_uring_group"));
        assert!(message(libc::EPERM, 0).contains("seccomp"));
        assert!(message(libc::ENOSYS, 0).contains("6.1"));
        assert!(message(libc::ENOMEM, 0).contains("io_uring_setup failed"));
    }

    #[test]
    fn a_limit_is_named_with_what_it_is() {
        let error = io::Error::from_raw_os_error(libc::ENOMEM);
        let message = RingError::at_buffers(error, 1 << 30, 65536).to_string();
        assert!(message.contains("RLIMIT_MEMLOCK is 65536"), "{message}");
        assert!(message.contains("LimitMEMLOCK=infinity"), "{message}");
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        let message = RingError::at_files(error, 512, 256).to_string();
        assert!(message.contains("RLIMIT_NOFILE allows (256)"), "{message}");
    }
}
