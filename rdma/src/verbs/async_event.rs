//! Events of a device outside any completion.

use std::io;

use rdma_sys as sys;

use super::device::Context;
use crate::completion::QueuePairNumber;
use crate::device_info::DeviceEvent;
use crate::error::Error;

/// Reads and acknowledges one event. It is acknowledged at once because an object cannot be destroyed before.
pub(super) fn next(context: &Context) -> Result<Option<DeviceEvent>, Error> {
    let mut event = sys::ibv_async_event::default();
    // SAFETY: the context is open, and its descriptor does not block.
    let result =
        unsafe { (context.verbs.ibv_get_async_event)(context.raw.as_ptr(), &raw mut event) };
    if result != 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            _ => Err(Error::call("ibv_get_async_event", error)),
        };
    }
    let translated = translate(&event);
    // SAFETY: the event was just read and is acknowledged once.
    unsafe { (context.verbs.ibv_ack_async_event)(&raw mut event) };
    Ok(Some(translated))
}

fn translate(event: &sys::ibv_async_event) -> DeviceEvent {
    match event.event_type {
        sys::IBV_EVENT_QP_FATAL | sys::IBV_EVENT_QP_REQ_ERR | sys::IBV_EVENT_QP_ACCESS_ERR => {
            DeviceEvent::QueuePairError(queue_pair(event))
        }
        sys::IBV_EVENT_QP_LAST_WQE_REACHED => DeviceEvent::LastReceiveReached(queue_pair(event)),
        sys::IBV_EVENT_PORT_ACTIVE => DeviceEvent::PortActive(port(event)),
        sys::IBV_EVENT_PORT_ERR => DeviceEvent::PortError(port(event)),
        sys::IBV_EVENT_LID_CHANGE
        | sys::IBV_EVENT_GID_CHANGE
        | sys::IBV_EVENT_PKEY_CHANGE
        | sys::IBV_EVENT_SM_CHANGE
        | sys::IBV_EVENT_CLIENT_REREGISTER => DeviceEvent::PortChanged(port(event)),
        sys::IBV_EVENT_CQ_ERR => DeviceEvent::CompletionQueueError,
        sys::IBV_EVENT_SRQ_ERR => DeviceEvent::SharedReceiveQueueError,
        sys::IBV_EVENT_DEVICE_FATAL => DeviceEvent::DeviceFatal,
        other => DeviceEvent::Other(other),
    }
}

fn port(event: &sys::ibv_async_event) -> u8 {
    // SAFETY: any bytes of the union are a number; the caller has seen an event of a port.
    let number = unsafe { event.element.port_num };
    u8::try_from(number).unwrap_or(0)
}

fn queue_pair(event: &sys::ibv_async_event) -> QueuePairNumber {
    // SAFETY: any bytes of the union are a pointer; the caller has seen an event of a queue pair.
    let qp = unsafe { event.element.qp };
    // SAFETY: a queue pair cannot be destroyed before its events are acknowledged, and this one is not yet.
    QueuePairNumber(unsafe { (*qp).qp_num })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_ports_and_queue_pairs_are_named() {
        let mut event = sys::ibv_async_event {
            event_type: sys::IBV_EVENT_PORT_ERR,
            ..Default::default()
        };
        event.element.port_num = 2;
        assert_eq!(translate(&event), DeviceEvent::PortError(2));

        let mut qp = sys::ibv_qp {
            qp_num: 0x11,
            ..Default::default()
        };
        event.event_type = sys::IBV_EVENT_QP_LAST_WQE_REACHED;
        event.element.qp = &raw mut qp;
        let expected = DeviceEvent::LastReceiveReached(QueuePairNumber(0x11));
        assert_eq!(translate(&event), expected);
    }
}
