//! How one message ends in one transaction.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use nightshift_job::{Children, Disposition, Outcome, Policy, Refusal};
use nightshift_postgres::open_message::Reason;
use uuid::Uuid;

/// The nearest and the farthest time to which a message is put off by request.
const SHORTEST_WISH: Duration = Duration::from_secs(1);
pub(crate) const LONGEST_WISH: Duration = Duration::from_hours(30 * 24);

/// The failures after which a pause is as long as that of a message that another transaction was in
/// the way of; such a try does not count, so its pauses do not grow.
const CONFLICT_FAILURES: u32 = 3;

/// How one message ends in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    /// Done, and what is to be done now is in other messages.
    Split(Children),
    Skipped(String),
    Dead(Refusal),
    Waits(Wait),
}

/// For what and how long a message waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) reason: Reason,
    pub(crate) due: DateTime<Utc>,
    /// Failed tries, this one included.
    pub(crate) attempt: i32,
    pub(crate) error: Option<String>,
    /// Another body than before.
    pub(crate) body: Option<Bytes>,
    pub(crate) call: Option<Uuid>,
    /// For how long the call is this process's.
    pub(crate) lease: Option<Duration>,
}

impl Wait {
    fn new(reason: Reason, due: DateTime<Utc>, attempt: i32) -> Self {
        Self {
            reason,
            due,
            attempt,
            error: None,
            body: None,
            call: None,
            lease: None,
        }
    }
}

/// Why a try of one message failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) disposition: Disposition,
    pub(crate) error: String,
    /// Whether the message is to blame, so that the try counts.
    pub(crate) counts: bool,
    /// Whether a call was made whose end nobody knows.
    pub(crate) is_unknown: bool,
}

impl Failure {
    /// One that may pass and counts as a try.
    pub(crate) fn passing(error: String) -> Self {
        Self {
            disposition: Disposition::Retry,
            error,
            counts: true,
            is_unknown: false,
        }
    }
}

impl Fate {
    /// What the function says of a message, after `attempt` failed tries before.
    pub(crate) fn of_outcome(outcome: Outcome, attempt: i32, now: DateTime<Utc>) -> Self {
        match outcome {
            Outcome::Skipped(why) => Self::Skipped(why),
            Outcome::Refused(refusal) => Self::Dead(refusal),
            Outcome::Snooze(due) => {
                Self::Waits(Wait::new(Reason::Snooze, bounded(due, now), attempt))
            }
            Outcome::Continue(body) => Self::Waits(Wait {
                body: Some(body),
                ..Wait::new(Reason::Continue, now, 0)
            }),
            Outcome::Children(children) => Self::Split(children),
            _ => Self::Done,
        }
    }

    /// A message that has failed now, after `attempt` failed tries before. `random` is drawn from
    /// `0.0..1.0`.
    pub(crate) fn of_failure(
        failure: &Failure,
        attempt: i32,
        policy: &Policy,
        now: DateTime<Utc>,
        random: f64,
    ) -> Self {
        let reason = if failure.is_unknown {
            Reason::Unknown
        } else {
            Reason::Retry
        };
        let wait = |due, attempt| {
            Self::Waits(Wait {
                error: Some(failure.error.clone()),
                ..Wait::new(reason, due, attempt)
            })
        };
        if !failure.counts {
            let pause = policy.backoff.pause(CONFLICT_FAILURES, random);
            return wait(later(now, pause), attempt);
        }
        let failures = u32::try_from(attempt).unwrap_or(0).saturating_add(1);
        let due = match failure.disposition {
            Disposition::DeadLetter(reason) => {
                return Self::Dead(Refusal {
                    reason,
                    description: failure.error.clone(),
                });
            }
            _ if failures >= policy.max_attempts => {
                return Self::Dead(Refusal {
                    reason: "attempts-used-up",
                    description: format!("failed {failures} times; last: {}", failure.error),
                });
            }
            Disposition::RetryAfter(pause) => bounded(later(now, pause), now),
            _ => later(now, policy.backoff.pause(failures, random)),
        };
        wait(due, attempt.saturating_add(1))
    }

    /// A message before which another one of its session is to be done.
    pub(crate) fn parked(attempt: i32, now: DateTime<Utc>) -> Self {
        Self::Waits(Wait::new(Reason::Parked, now, attempt))
    }

    /// A message whose function is paused.
    pub(crate) fn paused(attempt: i32, now: DateTime<Utc>) -> Self {
        Self::Waits(Wait::new(Reason::Paused, now, attempt))
    }

