//! The job, plain SQL and a Python script agree to the last row: on every score, and on the ranks of windows that
//! are closed.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::counting::write;
use super::*;

/// How long it is written.
const WRITTEN: Duration = Duration::from_secs(4);

/// A Monday, one day after the clocks went back in Berlin, and a week before they do in New York.
fn after_the_change() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 10, 26, 12, 0, 0).unwrap()
}

/// More boards, of every aggregation and direction.
const MORE: &str = "
    UPDATE nightshift.leaderboard SET groups = '{country}' WHERE name = 'points';
    INSERT INTO nightshift.leaderboard (name, source, selector, aggregation, direction, zone, groups) VALUES
        ('berlin', 'scores', 'laps', 'best', 'ascending', 'Europe/Berlin', '{country}'),
        ('highest', 'scores', 'points', 'best', 'descending', 'Asia/Kathmandu', '{}'),
        ('slowest', 'scores', 'laps', 'worst', 'ascending', 'America/St_Johns', '{country}'),
        ('newest', 'scores', 'points', 'last', 'ascending', 'Europe/Berlin', '{country}'),
        ('losses', 'scores', 'points', 'sum', 'ascending', 'Australia/Lord_Howe', '{}')";

/// A score, and its place if its window is closed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    score: Line,
    position: Option<[i64; 3]>,
}

type Row = (
    String,
    String,
    String,
    String,
    Uuid,
    i64,
    i64,
    i64,
    Option<Vec<i64>>,
);

fn places(rows: Vec<Row>) -> Vec<Place> {
    let place = |row: Row| Place {
        score: (row.0, row.1, row.2, row.3, row.4, row.5, row.6, row.7),
        position: row.8.map(|three| three.try_into().unwrap()),
    };
    let mut places: Vec<Place> = rows.into_iter().map(place).collect();
    places.sort();
    places
}

/// What the job says.
async fn by_the_job(pool: &PgPool) -> Vec<Place> {
    let rows = sqlx::query_as(
        "WITH told AS (
            SELECT board_window, user_id, score, achieved_at, events, ARRAY[position, rank, dense_rank] AS place
            FROM nightshift.leaderboard_final
            UNION ALL SELECT board_window, user_id, score, achieved_at, events, NULL FROM nightshift.leaderboard_score)
        SELECT b.name, w.kind, w.label, w.group_value, t.user_id, t.score,
            (extract(epoch FROM t.achieved_at) * 1000000)::bigint, t.events, t.place
        FROM told AS t JOIN nightshift.leaderboard_window AS w ON w.id = t.board_window
        JOIN nightshift.leaderboard AS b ON b.id = w.board",
    );
    places(rows.fetch_all(pool).await.unwrap())
}

/// What plain SQL says.
async fn by_sql(pool: &PgPool) -> Vec<Place> {
    let sql = concat!(
        "SELECT r.name, kind, label, grp, user_id, score, micros, events, ARRAY[
            row_number() OVER (PARTITION BY r.name, kind, label, grp ORDER BY worth, micros / 1000000,
                CASE WHEN direction = 'descending' THEN user_id END DESC, user_id),
            rank() OVER (PARTITION BY r.name, kind, label, grp ORDER BY worth),
            dense_rank() OVER (PARTITION BY r.name, kind, label, grp ORDER BY worth)]
        FROM (",
        include_str!("recount.sql"),
        ") AS r (name, kind, label, grp, user_id, score, micros, events)
        JOIN nightshift.leaderboard AS b ON b.name = r.name
        CROSS JOIN LATERAL (SELECT CASE direction WHEN 'descending' THEN -score ELSE score END AS worth) AS w"
    );
    places(sqlx::query_as(sql).fetch_all(pool).await.unwrap())
}

/// What Python says.
async fn by_python(pool: &PgPool) -> Vec<Place> {
    let boards: Vec<String> = sqlx::query_scalar(
        "SELECT row_to_json(b)::text FROM nightshift.leaderboard AS b ORDER BY name",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let events: Vec<String> = sqlx::query_scalar(
        "SELECT json_build_object('event_id', event_id, 'user_id', user_id, 'board', board, 'score', score, 'voids', voids,
            'country', country, 'micros', (extract(epoch FROM occurred_at) * 1000000)::bigint)::text
        FROM app.score_event ORDER BY random()",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let lines = [boards.join("\n"), String::new(), events.join("\n")].join("\n");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/leaderboards/recount.py");
    let told = tokio::task::spawn_blocking(move || run(&script, &lines));
    let told = told.await.unwrap();
    let row = |line: &str| {
        let words: Vec<&str> = line.split(',').collect();
        let number = |n: usize| words[n].parse::<i64>().unwrap();
        let text = |n: usize| words[n].to_owned();
        (
            text(0),
            text(1),
            text(2),
            text(3),
            words[4].parse().unwrap(),
            number(5),
            number(6),
            number(7),
            Some((8..11).map(number).collect()),
        )
    };
    places(told.lines().map(row).collect())
}

/// Runs the script, and gives it `lines`.
fn run(script: &Path, lines: &str) -> String {
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3, which README.md asks for, is on the PATH");
    let mut input = python.stdin.take().unwrap();
    let lines = lines.to_owned();
    let given = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "recount.py has failed: {output:?}");
    given.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Each score that the job says is the same by `other`, and so is its place if it has one. Says how many have.
fn agree(job: &[Place], other: &[Place], whose: &str) -> usize {
    let differs = job.iter().zip(other).find(|(job, other)| {
        job.score != other.score || job.position.is_some() && job.position != other.position
    });
    assert_eq!(differs, None, "the job, and {whose}");
    assert_eq!(job.len(), other.len(), "the job, and {whose}");
    job.iter().filter(|place| place.position.is_some()).count()
}

#[tokio::test]
async fn the_job_and_sql_and_python_agree_to_the_last_row_and_rank() {
    let bench = bench(after_the_change()).await;
    let pool = bench.pool();
    pool.execute(MORE).await.unwrap();
    let until = Instant::now() + WRITTEN;
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let seed = rand::random();
        println!("a writer's seed is {seed}");
        writers.spawn(write(pool.clone(), seed, after_the_change(), until));
    }
    while Instant::now() < until {
        ask(&bench, "count").await;
    }
    timeout(PATIENCE, writers.join_all()).await.unwrap();
    count(&bench).await;
    let open = by_the_job(pool).await;
    assert_eq!(agree(&open, &by_sql(pool).await, "SQL"), 0);
    assert_eq!(agree(&open, &by_python(pool).await, "Python"), 0);
    // Days, weeks and the month are over, and so is their grace.
    bench.clock().set("2026-11-10T00:00:00Z".parse().unwrap());
    for _ in 0..3 {
        count(&bench).await;
    }
    let closed = by_the_job(pool).await;
    assert_eq!(closed.len(), open.len());
    let by_sql = by_sql(pool).await;
    let finals = agree(&closed, &by_sql, "SQL");
    assert_eq!(agree(&closed, &by_python(pool).await, "Python"), finals);
    // What is for ever stays open.
    let for_ever = closed.iter().filter(|place| place.score.1 == "all-time");
    assert_eq!(finals, closed.len() - for_ever.count());
    let ties = by_sql.iter().filter_map(|place| place.position);
    let ties = ties.filter(|[position, rank, _]| position != rank).count();
    println!(
        "{} scores, {finals} of closed windows, {ties} behind equal ones",
        closed.len()
    );
    assert!(finals > 1_000 && ties > 100, "{finals} {ties}");
    bench.remove().await;
}
