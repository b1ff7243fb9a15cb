//! Request limit accounting (SRP r16a 4.5, 5.3).
//!
//! A login gives the initiator `limit` credits. Each SRP_CMD and SRP_TSK_MGMT takes one; it is owed
//! back when the exchange ends, and goes out in the REQUEST LIMIT DELTA of the next response. An
//! exchange that ends with a response gives its own credit back by it, so normally nothing is ever
//! owed for long.
//!
//! Credits can be left without a carrier in one way: commands end without a response. Commands that
//! the same initiator aborted are no trouble, since the task management response follows and
//! carries their credits. But a CLEAR TASK SET or LOGICAL UNIT RESET of *another* initiator ends
//! commands silently, and so does an abort whose RDMA READ was still under way when the task
//! management response left. When the initiator then has no request outstanding and at most the one
//! credit left that Linux and ESXi keep for task management, no response will ever come to tell it,
//! and it is starved: only then SRP_CRED_REQ is sent.
//!
//! Old initiators do not know SRP_CRED_REQ and lose what it offers. So an offer that is not
//! answered within [`OFFER_TIMEOUT_MS`] is withdrawn, its credits go out by the next response as
//! ever, and this initiator gets no further one.

use thiserror::Error;

/// How long in milliseconds the initiator may take to answer an SRP_CRED_REQ before it counts as
/// not understood.
pub const OFFER_TIMEOUT_MS: u64 = 5000;

/// Credits that an initiator keeps for task management, so that with these alone it sends no
/// command.
const RESERVED: u32 = 1;

/// The initiator sent a request without a credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a request came although the request limit of {limit} is used up")]
pub struct LimitExceeded {
    /// Credits that the initiator has in all.
    pub limit: u32,
}

/// An SRP_CRED_REQ to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// TAG.
    pub tag: u64,
    /// REQUEST LIMIT DELTA.
    pub credits: u32,
}

/// The credits of one channel. At any time each of the `limit` credits is either with the initiator
/// (`available`), in an exchange, or `owed`.
#[derive(Clone, Copy, Debug)]
pub struct Credit {
    limit: u32,
    available: u32,
    owed: u32,
    offer: Option<OpenOffer>,
    /// The last SRP_CRED_REQ, when it was withdrawn: the initiator seems not to know them.
    withdrawn: Option<Offer>,
    next_tag: u64,
}

#[derive(Clone, Copy, Debug)]
struct OpenOffer {
    offer: Offer,
    /// `None` until the clock is known.
    deadline_ms: Option<u64>,
}

impl Credit {
    /// What a login response with this REQUEST LIMIT DELTA establishes.
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            available: limit,
            owed: 0,
            offer: None,
            withdrawn: None,
            next_tag: 1,
        }
    }

    /// A request came.
    ///
    /// # Errors
    /// The initiator had no credit for it.
    pub fn take(&mut self) -> Result<(), LimitExceeded> {
        let limit = self.limit;
        self.available = self
            .available
            .checked_sub(1)
            .ok_or(LimitExceeded { limit })?;
        Ok(())
    }

    /// An exchange has ended; its credit is owed.
    pub fn end_exchange(&mut self) {
        debug_assert!(self.in_exchanges() > 0, "an exchange ended twice");
        self.owed += 1;
    }

    /// REQUEST LIMIT DELTA for a message that is being built: all that is owed.
    pub fn grant(&mut self) -> i32 {
        let granted = std::mem::take(&mut self.owed);
        self.available += granted;
        delta(granted)
    }

    /// The initiator is starved: owed credits, no response to carry them, too few left to send a
    /// command.
    pub fn is_starved(&self) -> bool {
        self.owed > 0
            && self.in_exchanges() == 0
            && self.available <= RESERVED
            && self.offer.is_none()
            && self.withdrawn.is_none()
    }

    /// Makes the SRP_CRED_REQ for a starved initiator.
    pub fn offer(&mut self) -> Option<Offer> {
        if !self.is_starved() {
            return None;
        }
        let credits = std::mem::take(&mut self.owed);
        self.available += credits;
        let offer = Offer {
            tag: self.next_tag,
            credits,
        };
        self.next_tag += 1;
        self.offer = Some(OpenOffer {
            offer,
            deadline_ms: None,
        });
        Some(offer)
    }

    /// An SRP_CRED_RSP came. False when it answers nothing.
    pub fn answered(&mut self, tag: u64) -> bool {
        if self.offer.is_some_and(|open| open.offer.tag == tag) {
            self.offer = None;
            return true;
        }
        let Some(late) = self.withdrawn.filter(|offer| offer.tag == tag) else {
            return false;
        };
        // It took the offer after all. What was told again by a response meanwhile cannot be called
        // back.
        let again = late.credits.min(self.owed);
        self.owed -= again;
        self.available += again;
        self.withdrawn = None;
        true
    }

    /// When [`Credit::handle_timeout`] is to be called; 0 means at once.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.offer.map(|open| open.deadline_ms.unwrap_or(0))
    }

    /// Starts an offer's clock, or withdraws the offer when its time is over.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        let Some(open) = &mut self.offer else {
            return;
        };
        match open.deadline_ms {
            None => open.deadline_ms = Some(now_ms.saturating_add(OFFER_TIMEOUT_MS)),
            Some(deadline) if deadline <= now_ms => self.withdraw(),
            Some(_) => {}
        }
    }

    fn withdraw(&mut self) {
        if let Some(OpenOffer { offer, .. }) = self.offer.take() {
            let back = offer.credits.min(self.available);
            self.available -= back;
            self.owed += back;
            self.withdrawn = Some(offer);
        }
    }

    /// Credits that exchanges hold.
    pub fn in_exchanges(&self) -> u32 {
        self.limit - self.available - self.owed
    }
}