    /// A message for which its concurrency key has no place.
    pub(crate) fn queued(attempt: i32, now: DateTime<Utc>) -> Self {
        Self::Waits(Wait::new(Reason::Queued, now, attempt))
    }

    /// A message whose slot of its rate limit is at `slot`.
    pub(crate) fn limited(slot: DateTime<Utc>, attempt: i32) -> Self {
        Self::Waits(Wait::new(Reason::Limited, slot, attempt))
    }

    /// A message that gets no slot of its rate limit, and asks again at `due`.
    pub(crate) fn closed(due: DateTime<Utc>, attempt: i32) -> Self {
        Self::Waits(Wait::new(Reason::Closed, due, attempt))
    }

    /// A message for which the call `id` is made now, which is this process's for `lease`.
    pub(crate) fn calling(id: Uuid, lease: Duration, attempt: i32, now: DateTime<Utc>) -> Self {
        Self::Waits(Wait {
            call: Some(id),
            lease: Some(lease),
            ..Wait::new(Reason::Calling, now, attempt)
        })
    }

    /// Whether it waits for something that is not before or at `now`.
    pub(crate) fn is_due_after(&self, now: DateTime<Utc>) -> bool {
        matches!(self, Self::Waits(wait) if wait.due > now)
    }

    /// Whether the later messages of its session may run.
    pub(crate) fn lets_session_go_on(&self) -> bool {
        !matches!(self, Self::Waits(_))
    }
}

/// An instant that a function or another system asks for, not so early that the message would go round
/// without a pause, and not so late that a slip of theirs would hide it for ever.
fn bounded(due: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    due.clamp(later(now, SHORTEST_WISH), later(now, LONGEST_WISH))
}

pub(crate) fn later(now: DateTime<Utc>, pause: Duration) -> DateTime<Utc> {
    let pause = TimeDelta::from_std(pause.min(LONGEST_WISH)).unwrap_or_default();
    now.checked_add_signed(pause).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(disposition: Disposition, attempt: i32) -> Fate {
        let failure = Failure {
            disposition,
            ..Failure::passing("away".to_owned())
        };
        let now = DateTime::UNIX_EPOCH;
        Fate::of_failure(&failure, attempt, &Policy::DEFAULT, now, 0.5)
    }

    fn due_in(fate: &Fate) -> Option<i64> {
        match fate {
            Fate::Waits(wait) => Some((wait.due - DateTime::UNIX_EPOCH).num_milliseconds()),
            _ => None,
        }
    }

    #[test]
    fn a_failure_waits_longer_each_time_and_is_dead_in_the_end() {
        assert_eq!(due_in(&fate(Disposition::Retry, 0)), Some(2_500));
        assert_eq!(due_in(&fate(Disposition::Retry, 3)), Some(20_000));
        assert_eq!(due_in(&fate(Disposition::Retry, 10)), Some(1_800_000));
        let Fate::Dead(refusal) = fate(Disposition::Retry, 11) else {
            panic!("the twelfth failure is the last");
        };
        assert_eq!(refusal.reason, "attempts-used-up");
        assert_eq!(refusal.description, "failed 12 times; last: away");
    }

    #[test]
    fn a_pause_that_is_asked_for_wins_and_a_permanent_failure_waits_for_nothing() {
        let asked = Disposition::RetryAfter(Duration::from_mins(7));
        assert_eq!(due_in(&fate(asked, 5)), Some(420_000));
        for (wish, bound) in [
            (Duration::ZERO, SHORTEST_WISH),
            (Duration::MAX, LONGEST_WISH),
        ] {
            let due = due_in(&fate(Disposition::RetryAfter(wish), 0)).unwrap();
            assert_eq!(u128::try_from(due).unwrap(), bound.as_millis());
        }
        let dead = fate(Disposition::DeadLetter("gone"), 0);
        assert!(matches!(dead, Fate::Dead(refusal) if refusal.reason == "gone"));
    }

    #[test]
    fn a_try_that_does_not_count_waits_and_is_never_the_last() {
        let failure = Failure {
            counts: false,
            ..Failure::passing("a lock".to_owned())
        };
        let now = DateTime::UNIX_EPOCH;
        let fate = Fate::of_failure(&failure, 11, &Policy::DEFAULT, now, 0.5);
        assert!(matches!(fate, Fate::Waits(Wait { attempt: 11, .. })));
    }
}
