//! Completion queues, and where they report.

use std::os::fd::BorrowedFd;

use crate::completion::{CompletionQueueId, WorkCompletion};
use crate::device::Device;
use crate::error::Error;
use crate::provided::{Provided, on_either};
use crate::{soft, verbs};

/// Events of completion queues. Clones are the same channel.
///
/// An event is eight bytes on the descriptor, which does not block. Either a
/// ring reads it, and the number goes to [`CompletionChannel::event_from_raw`]; or
/// [`CompletionChannel::next_event`] reads it.
///
/// The soft fabric has no events: its completions come by `Fabric::receive`, so a driver polls after that.
#[derive(Clone, Debug)]
pub struct CompletionChannel(Provided<verbs::CompletionChannel, ()>);

impl CompletionChannel {
    /// A new channel on the device.
    ///
    /// # Errors
    /// No descriptor is left, or the device is gone.
    pub fn new(device: &Device) -> Result<Self, Error> {
        Ok(Self(match &device.0 {
            Provided::Verbs(device) => Provided::Verbs(verbs::CompletionChannel::new(device)?),
            Provided::Soft(_) => Provided::Soft(()),
        }))
    }

    /// The descriptor; the soft fabric has none.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Provided::Verbs(channel) => Some(channel.fd()),
            Provided::Soft(()) => None,
        }
    }

    /// Which queue the event is of, from the eight bytes (native byte order) that were read from the
    /// descriptor. `None` when it has been destroyed since.
    ///
    /// This also counts the event as handled. A queue cannot be destroyed before all of its events that
    /// were read are handled, so a ring's read must be ended, and its result given here, before the queue
    /// is dropped.
    pub fn event_from_raw(&self, raw: u64) -> Option<CompletionQueueId> {
        match &self.0 {
            Provided::Verbs(channel) => channel.event_from_raw(raw),
            Provided::Soft(()) => None,
        }
    }

    /// Reads one event from the descriptor; `None` when there is none now.
    ///
    /// # Errors
    /// The descriptor cannot be read: the device is gone.
    pub fn next_event(&self) -> Result<Option<CompletionQueueId>, Error> {
        match &self.0 {
            Provided::Verbs(channel) => channel.next_event(),
            Provided::Soft(()) => Ok(None),
        }
    }
}

/// Where the completions of queue pairs and receive queues come. Clones are the same queue.
///
/// It cannot overrun, which would break every queue pair on it: each queue pair reserves the room that its
/// sends need, and the queue is resized when that is more than it has.
#[derive(Clone, Debug)]
pub struct CompletionQueue(pub(crate) Provided<verbs::CompletionQueue, soft::CompletionQueue>);

impl CompletionQueue {
    /// A queue with room for `receives` completions, the depth of the receive queues that will report here;
    /// sends are added by the queue pairs. With a channel, an armed queue reports its next completion
    /// there.
    ///
    /// # Errors
    /// [`Error::CompletionQueueFull`] when that is more than the device can hold.
    pub fn new(
        device: &Device,
        receives: u32,
        channel: Option<&CompletionChannel>,
    ) -> Result<Self, Error> {
        Ok(Self(match &device.0 {
            Provided::Verbs(device) => {
                let channel = channel.map(verbs_channel).transpose()?;
                Provided::Verbs(verbs::CompletionQueue::new(device, receives, channel)?)
            }
            Provided::Soft(device) => Provided::Soft(soft::CompletionQueue::new(device, receives)?),
        }))
    }

    /// Names this queue in the events of its channel.
    pub fn id(&self) -> CompletionQueueId {
        on_either!(&self.0, queue => queue.id())
    }

    /// Takes completions that have come, up to the length of `into` but at most 32. Returns how many.
    ///
    /// # Errors
    /// The queue is broken; its queue pairs are lost.
    pub fn poll(&self, into: &mut [WorkCompletion]) -> Result<usize, Error> {
        match &self.0 {
            Provided::Verbs(queue) => queue.poll(into),
            Provided::Soft(queue) => Ok(queue.poll(into)),
        }
    }

    /// Asks for one event on the channel at the next completion. Poll once more afterwards: a completion
    /// that came before the arming may give no event.
    ///
    /// # Errors
    /// The device is gone.
    pub fn arm(&self) -> Result<(), Error> {
        match &self.0 {
            Provided::Verbs(queue) => queue.arm(),
            Provided::Soft(_) => Ok(()),
        }
    }
}

fn verbs_channel(channel: &CompletionChannel) -> Result<&verbs::CompletionChannel, Error> {
    match &channel.0 {
        Provided::Verbs(channel) => Ok(channel),
        Provided::Soft(()) => Err(Error::OtherFabric),
    }
}
