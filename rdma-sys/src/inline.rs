//! What the C headers give as inline functions: calls through the operations of the context.

use std::ffi::c_int;

use crate::types::*;

/// Takes up to `count` completions into `completions`. Returns how many came, or a negative number.
///
/// # Safety
/// `cq` is a live completion queue and `completions` has room for `count` entries.
#[inline]
pub unsafe fn ibv_poll_cq(cq: *mut ibv_cq, count: c_int, completions: *mut ibv_wc) -> c_int {
    // SAFETY: the caller promises that the object is live.
    let context = unsafe { (*cq).context };
    // SAFETY: a live object's context is live.
    let ops = unsafe { &(*context).ops };
    match ops.poll_cq {
        // SAFETY: the provider's own function, with the caller's promises.
        Some(poll) => unsafe { poll(cq, count, completions) },
        None => -libc::EOPNOTSUPP,
    }
}

/// Asks for one event on the completion channel at the next completion. Returns an errno or 0.
///
/// # Safety
/// `cq` is a live completion queue.
#[inline]
pub unsafe fn ibv_req_notify_cq(cq: *mut ibv_cq, solicited_only: c_int) -> c_int {
    // SAFETY: the caller promises that the object is live.
    let context = unsafe { (*cq).context };
    // SAFETY: a live object's context is live.
    let ops = unsafe { &(*context).ops };
    match ops.req_notify_cq {
        // SAFETY: the provider's own function, with the caller's promises.
        Some(notify) => unsafe { notify(cq, solicited_only) },
        None => libc::EOPNOTSUPP,
    }
}

/// Posts a chain of send work requests. Returns an errno or 0; `bad` is then the first that was not posted.
///
/// # Safety
/// `qp` is a live queue pair; `chain` is a list that ends in NULL, and the memory that it names stays valid
/// until each request has completed; `bad` may be written.
#[inline]
pub unsafe fn ibv_post_send(
    qp: *mut ibv_qp,
    chain: *mut ibv_send_wr,
    bad: *mut *mut ibv_send_wr,
) -> c_int {
    // SAFETY: the caller promises that the object is live.
    let context = unsafe { (*qp).context };
    // SAFETY: a live object's context is live.
    let ops = unsafe { &(*context).ops };
    match ops.post_send {
        // SAFETY: the provider's own function, with the caller's promises.
        Some(post) => unsafe { post(qp, chain, bad) },
        None => libc::EOPNOTSUPP,
    }
}

/// Posts a chain of receive work requests to a queue pair's own queue. Returns as [`ibv_post_send`].
///
/// # Safety
/// As [`ibv_post_send`].
#[inline]
pub unsafe fn ibv_post_recv(
    qp: *mut ibv_qp,
    chain: *mut ibv_recv_wr,
    bad: *mut *mut ibv_recv_wr,
) -> c_int {
    // SAFETY: the caller promises that the object is live.
    let context = unsafe { (*qp).context };
    // SAFETY: a live object's context is live.
    let ops = unsafe { &(*context).ops };
    match ops.post_recv {
        // SAFETY: the provider's own function, with the caller's promises.
        Some(post) => unsafe { post(qp, chain, bad) },
        None => libc::EOPNOTSUPP,
    }
}

/// Posts a chain of receive work requests to a shared receive queue. Returns as [`ibv_post_send`].
///
/// # Safety
/// `srq` is a live shared receive queue; the rest as [`ibv_post_send`].
#[inline]
pub unsafe fn ibv_post_srq_recv(
    srq: *mut ibv_srq,
    chain: *mut ibv_recv_wr,
    bad: *mut *mut ibv_recv_wr,
) -> c_int {
    // SAFETY: the caller promises that the object is live.
    let context = unsafe { (*srq).context };
    // SAFETY: a live object's context is live.
    let ops = unsafe { &(*context).ops };
    match ops.post_srq_recv {
        // SAFETY: the provider's own function, with the caller's promises.
        Some(post) => unsafe { post(srq, chain, bad) },
        None => libc::EOPNOTSUPP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    #[test]
    fn a_context_without_operations_is_refused() {
        let mut context = ibv_context::default();
        let mut cq = ibv_cq {
            context: &raw mut context,
            ..ibv_cq::default()
        };
        // SAFETY: the queue and its context live on this stack; no operation is called.
        let armed = unsafe { ibv_req_notify_cq(&raw mut cq, 0) };
        assert_eq!(armed, libc::EOPNOTSUPP);
        // SAFETY: as above; nothing is written to the empty list.
        let polled = unsafe { ibv_poll_cq(&raw mut cq, 0, ptr::null_mut()) };
        assert_eq!(polled, -libc::EOPNOTSUPP);
    }
}
