//! Everything of one device that the channels of a session share.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use iobuf::{Arena, Buf, Pool};
use rdma::{
    CompletionChannel, CompletionQueue, Device, Error, MemoryRegion, ProtectionDomain, QueuePair,
    QueuePairConfig, ReceivePostError, SharedReceiveQueue, WorkCompletion,
};

use crate::error::ConnectError;

/// Alignment in bytes of the arena's parts.
const PART_ALIGN_BYTES: usize = 1 << 16;

/// The largest data buffer in bytes.
const LARGEST_DATA_BYTES: usize = 16 << 20;

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) data_bytes: usize,
    pub(crate) messages: usize,
    pub(crate) message_bytes: usize,
    pub(crate) receives: u32,
    /// The longest message that can be received.
    pub(crate) receive_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) device: Device,
    pub(crate) domain: ProtectionDomain,
    completions: CompletionChannel,
    pub(crate) cq: CompletionQueue,
    pub(crate) srq: SharedReceiveQueue,
    pub(crate) messages: Pool,
    pub(crate) data: Pool,
    receives: Pool,
    /// Posted buffers are given this window.
    receive_bytes: usize,
    _region: MemoryRegion,
}

impl Port {
    pub(crate) fn open(device: Device, sizes: Sizes) -> Result<Self, ConnectError> {
        let domain = ProtectionDomain::new(&device)?;
        let data_end = sizes.data_bytes.next_power_of_two().max(PART_ALIGN_BYTES);
        let messages_len = sizes.messages * sizes.message_bytes;
        let messages_end = data_end + messages_len.next_multiple_of(PART_ALIGN_BYTES);
        let receives_end = messages_end + sizes.receives as usize * sizes.receive_bytes;
        let arena: Arc<Arena> = Arena::new(receives_end).map_err(ConnectError::Memory)?;
        let region = MemoryRegion::register(&domain, &arena)?;
        let completions = CompletionChannel::new(&device)?;
        Ok(Self {
            cq: CompletionQueue::new(&device, sizes.receives, Some(&completions))?,
            srq: SharedReceiveQueue::new(&domain, sizes.receives)?,
            messages: Pool::slots(&arena, data_end..messages_end, sizes.message_bytes),
            data: Pool::buddy(&arena, 0..data_end, data_end.min(LARGEST_DATA_BYTES)),
            receives: Pool::slots(&arena, messages_end..receives_end, sizes.receive_bytes),
            receive_bytes: sizes.receive_bytes,
            completions,
            domain,
            device,
            _region: region,
        })
    }

    pub(crate) fn queue_pair(&self) -> Result<QueuePair, Error> {
        let config = QueuePairConfig {
            remote_access: true,
            ..QueuePairConfig::default()
        };
        QueuePair::new(&self.domain, &self.cq, &self.cq, &self.srq, config)
    }

    /// Posts as many receives as there is room for.
    pub(crate) fn post_receives(&self) -> Result<(), Error> {
        while self.srq.room() > 0 {
            let Some(buf) = self.receives.take(self.receive_bytes) else {
                break;
            };
            if !self.post(buf) {
                break;
            }
        }
        self.srq.flush()
    }

    /// Gives a receive buffer back to the NIC at the next flush.
    pub(crate) fn repost(&self, mut buf: Buf) {
        if buf.set_window(0, self.receive_bytes) {
            self.post(buf);
        }
    }

    fn post(&self, buf: Buf) -> bool {
        match self.srq.post(buf) {
            Ok(()) => true,
            // The buffer returns to its pool; it is posted again when there is room.
            Err(ReceivePostError::Full(_) | ReceivePostError::NotRegistered(_)) => false,
        }
    }

    /// A buffer with these bytes, ready to be sent.
    pub(crate) fn message(&self, bytes: &[u8]) -> Option<Buf> {
        let mut buf = self.messages.take(bytes.len())?;
        buf.copy_from_slice(bytes);
        Some(buf)
    }

    pub(crate) fn poll(&self, batch: &mut [WorkCompletion]) -> Result<usize, Error> {
        self.cq.poll(batch)
    }

    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.completions.fd()
    }

    /// Reads what the completion channel has reported.
    pub(crate) fn clear_events(&self) -> Result<(), Error> {
        while self.completions.next_event()?.is_some() {}
        Ok(())
    }
}
