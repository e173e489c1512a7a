//! Those who write events.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::super::*;

/// How many users there are.
const USERS: u128 = 40;

/// Writes until it is to end. What the database refuses while it is away is not written; nobody minds.
pub(super) async fn write(pool: PgPool, seed: u64, end: CancellationToken) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let mut committed = 0;
    while !end.is_cancelled() {
        match transaction(&pool, &mut random).await {
            Ok(is_committed) => committed += usize::from(is_committed),
            Err(_away) => sleep(Duration::from_millis(50)).await,
        }
        sleep(Duration::from_millis(random.random_range(0..60))).await;
    }
    committed
}

/// One transaction, which may be slow, and rolled back. Says whether it has committed.
async fn transaction(pool: &PgPool, random: &mut StdRng) -> Result<bool, sqlx::Error> {
    let mut tx = pool.begin().await?;
    for _ in 0..random.random_range(1..4) {
        match random.random_range(0..100) {
            0..8 => take_back(&mut tx).await?,
            8..80 => transfer(&mut tx, random).await?,
            _ => lap(&mut tx, random).await?,
        }
        sleep(Duration::from_millis(random.random_range(0..20))).await;
    }
    if random.random_bool(0.15) {
        tx.rollback().await?;
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

fn user(random: &mut StdRng) -> Uuid {
    Uuid::from_u128(random.random_range(1..=USERS))
}

fn country(random: &mut StdRng) -> &'static str {
    ["DE", "IN", "BR"][random.random_range(0..3)]
}

/// One gets what another loses.
async fn transfer(tx: &mut sqlx::PgConnection, random: &mut StdRng) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO app.score_event (user_id, board, score, occurred_at, country, pair)
        SELECT u, 'points', s, now() - $4 * interval '1 second', $5, $6
        FROM (VALUES ($1::uuid, $3::bigint), ($2, -$3)) AS two (u, s)",
    )
    .bind(user(random))
    .bind(user(random))
    .bind(random.random_range(1..100_i64))
    .bind(f64::from(random.random_range(0..600)))
    .bind(country(random))
    .bind(Uuid::from_u128(random.random()))
    .execute(tx)
    .await?;
    Ok(())
}

/// Both sides of a transfer are taken back, which may have been before.
async fn take_back(tx: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO app.score_event (user_id, board, voids, occurred_at, country)
        SELECT user_id, board, event_id, occurred_at, country FROM app.score_event
        WHERE pair = (SELECT pair FROM app.score_event WHERE pair IS NOT NULL ORDER BY random() LIMIT 1)",
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Something for the boards that do not add up.
async fn lap(tx: &mut sqlx::PgConnection, random: &mut StdRng) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO app.score_event (user_id, board, score, occurred_at, country)
        VALUES ($1, $2, $3, now() - $4 * interval '1 second', $5)",
    )
    .bind(user(random))
    .bind(["laps", "level"][random.random_range(0..2)])
    .bind(random.random_range(-50..50_i64))
    .bind(f64::from(random.random_range(0..600)))
    .bind(country(random))
    .execute(tx)
    .await?;
    Ok(())
}