/// Limits are far below 2^31, so nothing is cut here.
pub(crate) fn delta(credits: u32) -> i32 {
    i32::try_from(credits).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A channel where all commands were taken away by another initiator's reset.
    fn wiped(limit: u32, sent: u32) -> Credit {
        let mut credit = Credit::new(limit);
        for _ in 0..sent {
            credit.take().expect("within the limit");
        }
        for _ in 0..sent {
            credit.end_exchange();
        }
        credit
    }

    #[test]
    fn a_response_gives_its_own_credit_back() {
        let mut credit = Credit::new(2);
        credit.take().expect("first");
        credit.take().expect("second");
        assert_eq!(credit.take(), Err(LimitExceeded { limit: 2 }));
        credit.end_exchange();
        assert_eq!(credit.grant(), 1);
        assert_eq!(credit.take(), Ok(()));
    }

    #[test]
    fn a_task_management_response_carries_the_credits_of_what_it_aborted() {
        let mut credit = Credit::new(8);
        for _ in 0..4 {
            credit.take().expect("three commands and the abort");
        }
        for _ in 0..4 {
            credit.end_exchange();
        }
        assert_eq!(credit.grant(), 4);
    }

    #[test]
    fn an_initiator_with_credits_of_its_own_is_not_starved() {
        assert!(!wiped(8, 6).is_starved());
        assert!(!wiped(8, 0).is_starved());
    }

    #[test]
    fn a_starved_initiator_gets_one_offer_at_a_time() {
        let mut credit = wiped(8, 7);
        let offer = credit.offer().expect("starved");
        assert_eq!((offer.tag, offer.credits), (1, 7));
        assert_eq!(credit.offer(), None);
        assert!(!credit.answered(2), "no such tag");
        assert!(credit.answered(1));
        assert!(!credit.answered(1), "answered before");
        for _ in 0..8 {
            credit.take().expect("all credits are back");
        }
        for _ in 0..8 {
            credit.end_exchange();
        }
        assert_eq!(credit.offer().map(|offer| offer.tag), Some(2));
    }

    #[test]
    fn an_offer_that_is_not_understood_goes_out_by_the_next_response() {
        let mut credit = wiped(8, 7);
        credit.offer().expect("starved");
        assert_eq!(credit.deadline_ms(), Some(0));
        credit.handle_timeout(1000);
        assert_eq!(credit.deadline_ms(), Some(1000 + OFFER_TIMEOUT_MS));
        credit.handle_timeout(1000 + OFFER_TIMEOUT_MS);
        assert_eq!(credit.deadline_ms(), None);
        assert_eq!(credit.offer(), None, "it does not know them");
        credit.take().expect("the reserved credit");
        credit.end_exchange();
        assert_eq!(credit.grant(), 8);
    }

    #[test]
    fn a_late_answer_takes_a_withdrawn_offer_up_again() {
        let mut credit = wiped(8, 8);
        let offer = credit.offer().expect("starved");
        credit.handle_timeout(0);
        credit.handle_timeout(OFFER_TIMEOUT_MS);
        assert!(credit.answered(offer.tag));
        assert_eq!(credit.grant(), 0);
        assert_eq!(credit.take(), Ok(()));
    }

    proptest! {
        /// The initiator's own count, kept from deltas alone, never disagrees with ours.
        #[test]
        fn credits_are_conserved(limit in 1u32..40, steps in prop::collection::vec(0u8..6, 0..400)) {
            let mut credit = Credit::new(limit);
            let mut initiator = i64::from(limit);
            let mut running = 0u32;
            for step in steps {
                match step {
                    0 | 1 if initiator > 0 => {
                        prop_assert_eq!(credit.take(), Ok(()));
                        initiator -= 1;
                        running += 1;
                    }
                    0 | 1 => prop_assert!(credit.take().is_err()),
                    2 if running > 0 => {
                        credit.end_exchange();
                        running -= 1;
                    }
                    3 if running > 0 => {
                        credit.end_exchange();
                        running -= 1;
                        initiator += i64::from(credit.grant());
                    }
                    4 => if let Some(offer) = credit.offer() {
                        prop_assert!(running == 0 && initiator <= 1);
                        initiator += i64::from(offer.credits);
                        prop_assert!(credit.answered(offer.tag));
                    },
                    _ => {}
                }
                prop_assert_eq!(credit.in_exchanges(), running);
                prop_assert_eq!(i64::from(credit.available), initiator);
                prop_assert_eq!(credit.available + credit.owed + running, limit);
            }
        }
    }
}
