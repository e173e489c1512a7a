//! The deliveries of one session that its client has not settled.
//!
//! Delivery ids ascend one by one per session (as serial numbers that wrap), so this is a ring in
//! the order of sending. A disposition names a range of ids; only what is really in the ring is
//! visited, whatever range a hostile client writes down. Settled entries leave a hole behind; holes
//! at the front go at once, the others when they outnumber the living.

use std::collections::VecDeque;

use crate::queue::Lock;

/// Holes below this number are not worth a sweep.
const SWEEP_SLACK: usize = 64;

/// One delivery under a peek-lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outstanding {
    pub(crate) id: u32,
    /// Which of the connection's entities it came from.
    pub(crate) entity: usize,
    pub(crate) lock: Lock,
}

/// A place in the ring. It keeps its id when it becomes a hole, so that the ring stays searchable.
#[derive(Debug)]
struct Place {
    id: u32,
    delivery: Option<Outstanding>,
}

/// The deliveries of one session that are not settled.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    places: VecDeque<Place>,
    live: usize,
}

impl Unsettled {
    /// How many deliveries are not settled.
    pub(crate) fn len(&self) -> usize {
        self.live
    }

    /// Adds a delivery; its id follows all ids added before.
    pub(crate) fn push(&mut self, delivery: Outstanding) {
        self.places.push_back(Place { id: delivery.id, delivery: Some(delivery) });
        self.live += 1;
    }

    /// Takes the deliveries with ids from `first` to `last` and hands them to `settle` in order.
    pub(crate) fn take(&mut self, first: u32, last: u32, mut settle: impl FnMut(Outstanding)) {
        let Some(front) = self.places.front().map(|place| place.id) else { return };
        let distance = |id: u32| id.wrapping_sub(front).cast_signed();
        let [from, to] = [distance(first), distance(last)];
        let start = self.places.partition_point(|place| distance(place.id) < from);
        for place in self.places.range_mut(start..) {
            if distance(place.id) > to {
                break;
            }
            if let Some(delivery) = place.delivery.take() {
                self.live -= 1;
                settle(delivery);
            }
        }
        self.drop_holes();
    }

    /// Forgets the deliveries whose lock ended before `now_ms`: settling them would fail anyway.
    pub(crate) fn forget_ended(&mut self, now_ms: i64) {
        for place in &mut self.places {
            if place.delivery.is_some_and(|delivery| delivery.lock.until_ms <= now_ms) {
                place.delivery = None;
                self.live -= 1;
            }
        }
        self.drop_holes();
    }

    fn drop_holes(&mut self) {
        while matches!(self.places.front(), Some(Place { delivery: None, .. })) {
            self.places.pop_front();
        }
        if self.places.len() > 2 * self.live + SWEEP_SLACK {
            self.places.retain(|place| place.delivery.is_some());
            self.places.shrink_to(2 * self.live);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::LockToken;

    fn delivery(id: u32) -> Outstanding {
        let token = LockToken { nonce: 0, sequence: id.into() };
        Outstanding { id, entity: 0, lock: Lock { token, until_ms: i64::from(id) } }
    }

    fn ring(ids: impl IntoIterator<Item = u32>) -> Unsettled {
        let mut ring = Unsettled::default();
        ids.into_iter().for_each(|id| ring.push(delivery(id)));
        ring
    }

    fn take(ring: &mut Unsettled, first: u32, last: u32) -> Vec<u32> {
        let mut ids = Vec::new();
        ring.take(first, last, |delivery| ids.push(delivery.id));
        ids
    }

    #[test]
    fn ranges_take_what_is_there() {
        let mut ring = ring(10..20);
        assert_eq!(take(&mut ring, 12, 14), [12, 13, 14]);
        assert_eq!(take(&mut ring, 13, 13), [0; 0]);
        assert_eq!(take(&mut ring, 0, 10), [10]);
        assert_eq!(take(&mut ring, 0, 0x7fff_ffff), [11, 15, 16, 17, 18, 19]);
        assert_eq!((ring.len(), ring.places.len()), (0, 0));
    }

    #[test]
    fn ids_wrap_around() {
        let mut ring = ring([u32::MAX - 1, u32::MAX, 0, 1]);
        assert_eq!(take(&mut ring, u32::MAX, 0), [u32::MAX, 0]);
        assert_eq!(take(&mut ring, u32::MAX - 1, 1), [u32::MAX - 1, 1]);
    }

    #[test]
    fn a_hostile_range_costs_what_is_there_and_not_what_it_claims() {
        let mut ring = ring(0..3);
        assert_eq!(take(&mut ring, 5, 4), [0; 0]);
        assert_eq!(take(&mut ring, 0x8000_0000, 0x7fff_ffff), [0, 1, 2]);
    }

    #[test]
    fn one_delivery_that_is_never_settled_does_not_keep_the_others() {
        let mut ring = Unsettled::default();
        for id in 0..100_000 {
            ring.push(delivery(id));
            if id != 5 {
                assert_eq!(take(&mut ring, id, id), [id]);
            }
        }
        assert_eq!(ring.len(), 1);
        assert!(ring.places.len() <= SWEEP_SLACK + 2);
        ring.push(delivery(100_000));
        assert_eq!(take(&mut ring, 5, 5), [5]);
        assert_eq!(take(&mut ring, 100_000, 100_000), [100_000]);
    }

    #[test]
    fn ended_locks_are_forgotten() {
        let mut ring = ring(0..100);
        ring.forget_ended(49);
        assert_eq!(ring.len(), 50);
        assert_eq!(take(&mut ring, 0, 99), (50..100).collect::<Vec<_>>());
    }
}
