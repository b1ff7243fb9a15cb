//! One connection: the queue pair of a channel.

use iobuf::Buf;
use rdma::{
    Completed, ConnectParameters, Connection, Error, QueuePair, QueuePairNumber, WorkCompletion,
};

use super::cm::{CmEvents, Patience, Verdict};
use super::port::Port;
use crate::error::ConnectError;

/// RDMA READs of the target that may be outstanding, if the device can.
const RESPONDER_RESOURCES: u8 = 16;
/// For ever: a target that has no receive posted will have one.
const RNR_RETRY_COUNT: u8 = 7;
const RETRY_COUNT: u8 = 7;

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    queue_pair: QueuePair,
    is_open: bool,
}

impl Link {
    /// Asks the peer for a connection whose route is known; `private_data` is the login.
    pub(crate) fn ask(
        port: &Port,
        cm: &mut CmEvents,
        connection: Connection,
        private_data: &[u8],
        patience: Patience,
    ) -> Result<(Self, Verdict), ConnectError> {
        let mut queue_pair = port.queue_pair()?;
        let most = port.device.info().limits.responder_resources;
        let parameters = ConnectParameters {
            private_data,
            responder_resources: RESPONDER_RESOURCES.min(most),
            initiator_depth: 1,
            retry_count: RETRY_COUNT,
            rnr_retry_count: RNR_RETRY_COUNT,
        };
        connection.connect(&mut queue_pair, &parameters)?;
        let verdict = cm.verdict(&connection, patience)?;
        let link = Self {
            connection,
            queue_pair,
            is_open: false,
        };
        Ok((link, verdict))
    }

    /// The peer accepted, and receives are posted.
    pub(crate) fn establish(&mut self) -> Result<(), Error> {
        self.connection.establish(&mut self.queue_pair)?;
        self.is_open = true;
        Ok(())
    }

    pub(crate) fn number(&self) -> QueuePairNumber {
        self.queue_pair.number()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Queues a message; false when the queue pair has failed.
    pub(crate) fn send(&mut self, message: Buf) -> bool {
        self.is_open
            && self
                .queue_pair
                .queue_respond(None, &[], message, None)
                .is_ok()
    }

    /// Posts what is queued; false when the queue pair has failed.
    pub(crate) fn flush(&mut self) -> bool {
        !self.is_open || self.queue_pair.flush().is_ok()
    }

    /// Takes a completion of a send; false when it says that the queue pair has failed.
    pub(crate) fn handle_completion(&mut self, completion: &WorkCompletion) -> bool {
        self.queue_pair.handle_completion(completion);
        let mut is_good = true;
        while let Some(completed) = self.queue_pair.poll_completed() {
            is_good &= !matches!(completed, Completed::Failed { .. });
        }
        is_good
    }

    /// True when everything that was sent has reached the peer, or never will.
    pub(crate) fn is_drained(&self) -> bool {
        self.queue_pair.is_drained() && !self.queue_pair.has_pending()
    }

    /// Ends the connection: afterwards the peer can touch no memory through it.
    pub(crate) fn close(&mut self) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        // Both fail when the connection is gone already, which is what is wanted.
        let _ = self.queue_pair.to_error();
        let _ = self.connection.disconnect();
    }
}
