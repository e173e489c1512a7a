//! Boards in Redis: whole and in order, whatever happens to who publishes them, on the Redis that is found,
//! on Redis 6.2 and on a cluster.

mod changes;
mod cluster;
mod failures;
mod publishing;
mod reading;
mod rights;

use std::time::Duration;

use futures_util::stream;
use nightshift_cache::board::{
    Board, Boards, Changed, Changes, Composite, Encoding, Expiry, Extras, Meta, Order, Publication,
    Published, Rows, Run, Touched,
};
use nightshift_cache::{CacheError, RedisSettings};
use nightshift_settings::{Environment, MapSource, Reader, Source};
use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;

/// What one command may take, on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(10);

const EXPIRY: Expiry = Expiry {
    board: Duration::from_mins(10),
    top: Duration::from_mins(1),
};

/// A server of all tests, each of which has boards of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Found,
    Six,
    Cluster,
}

impl Kind {
    pub(crate) fn url(self) -> String {
        let (variable, part) = match self {
            Self::Found => ("NIGHTSHIFT_TEST_REDIS", "redis"),
            Self::Six => ("NIGHTSHIFT_TEST_REDIS_SIX", "redis-six"),
            Self::Cluster => ("NIGHTSHIFT_TEST_REDIS_CLUSTER", "redis-cluster"),
        };
        Environment.get(variable).unwrap_or_else(|| {
            panic!("{variable} is not set: run `make test`, or the test in `nightshift servers exec --with {part}`")
        })
    }
}

/// Runs each test on each server.
macro_rules! everywhere {
    ($($test:ident),+ $(,)?) => {
        crate::boards::everywhere!(@on found Found $($test)+);
        crate::boards::everywhere!(@on six Six $($test)+);
        crate::boards::everywhere!(@on cluster Cluster $($test)+);
    };
    (@on $place:ident $kind:ident $($test:ident)+) => {
        mod $place {
            $(
                #[tokio::test]
                async fn $test() {
                    let kind = crate::boards::Kind::$kind;
                    super::$test(crate::boards::World::new(&kind.url(), stringify!($test)).await).await;
                }
            )+
        }
    };
}
use everywhere;

/// A connection of the test's own, to look and to interfere.
enum Raw {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A server, and a board that nobody else uses.
struct World {
    url: String,
    boards: Boards,
    board: Board,
    raw: Raw,
}

impl World {
    async fn new(url: &str, name: &str) -> Self {
        let raw = if Environment.get("NIGHTSHIFT_TEST_REDIS_CLUSTER").as_deref() == Some(url) {
            let client = ClusterClient::new([url]).unwrap();
            Raw::Cluster(client.get_async_connection().await.unwrap())
        } else {
            Raw::One(crate::cache::connect(url).await)
        };
        Self {
            url: url.to_owned(),
            boards: boards_at(url),
            board: board(name),
            raw,
        }
    }

    /// Asks the server itself.
    async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        match &self.raw {
            Raw::One(connection) => command.query_async(&mut connection.clone()).await.unwrap(),
            Raw::Cluster(connection) => command.query_async(&mut connection.clone()).await.unwrap(),
        }
    }

    /// How long `key` lives, in milliseconds; -2 if it does not exist, -1 if for ever.
    async fn lifetime(&self, key: &str) -> i64 {
        self.ask(&["PTTL", key]).await
    }

    async fn exists(&self, key: &str) -> bool {
        self.lifetime(key).await != -2
    }

    /// The key beside the board with this end.
    fn beside(&self, end: &str) -> String {
        format!("{{{}}}:{end}", self.board.key())
    }

    /// The key to which somebody writes a publication of `run`.
    async fn temporary(&self, run: i64) -> Option<String> {
        let pattern = self.beside(&format!("tmp:{run}:*"));
        let keys: Vec<String> = self.ask(&["KEYS", &pattern]).await;
        keys.into_iter().next()
    }

    /// Publishes exactly `rows` as `run`.
    async fn publish(&self, run: i64, rows: &[(&str, i64)]) -> Published {
        let meta = plain(run, rows.len());
        let publication = self.publication(&meta);
        let published = self
            .boards
            .publish_all(publication, chunks(&owned(rows)), DEADLINE);
        published.await.unwrap()
    }

    fn publication<'a>(&'a self, meta: &'a Meta) -> Publication<'a> {
        Publication {
            board: &self.board,
            meta,
            extras: Extras::default(),
            expiry: EXPIRY,
        }
    }

    async fn change(&self, run: i64, previous: i64, changes: &Changes) -> Changed {
        let meta = plain(run, 0);
        let publication = self.publication(&meta);
        let changed =
            self.boards
                .publish_changes(publication, Run(previous), changes, None, DEADLINE);
        changed.await.unwrap()
    }

    async fn touch(&self, run: i64) -> Touched {
        let touched = self
            .boards
            .touch(&self.board, Run(run), EXPIRY, DEADLINE)
            .await;
        touched.unwrap()
    }

    /// The run that readers see, and the members with their scores, the best first.
    async fn shown(&self) -> Option<(i64, Vec<(String, i64)>)> {
        let standings = self.boards.top(&self.board, 100_000).await.unwrap()?;
        let rows = standings.rows.into_iter();
        let rows = rows.map(|row| (row.member, row.score.score)).collect();
        Some((standings.meta.run.0, rows))
    }
}

pub(crate) fn boards_at(url: &str) -> Boards {
    let source: MapSource = [(RedisSettings::URL, url)].into_iter().collect();
    Boards::connect_lazy(RedisSettings::read(&mut Reader::new(&source)).unwrap())
}

/// A board of this run's own.
fn board(name: &str) -> Board {
    Board::new(format!("leaderboard:test:{name}:{}", std::process::id())).unwrap()
}

fn plain(run: i64, members: usize) -> Meta {
    Meta {
        run: Run(run),
        window: "2026-W47".to_owned(),
        encoding: Encoding::plain(Order::HighestFirst),
        members: members as u64,
        published_ms: 1_763_900_000_000,
    }
}

/// A score on a plain board.
fn points(score: i64) -> Composite {
    let plain = Encoding::plain(Order::HighestFirst);
    plain.encode(score, 0).unwrap()
}

/// `rows` as they are published, in chunks of a thousand.
fn chunks(
    rows: &[(String, i64)],
) -> impl futures_util::Stream<Item = Result<Rows, CacheError>> + use<> {
    let chunks = rows.chunks(Rows::CHUNK).map(|chunk| {
        let mut rows = Rows::for_chunk();
        for (member, score) in chunk {
            rows.push(member, points(*score));
        }
        Ok(rows)
    });
    stream::iter(chunks.collect::<Vec<_>>())
}

fn owned(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    let rows = rows.iter();
    rows.map(|(member, score)| ((*member).to_owned(), *score))
        .collect()
}
