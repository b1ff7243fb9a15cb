//! What the control plane is told: sessions and counters.

use iobuf::PoolLevel;
use target_core::target::NexusId;
use transport_iser::login::{Digest, Negotiated};

use crate::worker_link::{Counters, IscsiValues, SessionChannel, SessionInfo, SessionLun};

use super::Worker;
use super::connection::{Connection, Progress};
use super::iscsi::COMMAND_WINDOW;
use super::sessions::Session;

/// What nobody else counts, since the worker started.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Logins that came in.
    pub(super) logins_accepted: u64,
    /// Logins that did not.
    pub(super) logins_refused: u64,
    /// Sessions that ended.
    pub(super) sessions_closed: u64,
    /// Connections that ended because the peer broke the protocol.
    pub(super) protocol_errors: u64,
    /// Connections that ended because the peer was silent.
    pub(super) peers_silent: u64,
    /// Commands that ended in anything but GOOD.
    pub(super) commands_failed: u64,
    /// Task management requests.
    pub(super) task_management: u64,
    /// Times that a stream was not read for want of buffers.
    pub(super) stream_pauses: u64,
    /// Bytes given to the initiators of sessions that have ended.
    pub(super) read_bytes: u64,
    /// Bytes taken from the initiators of sessions that have ended.
    pub(super) written_bytes: u64,
}

impl Worker {
    /// All sessions, oldest first.
    pub(super) fn report_sessions(&self) -> Vec<SessionInfo> {
        self.sessions
            .iter()
            .map(|session| self.report_session(session))
            .collect()
    }

    fn report_session(&self, session: &Session) -> SessionInfo {
        let connections = session
            .connections
            .iter()
            .filter_map(|&number| self.connections.get(number));
        SessionInfo {
            id: session.id,
            host: session.host.name.to_string(),
            transport: session.login.portal.protocol,
            identity: session.by.clone(),
            vouched: session.vouched,
            login: session.login.clone(),
            since: session.since,
            channels: connections.map(report_channel).collect(),
            luns: self.report_luns(session),
        }
    }

    fn report_luns(&self, session: &Session) -> Vec<SessionLun> {
        let mut luns: Vec<_> = self
            .target
            .lun_counters(session.nexus)
            .filter_map(|(number, counters)| {
                let mapped = session.host.luns.get(&number)?;
                Some(SessionLun {
                    number,
                    lun: mapped.lun.to_string(),
                    reads: counters.reads,
                    writes: counters.writes,
                    read_bytes: counters.read_bytes,
                    written_bytes: counters.write_bytes,
                    errors: counters.errors,
                    latency: session
                        .latency(number)
                        .map(|l| l.percentiles())
                        .unwrap_or_default(),
                })
            })
            .collect();
        luns.sort_by_key(|lun| lun.number);
        luns
    }

    /// Adds the bytes of a session that is about to end to the totals.
    pub(super) fn count_bytes_of(&mut self, nexus: NexusId) {
        let (read, written) = self.bytes_of(nexus);
        self.totals.read_bytes += read;
        self.totals.written_bytes += written;
    }

    fn bytes_of(&self, nexus: NexusId) -> (u64, u64) {
        let luns = self.target.lun_counters(nexus);
        luns.fold((0, 0), |(read, written), (_, lun)| {
            (read + lun.read_bytes, written + lun.write_bytes)
        })
    }

    /// All counters.
    pub(super) fn report_counters(&self) -> Counters {
        let core = self.target.counters();
        let live = self
            .sessions
            .iter()
            .map(|session| self.bytes_of(session.nexus));
        let (read, written) = live.fold((0, 0), |sum, bytes| (sum.0 + bytes.0, sum.1 + bytes.1));
        let pools = [&self.memory.data, &self.memory.unsolicited].map(|pool| pool.level());
        let in_pools =
            |bytes: fn(&PoolLevel) -> usize| pools.iter().map(bytes).sum::<usize>() as u64;
        let ring = self.engine.counters();
        let soft = self.fabric.counters();
        let streams = self.engine.stream_counters();
        let mut counters = Counters {
            logins_accepted: self.totals.logins_accepted,
            logins_refused: self.totals.logins_refused,
            sessions_closed: self.totals.sessions_closed,
            protocol_errors: self.totals.protocol_errors,
            peers_silent: self.totals.peers_silent,
            commands_started: core.totals.commands,
            commands_finished: core.totals.answered + core.totals.aborted + core.totals.abandoned,
            commands_aborted: core.totals.aborted + core.totals.abandoned,
            commands_failed: self.totals.commands_failed,
            commands_orphaned: core.orphaned.into(),
            read_bytes: self.totals.read_bytes + read,
            written_bytes: self.totals.written_bytes + written,
            task_management: self.totals.task_management,
            pool_bytes: in_pools(|level| level.capacity_bytes),
            pool_used_bytes: in_pools(|level| level.in_use_bytes),
            pool_high_water_bytes: in_pools(|level| level.high_water_bytes),
            ring_enters: ring.enters,
            datagram_calls: soft.receive_calls + soft.send_calls,
            packets_received: soft.received_packets,
            packets_sent: soft.sent_packets,
            packets_unsent: soft.unsent_packets,
            packets_refused: soft.refused_packets,
            packet_retries: soft.retries,
            streams_accepted: streams.accepted,
            streams_open: streams.open,
            logins_unfinished: self.connections.logging_in() as u64,
            stream_chunks: streams.chunks,
            stream_sends: streams.sends,
            stream_short_sends: streams.short_sends,
            stream_waits: streams.starved,
            stream_pauses: self.totals.stream_pauses,
            ..Counters::default()
        };
        for adapter in &self.fabric.adapters {
            let verbs = adapter.counters();
            counters.sends_posted += verbs.sends_posted;
            // Of the soft fabric neither is a system call.
            if !adapter.is_soft() {
                counters.doorbells += verbs.doorbells;
                counters.queue_arms += verbs.arms;
            }
        }
        counters
    }
}

fn report_channel(connection: &Connection) -> SessionChannel {
    let (max_it_iu_bytes, request_limit, immediate_data) = match &connection.progress {
        Progress::LoggingIn(_) => (0, 0, false),
        Progress::Srp(negotiated) => (
            negotiated.max_it_iu_len,
            negotiated.request_limit,
            negotiated.imm_data_offset.is_some(),
        ),
        Progress::Iscsi(negotiated) => (
            negotiated.max_recv_data_segment_length,
            COMMAND_WINDOW.into(),
            negotiated.immediate_data,
        ),
    };
    SessionChannel {
        queue_pair: connection
            .link
            .rdma()
            .map(|link| link.queue_pair.number().0),
        max_it_iu_bytes,
        request_limit,
        in_flight: connection.in_flight,
        immediate_data,
        iscsi: match &connection.progress {
            Progress::Iscsi(negotiated) => Some(iscsi_values(negotiated)),
            Progress::LoggingIn(_) | Progress::Srp(_) => None,
        },
    }
}

fn iscsi_values(negotiated: &Negotiated) -> IscsiValues {
    IscsiValues {
        tsih: negotiated.tsih,
        header_digest: negotiated.header_digest == Digest::Crc32c,
        data_digest: negotiated.data_digest == Digest::Crc32c,
        initial_r2t: negotiated.initial_r2t,
        max_xmit_data_segment_bytes: negotiated.max_xmit_data_segment_length,
        max_burst_bytes: negotiated.max_burst_length,
        first_burst_bytes: negotiated.first_burst_length,
        max_outstanding_r2t: negotiated.max_outstanding_r2t,
    }
}
