//! A 16-byte identifier as it travels: a GID (IBA 1.7 volume 1, 4.1.1) or an SRP initiator port id (SRP 6.2). Pure.

use std::fmt;

use serde::{Serialize, Serializer};

/// Sixteen bytes in network order, printed as sysfs prints a GID: eight groups, no compression.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id128(pub [u8; 16]);

impl fmt::Display for Id128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for &[high, low] in self.0.as_chunks::<2>().0 {
            write!(f, "{separator}{high:02x}{low:02x}")?;
            separator = ":";
        }
        Ok(())
    }
}

impl fmt::Debug for Id128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Id128 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_sysfs_does() {
        let mut bytes = [0; 16];
        bytes[0] = 0xfe;
        bytes[1] = 0x80;
        bytes[15] = 0x73;
        assert_eq!(
            Id128(bytes).to_string(),
            "fe80:0000:0000:0000:0000:0000:0000:0073"
        );
    }
}
