//! The sample application's board of the week, as Redis shows it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use nightshift_bus::{Message, Sender};
use nightshift_cache::RedisSettings;
use nightshift_cache::board::{Board, Boards, Run, Standings};
use nightshift_settings::{MapSource, Reader};
use serde::Serialize;
use serde_json::json;
use sqlx::postgres::PgConnection;

use super::scores::Added;
use crate::commands::settings::REDIS;

/// The queue of the job that counts.
pub(super) const QUEUE: &str = "leaderboard-rollup";

/// The board that is shown (`sample/leaderboards.sql`), and its source.
const NAME: &str = "global";
const SOURCE: &str = "scores";
const KEY: &str = "leaderboard:global:weekly";

/// How many of the best are shown.
pub(super) const BEST: u32 = 5;

/// How long it may take until scores are counted and shown.
const PATIENCE: Duration = Duration::from_secs(45);

/// How often a count is asked for: one does not take what another transaction holds up, and the schedule asks
/// only each minute.
const AGAIN: Duration = Duration::from_secs(1);

/// How often it is looked.
const POLL: Duration = Duration::from_millis(20);

/// The best of a board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Leaderboard {
    /// Its key in Redis.
    pub(super) key: &'static str,
    /// Its window, such as `2026-W47`.
    pub(super) window: String,
    /// How many are on it.
    pub(super) players: u64,
    pub(super) best: Vec<Place>,
}

/// One of the best.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Place {
    pub(super) rank: u64,
    pub(super) user_id: String,
    pub(super) name: String,
    pub(super) score: i64,
}

impl Leaderboard {
    /// What it is, before its lines.
    pub(super) fn title(&self) -> String {
        let Self {
            key,
            window,
            players,
            ..
        } = self;
        format!("{key} of {window}, the best of {players}:")
    }

    /// How many more points `place` has than on `before`, if that is the same board and had it among the best.
    fn gain(&self, place: &Place, before: Option<&Self>) -> Option<i64> {
        let before = before.filter(|before| before.window == self.window)?;
        let mut places = before.best.iter();
        let then = places.find(|then| then.user_id == place.user_id)?;
        Some(place.score - then.score)
    }

    /// A line for each of the best, with what has changed since `before`; `indent` before each.
    pub(super) fn lines(&self, indent: &str, before: Option<&Self>) -> String {
        let scores: Vec<String> = self.best.iter().map(|place| grouped(place.score)).collect();
        let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
        let name = longest(&mut self.best.iter().map(|place| place.name.chars().count()));
        let width = longest(&mut scores.iter().map(String::len));
        let mut text = String::new();
        for (place, score) in self.best.iter().zip(scores) {
            let Place {
                rank, name: who, ..
            } = place;
            // Writing to a String cannot fail.
            let _ = write!(text, "{indent}{rank}  {who:name$}  {score:>width$}");
            let _ = match (before, self.gain(place, before)) {
                (None, _) | (_, Some(0)) => Ok(()),
                (_, Some(gain)) if gain > 0 => write!(text, "  +{}", grouped(gain)),
                (_, Some(loss)) => write!(text, "  {}", grouped(loss)),
                (_, None) => write!(text, "  new"),
            };
            text.push('\n');
        }
        text
    }
}

/// A number with commas between its thousands.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    if number < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Where the board is shown.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    boards: Boards,
    board: Board,
}

impl Shown {
    /// In the Redis at `url`; it is connected to when it is first asked.
    pub(super) fn at(url: &str) -> anyhow::Result<Self> {
        let source: MapSource = [(REDIS, url)].into_iter().collect();
        let mut reader = Reader::new(&source);
        let settings = RedisSettings::read(&mut reader);
        reader.finish(&[])?;
        let settings = settings.with_context(|| format!("{REDIS} is empty"))?;
        Ok(Self {
            boards: Boards::connect_lazy(settings),
            board: Board::new(KEY)?,
        })
    }

    /// The best, with their names; `None` while Redis has no board.
    pub(super) async fn best(
        &self,
        database: &mut PgConnection,
    ) -> anyhow::Result<Option<Leaderboard>> {
        match self.standings().await? {
            Some(standings) => named(standings, database).await.map(Some),
            None => Ok(None),
        }
    }

    async fn standings(&self) -> anyhow::Result<Option<Standings>> {
        let standings = self.boards.top(&self.board, BEST).await;
        standings.with_context(|| format!("cannot read {KEY}"))
    }
}

async fn named(standings: Standings, database: &mut PgConnection) -> anyhow::Result<Leaderboard> {
    let members: Vec<&str> = standings
        .rows
        .iter()
        .map(|row| row.member.as_str())
        .collect();
    let names: HashMap<String, String> = sqlx::query_as::<_, (String, String)>(
        "select id::text, display_name from app.users where id::text = any($1)",
    )
    .bind(members)
    .fetch_all(database)
    .await
    .context("cannot read the names in app.users")?
    .into_iter()
    .collect();
    let places = standings.rows.into_iter().map(|row| Place {
        rank: row.rank,
        name: names.get(&row.member).unwrap_or(&row.member).clone(),
        user_id: row.member,
        score: row.score.score,
    });
    Ok(Leaderboard {
        key: KEY,
        window: standings.meta.window,
        players: standings.meta.members,
        best: places.collect(),
    })
}

