//! SCSI Command: from its headers to the core (RFC 7143 11.3).

use iobuf::Buf;
use target_core::command::{
    CDB_BYTES, CdbBytes, Command, ExchangeId, Outcome, Residual, TaskAttribute,
};
use target_core::port::ChannelEvent;
use target_core::sense::{AdditionalSense, Sense, SenseKey};
use target_core::status::Status;

use super::Connection;
use super::answer::ConnectionError;
use super::exchange::State;
use super::outbox::Outgoing;
use super::receive::{Current, Head};
use super::window::Turn;
use crate::Sn;
use crate::pdu::{Ahs, Opcode, RESERVED_TAG, RejectReason, ScsiCommand};

/// What a command says about itself and its buffers.
struct Plan {
    attribute: TaskAttribute,
    cdb: CdbBytes,
    data_in_len: u32,
    data_out_len: u32,
    /// How far unsolicited data go; the immediate data are their beginning.
    unsolicited_end: u32,
    /// Data-Out PDUs follow without an R2T.
    pdus_follow: bool,
}

/// Why a command is not given to the core.
enum Refusal {
    Reject(RejectReason),
    Status(Status, Option<Sense>),
}

impl Connection {
    /// Judges a command, and makes its place and its buffer ready for the data that come with it.
    pub(super) fn begin_command(&mut self, head: &Head) -> Result<(), ConnectionError> {
        let pdu = ScsiCommand::parse(&head.bhs)?;
        let mut plan = self.plan(&pdu, head);
        // A buffer first: what has to wait for one has not happened yet.
        let mut held = None;
        if let Some(needed) = plan
            .as_ref()
            .ok()
            .and_then(|plan| self.held_bytes(plan, head))
        {
            held = self.data.take(needed as usize);
            if held.is_some() {
                self.timers.fed();
            } else {
                if self.may_starve() {
                    self.current = Current::Starved(needed);
                    return Ok(());
                }
                plan = Err(Refusal::Status(Status::BUSY, None));
            }
        }
        if !self.take_turn(pdu.immediate, pdu.cmd_sn)? {
            return Ok(());
        }
        self.counters.commands += 1;
        if let Ok(plan) = &plan {
            self.check_stags(plan, head)?;
        }
        match (
            self.begin_exchange(pdu.immediate, pdu.initiator_task_tag),
            plan,
        ) {
            (Err(reason), _) => self.reject(reason),
            (Ok(exchange), Ok(plan)) => self.prepare(exchange, &pdu, plan, head, held),
            (Ok(exchange), Err(refusal)) => {
                self.refuse(exchange, pdu.expected_data_transfer_length, refusal);
            }
        }
        Ok(())
    }

    fn plan(&self, pdu: &ScsiCommand, head: &Head) -> Result<Plan, Refusal> {
        let invalid = |_| Refusal::Reject(RejectReason::INVALID_PDU_FIELD);
        let attribute = pdu.attribute.attribute().map_err(invalid)?;
        let ahs = Ahs::parse(&head.ahs).map_err(invalid)?;
        let length = pdu.expected_data_transfer_length;
        let data_in_len = match (pdu.read, pdu.write) {
            (true, true) => ahs.bidirectional_read_length.unwrap_or(0),
            (true, false) => length,
            (false, _) => 0,
        };
        let data_out_len = if pdu.write { length } else { 0 };
        let (unsolicited_end, pdus_follow) = self.unsolicited(pdu, head.data, data_out_len)?;
        Ok(Plan {
            attribute,
            cdb: cdb_bytes(pdu, ahs.extended_cdb),
            data_in_len,
            data_out_len,
            unsolicited_end,
            pdus_follow,
        })
    }

