//! New identifiers: `UUIDv7` (RFC 9562), whose time part comes from the injected clock.
//!
//! Version 7 sorts by creation time, which keeps the B-tree pages of a table's newest rows warm.

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use uuid::Uuid;

/// Makes identifiers from an instant and a random generator.
#[derive(Debug)]
pub struct Ids {
    random: StdRng,
}

impl Ids {
    /// Unpredictable identifiers, seeded by the operating system.
    pub fn random() -> Self {
        Self {
            random: StdRng::from_os_rng(),
        }
    }

    /// The same identifiers on every run, for tests.
    pub fn seeded(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// A new `UUIDv7` for `now`. Instants before 1970 count as 1970.
    pub fn next(&mut self, now: DateTime<Utc>) -> Uuid {
        let mut bytes = [0_u8; 10];
        self.random.fill_bytes(&mut bytes);
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_sort_by_time() {
        let mut ids = Ids::seeded(7);
        let early = ids.next(DateTime::UNIX_EPOCH);
        let late = ids.next(DateTime::UNIX_EPOCH + chrono::Duration::milliseconds(1));
        assert_eq!(early.get_version_num(), 7);
        assert!(early < late);
    }

    #[test]
    fn a_seed_repeats_and_another_seed_does_not() {
        let first = |seed| Ids::seeded(seed).next(DateTime::UNIX_EPOCH);
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }
}
