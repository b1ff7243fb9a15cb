//! The seven hops of a command, in order: completions in, core and media in the middle, one doorbell out.

use rdma::{Completed, WorkCompletion, WorkStatus};
use target_core::backend::Backend;
use target_core::command::{ChannelId, ExchangeId, Outcome};
use target_core::port::{Channel, ChannelEvent};
use target_core::status::Status;
use target_core::target::Next;

use super::Worker;
use super::adapter::BATCH;
use super::clock::millis;
use super::connection::{Connection, Member, Phase};

impl Worker {
    /// Hop 1 and 2: takes completions of all devices, a batch of each queue. Returns how many there were.
    pub(super) fn poll_completions(&mut self) -> usize {
        let mut batch = std::mem::take(&mut self.completions);
        let (mut receives, mut sends) = (0, 0);
        let expects_sends = self.connections.expects_sends();
        for adapter in 0..self.fabric.adapters.len() {
            receives += self.poll_receives(adapter, &mut batch);
            if expects_sends {
                sends += self.poll_sends(adapter, &mut batch);
            }
        }
        if sends >= BATCH {
            self.connections.expect_more_sends();
        }
        self.completions = batch;
        receives + sends
    }

    fn poll_receives(&mut self, adapter: usize, batch: &mut [WorkCompletion]) -> usize {
        let polled = self.fabric.adapters[adapter].poll_receives(batch);
        let count = self.polled(adapter, polled);
        for completion in &batch[..count] {
            let Some(received) = self.fabric.adapters[adapter].receives().take(completion) else {
                continue;
            };
            let Some(connection) = self.connections.of_queue_pair(adapter, received.queue_pair)
            else {
                continue; // Its connection is gone; the buffer returns to the pool.
            };
            if received.status.is_success() && connection.phase == Phase::Live {
                connection
                    .machine
                    .handle_recv(received.buf, millis(self.now));
                let number = connection.number;
                self.handle_channel_events(number);
            }
        }
        count
    }

    /// Gives receive slots back to the NIC, those of this turn's commands and those whose immediate data is written now.
    pub(super) fn refill(&mut self) {
        for adapter in 0..self.fabric.adapters.len() {
            if let Err(error) = self.fabric.adapters[adapter].refill() {
                self.lose_adapter(adapter, &error);
            }
        }
    }

    fn poll_sends(&mut self, adapter: usize, batch: &mut [WorkCompletion]) -> usize {
        let polled = self.fabric.adapters[adapter].poll_sends(batch);
        let count = self.polled(adapter, polled);
        for completion in &batch[..count] {
            let Some(connection) = self
                .connections
                .of_queue_pair(adapter, completion.queue_pair)
            else {
                continue;
            };
            let number = connection.number;
            let link = connection.link.rdma_mut();
            if link.is_some_and(|link| link.queue_pair.handle_completion(completion)) {
                self.handle_completed(number);
            }
        }
        if count > 0 {
            self.connections.messages_freed();
            if self.target.waits_for_buffer() {
                self.target.handle_buffers_freed();
            }
        }
        count
    }

    fn polled(&mut self, adapter: usize, polled: Result<usize, rdma::Error>) -> usize {
        polled.unwrap_or_else(|error| {
            self.lose_adapter(adapter, &error);
            0
        })
    }

    /// Takes what the queue pair has finished.
    fn handle_completed(&mut self, number: u32) {
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        let Connection { link, machine, .. } = connection;
        let Some(link) = link.rdma_mut() else {
            return;
        };
        let mut failure = None;
        let mut pulled = 0;
        while let Some(completed) = link.queue_pair.poll_completed() {
            match completed {
                Completed::Sent => {}
                Completed::Pulled { token, buf } => {
                    pulled += 1;
                    if let Ok(exchange) = u32::try_from(token) {
                        machine.handle_pulled(ExchangeId(exchange), buf);
                    }
                }
                Completed::Failed { token, status } => {
                    pulled += u32::from(token.is_some());
                    failure = Some(status);
                }
            }
        }
        if link.queue_pair.has_pending() {
            self.connections.mark_dirty(number);
        }
        self.connections.look_at_queue(number);
        if pulled > 0 {
            self.connections.pulls_ended(number, pulled);
            self.handle_channel_events(number);
        }
        if let Some(status) = failure {
            self.handle_send_failure(number, status);
        }
    }

    /// What the device knows of its ports comes first: it decides how the connection ends.
    fn handle_send_failure(&mut self, number: u32, status: WorkStatus) {
        let connection = self.connections.get(number);
        let link = connection.and_then(|connection| connection.link.rdma());
        if let Some(adapter) = link.map(|link| link.adapter) {
            self.handle_device_events(adapter);
        }
        let why = format!("the queue pair failed: {status}");
        match status {
            WorkStatus::RetryExceeded => self.end_silent_connection(number, &why),
            _ => self.end_connection(number, &why),
        }
    }

