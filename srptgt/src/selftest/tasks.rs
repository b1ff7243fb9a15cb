//! Task management (SAM-5 clause 7): what is ended ends once, and everything goes on afterwards.

use std::time::Duration;

use initiator::{
    Answer, Data, Ended, Lun, Nexus, Scsi, ServiceResponse, SlotCommand, SlotData, TaskManagement,
    cdb,
};

use super::data::{check_blocks, write_blocks};
use super::{Failed, Subject, differs, expect};
use crate::exercise::Pattern;

/// How long the end of a command may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

/// Commands outstanding.
const COMMANDS: usize = 8;

const COMMAND_BYTES: usize = 256 << 10;

const BEFORE: Pattern = Pattern { seed: 0xb1 };
const ABORTED: Pattern = Pattern { seed: 0xb2 };

/// ABORT TASK. When commands can be held up, a WRITE is ended before it reaches the medium; else the last of several
/// READs may have been answered before.
pub(super) fn abort(subject: &mut Subject) -> Result<String, Failed> {
    match subject.target.stall.take() {
        Some(stall) => {
            let done = abort_held(subject, &stall);
            let released = stall(false);
            subject.target.stall = Some(stall);
            released.map_err(|error| differs("a LUN that goes on", format!("{error:#}")))?;
            done
        }
        None => abort_running(subject),
    }
}

fn abort_held(subject: &mut Subject, stall: &super::Stall) -> Result<String, Failed> {
    let (lun, block_bytes) = (subject.target.lun, subject.capacity.block_bytes);
    let nexus = subject.nexus()?;
    nexus.set_slots(2, 8 * block_bytes as usize)?;
    write_blocks(nexus, lun, block_bytes, (300, 8), BEFORE)?;
    ended(nexus, 1)?;
    stall(true).map_err(|error| differs("a LUN that waits", format!("{error:#}")))?;
    write_blocks(nexus, lun, block_bytes, (300, 8), ABORTED)?;
    let response = nexus.manage(TaskManagement::AbortTask(0))?;
    expect(
        "service response",
        &ServiceResponse::FunctionComplete,
        &response,
    )?;
    let came = ended(nexus, 1)?;
    stall(false).map_err(|error| differs("a LUN that goes on", format!("{error:#}")))?;
    expect("end of the command", &vec![Ended::Aborted], &came)?;
    check_blocks(nexus, lun, block_bytes, (300, 8), BEFORE)?;
    Ok("a held WRITE was ended, and never reached the medium".to_owned())
}

fn abort_running(subject: &mut Subject) -> Result<String, Failed> {
    let lun = subject.target.lun;
    send_reads(subject)?;
    let nexus = subject.nexus()?;
    let response = nexus.manage(TaskManagement::AbortTask(COMMANDS - 1))?;
    let aborted = all_ended(nexus)?;
    if aborted > 0 {
        expect(
            "service response",
            &ServiceResponse::FunctionComplete,
            &response,
        )?;
    }
    nexus.await_ready(lun)?;
    Ok(format!(
        "{response:?}, {aborted} of {COMMANDS} READs ended without an answer"
    ))
}

/// LOGICAL UNIT RESET with commands outstanding: all of them end, the logical unit tells of it, and goes on.
pub(super) fn lun_reset(subject: &mut Subject) -> Result<String, Failed> {
    let lun = subject.target.lun;
    send_reads(subject)?;
    let nexus = subject.nexus()?;
    let response = nexus.manage(TaskManagement::LogicalUnitReset(lun))?;
    let aborted = all_ended(nexus)?;
    expect(
        "service response",
        &ServiceResponse::FunctionComplete,
        &response,
    )?;
    let first = nexus.execute(lun, &cdb::TEST_UNIT_READY, Data::None)?;
    if !first.is_good() && !tells_of_reset(&first) {
        return Err(differs(
            "GOOD, or a unit attention with 29h",
            first.to_string(),
        ));
    }
    nexus.await_ready(lun)?;
    Ok(format!(
        "{aborted} of {COMMANDS} READs ended without an answer, then {first}"
    ))
}

/// UNIT ATTENTION, POWER ON, RESET, OR BUS DEVICE RESET OCCURRED and its kin.
fn tells_of_reset(answer: &Answer) -> bool {
    let code = answer.additional_sense().map(|code| code.0 >> 8);
    answer.sense.is_some_and(|sense| sense.key() == 6) && code == Some(0x29)
}

fn send_reads(subject: &mut Subject) -> Result<(), Failed> {
    let (lun, block_bytes) = (subject.target.lun, subject.capacity.block_bytes);
    let nexus = subject.nexus()?;
    nexus.set_slots(COMMANDS, COMMAND_BYTES)?;
    let blocks = u32::try_from(COMMAND_BYTES).unwrap_or(u32::MAX) / block_bytes.max(1);
    for slot in 0..COMMANDS {
        send_read(nexus, lun, slot, blocks)?;
    }
    Ok(())
}

fn send_read(nexus: &mut dyn Nexus, lun: Lun, slot: usize, blocks: u32) -> Result<(), Failed> {
    let command = SlotCommand {
        lun,
        cdb: &cdb::read(slot as u64 * u64::from(blocks), blocks),
        data: SlotData::In(COMMAND_BYTES),
    };
    Ok(nexus.send(slot, &command)?)
}

/// How the next commands end.
fn ended(nexus: &mut dyn Nexus, count: usize) -> Result<Vec<Ended>, Failed> {
    let mut all = Vec::new();
    for number in 0..count {
        let next = nexus.next_ended(PATIENCE)?;
        let (_, ended) = next.ok_or_else(|| {
            differs(
                format!("{count} commands that end"),
                format!("{number} that did"),
            )
        })?;
        all.push(ended);
    }
    Ok(all)
}

/// All READs end, each once and well; returns how many were aborted.
fn all_ended(nexus: &mut dyn Nexus) -> Result<usize, Failed> {
    let all = ended(nexus, COMMANDS)?;
    let is_well = |ended: &&Ended| match ended {
        Ended::Answered(answer) => answer.is_good(),
        Ended::Aborted => true,
        Ended::Lost | Ended::Overdue => false,
    };
    match all.iter().find(|ended| !is_well(ended)) {
        None => Ok(all.iter().filter(|ended| **ended == Ended::Aborted).count()),
        Some(other) => Err(differs(
            "READs that are answered or aborted",
            format!("{other:?}"),
        )),
    }
}
