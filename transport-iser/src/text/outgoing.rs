//! Pairs to be sent, cut into data segments that the peer takes.

use std::fmt::{Display, Write};

/// The text of a sequence to be sent: pairs are appended, then segments are taken off.
#[derive(Debug, Default)]
pub struct Outgoing {
    text: String,
    sent: usize,
}

impl Outgoing {
    /// Appends one pair. Neither part has a NUL; keys come from this program or from [`super::parse`], values likewise.
    pub fn pair(&mut self, key: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{key}={value}\0");
    }

    /// Whether all has been taken.
    pub fn is_empty(&self) -> bool {
        self.sent == self.text.len()
    }

    /// Takes the next segment of at most `max` bytes; a pair may continue in the one after it. Whether more is left, which
    /// is the C bit, tells [`Self::is_empty`].
    pub fn take_segment(&mut self, max: usize) -> Vec<u8> {
        let rest = self.text.as_bytes().get(self.sent..).unwrap_or_default();
        let segment = rest.get(..max).unwrap_or(rest).to_vec();
        self.sent += segment.len();
        if self.is_empty() {
            *self = Self::default();
        }
        segment
    }
}
