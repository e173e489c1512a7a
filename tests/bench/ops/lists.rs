//! Lists and searches: first pages, and pages deep in the list.

use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::Value;
use sqlx::{Executor, PgPool};
use uuid::Uuid;

use super::client::Client;
use crate::work::Pace;

/// How many requests before those that count are not counted.
const WARM_UP: usize = 50;

/// A deep page comes after so many pages of as many rows as there can be; of a shorter list it is the one
/// in the middle.
const PAGES: usize = 250;

/// A list that has pages.
struct List {
    /// The figures of its first page and of a deep one.
    names: [&'static str; 2],
    what: &'static str,
    /// `DAY` in it is a range of time, `GROUP` the largest group of dead letters.
    path: &'static str,
}

const fn list(names: [&'static str; 2], what: &'static str, path: &'static str) -> List {
    List { names, what, path }
}

const LISTS: &[List] = &[
    list(["runs_ms", "runs_deep_ms"], "runs", "/runs"),
    list(
        ["runs_of_function_ms", "runs_of_function_deep_ms"],
        "runs of a function",
        "/runs?function=mail-digest",
    ),
    list(
        ["runs_by_state_ms", "runs_by_state_deep_ms"],
        "dead runs",
        "/runs?state=dead",
    ),
    list(
        ["runs_open_ms", "runs_open_deep_ms"],
        "runs that are at work",
        "/runs?state=running",
    ),
    list(
        ["runs_by_time_ms", "runs_by_time_deep_ms"],
        "runs of a day",
        "/runs?DAY",
    ),
    list(
        ["runs_by_text_ms", "runs_by_text_deep_ms"],
        "runs with a text that is rare",
        "/runs?text=invoice-12345.csv",
    ),
    list(["messages_ms", "messages_deep_ms"], "messages", "/messages"),
    list(
        ["messages_by_reason_ms", "messages_by_reason_deep_ms"],
        "messages of a function that wait for a reason",
        "/messages?function=notifications-dispatch&reason=closed",
    ),
    list(
        ["letters_ms", "letters_deep_ms"],
        "dead letters",
        "/dead-letters",
    ),
    list(
        ["letters_of_function_ms", "letters_of_function_deep_ms"],
        "dead letters of a function",
        "/dead-letters?function=reports-build",
    ),
    list(
        ["letters_of_group_ms", "letters_of_group_deep_ms"],
        "dead letters of a group",
        "/dead-letters?fingerprint=GROUP",
    ),
    list(
        ["letters_by_time_ms", "letters_by_time_deep_ms"],
        "dead letters of a day",
        "/dead-letters?DAY",
    ),
    list(
        ["letters_by_text_ms", "letters_by_text_deep_ms"],
        "dead letters with a text that is rare",
        "/dead-letters?text=message-12345",
    ),
    list(
        ["audit_ms", "audit_deep_ms"],
        "entries of the audit",
        "/audit",
    ),
    list(
        ["audit_search_ms", "audit_search_deep_ms"],
        "what somebody has done to something",
        "/audit?actor=key:kim&action=dead-letter.edit&target=reports-build",
    ),
    list(
        ["ticks_ms", "ticks_deep_ms"],
        "ticks",
        "/schedules/housekeeping-schedule/ticks",
    ),
    list(
        ["ticks_by_state_ms", "ticks_by_state_deep_ms"],
        "ticks that failed",
        "/schedules/housekeeping-schedule/ticks?state=failed",
    ),
];

/// Questions without pages.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "groups_ms",
        "groups of dead letters",
        "/dead-letters/groups",
    ),
    ("functions_ms", "functions", "/functions"),
    ("schedules_ms", "schedules", "/schedules"),
    ("queues_ms", "queues, of which one is long", "/queues"),
    ("limits_ms", "limits", "/limits"),
];

/// What is no list and no search, and has no bar: it counts the messages that wait, for which there is no index.
const COUNTED: (&str, &str, &str) = (
    "function_ms",
    "one function and how many messages wait for it",
    "/functions/notifications-dispatch",
);

/// Things that are shown one at a time: by turns each of those whose keys the statement finds.
const SHOWN: &[(&str, &str, &str, &str)] = &[
    (
        "run_ms",
        "one run",
        "/runs/",
        "SELECT md5('run' || n)::uuid FROM generate_series(100, (SELECT count(*) FROM nightshift.run), 997) AS n",
    ),
    (
        "message_ms",
        "one message that is done",
        "/messages/",
        "SELECT key FROM generate_series(0, 13) AS day, LATERAL (
            SELECT key FROM nightshift.inbox WHERE enqueued_day = current_date - day LIMIT 20) AS done",
    ),
    (
        "letter_ms",
        "one dead letter",
        "/dead-letters/",
        "SELECT key FROM nightshift.dead_letter WHERE sequence_number % 97 = 0",
    ),
];

/// Something to ask, by turns with each of the paths.
#[derive(Debug)]
pub(super) struct Question {
    name: &'static str,
    what: String,
    paths: Vec<String>,
    has_bar: bool,
}

/// How long the answers to a question took.
#[derive(Debug)]
pub(super) struct Asked {
    /// The name of its figure.
    pub(super) name: &'static str,
    /// What was asked for.
    pub(super) what: String,
    pub(super) pace: Pace,
    has_bar: bool,
}

