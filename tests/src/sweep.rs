//! Verified I/O by the project's own initiator: every byte of a medium written and read back, many commands at once.

use initiator::scsi::Capacity;
use initiator::{ConnectOptions, Lun, Nexus, Scsi};
use srptgt::exercise::{Fill, Pattern, Place, ReadBack, run};

/// Once over the beginning of a medium, in commands of 4 KiB to 1 MiB.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// Of which logical unit.
    pub lun: Lun,
    /// How far.
    pub bytes: u64,
    /// Commands outstanding.
    pub depth: usize,
    /// Two sweeps of different seeds write different bytes.
    pub seed: u64,
}

impl Sweep {
    /// These options with the memory and the commands outstanding that a sweep of this depth needs.
    pub fn options(depth: usize, options: ConnectOptions) -> ConnectOptions {
        /// The longest command with its table of descriptors, and a buddy that holds both.
        const BUFFER_BYTES: usize = 2 << 20;
        ConnectOptions {
            outstanding: u32::try_from(depth).expect("a depth of commands"),
            data_bytes: (depth + 1) * BUFFER_BYTES,
            ..options
        }
    }

    /// Writes every byte, and reads all of them back.
    ///
    /// # Panics
    ///
    /// A command failed, or a byte came back changed.
    #[track_caller]
    pub fn verify(self, session: &mut dyn Nexus) {
        self.write(session);
        self.read_back(session);
    }

    /// Writes every byte.
    ///
    /// # Panics
    ///
    /// A command failed.
    #[track_caller]
    pub fn write(self, session: &mut dyn Nexus) {
        let mut job = Fill::new(self.pattern(), self.bytes, |_| {});
        let place = self.place(session);
        run(session, place, self.depth, &mut job)
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
    }

    /// Reads every byte and compares it.
    ///
    /// # Panics
    ///
    /// A command failed, or a byte is not what [`Sweep::write`] wrote.
    #[track_caller]
    pub fn read_back(self, session: &mut dyn Nexus) {
        let mut job = ReadBack::new(self.pattern(), self.bytes, |_| {});
        let place = self.place(session);
        run(session, place, self.depth, &mut job)
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
    }

    fn pattern(self) -> Pattern {
        Pattern { seed: self.seed }
    }

    #[track_caller]
    fn place(self, session: &mut dyn Nexus) -> Place {
        let capacity: Capacity = session.read_capacity(self.lun).expect("a capacity");
        assert!(capacity.blocks * u64::from(capacity.block_bytes) >= self.bytes);
        Place {
            lun: self.lun,
            capacity,
        }
    }
}

/// Writes single blocks of 512 bytes at odd places and reads each of them back: what a sweep does not do.
///
/// # Panics
///
/// A command failed, or a byte came back changed.
#[track_caller]
pub fn verify_blocks(session: &mut dyn Nexus, lun: Lun) {
    for lba in [0, 1, 7, 63, 1000] {
        let block = [lba as u8 ^ 0x5a; 512];
        session.write(lun, lba, 512, &block).expect("a write");
        let mut found = [0; 512];
        session.read(lun, lba, 512, &mut found).expect("a read");
        assert!(found == block, "block {lba}");
    }
}
