//! Deliveries by number, found by range.

use std::collections::BTreeMap;

/// What an application knows about the unsettled deliveries of one session and direction.
///
/// Dispositions name ranges of delivery-ids. A range is the peer's claim: it may span all of
/// 2^32 numbers, so it is never counted through; only entries that exist are visited.
/// Delivery-ids are serial numbers (RFC 1982): a range may run through zero, and one whose last
/// id lies before its first is empty.
#[derive(Debug)]
pub struct Unsettled<T> {
    entries: BTreeMap<u32, T>,
}

impl<T> Default for Unsettled<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }
}

impl<T> Unsettled<T> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Remembers a delivery; returns what was known under that id before.
    pub fn insert(&mut self, delivery_id: u32, delivery: T) -> Option<T> {
        self.entries.insert(delivery_id, delivery)
    }

    /// Looks a delivery up.
    pub fn get(&self, delivery_id: u32) -> Option<&T> {
        self.entries.get(&delivery_id)
    }

    /// Looks a delivery up, to change what is known of it.
    pub fn get_mut(&mut self, delivery_id: u32) -> Option<&mut T> {
        self.entries.get_mut(&delivery_id)
    }

    /// Forgets a delivery.
    pub fn remove(&mut self, delivery_id: u32) -> Option<T> {
        self.entries.remove(&delivery_id)
    }

    /// Forgets those from `first` to `last`, inclusive, and returns them in serial order.
    pub fn take_range(&mut self, first: u32, last: u32) -> Vec<(u32, T)> {
        if first == last {
            return self
                .entries
                .remove(&first)
                .map(|entry| (first, entry))
                .into_iter()
                .collect();
        }
        let ids: Vec<u32> = self.range(first, last).map(|(id, _)| id).collect();
        ids.into_iter()
            .filter_map(|id| self.entries.remove(&id).map(|entry| (id, entry)))
            .collect()
    }

    /// Visits those from `first` to `last`, inclusive, in serial order.
    pub fn range(&self, first: u32, last: u32) -> impl Iterator<Item = (u32, &T)> {
        // A forward distance of half the circle or more is a range that runs backwards. One that
        // runs through zero is two stretches of numbers.
        let backwards = last.wrapping_sub(first) >= 1 << 31;
        let wraps = last < first;
        let low = (!backwards).then(|| {
            self.entries
                .range(first..=if wraps { u32::MAX } else { last })
        });
        let high = (!backwards && wraps).then(|| self.entries.range(..=last));
        low.into_iter()
            .chain(high)
            .flatten()
            .map(|(id, entry)| (*id, entry))
    }

    /// Forgets those that `keep` does not want, such as the ones of a detached link.
    pub fn retain(&mut self, mut keep: impl FnMut(u32, &mut T) -> bool) {
        self.entries.retain(|id, entry| keep(*id, entry));
    }

    /// Forgets and returns all, in numeric order.
    pub fn drain(&mut self) -> impl Iterator<Item = (u32, T)> + use<T> {
        std::mem::take(&mut self.entries).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_range_visits_only_what_exists() {
        let mut unsettled = Unsettled::new();
        for id in [5, 6, 9, 0x7fff_ffff] {
            unsettled.insert(id, id);
        }
        assert_eq!(unsettled.take_range(6, 0x7fff_fffe), [(6, 6), (9, 9)]);
        assert_eq!(unsettled.len(), 2);
        assert!(unsettled.take_range(9, 5).is_empty(), "backwards");
    }

    #[test]
    fn a_range_runs_through_zero() {
        let mut unsettled = Unsettled::new();
        for id in [u32::MAX - 1, u32::MAX, 0, 1, 2] {
            unsettled.insert(id, ());
        }
        let ids: Vec<u32> = unsettled
            .take_range(u32::MAX, 1)
            .into_iter()
            .map(|(id, ())| id)
            .collect();
        assert_eq!(ids, [u32::MAX, 0, 1]);
    }
}
