//! Credits, and the places of command windows, are conserved: an initiator never has more than its request limit, and at rest has all of it.

use super::View;
use crate::sim::scenario::Protocol;

pub(super) fn look(view: &View<'_>) {
    let limit = i64::from(view.scenario.request_limit);
    for (place, initiator) in view.initiators.iter().enumerate() {
        for (channel, credits) in initiator.credits() {
            assert!(
                (0..=limit).contains(&credits),
                "initiator {place} has {credits} of {limit} credits on channel {channel}"
            );
        }
    }
    let mut limit = limit;
    if view.scenario.protocols.iter().any(|p| *p != Protocol::Srp) {
        limit += i64::from(view.scenario.iscsi.immediate_requests);
    }
    for (_, exchanges) in view.target.channel_sizes() {
        assert!(
            i64::from(exchanges) <= limit,
            "{exchanges} exchanges, the limit is {limit}"
        );
    }
}

pub(super) fn look_at_rest(view: &View<'_>) {
    let limit = i64::from(view.scenario.request_limit);
    for (place, initiator) in view.initiators.iter().enumerate() {
        for (channel, credits) in initiator.credits() {
            assert_eq!(
                credits, limit,
                "initiator {place} has lost credits on channel {channel}"
            );
        }
    }
}
