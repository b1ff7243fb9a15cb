//! A command comes in: to which logical unit, and whether it may enter the task set.

use iobuf::Buf;

use crate::cdb::Cdb;
use crate::command::{Command, TaskAttribute};
use crate::ending::Ending;
use crate::lun::Lun;
use crate::nexus::{LuId, Nexus, NexusId};
use crate::opcode::{self, Access, Data, Function, Row};
use crate::request::{Addressed, LOGICAL_UNIT_NOT_SUPPORTED, Refusal};
use crate::sense::{AdditionalSense, Sense};
use crate::status::Status;
use crate::target::{Target, page};
use crate::task::{Audience, Origin, State, Task};

/// What a LUN field leads to, for one nexus.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route {
    /// A mapped logical unit.
    Unit { number: u8, lu: LuId },
    /// Anything else.
    Elsewhere(Addressed<'static>),
}

impl Route {
    pub(super) fn find(nexus: &Nexus, lun: Lun) -> Self {
        let number = lun.flat().and_then(|flat| u8::try_from(flat).ok());
        match number.and_then(|number| nexus.mapping(number)) {
            Some(mapping) => Route::Unit {
                number: mapping.entry.number,
                lu: mapping.entry.lu,
            },
            None if number == Some(0) => Route::Elsewhere(Addressed::LunZero),
            None if lun == Lun::WELL_KNOWN_REPORT_LUNS => {
                Route::Elsewhere(Addressed::ReportLunsWellKnown)
            }
            None => Route::Elsewhere(Addressed::Nothing),
        }
    }
}

impl Target {
    /// A command came. It ends exactly once: as [`crate::target::Next::Done`], as
    /// [`crate::target::Next::Aborted`], or with its connection.
    pub fn submit(&mut self, nexus: NexusId, mut command: Command) {
        self.totals.commands += 1;
        let Some(known) = self.nexuses.get(nexus.0) else {
            // A connection's last commands may come after its nexus has ended.
            self.totals.abandoned += 1;
            return;
        };
        match Route::find(known, command.lun) {
            Route::Unit { number, lu } => self.submit_to_unit(nexus, number, lu, &mut command),
            Route::Elsewhere(addressed) => self.submit_elsewhere(nexus, addressed, &command),
        }
        self.settle();
    }

    /// The command stays where it is until its task is made: it is large.
    fn submit_to_unit(&mut self, nexus: NexusId, number: u8, lu: LuId, command: &mut Command) {
        let origin = origin(nexus, Some(number), command);
        match self.admit(&origin, lu, command) {
            Ok(row) => self.enter(origin, lu, row, command),
            Err(refusal) => self.answer(&origin, None, Ending::refused(refusal)),
        }
    }

