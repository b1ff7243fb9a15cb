//! What the worker reports: sessions and counters. Plain data; the API's JSON is exactly this.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::access::{Identity, LoginIdentity, Vouched};
use crate::portal::Protocol;

/// A live session: one I_T nexus and its channels.
#[derive(Clone, Debug, Serialize)]
pub struct SessionInfo {
    /// Names the session as long as it lives; never used again.
    pub id: u64,
    /// The host that it was admitted as.
    pub host: String,
    /// What carries it.
    pub transport: Protocol,
    /// The GUID or the iSCSI name that admitted it.
    pub identity: Identity,
    /// Who vouched for that.
    pub vouched: Vouched,
    /// Every identity that the login showed.
    pub login: LoginIdentity,
    /// When the first channel came up, in milliseconds since 1970.
    #[serde(rename = "since_unix_ms", serialize_with = "unix_ms")]
    pub since: SystemTime,
    /// Its connections.
    pub channels: Vec<SessionChannel>,
    /// Per logical unit, in the order of their numbers.
    pub luns: Vec<SessionLun>,
}

/// A connection of a session.
#[derive(Clone, Debug, Serialize)]
pub struct SessionChannel {
    /// Queue pair number; TCP has none.
    pub queue_pair: Option<u32>,
    /// Longest initiator-to-target information unit or data segment, in bytes.
    pub max_it_iu_bytes: u32,
    /// Requests that the peer may have open.
    pub request_limit: u32,
    /// Commands that run now.
    pub in_flight: u32,
    /// Immediate data was agreed.
    pub immediate_data: bool,
    /// What else an iSCSI login agreed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iscsi: Option<IscsiValues>,
}

/// What an iSCSI login agreed on (RFC 7143 clause 13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IscsiValues {
    /// TSIH of the session.
    pub tsih: u16,
    /// CRC32C over headers.
    pub header_digest: bool,
    /// CRC32C over data.
    pub data_digest: bool,
    /// No data before an R2T, immediate data aside.
    pub initial_r2t: bool,
    /// Longest data segment that goes to the initiator, in bytes.
    pub max_xmit_data_segment_bytes: u32,
    /// Longest sequence of data, in bytes.
    pub max_burst_bytes: u32,
    /// Most data before the first R2T, in bytes.
    pub first_burst_bytes: u32,
    /// R2Ts of one command at a time.
    pub max_outstanding_r2t: u16,
}

/// A logical unit's traffic in a session.
#[derive(Clone, Debug, Serialize)]
pub struct SessionLun {
    /// LUN number.
    pub number: u8,
    /// The logical unit's name.
    pub lun: String,
    /// Read commands done.
    pub reads: u64,
    /// Write commands done.
    pub writes: u64,
    /// Bytes given to the initiator.
    pub read_bytes: u64,
    /// Bytes taken from the initiator.
    pub written_bytes: u64,
    /// Commands that ended in anything but GOOD.
    pub errors: u64,
    /// From the command's arrival to its response.
    pub latency: LatencyMicros,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LatencyMicros {
    /// Median.
    pub p50_us: u64,
    /// 99 of 100 are faster.
    pub p99_us: u64,
    /// 999 of 1,000 are faster.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
}

/// Everything that the worker counts, since it started.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counters {
    /// Logins that came in.
    pub logins_accepted: u64,
    /// Logins that did not.
    pub logins_refused: u64,
    /// Sessions that ended.
    pub sessions_closed: u64,
    /// Connections that ended because the peer broke the protocol.
    pub protocol_errors: u64,
    /// Connections that ended because the peer was silent: it did not finish its login, or did not answer a ping, or did not
    /// acknowledge what was sent to it over RDMA or TCP.
    pub peers_silent: u64,
    /// Commands that arrived.
    pub commands_started: u64,
    /// Commands that were answered or aborted; equals `commands_started` when nothing runs.
    pub commands_finished: u64,
    /// Of these, aborted by task management or by the end of their session.
    pub commands_aborted: u64,
    /// Of these, ended in anything but GOOD.
    pub commands_failed: u64,
    /// Bytes given to initiators.
    pub read_bytes: u64,
    /// Bytes taken from initiators.
    pub written_bytes: u64,
    /// Task management functions that were answered.
    pub task_management: u64,
    /// Buffer memory, in bytes.
    pub pool_bytes: u64,
    /// Of that, in use now.
    pub pool_used_bytes: u64,
    /// Of that, in use at the most so far.
    pub pool_high_water_bytes: u64,
    /// Operations in the back end whose initiator is gone; zero when nothing runs.
    pub commands_orphaned: u64,
    /// System calls on the ring: the worker submits, reaps and sleeps by these only.
    pub ring_enters: u64,
    /// Chains of sends given to queue pairs; each is a system call on soft devices.
    pub doorbells: u64,
    /// Completion queues armed; each is a system call on soft devices.
    pub queue_arms: u64,
    /// SENDs, RDMA WRITEs and READs.
    pub sends_posted: u64,
    /// System calls of the soft fabric that receive or send datagrams.
    pub datagram_calls: u64,
    /// Packets that came over the soft fabric.
    pub packets_received: u64,
    /// Packets that went out over the soft fabric.
    pub packets_sent: u64,
    /// Of these, those that the kernel did not take.
    pub packets_unsent: u64,
    /// Packets over the soft fabric that were damaged, forged or for nobody.
    pub packets_refused: u64,
    /// Times that a queue pair of the soft fabric began again at its oldest packet.
    pub packet_retries: u64,
    /// TCP connections that were accepted.
    pub streams_accepted: u64,
    /// TCP connections now, with those that are just ending.
    pub streams_open: u64,
    /// Connections, over TCP and iSER, whose login is not over.
    pub logins_unfinished: u64,
    /// Chunks that came over TCP; they come by [`Counters::ring_enters`], as everything does.
    pub stream_chunks: u64,
    /// Gather lists that went out over TCP.
    pub stream_sends: u64,
    /// Of these, those that the kernel took only a part of at first.
    pub stream_short_sends: u64,
    /// Times that a TCP connection found no chunk to receive into.
    pub stream_waits: u64,
    /// Times that a TCP connection was not read for a while, because there were no buffers for what it brings.
    pub stream_pauses: u64,
}

pub(crate) fn unix_ms<S: Serializer>(when: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(as_unix_ms(*when))
}

/// Milliseconds since 1970; 0 for a clock that is set before.
pub(crate) fn as_unix_ms(when: SystemTime) -> u64 {
    let since = when
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