    /// Hop 2 and 3: what the channel has for the core.
    pub(super) fn handle_channel_events(&mut self, number: u32) {
        self.connections.mark_dirty(number);
        while let Some(connection) = self.connections.get_mut(number)
            && let Some(event) = connection.machine.poll_event()
        {
            match (event, connection.member) {
                // Its table came just before the end, and its initiator may have sent it again by another channel: it
                // must not be carried out.
                (ChannelEvent::Command(_) | ChannelEvent::TaskManagement(_), _)
                    if connection.phase != Phase::Live => {}
                (ChannelEvent::Command(command), Some(Member { nexus, .. })) => {
                    connection.command_started(command.exchange, self.now);
                    self.target.submit(nexus, command);
                }
                (ChannelEvent::TaskManagement(request), Some(Member { nexus, .. })) => {
                    self.totals.task_management += 1;
                    self.target.task_management(nexus, request);
                }
                // Machines let nothing through before the login is over, nor in a session for discovery.
                (ChannelEvent::Command(_) | ChannelEvent::TaskManagement(_), None) => {
                    self.end_connection(number, "a command came outside of a session");
                }
                (ChannelEvent::DataOut { task, buf }, _) => self.target.data_out_ready(task, buf),
                (ChannelEvent::DataOutLost { task }, _) => self.target.data_out_lost(task),
                (ChannelEvent::Transport, _) => self.handle_login_events(number),
                (ChannelEvent::Close(reason), _) => self.leave_connection(number, &reason),
            }
        }
    }

    /// Hops 3 to 6, until neither the core nor the media have anything more to do now.
    pub(super) fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(completion) = self.engine.poll() {
                self.target.complete(completion);
                quiet = false;
            }
            while let Some(next) = self.target.poll_next() {
                self.carry_out(next);
                quiet = false;
            }
            if quiet {
                return;
            }
        }
    }

    fn carry_out(&mut self, next: Next) {
        match next {
            Next::Execute(request) => self.engine.submit(request),
            Next::Cancel(task) => self.engine.cancel(task),
            Next::PullDataOut {
                channel,
                exchange,
                task,
                offset,
                buf,
            } => {
                if let Some(connection) = self.connections.get_mut(channel.0) {
                    connection
                        .machine
                        .pull_data_out(exchange, task, offset, buf);
                    self.handle_channel_events(channel.0);
                }
            }
            Next::StopDataOut { channel, exchange } => {
                if let Some(connection) = self.connections.get_mut(channel.0) {
                    connection.machine.stop_data_out(exchange);
                    self.handle_channel_events(channel.0);
                }
            }
            Next::Done {
                channel,
                exchange,
                lun,
                outcome,
            } => self.answer(channel, exchange, lun, outcome),
            Next::Aborted { channel, exchange } => {
                if let Some(connection) = self.connections.get_mut(channel.0) {
                    connection.command_ended(exchange, self.now);
                    connection.machine.handle_aborted(exchange);
                    self.handle_channel_events(channel.0);
                }
            }
            Next::TaskManagementDone {
                channel,
                exchange,
                response,
                ends_sessions,
            } => {
                if let Some(connection) = self.connections.get_mut(channel.0) {
                    connection
                        .machine
                        .handle_task_management(exchange, response);
                    self.handle_channel_events(channel.0);
                }
                if ends_sessions {
                    self.leave_iscsi();
                }
            }
        }
    }

    /// Hop 6: the outcome goes to the channel, and the time that it took to the session.
    fn answer(
        &mut self,
        channel: ChannelId,
        exchange: ExchangeId,
        lun: Option<u8>,
        outcome: Outcome,
    ) {
        let Some(connection) = self.connections.get_mut(channel.0) else {
            return; // The connection ended in this turn.
        };
        let taken = connection.command_ended(exchange, self.now);
        if outcome.status != Status::GOOD {
            self.totals.commands_failed += 1;
        }
        connection.machine.handle_outcome(exchange, outcome);
        let session = connection.session();
        if let Some(lun) = lun
            && let Some(session) = session.and_then(|session| self.sessions.get_mut(session))
        {
            session.record(lun, taken);
        }
        self.handle_channel_events(channel.0);
    }

    /// Hop 7: one chain and one doorbell for each queue pair that has something, one gather list for each stream.
    pub(super) fn transmit(&mut self) {
        while let Some(number) = self.connections.next_dirty() {
            let Some(connection) = self.connections.get_mut(number) else {
                continue;
            };
            let Connection { link, machine, .. } = connection;
            match link.transmit(machine, &mut self.engine) {
                Ok(pulls) => self.connections.transmitted(number, pulls),
                Err(error) => self.end_connection(number, &error.to_string()),
            }
        }
    }

    /// Asks for events of what this thread is about to sleep for. True when it is worth looking once more.
    pub(super) fn arm(&mut self) -> bool {
        let sends = self.connections.wait_for_sends() || self.target.waits_for_buffer();
        let mut armed = false;
        for adapter in 0..self.fabric.adapters.len() {
            match self.fabric.adapters[adapter].arm(sends) {
                Ok(newly) => armed |= newly,
                Err(error) => self.lose_adapter(adapter, &error),
            }
        }
        armed
    }
}
