//! Slots of rate limits.
//!
//! A limit is one key, which is gone when nobody waits. One script gives out any number of slots at
//! once, by the server's clock. A changed rate is another key: what was given out at the old one stays
//! as it is, and what comes now does not wait for it.

use nightshift_telemetry::trace::TRACE;
use std::time::Duration;
use tracing::instrument;

use nightshift_job::RateLimit;
use redis::Cmd;

use crate::{Cache, CacheError};

const SCRIPT: &str = include_str!("reserve.lua");

/// Some slots of a limit, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// In how many microseconds the first one is; negative if it is over already.
    first_micros: i64,
    interval: Duration,
    count: usize,
}

impl Slots {
    /// How long it is until the slot number `index`, from 0; zero if it is now. `None`: that many were
    /// not given out.
    pub fn wait(&self, index: usize) -> Option<Duration> {
        if index >= self.count {
            return None;
        }
        let index = i64::try_from(index).ok()?;
        let interval = i64::try_from(self.interval.as_micros()).ok()?;
        let micros = self.first_micros + index * interval;
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }
}

/// How many slots are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// At most.
    pub count: usize,
    /// If that depends on how many are free now: how many with none, with one, and so on up to
    /// [`Wanted::count`]. Empty if it does not.
    pub by_free: &'a [usize],
    /// For how long slots are given out ahead of their time. Those later than that are not.
    pub ahead: Duration,
}

/// Takes slots of `limit`.
///
/// # Errors
/// When Redis is away. Some slots may be taken then which nobody uses.
#[instrument(target = TRACE, name = "cache.reserve", skip_all)]
pub async fn reserve(
    cache: &Cache,
    limit: &RateLimit,
    wanted: Wanted<'_>,
) -> Result<Slots, CacheError> {
    let interval = limit.interval();
    let burst = interval.saturating_mul(limit.burst.saturating_sub(1));
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let mut command = Cmd::new();
    command
        .arg("EVAL")
        .arg(SCRIPT)
        .arg(1)
        .arg(key(limit))
        .arg(micros(interval))
        .arg(micros(burst))
        .arg(micros(wanted.ahead))
        .arg(wanted.count);
    for count in wanted.by_free {
        command.arg(*count);
    }
    let (first_micros, count): (i64, usize) = cache.query(&command).await?;
    Ok(Slots {
        first_micros,
        interval,
        count,
    })
}

/// The name in braces decides on the slot of a cluster.
fn key(limit: &RateLimit) -> String {
    let interval = limit.interval().as_micros();
    format!("nightshift:limit:{{{}}}:{interval}", limit.name)
}
