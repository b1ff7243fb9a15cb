//! The iSER header in the private data of a connection request and of its reply (IBTA annex A12.6).

/// Zero-based virtual addresses are not supported.
const ZBVA_NOT_SUPPORTED: u8 = 0x80;
/// SEND with invalidate is not supported.
const SEND_WITH_INVALIDATE_NOT_SUPPORTED: u8 = 0x40;

/// What one end can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CmHeader {
    /// Memory is addressed from zero.
    pub zero_based_addresses: bool,
    /// A SEND may invalidate the receiver's memory handle.
    pub send_with_invalidate: bool,
}

impl CmHeader {
    /// Length in bytes.
    pub const BYTES: usize = 4;

    /// Reads what follows the RDMA-CM's own header in the private data. Peers are known to send less or nothing at all:
    /// such a peer can do neither. What is behind the four bytes is not looked at.
    pub fn parse(private_data: &[u8]) -> Self {
        let Some([flags, _, _, _]) = private_data.first_chunk::<{ Self::BYTES }>() else {
            return Self::default();
        };
        Self {
            zero_based_addresses: flags & ZBVA_NOT_SUPPORTED == 0,
            send_with_invalidate: flags & SEND_WITH_INVALIDATE_NOT_SUPPORTED == 0,
        }
    }

    /// The four bytes.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut flags = 0;
        if !self.zero_based_addresses {
            flags |= ZBVA_NOT_SUPPORTED;
        }
        if !self.send_with_invalidate {
            flags |= SEND_WITH_INVALIDATE_NOT_SUPPORTED;
        }
        [flags, 0, 0, 0]
    }

    /// What this target answers: no zero-based addresses, and SEND with invalidate when the peer can take it and the
    /// target's own device can do it.
    #[must_use]
    pub fn answer(self, can_send_with_invalidate: bool) -> Self {
        Self {
            zero_based_addresses: false,
            send_with_invalidate: self.send_with_invalidate && can_send_with_invalidate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_private_data_means_that_the_peer_can_nothing() {
        for bytes in [&[][..], &[0, 0, 0]] {
            assert_eq!(CmHeader::parse(bytes), CmHeader::default());
        }
    }

    #[test]
    fn flags_are_negative() {
        let header = CmHeader::parse(&[0x80, 0, 0, 0, 9, 9]);
        assert!(header.send_with_invalidate && !header.zero_based_addresses);
        assert_eq!(header.encode(), [0x80, 0, 0, 0]);
        assert_eq!(CmHeader::default().encode(), [0xc0, 0, 0, 0]);
        assert!(CmHeader::parse(&[0x40, 0, 0, 0]).zero_based_addresses);
    }

    #[test]
    fn the_answer_is_what_both_can() {
        let peer = CmHeader::parse(&[0, 0, 0, 0]);
        assert_eq!(peer.answer(true).encode(), [0x80, 0, 0, 0]);
        assert_eq!(peer.answer(false).encode(), [0xc0, 0, 0, 0]);
        assert_eq!(CmHeader::default().answer(true).encode(), [0xc0, 0, 0, 0]);
    }
}
