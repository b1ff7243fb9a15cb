//! The passive side: answering a request to connect.

use rdma_sys as sys;

use super::cm_id::Connection;
use super::qp::QueuePair;
use super::qp_state;
use crate::cm_event::AcceptParameters;
use crate::error::{Error, check};

/// The most private data in a CM REP (InfiniBand Architecture, 12.6.8).
const MAX_REPLY_BYTES: usize = 196;

/// The most private data in a CM REJ (InfiniBand Architecture, 12.6.7).
const MAX_REJECT_BYTES: usize = 148;

impl Connection {
    pub(crate) fn accept(
        &self,
        queue_pair: &mut QueuePair,
        parameters: &AcceptParameters<'_>,
    ) -> Result<(), Error> {
        let private_data_len = private_data_len(parameters.private_data, MAX_REPLY_BYTES)?;
        qp_state::to_init(queue_pair, &self.0)?;
        qp_state::to_ready_to_receive(queue_pair, &self.0, Some(parameters.responder_resources))?;
        let passive = qp_state::PassiveSide {
            initiator_depth: parameters.initiator_depth,
            rnr_retry_count: parameters.rnr_retry_count,
        };
        qp_state::to_ready_to_send(queue_pair, &self.0, Some(passive))?;
        let mut raw = sys::rdma_conn_param {
            private_data: parameters.private_data.as_ptr().cast(),
            private_data_len,
            responder_resources: parameters.responder_resources,
            initiator_depth: parameters.initiator_depth,
            flow_control: 1,
            retry_count: 0,
            rnr_retry_count: parameters.rnr_retry_count,
            srq: 1,
            qp_num: queue_pair.number().0,
        };
        let cm = self.0.channel.cm();
        // SAFETY: the identifier lives, and the private data is as long as said.
        let result = unsafe { (cm.rdma_accept)(self.0.raw.as_ptr(), &raw mut raw) };
        check("rdma_accept", result)
    }

    pub(crate) fn reject(self, private_data: &[u8]) -> Result<(), Error> {
        let len = private_data_len(private_data, MAX_REJECT_BYTES)?;
        let cm = self.0.channel.cm();
        // SAFETY: the identifier lives, and the private data is as long as said.
        let result =
            unsafe { (cm.rdma_reject)(self.0.raw.as_ptr(), private_data.as_ptr().cast(), len) };
        check("rdma_reject", result)
    }
}

/// Length in the form that the library takes.
pub(super) fn private_data_len(private_data: &[u8], most: usize) -> Result<u8, Error> {
    let len = private_data.len();
    match u8::try_from(len) {
        Ok(short) if len <= most => Ok(short),
        _ => Err(Error::PrivateData { len, most }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_data_is_bounded() {
        assert_eq!(
            private_data_len(&[0; 196], MAX_REPLY_BYTES).expect("fits"),
            196
        );
        let error = private_data_len(&[0; 300], MAX_REPLY_BYTES).expect_err("too long");
        assert!(error.to_string().contains("300 bytes"), "{error}");
    }
}
