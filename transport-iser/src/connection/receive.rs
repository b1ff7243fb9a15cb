//! What comes: bytes or messages become PDUs, and each PDU goes to whom it concerns.
//!
//! A PDU is judged by its header before its data are taken, since the header says where the data go: to the buffer of a command,
//! to the short buffer of the connection, or nowhere.

use iobuf::Buf;
use target_core::command::{Command, ExchangeId};
use target_core::port::{ChannelEvent, CloseReason};

use super::answer::{ConnectionError, reject_reason};
use super::data_out::Verdict;
use super::exchange::tag_place;
use super::{Connection, Datamover, Phase};
use crate::iser::{HEADER_BYTES, Header, MessageType, Stag};
use crate::pdu::ahs::MAX_AHS_BYTES;
use crate::pdu::{
    BHS_BYTES, Bhs, DataOut, Lengths, LoginStatus, Opcode, PduError, RESERVED_TAG, RejectReason,
};
use crate::tcp::Framed;

/// The PDU whose data segment is coming.
#[derive(Debug)]
pub(super) enum Current {
    /// Its data go nowhere, and it says nothing.
    Ignored,
    /// A short one: its data go to the connection.
    Control,
    /// A command: its immediate data go to its exchange.
    Command(Command),
    /// Data-Out.
    DataOut(ExchangeId, DataOut),
    /// A command with data to come for which there was no buffer of so many bytes. Nothing of it has happened yet.
    Starved(u32),
}

/// The headers of a PDU.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) bhs: Bhs,
    pub(super) ahs: Vec<u8>,
    /// Bytes of the data segment.
    pub(super) data: u32,
    pub(super) write_stag: Option<Stag>,
    pub(super) read_stag: Option<Stag>,
}

