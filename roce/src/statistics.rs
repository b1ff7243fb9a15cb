//! Counters of everything that goes wrong without an error of its own, and of the traffic around it.

/// Counters since the node was made. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Datagrams taken in.
    pub received_packets: u64,
    /// Packets handed out.
    pub sent_packets: u64,
    /// Datagrams that are no packets.
    pub malformed: u64,
    /// Packets with a wrong ICRC.
    pub bad_icrc: u64,
    /// Packets for a queue pair that does not exist, or of the wrong kind for it.
    pub unknown_queue_pair: u64,
    /// Packets for a queue pair from an address that is not its peer's, or of a foreign partition.
    pub foreign: u64,
    /// Packets that came in a state that does not take them.
    pub wrong_state: u64,
    /// Requests that had been executed before.
    pub duplicate_requests: u64,
    /// Requests behind a gap.
    pub out_of_sequence_requests: u64,
    /// Responses to nothing that is outstanding.
    pub stale_responses: u64,
    /// Responses that do not fit what was asked.
    pub bad_responses: u64,
    /// Requests refused for good: key, bounds, rights, sequence of opcodes, atomics.
    pub refused_requests: u64,
    /// RNR NAKs sent.
    pub rnr_naks_sent: u64,
    /// RNR NAKs received.
    pub rnr_naks_received: u64,
    /// Sequence NAKs received, and responses that showed a gap.
    pub sequence_naks_received: u64,
    /// Local acknowledge timeouts.
    pub timeouts: u64,
    /// Times that a requester went back to its oldest unacknowledged packet.
    pub retries: u64,
    /// Acknowledges sent.
    pub acks_sent: u64,
    /// MADs on queue pair 1 that nobody understands, or that fit no connection.
    pub cm_ignored: u64,
    /// Connection requests that had come before.
    pub cm_duplicates: u64,
    /// Connection requests turned away because too many are half open.
    pub cm_overload: u64,
    /// MADs not sent because the queue of outgoing ones was full.
    pub cm_dropped: u64,
}
