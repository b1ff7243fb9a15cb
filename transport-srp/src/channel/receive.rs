//! What the initiator's messages do: requests to the core, in the order of their arrival.

use iobuf::{Buf, RemoteSegment};
use target_core::command::{CdbBytes, Command, ExchangeId, TaskAttribute, TaskManagement};
use target_core::port::ChannelEvent;

use super::Channel;
use super::answer::{ChannelError, WireAnswer, wire_answer};
use super::exchange::State;
use super::outbox::{self, Message, Outgoing};
use crate::credit::LimitExceeded;
use crate::data::{DataBuffers, Direction, ExternalTable};
use crate::wire::{Cmd, CredRsp, Iu, Opcode, TskMgmt};

/// A request that waits for its turn.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) exchange: ExchangeId,
    pub(super) event: ChannelEvent,
    /// What must be fetched first.
    pub(super) table: Option<ExternalTable>,
}

/// What a message was that is no command.
pub(super) enum Received {
    /// Nothing for the core.
    Nothing,
    /// The initiator's goodbye.
    Logout,
    /// A task management request.
    TaskManagement(TaskManagement),
}

impl Channel {
    /// Whatever came but a command.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<Received, ChannelError> {
        self.check_length(bytes)?;
        match Iu::parse(bytes)? {
            Iu::TskMgmt(iu) => self.receive_task_management(&iu),
            Iu::CredRsp(iu) => self.receive_credit_response(iu),
            // This target sends no SRP_AER_REQ, but an answer to one does no harm.
            Iu::AerRsp(_) => Ok(Received::Nothing),
            Iu::ILogout(_) => Ok(Received::Logout),
            other => Err(ChannelError::UnexpectedIu(other.opcode())),
        }
    }

    fn check_length(&self, bytes: &[u8]) -> Result<(), ChannelError> {
        let (received, max) = (bytes.len(), self.login.max_it_iu_len);
        if received > max as usize {
            return Err(ChannelError::TooLong { received, max });
        }
        Ok(())
    }

    /// A command came. Its message goes with it when the data are in there.
    pub(super) fn receive_command(&mut self, mut message: Buf) {
        let (exchange, cmd) = match self.begin_command(&message) {
            Ok(begun) => begun,
            Err(error) => return self.fail(&error),
        };
        let (attribute, buffers) = match self.read_command(exchange, &cmd) {
            Ok(read) => read,
            Err(error) => return self.refuse(exchange, error),
        };
        let mut command = Command {
            channel: self.id,
            exchange,
            tag: cmd.tag,
            lun: cmd.lun,
            attribute,
            cdb: CdbBytes::new(cmd.cdb),
            data_in_len: buffers.data_in_len,
            data_out_len: buffers.data_out_len,
            immediate: None,
        };
        if let Some(range) = buffers.immediate {
            self.counters.immediate_writes += 1;
            message.advance(range.start);
            message.truncate(range.len());
            command.immediate = Some(message);
        }
        self.arrive(exchange, ChannelEvent::Command(command), buffers.table);
    }

    #[inline]
    fn begin_command<'a>(
        &mut self,
        bytes: &'a [u8],
    ) -> Result<(ExchangeId, Cmd<'a>), ChannelError> {
        self.check_length(bytes)?;
        let cmd = Cmd::parse(bytes)?;
        let exchange = self.begin_exchange(cmd.tag)?;
        self.counters.commands += 1;
        Ok((exchange, cmd))
    }

    #[inline]
    fn begin_exchange(&mut self, tag: u64) -> Result<ExchangeId, ChannelError> {
        self.credit.take()?;
        let limit = self.login.request_limit;
        let exchange = self.exchanges.begin(tag);
        exchange.ok_or(ChannelError::Limit(LimitExceeded { limit }))
    }

    #[inline]
    fn read_command(
        &mut self,
        exchange: ExchangeId,
        cmd: &Cmd<'_>,
    ) -> Result<(TaskAttribute, DataBuffers), ChannelError> {
        let attribute = cmd.task_attribute.attribute();
        let attribute = attribute.map_err(ChannelError::CommandField)?;
        let buffers = self.read_descriptors(exchange, cmd)?;
        if let Some(table) = buffers.table {
            self.fetch_table(exchange, table.missing)?;
        }
        Ok((attribute, buffers))
    }

    fn read_descriptors(
        &mut self,
        exchange: ExchangeId,
        cmd: &Cmd<'_>,
    ) -> Result<DataBuffers, ChannelError> {
        let limit = self.login.request_limit;
        let slot = self.exchanges.get_mut(exchange);
        let slot = slot.ok_or(LimitExceeded { limit })?;
        let imm_data_offset = self.login.imm_data_offset;
        let buffers = DataBuffers::parse(cmd, imm_data_offset, &mut slot.segments)?;
        slot.data_out_segments = buffers.data_out_segments;
        Ok(buffers)
    }

    fn fetch_table(
        &mut self,
        exchange: ExchangeId,
        missing: RemoteSegment,
    ) -> Result<(), ChannelError> {
        let needed = missing.length as usize;
        let largest = self.tables.largest();
        if needed > largest {
            return Err(ChannelError::TableBuffers { needed, largest });
        }
        let buf = self.tables.take(needed);
        let buf = buf.ok_or(ChannelError::NoTableBuffer(needed))?;
        if let Some(slot) = self.exchanges.get_mut(exchange) {
            slot.state = State::Fetching;
        }
        self.counters.tables_fetched += 1;
        self.outbox.push_back(Outgoing::FetchTable {
            exchange,
            missing,
            buf,
        });
        Ok(())
    }

    /// Answers a command that never reaches the core, or ends the channel when it cannot go on.
    #[cold]
    fn refuse(&mut self, exchange: ExchangeId, error: ChannelError) {
        let answer = wire_answer(&error);
        let Some(outcome) = outbox::refusal(answer) else {
            return self.fail(&error);
        };
        match answer {
            WireAnswer::Busy => self.counters.busy_commands += 1,
            _ => self.counters.refused_commands += 1,
        }
        self.respond(exchange, Message::Response { exchange, outcome });
    }

    fn receive_task_management(&mut self, iu: &TskMgmt) -> Result<Received, ChannelError> {
        let exchange = self.begin_exchange(iu.tag)?;
        self.counters.task_management += 1;
        Ok(Received::TaskManagement(TaskManagement {
            channel: self.id,
            exchange,
            lun: iu.lun,
            function: iu.sam_function(),
        }))
    }

    fn receive_credit_response(&mut self, iu: CredRsp) -> Result<Received, ChannelError> {
        if self.credit.answered(iu.tag) {
            return Ok(Received::Nothing);
        }
        Err(ChannelError::UnexpectedResponse {
            iu: Opcode::CRED_RSP,
            tag: iu.tag,
        })
    }

    /// Puts a request in its place behind those that wait for their table.
    #[inline(always)]
    pub(super) fn arrive(
        &mut self,
        exchange: ExchangeId,
        event: ChannelEvent,
        table: Option<ExternalTable>,
    ) {
        if self.arrivals.is_empty() && table.is_none() {
            self.events.push_back(event);
        } else {
            self.arrivals.push_back(Arrival {
                exchange,
                event,
                table,
            });
        }
    }

    fn deliver_ready(&mut self) {
        while let Some(arrival) = self.arrivals.pop_front_if(|a| a.table.is_none()) {
            self.events.push_back(arrival.event);
        }
    }

    /// The missing entries of an indirect table have come.
    pub(super) fn complete_table(&mut self, exchange: ExchangeId, fetched: &[u8]) {
        let waiting = self.arrivals.iter().position(|a| a.exchange == exchange);
        let (Some(place), Some(slot)) = (waiting, self.exchanges.get_mut(exchange)) else {
            return;
        };
        let Some(table) = self.arrivals.get_mut(place).and_then(|a| a.table.take()) else {
            return;
        };
        slot.state = State::Executing;
        let completed = table.complete(fetched, &mut slot.segments);
        if table.direction == Direction::DataOut {
            slot.data_out_segments = slot.segments.len();
        }
        if let Err(error) = completed {
            self.arrivals.remove(place);
            self.refuse(exchange, error.into());
        }
        self.deliver_ready();
    }
}
