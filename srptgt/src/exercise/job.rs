//! What is to be done, command by command; and the jobs that go over a medium once.

use std::time::Duration;

use super::{Command, Direction, ExerciseError, Pattern, Slot};

/// Gives commands out and takes their ends.
pub trait Job {
    /// The longest command that it will ask for.
    fn longest_bytes(&self) -> usize;

    /// The next command, with the data of a WRITE in the slot; `None` when there is no more.
    fn next(&mut self, slot: &mut Slot<'_>) -> Option<Command>;

    /// A command ended well.
    ///
    /// # Errors
    /// Its data is not what it should be.
    fn done(
        &mut self,
        command: Command,
        taken: Duration,
        slot: &mut Slot<'_>,
    ) -> Result<(), ExerciseError>;
}

/// Lengths of the commands that go over a medium, in 4 KiB: short ones that travel in the command, and long ones in
/// several packets and several RDMA READs.
const LENGTHS: [u64; 6] = [1, 2, 16, 3, 64, 256];

/// The longest of them.
const LONGEST_BYTES: u64 = 1 << 20;

#[derive(Debug)]
struct Sweep<P> {
    pattern: Pattern,
    next_bytes: u64,
    end_bytes: u64,
    count: usize,
    scratch: Vec<u8>,
    progress: P,
}

impl<P: FnMut(u64)> Sweep<P> {
    fn new(pattern: Pattern, end_bytes: u64, progress: P) -> Self {
        Self {
            pattern,
            next_bytes: 0,
            end_bytes,
            count: 0,
            scratch: vec![0; LONGEST_BYTES as usize],
            progress,
        }
    }

    fn next(&mut self, direction: Direction) -> Option<Command> {
        let length = LENGTHS.get(self.count % LENGTHS.len())? << 12;
        let length = length.min(self.end_bytes - self.next_bytes);
        let command = Command {
            direction,
            offset_bytes: self.next_bytes,
            len_bytes: usize::try_from(length).ok()?,
        };
        self.next_bytes += length;
        self.count += 1;
        (length > 0).then_some(command)
    }

    fn scratch(&mut self, len: usize) -> &mut [u8] {
        self.scratch.get_mut(..len).unwrap_or_default()
    }
}

/// Writes a pattern over a whole medium, in commands of 4 KiB to 1 MiB.
#[derive(Debug)]
pub struct Fill<P>(Sweep<P>);

impl<P: FnMut(u64)> Fill<P> {
    /// Of a medium of `end_bytes`, a multiple of the block length; `progress` hears of every command's length.
    pub fn new(pattern: Pattern, end_bytes: u64, progress: P) -> Self {
        Self(Sweep::new(pattern, end_bytes, progress))
    }
}

impl<P: FnMut(u64)> Job for Fill<P> {
    fn longest_bytes(&self) -> usize {
        LONGEST_BYTES as usize
    }

    fn next(&mut self, slot: &mut Slot<'_>) -> Option<Command> {
        let command = self.0.next(Direction::Write)?;
        let pattern = self.0.pattern;
        let scratch = self.0.scratch(command.len_bytes);
        pattern.fill(command.offset_bytes, scratch);
        slot.write(scratch).then_some(command)
    }

    fn done(
        &mut self,
        command: Command,
        _: Duration,
        _: &mut Slot<'_>,
    ) -> Result<(), ExerciseError> {
        (self.0.progress)(command.len_bytes as u64);
        Ok(())
    }
}

/// Reads a whole medium and compares every byte with a pattern.
#[derive(Debug)]
pub struct ReadBack<P>(Sweep<P>);

impl<P: FnMut(u64)> ReadBack<P> {
    /// As [`Fill::new`].
    pub fn new(pattern: Pattern, end_bytes: u64, progress: P) -> Self {
        Self(Sweep::new(pattern, end_bytes, progress))
    }
}

impl<P: FnMut(u64)> Job for ReadBack<P> {
    fn longest_bytes(&self) -> usize {
        LONGEST_BYTES as usize
    }

    fn next(&mut self, _: &mut Slot<'_>) -> Option<Command> {
        self.0.next(Direction::Read)
    }

    fn done(
        &mut self,
        command: Command,
        _: Duration,
        slot: &mut Slot<'_>,
    ) -> Result<(), ExerciseError> {
        let pattern = self.0.pattern;
        let scratch = self.0.scratch(command.len_bytes);
        let is_read = slot.read(scratch);
        debug_assert!(is_read, "the slot is as long as the command");
        pattern.check(command.offset_bytes, scratch)?;
        (self.0.progress)(command.len_bytes as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_covers_the_medium_once() {
        let end = (5 << 20) + 512;
        let mut sweep = Sweep::new(Pattern { seed: 1 }, end, |_| {});
        let mut next = 0;
        while let Some(command) = sweep.next(Direction::Read) {
            assert_eq!(command.offset_bytes, next);
            assert!(command.len_bytes as u64 <= LONGEST_BYTES);
            next += command.len_bytes as u64;
        }
        assert_eq!(next, end);
    }
}
