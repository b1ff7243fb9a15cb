//! One channel of the session: its login, its request limit, and what it owes the target (SRP r16a 4.5).

use std::collections::VecDeque;

use transport_srp::wire::{AerRsp, CredRsp, ILogout, Iu};

use super::login::Granted;

/// Credits that are kept for task management, so that a full channel can still be aborted on.
const RESERVED: i64 = 1;

/// What the target waits for besides requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// SRP_CRED_RSP with this tag.
    Credit(u64),
    /// SRP_AER_RSP with this tag.
    Event(u64),
    /// SRP_I_LOGOUT.
    Logout,
}

#[derive(Debug)]
enum State {
    Waiting,
    Live(Granted),
    Ended,
}

#[derive(Debug)]
pub(super) struct Channel {
    state: State,
    /// Requests that the target still takes. A target may lower its limit, even below zero for a while.
    pub(super) credits: i64,
    reserved: i64,
    outstanding: u32,
    most: u32,
    pub(super) replies: VecDeque<Reply>,
}

impl Channel {
    pub(super) fn new() -> Self {
        Self {
            state: State::Waiting,
            credits: 0,
            reserved: 0,
            outstanding: 0,
            most: 0,
            replies: VecDeque::new(),
        }
    }

    pub(super) fn open(&mut self, granted: Granted, most: u32) {
        self.credits = granted.request_limit.into();
        // A target that grants one request at a time leaves nothing to reserve.
        self.reserved = RESERVED.min(self.credits - 1);
        self.most = most;
        self.state = State::Live(granted);
    }

    pub(super) fn granted(&self) -> Option<&Granted> {
        match &self.state {
            State::Live(granted) => Some(granted),
            State::Waiting | State::Ended => None,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.granted().is_some() && self.credits > self.reserved && self.outstanding < self.most
    }

    pub(super) fn begin(&mut self) {
        self.credits -= 1;
        self.outstanding += 1;
    }

    pub(super) fn end(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    /// Ends the channel; false when it was not live.
    pub(super) fn close(&mut self) -> bool {
        let was_live = self.granted().is_some();
        self.state = State::Ended;
        self.replies.clear();
        was_live
    }

    pub(super) fn emit_reply(&mut self, out: &mut [u8]) -> Option<usize> {
        let iu = match *self.replies.front()? {
            Reply::Credit(tag) => Iu::CredRsp(CredRsp { tag }),
            Reply::Event(tag) => Iu::AerRsp(AerRsp { tag }),
            Reply::Logout => Iu::ILogout(ILogout { tag: 0 }),
        };
        let len = iu.emit(out)?;
        self.replies.pop_front();
        Some(len)
    }
}