impl Connection {
    /// Takes from the stream until it is empty, or there is no buffer for what comes.
    pub(super) fn drain_backlog(&mut self) {
        if matches!(self.current, Current::Starved(_)) {
            match self.begin_from_stream() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.fail(&error),
            }
        }
        while let Some(mut chunk) = self.backlog.pop_front() {
            let mut bytes = &chunk[..];
            let taken = self.take_stream(&mut bytes);
            let count = chunk.len() - bytes.len();
            chunk.advance(count);
            if let Err(error) = taken {
                self.fail(&error);
            }
            if self.closed || chunk.is_empty() {
                continue;
            }
            self.backlog.push_front(chunk);
            break;
        }
    }

    fn take_stream(&mut self, bytes: &mut &[u8]) -> Result<(), ConnectionError> {
        while !self.closed {
            let Datamover::Tcp(framer) = &mut self.datamover else {
                return Ok(());
            };
            match framer.next(bytes)? {
                None => return Ok(()),
                Some(Framed::Header) => {
                    if !self.begin_from_stream()? {
                        return Ok(());
                    }
                }
                Some(Framed::Data(data)) => self.take_data(data),
                Some(Framed::End { intact: true }) => {
                    self.end_pdu()?;
                    if self.queued_bytes >= super::MAX_QUEUED_BYTES {
                        self.counters.unread += 1;
                        return Ok(());
                    }
                }
                Some(Framed::End { intact: false }) => self.end_damaged_pdu()?,
            }
        }
        Ok(())
    }

    /// Begins the PDU whose headers the framer has. False when it has to wait for a buffer.
    #[inline(always)]
    fn begin_from_stream(&mut self) -> Result<bool, ConnectionError> {
        let Datamover::Tcp(framer) = &self.datamover else {
            return Ok(false);
        };
        let head = Head {
            bhs: *framer.bhs(),
            ahs: framer.ahs().to_vec(),
            data: framer.lengths().data,
            write_stag: None,
            read_stag: None,
        };
        self.begin_pdu(&head)?;
        let starved = matches!(self.current, Current::Starved(_));
        self.counters.buffer_waits += u64::from(self.timers.starved(starved));
        Ok(!starved)
    }

    /// A message over iSER: one PDU.
    pub(super) fn receive_message(&mut self, message: Buf) {
        if self.queued_bytes >= super::MAX_QUEUED_BYTES {
            return self.fail(&ConnectionError::Unread(self.queued_bytes));
        }
        if let Err(error) = self.take_message_pdu(message) {
            self.fail(&error);
        }
    }

    fn take_message_pdu(&mut self, message: Buf) -> Result<(), ConnectionError> {
        let Some((head, data_begin)) = self.parse_message(&message)? else {
            return Ok(());
        };
        self.begin_pdu(&head)?;
        let data_len = head.data as usize;
        match &mut self.current {
            _ if data_len == 0 => {}
            // The whole Data-Out Buffer is in the message: the message itself is the core's buffer.
            Current::Command(command) if command.data_out_len == head.data => {
                let mut data = message;
                data.advance(data_begin);
                data.truncate(data_len);
                command.immediate = Some(data);
            }
            _ => {
                let data = message.get(data_begin..data_begin + data_len);
                self.take_data(data.unwrap_or(&[]));
            }
        }
        self.end_pdu()
    }

    /// The headers of a message and where its data begin. `None` for a message that is no PDU.
    fn parse_message(&mut self, message: &[u8]) -> Result<Option<(Head, usize)>, ConnectionError> {
        let (header, rest) = Header::parse(message)?;
        if header.kind != MessageType::Control {
            // A Hello is tolerated as other targets do: iSERHelloRequired is never agreed on.
            return Ok(None);
        }
        let Some((bhs, rest)) = rest.split_first_chunk::<BHS_BYTES>() else {
            let received = rest.len();
            return Err(PduError::truncated("BHS", HEADER_BYTES, BHS_BYTES, received).into());
        };
        self.last_bhs = *bhs;
        let max_data = self.agreed.max_recv_data_segment_length;
        let mut lengths = Lengths::parse(bhs, MAX_AHS_BYTES as u32, max_data)?;
        if header.write.is_some() && rest.len() == lengths.ahs as usize {
            // libiscsi before 1.20 announces immediate data that it does not send: all data are where the STag says.
            lengths.data = 0;
        }
        let (ahs, data) = (lengths.ahs as usize, lengths.data as usize);
        if rest.len() < ahs + data {
            let (needed, received) = (ahs + data, rest.len());
            return Err(ConnectionError::Cut { needed, received });
        }
        let head = Head {
            bhs: *bhs,
            ahs: rest.get(..ahs).unwrap_or(&[]).to_vec(),
            data: lengths.data,
            write_stag: header.write,
            read_stag: header.read,
        };
        Ok(Some((head, HEADER_BYTES + BHS_BYTES + ahs)))
    }

    /// Judges a PDU by its headers.
    fn begin_pdu(&mut self, head: &Head) -> Result<(), ConnectionError> {
        self.last_bhs = head.bhs;
        self.control.clear();
        self.current = Current::Ignored;
        let opcode = Opcode::of(&head.bhs);
        if matches!(self.phase, Phase::Login(_)) {
            return self.begin_login_pdu(opcode);
        }
        match opcode {
            Opcode::SCSI_COMMAND => self.begin_command(head),
            Opcode::DATA_OUT => self.begin_data_out(head),
            Opcode::LOGIN_REQUEST => Err(ConnectionError::Phase(opcode)),
            _ => {
                self.current = Current::Control;
                Ok(())
            }
        }
    }

    fn begin_login_pdu(&mut self, opcode: Opcode) -> Result<(), ConnectionError> {
        if opcode != Opcode::LOGIN_REQUEST {
            return Err(ConnectionError::Phase(opcode));
        }
        self.current = Current::Control;
        Ok(())
    }

    fn begin_data_out(&mut self, head: &Head) -> Result<(), ConnectionError> {
        self.counters.data_out_pdus += 1;
        let pdu = DataOut::parse(&head.bhs)?;
        let exchange = if pdu.target_transfer_tag == RESERVED_TAG {
            self.exchanges.find(pdu.initiator_task_tag)
        } else {
            let place = self.exchanges.at(tag_place(pdu.target_transfer_tag));
            place.filter(|&id| self.exchanges.tag(id) == pdu.initiator_task_tag)
        };
        let Some(exchange) = exchange else {
            // Of a command that has ended: the initiator did not know it yet.
            return Ok(());
        };
        let slot = self.exchanges.get_mut(exchange);
        let verdict = slot.map(|slot| slot.data_out.begin_pdu(&pdu, head.data));
        match verdict {
            Some(Verdict::Next) => self.current = Current::DataOut(exchange, pdu),
            Some(Verdict::OutOfSequence) => self.lose_data_out(exchange),
            Some(Verdict::Stale) | None => {}
        }
        Ok(())
    }

    fn take_data(&mut self, data: &[u8]) {
        let exchange = match &self.current {
            Current::Control => return self.control.extend_from_slice(data),
            Current::Command(command) => command.exchange,
            Current::DataOut(exchange, _) => *exchange,
            Current::Ignored | Current::Starved(_) => return,
        };
        if let Some(slot) = self.exchanges.get_mut(exchange) {
            slot.data_out.store(data);
        }
    }

    #[inline(always)]
    fn end_pdu(&mut self) -> Result<(), ConnectionError> {
        match std::mem::replace(&mut self.current, Current::Ignored) {
            Current::Ignored | Current::Starved(_) => Ok(()),
            Current::Command(command) => {
                self.end_command(command);
                Ok(())
            }
            Current::DataOut(exchange, pdu) => {
                if let Some(slot) = self.exchanges.get_mut(exchange) {
                    slot.data_out.end_pdu(&pdu);
                    if pdu.target_transfer_tag == RESERVED_TAG {
                        slot.write_stag_begin = slot.data_out.received();
                    }
                    self.advance_data_out(exchange);
                }
                Ok(())
            }
            Current::Control => self.end_control(),
        }
    }

    /// The data digest of a PDU does not fit its data. What is a part of a command costs that command only (RFC 7143 7.8); the
    /// rest of what an initiator says cannot be asked for again.
    #[cold]
    fn end_damaged_pdu(&mut self) -> Result<(), ConnectionError> {
        match std::mem::replace(&mut self.current, Current::Ignored) {
            Current::Ignored | Current::Starved(_) => {}
            Current::Command(command) => {
                self.reject(RejectReason::DATA_DIGEST_ERROR);
                self.lose_command(&command);
            }
            Current::DataOut(exchange, _) => {
                self.reject(RejectReason::DATA_DIGEST_ERROR);
                self.lose_data_out(exchange);
            }
            Current::Control => {
                return Err(ConnectionError::DataDigest(Opcode::of(&self.last_bhs)));
            }
        }
        Ok(())
    }

    /// The Data-Out Buffer of a command will not be whole: the core ends the command when it asks for it.
    #[cold]
    fn lose_data_out(&mut self, exchange: ExchangeId) {
        self.counters.data_out_lost += 1;
        self.outbox
            .retain(|outgoing| !outgoing.is_data_out_of(exchange));
        let slot = self.exchanges.get_mut(exchange);
        if let Some(task) = slot.and_then(|slot| slot.data_out.lose()) {
            self.events.push_back(ChannelEvent::DataOutLost { task });
        }
    }

    fn end_control(&mut self) -> Result<(), ConnectionError> {
        let data = std::mem::take(&mut self.control);
        let bhs = self.last_bhs;
        let taken = match self.phase {
            Phase::Login(_) => self.take_login_request(&bhs, &data),
            Phase::FullFeature(_) => self.take_request(&bhs, &data),
        };
        self.control = data;
        taken
    }

    /// The peer broke the protocol: it is told so, and the connection ends.
    #[cold]
    pub(super) fn fail(&mut self, error: &ConnectionError) {
        if self.closed {
            return;
        }
        self.counters.protocol_errors += 1;
        if let ConnectionError::Framing(_) = error
            && let Datamover::Tcp(framer) = &self.datamover
        {
            self.last_bhs = *framer.bhs();
        }
        match (&self.phase, reject_reason(error)) {
            (Phase::FullFeature(_), Some(reason)) => self.reject(reason),
            (Phase::Login(_), Some(_)) => self.refuse_login(LoginStatus::INVALID_DURING_LOGIN),
            (_, None) => {}
        }
        self.close(CloseReason::Protocol(error.to_string()));
    }

    /// Reject, with the header of the PDU that came last.
    pub(super) fn reject(&mut self, reason: RejectReason) {
        use crate::pdu::Reject;
        self.counters.rejects += 1;
        let reject = Reject {
            reason,
            initiator_task_tag: RESERVED_TAG,
            ..Reject::default()
        };
        let header = self.last_bhs.to_vec();
        self.send_control(super::Control::Reject(reject), header);
    }
}