/// Of those that have a bar the one whose answers are the slowest.
pub(super) fn slowest(asked: &[Asked]) -> Option<&Asked> {
    let slower = |one: &&Asked, other: &&Asked| one.pace.p99_ms.total_cmp(&other.pace.p99_ms);
    asked.iter().filter(|asked| asked.has_bar).max_by(slower)
}

/// All there is to ask of this database.
pub(super) async fn questions(client: &mut Client, pool: &PgPool) -> anyhow::Result<Vec<Question>> {
    let day: String = sqlx::query_scalar(
        "SELECT to_char(current_date - 9, '\"from=\"YYYY-MM-DD\"T00:00:00Z\"')
             || to_char(current_date - 8, '\"&to=\"YYYY-MM-DD\"T00:00:00Z\"')",
    )
    .fetch_one(pool)
    .await?;
    let groups: Value = serde_json::from_slice(&client.get("/dead-letters/groups").await?)?;
    let largest = groups["items"][0]["fingerprint"].as_str();
    let largest = largest.context("nothing is dead")?;
    let mut questions = Vec::new();
    for List { names, what, path } in LISTS {
        let path = path.replace("DAY", &day).replace("GROUP", largest);
        let [first, deep] = *names;
        let question = |name, what, path| Question {
            name,
            what,
            paths: vec![path],
            has_bar: true,
        };
        if let Some((pages, path)) = deep_in(client, &path).await? {
            let what = format!("{what}, {pages} pages down");
            questions.push(question(deep, what, path));
        }
        questions.push(question(first, (*what).to_owned(), path));
    }
    let others = OTHERS.iter().map(|other| (other, true));
    for ((name, what, path), has_bar) in others.chain([(&COUNTED, false)]) {
        questions.push(Question {
            name,
            what: (*what).to_owned(),
            paths: vec![(*path).to_owned()],
            has_bar,
        });
    }
    for (name, what, path, keys) in SHOWN {
        let keys: Vec<Uuid> = sqlx::query_scalar(*keys).fetch_all(pool).await?;
        ensure!(!keys.is_empty(), "there is nothing at {path}");
        let paths = keys.iter().map(|key| format!("{path}{}", key.simple()));
        questions.push(Question {
            name,
            what: (*what).to_owned(),
            paths: paths.collect(),
            has_bar: true,
        });
    }
    Ok(questions)
}

/// A page deep in the list at `path`, and after how many others it comes; `None` if the list is one page.
async fn deep_in(client: &mut Client, path: &str) -> anyhow::Result<Option<(usize, String)>> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let after = |cursor: &String| format!("{path}{separator}cursor={cursor}");
    let mut cursors: Vec<String> = Vec::new();
    while cursors.len() < PAGES {
        let path = cursors.last().map_or_else(
            || format!("{path}{separator}limit=200"),
            |last| format!("{}&limit=200", after(last)),
        );
        let page: Value = serde_json::from_slice(&client.get(&path).await?)?;
        let Some(next) = page["next"].as_str() else {
            let middle = cursors.len() / 2;
            return Ok(cursors
                .get(middle)
                .map(|cursor| (middle + 1, after(cursor))));
        };
        cursors.push(next.to_owned());
    }
    Ok(cursors.last().map(|cursor| (PAGES, after(cursor))))
}

/// Asks all questions, one request at a time, each so many times.
pub(super) async fn measure(
    client: &mut Client,
    questions: &[Question],
    requests: usize,
) -> anyhow::Result<Vec<Asked>> {
    let mut asked = Vec::with_capacity(questions.len());
    for Question {
        name,
        what,
        paths,
        has_bar,
    } in questions
    {
        let mut took_ms = Vec::with_capacity(requests);
        for (n, path) in paths.iter().cycle().take(WARM_UP + requests).enumerate() {
            let began = Instant::now();
            client.get(path).await?;
            if n >= WARM_UP {
                took_ms.push(milliseconds(began));
            }
        }
        asked.push(Asked {
            name,
            what: what.clone(),
            pace: Pace::of(took_ms),
            has_bar: *has_bar,
        });
    }
    Ok(asked)
}

/// The handler's readiness probe, which does nothing: what a request alone costs.
pub(super) async fn bare(client: &mut Client, requests: usize) -> anyhow::Result<Pace> {
    let mut took_ms = Vec::with_capacity(requests);
    for _ in 0..requests {
        let began = Instant::now();
        client.bare("/").await?;
        took_ms.push(milliseconds(began));
    }
    Ok(Pace::of(took_ms))
}

/// A transaction as each answer needs one, with a statement that does nothing.
pub(super) async fn select(pool: &PgPool, requests: usize) -> anyhow::Result<Pace> {
    let mut connection = pool.acquire().await?;
    let mut took_ms = Vec::with_capacity(requests);
    for _ in 0..requests {
        let began = Instant::now();
        connection.execute("BEGIN READ ONLY").await?;
        sqlx::query("SELECT 1").execute(&mut *connection).await?;
        connection.execute("ROLLBACK").await?;
        took_ms.push(milliseconds(began));
    }
    Ok(Pace::of(took_ms))
}

fn milliseconds(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1_000.0
}
