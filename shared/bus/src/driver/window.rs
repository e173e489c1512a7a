//! Deliveries by their numbers, most of which come and go in order.
//!
//! The deliveries of one link have consecutive numbers, and nearly all are settled soon after they
//! came, so the recent ones lie in a row where a number is a place. What stays for long (a message
//! that is worked on for an hour) moves to a map, so that the row stays short. A number that is
//! not the next one, as only a broken peer assigns it, goes to the map as well. Ranges come from
//! the peer and may span all of 2^32 numbers; only what exists is visited.

use std::collections::VecDeque;

use nightshift_amqp::engine::Unsettled;

/// How long the row may become. More than a peer usually leaves open.
const LONGEST_ROW: usize = 8_192;

pub(super) struct Window<T> {
    /// The number of the first place of the row.
    first: u32,
    /// `None` where a delivery is gone; never at the front.
    row: VecDeque<Option<T>>,
    others: Unsettled<T>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self {
            first: 0,
            row: VecDeque::new(),
            others: Unsettled::new(),
        }
    }
}

impl<T> Window<T> {
    pub(super) fn insert(&mut self, id: u32, delivery: T) {
        if self.row.is_empty() {
            self.first = id;
        }
        if self.place(id) != Some(self.row.len()) {
            self.others.insert(id, delivery);
            return;
        }
        self.row.push_back(Some(delivery));
        if self.row.len() > LONGEST_ROW {
            if let Some(Some(old)) = self.row.pop_front() {
                self.others.insert(self.first, old);
            }
            self.first = self.first.wrapping_add(1);
            self.trim();
        }
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let place = self.place(id);
        match place.and_then(|place| self.row.get_mut(place)) {
            Some(place) => place.as_mut(),
            None => self.others.get_mut(id),
        }
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        let place = self.place(id);
        let removed = match place.and_then(|place| self.row.get_mut(place)) {
            Some(place) => place.take(),
            None => self.others.remove(id),
        };
        self.trim();
        removed
    }

    /// Takes those from `first` to `last`, inclusive, and hands each to `taken`.
    pub(super) fn take_range(&mut self, first: u32, last: u32, mut taken: impl FnMut(T)) {
        if !self.others.is_empty() {
            for (_, delivery) in self.others.take_range(first, last) {
                taken(delivery);
            }
        }
        let width = last.wrapping_sub(first);
        // A forward distance of half the circle or more is a range that runs backwards.
        if width >= 1 << 31 {
            return;
        }
        let offset = first.wrapping_sub(self.first);
        let (start, end) = if offset < 1 << 31 {
            let start = offset as usize;
            (start, start.saturating_add(width as usize + 1))
        } else {
            // It begins before the row.
            let before = self.first.wrapping_sub(first) as usize;
            (0, (width as usize + 1).saturating_sub(before))
        };
        let end = end.min(self.row.len());
        if start >= end {
            return;
        }
        for place in self.row.range_mut(start..end) {
            if let Some(delivery) = place.take() {
                taken(delivery);
            }
        }
        self.trim();
    }

    /// Takes everything.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        let others = self.others.drain().map(|(_, delivery)| delivery);
        others.chain(std::mem::take(&mut self.row).into_iter().flatten())
    }

    /// The oldest one, as far as that is known without looking at all.
    pub(super) fn oldest(&self) -> Option<(u32, &T)> {
        let before = self.first.wrapping_sub(1);
        let mut others = self.others.range(before.wrapping_sub(1 << 30), before);
        let other = others.next();
        other.or_else(|| Some((self.first, self.row.front()?.as_ref()?)))
    }

    /// How far behind the first place of the row a number lies.
    fn place(&self, id: u32) -> Option<usize> {
        let offset = id.wrapping_sub(self.first) as usize;
        (offset <= self.row.len()).then_some(offset)
    }

    /// Drops empty places at the front.
    fn trim(&mut self) {
        while let Some(None) = self.row.front() {
            self.row.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nightshift_fuzz::{Random, generator};
    use rand::Rng as _;

    use super::*;

    fn taken(window: &mut Window<u32>, first: u32, last: u32) -> Vec<u32> {
        let mut all = Vec::new();
        window.take_range(first, last, |delivery| all.push(delivery));
        all.sort_unstable();
        all
    }

    #[test]
    fn a_range_may_run_through_zero_and_beyond_what_exists() {
        let mut window = Window::default();
        for id in [u32::MAX - 1, u32::MAX, 0, 1, 2] {
            window.insert(id, id);
        }
        assert_eq!(taken(&mut window, 5, 2), [0; 0], "backwards");
        assert_eq!(taken(&mut window, u32::MAX, 0), [0, u32::MAX]);
        assert_eq!(taken(&mut window, u32::MAX - 1_000, 1), [1, u32::MAX - 1]);
        assert_eq!(taken(&mut window, 2, 2_000), [2]);
        assert!(window.row.is_empty());
    }

    #[test]
    fn one_that_stays_does_not_keep_the_row_long() {
        let mut window = Window::default();
        window.insert(0, 0);
        for id in 1..100_000 {
            window.insert(id, id);
            assert_eq!(window.remove(id), Some(id));
        }
        assert!(window.row.len() <= LONGEST_ROW);
        assert_eq!(window.oldest(), Some((0, &0)));
        assert_eq!(window.get_mut(0), Some(&mut 0));
        assert_eq!(taken(&mut window, 0, 99_999), [0]);
    }

    #[test]
    fn it_does_what_a_map_does() {
        for round in 0..300 {
            let mut random = generator(5, round);
            let start = random.random::<u32>();
            let (mut window, mut map) = (Window::default(), BTreeMap::new());
            let mut next = start;
            for _ in 0..200 {
                let near = |random: &mut Random| {
                    next.wrapping_sub(random.random_range(0..60))
                        .wrapping_add(5)
                };
                match random.random_range(0..5) {
                    0..3 => {
                        if random.random_ratio(1, 20) {
                            next = next.wrapping_add(random.random_range(0..10));
                        }
                        window.insert(next, next);
                        map.insert(next, next);
                        next = next.wrapping_add(1);
                    }
                    3 => {
                        let id = near(&mut random);
                        assert_eq!(window.remove(id), map.remove(&id));
                    }
                    _ => {
                        let first = near(&mut random);
                        let last = first.wrapping_add(random.random_range(0..30));
                        let inside = |id: u32| id.wrapping_sub(first) <= last.wrapping_sub(first);
                        let mut expected: Vec<u32> =
                            map.keys().copied().filter(|id| inside(*id)).collect();
                        map.retain(|id, _| !inside(*id));
                        expected.sort_unstable();
                        assert_eq!(taken(&mut window, first, last), expected, "round {round}");
                    }
                }
            }
            assert_eq!(window.drain().count(), map.len());
        }
    }
}
