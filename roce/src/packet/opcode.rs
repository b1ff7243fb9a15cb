//! BTH opcodes and what follows the BTH for each (IBTA 9.2.1, tables 35 and 36).

use std::fmt;

/// A BTH opcode: the transport in the upper three bits, the operation in the lower five.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Opcode(pub u8);

/// What an opcode does, apart from its place in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// SEND to a receive buffer.
    Send,
    /// RDMA WRITE to named memory.
    Write,
    /// RDMA READ request.
    ReadRequest,
    /// RDMA READ response.
    ReadResponse,
    /// Acknowledge, positive or negative.
    Acknowledge,
    /// Compare-and-swap or fetch-and-add: known, never executed.
    Atomic,
    /// Answer to an atomic: known, never awaited.
    AtomicAcknowledge,
    /// Unreliable datagram SEND, which carries the MADs of queue pair 1.
    Datagram,
}

/// The packet's place in its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// First of several.
    First,
    /// Neither first nor last.
    Middle,
    /// Last of several.
    Last,
    /// The only one.
    Only,
}

impl Position {
    /// The packet begins a message.
    pub const fn starts(self) -> bool {
        matches!(self, Self::First | Self::Only)
    }

    /// The packet ends a message.
    pub const fn ends(self) -> bool {
        matches!(self, Self::Last | Self::Only)
    }

    /// The place of packet `index` of `count`.
    pub const fn of(index: u32, count: u32) -> Self {
        match (index == 0, index + 1 >= count) {
            (true, true) => Self::Only,
            (true, false) => Self::First,
            (false, true) => Self::Last,
            (false, false) => Self::Middle,
        }
    }
}

/// Extension headers behind the BTH, in wire order DETH, RETH, AtomicETH, AETH, AtomicAckETH, ImmDt, IETH.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// DETH follows.
    pub deth: bool,
    /// RETH follows.
    pub reth: bool,
    /// AtomicETH follows.
    pub atomic: bool,
    /// AETH follows.
    pub aeth: bool,
    /// AtomicAckETH follows.
    pub atomic_acknowledge: bool,
    /// ImmDt follows.
    pub immediate: bool,
    /// IETH follows.
    pub invalidate: bool,
    /// A payload may follow.
    pub payload: bool,
}

/// One row of the opcode table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What it does.
    pub family: Family,
    /// Where in the message it stands.
    pub position: Position,
    /// Which headers follow.
    pub layout: Layout,
}

macro_rules! opcodes {
    ($($name:ident = $value:literal: $family:ident, $position:ident, [$($part:ident),*];)*) => {
        #[allow(missing_docs, reason = "the names are those of IBTA table 35")]
        impl Opcode {
            $(pub const $name: Self = Self($value);)*

            /// The row of this opcode; `None` for what is reserved, or belongs to a transport that is not spoken here.
            pub const fn shape(self) -> Option<Shape> {
                match self {
                    $(Self::$name => Some(Shape {
                        family: Family::$family,
                        position: Position::$position,
                        layout: Layout { $($part: true,)* ..EMPTY },
                    }),)*
                    _ => None,
                }
            }

            const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

const EMPTY: Layout = Layout {
    deth: false,
    reth: false,
    atomic: false,
    aeth: false,
    atomic_acknowledge: false,
    immediate: false,
    invalidate: false,
    payload: false,
};

opcodes! {
    RC_SEND_FIRST = 0x00: Send, First, [payload];
    RC_SEND_MIDDLE = 0x01: Send, Middle, [payload];
    RC_SEND_LAST = 0x02: Send, Last, [payload];
    RC_SEND_LAST_WITH_IMMEDIATE = 0x03: Send, Last, [immediate, payload];
    RC_SEND_ONLY = 0x04: Send, Only, [payload];
    RC_SEND_ONLY_WITH_IMMEDIATE = 0x05: Send, Only, [immediate, payload];
    RC_RDMA_WRITE_FIRST = 0x06: Write, First, [reth, payload];
    RC_RDMA_WRITE_MIDDLE = 0x07: Write, Middle, [payload];
    RC_RDMA_WRITE_LAST = 0x08: Write, Last, [payload];
    RC_RDMA_WRITE_LAST_WITH_IMMEDIATE = 0x09: Write, Last, [immediate, payload];
    RC_RDMA_WRITE_ONLY = 0x0a: Write, Only, [reth, payload];
    RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE = 0x0b: Write, Only, [reth, immediate, payload];
    RC_RDMA_READ_REQUEST = 0x0c: ReadRequest, Only, [reth];
    RC_RDMA_READ_RESPONSE_FIRST = 0x0d: ReadResponse, First, [aeth, payload];
    RC_RDMA_READ_RESPONSE_MIDDLE = 0x0e: ReadResponse, Middle, [payload];
    RC_RDMA_READ_RESPONSE_LAST = 0x0f: ReadResponse, Last, [aeth, payload];
    RC_RDMA_READ_RESPONSE_ONLY = 0x10: ReadResponse, Only, [aeth, payload];
    RC_ACKNOWLEDGE = 0x11: Acknowledge, Only, [aeth];
    RC_ATOMIC_ACKNOWLEDGE = 0x12: AtomicAcknowledge, Only, [aeth, atomic_acknowledge];
    RC_COMPARE_SWAP = 0x13: Atomic, Only, [atomic];
    RC_FETCH_ADD = 0x14: Atomic, Only, [atomic];
    RC_SEND_LAST_WITH_INVALIDATE = 0x16: Send, Last, [invalidate, payload];
    RC_SEND_ONLY_WITH_INVALIDATE = 0x17: Send, Only, [invalidate, payload];
    UD_SEND_ONLY = 0x64: Datagram, Only, [deth, payload];
    UD_SEND_ONLY_WITH_IMMEDIATE = 0x65: Datagram, Only, [deth, immediate, payload];
}

impl fmt::Debug for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "Opcode({:#04x})", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Opcode, Position};

    #[test]
    fn the_table_covers_rc_and_the_datagrams_of_queue_pair_1() {
        let known = (0..=255).filter(|&byte| Opcode(byte).shape().is_some());
        assert_eq!(known.count(), 25);
        assert!(Opcode(0x15).shape().is_none());
        assert!(Opcode(0x20).shape().is_none(), "UC is not spoken");
        assert_eq!(format!("{:?}", Opcode(0x11)), "RC_ACKNOWLEDGE");
        assert_eq!(format!("{:?}", Opcode(0xc1)), "Opcode(0xc1)");
    }

    #[test]
    fn only_the_middle_of_a_read_response_has_no_aeth() {
        let with_aeth: Vec<u8> = (0x0d..=0x10)
            .filter(|&byte| Opcode(byte).shape().is_some_and(|shape| shape.layout.aeth))
            .collect();
        assert_eq!(with_aeth, [0x0d, 0x0f, 0x10]);
    }

    #[test]
    fn positions_by_index() {
        assert_eq!(Position::of(0, 1), Position::Only);
        assert_eq!(Position::of(0, 2), Position::First);
        assert_eq!(Position::of(1, 3), Position::Middle);
        assert_eq!(Position::of(2, 3), Position::Last);
    }
}
