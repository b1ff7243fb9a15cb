//! Who gets in, and what several sessions see of each other.

use initiator::{Ended, Lun, Nexus, Scsi};

use super::data::{check_blocks, write_blocks};
use super::{Failed, Subject, differs, expect};
use crate::exercise::Pattern;

const FIRST: Pattern = Pattern { seed: 0xa1 };
const SECOND: Pattern = Pattern { seed: 0xa2 };

/// Takes the unit attentions of a new session.
pub(super) fn ready(mut session: Box<dyn Nexus>, lun: Lun) -> Result<Box<dyn Nexus>, Failed> {
    session.await_ready(lun)?;
    Ok(session)
}

/// The listed port is let in, and its logical unit is ready.
pub(super) fn login(subject: &mut Subject) -> Result<String, Failed> {
    let nexus = subject.nexus()?;
    let most = nexus.most_outstanding();
    Ok(format!("let in, {most} commands may be outstanding"))
}

/// Another initiator is refused by the protocol's own answer.
pub(super) fn stranger(subject: &mut Subject) -> Result<String, Failed> {
    let stranger = subject.target.stranger.as_ref();
    let stranger = stranger.ok_or(Failed::Impossible("its access list is not ours"))?;
    let name = stranger.initiator();
    match subject.line.log_in_as(stranger, 9) {
        Err(error) => match error.refusal() {
            Some(refusal) => Ok(format!("{name} is refused: {refusal}")),
            None => Err(differs("a refused login", error.to_string())),
        },
        Ok(_) => Err(differs(
            format!("a refused login of {name}"),
            "it was let in",
        )),
    }
}

/// Two sessions work at the same time, and each reads what the other wrote.
pub(super) fn two_sessions(subject: &mut Subject) -> Result<String, Failed> {
    let (lun, block_bytes) = (subject.target.lun, subject.capacity.block_bytes);
    let mut second = ready(subject.line.log_in(1)?, lun)?;
    let first = subject.nexus()?;
    for nexus in [&mut *first, &mut *second] {
        nexus.set_slots(1, 8 * block_bytes as usize)?;
    }
    write_blocks(first, lun, block_bytes, (100, 8), FIRST)?;
    write_blocks(&mut *second, lun, block_bytes, (200, 8), SECOND)?;
    // Both are on their way before either is waited for.
    let there = |nexus: &mut dyn Nexus| end(nexus);
    there(first)?;
    there(&mut *second)?;
    check_blocks(first, lun, block_bytes, (200, 8), SECOND)?;
    check_blocks(&mut *second, lun, block_bytes, (100, 8), FIRST)?;
    second.log_out();
    // The end of one session is none of the other.
    check_blocks(first, lun, block_bytes, (200, 8), SECOND)?;
    Ok("each reads what the other wrote, and one outlives the other".to_owned())
}

fn end(nexus: &mut dyn Nexus) -> Result<(), Failed> {
    match nexus.next_ended(super::tasks::PATIENCE)? {
        Some((0, Ended::Answered(answer))) if answer.is_good() => Ok(()),
        other => Err(differs("a write that ends well", format!("{other:?}"))),
    }
}

/// What was written is there after logout and login.
pub(super) fn relogin(subject: &mut Subject) -> Result<String, Failed> {
    let (lun, block_bytes) = (subject.target.lun, subject.capacity.block_bytes);
    let before = subject.nexus()?.read_capacity(lun)?;
    if let Some(session) = subject.session.take() {
        session.log_out();
    }
    let nexus = subject.nexus()?;
    expect("the same capacity,", &before, &nexus.read_capacity(lun)?)?;
    check_blocks(nexus, lun, block_bytes, (100, 8), FIRST)?;
    check_blocks(nexus, lun, block_bytes, (200, 8), SECOND)?;
    Ok("logged out and in again, every byte as it was".to_owned())
}