/// Has what was `added` counted, and waits until the board shows it. `None`: the user has declared that
/// there is no such board. `run` makes the message ids this round's own.
pub(super) async fn count(
    rollup: &Sender,
    database: &mut PgConnection,
    shown: &Shown,
    added: Added,
    run: &str,
) -> anyhow::Result<Option<Leaderboard>> {
    if !is_declared(database).await? {
        return Ok(None);
    }
    let deadline = Instant::now() + PATIENCE;
    let mut asked: Option<Instant> = None;
    let mut number = 0_u32;
    loop {
        if asked.is_none_or(|asked| asked.elapsed() >= AGAIN) {
            number += 1;
            let due = due(added, format!("sample-{run}-count-{number}"));
            rollup.send_message(due).await.context("cannot send")?;
            asked = Some(Instant::now());
        }
        let why = match look(database, shown, added).await {
            Ok(board) => return Ok(Some(board)),
            Err(why) => why,
        };
        if Instant::now() >= deadline {
            let waited = PATIENCE.as_secs();
            return Err(why.context(format!(
                "after {waited} s {KEY} does not show the sample scores"
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn is_declared(database: &mut PgConnection) -> anyhow::Result<bool> {
    let is_declared = sqlx::query_scalar(
        "select exists (select from nightshift.leaderboard \
         where name = $1 and source = $2 and enabled and 'weekly' = any(windows))",
    )
    .bind(NAME)
    .bind(SOURCE)
    .fetch_one(database)
    .await;
    is_declared.context("cannot read nightshift.leaderboard")
}

/// The message by which `leaderboard-rollup` counts at once.
fn due(added: Added, id: String) -> Message {
    let body = json!({
        "schema_version": 1,
        "due": added.at.to_rfc3339(),
        "source": SOURCE,
        "task": "count",
    });
    Message::new(Bytes::from(body.to_string()))
        .with_message_id(id)
        .with_content_type("application/json")
}

/// The board, if what was `added` is counted and Redis shows just that count. Says why not otherwise.
async fn look(
    database: &mut PgConnection,
    shown: &Shown,
    added: Added,
) -> anyhow::Result<Leaderboard> {
    let watermark: Option<i64> = sqlx::query_scalar(
        "select watermark::text::bigint from nightshift.leaderboard_progress where source = $1",
    )
    .bind(SOURCE)
    .fetch_optional(&mut *database)
    .await
    .context("cannot read nightshift.leaderboard_progress")?
    .flatten();
    match watermark {
        None => bail!("source {SOURCE} was never counted"),
        Some(watermark) if watermark <= added.xid => bail!(
            "source {SOURCE} is counted up to transaction {watermark}, and they are of {}; a transaction that stays \
             open anywhere on the database server (pg_stat_activity) holds that up",
            added.xid
        ),
        Some(_) => {}
    }
    let standings = shown.standings().await?;
    let standings =
        standings.ok_or_else(|| anyhow!("they are counted; Redis has no such board"))?;
    let (Run(run), window) = (standings.meta.run, &standings.meta.window);
    let counted: Option<i64> = sqlx::query_scalar(
        "select w.changed_run from nightshift.leaderboard_window as w \
         join nightshift.leaderboard as b on b.id = w.board \
         where b.name = $1 and w.kind = 'weekly' and w.label = $2 and w.group_name = ''",
    )
    .bind(NAME)
    .bind(window)
    .fetch_optional(&mut *database)
    .await
    .context("cannot read nightshift.leaderboard_window")?;
    if counted != Some(run) {
        let counted = counted.map_or("none".to_owned(), |count| format!("count {count}"));
        bail!(
            "Redis shows count {run} of {window}, and the database has {counted} of it; if that stays so, another \
             database's job shows its boards in the same Redis"
        );
    }
    named(standings, database).await
}

#[cfg(test)]
mod tests {
    use nightshift_contract::{LeaderboardRollupDue, RollupTask, decode};
    use sqlx::types::chrono::DateTime;

    use super::*;

    fn board(window: &str, scores: &[(&str, i64)]) -> Leaderboard {
        let places = (1..).zip(scores).map(|(rank, (name, score))| Place {
            rank,
            user_id: format!("id of {name}"),
            name: (*name).to_owned(),
            score: *score,
        });
        Leaderboard {
            key: KEY,
            window: window.to_owned(),
            players: 40,
            best: places.collect(),
        }
    }

    #[test]
    fn the_job_reads_the_message() {
        let added = Added {
            xid: 7,
            at: DateTime::UNIX_EPOCH,
        };
        let message = due(added, "id".to_owned());
        let read: LeaderboardRollupDue = decode(&message.body, 1 << 10).unwrap();
        assert_eq!(
            (read.source.as_deref(), read.task),
            (Some(SOURCE), RollupTask::Count)
        );
    }

    #[test]
    fn lines_say_what_has_changed_since() {
        let before = board("2026-W47", &[("Ada", 1_200), ("Bo", 90), ("Cy", 50)]);
        assert_eq!(
            before.lines("", None),
            "1  Ada  1,200\n2  Bo      90\n3  Cy      50\n"
        );
        let after = board("2026-W47", &[("Ada", 1_200), ("Dee", 1_100), ("Bo", 40)]);
        assert_eq!(
            after.lines("  ", Some(&before)),
            "  1  Ada  1,200\n  2  Dee  1,100  new\n  3  Bo      40  -50\n"
        );
        let gained = board("2026-W47", &[("Ada", 3_200)]);
        assert_eq!(gained.lines("", Some(&before)), "1  Ada  3,200  +2,000\n");
        // Another week is not compared.
        let next = board("2026-W48", &[("Ada", 10)]);
        assert_eq!(next.lines("", Some(&before)), "1  Ada  10  new\n");
    }

    #[test]
    fn thousands_are_grouped() {
        let numbers = [0, 999, 1_000, 1_234_567, -12_345, i64::MIN];
        assert_eq!(
            numbers.map(grouped),
            [
                "0",
                "999",
                "1,000",
                "1,234,567",
                "-12,345",
                "-9,223,372,036,854,775,808"
            ]
        );
    }
}
