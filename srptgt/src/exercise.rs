//! Commands in numbers over one session: fill a logical unit, read it back, measure it.
//!
//! Room: between a session of ours, whatever transport carries it, and whoever asks for figures. It may touch the
//! session and its thread, nothing else; what it writes can be told from everything else ([`Pattern`]).

use std::time::{Duration, Instant};

use ::initiator::scsi::Capacity;
use ::initiator::{Answer, Ended, ExecuteError, Lun, Nexus, SlotCommand, SlotData, cdb};

mod dial;
mod initiator;
mod job;
mod measure;
mod pattern;

pub use self::initiator::{Initiator, InitiatorGone};
pub use dial::{Dial, DiscoveryError, Line, RdmaPort};
pub use job::{Fill, Job, ReadBack};
pub use measure::{Access, Content, Measure, Measured, Mix};
pub use pattern::{Mismatch, Pattern};

/// Longest time for which nothing may end: longer than a command's own limit.
const STANDSTILL: Duration = Duration::from_secs(40);

/// How often it is looked for room in a window that nobody says anything of.
const LOOK: Duration = Duration::from_millis(20);

/// Why an exercise ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExerciseError {
    /// The session failed.
    #[error(transparent)]
    Session(#[from] ExecuteError),
    /// More commands were to be outstanding than can be.
    #[error(
        "the target grants {granted} outstanding commands, {depth} were asked for; choose a smaller depth"
    )]
    Depth {
        /// What was asked for.
        depth: usize,
        /// What there is.
        granted: usize,
    },
    /// A command was answered with something else than GOOD.
    #[error("{kind} of {len} bytes at byte {at}: the target answered {answer}", kind = .command.direction, len = .command.len_bytes, at = .command.offset_bytes)]
    Answer {
        /// The command.
        command: Command,
        /// What came.
        answer: Box<Answer>,
    },
    /// A command got no answer.
    #[error("{kind} of {len} bytes at byte {at}: no answer; the target is gone, or stands still", kind = .0.direction, len = .0.len_bytes, at = .0.offset_bytes)]
    Unanswered(Command),
    /// A command got no answer, because the session is over.
    #[error("{kind} of {len} bytes at byte {at}: {reason}", kind = .command.direction, len = .command.len_bytes, at = .command.offset_bytes)]
    Lost {
        /// The command.
        command: Command,
        /// Why.
        reason: Box<ExecuteError>,
    },
    /// No command can be sent, although none is outstanding.
    #[error(
        "the target takes no command, although none is outstanding; it stands still, or its window is never opened again"
    )]
    NoRoom,
    /// Something ended that this room has not begun.
    #[error("a command ended that was not sent; this is a defect, please report it")]
    Nothing,
    /// Latencies cannot be counted.
    #[error("latencies cannot be counted: {0}")]
    Latency(#[from] hdrhistogram::CreationError),
    /// Other bytes came back than were written.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// Which way the data of a command goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// READ (16).
    Read,
    /// WRITE (16).
    Write,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// A READ or WRITE of whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Which way.
    pub direction: Direction,
    /// Where it begins.
    pub offset_bytes: u64,
    /// How long it is.
    pub len_bytes: usize,
}

/// Where commands go.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The logical unit.
    pub lun: Lun,
    /// Its medium.
    pub capacity: Capacity,
}

/// Memory for the data of one command.
pub struct Slot<'a> {
    nexus: &'a mut dyn Nexus,
    number: usize,
}

impl Slot<'_> {
    /// Its number.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Puts the data of a WRITE there. Returns false when it is too long.
    #[must_use]
    pub fn write(&mut self, from: &[u8]) -> bool {
        self.nexus.write_slot(self.number, from)
    }

    /// Copies the data of a READ. Returns false when it is not that long.
    #[must_use]
    pub fn read(&mut self, into: &mut [u8]) -> bool {
        self.nexus.read_slot(self.number, into)
    }
}

#[derive(Clone, Copy)]
struct Flight {
    command: Command,
    since: Instant,
}

