//! Status codes (SAM-5 5.3).

use std::fmt;

/// The status byte of a finished command; open, so that a code we do not know is still printable. GOOD by default.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Status(pub u8);

impl Status {
    /// The command completed.
    pub const GOOD: Status = Status(0x00);
    /// Sense data says what happened.
    pub const CHECK_CONDITION: Status = Status(0x02);
    /// The logical unit cannot take the command now.
    pub const BUSY: Status = Status(0x08);
    /// Another I_T nexus holds a reservation.
    pub const RESERVATION_CONFLICT: Status = Status(0x18);
    /// The task set has no room.
    pub const TASK_SET_FULL: Status = Status(0x28);
    /// Aborted by another I_T nexus, with TAS set in the control mode page.
    pub const TASK_ABORTED: Status = Status(0x40);
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Status::GOOD => f.write_str("GOOD"),
            Status::CHECK_CONDITION => f.write_str("CHECK CONDITION"),
            Status::BUSY => f.write_str("BUSY"),
            Status::RESERVATION_CONFLICT => f.write_str("RESERVATION CONFLICT"),
            Status::TASK_SET_FULL => f.write_str("TASK SET FULL"),
            Status::TASK_ABORTED => f.write_str("TASK ABORTED"),
            Status(code) => write!(f, "status {code:#04x}"),
        }
    }
}
