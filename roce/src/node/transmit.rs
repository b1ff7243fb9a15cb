//! Packets on their way out of a node.

use super::{GSI_QP, Node, number_of};
use crate::cm::{MAD_LEN, OutgoingMad};
use crate::memory::Memory;
use crate::packet::icrc::{self, Ends};
use crate::packet::{Bth, Deth, Extension, GSI_Q_KEY, HeaderBytes, ICRC_LEN, Opcode, pad_count};
use crate::qp::{Emission, Path};
use crate::work::{QueuePairNumber, Segment, Segments};

/// Packets of one queue pair in a row: enough for one segmented send.
const BURST: u32 = 16;

/// BTH, DETH and the MAD itself.
const MAD_PACKET_LEN: usize = 12 + 8 + MAD_LEN;

/// A UDP datagram to be sent: `header`, the bytes of `payload`, `trailer`, in this order. The ICRC counts on IPv4
/// identification 0 and the flag "do not fragment" (see [`crate::packet::icrc`]).
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// From where to where.
    pub path: Path,
    /// Headers; of a MAD the whole packet.
    pub header: &'a [u8],
    /// The caller's memory. It may change before the packet is sent only if the work request has completed; the
    /// receiver's ICRC check then drops the packet.
    pub payload: &'a [Segment],
    /// Pad and ICRC.
    pub trailer: &'a [u8],
    /// Bytes in all.
    pub length: usize,
}

impl Transmit<'_> {
    /// The ICRC, which is the end of `trailer`, for a packet that leaves with this IPv4 identification: segment i of a
    /// segmented send (`UDP_SEGMENT`) has identification i. On IPv6 it is the same for all.
    pub fn icrc_for(&self, identification: u16) -> [u8; ICRC_LEN] {
        let icrc = self.trailer.last_chunk().copied().unwrap_or_default();
        if !self.path.remote.ip().to_canonical().is_ipv4() {
            return icrc;
        }
        icrc::renumber(u32::from_le_bytes(icrc), identification, self.length).to_le_bytes()
    }

    /// Appends the whole datagram, for a driver that sends from one piece. `None` when memory is gone.
    pub fn append_to<M: Memory + ?Sized>(&self, memory: &M, out: &mut Vec<u8>) -> Option<()> {
        out.extend_from_slice(self.header);
        for part in self.payload {
            out.extend_from_slice(memory.bytes(part.region, part.offset, part.length)?);
        }
        out.extend_from_slice(self.trailer);
        Some(())
    }
}

/// An ACK or NAK of a queue pair that says nothing more.
pub(super) struct LastWord {
    path: Path,
    header: HeaderBytes,
}

/// Buffers of the packet that was polled last.
pub(super) struct Scratch {
    header: [u8; MAD_PACKET_LEN],
    header_len: usize,
    payload: Segments,
    trailer: [u8; 3 + ICRC_LEN],
    trailer_len: usize,
}

