//! How long to wait before something that failed is tried again.

use std::time::Duration;

use rand::Rng;

/// The longest pause after the first failure; it doubles from there.
const FIRST: Duration = Duration::from_millis(100);

/// Growing pauses with jitter: each is drawn from the upper half of its range, so that many hosts
/// that lost the same thing do not come back in step.
#[derive(Debug)]
pub(crate) struct Pauses {
    failures: u32,
    longest: Duration,
}

impl Pauses {
    /// Pauses that grow up to `longest`: what is back is found within this time.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self {
            failures: 0,
            longest,
        }
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let range = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(self.longest);
        self.failures = self.failures.saturating_add(1);
        range.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_cap_and_start_over() {
        let mut pauses = Pauses::up_to(Duration::from_secs(10));
        for full in [100_u64, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            let pause = pauses.next();
            assert!(pause >= Duration::from_millis(full / 2), "{pause:?}");
            assert!(pause <= Duration::from_millis(full), "{pause:?}");
        }
        pauses.reset();
        assert!(pauses.next() <= FIRST);
    }
}
