//! What the connection manager's events mean.

use std::ptr::NonNull;
use std::slice;

use rdma_sys as sys;

use super::cm::EventChannel;
use super::cm_id::{CmId, Connection, connection_id};
use crate::cm_event::{CmEvent, ConnectRequest};
use crate::provided::Provided;

/// Copies what the event says, acknowledges it, and only then makes objects of it: an identifier cannot be
/// destroyed while one of its events is not acknowledged. `None` for an event that says nothing to us.
pub(super) fn take(channel: &EventChannel, event: NonNull<sys::rdma_cm_event>) -> Option<CmEvent> {
    // SAFETY: the library has just given the event, which is ours until it is acknowledged.
    let raw = unsafe { event.as_ref() };
    let said = Said::read(raw);
    let listener = NonNull::new(raw.listen_id).map(connection_id);
    let id = NonNull::new(raw.id)?;
    let named = connection_id(id);
    let kind = raw.event;
    let errno = -raw.status;
    // SAFETY: the event is acknowledged once, and not read after this.
    unsafe { (channel.cm().rdma_ack_cm_event)(event.as_ptr()) };
    Some(match kind {
        sys::RDMA_CM_EVENT_CONNECT_REQUEST => {
            let connection = Connection(CmId::adopt(channel, id));
            let connection = crate::Connection(Provided::Verbs(connection));
            CmEvent::ConnectRequest(Box::new(ConnectRequest {
                connection,
                listener: listener?,
                private_data: said.private_data,
                initiator_depth: said.initiator_depth,
                responder_resources: said.responder_resources,
            }))
        }
        sys::RDMA_CM_EVENT_CONNECT_RESPONSE => CmEvent::Accepted {
            id: named,
            private_data: said.private_data,
            initiator_depth: said.initiator_depth,
            responder_resources: said.responder_resources,
        },
        sys::RDMA_CM_EVENT_REJECTED => CmEvent::Rejected {
            id: named,
            // The CM's own numbers, which are not negated.
            reason: -errno,
            private_data: said.private_data,
        },
        sys::RDMA_CM_EVENT_ADDR_RESOLVED => CmEvent::AddressResolved(named),
        sys::RDMA_CM_EVENT_ROUTE_RESOLVED => CmEvent::RouteResolved(named),
        sys::RDMA_CM_EVENT_ADDR_ERROR | sys::RDMA_CM_EVENT_ROUTE_ERROR => {
            CmEvent::ResolveFailed { id: named, errno }
        }
        sys::RDMA_CM_EVENT_CONNECT_ERROR => CmEvent::ConnectFailed { id: named, errno },
        sys::RDMA_CM_EVENT_UNREACHABLE => CmEvent::Unreachable { id: named, errno },
        sys::RDMA_CM_EVENT_ESTABLISHED => CmEvent::Established(named),
        sys::RDMA_CM_EVENT_DISCONNECTED => CmEvent::Disconnected(named),
        sys::RDMA_CM_EVENT_TIMEWAIT_EXIT => CmEvent::TimewaitExit(named),
        sys::RDMA_CM_EVENT_DEVICE_REMOVAL => CmEvent::DeviceRemoval(named),
        sys::RDMA_CM_EVENT_ADDR_CHANGE => CmEvent::AddressChanged(named),
        _ => return None,
    })
}

/// What the peer said, copied out of the event.
#[derive(Debug, Default)]
struct Said {
    private_data: Vec<u8>,
    initiator_depth: u8,
    responder_resources: u8,
}

impl Said {
    fn read(event: &sys::rdma_cm_event) -> Self {
        if !matches!(
            event.event,
            sys::RDMA_CM_EVENT_CONNECT_REQUEST
                | sys::RDMA_CM_EVENT_CONNECT_RESPONSE
                | sys::RDMA_CM_EVENT_REJECTED
        ) {
            return Self::default();
        }
        // SAFETY: these events of a connected service carry this view of the union.
        let said = unsafe { &event.param.conn };
        Self {
            private_data: private_data(said),
            initiator_depth: said.initiator_depth,
            responder_resources: said.responder_resources,
        }
    }
}

fn private_data(said: &sys::rdma_conn_param) -> Vec<u8> {
    if said.private_data.is_null() {
        return Vec::new();
    }
    let len = usize::from(said.private_data_len);
    // SAFETY: not NULL, so it points to that many bytes inside the event.
    unsafe { slice::from_raw_parts(said.private_data.cast(), len) }.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_data_is_copied_from_events_that_carry_it() {
        let bytes = [1_u8, 2, 3];
        let mut event = sys::rdma_cm_event {
            event: sys::RDMA_CM_EVENT_REJECTED,
            ..sys::rdma_cm_event::default()
        };
        event.param.conn = sys::rdma_conn_param {
            private_data: bytes.as_ptr().cast(),
            private_data_len: 3,
            ..sys::rdma_conn_param::default()
        };
        assert_eq!(Said::read(&event).private_data, bytes);
        event.event = sys::RDMA_CM_EVENT_ESTABLISHED;
        assert!(Said::read(&event).private_data.is_empty());
    }
}