    /// How far unsolicited data go, and whether Data-Out PDUs bring some of them (RFC 7143 4.2.5.2, 11.4.7.2, 13.10, 13.11).
    fn unsolicited(
        &self,
        pdu: &ScsiCommand,
        immediate: u32,
        data_out_len: u32,
    ) -> Result<(u32, bool), Refusal> {
        let agreed = &self.agreed;
        let follows = pdu.write && !pdu.is_final;
        if immediate > data_out_len {
            return Err(Refusal::Reject(RejectReason::INVALID_PDU_FIELD));
        }
        if immediate != 0 && !agreed.immediate_data || follows && agreed.initial_r2t {
            return Err(aborted(AdditionalSense::UNEXPECTED_UNSOLICITED_DATA));
        }
        if immediate > agreed.first_burst_length {
            return Err(aborted(AdditionalSense::NOT_ENOUGH_UNSOLICITED_DATA));
        }
        if !follows {
            return Ok((immediate, false));
        }
        let end = agreed.first_burst_length.min(data_out_len);
        Ok((end, immediate < end))
    }

    /// Bytes of the buffer that unsolicited data need until the core asks for them. Data that came whole in a message need none.
    fn held_bytes(&self, plan: &Plan, head: &Head) -> Option<u32> {
        let is_whole_message = !self.is_tcp() && head.data == plan.data_out_len;
        (plan.unsolicited_end != 0 && !is_whole_message).then_some(plan.unsolicited_end)
    }

    /// Over iSER, what is to be moved must have its memory.
    fn check_stags(&self, plan: &Plan, head: &Head) -> Result<(), ConnectionError> {
        if self.is_tcp() {
            return Ok(());
        }
        if plan.data_in_len != 0 && head.read_stag.is_none() {
            return Err(ConnectionError::NoStag("the read STag"));
        }
        if plan.data_out_len > plan.unsolicited_end && head.write_stag.is_none() {
            return Err(ConnectionError::NoStag("the write STag"));
        }
        Ok(())
    }

