//! Boards: how fast a million members are published, against what the server can take at all.
//!
//! The limit is `redis-benchmark` from beside the server, which sends the same members as single commands,
//! a hundred at a time on each of fifty connections. A publication has one connection; its commands have a
//! thousand members each, in any order of scores.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::{Stream, stream};
use nightshift_cache::RedisSettings;
use nightshift_cache::board::{
    Board, Boards, Changed, Changes, Composite, Encoding, Expiry, Extras, Meta, Order, Publication,
    Published, Rows, Run,
};
use nightshift_cli::servers::{Redis, RedisVersion};
use nightshift_settings::{MapSource, Reader};

use crate::process::rate;
use crate::report::{Bar, Section};

/// How many members the board has.
const MEMBERS: usize = 1_000_000;

/// Has no divisor in common with [`MEMBERS`], so that its multiples are all numbers below it in another order.
const STRIDE: usize = 514_229;

/// How often each is measured. The middle one counts.
const RUNS: usize = 3;

/// How often changes are published, and the best are read.
const TIMES: usize = 50;

const DEADLINE: Duration = Duration::from_secs(30);

const EXPIRY: Expiry = Expiry {
    board: Duration::from_hours(1),
    top: Duration::from_mins(1),
};

/// A server with one board.
struct Bench {
    server: Redis,
    boards: Boards,
    board: Board,
    encoding: Encoding,
}

/// How fast a board is published, changed and read.
pub(crate) async fn measure() -> anyhow::Result<Section> {
    let mut section = Section::new("boards", format!("A board of {MEMBERS} members in Redis"));
    let folder = tempfile::tempdir()?;
    let server = Redis::start(RedisVersion::Found, folder.path()).await?;
    let url = server.url();
    let source: MapSource = [(RedisSettings::URL, url.as_str())].into_iter().collect();
    let settings = RedisSettings::read(&mut Reader::new(&source)).context("no settings")?;
    let bench = Bench {
        server,
        boards: Boards::connect_lazy(settings),
        board: Board::new("leaderboard:bench")?,
        encoding: Encoding::plain(Order::HighestFirst),
    };
    let (mut limits, mut published) = (Vec::new(), Vec::new());
    // One after the other, so that both meet the same machine.
    for _ in 0..RUNS {
        bench.flush().await?;
        limits.push(bench.limit().await?);
        bench.flush().await?;
        published.push(bench.publish(Run(1)).await?);
    }
    let (limit, published) = (middle(limits), middle(published));
    let again = bench.publish(Run(2)).await?;
    let label = "published in full, on one connection";
    section.tell("members_per_second", published, "members/s", label);
    let label = "redis-benchmark, ZADD, 100 at a time";
    section.tell("benchmark_per_second", limit, "members/s", label);
    let ratio = published / limit;
    let bar = Bar::AtLeast(0.7);
    section.hold("ratio_to_benchmark", ratio, "", "of redis-benchmark", bar);
    let label = "published in full over the one before";
    section.tell("again_per_second", again, "members/s", label);
    let label = format!("{} changes, until they are shown", Changes::MOST);
    section.tell("changes_ms", bench.change().await?, "ms", label);
    section.tell("top_ms", bench.top().await?, "ms", "the best 100");
    Ok(section)
}

impl Bench {
    /// Empties the server.
    async fn flush(&self) -> anyhow::Result<()> {
        let client = redis::Client::open(self.server.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut flush = redis::cmd("FLUSHALL");
        let () = flush.arg("SYNC").query_async(&mut connection).await?;
        Ok(())
    }

    /// Members per second, as many as the server can take.
    async fn limit(&self) -> anyhow::Result<f64> {
        let mut command = self.server.tool("redis-benchmark")?;
        let port = self.server.port().to_string();
        let members = MEMBERS.to_string();
        command
            .args(["-h", "127.0.0.1", "-p", &port, "-a", self.server.password()])
            .args(["-n", &members, "-r", &members, "-P", "100", "--csv"])
            .args(["zadd", "bench", "__rand_int__", "element:__rand_int__"]);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "redis-benchmark failed: {errors}");
        rate_in(&text).with_context(|| format!("redis-benchmark printed no rate: {text}"))
    }

