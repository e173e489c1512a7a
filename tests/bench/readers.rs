//! Readers of a board: how many requests for the best hundred the handler answers in a second.
//!
//! The handler is the real one, with Redis and a database; requests come to it as the host forwards them, on
//! connections that are kept. What answers them is kept for a second, then asked for anew.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::stream;
use nightshift_cache::RedisSettings;
use nightshift_cache::board::{
    Board, Boards, Encoding, Expiry, Extras, Meta, Order, Publication, Published, Rows, Run,
};
use nightshift_cli::servers::{Postgres, PostgresOptions, Redis, RedisVersion};
use nightshift_settings::{MapSource, Reader};
use nightshift_tests::resident_bytes;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::host::{listening, load};
use crate::process::{BrokerProcess, Process, mebibytes};
use crate::report::{Bar, Section};
use crate::work::start;

/// How many are on the board.
const MEMBERS: usize = 200_000;

/// How often it is measured. The middle one counts.
const RUNS: usize = 5;

const DEADLINE: Duration = Duration::from_secs(30);

const TOP: &str = "/api/leaderboards/global/weekly/top";

/// How fast a board is read.
pub(crate) async fn measure() -> anyhow::Result<Section> {
    let title = format!("Readers of the best 100 of {MEMBERS}, each asking again and again");
    let mut section = Section::new("readers", title);
    let folder = tempfile::tempdir()?;
    let options = PostgresOptions {
        data_dir: folder.path().join("data"),
        durable: false,
        port: None,
    };
    let postgres = Postgres::start(options).await?;
    let mut connection = PgConnection::connect(&postgres.url()).await?;
    nightshift_postgres::migrate(&mut connection).await?;
    connection.close().await?;
    let redis = Redis::start(RedisVersion::Found, folder.path()).await?;
    publish(&redis.url()).await?;
    let broker = BrokerProcess::start(None)?;
    let (mut handler, address) = start::handler(&postgres.url(), &broker.connection_string)?;
    let handler = handler.env(RedisSettings::URL, redis.url()).spawn()?;
    let handler = Process(handler);
    listening(address).await?;
    let size = load::size(address, TOP).await?;
    let mut rates = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        rates.push(load::rate_of_gets(address, TOP).await?);
    }
    let label = format!("of {size} bytes, {} connections", load::CONNECTIONS);
    let bar = Bar::AtLeast(20_000.0);
    section.hold("per_second", middle(rates), "requests/s", label, bar);
    let one = |path: &str| {
        let path = path.to_owned();
        async move { one_by_one(address, path).await }
    };
    let label = "median of one after the other";
    section.tell("top_p50_us", one(TOP).await?, "µs", label);
    let user = Uuid::from_u128(4_711);
    let around = format!("/api/leaderboards/global/weekly/around/{user}");
    let label = "around somebody, which Redis is asked for";
    section.tell("around_p50_us", one(&around).await?, "µs", label);
    let memory = resident_bytes(handler.0.id()).context("the handler is gone")?;
    let label = "resident, after all of that";
    section.tell("memory_mib", mebibytes(memory), "MiB", label);
    drop(handler);
    postgres.stop().await;
    Ok(section)
}

/// The median in microseconds.
async fn one_by_one(address: SocketAddr, path: String) -> anyhow::Result<f64> {
    let waits = tokio::task::spawn_blocking(move || load::waits_of_gets(address, &path));
    let mut waits = waits.await??;
    waits.sort();
    Ok(waits[waits.len() / 2].as_secs_f64() * 1e6)
}

/// Shows the board as the rollup would, without the best rendered: the handler makes them.
async fn publish(url: &str) -> anyhow::Result<()> {
    let source: MapSource = [(RedisSettings::URL, url)].into_iter().collect();
    let settings = RedisSettings::read(&mut Reader::new(&source)).context("no settings")?;
    let encoding = Encoding::plain(Order::HighestFirst);
    let meta = Meta {
        run: Run(1),
        window: "2026-W47".to_owned(),
        encoding,
        members: MEMBERS as u64,
        published_ms: 0,
    };
    let board = Board::new("leaderboard:global:weekly")?;
    let publication = Publication {
        board: &board,
        meta: &meta,
        extras: Extras::default(),
        expiry: Expiry {
            board: Duration::from_hours(1),
            top: Duration::from_hours(1),
        },
    };
    let starts = (0..MEMBERS).step_by(Rows::CHUNK);
    let rows = starts.map(|start| {
        let mut rows = Rows::for_chunk();
        for index in start..MEMBERS.min(start + Rows::CHUNK) {
            let user = Uuid::from_u128(index as u128).to_string();
            rows.push(&user, encoding.encode(i64::try_from(index)?, 0)?);
        }
        anyhow::Ok(rows)
    });
    let boards = Boards::connect_lazy(settings);
    let shown = boards
        .publish_all(publication, stream::iter(rows), DEADLINE)
        .await?;
    let size = MEMBERS as u64;
    ensure!(shown == Published::Published { size }, "{shown:?}");
    Ok(())
}

fn middle(mut measured: Vec<f64>) -> f64 {
    measured.sort_by(f64::total_cmp);
    measured[measured.len() / 2]
}
