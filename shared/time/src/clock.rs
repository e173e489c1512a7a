//! The wall clock as a value.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

/// A source of the current instant.
pub trait Clock: Debug + Send + Sync {
    /// The current instant in UTC.
    fn now(&self) -> DateTime<Utc>;
}

/// The form in which a clock is handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The machine's clock in the form in which it is handed around.
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the machine's clock"
        )]
        Utc::now()
    }
}

/// A clock that stands still until it is told to move. Clones share the same hands.
#[derive(Debug, Clone)]
pub struct TestClock {
    hands: Arc<Mutex<DateTime<Utc>>>,
}

impl TestClock {
    /// A clock that shows `start`.
    pub fn new(start: DateTime<Utc>) -> Self {
        Self {
            hands: Arc::new(Mutex::new(start)),
        }
    }

    /// Shows `instant` from now on, earlier or later.
    pub fn set(&self, instant: DateTime<Utc>) {
        *self.hands.lock().unwrap_or_else(PoisonError::into_inner) = instant;
    }

    /// Moves forward by `by`.
    pub fn advance(&self, by: Duration) {
        *self.hands.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        *self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_test_clock_show_the_same_time() {
        let clock = TestClock::new(DateTime::UNIX_EPOCH);
        let other = clock.clone();
        clock.advance(Duration::from_secs(90));
        assert_eq!(other.now().timestamp(), 90);
        other.set(DateTime::UNIX_EPOCH);
        assert_eq!(clock.now(), DateTime::UNIX_EPOCH);
    }
}
