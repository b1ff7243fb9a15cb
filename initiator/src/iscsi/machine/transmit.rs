//! PDUs to the target, in the order in which they were made; sequences of Data-Out are cut as they go out.

use transport_iser::Sn;
use transport_iser::login::{Datamover, Digest};
use transport_iser::pdu::{Bhs, DataOut, RESERVED_TAG};

use super::task::{Burst, Kind};
use super::{Machine, RequestId, initiator_task_tag};

/// A PDU that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Basic header segment.
    pub header: Bhs,
    /// Additional header segments; mostly none.
    pub ahs: Vec<u8>,
    /// Data segment, without its padding.
    pub segment: Segment,
    /// Whose it is.
    pub request: Option<RequestId>,
    /// Of a command: the bytes of its Data-Out Buffer that travel without being asked for.
    pub unasked: u32,
    /// HeaderDigest in force.
    pub header_digest: Digest,
    /// DataDigest in force.
    pub data_digest: Digest,
}

/// A data segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// None.
    None,
    /// These bytes.
    Bytes(Vec<u8>),
    /// Bytes of the request's Data-Out Buffer.
    DataOut {
        /// From where on.
        offset: u32,
        /// How many.
        len: u32,
    },
}

impl Segment {
    /// Bytes of the segment.
    pub fn len(&self) -> u32 {
        match self {
            Self::None => 0,
            // Texts and pings are far below 4 GiB.
            Self::Bytes(bytes) => bytes.len() as u32,
            Self::DataOut { len, .. } => *len,
        }
    }

    /// Whether there is no segment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What waits to be sent.
#[derive(Debug)]
pub(super) enum Item {
    Pdu {
        header: Header,
        ahs: Vec<u8>,
        segment: Segment,
        request: Option<RequestId>,
        unasked: u32,
    },
    Burst {
        request: RequestId,
        burst: Burst,
    },
}

/// A header without ExpStatSN, which is put in as it goes out.
#[derive(Debug)]
pub(super) struct Header(pub(super) Bhs);

const IMMEDIATE: u8 = 0x40;
const EXP_STAT_SN: std::ops::Range<usize> = 28..32;

impl Header {
    /// A target without a bound sees only requests with a CmdSN coming.
    fn is_unexpected(&self) -> bool {
        self.0[0] & IMMEDIATE != 0
    }
}

impl Machine {
    /// The next PDU to send. The bytes of a Data-Out Buffer have to be taken at once: its request may end at the next
    /// event.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        loop {
            if self.is_held_back() {
                return None;
            }
            match self.queue.pop_front()? {
                Item::Pdu {
                    header,
                    ahs,
                    segment,
                    request,
                    unasked,
                } => {
                    // A target counts none before its login is over.
                    if header.is_unexpected() && self.is_live() {
                        self.note_unexpected(request);
                    }
                    let mut transmit = self.transmit(header.0, segment, request);
                    transmit.ahs = ahs;
                    transmit.unasked = unasked;
                    return Some(transmit);
                }
                Item::Burst { request, burst } => {
                    if let Some(transmit) = self.cut(request, burst) {
                        return Some(transmit);
                    }
                }
            }
        }
    }

    /// Whether something is to be sent.
    pub fn has_transmit(&self) -> bool {
        !self.queue.is_empty() && !self.is_held_back()
    }

    fn transmit(&self, mut header: Bhs, segment: Segment, request: Option<RequestId>) -> Transmit {
        header[EXP_STAT_SN].copy_from_slice(&self.statuses.due().0.to_be_bytes());
        let (header_digest, data_digest) = self.digests();
        Transmit {
            header,
            ahs: Vec::new(),
            segment,
            request,
            unasked: 0,
            header_digest,
            data_digest,
        }
    }

    /// HeaderDigest and DataDigest in force, in both directions.
    pub fn digests(&self) -> (Digest, Digest) {
        let agreed = self.agreed.as_ref();
        agreed.map_or((Digest::None, Digest::None), |agreed| {
            (agreed.header_digest, agreed.data_digest)
        })
    }

    /// The next PDU of a sequence; `None` when its command has ended.
    fn cut(&mut self, request: RequestId, mut burst: Burst) -> Option<Transmit> {
        let most = self.agreed.as_ref()?.max_xmit_data_segment_length.max(1);
        let task = self.tasks.get_mut(request)?;
        let len = (burst.end - burst.offset).min(most);
        let offset = burst.offset;
        let is_final = offset + len == burst.end;
        let header = DataOut {
            is_final,
            lun: burst.lun,
            initiator_task_tag: initiator_task_tag(request),
            target_transfer_tag: burst.target_transfer_tag,
            exp_stat_sn: Sn(0),
            data_sn: burst.data_sn,
            buffer_offset: offset,
        };
        let is_solicited = burst.target_transfer_tag != RESERVED_TAG;
        if let Kind::Command { data_out, .. } = &mut task.kind
            && is_final
            && is_solicited
        {
            data_out.r2ts = data_out.r2ts.saturating_sub(1);
        }
        if !is_solicited {
            self.note_unexpected(Some(request));
        }
        burst.offset += len;
        burst.data_sn = burst.data_sn.plus(1);
        if !is_final {
            self.queue.push_front(Item::Burst { request, burst });
        }
        let segment = Segment::DataOut { offset, len };
        Some(self.transmit(header.encode(len), segment, Some(request)))
    }

    /// Over RDMA a target says how many PDUs it can take that it did not expect (RFC 7145 6.7).
    fn is_held_back(&self) -> bool {
        let Some(agreed) = self
            .agreed
            .as_ref()
            .filter(|_| self.datamover() == Datamover::Iser)
        else {
            return false;
        };
        let is_unexpected = match self.queue.front() {
            None => false,
            Some(Item::Pdu { header, .. }) => header.is_unexpected(),
            Some(Item::Burst { burst, .. }) => burst.target_transfer_tag == RESERVED_TAG,
        };
        let rdma = agreed.rdma.as_ref();
        let most = rdma.map_or(0, |rdma| rdma.max_outstanding_unexpected_pdus);
        is_unexpected && most > 0 && self.unexpected >= most
    }

    fn note_unexpected(&mut self, request: Option<RequestId>) {
        self.unexpected = self.unexpected.saturating_add(1);
        match request.and_then(|request| self.tasks.get_mut(request)) {
            Some(task) => task.unexpected = task.unexpected.saturating_add(1),
            None => self.unexpected_alone = self.unexpected_alone.saturating_add(1),
        }
    }
}
