//! One turn: what has come is taken, what waits is sent.

use std::time::{Duration, Instant};

use transport_iser::pdu::{AsyncEvent, AsyncMessage, LogoutReason};

use super::{MOST_ASYNC, Mover, Session};
use crate::error::SessionError;
use crate::iscsi::iser::{Connection, Received};
use crate::iscsi::machine::{CloseReason, Event, Machine, Outcome, ProtocolError, RequestId};
use crate::iscsi::memory::Memories;
use crate::iscsi::message::split;
use crate::iscsi::tcp::Stream;

impl Session {
    /// Sends what waits, and takes what has come.
    pub(super) fn turn(&mut self) -> Result<(), SessionError> {
        self.transmit();
        let has_received = match &mut self.mover {
            Mover::Tcp(stream) => receive_stream(stream, &mut self.machine, &mut self.memories),
            Mover::Iser(connection) => {
                receive_messages(connection, &mut self.machine, &mut self.memories)?
            }
        };
        if !has_received {
            self.machine.handle_timeout(self.clock.now_ms());
        }
        self.transmit();
        self.take_events();
        Ok(())
    }

    fn transmit(&mut self) {
        let is_good = match &mut self.mover {
            Mover::Tcp(stream) => send_stream(stream, &mut self.machine, &mut self.memories),
            Mover::Iser(connection) => {
                send_messages(connection, &mut self.machine, &mut self.memories)
            }
        };
        if !is_good {
            self.lose();
        }
    }

    /// The connection is gone. It is closed first, so that the target cannot touch memory that returns.
    fn lose(&mut self) {
        self.close_mover();
        self.machine.handle_disconnected();
    }

    pub(super) fn close_mover(&mut self) {
        match &mut self.mover {
            Mover::Tcp(stream) => stream.close(),
            Mover::Iser(connection) => connection.close(),
        }
    }

    /// Waits until something comes, a request's time is over, or `most` has passed.
    pub(super) fn sleep(&mut self, most: Duration) {
        let now = self.clock.now_ms();
        let timeout = self.machine.poll_timeout();
        let timeout = timeout.map_or(most, |at| Duration::from_millis(at.saturating_sub(now)));
        let most = timeout.min(most);
        // What is broken shows at the next turn.
        match &mut self.mover {
            Mover::Tcp(stream) => drop(stream.wait(most)),
            Mover::Iser(connection) => {
                let is_armed = connection.arm().is_ok();
                // A completion that came before the arming may give no event.
                let received = receive_messages(connection, &mut self.machine, &mut self.memories);
                if is_armed && matches!(received, Ok(false)) && !self.machine.has_transmit() {
                    let _ = connection.wait(most);
                }
            }
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::LoggedIn => self.is_logged_in = true,
                Event::Done { request, outcome } => {
                    self.memories.release(request);
                    self.finished.push_back((request, Some(outcome)));
                }
                Event::TimedOut(request) => self.finished.push_back((request, None)),
                Event::Async(message) => self.take_async(message),
                Event::Rejected(_) => self.rejects += 1,
                Event::Closed(reason) => {
                    if let (Mover::Iser(connection), CloseReason::LoggedOut(_)) =
                        (&mut self.mover, &reason)
                    {
                        connection.part();
                    }
                    self.close_mover();
                    self.closed = Some(reason);
                }
            }
        }
    }

    fn take_async(&mut self, message: AsyncMessage) {
        if message.event == AsyncEvent::TARGET_REQUESTS_LOGOUT {
            // It fails when the session is over, which is what is wanted.
            let _ = self.machine.logout(LogoutReason::CLOSE_SESSION, None);
        }
        if self.asyncs.len() < MOST_ASYNC {
            self.asyncs.push_back(message);
        }
    }

    /// Waits until this request has ended or its time is over; others stay.
    pub(super) fn take_finished(
        &mut self,
        request: RequestId,
        timeout: Duration,
    ) -> Result<Option<Outcome>, SessionError> {
        let limit = Instant::now() + timeout;
        loop {
            self.turn()?;
            // The last word counts: its end may have come after its time was over.
            let place = self.finished.iter().rposition(|(id, _)| *id == request);
            if let Some((_, outcome)) = place.and_then(|place| self.finished.remove(place)) {
                self.finished.retain(|(id, _)| *id != request);
                return Ok(outcome);
            }
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.sleep(left);
        }
    }
}

/// False when the connection has failed.
fn send_stream(stream: &mut Stream, machine: &mut Machine, memories: &mut Memories) -> bool {
    loop {
        while !stream.is_full() {
            let Some(transmit) = machine.poll_transmit() else {
                break;
            };
            let memory = transmit.request.and_then(|request| memories.of(request));
            stream.push(&transmit, memory.map_or(&[], |memory| memory.bytes()));
        }
        let is_good = !stream.has_outgoing() || stream.flush().is_ok();
        if !is_good || stream.has_outgoing() || !machine.has_transmit() {
            return is_good;
        }
    }
}

/// False when the connection has failed.
fn send_messages(
    connection: &mut Connection,
    machine: &mut Machine,
    memories: &mut Memories,
) -> bool {
    let mut is_good = true;
    while is_good && !connection.is_full() {
        let Some(transmit) = machine.poll_transmit() else {
            break;
        };
        let memory = transmit.request.and_then(|request| memories.of(request));
        is_good = connection.push(&transmit, memory);
    }
    connection.flush() && is_good
}

/// False when nothing has come.
fn receive_stream(stream: &mut Stream, machine: &mut Machine, memories: &mut Memories) -> bool {
    match stream.fill() {
        Ok(true) => {}
        Ok(false) => return false,
        Err(_) => {
            machine.handle_disconnected();
            return false;
        }
    }
    loop {
        let max_data = machine.max_recv_data_segment_length();
        match stream.next(machine.digests(), max_data) {
            Ok(None) => return true,
            Ok(Some(pdu)) => {
                if let Some(at) = machine.handle_pdu(pdu.header, pdu.data) {
                    memories.place(at, pdu.data);
                }
            }
            Err(error) => {
                machine.handle_broken(error);
                return true;
            }
        }
    }
}

/// False when nothing has come.
fn receive_messages(
    connection: &mut Connection,
    machine: &mut Machine,
    memories: &mut Memories,
) -> Result<bool, SessionError> {
    let (mut count, mut is_gone) = receive_batch(connection, machine, memories)?;
    if !is_gone && count == 0 && connection.has_ended()? {
        // The target's last words may have come together with the end.
        (count, _) = receive_batch(connection, machine, memories)?;
        is_gone = true;
    }
    if is_gone {
        connection.close();
        machine.handle_disconnected();
    }
    Ok(count > 0)
}

/// How many completions there were, and whether one of them says that the connection is gone.
fn receive_batch(
    connection: &mut Connection,
    machine: &mut Machine,
    memories: &mut Memories,
) -> Result<(usize, bool), SessionError> {
    let invalidates = connection.invalidates();
    let mut is_gone = false;
    let count = connection.receive(|received, port| match received {
        Received::Gone => is_gone = true,
        Received::Message(buf, key) => {
            let is_allowed = key.is_none_or(|key| invalidates && memories.renew(key, port));
            match split(&buf) {
                Ok((header, data)) if is_allowed => {
                    let placement = machine.handle_pdu(header, data);
                    debug_assert!(placement.is_none(), "RDMA has no Data-In PDUs");
                }
                Ok(_) => machine.handle_broken(ProtocolError::Invalidated),
                Err(error) => machine.handle_broken(error),
            }
            port.repost(buf);
        }
    })?;
    Ok((count, is_gone))
}
