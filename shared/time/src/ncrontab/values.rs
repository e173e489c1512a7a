//! The values that a field admits, as one machine word: bit n stands for the value n.

use std::fmt::Write;

use super::field::Field;

/// A set of numbers below 64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Values(u64);

impl Values {
    /// `first`, `first + step` and so on up to `last`. `step` is at least 1, `last` below 64.
    pub(super) fn every(first: u32, last: u32, step: u32) -> Self {
        let stride = usize::try_from(step).unwrap_or(usize::MAX);
        Self(
            (first..=last)
                .step_by(stride)
                .fold(0, |bits, value| bits | 1 << value),
        )
    }

    pub(super) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn contains(self, value: u32) -> bool {
        value < 64 && self.0 >> value & 1 == 1
    }

    /// The smallest value that is not below `value`.
    pub(super) const fn at_or_after(self, value: u32) -> Option<u32> {
        if value >= 64 {
            return None;
        }
        let rest = self.0 & u64::MAX << value;
        if rest == 0 {
            None
        } else {
            Some(rest.trailing_zeros())
        }
    }

    /// The smallest value; 0 for the empty set, which no field has.
    pub(super) const fn first(self) -> u32 {
        self.0.trailing_zeros() & 63
    }

    pub(super) const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether two of the values follow each other: then, and only then, the canonical text has a
    /// `-` or is `*`, because no field has less than two possible values.
    pub(super) const fn has_neighbours(self) -> bool {
        self.0 & self.0 >> 1 != 0
    }

    pub(super) fn is_all(self, field: Field) -> bool {
        self == Self::every(field.first(), field.last(), 1)
    }

    /// The canonical text: `*` for all values, neighbours as `a-b`, the rest as a list.
    pub(super) fn text(self, field: Field) -> String {
        if self.is_all(field) {
            return "*".to_owned();
        }
        let mut text = String::new();
        let mut from = self.at_or_after(0);
        while let Some(first) = from {
            let last = first + (self.0 >> first).trailing_ones() - 1;
            let comma = if text.is_empty() { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = if first == last {
                write!(text, "{comma}{first}")
            } else {
                write!(text, "{comma}{first}-{last}")
            };
            from = self.at_or_after(last + 1);
        }
        text
    }
}
