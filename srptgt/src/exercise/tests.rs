//! A job over a session that ends before the job does.

use ::initiator::{Data, ServiceResponse, SessionError, TaskManagement};
use target_core::command::Residual;
use target_core::status::Status;

use super::*;

/// Takes so many commands, answers all of them, and is over, as after a logout that the target asked for.
struct Parting {
    room: usize,
    outstanding: Vec<usize>,
}

impl Nexus for Parting {
    fn set_slots(&mut self, _: usize, _: usize) -> Result<(), ExecuteError> {
        Ok(())
    }

    fn write_slot(&mut self, _: usize, _: &[u8]) -> bool {
        true
    }

    fn read_slot(&mut self, _: usize, _: &mut [u8]) -> bool {
        true
    }

    fn has_room(&self) -> bool {
        self.room > 0
    }

    fn most_outstanding(&self) -> usize {
        usize::MAX
    }

    fn send(&mut self, slot: usize, _: &SlotCommand<'_>) -> Result<(), ExecuteError> {
        self.room -= 1;
        self.outstanding.push(slot);
        Ok(())
    }

    fn next_ended(&mut self, _: Duration) -> Result<Option<(usize, Ended)>, ExecuteError> {
        let slot = self.outstanding.pop().ok_or(SessionError::Full)?;
        let answer = Answer {
            status: Status::GOOD,
            sense: None,
            data_out_residual: Residual::None,
            data_in_residual: Residual::None,
            response: None,
        };
        Ok(Some((slot, Ended::Answered(answer))))
    }

    fn manage(&mut self, _: TaskManagement) -> Result<ServiceResponse, ExecuteError> {
        unreachable!("no job does")
    }

    fn execute(&mut self, _: Lun, _: &[u8], _: Data<'_>) -> Result<Answer, ExecuteError> {
        unreachable!("no job does")
    }

    fn log_out(self: Box<Self>) {}
}

/// Reads one block so many times.
struct Reads(usize);

impl Job for Reads {
    fn longest_bytes(&self) -> usize {
        512
    }

    fn next(&mut self, _: &mut Slot<'_>) -> Option<Command> {
        self.0 = self.0.checked_sub(1)?;
        Some(Command {
            direction: Direction::Read,
            offset_bytes: 0,
            len_bytes: 512,
        })
    }

    fn done(&mut self, _: Command, _: Duration, _: &mut Slot<'_>) -> Result<(), ExerciseError> {
        Ok(())
    }
}

fn read(room: usize, commands: usize, depth: usize) -> Result<(), ExerciseError> {
    let mut nexus = Parting {
        room,
        outstanding: Vec::new(),
    };
    let place = Place {
        lun: Lun([0; 8]),
        capacity: Capacity {
            blocks: 1,
            block_bytes: 512,
        },
    };
    run(&mut nexus, place, depth, &mut Reads(commands))
}

#[test]
fn a_session_that_ends_with_everything_answered_has_not_done_the_job() {
    assert!(matches!(read(5, 10, 4), Err(ExerciseError::Session(_))));
    assert!(matches!(read(8, 10, 4), Err(ExerciseError::Session(_))));
    read(11, 10, 4).expect("the whole job");
    read(10, 0, 4).expect("no job");
    read(10, 10, 0).expect("nothing at a time is nothing");
}
