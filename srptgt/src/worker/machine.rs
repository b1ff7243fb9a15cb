//! The protocol machine of a connection: which one it is, is decided once, and every call goes straight to it.

use iobuf::Buf;
use target_core::backend::TaskId;
use target_core::command::{ExchangeId, Outcome, TaskManagementResponse};
use target_core::port::{Channel, ChannelEvent, Transmit};

/// A connection's protocol.
pub(super) enum Machine {
    /// SRP.
    Srp(Box<transport_srp::Channel>),
    /// iSCSI, by whichever datamover.
    Iscsi(Box<transport_iser::connection::Connection>),
}

/// Calls the machine that it is.
macro_rules! on_either {
    ($machine:expr, $channel:ident => $call:expr) => {
        match $machine {
            Machine::Srp($channel) => $call,
            Machine::Iscsi($channel) => $call,
        }
    };
}

impl Machine {
    /// The iSCSI connection, when it is one.
    pub(super) fn iscsi(&mut self) -> Option<&mut transport_iser::connection::Connection> {
        match self {
            Self::Srp(_) => None,
            Self::Iscsi(connection) => Some(connection),
        }
    }
}

impl Channel for Machine {
    #[inline]
    fn handle_recv(&mut self, message: Buf, now_ms: u64) {
        on_either!(self, channel => channel.handle_recv(message, now_ms));
    }

    fn wants_input(&self) -> bool {
        on_either!(self, channel => channel.wants_input())
    }

    #[inline]
    fn handle_pulled(&mut self, exchange: ExchangeId, buf: Buf) {
        on_either!(self, channel => channel.handle_pulled(exchange, buf));
    }

    #[inline]
    fn pull_data_out(&mut self, exchange: ExchangeId, task: TaskId, offset: u32, buf: Buf) {
        on_either!(self, channel => channel.pull_data_out(exchange, task, offset, buf));
    }

    fn stop_data_out(&mut self, exchange: ExchangeId) {
        on_either!(self, channel => channel.stop_data_out(exchange));
    }

    #[inline]
    fn handle_outcome(&mut self, exchange: ExchangeId, outcome: Outcome) {
        on_either!(self, channel => channel.handle_outcome(exchange, outcome));
    }

    fn handle_aborted(&mut self, exchange: ExchangeId) {
        on_either!(self, channel => channel.handle_aborted(exchange));
    }

    fn handle_task_management(&mut self, exchange: ExchangeId, response: TaskManagementResponse) {
        on_either!(self, channel => channel.handle_task_management(exchange, response));
    }

    fn handle_timeout(&mut self, now_ms: u64) {
        on_either!(self, channel => channel.handle_timeout(now_ms));
    }

    fn handle_shutdown(&mut self) {
        on_either!(self, channel => channel.handle_shutdown());
    }

    #[inline]
    fn poll_event(&mut self) -> Option<ChannelEvent> {
        on_either!(self, channel => channel.poll_event())
    }

    #[inline]
    fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        on_either!(self, channel => channel.poll_transmit())
    }

    #[inline]
    fn has_transmit(&self) -> bool {
        on_either!(self, channel => channel.has_transmit())
    }

    #[inline]
    fn poll_timeout(&self) -> Option<u64> {
        on_either!(self, channel => channel.poll_timeout())
    }
}