    /// Unit attentions come before everything (SAM-5), reservations before what the CDB says.
    #[inline]
    fn admit(
        &mut self,
        origin: &Origin,
        lu: LuId,
        command: &Command,
    ) -> Result<&'static Row, Refusal> {
        let (Some(nexus), Some(unit)) =
            (self.nexuses.get_mut(origin.nexus.0), self.units.get(lu.0))
        else {
            return Err(LOGICAL_UNIT_NOT_SUPPORTED.into());
        };
        let row = opcode::find(Cdb::new(&command.cdb));
        let is_served_always = row.is_ok_and(|row| row.always);
        let attention = origin.number.filter(|_| !is_served_always);
        if let Some(sense) = attention.and_then(|number| nexus.take_attention(number)) {
            self.totals.unit_attentions += 1;
            return Err(sense.into());
        }
        let row = row?;
        if row.access == Access::Conflict && unit.lu.reservation.conflicts_with(&nexus.id) {
            return Err(Refusal::Status(Status::RESERVATION_CONFLICT));
        }
        check(row, command)?;
        if self.tasks.is_full() {
            self.totals.task_set_full += 1;
            return Err(Refusal::Status(Status::TASK_SET_FULL));
        }
        Ok(row)
    }

    #[inline]
    fn enter(&mut self, origin: Origin, lu: LuId, row: &'static Row, command: &mut Command) {
        let Some(unit) = self.units.get_mut(lu.0) else {
            return;
        };
        let set = &mut unit.task_set;
        let attribute = command.attribute;
        let is_enabled = row.always || set.enables(attribute, set.all());
        set.enter(attribute);
        self.arrivals += 1;
        let arrival = self.arrivals;
        let id = self.tasks.insert_with(|| Task {
            origin,
            tag: command.tag,
            lu,
            row,
            attribute,
            cdb: command.cdb,
            data_out: immediate(row, command.immediate.take(), origin.data_out_len),
            arrival,
            state: State::Received,
            audience: Audience::Initiator,
        });
        self.tasks.in_unit.push_back(&mut set.tasks, id.index);
        if is_enabled {
            self.start(id);
        } else {
            set.dormant += 1;
            self.tasks.set_state(id, State::Dormant);
        }
    }

    /// Answers at once, or says BUSY: what is no logical unit has no task set to wait in.
    fn submit_elsewhere(
        &mut self,
        nexus: NexusId,
        addressed: Addressed<'static>,
        command: &Command,
    ) {
        let origin = origin(nexus, None, command);
        let ending = self
            .answer_elsewhere(&origin, addressed, command)
            .unwrap_or_else(Ending::refused);
        self.answer(&origin, None, ending);
    }

    fn answer_elsewhere(
        &mut self,
        origin: &Origin,
        addressed: Addressed<'static>,
        command: &Command,
    ) -> Result<Ending, Refusal> {
        let row = elsewhere_row(addressed, command)?;
        let cdb = Cdb::new(&command.cdb);
        let nexus = self.nexuses.get_mut(origin.nexus.0);
        let (Function::Answer(function), Some(nexus)) = (row.function, nexus) else {
            return Ok(Ending::default());
        };
        let buf = match page::buffer_len(row, cdb, origin.data_in_len, &self.data) {
            0 => None,
            len => Some(self.data.take(len).ok_or(Refusal::Status(Status::BUSY))?),
        };
        let page = &mut self.page;
        page.fill(function, cdb, addressed, nexus)?;
        Ok(page.ending(row, cdb, buf))
    }
}

fn origin(nexus: NexusId, number: Option<u8>, command: &Command) -> Origin {
    Origin {
        nexus,
        channel: command.channel,
        exchange: command.exchange,
        number,
        data_in_len: command.data_in_len,
        data_out_len: command.data_out_len,
    }
}

/// The commands that there are where no logical unit is.
fn elsewhere_row(
    addressed: Addressed<'static>,
    command: &Command,
) -> Result<&'static Row, Refusal> {
    let is_well_known = matches!(addressed, Addressed::ReportLunsWellKnown);
    let row = opcode::find(Cdb::new(&command.cdb))
        .ok()
        .filter(|row| row.always || is_well_known && row.opcode() == opcode::TEST_UNIT_READY);
    match row {
        Some(row) => check(row, command).map(|()| row),
        None if is_well_known => {
            Err(Sense::illegal_request(AdditionalSense::INVALID_COMMAND_OPERATION_CODE).into())
        }
        None => Err(LOGICAL_UNIT_NOT_SUPPORTED.into()),
    }
}

/// NACA, bit 2 of CONTROL (SAM-5).
const NACA: u8 = 2;

/// What is wrong with a command whatever its function is.
#[inline]
fn check(row: &Row, command: &Command) -> Result<(), Refusal> {
    let first_missing = command.cdb.len();
    if first_missing < row.cdb_len() {
        return Err(Sense::invalid_field_in_cdb(first_missing.into(), None).into());
    }
    Cdb::new(&command.cdb).refuse_bit(row.cdb_len() - 1, NACA)?;
    if command.attribute == TaskAttribute::Aca {
        // There is no auto contingent allegiance that it could be for (SAM-5).
        return Err(Sense::illegal_request(AdditionalSense::INVALID_MESSAGE_ERROR).into());
    }
    // What would be read has no room then, which is an overflow like any other; what would be written is not there.
    let (data_in, data_out) = (command.data_in_len != 0, command.data_out_len != 0);
    match row.data == Data::Out && data_in && !data_out {
        true => Err(Sense::illegal_request(
            AdditionalSense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT,
        )
        .into()),
        false => Ok(()),
    }
}

/// The data that came with a command, when the command has any use for it.
#[inline]
fn immediate(row: &Row, buf: Option<Buf>, data_out_len: u32) -> Option<Buf> {
    let mut buf = buf.filter(|_| row.data == Data::Out)?;
    buf.truncate(data_out_len as usize);
    Some(buf)
}