    /// Whether the request is to be taken: it is immediate, or its CmdSN is the next. What is taken but has no place in this
    /// session is rejected here.
    #[inline(always)]
    pub(super) fn take_turn(
        &mut self,
        immediate: bool,
        cmd_sn: Sn,
    ) -> Result<bool, ConnectionError> {
        if !immediate {
            match self.window.arrive(cmd_sn) {
                Turn::Now => {}
                Turn::Ignored => {
                    self.counters.outside_window += 1;
                    return Ok(false);
                }
                Turn::Gap => {
                    let expected = self.window.expected();
                    let found = cmd_sn;
                    return Err(ConnectionError::CommandGap { expected, found });
                }
            }
        }
        if self.logout.is_some() {
            self.reject(RejectReason::WAITING_FOR_LOGOUT);
            return Ok(false);
        }
        if self.is_discovery() && !self.is_for_discovery() {
            self.reject(RejectReason::COMMAND_NOT_SUPPORTED);
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes a place for a request that the core is going to have.
    #[inline(always)]
    pub(super) fn begin_exchange(
        &mut self,
        immediate: bool,
        initiator_task_tag: u32,
    ) -> Result<ExchangeId, RejectReason> {
        if initiator_task_tag == RESERVED_TAG {
            return Err(RejectReason::INVALID_PDU_FIELD);
        }
        if self.exchanges.find(initiator_task_tag).is_some() {
            return Err(RejectReason::TASK_IN_PROGRESS);
        }
        let has_place = match Opcode::of(&self.last_bhs) {
            Opcode::TASK_MANAGEMENT_REQUEST => self.window.begin_management(immediate),
            _ => self.window.begin(immediate),
        };
        // Other requests find a place by the window.
        let too_many = RejectReason::TOO_MANY_IMMEDIATE_COMMANDS;
        if !has_place {
            return Err(too_many);
        }
        let Some(exchange) = self.exchanges.begin(initiator_task_tag) else {
            self.window.end(immediate);
            return Err(too_many);
        };
        if let Some(slot) = self.exchanges.get_mut(exchange) {
            slot.immediate = immediate;
        }
        Ok(exchange)
    }

    fn prepare(
        &mut self,
        exchange: ExchangeId,
        pdu: &ScsiCommand,
        plan: Plan,
        head: &Head,
        held: Option<Buf>,
    ) {
        if let Some(slot) = self.exchanges.get_mut(exchange) {
            slot.lun = pdu.lun;
            slot.read = pdu.read;
            slot.bidirectional = pdu.read && pdu.write;
            slot.write_stag = head.write_stag;
            slot.read_stag = head.read_stag;
            let (end, pdus_follow) = (plan.unsolicited_end, plan.pdus_follow);
            slot.data_out.expect_unsolicited(end, pdus_follow, held);
        }
        let command = Command {
            channel: self.id,
            exchange,
            tag: u64::from(pdu.initiator_task_tag),
            lun: pdu.lun,
            attribute: plan.attribute,
            cdb: plan.cdb,
            data_in_len: plan.data_in_len,
            data_out_len: plan.data_out_len,
            immediate: None,
        };
        // Without a data segment nothing of it is still to come.
        match head.data {
            0 => self.end_command(command),
            _ => self.current = Current::Command(command),
        }
    }

    /// All of the command PDU is here: it goes to the core, with its data when they are whole.
    pub(super) fn end_command(&mut self, mut command: Command) {
        let Some(slot) = self.exchanges.get_mut(command.exchange) else {
            return;
        };
        slot.state = State::Executing;
        slot.write_stag_begin = slot.data_out.received();
        if command.immediate.is_none() && command.data_out_len != 0 {
            command.immediate = slot.data_out.take_whole(command.data_out_len);
        }
        self.counters.immediate_writes += u64::from(command.immediate.is_some());
        self.events.push_back(ChannelEvent::Command(command));
    }

    /// Answers a command whose immediate data were damaged on their way.
    #[cold]
    pub(super) fn lose_command(&mut self, command: &Command) {
        self.counters.data_out_lost += 1;
        let len = command.data_out_len;
        let refusal = aborted(AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR);
        self.refuse(command.exchange, len, refusal);
    }

    /// Answers a command that never reaches the core, for which `len` bytes would have been moved.
    #[cold]
    fn refuse(&mut self, exchange: ExchangeId, len: u32, refusal: Refusal) {
        self.counters.refused_commands += 1;
        let (status, sense) = match refusal {
            Refusal::Reject(reason) => {
                self.reject(reason);
                self.end_exchange(exchange);
                return;
            }
            Refusal::Status(status, sense) => (status, sense),
        };
        if let Some(slot) = self.exchanges.get_mut(exchange) {
            slot.state = State::Executing;
        }
        let residual = Residual::of(len, 0);
        let outcome = Outcome {
            status,
            sense,
            data_in: None,
            data_in_residual: Residual::None,
            data_out_residual: residual,
        };
        self.respond(exchange, outcome);
    }

    /// Queues the end of a command.
    #[inline(always)]
    pub(super) fn respond(&mut self, exchange: ExchangeId, outcome: Outcome) {
        let slot = self.exchanges.get_mut(exchange);
        if let Some(slot) = slot.filter(|slot| slot.state == State::Executing) {
            slot.state = State::Responding;
            let response = Outgoing::Response { exchange, outcome };
            self.outbox.push_back(response);
        }
    }
}

/// The CDB with its continuation.
fn cdb_bytes(pdu: &ScsiCommand, extended: Option<&[u8]>) -> CdbBytes {
    let Some(extended) = extended else {
        return CdbBytes::new(&pdu.cdb);
    };
    let mut cdb = [0; CDB_BYTES];
    let (first, rest) = cdb.split_at_mut(pdu.cdb.len());
    first.copy_from_slice(&pdu.cdb);
    let count = rest.len().min(extended.len());
    rest[..count].copy_from_slice(&extended[..count]);
    let len = pdu.cdb.len() + count;
    CdbBytes::new(&cdb[..len])
}

fn aborted(code: AdditionalSense) -> Refusal {
    let sense = Sense::new(SenseKey::AbortedCommand, code);
    Refusal::Status(Status::CHECK_CONDITION, Some(sense))
}
