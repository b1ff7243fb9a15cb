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

/// Lengths in bytes of the commands that go over a medium: short ones that travel in the command, and long ones in
/// several packets and several RDMA READs.
const LENGTHS: [u64; 6] = [
    4 << 10,
    8 << 10,
    64 << 10,
    12 << 10,
    256 << 10,
    LONGEST_BYTES,
];

/// The longest of them.
const LONGEST_BYTES: u64 = 1 << 20;

#[derive(Debug)]
struct Sweep<P> {
    pattern: Pattern,
    /// Of the commands, in turn.
    lengths: Vec<u64>,
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
            lengths: LENGTHS.to_vec(),
            next_bytes: 0,
            end_bytes,
            count: 0,
            scratch: vec![0; LONGEST_BYTES as usize],
            progress,
        }
    }

    fn set_lengths(&mut self, lengths: &[u64]) {
        let within = lengths.iter().map(|len| *len.min(&LONGEST_BYTES));
        self.lengths = within.collect();
    }

    fn next(&mut self, direction: Direction) -> Option<Command> {
        let turn = self.count.checked_rem(self.lengths.len())?;
        let length = *self.lengths.get(turn)?;
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

    fn longest_bytes(&self) -> usize {
        let longest = self.lengths.iter().max();
        longest.map_or(0, |len| usize::try_from(*len).unwrap_or(usize::MAX))
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

    /// The same in commands of these lengths in bytes, up to 1 MiB, in turn.
    #[must_use]
    pub fn with_lengths(mut self, lengths: &[u64]) -> Self {
        self.0.set_lengths(lengths);
        self
    }
}

impl<P: FnMut(u64)> Job for Fill<P> {
    fn longest_bytes(&self) -> usize {
        self.0.longest_bytes()
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

    /// The same in commands of these lengths in bytes, up to 1 MiB, in turn.
    #[must_use]
    pub fn with_lengths(mut self, lengths: &[u64]) -> Self {
        self.0.set_lengths(lengths);
        self
    }
}

impl<P: FnMut(u64)> Job for ReadBack<P> {
    fn longest_bytes(&self) -> usize {
        self.0.longest_bytes()
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
