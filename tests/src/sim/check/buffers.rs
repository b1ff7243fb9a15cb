//! Buffers are conserved: when everybody has gone, the pools are as they were.

use super::View;

pub(super) fn look_at_end(view: &View<'_>) {
    let target = view.target;
    let counters = target.target.counters();
    assert!(target.target.is_idle(), "tasks are left: {counters:?}");
    assert_eq!(counters.nexuses, 0, "a nexus is left: {counters:?}");
    assert_eq!(target.disk.in_flight(), 0, "the disk still works");
    let in_use = |pool: &iobuf::Pool| pool.level().in_use_bytes;
    assert_eq!(in_use(&target.pools.data), 0, "data buffers are lost");
    assert_eq!(
        in_use(&target.pools.messages),
        0,
        "message buffers are lost"
    );
    assert_eq!(
        target.posted_receives(),
        view.scenario.receives,
        "receive buffers are lost"
    );
}
