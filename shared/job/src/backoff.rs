//! How long a failed message waits for its next try.

use std::time::Duration;

/// Pauses that double with each failure, up to a cap. Each is drawn anew from zero to its bound
/// ("full jitter"), so that messages that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the first pause.
    pub first: Duration,
    /// The bound that is never exceeded.
    pub cap: Duration,
}

impl Backoff {
    /// Five seconds at first, one hour at most.
    pub const DEFAULT: Self = Self {
        first: Duration::from_secs(5),
        cap: Duration::from_hours(1),
    };

    /// The longest pause after the `failures`-th failure, counted from 1.
    pub fn bound(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1);
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.cap)
    }

    /// The pause after the `failures`-th failure for `random`, which is drawn from `0.0..1.0`.
    pub fn pause(&self, failures: u32, random: f64) -> Duration {
        self.bound(failures).mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_cap() {
        let bounds = [0, 1, 2, 3, 10, 11, 33, u32::MAX];
        let bounds = bounds.map(|failures| Backoff::DEFAULT.bound(failures).as_secs());
        assert_eq!(bounds, [5, 5, 10, 20, 2_560, 3_600, 3_600, 3_600]);
    }

    #[test]
    fn a_pause_is_anything_up_to_its_bound() {
        let pause = |random| Backoff::DEFAULT.pause(2, random);
        assert_eq!(pause(0.0), Duration::ZERO);
        assert_eq!(pause(0.5), Duration::from_secs(5));
        assert_eq!(pause(1.0), Duration::from_secs(10));
    }
}
