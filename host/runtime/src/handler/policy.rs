//! Whether and when a handler that ended is started again.
//!
//! Strict mode counts errors as the real host does and gives up at the third. The default mode
//! never gives up, because what makes a handler fail (a database that is away, a full disk) often
//! passes; it only waits longer each time, so that a handler that cannot start costs nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::app::Mode;

/// In strict mode: a longer gap than this between two errors forgives all before it.
const FORGIVEN_AFTER: Duration = Duration::from_mins(30);

/// In strict mode: this many unforgiven errors stop the host.
const ERRORS_THAT_STOP: usize = 3;

/// In default mode: having run for this long makes a handler count as healthy again.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);

/// In default mode: the pause before the second restart in a row; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// In default mode: the longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How a handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It exited with code 200, which asks for a restart.
    RestartWanted,
    /// It exited with another code, was killed, or did not become ready.
    Error,
    /// The host killed it because a call took too long.
    KilledForTimeout,
    /// An invocation has waited too long for it to become ready (strict mode).
    Overdue,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    RestartAfter(Duration),
    StopHost,
}

/// Remembers how a handler fared so far.
#[derive(Debug)]
pub(super) struct RestartPolicy {
    mode: Mode,
    errors: usize,
    last_error: Option<Instant>,
    restarts_in_a_row: u32,
}

impl RestartPolicy {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            errors: 0,
            last_error: None,
            restarts_in_a_row: 0,
        }
    }

    /// Decides about a handler that ended at `now` after it had been ready for `uptime`.
    pub(super) fn decide(&mut self, ending: Ending, uptime: Duration, now: Instant) -> Verdict {
        match self.mode {
            Mode::Strict => self.decide_strictly(ending, now),
            Mode::Default => self.decide_patiently(uptime),
        }
    }

    fn decide_strictly(&mut self, ending: Ending, now: Instant) -> Verdict {
        match ending {
            Ending::Overdue => Verdict::StopHost,
            Ending::RestartWanted | Ending::KilledForTimeout => {
                Verdict::RestartAfter(Duration::ZERO)
            }
            Ending::Error => {
                let last = self.last_error.replace(now);
                if last.is_some_and(|last| now - last > FORGIVEN_AFTER) {
                    self.errors = 0;
                }
                self.errors += 1;
                if self.errors < ERRORS_THAT_STOP {
                    Verdict::RestartAfter(Duration::ZERO)
                } else {
                    Verdict::StopHost
                }
            }
        }
    }

    fn decide_patiently(&mut self, uptime: Duration) -> Verdict {
        if uptime >= HEALTHY_AFTER {
            self.restarts_in_a_row = 0;
        }
        let pause = match self.restarts_in_a_row {
            0 => Duration::ZERO,
            count => FIRST_PAUSE
                .saturating_mul(1 << (count - 1).min(16))
                .min(LONGEST_PAUSE),
        };
        self.restarts_in_a_row = self.restarts_in_a_row.saturating_add(1);
        Verdict::RestartAfter(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Verdict = Verdict::RestartAfter(Duration::ZERO);

    #[test]
    fn strict_mode_stops_at_the_third_error_unless_time_forgives() {
        let start = Instant::now();
        let mut policy = RestartPolicy::new(Mode::Strict);
        let mut error_at = |minutes: u64| {
            policy.decide(
                Ending::Error,
                Duration::ZERO,
                start + Duration::from_mins(minutes),
            )
        };
        assert_eq!(error_at(0), NOW);
        assert_eq!(error_at(29), NOW);
        assert_eq!(error_at(60), NOW);
        assert_eq!(error_at(61), NOW);
        assert_eq!(error_at(90), Verdict::StopHost);
    }

    #[test]
    fn strict_mode_does_not_count_what_is_no_error() {
        let mut policy = RestartPolicy::new(Mode::Strict);
        for _ in 0..5 {
            assert_eq!(
                policy.decide(Ending::RestartWanted, Duration::ZERO, Instant::now()),
                NOW
            );
            assert_eq!(
                policy.decide(Ending::KilledForTimeout, Duration::ZERO, Instant::now()),
                NOW
            );
        }
        let overdue = policy.decide(Ending::Overdue, Duration::ZERO, Instant::now());
        assert_eq!(overdue, Verdict::StopHost);
    }

    #[test]
    fn default_mode_waits_longer_each_time_and_forgets_after_a_healthy_run() {
        let mut policy = RestartPolicy::new(Mode::Default);
        let mut pause_after = |uptime_secs| match policy.decide(
            Ending::Error,
            Duration::from_secs(uptime_secs),
            Instant::now(),
        ) {
            Verdict::RestartAfter(pause) => pause.as_millis(),
            Verdict::StopHost => panic!("it goes on"),
        };
        let pauses: Vec<_> = (0..8).map(|_| pause_after(1)).collect();
        assert_eq!(pauses, [0, 200, 400, 800, 1_600, 3_200, 6_400, 10_000]);
        assert_eq!(pause_after(30), 0);
        assert_eq!(pause_after(0), 200);
    }
}
