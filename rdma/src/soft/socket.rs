//! A UDP socket on the RoCEv2 port of one address.

use std::cell::Cell;
use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use roce::packet::UDP_PORT;

use crate::error::Error;

/// What the kernel may hold for this process in each direction. Several windows of several queue pairs fit.
const BUFFER_BYTES: c_int = 8 << 20;

/// A bound socket.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UdpSocket,
    pub(super) local: SocketAddr,
    /// Place of the device that it belongs to.
    pub(super) device: usize,
    /// The kernel cuts one large send into packets.
    pub(super) segments: Cell<bool>,
    /// Something may be there to be received.
    pub(super) is_readable: Cell<bool>,
}

impl Socket {
    pub(super) fn open(address: IpAddr, device: usize) -> Result<Self, Error> {
        let local = SocketAddr::new(address, UDP_PORT);
        let failed = |source: io::Error| socket_error(address, source);
        let socket = UdpSocket::bind(local).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let this = Self {
            socket,
            local,
            device,
            segments: Cell::new(true),
            is_readable: Cell::new(true),
        };
        this.set_options().map_err(failed)?;
        Ok(this)
    }

    fn set_options(&self) -> io::Result<()> {
        match self.local {
            // "Do not fragment" is part of the ICRC.
            SocketAddr::V4(_) => {
                self.set(
                    libc::IPPROTO_IP,
                    libc::IP_MTU_DISCOVER,
                    libc::IP_PMTUDISC_DO,
                )?;
            }
            SocketAddr::V6(_) => {
                self.set(
                    libc::IPPROTO_IPV6,
                    libc::IPV6_MTU_DISCOVER,
                    libc::IPV6_PMTUDISC_DO,
                )?;
                // RoCEv2 relies on the ICRC and sends no UDP checksum.
                self.set(libc::SOL_UDP, UDP_NO_CHECK6_RX, 1)?;
            }
        }
        // Without it packets come one by one, which is slower and no worse.
        let _ = self.set(libc::SOL_UDP, libc::UDP_GRO, 1);
        enlarge(&self.socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)?;
        enlarge(&self.socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)
    }

    fn set(&self, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
        set_option(&self.socket, level, option, value)
    }

    pub(super) fn as_raw_fd(&self) -> c_int {
        self.socket.as_raw_fd()
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What the kernel will hold of arrived packets for a socket of this process, counted as the kernel does: with its
/// own overhead.
pub(super) fn receive_buffer_bytes() -> io::Result<u32> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    enlarge(&socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)?;
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the call writes the one number that it is given.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    match u32::try_from(value) {
        Ok(bytes) if result == 0 => Ok(bytes),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Beyond the system's limit only with the right to do so; up to it otherwise.
fn enlarge(socket: &UdpSocket, forced: c_int, limited: c_int) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, forced, BUFFER_BYTES)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, limited, BUFFER_BYTES))
}

fn set_option(socket: &UdpSocket, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let len = size_of::<c_int>() as libc::socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: the call reads the one number that it is given.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Missing in the C library's bindings.
const UDP_NO_CHECK6_RX: c_int = 102;

fn socket_error(address: IpAddr, source: io::Error) -> Error {
    let advice = match source.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "; the kernel's soft RoCE or another program has it: serve with `--fabric verbs`, remove the rxe devices \
             (`rdma link` lists them) and unload rdma_rxe, or listen on another address"
        }
        Some(libc::EADDRNOTAVAIL) => "; no interface that is up has this address, see `ip address`",
        Some(libc::EACCES | libc::EPERM) => {
            "; a security policy forbids UDP sockets to this process, see its service unit or container"
        }
        _ => "",
    };
    Error::Socket {
        address,
        advice,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_once_and_the_error_says_by_whom() {
        let address = "127.40.0.1".parse().expect("address");
        let socket = Socket::open(address, 0).expect("free");
        assert_eq!(socket.local.port(), 4791);
        let text = Socket::open(address, 0).expect_err("in use").to_string();
        assert!(text.contains("UDP port 4791 of 127.40.0.1"), "{text}");
        assert!(text.contains("rdma_rxe"), "{text}");
        let error = Socket::open("192.0.2.1".parse().expect("address"), 0);
        let text = error.expect_err("not here").to_string();
        assert!(text.contains("ip address"), "{text}");
    }
}
