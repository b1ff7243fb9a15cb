//! PDUs of an iSCSI initiator: as messages, and as bytes of a stream.

use initiator::iscsi::machine::{Segment, Transmit};
use initiator::iscsi::{codec, message};
use initiator::machine::RequestId;
use transport_iser::pdu::{Bhs, DataIn, Opcode, ScsiResponse, TaskManagementResponse};
use transport_iser::pdu::{initiator_task_tag, scsi_data};

use super::Initiator;
use super::link::Wire;
use super::session::{Iscsi, Session};
use super::trouble::MOST_FLYING;
use crate::sim::journal::Entry;
use crate::sim::stream::{Found, Side};

impl Initiator {
    fn iscsi(&mut self) -> Option<&mut Iscsi> {
        match &mut self.machine {
            Session::Srp(_) => None,
            Session::Iscsi(session) => Some(session),
        }
    }

    /// Sends what the session has to say, as far as there is room.
    pub(super) fn say_pdus(&mut self, now_us: u64) {
        loop {
            let Some(link) = self.links.first_mut() else {
                return;
            };
            match &mut link.wire {
                Wire::Queue { .. } if !link.stands || link.flying > MOST_FLYING => return,
                Wire::Queue { .. } => {}
                Wire::Stream { outgoing, .. } => {
                    let written =
                        self.streams
                            .write(link.number, Side::Initiator, outgoing, now_us);
                    outgoing.drain(..written);
                    if !outgoing.is_empty() {
                        return;
                    }
                }
            }
            let Some(transmit) = self.iscsi().and_then(|s| s.machine.poll_transmit()) else {
                return;
            };
            self.say_pdu(&transmit);
        }
    }

    fn say_pdu(&mut self, transmit: &Transmit) {
        let op = transmit
            .request
            .and_then(|request| self.ops.get(&request.0));
        let slot = op.and_then(|op| op.slot.as_ref());
        let data = slot.map(|slot| self.memory.read(slot)).unwrap_or_default();
        let segment = slot.map(|slot| slot.pieces[0]);
        let link = self.links.first_mut().expect("a link");
        let channel = link.channel;
        match &mut link.wire {
            Wire::Stream { outgoing, .. } => codec::encode(outgoing, transmit, &data),
            Wire::Queue { .. } => {
                let header = message::header(&transmit.header, transmit.unasked, segment);
                let bytes = match &transmit.segment {
                    Segment::None => &[],
                    Segment::Bytes(bytes) => &bytes[..],
                    Segment::DataOut { offset, len } => {
                        &data[*offset as usize..(*offset + *len) as usize]
                    }
                };
                let message = [&header.encode()[..], &transmit.header, &transmit.ahs, bytes];
                self.send(channel, &message.concat());
            }
        }
    }

    /// Takes what a stream has brought.
    pub(super) fn run_streams(&mut self, now_us: u64) {
        while let Some(link) = self.links.first_mut() {
            let Wire::Stream { incoming, .. } = &mut link.wire else {
                return;
            };
            let number = link.number;
            let Some(most) = self.reader.most(now_us) else {
                return;
            };
            match self.streams.read(number, Side::Initiator, most, now_us) {
                Found::Nothing => return,
                Found::End => self.lose(|link| link.number == number, now_us),
                Found::Bytes(bytes) => {
                    incoming.extend_from_slice(&bytes);
                    self.reader.handle_read(now_us);
                    self.run_pdus();
                    self.run_machine(now_us);
                }
            }
        }
    }

    fn run_pdus(&mut self) {
        let Some(link) = self.links.first_mut() else {
            return;
        };
        let (number, Wire::Stream { incoming, .. }) = (link.number, &mut link.wire) else {
            return;
        };
        let mut bytes = std::mem::take(incoming);
        let mut taken = 0;
        while let Some(session) = self.iscsi() {
            let digests = session.machine.digests();
            let most = session.machine.max_recv_data_segment_length();
            let len = codec::pdu_len(&bytes[taken..], digests, most);
            let len = len.unwrap_or_else(|error| panic!("the target broke the protocol: {error}"));
            let Some(len) = len.filter(|len| taken + len <= bytes.len()) else {
                break;
            };
            let pdu = codec::split(&bytes[taken..taken + len], digests);
            let pdu = pdu.unwrap_or_else(|error| panic!("the target broke the protocol: {error}"));
            let pdu = pdu.expect("a whole PDU");
            self.handle_pdu(number, pdu.header, pdu.data);
            taken += len;
        }
        bytes.drain(..taken);
        if let Some(link) = self.links.first_mut()
            && let Wire::Stream { incoming, .. } = &mut link.wire
        {
            *incoming = bytes;
        }
    }

    /// A message over RDMA, and the key that it has made invalid.
    pub(super) fn handle_iser_message(
        &mut self,
        link: u32,
        bytes: &[u8],
        invalidated: Option<u32>,
    ) {
        let (header, data) = message::split(bytes)
            .unwrap_or_else(|error| panic!("the target broke the protocol: {error}"));
        if let Some(key) = invalidated {
            assert!(
                self.invalidates,
                "the target invalidates what is not asked to be"
            );
            let tag = u64::from(initiator_task_tag(header));
            let mut ops = self.ops.iter();
            let owner =
                ops.find(|(_, op)| op.slot.as_ref().is_some_and(|s| s.pieces[0].key == key));
            let owner = owner.map(|(request, _)| self.machine.tag(RequestId(*request)));
            assert_eq!(owner, Some(tag), "the target invalidates another's key");
        }
        self.handle_pdu(link, header, data);
    }

    fn handle_pdu(&mut self, link: u32, header: &Bhs, data: &[u8]) {
        if is_answer(header) {
            let tag = initiator_task_tag(header).into();
            self.journal.write(Entry::Responded { link, tag });
        }
        let placement = self
            .iscsi()
            .and_then(|session| session.machine.handle_pdu(header, data));
        if let Some(at) = placement {
            let op = self.ops.get(&at.request.0).expect("a command that runs");
            let slot = op.slot.as_ref().expect("a buffer for Data-In");
            self.memory.write_at(slot, at.offset as usize, data);
        }
    }
}

/// Whether the PDU ends a command or a task management request.
fn is_answer(header: &Bhs) -> bool {
    match Opcode::of(header) {
        ScsiResponse::OPCODE | TaskManagementResponse::OPCODE => true,
        DataIn::OPCODE => scsi_data::DataIn::parse(header).is_ok_and(|pdu| pdu.has_status),
        _ => false,
    }
}
