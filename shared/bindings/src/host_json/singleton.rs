//! The `singleton` section: how hosts decide which of them runs a timer.

use std::time::Duration;

use crate::reader::Reader;

/// How timers are locked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SingletonOptions {
    /// How long a lock of a run lasts unless it is renewed; 15 seconds by default.
    pub lock_period: Duration,
    /// How long a timer's lock lasts unless it is renewed; one minute by default.
    pub listener_lock_period: Duration,
    /// How often a host that has not got a timer's lock tries to; when not given, the host
    /// decides (the real one: every minute).
    pub listener_lock_recovery_polling_interval: Option<Duration>,
    /// How long a run waits for its lock; when not given, without end.
    pub lock_acquisition_timeout: Option<Duration>,
    /// How often it tries meanwhile; every 5 seconds by default.
    pub lock_acquisition_polling_interval: Duration,
}

impl Default for SingletonOptions {
    fn default() -> Self {
        Self {
            lock_period: Duration::from_secs(15),
            listener_lock_period: Duration::from_mins(1),
            listener_lock_recovery_polling_interval: None,
            lock_acquisition_timeout: None,
            lock_acquisition_polling_interval: Duration::from_secs(5),
        }
    }
}

/// What a storage lease can last.
const LEASE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_mins(1));

/// The shortest interval between tries.
const SHORTEST_POLL: Duration = Duration::from_millis(500);

pub(super) fn read(reader: &mut Reader<'_>) -> SingletonOptions {
    let defaults = SingletonOptions::default();
    let mut span = |key: &str, least: Duration, most: Duration, range: &str| {
        let path = format!("singleton:{key}");
        let found = reader.time_span(&path)?;
        if found < least || found > most {
            reader.problem(&path, format!("expected {range}"));
        }
        Some(found)
    };
    let mut lease = |key: &str| span(key, LEASE.0, LEASE.1, "\"00:00:15\" to \"00:01:00\"");
    let (lock_period, listener_lock_period) = (lease("lockPeriod"), lease("listenerLockPeriod"));
    let mut poll = |key: &str| {
        let range = "at least half a second (\"00:00:00.5\")";
        span(key, SHORTEST_POLL, Duration::MAX, range)
    };
    SingletonOptions {
        lock_period: lock_period.unwrap_or(defaults.lock_period),
        listener_lock_period: listener_lock_period.unwrap_or(defaults.listener_lock_period),
        listener_lock_recovery_polling_interval: poll("listenerLockRecoveryPollingInterval"),
        lock_acquisition_polling_interval: poll("lockAcquisitionPollingInterval")
            .unwrap_or(defaults.lock_acquisition_polling_interval),
        lock_acquisition_timeout: reader.time_span("singleton:lockAcquisitionTimeout"),
    }
}
