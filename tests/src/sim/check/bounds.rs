//! Bounded memory and queues, and only memory that is the target's to use.

use super::View;
use crate::sim::scenario::Protocol;

/// Heap bytes of a channel for each request of its limit: descriptors of a command, its place in the queues.
const HEAP_BYTES_PER_REQUEST: usize = 2048;

/// Nothing more is read from a peer that leaves answers of so many bytes unread: their data segments, and their places in
/// the queue.
const UNREAD_BYTES: usize = 512 << 10;

/// Heap bytes of an iSCSI connection, whatever its window: the answers that wait for a slow peer, the queue that they are
/// in, which has at most twice as many places as it had answers; and one answer more, its login, a long text.
const ISCSI_HEAP_BYTES: usize = UNREAD_BYTES + 2 * UNREAD_BYTES + (64 << 10);

/// Connections of one initiator that the target may hold at a time, with those that it does not know to be dead.
const LINKS_PER_INITIATOR: usize = 24;

/// Requests that an initiator has under way: commands as the target lets it, pings as it wants, and task management as often as
/// it can ask in its steps.
const REQUESTS_PER_INITIATOR: usize = 512;

/// Packets of one queue pair that are on their way: a window in each direction, its repetitions and duplicates.
const PACKETS_PER_LINK: usize = 2048;

pub(super) fn look(view: &View<'_>) {
    let scenario = view.scenario;
    let most_links = scenario.initiators * LINKS_PER_INITIATOR;
    let links = view.target.live_links();
    assert!(links <= most_links, "{links} connections at the target");
    let mut most_bytes = (scenario.request_limit as usize + 2) * HEAP_BYTES_PER_REQUEST;
    if scenario.protocols.iter().any(|p| *p != Protocol::Srp) {
        let requests = usize::from(scenario.iscsi.immediate_requests);
        most_bytes += ISCSI_HEAP_BYTES + requests * HEAP_BYTES_PER_REQUEST;
    }
    let streams = view.streams.len();
    assert!(streams <= most_links, "{streams} streams");
    for (bytes, _) in view.target.channel_sizes() {
        assert!(bytes <= most_bytes, "a channel holds {bytes} bytes");
    }
    let flying = view.network.flying();
    assert!(
        flying <= most_links * PACKETS_PER_LINK,
        "{flying} packets are on their way"
    );
    let tasks = view.target.disk.in_flight();
    assert!(
        tasks <= scenario.tasks as usize,
        "{tasks} operations at the disk"
    );
    for (place, initiator) in view.initiators.iter().enumerate() {
        let requests = initiator.requests();
        assert!(
            requests <= REQUESTS_PER_INITIATOR,
            "{requests} requests of initiator {place} are under way"
        );
        let refused = initiator.refused_accesses();
        assert_eq!(
            refused, 0,
            "the target touches memory of initiator {place} that is not its to use"
        );
    }
}
