//! `chaos-work`: does what its messages ask for, goes wrong as they wish, and leaves a trace of every
//! try outside of the database.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use nightshift_crashpoint::CrashPoint;
use nightshift_job::{
    BatchFunction, Classify, Cx, Disposition, Enqueue, Item, JobError, JobKey, Outcome, Policy,
};
use nix::sys::resource::{Resource, setrlimit};
use sqlx::PgConnection;

use super::order::{BACKOFF, BUSY, FUNCTION, Mishap, Order, QUEUE, REFUSED, REST};

/// The setting with the file of tries.
pub const TRIES: &str = "NIGHTSHIFT_TEST_TRIES";

/// The address space that a process gets which takes memory without end.
const HOARD_BYTES: u64 = 8 << 30;

/// What stands behind a line that was not cut off by the end of its process.
const END: &str = "end";

/// The function.
#[derive(Debug)]
pub struct Work {
    tries: File,
}

impl Work {
    /// Notes every try in the file `tries`, which several processes may write.
    pub fn new(tries: &Path) -> io::Result<Self> {
        let tries = File::options().create(true).append(true).open(tries)?;
        Ok(Self { tries })
    }

    fn note(&self, items: &[&Item<Order>], now: DateTime<Utc>) -> Result<(), Fault> {
        let now = now.timestamp_micros();
        let lines = items.iter().map(|item| {
            let Order { id, .. } = &item.input;
            format!("\n{id} {} {} {now} {END}", item.key, item.attempt)
        });
        let lines: String = lines.collect();
        (&self.tries)
            .write_all(lines.as_bytes())
            .map_err(Fault::Note)
    }
}

/// One try of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Try {
    pub(crate) id: String,
    pub(crate) key: JobKey,
    /// From 1.
    pub(crate) attempt: u32,
    pub(crate) at: DateTime<Utc>,
}

impl Try {
    /// All that are in the text of a file of tries.
    pub(crate) fn all(text: &str) -> Vec<Self> {
        text.lines().filter_map(Self::read).collect()
    }

    fn read(line: &str) -> Option<Self> {
        let (rest, END) = line.rsplit_once(' ')? else {
            return None;
        };
        let mut words = rest.split(' ');
        Some(Self {
            id: words.next()?.to_owned(),
            key: JobKey(words.next()?.parse().ok()?),
            attempt: words.next()?.parse().ok()?,
            at: DateTime::from_timestamp_micros(words.next()?.parse().ok()?)?,
        })
    }
}

/// Why a try fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("as ordered")]
    Ordered,
    #[error("busy, as ordered")]
    Busy,
    #[error("the try cannot be noted")]
    Note(#[source] io::Error),
}

impl Classify for Fault {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Busy => Disposition::RetryAfter(BUSY),
            Self::Ordered | Self::Note(_) => Disposition::Retry,
        }
    }
}

impl BatchFunction for Work {
    const NAME: &'static str = FUNCTION;
    const CONFIG: &'static str = include_str!("app/functions/chaos/work/function.json");
    const POLICY: Policy = Policy {
        backoff: BACKOFF,
        ..Policy::DEFAULT
    };
    type Input = Order;

    async fn run(
        &self,
        items: &[&Item<Order>],
        tx: &mut PgConnection,
        cx: &Cx,
    ) -> Result<Vec<Outcome>, JobError> {
        self.note(items, cx.now())?;
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            let outcome = outcome(item, cx.now())?;
            if outcome == Outcome::Completed
                && let Some(next) = item.input.follow_up()
            {
                cx.enqueue(item, Enqueue::to(QUEUE, &next)?);
            }
            outcomes.push(outcome);
        }
        CrashPoint::BeforeEffect.reach().await;
        let done = items.iter().zip(&outcomes);
        let done = done.filter(|(_, outcome)| **outcome == Outcome::Completed);
        let (ids, attempts): (Vec<&str>, Vec<i32>) = done
            .map(|(item, _)| (item.input.id.as_str(), item.attempt.cast_signed()))
            .unzip();
        sqlx::query("INSERT INTO chaos.effect (id, attempt) SELECT * FROM unnest($1::text[], $2::integer[])")
            .bind(ids)
            .bind(attempts)
            .execute(tx)
            .await?;
        Ok(outcomes)
    }
}

fn outcome(item: &Item<Order>, now: DateTime<Utc>) -> Result<Outcome, Fault> {
    let rest = item.enqueued + TimeDelta::from_std(REST).unwrap_or_default();
    if item.input.rests && now < rest {
        return Ok(Outcome::Snooze(rest));
    }
    match item.input.mishap(item.attempt) {
        None => Ok(Outcome::Completed),
        Some(Mishap::Error) => Err(Fault::Ordered),
        Some(Mishap::Busy) => Err(Fault::Busy),
        Some(Mishap::Refusal) => Ok(Outcome::refused(REFUSED, "as ordered")),
        Some(Mishap::Panic) => panic!("as ordered"),
        Some(Mishap::Abort) => std::process::abort(),
        Some(Mishap::Overflow) => overflow(&[0; 1024]),
        Some(Mishap::Hoard) => hoard(),
    }
}

/// Calls itself until the stack ends, and with it the process.
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn overflow(frame: &[u8; 1024]) -> ! {
    overflow(&std::hint::black_box(*frame))
}

/// Takes memory until there is no more, which ends the process. A limit of its own spares the machine;
/// what is taken is never touched.
fn hoard() -> ! {
    // Without the limit it takes longer.
    let _ = setrlimit(Resource::RLIMIT_AS, HOARD_BYTES, HOARD_BYTES);
    loop {
        std::mem::forget(std::hint::black_box(Vec::<u8>::with_capacity(1 << 30)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_read_back_and_a_line_that_was_cut_off_is_left_out() {
        let key = JobKey::of_message_id(FUNCTION, "a");
        let text = format!(
            "\na-1 {key} 1 1763776800000001 end\na-2 {key} 3 17637\na-3 {key} 2 1763776800000002 end"
        );
        let tries = Try::all(&text);
        let ids: Vec<_> = tries.iter().map(|t| (t.id.as_str(), t.attempt)).collect();
        assert_eq!(ids, [("a-1", 1), ("a-3", 2)]);
        assert_eq!(tries[1].key, key);
        assert_eq!(tries[1].at.timestamp_micros(), 1_763_776_800_000_002);
    }
}
