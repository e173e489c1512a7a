//! Reading boards over HTTP: the same from Redis and from the database, whatever of both is there.

use bytes::Bytes;
use hyper::{Request, Response};
use nightshift_cache::board::Boards;
use nightshift_handler::{Outbox, Registry};
use nightshift_leaderboard_rollup::Read;
use nightshift_time::SystemClock;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;

use super::shown::{Shown, boards_at};
use super::*;
use crate::boards::Kind;

/// How many play.
const USERS: u128 = 150;

/// Who reads: with Redis, and without.
fn reader(bench: &Workbench, boards: Option<Boards>) -> Registry {
    bench.another_process(|registry| registry.with_http(Read::new(boards)))
}

async fn send(app: &Registry, path: &str, known: Option<&str>) -> Response<Bytes> {
    let mut request = Request::builder().uri(format!("/api/leaderboards{path}"));
    if let Some(known) = known {
        request = request.header("if-none-match", known);
    }
    let request = request.body(Bytes::new()).unwrap();
    app.respond(request).await.expect("a route")
}

/// The answer, and whether it is one.
async fn get(app: &Registry, path: &str) -> (u16, Value) {
    let response = send(app, path, None).await;
    let body = serde_json::from_slice(response.body()).unwrap();
    (response.status().as_u16(), body)
}

