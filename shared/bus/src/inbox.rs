//! Where the driver puts what arrives on one link, and receivers take it from.
//!
//! The two sides share one mutex that is held only to move deliveries in or out. Decoding happens
//! on the receiver's side, in its own task. A delivery leaves the inbox only in the same poll in
//! which the receive call returns it, so a dropped call loses nothing.
//!
//! The inbox also does the book-keeping of link credit, since both sides change it: arrivals use
//! it up, calls ask for it. The rule: what is here and what is on its way together fill a window,
//! which is the larger of `prefetch` and what waiting calls want. Credit is granted again when
//! the window is half empty, and taken back when no call waits and there is no prefetch; what
//! was on its way by then is kept for the next call.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use nightshift_amqp::DeliveryTag;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::error::BusError;

/// One delivery as it came.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) id: u32,
    pub(crate) tag: DeliveryTag,
    pub(crate) settled: bool,
    pub(crate) payload: Bytes,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    prefetch: u32,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Delivery>,
    /// Sum of the maxima of the calls that wait now.
    wanted: u64,
    /// Granted and not yet used, as the driver last told the broker.
    credit: u32,
    /// An adjustment is on its way to the driver.
    adjusting: bool,
    /// Why nothing more will arrive.
    failure: Option<BusError>,
}

/// What [`Inbox::take`] found.
pub(crate) struct Taken {
    pub(crate) deliveries: Vec<Delivery>,
    /// The driver should be told to adjust the link's credit.
    pub(crate) adjust_credit: bool,
}

impl State {
    /// How many deliveries may be here or on their way.
    fn window(&self, prefetch: u32) -> u64 {
        u64::from(prefetch).max(self.wanted)
    }

    /// The credit to announce now, or `None` when what is out there is near enough.
    fn needed_credit(&self, prefetch: u32) -> Option<u32> {
        let window = self.window(prefetch);
        let here = self.queue.len() as u64;
        let target = u32::try_from(window.saturating_sub(here)).unwrap_or(u32::MAX);
        let too_little = target > self.credit && here + u64::from(self.credit) <= window / 2;
        let too_much = self.wanted == 0 && self.credit > target;
        (too_little || too_much).then_some(target)
    }

    fn request_adjustment(&mut self, prefetch: u32) -> bool {
        if self.adjusting || self.failure.is_some() || self.needed_credit(prefetch).is_none() {
            return false;
        }
        self.adjusting = true;
        true
    }
}

