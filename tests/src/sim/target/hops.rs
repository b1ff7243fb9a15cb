//! The hops of a command, in order, as the daemon's worker has them: completions in, core and disk in the middle,
//! work requests out.

use roce::{Completion, CompletionKind, RecvRequest, Status};
use target_core::backend::Backend;
use target_core::command::{TaskManagementFunction, TaskManagementResponse};
use target_core::lun::Lun;
use target_core::port::{Channel, ChannelEvent, CloseReason, Transmit};
use target_core::target::Next;

use super::carrier::Carrier;
use super::endings::GOODBYE_US;
use super::nic::Returned;
use super::{Phase, TargetSide};
use crate::sim::journal::{Entry, Scope};

impl TargetSide {
    /// Hops 1 and 2.
    pub(super) fn run_completions(&mut self, now_us: u64) -> bool {
        let mut moved = false;
        while let Some(completion) = self.node.poll_completion() {
            moved = true;
            let link = self.link_of(|c| c.carrier.qp() == Some(completion.qp));
            match completion.kind {
                CompletionKind::Recv | CompletionKind::RecvWriteWithImmediate => {
                    self.handle_received(link, &completion, now_us);
                }
                CompletionKind::Send | CompletionKind::Write | CompletionKind::Read => {
                    let link = link.expect("a connection of this queue pair");
                    self.handle_sent(link, &completion, now_us);
                }
            }
        }
        self.refill();
        moved
    }

    pub(super) fn handle_received(
        &mut self,
        link: Option<u32>,
        completion: &Completion,
        now_us: u64,
    ) {
        let mut buf = self.nic.take(completion.wr_id);
        buf.truncate(completion.length as usize);
        let connection = link.and_then(|link| self.connections.get_mut(&link));
        if let (Some(link), Some(connection)) = (link, connection)
            && completion.status == Status::Success
            && connection.phase == Phase::Live
        {
            connection.channel.handle_recv(buf, now_us / 1000);
            self.run_channel(link, now_us);
        }
    }

    pub(super) fn handle_sent(&mut self, link: u32, completion: &Completion, now_us: u64) {
        let Some(connection) = self.connections.get_mut(&link) else {
            return;
        };
        let Carrier::Queue { sends, .. } = &mut connection.carrier else {
            return;
        };
        let returned = sends.complete(completion.wr_id, &mut self.nic);
        if completion.status != Status::Success {
            return self.end_connection(link, now_us);
        }
        for returned in returned {
            if let Returned::Pulled(exchange, buf) = returned {
                connection.channel.handle_pulled(exchange, buf);
            }
        }
        self.run_channel(link, now_us);
    }

    pub(super) fn refill(&mut self) {
        for (receives, queue) in self.pools.receives.iter().zip(self.receives) {
            while let Some(mut buf) = receives.pool.take(receives.slot_len) {
                assert!(buf.set_window(receives.window_start, receives.message_len));
                let sge = self.nic.hold(buf);
                let request = RecvRequest {
                    wr_id: sge.address,
                    sges: &[sge],
                };
                let posted = self.node.post_shared_recv(queue, &request);
                posted.unwrap_or_else(|error| panic!("a receive is not taken: {error}"));
            }
        }
    }

    /// Hops 2 and 3.
    pub(super) fn run_channel(&mut self, link: u32, now_us: u64) {
        while let Some(connection) = self.connections.get_mut(&link)
            && let Some(event) = connection.channel.poll_event()
        {
            let nexus = || {
                let member = connection.member.as_ref();
                member.expect("nothing is let in before the login").1
            };
            match event {
                ChannelEvent::Command(_) | ChannelEvent::TaskManagement(_)
                    if connection.phase != Phase::Live => {}
                ChannelEvent::Command(command) => {
                    self.journal.write(Entry::Arrived {
                        link,
                        exchange: command.exchange.0,
                        tag: command.tag,
                    });
                    self.target.submit(nexus(), command);
                }
                ChannelEvent::TaskManagement(request) => {
                    self.journal.write(Entry::ManagementArrived {
                        link,
                        exchange: request.exchange.0,
                        lun: number(request.lun),
                        scope: scope(request.function),
                    });
                    self.target.task_management(nexus(), request);
                }
                ChannelEvent::DataOut { task, buf } => self.target.data_out_ready(task, buf),
                ChannelEvent::DataOutLost { task } => self.target.data_out_lost(task),
                ChannelEvent::Transport => self.handle_login_events(link, now_us),
                ChannelEvent::Close(reason) => {
                    let is_refused = connection.member.is_none() && self.is_closed;
                    let is_fault = matches!(
                        reason,
                        CloseReason::Protocol(_) | CloseReason::LoginRefused(_)
                    );
                    assert!(
                        !is_fault || is_refused,
                        "an initiator broke the protocol: {reason:?}"
                    );
                    if connection.phase == Phase::Live {
                        connection.phase = Phase::Leaving(now_us + GOODBYE_US);
                        self.forget(link);
                    }
                }
            }
        }
    }

