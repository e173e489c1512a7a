//! When to try again: growing pauses with jitter, and how often.

use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

use crate::error::BusError;

/// How senders, receivers and management calls try again after a failure that may pass. The
/// defaults are those of the official clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryOptions {
    /// How often one call tries again before it fails; 0 fails at once.
    pub max_retries: u32,
    /// The longest pause before the first repetition. It doubles from there, and each pause is
    /// drawn from the upper half of its range, so that many clients do not come back in step.
    pub delay: Duration,
    /// Pauses do not grow beyond this. Between tries to connect they do not grow beyond 5 s either,
    /// so that calls go on soon after an outage.
    pub max_delay: Duration,
    /// Send a message again when it is unknown whether the broker has accepted it. This may
    /// deliver the message twice, unless the entity detects duplicates; it is done only for
    /// messages that have an id to recognise a repetition by.
    pub resend_unknown: bool,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            max_retries: 3,
            delay: Duration::from_millis(800),
            max_delay: Duration::from_mins(1),
            resend_unknown: false,
        }
    }
}

impl RetryOptions {
    /// The pauses between the tries of one call, as many as there are repetitions.
    pub(crate) fn pauses(&self) -> impl Iterator<Item = Duration> {
        let options = self.clone();
        (0..self.max_retries).map(move |failures| options.pause(failures))
    }

    /// The pause after so many failures before.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let range = self
            .delay
            .saturating_mul(1 << failures.min(16))
            .min(self.max_delay);
        range.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

/// The last failure of something that one caller does while others wait for their turn.
#[derive(Default)]
pub(crate) struct LastFailure(Option<(Instant, BusError)>);

impl LastFailure {
    pub(crate) fn note(&mut self, error: &BusError) {
        self.0 = Some((Instant::now(), error.clone()));
    }

    /// What went wrong since `asked_at`: it answers whoever asked by then, too.
    pub(crate) fn since(&self, asked_at: Instant) -> Option<BusError> {
        let (failed_at, error) = self.0.as_ref()?;
        (*failed_at >= asked_at).then(|| error.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_cap_and_end() {
        let options = RetryOptions {
            max_retries: 5,
            delay: Duration::from_millis(100),
            max_delay: Duration::from_millis(500),
            resend_unknown: false,
        };
        let pauses: Vec<Duration> = options.pauses().collect();
        assert_eq!(pauses.len(), 5);
        for (pause, full) in pauses.iter().zip([100, 200, 400, 500, 500]) {
            let range = Duration::from_millis(full / 2)..=Duration::from_millis(full);
            assert!(range.contains(pause), "{pause:?}");
        }
        assert!(options.pause(u32::MAX) <= Duration::from_millis(500));
    }

    #[test]
    fn a_failure_answers_those_who_asked_before_it() {
        let mut last = LastFailure::default();
        let before = Instant::now();
        assert!(last.since(before).is_none());
        last.note(&BusError::Closed { what: "test" });
        assert!(last.since(before).is_some());
        let later = Instant::now() + Duration::from_secs(1);
        assert!(last.since(later).is_none());
    }
}
