//! The states of a queue pair (InfiniBand Architecture, 10.3.1). The connection manager knows the path, so
//! it says what to set.

use rdma_sys as sys;

use super::cm_id::CmId;
use super::qp::QueuePair;
use crate::error::{Error, check};

/// Shortest time that a peer waits after it found no receive: code 12 is 0.64 ms. Shorter ones make storms
/// of NAKs on soft devices.
const MIN_RNR_TIMER: u8 = 12;

/// Bound to the path's port; not receiving yet.
pub(super) fn to_init(queue_pair: &QueuePair, id: &CmId) -> Result<(), Error> {
    let (mut attributes, mask) = id.queue_pair_attributes(sys::IBV_QPS_INIT)?;
    attributes.qp_access_flags = match queue_pair.remote_access {
        true => sys::IBV_ACCESS_REMOTE_READ | sys::IBV_ACCESS_REMOTE_WRITE,
        false => 0,
    };
    modify(queue_pair, &mut attributes, mask)
}

/// Receiving. The passive side says how many RDMA READs it serves at once; the active side has negotiated that.
pub(super) fn to_ready_to_receive(
    queue_pair: &QueuePair,
    id: &CmId,
    responder_resources: Option<u8>,
) -> Result<(), Error> {
    let (mut attributes, mask) = id.queue_pair_attributes(sys::IBV_QPS_RTR)?;
    if let Some(responder_resources) = responder_resources {
        attributes.max_dest_rd_atomic = responder_resources;
    }
    attributes.min_rnr_timer = MIN_RNR_TIMER;
    modify(queue_pair, &mut attributes, mask)
}

/// What the passive side chooses when it accepts. The active side has negotiated it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PassiveSide {
    pub(super) initiator_depth: u8,
    pub(super) rnr_retry_count: u8,
}

/// Sending too.
pub(super) fn to_ready_to_send(
    queue_pair: &QueuePair,
    id: &CmId,
    passive: Option<PassiveSide>,
) -> Result<(), Error> {
    let (mut attributes, mask) = id.queue_pair_attributes(sys::IBV_QPS_RTS)?;
    if let Some(passive) = passive {
        attributes.max_rd_atomic = passive.initiator_depth;
        attributes.rnr_retry = passive.rnr_retry_count;
    }
    modify(queue_pair, &mut attributes, mask)
}

/// Flushing.
pub(super) fn to_error(queue_pair: &QueuePair) -> Result<(), Error> {
    let mut attributes = sys::ibv_qp_attr {
        qp_state: sys::IBV_QPS_ERR,
        ..sys::ibv_qp_attr::default()
    };
    modify(queue_pair, &mut attributes, sys::IBV_QP_STATE.cast_signed())
}

fn modify(
    queue_pair: &QueuePair,
    attributes: &mut sys::ibv_qp_attr,
    mask: i32,
) -> Result<(), Error> {
    let verbs = queue_pair.verbs();
    // SAFETY: the queue pair lives, and the attributes that the mask names are set.
    let result = unsafe { (verbs.ibv_modify_qp)(queue_pair.raw.as_ptr(), attributes, mask) };
    check("ibv_modify_qp", result)
}
