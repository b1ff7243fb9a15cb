//! io_uring_enter(2) on the ring's registered descriptor, which spares the kernel a look-up per call.
//!
//! The `io-uring` crate keeps that registration in a value that borrows the ring, so it cannot be kept with
//! it; these two system calls are made here instead.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Duration;

use io_uring::{EnterFlags, IoUring};

/// From the kernel's `linux/io_uring.h`.
const IORING_REGISTER_RING_FDS: libc::c_uint = 20;
const IORING_UNREGISTER_RING_FDS: libc::c_uint = 21;

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct ResourceUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEventsArg {
    signal_mask: u64,
    signal_mask_len: u32,
    min_wait_us: u32,
    timeout: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

/// How this thread names its ring to the kernel. Must not outlive the ring.
#[derive(Debug)]
pub(crate) struct RingFd {
    fd: RawFd,
    registered: Option<u32>,
}

impl RingFd {
    /// Registers the descriptor for this thread where the kernel can (5.18).
    pub(crate) fn new(uring: &IoUring) -> Self {
        let fd = uring.as_raw_fd();
        let mut update = ResourceUpdate {
            offset: u32::MAX,
            reserved: 0,
            data: fd as u64,
        };
        let registered = register(fd, IORING_REGISTER_RING_FDS, &mut update).is_ok();
        Self {
            fd,
            registered: registered.then_some(update.offset),
        }
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.registered.is_some()
    }

    /// Submits `to_submit` entries; with `events`, runs deferred work and waits for `min_complete`
    /// completions, `timeout` at the longest.
    pub(crate) fn enter(
        &self,
        to_submit: u32,
        min_complete: u32,
        events: bool,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let timespec = timeout.map(|timeout| KernelTimespec {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: i64::from(timeout.subsec_nanos()),
        });
        let arg = timespec.as_ref().map(|timespec| GetEventsArg {
            signal_mask: 0,
            signal_mask_len: 0,
            min_wait_us: 0,
            timeout: ptr::from_ref(timespec) as u64,
        });
        let mut flags = EnterFlags::empty();
        flags.set(EnterFlags::GETEVENTS, events);
        flags.set(EnterFlags::EXT_ARG, arg.is_some());
        flags.set(EnterFlags::REGISTERED_RING, self.is_registered());
        let (arg, arg_len) = match &arg {
            Some(arg) => (ptr::from_ref(arg), size_of::<GetEventsArg>()),
            None => (ptr::null(), 0),
        };
        // SAFETY: the argument and the time it names live until the call returns; memory that submitted entries
        // name is vouched for where they were pushed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.registered.map_or(i64::from(self.fd), i64::from),
                to_submit,
                min_complete,
                flags.bits(),
                arg,
                arg_len,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for RingFd {
    fn drop(&mut self) {
        let Some(offset) = self.registered else {
            return;
        };
        let mut update = ResourceUpdate {
            offset,
            reserved: 0,
            data: 0,
        };
        // Left registered, the ring and what it pins would live as long as the thread.
        let _ = register(self.fd, IORING_UNREGISTER_RING_FDS, &mut update);
    }
}

fn register(fd: RawFd, opcode: libc::c_uint, update: &mut ResourceUpdate) -> io::Result<()> {
    // SAFETY: both opcodes read and write one `io_uring_rsrc_update`, which lives until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            i64::from(fd),
            opcode,
            ptr::from_mut(update),
            1,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
