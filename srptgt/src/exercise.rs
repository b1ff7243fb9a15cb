//! Commands in numbers over one session: fill a logical unit, read it back, measure it.
//!
//! Room: between an SRP session of ours and whoever asks for figures. It may touch the session, nothing else; what it
//! writes can be told from everything else ([`Pattern`]).

use std::time::{Duration, Instant};

use initiator::machine::{Answer, Outcome, RequestId};
use initiator::scsi::Capacity;
use initiator::{
    DataBuffer, Finished, Lun, Refused, Request, Session, SessionError, Transfer, cdb,
};

mod job;
mod measure;
mod pattern;

pub use job::{Fill, Job, ReadBack};
pub use measure::{Measure, Measured, Mix};
pub use pattern::{Mismatch, Pattern};

/// Longest time for which nothing may end: longer than a command's own limit.
const STANDSTILL: Duration = Duration::from_secs(40);

/// Why an exercise ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExerciseError {
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A command was answered with something else than GOOD.
    #[error("{kind} of {len} bytes at byte {at}: the target answered {answer}", kind = .command.direction, len = .command.len_bytes, at = .command.offset_bytes)]
    Answer {
        /// The command.
        command: Command,
        /// What came.
        answer: Box<Answer>,
    },
    /// A command got no answer.
    #[error("{kind} of {len} bytes at byte {at}: no answer; the session or the target is gone", kind = .0.direction, len = .0.len_bytes, at = .0.offset_bytes)]
    Unanswered(Command),
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

struct Flight {
    request: RequestId,
    command: Command,
    since: Instant,
}

/// Keeps `depth` commands of a job outstanding until the job has no more. The session must grant that many, and have
/// the memory for their data.
///
/// # Errors
/// The first thing that went wrong; what is outstanding then ends with the session.
pub fn run(
    session: &mut Session,
    place: Place,
    depth: usize,
    job: &mut impl Job,
) -> Result<(), ExerciseError> {
    let mut buffers = Vec::with_capacity(depth);
    for _ in 0..depth {
        buffers.push(session.buffer(job.longest_bytes())?);
    }
    let mut flights = Vec::with_capacity(depth);
    loop {
        while let Some(mut buffer) = buffers.pop() {
            let Some(command) = job.next(&mut buffer) else {
                break;
            };
            flights.push(launch(session, place, command, buffer)?);
        }
        if flights.is_empty() {
            return Ok(());
        }
        let finished = session.wait(STANDSTILL)?;
        buffers.push(land(&mut flights, finished, job)?);
    }
}

fn launch(
    session: &mut Session,
    place: Place,
    command: Command,
    mut buffer: DataBuffer,
) -> Result<Flight, ExerciseError> {
    let block_bytes = u64::from(place.capacity.block_bytes.max(1));
    let lba = command.offset_bytes / block_bytes;
    let blocks = command.len_bytes as u64 / block_bytes;
    let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
    let fits = buffer.set_len(command.len_bytes);
    debug_assert!(fits, "a job's commands are not longer than its longest");
    let (cdb, transfer) = match command.direction {
        Direction::Read => (cdb::read(lba, blocks), Transfer::In(buffer)),
        Direction::Write => (cdb::write(lba, blocks), Transfer::Out(buffer)),
    };
    let since = Instant::now();
    let request = Request {
        lun: place.lun,
        cdb: &cdb,
        transfer,
    };
    let request = session.submit(request);
    let request = request.map_err(|Refused { error, .. }| error)?;
    Ok(Flight {
        request,
        command,
        since,
    })
}

/// Gives the buffer back of a command that ended well.
fn land(
    flights: &mut Vec<Flight>,
    finished: Option<Finished>,
    job: &mut impl Job,
) -> Result<DataBuffer, ExerciseError> {
    let place = finished.as_ref().and_then(|finished| {
        let is_it = |flight: &Flight| flight.request == finished.request;
        flights.iter().position(is_it)
    });
    // When nothing ends any more, the oldest command stands for all.
    let flight = flights.swap_remove(place.unwrap_or(0));
    let taken = flight.since.elapsed();
    let command = flight.command;
    match finished.map(|finished| (finished.outcome, finished.transfer)) {
        Some((
            Some(Outcome::Answered(answer)),
            Transfer::In(mut buffer) | Transfer::Out(mut buffer),
        )) => {
            if !answer.is_good() {
                let answer = Box::new(answer);
                return Err(ExerciseError::Answer { command, answer });
            }
            job.done(command, taken, &mut buffer)?;
            Ok(buffer)
        }
        _ => Err(ExerciseError::Unanswered(command)),
    }
}
