//! The active side: connecting to a listener over IP.

use std::net::SocketAddr;
use std::ptr;

use rdma_sys as sys;

use super::cm::EventChannel;
use super::cm_accept::private_data_len;
use super::cm_address::RawAddress;
use super::cm_id::{CmId, Connection};
use super::qp::QueuePair;
use super::qp_state;
use crate::cm_event::ConnectParameters;
use crate::error::{Error, check};

/// The most private data in a CM REQ (InfiniBand Architecture, 12.6.5), less the header that RDMA-CM puts
/// in front over IP.
const MAX_REQUEST_BYTES: usize = 92 - 36;

impl Connection {
    pub(crate) fn resolve(
        channel: &EventChannel,
        source: Option<SocketAddr>,
        destination: SocketAddr,
        timeout_ms: u32,
    ) -> Result<Self, Error> {
        let id = CmId::new(channel, sys::RDMA_PS_TCP)?;
        let mut source = source.map(RawAddress::ip);
        let source = source
            .as_mut()
            .map_or(ptr::null_mut(), RawAddress::as_mut_ptr);
        let mut destination = RawAddress::ip(destination);
        // SAFETY: the identifier lives, and both addresses are of a family that the call knows, or NULL.
        let result = unsafe {
            (channel.cm().rdma_resolve_addr)(
                id.raw.as_ptr(),
                source,
                destination.as_mut_ptr(),
                timeout(timeout_ms),
            )
        };
        check("rdma_resolve_addr", result)?;
        Ok(Self(id))
    }

    pub(crate) fn resolve_route(&self, timeout_ms: u32) -> Result<(), Error> {
        let cm = self.0.channel.cm();
        // SAFETY: the identifier lives.
        let result = unsafe { (cm.rdma_resolve_route)(self.0.raw.as_ptr(), timeout(timeout_ms)) };
        check("rdma_resolve_route", result)
    }

    pub(crate) fn connect(
        &self,
        queue_pair: &mut QueuePair,
        parameters: &ConnectParameters<'_>,
    ) -> Result<(), Error> {
        let private_data_len = private_data_len(parameters.private_data, MAX_REQUEST_BYTES)?;
        qp_state::to_init(queue_pair, &self.0)?;
        let mut raw = sys::rdma_conn_param {
            private_data: parameters.private_data.as_ptr().cast(),
            private_data_len,
            responder_resources: parameters.responder_resources,
            initiator_depth: parameters.initiator_depth,
            flow_control: 1,
            retry_count: parameters.retry_count,
            rnr_retry_count: parameters.rnr_retry_count,
            srq: 1,
            qp_num: queue_pair.number().0,
        };
        let cm = self.0.channel.cm();
        // SAFETY: the identifier lives, and the private data is as long as said.
        let result = unsafe { (cm.rdma_connect)(self.0.raw.as_ptr(), &raw mut raw) };
        check("rdma_connect", result)
    }

    pub(crate) fn establish(&self, queue_pair: &mut QueuePair) -> Result<(), Error> {
        qp_state::to_ready_to_receive(queue_pair, &self.0, None)?;
        qp_state::to_ready_to_send(queue_pair, &self.0, None)?;
        let cm = self.0.channel.cm();
        // SAFETY: the identifier lives.
        let result = unsafe { (cm.rdma_establish)(self.0.raw.as_ptr()) };
        check("rdma_establish", result)
    }
}

fn timeout(timeout_ms: u32) -> i32 {
    i32::try_from(timeout_ms).unwrap_or(i32::MAX)
}
