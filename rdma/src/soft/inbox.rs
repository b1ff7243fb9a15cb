//! Datagrams on their way in: many for one system call, and packets of one sender joined by the kernel.

use std::ffi::c_int;
use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::ptr;

use super::socket::Socket;
use super::socket_address::RawAddress;

/// Datagrams for one call.
pub(super) const BATCH: usize = 32;

/// What joined packets have at most.
const SLOT_BYTES: usize = 1 << 16;

/// Room for the kernel to say how long each of the joined packets is.
#[derive(Clone, Copy)]
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    segment_bytes: c_int,
}

/// Buffers for one call. Their pages are taken when the kernel first fills them.
pub(super) struct Inbox {
    bytes: Box<[u8]>,
    names: Box<[RawAddress]>,
    controls: Box<[Control]>,
    parts: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        // SAFETY: plain numbers, for which zero is a value.
        let control: Control = unsafe { mem::zeroed() };
        // SAFETY: plain numbers and pointers that may be NULL.
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        let part = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            bytes: vec![0; BATCH * SLOT_BYTES].into_boxed_slice(),
            names: vec![RawAddress::unset(); BATCH].into_boxed_slice(),
            controls: vec![control; BATCH].into_boxed_slice(),
            parts: vec![part; BATCH].into_boxed_slice(),
            headers: vec![header; BATCH].into_boxed_slice(),
        }
    }

    /// Takes what has arrived, up to [`BATCH`] datagrams. Returns how many; an error is nothing.
    pub(super) fn receive(&mut self, socket: &Socket) -> usize {
        self.prepare();
        // SAFETY: each header was just pointed to buffers of this object that live, and whose lengths it has.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        usize::try_from(got).unwrap_or(0)
    }

    fn prepare(&mut self) {
        let slots = self.bytes.chunks_exact_mut(SLOT_BYTES);
        let headers = self.headers.iter_mut().zip(slots);
        let rest = self
            .names
            .iter_mut()
            .zip(&mut self.controls)
            .zip(&mut self.parts);
        for ((header, slot), ((name, control), part)) in headers.zip(rest) {
            part.iov_base = slot.as_mut_ptr().cast();
            part.iov_len = SLOT_BYTES;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = RawAddress::LEN;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = ptr::from_mut(control).cast();
            header.msg_hdr.msg_controllen = size_of::<Control>();
        }
    }

    /// Sender and packets of a datagram that the last call received.
    pub(super) fn packets(
        &self,
        index: usize,
    ) -> Option<(SocketAddr, impl Iterator<Item = &[u8]>)> {
        let header = self.headers.get(index)?;
        let source = self.names.get(index)?.get()?;
        let len = usize::try_from(header.msg_len).ok()?;
        let start = index * SLOT_BYTES;
        let payload = self.bytes.get(start..start + len)?;
        let segment = self.segment_bytes(index).unwrap_or(len);
        Some((source, payload.chunks(segment.max(1))))
    }

    /// Length of all joined packets but the last.
    fn segment_bytes(&self, index: usize) -> Option<usize> {
        if self.headers.get(index)?.msg_hdr.msg_controllen == 0 {
            return None;
        }
        let Control {
            header,
            segment_bytes,
        } = self.controls.get(index)?;
        let is_it = header.cmsg_level == libc::SOL_UDP && header.cmsg_type == libc::UDP_GRO;
        usize::try_from(*segment_bytes).ok().filter(|_| is_it)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}
