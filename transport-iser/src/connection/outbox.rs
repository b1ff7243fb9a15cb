//! What waits to be sent.

use iobuf::Buf;
use target_core::command::{ExchangeId, Outcome};

use crate::Sn;
use crate::pdu::{
    AsyncMessage, Bhs, LoginResponse, LogoutResponse, NopIn, R2t, RESERVED_TAG, Reject,
    TaskManagementResponse, TextResponse,
};

/// Something to send. Sequence numbers are filled in when it goes, so that each PDU opens the window as far as it is by then.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// The end of a command: Data-In and SCSI Response.
    Response {
        exchange: ExchangeId,
        outcome: Outcome,
    },
    /// Ready To Transfer.
    R2t { exchange: ExchangeId, r2t: R2t },
    /// RDMA READ from the Data-Out Buffer.
    Pull {
        exchange: ExchangeId,
        offset: u32,
        buf: Buf,
    },
    /// Whatever has no exchange, with its data segment.
    Control(Control, Vec<u8>),
}

impl Outgoing {
    pub(super) fn is_data_out_of(&self, id: ExchangeId) -> bool {
        match self {
            Outgoing::R2t { exchange, .. } | Outgoing::Pull { exchange, .. } => *exchange == id,
            Outgoing::Response { .. } | Outgoing::Control(..) => false,
        }
    }

    /// Memory in bytes that it holds on the heap, besides itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Outgoing::Control(_, data) => data.capacity(),
            Outgoing::Response { .. } | Outgoing::R2t { .. } | Outgoing::Pull { .. } => 0,
        }
    }

    pub(super) fn is_pull_of(&self, id: ExchangeId) -> bool {
        matches!(self, Outgoing::Pull { exchange, .. } if *exchange == id)
    }

    pub(super) fn is_login(&self) -> bool {
        matches!(self, Outgoing::Control(Control::Login(_), _))
    }

    /// Whether it asks the initiator for something, which nobody wants when the connection ends.
    pub(super) fn is_request(&self) -> bool {
        matches!(self, Outgoing::R2t { .. } | Outgoing::Pull { .. })
    }
}

/// Bytes of memory that an answer with this data segment holds, by the initiator's will.
pub(super) fn held_bytes(data: &[u8]) -> usize {
    size_of::<Outgoing>() + data.len()
}

/// StatSN, ExpCmdSN and MaxCmdSN of the PDU that goes now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) stat_sn: Sn,
    pub(super) exp_cmd_sn: Sn,
    pub(super) max_cmd_sn: Sn,
}

/// Fills in the three numbers.
macro_rules! numbered {
    ($pdu:expr, $numbers:expr) => {{
        let mut pdu = $pdu;
        pdu.stat_sn = $numbers.stat_sn;
        pdu.exp_cmd_sn = $numbers.exp_cmd_sn;
        pdu.max_cmd_sn = $numbers.max_cmd_sn;
        pdu
    }};
}
pub(super) use numbered;

/// A PDU without an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) enum Control {
    NopIn(NopIn),
    TaskManagement(TaskManagementResponse),
    Text(TextResponse),
    Login(LoginResponse),
    Logout(LogoutResponse),
    Reject(Reject),
    AsyncMessage(AsyncMessage),
}

impl Control {
    /// Whether it takes a StatSN. A ping of the target does not (RFC 7143 11.19.2).
    pub(super) fn takes_stat_sn(&self) -> bool {
        !matches!(self, Control::NopIn(ping) if ping.initiator_task_tag == RESERVED_TAG)
    }

    pub(super) fn encode(self, numbers: Numbers, data: u32) -> Bhs {
        match self {
            Control::NopIn(pdu) => numbered!(pdu, numbers).encode(data),
            Control::TaskManagement(pdu) => numbered!(pdu, numbers).encode(data),
            Control::Text(pdu) => numbered!(pdu, numbers).encode(data),
            Control::Login(pdu) => numbered!(pdu, numbers).encode(data),
            Control::Logout(pdu) => numbered!(pdu, numbers).encode(data),
            Control::Reject(pdu) => numbered!(pdu, numbers).encode(data),
            Control::AsyncMessage(pdu) => numbered!(pdu, numbers).encode(data),
        }
    }
}
