//! What holds for all connections of a portal, and what a connection tells its driver about a login.

use crate::login::{Identity, LoginFailure, LoginLimits, Negotiated};

/// Values of the daemon for all connections of one transport.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This end's values in a login.
    pub limits: LoginLimits,
    /// Commands of one connection at a time: how far MaxCmdSN is ahead. At least 1.
    pub command_window: u16,
    /// Immediate requests of one connection at a time, beside the window. At least 2, one of which is kept for task management.
    pub immediate_requests: u16,
    /// In this time a login must be over.
    pub login_timeout_ms: u64,
    /// After this time without a PDU the initiator is pinged; 0: never.
    pub nop_interval_ms: u64,
    /// In this time a ping must be answered.
    pub nop_timeout_ms: u64,
}

impl Settings {
    /// The usual values.
    pub fn new(limits: LoginLimits) -> Self {
        Self {
            limits,
            command_window: 128,
            immediate_requests: 16,
            login_timeout_ms: 15_000,
            nop_interval_ms: 15_000,
            nop_timeout_ms: 15_000,
        }
    }

    /// Requests that a connection can have at a time; the places of its exchanges are below this number.
    pub fn exchanges(&self) -> u32 {
        u32::from(self.command_window.max(1)) + u32::from(self.immediate_requests.max(2))
    }
}

/// What a login asks or tells; polled after [`target_core::port::ChannelEvent::Transport`].
#[derive(Debug)]
pub enum LoginEvent {
    /// Who knocks: answered by [`super::Connection::handle_admission`].
    Admit(Identity),
    /// The full feature phase begins with these values; the final Login Response has not left yet.
    Established(Box<Negotiated>),
    /// The login failed, and the connection closes.
    Failed(LoginFailure),
}
