//! iSER: PDUs as messages of a queue pair, and memory that the target reads and writes (RFC 7145).

use std::time::{Duration, Instant};

use iobuf::Buf;
use rdma::{Error, Fabric, WorkCompletion, WorkKind};
use transport_iser::iser::{CmHeader, HEADER_BYTES};
use transport_iser::pdu::BHS_BYTES;

use super::machine::{Segment, Transmit};
use super::memory::Memory;
use super::message::header;
use super::options::ConnectOptions;
use crate::error::ConnectError;
use crate::fabric::cm::{CmEvents, Patience, Verdict, connection_of, is_end};
use crate::fabric::link::Link;
use crate::fabric::port::{Port, Sizes};

/// Receives beyond one for each command: pings, asynchronous messages, rejects.
const SPARE_RECEIVES: u32 = 16;

/// How long a target may take to disconnect after a logout.
const PARTING: Duration = Duration::from_millis(100);

/// Completions taken at a time.
const BATCH: usize = 32;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Dropped before the port that it is made of.
    link: Link,
    cm: CmEvents,
    pub(super) port: Port,
    /// For the next PDU.
    message: Option<Buf>,
    invalidates: bool,
}

/// What came.
#[derive(Debug)]
pub(super) enum Received {
    /// A message, and the key that it made invalid.
    Message(Buf, Option<u32>),
    /// The connection is gone.
    Gone,
}

impl Connection {
    pub(super) fn connect(fabric: &Fabric, options: &ConnectOptions) -> Result<Self, ConnectError> {
        let mut cm = CmEvents::new(fabric)?;
        let patience = Patience {
            address: options.address,
            timeout_ms: options.connect_timeout_ms,
        };
        let connection = cm.resolve(options.source, patience)?;
        let port = Port::open(connection.open_device()?, sizes(options))?;
        cm.resolve_route(&connection, patience)?;
        let own = CmHeader {
            zero_based_addresses: false,
            send_with_invalidate: fabric.has_remote_invalidate(),
        };
        let (mut link, verdict) = Link::ask(&port, &mut cm, connection, &own.encode(), patience)?;
        let peer = match verdict {
            Verdict::Accepted(private_data) => CmHeader::parse(&private_data),
            Verdict::Rejected { reason, .. } => {
                return Err(ConnectError::Rejected {
                    address: options.address,
                    reason,
                });
            }
        };
        port.post_receives()?;
        link.establish()?;
        Ok(Self {
            link,
            cm,
            port,
            message: None,
            invalidates: own.send_with_invalidate && peer.send_with_invalidate,
        })
    }

    /// Whether no further PDU can be sent now.
    pub(super) fn is_full(&mut self) -> bool {
        if self.message.is_none() {
            self.message = self.port.messages.take(self.port.messages.largest());
        }
        self.message.is_none()
    }

    /// Queues a PDU; false when the connection has failed.
    pub(super) fn push(&mut self, transmit: &Transmit, memory: Option<&mut Memory>) -> bool {
        let Some(mut message) = self.message.take() else {
            return false;
        };
        let segment = memory.as_deref().and_then(Memory::segment);
        let header = header(&transmit.header, transmit.unasked, segment);
        let fixed = [&header.encode()[..], &transmit.header, &transmit.ahs].concat();
        let len = fixed.len() + transmit.segment.len() as usize;
        let Some((head, data)) = message
            .get_mut(..len)
            .and_then(|message| message.split_at_mut_checked(fixed.len()))
        else {
            return false;
        };
        head.copy_from_slice(&fixed);
        let is_written = match (&transmit.segment, memory) {
            (Segment::None, _) => true,
            (Segment::Bytes(bytes), _) => {
                data.copy_from_slice(bytes);
                true
            }
            (Segment::DataOut { offset, .. }, Some(memory)) => memory.read(*offset as usize, data),
            (Segment::DataOut { .. }, None) => false,
        };
        message.truncate(len);
        is_written && self.link.send(message)
    }

    /// Posts what is queued; false when the connection has failed.
    pub(super) fn flush(&mut self) -> bool {
        let is_posted = self.link.flush();
        self.cm.fabric.transmit();
        is_posted
    }

    /// Takes one batch of what came, and gives it to `visit`. Returns how many completions there were.
    pub(super) fn receive(
        &mut self,
        mut visit: impl FnMut(Received, &Port),
    ) -> Result<usize, Error> {
        let mut batch = [WorkCompletion::default(); BATCH];
        let count = self.port.poll(&mut batch)?;
        for completion in batch.iter().take(count) {
            match completion.kind {
                WorkKind::Receive => {
                    let received = self.port.srq.take(completion);
                    let Some(received) = received else { continue };
                    if received.status.is_success() {
                        let key = completion.invalidated_key;
                        visit(Received::Message(received.buf, key), &self.port);
                    } else {
                        self.port.repost(received.buf);
                        visit(Received::Gone, &self.port);
                    }
                }
                WorkKind::Send if self.link.handle_completion(completion) => {}
                WorkKind::Send => visit(Received::Gone, &self.port),
            }
        }
        if count > 0 {
            self.port.srq.flush()?;
        }
        Ok(count)
    }

    /// Takes what the connection manager says; true when the connection has ended.
    pub(super) fn has_ended(&mut self) -> Result<bool, Error> {
        self.cm.move_packets()?;
        let id = self.link.connection.id();
        let mut has_ended = false;
        while let Some(event) = self.cm.next()? {
            has_ended |= connection_of(&event) == Some(id) && is_end(&event);
        }
        Ok(has_ended)
    }

    /// Waits until something comes, or `most` has passed.
    pub(super) fn wait(&mut self, most: Duration) -> Result<(), Error> {
        self.cm.wait(self.port.fd(), most)?;
        self.port.clear_events()
    }

    /// Asks for an event at the next completion.
    pub(super) fn arm(&self) -> Result<(), Error> {
        self.port.cq.arm()
    }

    /// Whether the target may invalidate keys.
    pub(super) fn invalidates(&self) -> bool {
        self.invalidates
    }

    /// Leaves the target the time to end the connection, or at least to hear that its last answer has come. The
    /// acknowledgement follows behind the answer: who disconnects between them fails a message that arrived, over which
    /// Linux's `isert` stumbles.
    pub(super) fn part(&mut self) {
        let limit = Instant::now() + PARTING;
        while matches!(self.has_ended(), Ok(false)) {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() || self.wait(left).is_err() {
                break;
            }
        }
    }

    pub(super) fn close(&mut self) {
        self.link.close();
    }
}

fn sizes(options: &ConnectOptions) -> Sizes {
    let limits = &options.login.limits;
    let outstanding = options.login.outstanding.max(1);
    let headers = HEADER_BYTES + BHS_BYTES;
    Sizes {
        data_bytes: options.data_bytes,
        // A message's completion may be seen after its answer, and unsolicited data takes several.
        messages: outstanding as usize * 4 + 16,
        message_bytes: headers + (limits.max_xmit_data_segment_length as usize).max(8192),
        receives: outstanding + SPARE_RECEIVES,
        receive_bytes: headers + (limits.max_recv_data_segment_length as usize).max(8192),
    }
}
