//! How often something may be done.

use std::time::Duration;

/// The longest time between two slots of a rate limit, and the longest that a burst may save up for.
pub const LONGEST_SPAN: Duration = Duration::from_hours(30 * 24);

/// The longest name, in characters.
const LONGEST_NAME: usize = 64;

/// A rate that functions keep to together: those that name the same limit share its slots, on all
/// machines.
///
/// Each try of a message takes a slot of its own, one after the other. A message whose slot is not now
/// waits for it, and then runs without asking again. Limits are kept in Redis and are best effort:
/// they protect somebody else's service, and nothing is to depend on them being exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The name, of small letters, digits and hyphens.
    pub name: &'static str,
    /// How many slots there are in [`RateLimit::per`], evenly spread.
    pub count: u32,
    /// In which time.
    pub per: Duration,
    /// How many slots may be taken at once after a time in which none were; 1 for none more than their
    /// even spread.
    pub burst: u32,
    /// What happens while Redis is away.
    pub when_away: WhenAway,
}

/// How often something may be done, whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// As [`RateLimit::count`].
    pub count: u32,
    /// As [`RateLimit::per`].
    pub per: Duration,
    /// As [`RateLimit::burst`].
    pub burst: u32,
}

/// What a limit means while nobody can say which slots are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAway {
    /// Messages run without it.
    Open,
    /// Messages wait, some seconds each time.
    Closed,
}

/// Why something is no rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRateLimit {
    /// The name is not one.
    #[error("its name must have 1 to {LONGEST_NAME} characters out of a-z, 0-9 and -")]
    Name,
    /// Nothing may be done.
    #[error("its count and its burst must be at least 1")]
    Zero,
    /// There is less than a microsecond between two slots.
    #[error(
        "it has more than a million slots per second, for which there is no telling them apart"
    )]
    TooFast,
    /// There is too much time between two slots, or in a burst.
    #[error("its slots, or those of a whole burst, are more than thirty days apart")]
    TooSlow,
}

impl RateLimit {
    /// How often it lets something be done.
    pub const fn rate(&self) -> Rate {
        Rate {
            count: self.count,
            per: self.per,
            burst: self.burst,
        }
    }

    /// The same limit with another rate.
    #[must_use]
    pub const fn at(self, rate: Rate) -> Self {
        Self {
            count: rate.count,
            per: rate.per,
            burst: rate.burst,
            ..self
        }
    }

    /// The time between two slots, in whole microseconds: rounded up, so that it is never too short.
    pub fn interval(&self) -> Duration {
        let count = u128::from(self.count.max(1));
        let micros = self.per.as_micros().div_ceil(count);
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Whether it is one.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self) -> Result<(), BadRateLimit> {
        let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let length = self.name.len();
        if !(1..=LONGEST_NAME).contains(&length) || !self.name.bytes().all(is_plain) {
            return Err(BadRateLimit::Name);
        }
        if self.count == 0 || self.burst == 0 {
            return Err(BadRateLimit::Zero);
        }
        if self.per.as_micros() < u128::from(self.count) {
            return Err(BadRateLimit::TooFast);
        }
        if self
            .interval()
            .checked_mul(self.burst)
            .is_none_or(|burst| burst > LONGEST_SPAN)
        {
            return Err(BadRateLimit::TooSlow);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_A_SECOND: RateLimit = RateLimit {
        name: "mail-provider-2",
        count: 10,
        per: Duration::from_secs(1),
        burst: 1,
        when_away: WhenAway::Open,
    };

    #[test]
    fn slots_are_never_closer_than_the_rate_says() {
        assert_eq!(TEN_A_SECOND.interval(), Duration::from_millis(100));
        let seven = RateLimit {
            count: 7,
            ..TEN_A_SECOND
        };
        assert_eq!(seven.interval(), Duration::from_micros(142_858));
    }

    #[test]
    fn what_cannot_be_kept_to_is_refused() {
        let micros = Duration::from_micros;
        let limit = TEN_A_SECOND;
        assert_eq!(limit.check(), Ok(()));
        assert_eq!(
            RateLimit {
                count: 10,
                per: micros(10),
                ..limit
            }
            .check(),
            Ok(())
        );
        for (bad, why) in [
            (RateLimit { name: "", ..limit }, BadRateLimit::Name),
            (
                RateLimit {
                    name: "a}b",
                    ..limit
                },
                BadRateLimit::Name,
            ),
            (RateLimit { count: 0, ..limit }, BadRateLimit::Zero),
            (RateLimit { burst: 0, ..limit }, BadRateLimit::Zero),
            (
                RateLimit {
                    per: Duration::ZERO,
                    ..limit
                },
                BadRateLimit::TooFast,
            ),
            (
                RateLimit {
                    count: 10,
                    per: micros(9),
                    ..limit
                },
                BadRateLimit::TooFast,
            ),
            (
                RateLimit {
                    count: 1,
                    per: LONGEST_SPAN + micros(1),
                    ..limit
                },
                BadRateLimit::TooSlow,
            ),
            (
                RateLimit {
                    burst: u32::MAX,
                    ..limit
                },
                BadRateLimit::TooSlow,
            ),
        ] {
            assert_eq!(bad.check(), Err(why), "{bad:?}");
        }
    }
}
