//! What can be wrong with the machine, and what to do about it.

use std::io;
use std::net::IpAddr;

use rdma_sys::LoadError;

/// An RDMA object could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A library is missing or too old.
    #[error(transparent)]
    Library(#[from] LoadError),
    /// The machine has no RDMA device.
    #[error(
        "no RDMA device: expected an entry in /sys/class/infiniband; install and load the adapter's driver, \
         make a soft device with `rdma link add rxe0 type rxe netdev NETDEV`, or use RoCEv2 in user space (`--fabric soft`)"
    )]
    NoDevice,
    /// The kernel has devices, but none can be used by a program.
    #[error(
        "no RDMA device can be used, though the kernel has {present}: expected /dev/infiniband/uverbs0 and a library for the device; \
         run `modprobe ib_uverbs` and install ibverbs-providers"
    )]
    NoUsableDevice {
        /// Their names.
        present: String,
    },
    /// No device has this name.
    #[error("no RDMA device is called {name}; present: {present}")]
    NoSuchDevice {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        present: String,
    },
    /// The connection manager cannot be reached.
    #[error(
        "the RDMA connection manager cannot be opened: {source}; load it with `modprobe rdma_ucm` and check the rights of \
         /dev/infiniband/rdma_cm"
    )]
    NoConnectionManager {
        /// The system's error.
        source: io::Error,
    },
    /// The limit of locked memory is too low.
    #[error(
        "{bytes} bytes cannot be registered as RDMA memory: RLIMIT_MEMLOCK is {limit}; set `LimitMEMLOCK=infinity` in the \
         systemd unit, or run `ulimit -l unlimited` before the program"
    )]
    LockedMemory {
        /// What was to be registered.
        bytes: usize,
        /// The limit in bytes, or `unlimited`.
        limit: String,
    },
    /// The sends and receives in flight do not fit the device's largest completion queue.
    #[error(
        "a completion queue of {needed} entries is needed, and the device has at most {most}; use fewer connections or \
         receives on this device"
    )]
    CompletionQueueFull {
        /// Completions that could be outstanding.
        needed: u64,
        /// What the device can hold.
        most: u32,
    },
    /// A queue was to be deeper than the device allows.
    #[error("{what} of {asked} entries was asked for, and the device has at most {most}")]
    DeviceLimit {
        /// Which queue.
        what: &'static str,
        /// Entries that were asked for.
        asked: u32,
        /// What the device can hold.
        most: u32,
    },
    /// Private data is longer than the connection manager can carry.
    #[error(
        "private data of {len} bytes is longer than the {most} that the connection manager carries"
    )]
    PrivateData {
        /// Bytes that were to be sent.
        len: usize,
        /// The most that fits.
        most: usize,
    },
    /// The port of a native listener has no GID.
    #[error(
        "port {port} of {device} has no GID; connect the port and see that a subnet manager runs"
    )]
    NoGid {
        /// Device name.
        device: String,
        /// Port number.
        port: u8,
    },
    /// Objects of two fabrics, or of two devices, were to be used together.
    #[error("objects of different fabrics or devices cannot be used together")]
    OtherFabric,
    /// No interface of this machine has the address.
    #[error(
        "no network interface that is up has the address {address}; ip address shows which there are"
    )]
    NoSuchAddress {
        /// What was asked for.
        address: IpAddr,
    },
    /// The soft fabric speaks RoCEv2 only.
    #[error(
        "the soft fabric has no InfiniBand port {device}:{port}; listen on an IP address, or serve with `--fabric verbs`"
    )]
    NotInfiniBand {
        /// Device name.
        device: String,
        /// Port number.
        port: u8,
    },
    /// UDP port 4791 of an address cannot be had.
    #[error("UDP port {port} of {address} cannot be opened: {source}{advice}", port = roce::packet::UDP_PORT)]
    Socket {
        /// Which address.
        address: IpAddr,
        /// What to do, or nothing; begins with "; ".
        advice: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The soft fabric refused what was asked of a connection or a queue.
    #[error("the soft fabric refuses to {what}: {why}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// A call of the libraries failed.
    #[error("{call} failed: {source}{advice}")]
    Call {
        /// The C function.
        call: &'static str,
        /// What to do, or nothing; begins with "; ".
        advice: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl Error {
    /// The error of a C function that returns an errno, or -1 and sets `errno`.
    pub(crate) fn call(call: &'static str, source: io::Error) -> Self {
        let advice = match source.raw_os_error() {
            Some(libc::EADDRINUSE) => "; another program listens there, choose another port",
            Some(libc::ENODEV | libc::EADDRNOTAVAIL) => {
                "; no RDMA device has this address, see `rdma link` and `ip address`"
            }
            Some(libc::EACCES | libc::EPERM) => {
                "; check the rights of /dev/infiniband and run with CAP_NET_BIND_SERVICE for low ports"
            }
            Some(libc::ENOMEM) => {
                "; the device or the memory is used up, or RLIMIT_MEMLOCK is too low"
            }
            _ => "",
        };
        Self::Call {
            call,
            advice,
            source,
        }
    }

    /// A refusal of the soft fabric's own state machine.
    pub(crate) fn refused(what: &'static str, why: impl std::fmt::Display) -> Self {
        let why = why.to_string();
        Self::Refused { what, why }
    }

    /// [`Error::call`] with the thread's `errno`.
    pub(crate) fn last(call: &'static str) -> Self {
        Self::call(call, io::Error::last_os_error())
    }
}

/// Turns the result of a C function that returns 0, -1 with `errno`, or a positive errno, into a `Result`.
pub(crate) fn check(call: &'static str, result: i32) -> Result<(), Error> {
    match result {
        0 => Ok(()),
        errno if errno > 0 => Err(Error::call(call, io::Error::from_raw_os_error(errno))),
        _ => Err(Error::last(call)),
    }
}

/// Refuses a queue that the device cannot make, which would only say that an argument is invalid.
pub(crate) fn check_limit(what: &'static str, asked: u32, most: u32) -> Result<(), Error> {
    match asked <= most {
        true => Ok(()),
        false => Err(Error::DeviceLimit { what, asked, most }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let text = Error::LockedMemory {
            bytes: 1 << 30,
            limit: "8388608".into(),
        }
        .to_string();
        assert!(text.contains("RLIMIT_MEMLOCK is 8388608"), "{text}");
        assert!(text.contains("LimitMEMLOCK=infinity"), "{text}");
        let error = check("rdma_bind_addr", libc::EADDRINUSE).expect_err("an errno");
        assert!(
            error.to_string().ends_with("choose another port"),
            "{error}"
        );
        assert!(check("ibv_dealloc_pd", 0).is_ok());
    }
}
