//! What is kept of a request that is outstanding, and its data on the way (RFC 7143 4.2.5, 4.2.6, 11.7, 11.8).

use target_core::lun::Lun;
use transport_iser::Sn;
use transport_iser::login::Negotiated;
use transport_iser::pdu::{DataIn, R2t, RESERVED_TAG};

use super::{DataFault, TaskFunction};

/// Data-In of a command.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Incoming {
    /// Bytes of the Data-In Buffer.
    pub(super) expected: u32,
    /// Bytes that came.
    pub(super) received: u32,
    data_sn: Sn,
    /// Bytes of the sequence so far.
    sequence: u32,
}

impl Incoming {
    pub(super) fn new(expected: u32) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    /// Checks the place of a Data-In PDU with `len` bytes.
    pub(super) fn take(
        &mut self,
        pdu: &DataIn,
        len: u32,
        agreed: &Negotiated,
        max_sequence: u32,
    ) -> Result<(), DataFault> {
        if pdu.data_sn != self.data_sn {
            return Err(DataFault::DataSn {
                expected: self.data_sn.0,
                found: pdu.data_sn.0,
            });
        }
        let in_order = agreed.data_pdu_in_order && agreed.data_sequence_in_order;
        if in_order && pdu.buffer_offset != self.received && len > 0 {
            return Err(DataFault::Offset {
                expected: self.received,
                found: pdu.buffer_offset,
            });
        }
        let end = pdu.buffer_offset.checked_add(len);
        if end.is_none_or(|end| end > self.expected) {
            return Err(DataFault::TooMuch {
                offset: pdu.buffer_offset,
                len,
                expected: self.expected,
            });
        }
        self.sequence = self.sequence.saturating_add(len);
        if self.sequence > max_sequence {
            return Err(DataFault::Burst(self.sequence));
        }
        if pdu.is_final {
            self.sequence = 0;
        }
        self.data_sn = self.data_sn.plus(1);
        self.received = self.received.saturating_add(len);
        Ok(())
    }
}

/// Data-Out of a command.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outgoing {
    /// Bytes of the Data-Out Buffer.
    pub(super) len: u32,
    /// Up to where data was sent or asked for.
    asked: u32,
    r2t_sn: Sn,
    /// R2Ts that are not answered completely.
    pub(super) r2ts: u32,
}

impl Outgoing {
    /// `unasked` bytes travel without an R2T.
    pub(super) fn new(len: u32, unasked: u32) -> Self {
        Self {
            len,
            asked: unasked,
            ..Self::default()
        }
    }

    /// Checks an R2T, and says what to send for it.
    pub(super) fn take(&mut self, pdu: &R2t, agreed: &Negotiated) -> Result<Burst, DataFault> {
        let (offset, len) = (pdu.buffer_offset, pdu.desired_data_transfer_length);
        if pdu.r2t_sn != self.r2t_sn {
            return Err(DataFault::DataSn {
                expected: self.r2t_sn.0,
                found: pdu.r2t_sn.0,
            });
        }
        if agreed.data_sequence_in_order && offset != self.asked {
            return Err(DataFault::Offset {
                expected: self.asked,
                found: offset,
            });
        }
        let end = offset.checked_add(len).filter(|end| *end <= self.len);
        let Some(end) = end.filter(|_| len > 0) else {
            return Err(DataFault::TooMuch {
                offset,
                len,
                expected: self.len,
            });
        };
        if len > agreed.max_burst_length {
            return Err(DataFault::Burst(len));
        }
        if self.r2ts >= agreed.max_outstanding_r2t.into() {
            return Err(DataFault::TooManyR2ts(self.r2ts));
        }
        if pdu.target_transfer_tag == RESERVED_TAG {
            return Err(DataFault::NoTag);
        }
        self.r2t_sn = self.r2t_sn.plus(1);
        self.asked = end;
        self.r2ts += 1;
        Ok(Burst {
            target_transfer_tag: pdu.target_transfer_tag,
            lun: pdu.lun,
            offset,
            end,
            data_sn: Sn(0),
        })
    }
}

/// A sequence of Data-Out PDUs that is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burst {
    /// Of the R2T; the reserved one for unsolicited data.
    pub(super) target_transfer_tag: u32,
    pub(super) lun: Lun,
    /// What comes next.
    pub(super) offset: u32,
    pub(super) end: u32,
    pub(super) data_sn: Sn,
}

/// What a request is.
#[derive(Debug)]
pub(super) enum Kind {
    Command {
        data_in: Incoming,
        data_out: Outgoing,
    },
    TaskManagement(TaskFunction),
    Ping,
    Text(transport_iser::text::Outgoing),
    Logout,
}

/// A request that is outstanding.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) kind: Kind,
    pub(super) lun: Lun,
    pub(super) cmd_sn: Sn,
    /// PDUs that the target could not expect, and that its receive buffers hold until the answer.
    pub(super) unexpected: u32,
}

impl Task {
    pub(super) fn new(kind: Kind, lun: Lun, cmd_sn: Sn) -> Self {
        Self {
            kind,
            lun,
            cmd_sn,
            unexpected: 0,
        }
    }

    pub(super) fn is_command(&self) -> bool {
        matches!(self.kind, Kind::Command { .. })
    }
}
