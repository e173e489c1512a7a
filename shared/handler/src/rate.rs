//! The slots of a function's rate limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nightshift_cache::limit::{Slots, Wanted, reserve};
use nightshift_cache::{Cache, RedisSettings};
use nightshift_job::{Backoff, RateLimit, WhenAway};
use nightshift_telemetry::causes;

use crate::fate::LONGEST_WISH;

/// How long a message waits that has got no slot.
const CLOSED: Backoff = Backoff {
    first: Duration::from_secs(5),
    cap: Duration::from_mins(1),
};

/// Where the slots of all limits come from. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limiter(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cache: Option<Cache>,
    /// Whether the last one who asked got no answer.
    is_away: AtomicBool,
}

/// The limit of one function.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    pub(crate) limit: RateLimit,
    pub(crate) limiter: Limiter,
}

/// The longest pause of a message for which there is no slot at all.
const BEYOND: Duration = Duration::from_hours(1);

/// What became of a wish for slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    Slots(Slots),
    /// Nobody knows which are free, and until somebody does messages wait.
    Closed,
    /// Nobody knows which are free, and that is no reason to wait.
    Unlimited,
}

/// How long a message without a slot waits that has waited `gen` times. `random` is drawn from
/// `0.0..1.0`.
pub(crate) fn closed_for(r#gen: i32, random: f64) -> Duration {
    let waits = u32::try_from(r#gen).unwrap_or(0).saturating_add(1);
    // Half of it at least, so that a long outage is no rush.
    CLOSED.pause(waits, random.midpoint(1.0))
}

/// How long a message waits before it asks again for a slot where all are taken for as far ahead as slots
/// are given: not until then, because an operator may give the limit another rate meanwhile. `random` is
/// drawn from `0.0..1.0`.
pub(crate) fn beyond_for(random: f64) -> Duration {
    BEYOND.mul_f64(random.midpoint(1.0))
}

impl Limiter {
    pub(crate) fn new(cache: Option<Cache>) -> Self {
        Self(Arc::new(Inner {
            cache,
            is_away: AtomicBool::new(false),
        }))
    }

    /// Whether Redis answers, or what is wrong.
    pub(crate) async fn check(&self) -> Result<(), String> {
        match &self.0.cache {
            Some(cache) => cache.check().await.map_err(|error| causes(&error)),
            None => Err(format!("{} is not set", RedisSettings::URL)),
        }
    }
}

impl Rate {
    /// The same with `limit`, as it is now.
    pub(crate) fn at(&self, limit: RateLimit) -> Self {
        Self {
            limit,
            limiter: self.limiter.clone(),
        }
    }

    /// Takes at most `count` slots; `by_free` as in [`Wanted::by_free`].
    pub(crate) async fn take(&self, count: usize, by_free: &[usize]) -> Given {
        let wanted = Wanted {
            count,
            by_free,
            ahead: LONGEST_WISH,
        };
        let answer = match &self.limiter.0.cache {
            Some(cache) => reserve(cache, &self.limit, wanted)
                .await
                .map_err(|error| causes(&error)),
            None => Err(format!("{} is not set", RedisSettings::URL)),
        };
        let was_away = self
            .limiter
            .0
            .is_away
            .swap(answer.is_err(), Ordering::Relaxed);
        match answer {
            Ok(slots) => {
                if was_away {
                    tracing::info!("rate limits are kept to again");
                }
                Given::Slots(slots)
            }
            Err(error) => {
                if !was_away {
                    tracing::warn!(
                        limit.name = self.limit.name,
                        error,
                        "rate limits cannot be kept to: until Redis answers, functions whose limit is open run without, and the messages of the others wait"
                    );
                }
                match self.limit.when_away {
                    WhenAway::Open => Given::Unlimited,
                    WhenAway::Closed => Given::Closed,
                }
            }
        }
    }
}
