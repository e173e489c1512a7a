//! What operators end: what waits or runs, and dead letters. Whoever waits for its end is told.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use nightshift_job::{ConcurrencyKey, JobKey, TickId};
use nightshift_postgres::cancel::{self, Standing};
use nightshift_postgres::dead_letter::{self, SessionOf};
use nightshift_postgres::fan_out::{self, Ended};
use nightshift_postgres::open_message::Places;
use nightshift_postgres::outbox::Promised;
use nightshift_postgres::{open_message, outbox, schedule};
use nightshift_time::Ids;
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::copy::{self, copy_of};

/// What was ended.
#[derive(Debug)]
pub struct Cancelled {
    /// The function that it was for.
    pub function: String,
    /// Why it waited, in a word; `calling` if a process was at work on it.
    pub reason: String,
    /// Failed tries by then.
    pub attempt: i32,
    /// What follows from it: to be sent after the commit.
    pub promised: Vec<Promised>,
}

/// Why something cannot be ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CancelFailed {
    /// Nothing waits or runs under this key.
    #[error("nothing waits or runs under the key {0}: it is done, dead, or was never there")]
    NotOpen(JobKey),
    /// Another system is being called, and nobody knows how that will end.
    #[error(
        "{function} is calling another system for {key}, which cannot be called back; try again once that has ended"
    )]
    Calling {
        /// The key.
        key: JobKey,
        /// The function.
        function: String,
    },
    /// The database's failure.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// As [`crate::Registry::cancel`]; `places` says how many messages of one concurrency key a function works
/// on at a time.
pub(crate) async fn cancel(
    tx: &mut PgConnection,
    key: JobKey,
    why: &str,
    places: &BTreeMap<&'static str, u32>,
    now: DateTime<Utc>,
) -> Result<Cancelled, CancelFailed> {
    let open = match cancel::look(tx, key).await? {
        Standing::Open(open) => open,
        Standing::Calling { function } => return Err(CancelFailed::Calling { key, function }),
        Standing::Gone => return Err(CancelFailed::NotOpen(key)),
    };
    cancel::end(tx, key, open.enqueued, why).await?;
    let mut ids = Ids::random();
    let mut new_id = || ids.next(now);
    let mut promised = Vec::new();
    if let Some(session) = &open.session_id {
        let next = open_message::wake_next(tx, &open.function, &[session]).await?;
        promised.extend(next.into_iter().map(|row| copy_of(row, new_id())));
    }
    if let Some(key) = open.place.map(ConcurrencyKey) {
        let places = Places {
            function: &open.function,
            key,
            declared: places.get(open.function.as_str()).copied().unwrap_or(1),
        };
        let next = open_message::wake_queued(tx, places).await?;
        promised.extend(next.into_iter().map(|row| copy_of(row, new_id())));
    }
    // Properties are a JSON object, but for those of a producer that has sent none.
    let properties: Map<String, Value> = serde_json::from_str(&open.properties).unwrap_or_default();
    let text = |name| properties.get(name).and_then(Value::as_str);
    if let Some(parent) = text(copy::PARENT).and_then(|id| Uuid::try_parse(id).ok()) {
        let ended = Ended {
            parent,
            ended: 1,
            failed: 1,
        };
        let finished = fan_out::end(tx, &[ended]).await?;
        promised.extend(copy::finish_of(finished, &mut new_id));
    }
    let tick = text(copy::TICK).or(open.message_id.as_deref());
    if let Some(tick) = tick.and_then(TickId::of_message) {
        let called_off = schedule::Ended::CalledOff(why.to_owned());
        promised.extend(schedule::finish(tx, &tick, &called_off).await?.next);
    }
    if !promised.is_empty() {
        outbox::promise(tx, &promised).await?;
    }
    Ok(Cancelled {
        function: open.function,
        reason: open.reason,
        attempt: open.attempt,
        promised,
    })
}

/// Throws the letters with `keys` away, because of `why`, and lets sessions go on that wait for one of them.
pub(crate) async fn discard(
    tx: &mut PgConnection,
    keys: &[JobKey],
    why: &str,
    now: DateTime<Utc>,
) -> Result<Vec<Promised>, sqlx::Error> {
    let sessions = dead_letter::held_sessions(tx, keys).await?;
    lock(tx, &sessions).await?;
    dead_letter::discard(tx, keys, why).await?;
    go_on(tx, &sessions, now).await
}

/// Makes dead letters again of at most `most` redriven messages, of `function` or of all, of which no copy
/// was sent yet. Returns how many, and what follows from it.
pub(crate) async fn undo(
    tx: &mut PgConnection,
    function: Option<&str>,
    most: i64,
    now: DateTime<Utc>,
) -> Result<(usize, Vec<Promised>), sqlx::Error> {
    let risen = dead_letter::risen(tx, function, most).await?;
    let keys: Vec<JobKey> = risen.iter().map(|risen| risen.key).collect();
    let sessions = risen.into_iter().filter_map(|risen| {
        Some(SessionOf {
            function: risen.function,
            session_id: risen.session_id?,
        })
    });
    let sessions: BTreeSet<SessionOf> = sessions.collect();
    let sessions: Vec<SessionOf> = sessions.into_iter().collect();
    lock(tx, &sessions).await?;
    let undone = dead_letter::undo_redrive(tx, &keys).await?;
    let promised = go_on(tx, &sessions, now).await?;
    Ok((usize::try_from(undone).unwrap_or(usize::MAX), promised))
}

/// Each function with its sessions among `sessions`.
fn by_function(sessions: &[SessionOf]) -> BTreeMap<&str, Vec<&str>> {
    let mut by_function: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for SessionOf {
        function,
        session_id,
    } in sessions
    {
        by_function.entry(function).or_default().push(session_id);
    }
    by_function
}

async fn lock(tx: &mut PgConnection, sessions: &[SessionOf]) -> Result<(), sqlx::Error> {
    for (function, sessions) in by_function(sessions) {
        open_message::lock_sessions(tx, function, &sessions).await?;
    }
    Ok(())
}

/// Makes it the turn of the next message of each of `sessions`.
async fn go_on(
    tx: &mut PgConnection,
    sessions: &[SessionOf],
    now: DateTime<Utc>,
) -> Result<Vec<Promised>, sqlx::Error> {
    let mut ids = Ids::random();
    let mut promised = Vec::new();
    for (function, sessions) in by_function(sessions) {
        let next = open_message::wake_next(tx, function, &sessions).await?;
        promised.extend(next.into_iter().map(|row| copy_of(row, ids.next(now))));
    }
    if !promised.is_empty() {
        outbox::promise(tx, &promised).await?;
    }
    Ok(promised)
}