    /// Hops 3 to 6.
    pub(super) fn settle(&mut self, now_us: u64) -> bool {
        let mut moved = false;
        loop {
            let mut quiet = true;
            while let Some(completion) = self.disk.poll() {
                self.target.complete(completion);
                quiet = false;
            }
            while let Some(next) = self.target.poll_next() {
                self.carry_out(next, now_us);
                quiet = false;
            }
            moved |= !quiet;
            if quiet {
                return moved;
            }
        }
    }

    pub(super) fn carry_out(&mut self, next: Next, now_us: u64) {
        match next {
            Next::Execute(request) => self.disk.submit(request),
            Next::Cancel(task) => self.disk.cancel(task),
            Next::PullDataOut {
                channel,
                exchange,
                task,
                offset,
                buf,
            } => {
                self.channel(channel.0)
                    .pull_data_out(exchange, task, offset, buf);
                self.run_channel(channel.0, now_us);
            }
            Next::StopDataOut { channel, exchange } => {
                self.channel(channel.0).stop_data_out(exchange);
                self.run_channel(channel.0, now_us);
            }
            Next::Done {
                channel,
                exchange,
                outcome,
                ..
            } => {
                let (link, number) = (channel.0, exchange.0);
                self.journal.write(Entry::Finished {
                    link,
                    exchange: number,
                });
                self.channel(link).handle_outcome(exchange, outcome);
                self.run_channel(link, now_us);
            }
            Next::Aborted { channel, exchange } => {
                let (link, number) = (channel.0, exchange.0);
                self.journal.write(Entry::Stopped {
                    link,
                    exchange: number,
                });
                self.channel(link).handle_aborted(exchange);
                self.run_channel(link, now_us);
            }
            Next::TaskManagementDone {
                channel,
                exchange,
                response,
                ..
            } => {
                let (link, number) = (channel.0, exchange.0);
                self.journal.write(Entry::ManagementFinished {
                    link,
                    exchange: number,
                    is_done: response == TaskManagementResponse::FunctionComplete,
                });
                self.channel(link)
                    .handle_task_management(exchange, response);
                self.run_channel(link, now_us);
            }
        }
    }

    pub(super) fn channel(&mut self, link: u32) -> &mut dyn Channel {
        let connection = self.connections.get_mut(&link);
        let connection = connection.filter(|connection| connection.phase == Phase::Live);
        &mut *connection
            .expect("the core speaks to a channel that lives")
            .channel
    }

    /// Hop 7.
    pub(super) fn transmit(&mut self, now_us: u64) -> bool {
        let (mut moved, mut freed) = (false, false);
        for (&link, connection) in &mut self.connections {
            if connection.phase == Phase::Draining {
                continue;
            }
            let (node, nic) = (&mut self.node, &mut self.nic);
            while let Some(transmit) = connection.channel.poll_transmit() {
                moved = true;
                match (transmit, &mut connection.carrier) {
                    (
                        Transmit::Respond {
                            data,
                            segments,
                            message,
                            invalidate,
                        },
                        Carrier::Queue { sends, .. },
                    ) => {
                        self.past.invalidated += u64::from(invalidate.is_some());
                        sends.respond(node, nic, data, segments, message, invalidate);
                    }
                    (
                        Transmit::Pull {
                            exchange,
                            buf,
                            segments,
                        },
                        Carrier::Queue { sends, .. },
                    ) => sends.pull(node, nic, exchange, buf, segments),
                    (
                        Transmit::Stream {
                            message,
                            data,
                            pieces,
                        },
                        Carrier::Stream(outgoing),
                    ) => outgoing.push(message, data, pieces),
                    (transmit, _) => panic!("not for what carries the connection: {transmit:?}"),
                }
            }
            let starves = connection.channel.has_transmit();
            self.past.unsent += u64::from(starves && !connection.starves);
            connection.starves = starves;
            if let Carrier::Stream(outgoing) = &mut connection.carrier {
                freed |= outgoing.flush(&self.streams, link, now_us);
            }
        }
        if freed {
            self.target.handle_buffers_freed();
        }
        moved | freed
    }
}

fn number(lun: Lun) -> u8 {
    lun.flat()
        .and_then(|flat| flat.try_into().ok())
        .unwrap_or(u8::MAX)
}

fn scope(function: TaskManagementFunction) -> Scope {
    match function {
        TaskManagementFunction::AbortTask { tag } => Scope::Task(tag),
        TaskManagementFunction::AbortTaskSet => Scope::Nexus,
        TaskManagementFunction::ClearTaskSet | TaskManagementFunction::LogicalUnitReset => {
            Scope::Everybody
        }
        TaskManagementFunction::TargetWarmReset | TaskManagementFunction::TargetColdReset => {
            Scope::Target
        }
        TaskManagementFunction::ClearAca | TaskManagementFunction::Unknown(_) => Scope::Nothing,
    }
}
