//! Leaderboards under deaths: two runners, of which somebody is killed, frozen or cut off, with Postgres or
//! Redis, while others write. Every event counts once, and readers see whole boards only.
//!
//! What is written are transfers: in one transaction one user gets what another one loses, and both are taken
//! back together. So the scores of a board come to nothing at any count, and what is half of one does not.

mod reader;
mod world;
mod writer;

use nightshift_crashpoint::CrashPoint;
use nightshift_settings::{Environment, Source};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use world::{Blow, World};

/// How many blows there are at any moment: in every test run, and in the long one.
const BLOWS: usize = 12;
const SOAK_BLOWS: usize = 300;

/// The pauses between two of them.
const LIVES_MS: std::ops::Range<u64> = 100..900;

/// How often somebody comes late.
const LATE: usize = 4;

/// Where a message of the job passes, in the order in which it does.
const POINTS: [CrashPoint; 8] = [
    CrashPoint::BeforeClaim,
    CrashPoint::AfterEffect,
    CrashPoint::BeforeFlush,
    CrashPoint::InFlush,
    CrashPoint::BeforeCall,
    CrashPoint::AfterCall,
    CrashPoint::BeforeAnswer,
    CrashPoint::BeforeSettle,
];

/// Those around the commit of a count and what is shown of it.
const AROUND_COMMIT: [CrashPoint; 3] = [
    CrashPoint::AfterEffect,
    CrashPoint::BeforeCall,
    CrashPoint::AfterCall,
];

fn is_long() -> bool {
    std::env::var_os("NIGHTSHIFT_TEST_SOAK").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_between_count_and_board_every_event_counts_once_and_readers_see_whole_boards()
{
    let mut world = World::start().await;
    for (n, point) in POINTS.into_iter().enumerate() {
        world.strike(point, n % 2, Blow::KillHandler).await;
    }
    let around: &[CrashPoint] = if is_long() { &POINTS } else { &AROUND_COMMIT };
    for (n, point) in around.iter().enumerate() {
        for blow in [Blow::KillPostgres, Blow::KillRedis] {
            world.strike(*point, n % 2, blow).await;
        }
    }
    // What has read its scores, and comes to Redis when others have shown newer ones.
    for n in 0..LATE {
        world
            .strike(CrashPoint::BeforeCall, n % 2, Blow::HoldRedis)
            .await;
    }
    world.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_at_any_moment_every_event_counts_once_and_readers_see_whole_boards() {
    let blows = if is_long() { SOAK_BLOWS } else { BLOWS };
    let seed = Environment.get("NIGHTSHIFT_TEST_SEED");
    let seed: u64 = seed.map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("the seed is {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::start().await;
    for n in 1..=blows {
        sleep(Duration::from_millis(random.random_range(LIVES_MS))).await;
        let blow = Blow::draw(&mut random);
        let runner = random.random_range(0..2);
        println!("{n} of {blows}: {blow:?}, of runner {runner}");
        world.blow(blow, runner).await;
        world.recover().await;
    }
    world.settle().await;
}
