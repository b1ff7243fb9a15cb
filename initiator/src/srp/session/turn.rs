//! One turn: what has come is taken, what waits is sent.

use std::time::{Duration, Instant};

use iobuf::Buf;
use rdma::{Error, QueuePairNumber, WorkCompletion, WorkKind};

use super::{Finished, Session, Transfer};
use crate::error::SessionError;
use crate::fabric::cm::{connection_of, is_end};
use crate::fabric::link::Link;
use crate::srp::machine::{ChannelNumber, CloseReason, Event, Outcome, RequestId};

/// Completions taken at a time.
const BATCH: usize = 32;

/// The longest answer of the machine to the target.
const REPLY_BYTES: usize = 64;

impl Session {
    /// The next request that has ended, without waiting.
    ///
    /// # Errors
    /// RDMA failed, or nothing is outstanding and the session is over.
    pub fn poll(&mut self) -> Result<Option<Finished>, SessionError> {
        if self.finished.is_empty() {
            self.turn()?;
        }
        match self.finished.pop_front() {
            None if self.machine.outstanding() == 0 && self.closed.is_some() => Err(self.over()),
            finished => Ok(finished),
        }
    }

    /// The next request that has ended; `None` when none did within `timeout`.
    ///
    /// # Errors
    /// As [`Session::poll`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Finished>, SessionError> {
        let limit = Instant::now() + timeout;
        loop {
            if let Some(finished) = self.poll()? {
                return Ok(Some(finished));
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.sleep(left);
        }
    }

    pub(super) fn over(&self) -> SessionError {
        SessionError::Closed(self.closed.unwrap_or(CloseReason::Disconnected).into())
    }

    /// Takes what has come, and sends what waits. What costs a system call is only looked at when nothing has come.
    pub(super) fn turn(&mut self) -> Result<(), SessionError> {
        if self.reap()? == 0 {
            self.cm.move_packets()?;
            self.handle_connections()?;
            self.machine.handle_timeout(self.clock.now_ms());
        }
        self.send_replies();
        self.flush_links();
        self.cm.fabric.transmit();
        self.take_events();
        Ok(())
    }

    /// Waits until something comes, a request's time is over, or `most` has passed.
    pub(super) fn sleep(&mut self, most: Duration) {
        let is_armed = self.port.cq.arm().is_ok();
        // A completion that came before the arming may give no event.
        if !is_armed || self.reap().unwrap_or(1) != 0 {
            return;
        }
        let now = self.clock.now_ms();
        let timeout = self.machine.poll_timeout();
        let timeout = timeout.map_or(most, |at| Duration::from_millis(at.saturating_sub(now)));
        // What is broken shows at the next turn.
        let _ = self.cm.wait(self.port.fd(), timeout.min(most));
        let _ = self.port.clear_events();
    }

    /// Takes one batch of completions; returns how many.
    fn reap(&mut self) -> Result<usize, Error> {
        let mut batch = [WorkCompletion::default(); BATCH];
        let count = self.port.poll(&mut batch)?;
        for completion in batch.iter().take(count) {
            match completion.kind {
                WorkKind::Receive => self.receive(completion),
                WorkKind::Send => self.sent(completion),
            }
        }
        if count > 0 {
            self.port.srq.flush()?;
        }
        Ok(count)
    }

    fn receive(&mut self, completion: &WorkCompletion) {
        let Some(received) = self.port.srq.take(completion) else {
            return;
        };
        if let Some(channel) = self.channel_of(received.queue_pair) {
            if received.status.is_success() {
                self.machine.handle_message(channel, &received.buf);
                self.close_if_ended(channel);
            } else {
                self.lose(channel);
            }
        }
        self.port.repost(received.buf);
    }

    fn sent(&mut self, completion: &WorkCompletion) {
        let Some(channel) = self.channel_of(completion.queue_pair) else {
            return;
        };
        let link = self.links.get_mut(usize::from(channel.0));
        if link.is_some_and(|link| !link.handle_completion(completion)) {
            self.lose(channel);
        }
    }