async fn ok(app: &Registry, path: &str) -> Value {
    let (status, body) = get(app, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn refused(app: &Registry, path: &str, status: u16) -> String {
    let (found, body) = get(app, path).await;
    assert_eq!(found, status, "{path}: {body}");
    assert_eq!(body["status"], status);
    body["detail"].as_str().unwrap().to_owned()
}

/// Events of a week, with many equal scores, some in the same second.
async fn play(pool: &PgPool, events: usize) {
    let mut random = StdRng::seed_from_u64(7);
    for _ in 0..events {
        let user = random.random_range(1..=USERS);
        let (day, minute) = (random.random_range(16..=18), random.random_range(0..10));
        let score = random.random_range(-2..6);
        let at = format!("2026-11-{day}T09:{minute:02}:00.5Z");
        insert(pool, user, "points", score, &at).await;
    }
}

/// Without what the one knows and the other need not: when it was read, dense ranks, and the seconds of
/// windows that are too long to keep them.
fn bare(mut page: Value, path: &str) -> Value {
    page["as_of"].take();
    for entry in page["entries"].as_array_mut().unwrap() {
        let entry = entry.as_object_mut().unwrap();
        entry.remove("dense_rank");
        if path.contains("all-time") {
            entry.remove("achieved_at");
        }
    }
    page
}

#[tokio::test]
async fn redis_and_the_database_give_the_same_answers() {
    same_answers(Kind::Found).await;
}

#[tokio::test]
async fn redis_6_2_and_the_database_give_the_same_answers() {
    same_answers(Kind::Six).await;
}

#[tokio::test]
async fn a_cluster_and_the_database_give_the_same_answers() {
    same_answers(Kind::Cluster).await;
}

async fn same_answers(kind: Kind) {
    let shown = Shown::on(kind).await;
    let (pool, name) = (shown.bench.pool(), &shown.name);
    play(pool, 1_200).await;
    count(&shown.bench).await;
    let with = reader(&shown.bench, Some(shown.boards.clone()));
    let without = reader(&shown.bench, None);
    let user = Uuid::from_u128(17);
    let some = [3, 5, 8, 13, 21].map(|user| Uuid::from_u128(user).to_string());
    let some = some.join(",");
    for window in [
        "daily/2026-11-18",
        "weekly",
        "weekly/2026-W47",
        "monthly",
        "all-time",
    ] {
        for group in ["", "group=country:DE"] {
            for what in [
                "top?".to_owned(),
                "top?limit=7&".to_owned(),
                "top?limit=1000&".to_owned(),
                format!("rank/{user}?"),
                format!("around/{user}?above=3&below=100&"),
                format!("friends?users={some}&"),
            ] {
                let path = format!("/{name}/{window}/{what}{group}");
                let (from_redis, from_database) =
                    (ok(&with, &path).await, ok(&without, &path).await);
                assert_eq!(
                    bare(from_redis, &path),
                    bare(from_database, &path),
                    "{path}"
                );
            }
        }
    }
    // The database's own ranks.
    let top = ok(&with, &format!("/{name}/weekly/top?limit=1000")).await;
    let expected: Vec<(Uuid, i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT user_id, sum(score)::bigint AS score,
            row_number() OVER (ORDER BY sum(score) DESC, date_trunc('second', max(occurred_at)), user_id DESC),
            rank() OVER (ORDER BY sum(score) DESC), dense_rank() OVER (ORDER BY sum(score) DESC)
        FROM app.score_event GROUP BY user_id ORDER BY 3",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(top["members"], expected.len());
    for (entry, (user, score, position, rank, dense)) in
        top["entries"].as_array().unwrap().iter().zip(&expected)
    {
        assert_eq!(entry["user_id"], user.to_string());
        assert_eq!(
            [
                &entry["score"],
                &entry["position"],
                &entry["rank"],
                &entry["dense_rank"]
            ],
            [score, position, rank, dense]
        );
    }
    let ranked = ok(&with, &format!("/{name}/weekly/rank/{user}?dense=true")).await;
    let place = expected.iter().find(|line| line.0 == user).unwrap();
    assert_eq!(ranked["entries"][0]["dense_rank"], place.4);
    shown.bench.remove().await;
}

#[tokio::test]
async fn those_whom_redis_does_not_hold_are_found_too() {
    let shown = Shown::on(Kind::Found).await;
    let (pool, name) = (shown.bench.pool(), &shown.name);
    pool.execute("UPDATE nightshift.leaderboard SET top = 20")
        .await
        .unwrap();
    for user in 1..=USERS {
        let score = i64::try_from(user).unwrap() * 10;
        insert(pool, user, "points", score, "2026-11-18T09:00:00Z").await;
    }
    count(&shown.bench).await;
    let with = reader(&shown.bench, Some(shown.boards.clone()));
    let held = shown.top("weekly").await.unwrap();
    assert_eq!((held.rows.len(), held.meta.members), (20, 150));
    let top = ok(&with, &format!("/{name}/weekly/top")).await;
    assert_eq!(top["entries"].as_array().unwrap().len(), 100);
    for user in [1, 30, 75, 130] {
        let id = Uuid::from_u128(user);
        let rank = u64::try_from(USERS - user + 1).unwrap();
        let page = ok(&with, &format!("/{name}/weekly/rank/{id}")).await;
        let about = page["entries"][0]["rank_estimate"].as_u64().unwrap();
        assert!(about.abs_diff(rank) <= 2, "{about} and not {rank}");
        let page = ok(&with, &format!("/{name}/weekly/rank/{id}?dense=true")).await;
        assert_eq!(page["entries"][0]["rank"], rank);
        let page = ok(
            &with,
            &format!("/{name}/weekly/around/{id}?above=2&below=2"),
        )
        .await;
        let first = page["entries"][0]["position"].as_u64().unwrap();
        assert_eq!(first, rank.saturating_sub(2).max(1));
    }
    // At the edge of what Redis holds.
    let edge = Uuid::from_u128(USERS - 19);
    let page = ok(&with, &format!("/{name}/weekly/around/{edge}")).await;
    assert_eq!(page["entries"].as_array().unwrap().len(), 11);
    let nobody = Uuid::from_u128(999);
    let why = refused(&with, &format!("/{name}/weekly/rank/{nobody}"), 404).await;
    assert!(why.contains(&nobody.to_string()), "{why}");
    shown.bench.remove().await;
}

#[tokio::test]
async fn closed_windows_are_read_as_they_stand() {
    let shown = Shown::on(Kind::Found).await;
    let (pool, name) = (shown.bench.pool(), &shown.name);
    for (user, score) in [(1, 5), (2, 9), (3, 5), (4, 1)] {
        insert(pool, user, "points", score, "2026-11-18T09:00:00Z").await;
    }
    count(&shown.bench).await;
    let later = "2026-11-26T00:00:00Z".parse().unwrap();
    shown.bench.clock().set(later);
    // It closes once all of the week was counted, and that is known.
    let closed = timeout(PATIENCE, async {
        loop {
            count(&shown.bench).await;
            let open: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT FROM nightshift.leaderboard_window WHERE label = '2026-W47' AND closed_at IS NULL)",
            )
            .fetch_one(pool)
            .await
            .unwrap();
            if !open {
                break;
            }
        }
    });
    closed.await.unwrap();
    // Redis would show it for three minutes more.
    let old = [shown.board("weekly:2026-W47")];
    shown.boards.remove(&old, PATIENCE).await.unwrap();
    for boards in [None, Some(shown.boards.clone())] {
        let app = reader(&shown.bench, boards);
        let page = ok(&app, &format!("/{name}/weekly/2026-W47/top")).await;
        assert_eq!(
            (&page["closed"], &page["members"]),
            (&true.into(), &4.into())
        );
        let places = page["entries"].as_array().unwrap().iter();
        let places: Vec<_> = places
            .map(|entry| {
                [
                    &entry["position"],
                    &entry["rank"],
                    &entry["dense_rank"],
                    &entry["score"],
                ]
                .map(|n| n.as_i64().unwrap())
            })
            .collect();
        assert_eq!(
            places,
            [[1, 1, 1, 9], [2, 2, 2, 5], [3, 2, 2, 5], [4, 4, 3, 1]]
        );
        let user = Uuid::from_u128(4);
        let page = ok(
            &app,
            &format!("/{name}/weekly/2026-W47/around/{user}?above=1"),
        )
        .await;
        assert_eq!(page["entries"].as_array().unwrap().len(), 2);
        let page = ok(
            &app,
            &format!("/{name}/weekly/2026-W47/friends?users={user}"),
        )
        .await;
        assert_eq!(page["entries"][0]["position"], 1);
        // The week after has nobody yet.
        let page = ok(&app, &format!("/{name}/weekly/top")).await;
        assert_eq!(
            (&page["label"], &page["members"]),
            (&"2026-W48".into(), &0.into())
        );
        let page = ok(&app, &format!("/{name}?window=weekly")).await;
        let labels = page["windows"].as_array().unwrap().iter();
        let labels: Vec<_> = labels.map(|window| window["label"].clone()).collect();
        assert_eq!(labels, ["2026-W48", "2026-W47"]);
        assert!(
            page["windows"][1]["closed_at"].is_string()
                && page["windows"][0]["closed_at"].is_null()
        );
    }
    shown.bench.remove().await;
}

#[tokio::test]
async fn what_cannot_be_answered_says_why() {
    let shown = Shown::on(Kind::Found).await;
    let name = &shown.name;
    insert(shown.bench.pool(), 1, "points", 5, "2026-11-18T09:00:00Z").await;
    count(&shown.bench).await;
    let app = reader(&shown.bench, Some(shown.boards.clone()));
    for (path, status, named) in [
        ("/nobody/weekly/top".to_owned(), 404, "\"nobody\""),
        ("/nobody".to_owned(), 404, "\"nobody\""),
        (format!("/{name}/season/top"), 404, "no season windows"),
        (format!("/{name}/weekly/2020-W01/top"), 404, "2020-W01"),
        (format!("/{name}/weekly/top?group=team:red"), 404, "team"),
        (format!("/{name}/weekly/rank/me"), 400, "\"me\""),
        (format!("/{name}/weekly/top?limit=-1"), 400, "limit"),
        (format!("/{name}/weekly"), 404, "/weekly"),
    ] {
        let why = refused(&app, &path, status).await;
        assert!(why.contains(named), "{path}: {why}");
    }
    // A group that nobody is in is empty, not unknown.
    let page = ok(&app, &format!("/{name}/weekly/top?group=country:FR")).await;
    assert_eq!(page["members"], 0);
    let listed = ok(&app, "").await;
    assert_eq!(listed["boards"][0]["name"], *name);
    // With the database away Redis goes on, and what it does not have is a 503.
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_secs(1))
        .connect_lazy("postgres://nobody@127.0.0.1:1/nothing")
        .unwrap();
    let clock = SystemClock::shared();
    let outbox = Outbox::left_to_others(pool.clone(), clock.clone());
    let cut = Registry::new(pool, outbox, clock);
    let cut = cut
        .with_http(Read::new(Some(shown.boards.clone())))
        .unwrap();
    assert_eq!(ok(&cut, &format!("/{name}/weekly/top")).await["members"], 1);
    let why = refused(&cut, &format!("/{name}/weekly/2020-W01/top"), 503).await;
    assert!(
        why.contains("database cannot be used") && !why.contains("nobody"),
        "{why}"
    );
    shown.bench.remove().await;
}