    /// Members per second of a full publication.
    async fn publish(&self, run: Run) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let meta = self.meta(run);
        let publication = self.publication(&meta);
        let rows = chunks(self.encoding);
        let published = self.boards.publish_all(publication, rows, DEADLINE).await?;
        let elapsed = begun.elapsed();
        let size = MEMBERS as u64;
        ensure!(published == Published::Published { size }, "{published:?}");
        Ok(rate(MEMBERS, elapsed))
    }

    /// Milliseconds for as many changes as are published at once; the board is at run 2.
    async fn change(&self) -> anyhow::Result<f64> {
        let mut took_ms = Vec::with_capacity(TIMES);
        for (previous, turn) in (2..).zip(0..TIMES) {
            let mut changes = Changes::default();
            for index in 0..Changes::MOST {
                let (member, _) = member(index + turn * Changes::MOST);
                changes.set(&member, composite(self.encoding, index)?);
            }
            let meta = self.meta(Run(previous + 1));
            let publication = self.publication(&meta);
            let begun = Instant::now();
            let end = self
                .boards
                .publish_changes(publication, Run(previous), &changes, None, DEADLINE)
                .await?;
            took_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
            let size = MEMBERS as u64;
            ensure!(end == Changed::Published { size }, "{end:?}");
        }
        Ok(middle(took_ms))
    }

    /// Milliseconds until the best are there.
    async fn top(&self) -> anyhow::Result<f64> {
        let mut took_ms = Vec::with_capacity(TIMES);
        for _ in 0..TIMES {
            let begun = Instant::now();
            let top = self.boards.top(&self.board, 100).await?;
            took_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
            ensure!(top.is_some_and(|top| top.rows.len() == 100), "no board");
        }
        Ok(middle(took_ms))
    }

    fn meta(&self, run: Run) -> Meta {
        Meta {
            run,
            window: "bench".to_owned(),
            encoding: self.encoding,
            members: MEMBERS as u64,
            published_ms: 0,
        }
    }

    fn publication<'a>(&'a self, meta: &'a Meta) -> Publication<'a> {
        Publication {
            board: &self.board,
            meta,
            extras: Extras::default(),
            expiry: EXPIRY,
        }
    }
}

/// All members, made when they are asked for.
fn chunks(encoding: Encoding) -> impl Stream<Item = anyhow::Result<Rows>> {
    let starts = (0..MEMBERS).step_by(Rows::CHUNK);
    stream::iter(starts.map(move |start| {
        let mut rows = Rows::for_chunk();
        for index in start..MEMBERS.min(start + Rows::CHUNK) {
            let (member, score) = member(index);
            rows.push(&member, composite(encoding, score)?);
        }
        Ok(rows)
    }))
}

/// The member number `index`, named as `redis-benchmark` names them, and its score.
fn member(index: usize) -> (String, usize) {
    let number = index * STRIDE % MEMBERS;
    (format!("element:{number:012}"), number * STRIDE % MEMBERS)
}

fn composite(encoding: Encoding, score: usize) -> anyhow::Result<Composite> {
    Ok(encoding.encode(i64::try_from(score)?, 0)?)
}

/// The rate in `"zadd …","692041.50",…`, which some versions print below a line of names.
fn rate_in(text: &str) -> Option<f64> {
    let mut rates = text
        .lines()
        .filter_map(|line| line.split('"').nth(3)?.parse().ok());
    rates.next_back()
}

fn middle(mut measured: Vec<f64>) -> f64 {
    measured.sort_by(f64::total_cmp);
    measured[measured.len() / 2]
}