impl Node {
    /// The next datagram to send. Poll until `None` at the end of a turn: acknowledges are gathered until then.
    pub fn poll_transmit<M: Memory + ?Sized>(
        &mut self,
        memory: &M,
        now_us: u64,
    ) -> Option<Transmit<'_>> {
        if let Some(last_word) = self.last_words.pop_front() {
            return Some(self.emit_last_word(&last_word));
        }
        if let Some(outgoing) = self.cm.poll_outgoing() {
            return Some(self.emit_mad(&outgoing));
        }
        loop {
            let (qp, emission) = self.next_emission(now_us)?;
            if let Some((path, length)) = self.prepare(qp, &emission, memory) {
                self.statistics.sent_packets += 1;
                return Some(self.scratch.transmit(path, length));
            }
            // The memory of a work request is gone: the queue pair cannot go on.
            let last_word = self.with_pair(qp, |pair, _, report| pair.fail(report));
            if let Some(emission) = last_word.flatten() {
                self.keep_last_word(qp, &emission);
            }
            self.look_after(qp);
        }
    }

    /// Round robin over the queue pairs in the list, [`BURST`] packets each.
    fn next_emission(&mut self, now_us: u64) -> Option<(QueuePairNumber, Emission)> {
        while let Some(&index) = self.ready.front() {
            let qp = self
                .slots
                .get(index)
                .and_then(|slot| number_of(index, slot.generation));
            let emission = qp.and_then(|qp| {
                self.with_pair(qp, |pair, keys, report| pair.poll(keys, now_us, report))
                    .flatten()
                    .map(|emission| (qp, emission))
            });
            if let Some(qp) = qp {
                self.look_after(qp);
            }
            self.burst += 1;
            if emission.is_none() || self.burst >= BURST {
                self.burst = 0;
                self.ready.pop_front();
                self.finish_turn(index, emission.is_some());
            }
            if emission.is_some() {
                return emission;
            }
        }
        None
    }

    fn finish_turn(&mut self, index: usize, more: bool) {
        if let Some(slot) = self.slots.get_mut(index) {
            slot.is_ready = more;
        }
        if more {
            self.ready.push_back(index);
        }
    }

    /// Headers, pad and ICRC of a packet.
    fn prepare<M: Memory + ?Sized>(
        &mut self,
        qp: QueuePairNumber,
        emission: &Emission,
        memory: &M,
    ) -> Option<(Path, usize)> {
        let attributes = *self.attributes(qp)?;
        let payload_len = usize::try_from(emission.payload.length()).ok()?;
        let mut bth = Bth::new(emission.opcode, attributes.remote_qp, emission.psn);
        bth.solicited = emission.solicited;
        bth.ack_request = emission.ack_request;
        bth.pad_count = pad_count(payload_len);
        let header = HeaderBytes::emit(bth, &emission.extension);
        let header = header.as_slice();
        let pad = usize::from(bth.pad_count);
        let length = header.len() + payload_len + pad + ICRC_LEN;
        let mut all_there = true;
        let parts = emission.payload.as_slice().iter().map_while(|part| {
            let bytes = memory.bytes(part.region, part.offset, part.length);
            all_there &= bytes.is_some();
            bytes
        });
        let ends = ends_of(&attributes.path);
        let icrc = icrc::compute(&ends, header, parts, bth.pad_count, length);
        self.scratch.fill(header, emission.payload, pad, icrc);
        all_there.then_some((attributes.path, length))
    }

    /// Keeps the last reply of a queue pair that is being failed: it goes out before the goodbye of its connection,
    /// and whether the queue pair lives until then or not.
    pub(super) fn keep_last_word(&mut self, qp: QueuePairNumber, emission: &Emission) {
        if let Some(attributes) = self.attributes(qp) {
            let bth = Bth::new(emission.opcode, attributes.remote_qp, emission.psn);
            let last_word = LastWord {
                path: attributes.path,
                header: HeaderBytes::emit(bth, &emission.extension),
            };
            self.last_words.push_back(last_word);
        }
    }

    fn emit_last_word(&mut self, last_word: &LastWord) -> Transmit<'_> {
        let header = last_word.header.as_slice();
        let length = header.len() + ICRC_LEN;
        let ends = ends_of(&last_word.path);
        let icrc = icrc::compute(&ends, header, std::iter::empty(), 0, length);
        self.scratch.fill(header, Segments::default(), 0, icrc);
        self.statistics.sent_packets += 1;
        self.scratch.transmit(last_word.path, length)
    }

    fn emit_mad(&mut self, outgoing: &OutgoingMad) -> Transmit<'_> {
        self.mad_psn = self.mad_psn.next();
        let extension = Extension {
            deth: Some(Deth {
                q_key: GSI_Q_KEY,
                source: GSI_QP,
            }),
            ..Extension::default()
        };
        let bth = Bth::new(Opcode::UD_SEND_ONLY, GSI_QP, self.mad_psn);
        let header = HeaderBytes::emit(bth, &extension);
        let header = header.as_slice();
        let length = header.len() + MAD_LEN + ICRC_LEN;
        let ends = ends_of(&outgoing.path);
        let payload = std::iter::once(outgoing.mad.as_slice());
        let icrc = icrc::compute(&ends, header, payload, 0, length);
        self.scratch.fill(header, Segments::default(), 0, icrc);
        self.scratch.append(&outgoing.mad);
        self.statistics.sent_packets += 1;
        self.scratch.transmit(outgoing.path, length)
    }
}

fn ends_of(path: &Path) -> Ends {
    Ends {
        source: path.local,
        destination: path.remote,
    }
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            header: [0; MAD_PACKET_LEN],
            header_len: 0,
            payload: Segments::default(),
            trailer: [0; 3 + ICRC_LEN],
            trailer_len: 0,
        }
    }

    fn fill(&mut self, header: &[u8], payload: Segments, pad: usize, icrc: u32) {
        self.header_len = 0;
        self.append(header);
        self.payload = payload;
        self.trailer = [0; 3 + ICRC_LEN];
        self.trailer_len = pad + ICRC_LEN;
        if let Some(room) = self.trailer.get_mut(pad..pad + ICRC_LEN) {
            room.copy_from_slice(&icrc.to_le_bytes());
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let end = self.header_len + bytes.len();
        if let Some(room) = self.header.get_mut(self.header_len..end) {
            room.copy_from_slice(bytes);
            self.header_len = end;
        }
    }

    fn transmit(&self, path: Path, length: usize) -> Transmit<'_> {
        Transmit {
            path,
            header: self.header.get(..self.header_len).unwrap_or(&[]),
            payload: self.payload.as_slice(),
            trailer: self.trailer.get(..self.trailer_len).unwrap_or(&[]),
            length,
        }
    }
}
