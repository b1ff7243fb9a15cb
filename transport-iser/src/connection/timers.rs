//! The times of a connection: the login's, pings', a logout's, and how long it waits for a buffer.

use target_core::port::CloseReason;

use super::answer::Silence;
use super::receive::Current;
use super::{Connection, Phase};

/// How long a logout waits in milliseconds for commands that are still running.
const LOGOUT_WAIT_MS: u64 = 5000;

/// How long a command waits in milliseconds for a buffer before it is answered BUSY. Whoever holds the buffers may itself wait for
/// data that come behind this command in the same stream.
const STARVE_MS: u64 = 2000;

/// How long in milliseconds no PDU must have come before memory of a past load is given back.
const IDLE_MS: u64 = 5000;

/// How long in milliseconds a discovery session may be silent. It has no pings, and a discovery takes no time.
const DISCOVERY_IDLE_MS: u64 = 60_000;

/// Entries that each queue of an idle connection keeps room for.
const IDLE_QUEUE: usize = 4;

/// When things happened.
#[derive(Debug)]
pub(super) struct Timers {
    now_ms: u64,
    began_ms: u64,
    knocked: bool,
    /// When bytes last came.
    heard_ms: u64,
    pinged_ms: Option<u64>,
    logging_out_ms: Option<u64>,
    starved_ms: Option<u64>,
    /// The wait for a buffer was long enough.
    gave_up: bool,
    /// When memory of a past load was last looked at.
    shrunk_ms: u64,
}

impl Timers {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            now_ms,
            began_ms: now_ms,
            knocked: false,
            heard_ms: now_ms,
            pinged_ms: None,
            logging_out_ms: None,
            starved_ms: None,
            gave_up: false,
            shrunk_ms: now_ms,
        }
    }

    /// Something came.
    pub(super) fn heard(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.heard_ms = now_ms;
        self.pinged_ms = None;
    }

    /// Whether a Login Request came before; from now on one did.
    pub(super) fn knocked(&mut self) -> bool {
        std::mem::replace(&mut self.knocked, true)
    }

    pub(super) fn logging_out(&mut self) {
        self.logging_out_ms = Some(self.now_ms);
    }

    /// Whether a PDU waits for a buffer. True when it has only just begun to.
    pub(super) fn starved(&mut self, starved: bool) -> bool {
        let begins = starved && self.starved_ms.is_none();
        self.starved_ms = match starved {
            true => self.starved_ms.or(Some(self.now_ms)),
            false => None,
        };
        begins
    }

    /// There was a buffer: it is worth waiting for the next one again.
    pub(super) fn fed(&mut self) {
        self.gave_up = false;
    }
}

impl Connection {
    /// Whether a command may still wait for a buffer. A message over iSER cannot.
    pub(super) fn may_starve(&self) -> bool {
        self.is_tcp() && !self.timers.gave_up
    }

    pub(super) fn next_timeout(&self) -> Option<u64> {
        if self.closed {
            return None;
        }
        let timers = &self.timers;
        let logout_ms = timers
            .logging_out_ms
            .map(|at| at.saturating_add(LOGOUT_WAIT_MS));
        let starve_ms = timers.starved_ms.map(|at| at.saturating_add(STARVE_MS));
        let deadlines = [
            self.login_deadline_ms(),
            self.ping_deadline_ms(),
            self.discovery_deadline_ms(),
            logout_ms,
            starve_ms,
            self.shrink_deadline_ms(),
        ];
        deadlines.into_iter().flatten().min()
    }

    pub(super) fn take_timeout(&mut self, now_ms: u64) {
        self.timers.now_ms = now_ms;
        if self.closed {
            return;
        }
        let is_due = |deadline: Option<u64>| deadline.is_some_and(|at| at <= now_ms);
        if is_due(self.login_deadline_ms()) {
            let timeout_ms = self.settings.login_timeout_ms;
            return self.give_up(Silence::Login(timeout_ms));
        }
        if is_due(self.discovery_deadline_ms()) {
            return self.give_up(Silence::Discovery(DISCOVERY_IDLE_MS));
        }
        if is_due(self.ping_deadline_ms()) {
            if self.timers.pinged_ms.is_some() {
                let timeout_ms = self.settings.nop_timeout_ms;
                return self.give_up(Silence::Ping(timeout_ms));
            }
            self.timers.pinged_ms = Some(now_ms);
            self.ping();
        }
        let logout_ms = self.timers.logging_out_ms;
        if is_due(logout_ms.map(|at| at.saturating_add(LOGOUT_WAIT_MS))) {
            return self.complete_logout();
        }
        let starved_ms = self.timers.starved_ms;
        if is_due(starved_ms.map(|at| at.saturating_add(STARVE_MS))) {
            self.timers.gave_up = true;
            self.counters.buffer_timeouts += 1;
            self.drain_backlog();
        }
        if is_due(self.shrink_deadline_ms()) {
            self.timers.shrunk_ms = now_ms;
            self.shrink();
        }
    }

    /// Whoever is silent is told nothing: nobody may be there.
    #[cold]
    fn give_up(&mut self, silence: Silence) {
        self.close(CloseReason::Silent(silence.to_string()));
    }

    fn login_deadline_ms(&self) -> Option<u64> {
        let began_ms = self.timers.began_ms;
        let deadline_ms = began_ms.saturating_add(self.settings.login_timeout_ms);
        matches!(self.phase, Phase::Login(_)).then_some(deadline_ms)
    }

    fn discovery_deadline_ms(&self) -> Option<u64> {
        let deadline_ms = self.timers.heard_ms.saturating_add(DISCOVERY_IDLE_MS);
        self.is_discovery().then_some(deadline_ms)
    }

    /// When the initiator is pinged, or given up. A discovery session has no pings.
    fn ping_deadline_ms(&self) -> Option<u64> {
        let settings = &self.settings;
        let has_pings = matches!(self.phase, Phase::FullFeature(_))
            && !self.is_discovery()
            && settings.nop_interval_ms != 0;
        if !has_pings {
            return None;
        }
        Some(match self.timers.pinged_ms {
            Some(at) => at.saturating_add(settings.nop_timeout_ms),
            None => self
                .timers
                .heard_ms
                .saturating_add(settings.nop_interval_ms),
        })
    }

    fn shrink_deadline_ms(&self) -> Option<u64> {
        let quiet_ms = self.timers.heard_ms.max(self.timers.shrunk_ms);
        let queues = self.outbox.capacity() + self.events.capacity() + self.backlog.capacity();
        let swollen = self.exchanges.is_swollen()
            || queues > 8 * IDLE_QUEUE
            || self.control.capacity() != 0
            || self.pieces.capacity() > 8 * IDLE_QUEUE;
        swollen.then_some(quiet_ms.saturating_add(IDLE_MS))
    }

    fn shrink(&mut self) {
        self.exchanges.shrink();
        self.outbox.shrink_to(IDLE_QUEUE);
        self.events.shrink_to(IDLE_QUEUE);
        self.backlog.shrink_to(IDLE_QUEUE);
        self.login_events.shrink_to(0);
        self.pieces = Vec::new();
        self.segments = Vec::new();
        if !matches!(self.current, Current::Control) {
            self.control = Vec::new();
        }
    }
}
