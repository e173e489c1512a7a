//! Maps whose keys are numbers that this process has given out.
//!
//! Every message is looked up by its link, so the hash counts. Nobody else chooses the numbers, so
//! it need not withstand anybody.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub(super) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Spreads numbers by multiplication, as compilers do with theirs.
#[derive(Default)]
pub(super) struct NumberHasher(u64);

/// An odd number without a pattern: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for NumberHasher {
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.write_u64(u64::from(*octet));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(26) ^ number).wrapping_mul(SPREAD);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher as _, BuildHasherDefault};

    use super::NumberHasher;

    #[test]
    fn neighbours_are_spread() {
        let build = BuildHasherDefault::<NumberHasher>::default();
        let hashes = (0..10_000_u64).map(|number| build.hash_one(number));
        // A table looks at the lowest bits for the place and at the highest for the tag.
        let places: HashSet<u64> = hashes.clone().map(|hash| hash % 16_384).collect();
        let tags: HashSet<u64> = hashes.map(|hash| hash >> 57).collect();
        assert!(places.len() > 5_000, "{}", places.len());
        assert_eq!(tags.len(), 128);
        let pairs = (0..100_u32).flat_map(|index| (0..100_u32).map(move |turn| (index, turn)));
        let distinct: HashSet<u64> = pairs.map(|pair| build.hash_one(pair)).collect();
        assert_eq!(distinct.len(), 10_000);
    }
}
