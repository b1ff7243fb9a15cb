//! Buffers are conserved, and nobody waits for one that is free: when everybody has gone, the pools are as they were.

use super::View;

/// A command that waits for a buffer has been overlooked when it may have one that is there.
pub(super) fn look(view: &View<'_>) {
    let target = view.target;
    if let Some(len) = target.target.next_buffer_len() {
        let free = target.pools.data.take(len);
        assert!(free.is_none(), "a command waits for a buffer that is free");
    }
}

pub(super) fn look_at_end(view: &View<'_>) {
    let target = view.target;
    let counters = target.target.counters();
    assert!(target.target.is_idle(), "tasks are left: {counters:?}");
    assert_eq!(counters.nexuses, 0, "a nexus is left: {counters:?}");
    assert_eq!(target.disk.in_flight(), 0, "the disk still works");
    let in_use = |pool: &iobuf::Pool| pool.level().in_use_bytes;
    assert_eq!(in_use(&target.pools.data), 0, "data buffers are lost");
    assert_eq!(
        in_use(&target.pools.unsolicited),
        0,
        "buffers of unsolicited data are lost"
    );
    assert_eq!(
        in_use(&target.pools.messages),
        0,
        "message buffers are lost"
    );
    assert_eq!(in_use(&target.pools.pdus), 0, "buffers of PDUs are lost");
    assert_eq!(in_use(&target.pools.chunks), 0, "chunks are lost");
    assert_eq!(
        target.posted_receives(),
        [view.scenario.receives; 2],
        "receive buffers are lost"
    );
}