    fn channel_of(&self, number: QueuePairNumber) -> Option<ChannelNumber> {
        let place = self.links.iter().position(|link| link.number() == number)?;
        u16::try_from(place).ok().map(ChannelNumber)
    }

    /// The connection is gone. The queue pair is closed first, so that the target cannot touch buffers that return.
    fn lose(&mut self, channel: ChannelNumber) {
        if let Some(link) = self.links.get_mut(usize::from(channel.0)) {
            link.close();
        }
        self.machine.handle_disconnected(channel);
    }

    fn close_if_ended(&mut self, channel: ChannelNumber) {
        if self.machine.granted(channel).is_none() {
            self.lose(channel);
        }
    }

    fn handle_connections(&mut self) -> Result<(), Error> {
        while let Some(event) = self.cm.next()? {
            let id = connection_of(&event).filter(|_| is_end(&event));
            let ended = |link: &Link| Some(link.connection.id()) == id;
            let place = self.links.iter().position(ended);
            if let Some(place) = place.and_then(|place| u16::try_from(place).ok()) {
                // The peer's last words may have come just before the end: they say why.
                while self.reap()? > 0 {}
                self.lose(ChannelNumber(place));
            }
        }
        Ok(())
    }

    pub(super) fn send(&mut self, channel: ChannelNumber, message: Buf) {
        let link = self.links.get_mut(usize::from(channel.0));
        if !link.is_some_and(|link| link.send(message)) {
            self.lose(channel);
        }
    }

    fn send_replies(&mut self) {
        while let Some(mut message) = self.port.messages.take(REPLY_BYTES) {
            let Some((channel, len)) = self.machine.poll_transmit(&mut message) else {
                return;
            };
            message.truncate(len);
            self.send(channel, message);
        }
    }

    fn flush_links(&mut self) {
        for channel in (0..self.options.channels.max(1)).map(ChannelNumber) {
            let link = self.links.get_mut(usize::from(channel.0));
            if link.is_some_and(|link| !link.flush()) {
                self.lose(channel);
            }
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Done { request, outcome } => self.finish(request, Some(outcome)),
                Event::TimedOut(request) => self.finish(request, None),
                Event::Closed { channel, reason } => self.note_end(channel, reason),
            }
        }
    }

    fn finish(&mut self, request: RequestId, outcome: Option<Outcome>) {
        let held = self.held.get_mut(request.place());
        let held = held.filter(|_| outcome.is_some());
        let transfer = held.map_or(Transfer::None, |held| {
            std::mem::replace(held, Transfer::None)
        });
        self.finished.push_back(Finished {
            request,
            outcome,
            transfer,
        });
    }

    /// The session is over with its last channel, for the reason of that one.
    fn note_end(&mut self, channel: ChannelNumber, reason: CloseReason) {
        if let Some(link) = self.links.get_mut(usize::from(channel.0)) {
            link.close();
        }
        if !self.links.iter().any(Link::is_open) {
            self.closed = Some(reason);
        }
    }
}

/// Waiting for one request while others end too.
impl Session {
    /// Waits until this request has ended or its time is over; others stay for [`Session::poll`].
    pub(in crate::srp) fn take_finished(
        &mut self,
        request: RequestId,
        timeout: Duration,
    ) -> Result<Option<Finished>, SessionError> {
        let limit = Instant::now() + timeout;
        loop {
            self.turn()?;
            // The last word counts: its end may have come after its time was over.
            let place = self.finished.iter().rposition(|f| f.request == request);
            if let Some(finished) = place.and_then(|place| self.finished.remove(place)) {
                self.finished.retain(|f| f.request != request);
                return Ok(Some(finished));
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.sleep(left);
        }
    }

    /// Waits until one more request has ended, and leaves it for [`Session::poll`]; false when none did.
    pub(in crate::srp) fn wait_aside(&mut self, timeout: Duration) -> Result<bool, SessionError> {
        let (limit, before) = (Instant::now() + timeout, self.finished.len());
        loop {
            self.turn()?;
            if self.finished.len() > before {
                return Ok(true);
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.sleep(left);
        }
    }
}