/// Keeps `depth` commands of a job outstanding until the job has no more. The session must have the memory for their
/// data.
///
/// # Errors
/// The first thing that went wrong; what is outstanding then ends with the session.
pub fn run(
    nexus: &mut dyn Nexus,
    place: Place,
    depth: usize,
    job: &mut impl Job,
) -> Result<(), ExerciseError> {
    let granted = nexus.most_outstanding();
    if depth > granted {
        return Err(ExerciseError::Depth { depth, granted });
    }
    nexus.set_slots(depth, job.longest_bytes())?;
    let mut idle: Vec<usize> = (0..depth).collect();
    let mut flights = vec![None; depth];
    let mut has_more = depth > 0;
    loop {
        while has_more
            && nexus.has_room()
            && let Some(number) = idle.pop()
        {
            let Some(command) = job.next(&mut Slot { nexus, number }) else {
                idle.push(number);
                has_more = false;
                break;
            };
            let flight = launch(nexus, place, command, number)?;
            if let Some(place) = flights.get_mut(number) {
                *place = Some(flight);
            }
        }
        match idle.len() == depth {
            true if has_more => wait_for_room(nexus)?,
            true => return Ok(()),
            false => idle.push(land(nexus, &mut flights, job)?),
        }
    }
}

/// Nothing is outstanding, and nothing can be sent: a session that is being logged out ends, and one whose target has closed
/// its window goes on.
fn wait_for_room(nexus: &mut dyn Nexus) -> Result<(), ExerciseError> {
    let limit = Instant::now() + STANDSTILL;
    while !nexus.has_room() {
        if Instant::now() >= limit {
            return Err(ExerciseError::NoRoom);
        }
        nexus.next_ended(LOOK)?;
    }
    Ok(())
}

fn launch(
    nexus: &mut dyn Nexus,
    place: Place,
    command: Command,
    number: usize,
) -> Result<Flight, ExerciseError> {
    let block_bytes = u64::from(place.capacity.block_bytes.max(1));
    let lba = command.offset_bytes / block_bytes;
    let blocks = command.len_bytes as u64 / block_bytes;
    let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
    let (cdb, data) = match command.direction {
        Direction::Read => (cdb::read(lba, blocks), SlotData::In(command.len_bytes)),
        Direction::Write => (cdb::write(lba, blocks), SlotData::Out(command.len_bytes)),
    };
    let since = Instant::now();
    let lun = place.lun;
    let cdb = &cdb;
    nexus.send(number, &SlotCommand { lun, cdb, data })?;
    Ok(Flight { command, since })
}

/// What else was outstanding comes out first; then the session says why it is over.
fn lost(nexus: &mut dyn Nexus, command: Command) -> ExerciseError {
    loop {
        match nexus.next_ended(Duration::ZERO) {
            Ok(Some(_)) => {}
            Ok(None) => return ExerciseError::Unanswered(command),
            Err(reason) => {
                let reason = Box::new(reason);
                return ExerciseError::Lost { command, reason };
            }
        }
    }
}

/// Waits for the end of a command; gives back its slot when it ended well.
fn land(
    nexus: &mut dyn Nexus,
    flights: &mut [Option<Flight>],
    job: &mut impl Job,
) -> Result<usize, ExerciseError> {
    let (number, ended) = nexus.next_ended(STANDSTILL)?.unwrap_or((0, Ended::Overdue));
    let landed = flights.get_mut(number).and_then(Option::take);
    // When nothing ends any more, the first command stands for all.
    let flight = landed.or_else(|| flights.iter().flatten().next().copied());
    let Some(Flight { command, since }) = flight else {
        return Err(ExerciseError::Nothing);
    };
    let taken = since.elapsed();
    match ended {
        Ended::Answered(answer) if answer.is_good() => {
            job.done(command, taken, &mut Slot { nexus, number })?;
            Ok(number)
        }
        Ended::Answered(answer) => {
            let answer = Box::new(answer);
            Err(ExerciseError::Answer { command, answer })
        }
        Ended::Lost => Err(lost(nexus, command)),
        Ended::Aborted | Ended::Overdue => Err(ExerciseError::Unanswered(command)),
    }
}

#[cfg(test)]
mod tests;