#[tokio::test]
async fn without_redis_the_database_answers_and_a_second_later_what_is_new() {
    let shown = Shown::on(Kind::Found).await;
    let (pool, name) = (shown.bench.pool(), &shown.name);
    insert(pool, 1, "points", 5, "2026-11-18T09:00:00Z").await;
    count(&shown.bench).await;
    let nowhere = boards_at("redis://127.0.0.1:1");
    for boards in [Some(nowhere), Some(shown.boards.clone())] {
        let app = reader(&shown.bench, boards);
        let path = format!("/{name}/weekly/top");
        let first = send(&app, &path, None).await;
        assert_eq!(first.status(), 200);
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        let again = send(&app, &path, Some(&tag)).await;
        assert_eq!((again.status().as_u16(), again.body().len()), (304, 0));
        assert_eq!(again.headers()["etag"], *tag);
        insert(pool, 1, "points", 1, "2026-11-18T09:00:00Z").await;
        count(&shown.bench).await;
        let changed = timeout(PATIENCE, async {
            loop {
                let next = send(&app, &path, Some(&tag)).await;
                if next.status() == 200 {
                    break next;
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        let changed: Value = serde_json::from_slice(changed.await.unwrap().body()).unwrap();
        let before: Value = serde_json::from_slice(first.body()).unwrap();
        let score = |page: &Value| page["entries"][0]["score"].as_i64().unwrap();
        assert_eq!(score(&changed), score(&before) + 1);
    }
    shown.bench.remove().await;
}

#[tokio::test]
async fn a_database_that_is_too_slow_is_told_from_one_that_is_away() {
    let shown = Shown::on(Kind::Found).await;
    let (pool, name) = (shown.bench.pool(), &shown.name);
    insert(pool, 1, "points", 5, "2026-11-18T09:00:00Z").await;
    count(&shown.bench).await;
    let app = reader(&shown.bench, None);
    let mut holding = pool.begin().await.unwrap();
    holding
        .execute("LOCK TABLE nightshift.leaderboard_score IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let path = format!("/{name}/weekly/top");
    let why = refused(&app, &path, 503).await;
    assert!(why.contains("needed longer"), "{why}");
    holding.rollback().await.unwrap();
    // Answers of either kind are kept for a second; another process has none.
    let app = reader(&shown.bench, None);
    assert_eq!(ok(&app, &path).await["members"], 1);
    shown.bench.remove().await;
}