impl Inbox {
    pub(crate) fn new(prefetch: u32) -> Self {
        Self {
            prefetch,
            state: Mutex::default(),
            arrived: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A future that ends when something changed after its first poll (or `enable`).
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// Registers a call that waits for up to `max` deliveries.
    pub(crate) fn want(&self, max: u32) {
        self.lock().wanted += u64::from(max);
    }

    /// Ends what [`want`](Self::want) began. Says whether the driver should adjust the credit.
    pub(crate) fn unwant(&self, max: u32) -> bool {
        let mut state = self.lock();
        state.wanted = state.wanted.saturating_sub(u64::from(max));
        state.request_adjustment(self.prefetch)
    }

    /// Takes up to `max` deliveries. After a failure only settled ones are handed out: the broker
    /// has forgotten those, while the others stay locked over there and cannot be settled here.
    pub(crate) fn take(&self, max: usize) -> Result<Taken, BusError> {
        let mut state = self.lock();
        if let Some(failure) = &state.failure
            && state.queue.front().is_none_or(|delivery| !delivery.settled)
        {
            return Err(failure.clone());
        }
        let count = state.queue.len().min(max);
        let deliveries = state.queue.drain(..count).collect();
        // A call that got something is about to end, and then looks at the credit in `unwant`.
        let adjust_credit = count == 0 && state.request_adjustment(self.prefetch);
        if !state.queue.is_empty() {
            self.arrived.notify_one();
        }
        Ok(Taken {
            deliveries,
            adjust_credit,
        })
    }

    /// Adds arrivals. Each has used one credit.
    pub(crate) fn put(&self, deliveries: &mut Vec<Delivery>) {
        let mut state = self.lock();
        let count = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
        state.credit = state.credit.saturating_sub(count);
        state.queue.extend(deliveries.drain(..));
        drop(state);
        self.arrived.notify_one();
    }

    /// Notes an arrival that nobody is given: it has used one credit, which waiting calls need.
    pub(crate) fn pass_over(&self) {
        let mut state = self.lock();
        state.credit = state.credit.saturating_sub(1);
        drop(state);
        self.arrived.notify_one();
    }

    /// Decides the credit to announce and notes it as announced.
    pub(crate) fn settle_credit(&self) -> Option<u32> {
        let mut state = self.lock();
        state.adjusting = false;
        let credit = state.needed_credit(self.prefetch)?;
        state.credit = credit;
        Some(credit)
    }

    /// Notes why nothing more will arrive, and wakes every call. The first reason stays.
    pub(crate) fn fail(&self, failure: BusError) {
        self.lock().failure.get_or_insert(failure);
        self.arrived.notify_waiters();
    }

    /// Whether a call can only fail from now on.
    pub(crate) fn is_spent(&self) -> bool {
        let state = self.lock();
        let is_lost = |delivery: &Delivery| !delivery.settled;
        state.failure.is_some() && state.queue.front().is_none_or(is_lost)
    }

    /// Empties the inbox, for giving its deliveries back.
    pub(crate) fn drain(&self) -> Vec<Delivery> {
        self.lock().queue.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(id: u32, settled: bool) -> Delivery {
        Delivery {
            id,
            tag: DeliveryTag::default(),
            settled,
            payload: Bytes::new(),
        }
    }

    fn arrive(inbox: &Inbox, ids: std::ops::Range<u32>) {
        inbox.put(&mut ids.map(|id| delivery(id, false)).collect());
    }

    /// One call that finds something or waits.
    fn call(inbox: &Inbox, max: u32) -> (usize, bool) {
        inbox.want(max);
        let taken = inbox.take(max as usize).unwrap();
        let ended = !taken.deliveries.is_empty() && inbox.unwant(max);
        (taken.deliveries.len(), taken.adjust_credit || ended)
    }

    #[test]
    fn prefetch_is_topped_up_when_half_is_used() {
        let inbox = Inbox::new(10);
        assert_eq!(inbox.settle_credit(), Some(10));
        arrive(&inbox, 0..10);
        assert_eq!(call(&inbox, 4), (4, false));
        assert_eq!(call(&inbox, 1), (1, true));
        assert_eq!(call(&inbox, 1), (1, false), "the adjustment is on its way");
        assert_eq!(inbox.settle_credit(), Some(6));
        assert_eq!(inbox.settle_credit(), None);
    }

    #[test]
    fn without_prefetch_credit_lives_as_long_as_the_call() {
        let inbox = Inbox::new(0);
        assert_eq!(inbox.settle_credit(), None);
        assert_eq!(call(&inbox, 32), (0, true));
        assert_eq!(inbox.settle_credit(), Some(32));
        arrive(&inbox, 0..3);
        assert_eq!(inbox.take(32).unwrap().deliveries.len(), 3);
        assert!(inbox.unwant(32));
        assert_eq!(inbox.settle_credit(), Some(0));
        // What was on its way is kept, and satisfies the next call without new credit.
        arrive(&inbox, 3..4);
        assert_eq!(call(&inbox, 32), (1, false));
    }

    #[test]
    fn a_new_call_before_the_driver_looked_keeps_the_credit() {
        let inbox = Inbox::new(0);
        assert_eq!(call(&inbox, 8), (0, true));
        assert_eq!(inbox.settle_credit(), Some(8));
        assert!(inbox.unwant(8));
        assert_eq!(
            call(&inbox, 8),
            (0, false),
            "one adjustment is on its way already"
        );
        assert_eq!(inbox.settle_credit(), None);
    }

    #[test]
    fn a_second_waiting_call_gets_credit_of_its_own() {
        let inbox = Inbox::new(0);
        assert_eq!(call(&inbox, 1), (0, true));
        assert_eq!(inbox.settle_credit(), Some(1));
        assert_eq!(call(&inbox, 1), (0, true));
        assert_eq!(inbox.settle_credit(), Some(2));
    }

    #[test]
    fn after_a_failure_only_settled_deliveries_are_handed_out() {
        let lost = || BusError::ConnectionLost {
            reason: "test".to_owned(),
            source: None,
        };
        let inbox = Inbox::new(4);
        inbox.put(&mut vec![delivery(0, true)]);
        inbox.fail(lost());
        assert_eq!(inbox.take(1).unwrap().deliveries.len(), 1);
        assert!(inbox.take(1).is_err());
        let inbox = Inbox::new(4);
        inbox.put(&mut vec![delivery(0, false)]);
        inbox.fail(lost());
        assert!(inbox.take(1).is_err());
    }
}
