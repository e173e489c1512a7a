//! Somebody killed at every named point, and killed or frozen at any moment: each effect once, each retry in its time.
//!
//! `make chaos` does the same at length, each point and victim by itself.

use std::time::{Duration, Instant};

use nightshift_cli::servers::Postgres;
use nightshift_crashpoint::CrashPoint;
use nightshift_tests::chaos::{Fault, Report, Run, Victim, start_postgres};
use tempfile::TempDir;

/// How many are killed at random: in every test run, and in the long one.
const KILLS: usize = 20;
const SOAK_KILLS: usize = 1_000;

async fn postgres() -> (TempDir, Postgres) {
    let folder = tempfile::tempdir().unwrap();
    let postgres = start_postgres(folder.path()).await.unwrap();
    (folder, postgres)
}

fn assert_clean(report: &Report) {
    assert!(report.is_clean(), "{report}");
    assert!(report.waits > 0, "nothing has waited: {report}");
}

#[tokio::test]
async fn whoever_is_killed_at_any_crash_point_nothing_is_lost_or_doubled() {
    let (_folder, mut postgres) = postgres().await;
    let mut run = Run::start("points", &mut postgres, 1).await.unwrap();
    for point in CrashPoint::ALL {
        for victim in Victim::ALL {
            run.strike(*point, victim).await.unwrap();
        }
    }
    let report = run.settle().await.unwrap();
    assert_clean(&report);
    assert_eq!(report.suspects, 0, "{report}");
    assert!(report.asked > 0 && report.taken_over > 0, "{report}");
    run.stop().await.unwrap();
    postgres.stop().await;
}

#[tokio::test]
async fn whoever_is_killed_at_any_moment_nothing_is_lost_or_doubled() {
    let is_long = std::env::var_os("NIGHTSHIFT_TEST_SOAK").is_some();
    let kills = if is_long { SOAK_KILLS } else { KILLS };
    let seed = rand::random();
    println!("the seed is {seed}");
    let (_folder, mut postgres) = postgres().await;
    let mut run = Run::start("moments", &mut postgres, 2).await.unwrap();
    let told = |n: usize, _| {
        if n.is_multiple_of(100) {
            println!("{n} of {kills}");
        }
    };
    run.kill_at_random(kills, seed, told).await.unwrap();
    assert!(run.thawed > 0, "nobody was frozen and woke up again");
    let report = run.settle().await.unwrap();
    println!("{report}");
    assert_clean(&report);
    run.stop().await.unwrap();
    postgres.stop().await;
}

/// How long it may take until three messages are given up that end their processes: of those some seven
/// die, and are started again after 0.2 s, 0.4 s and so on up to 10 s.
const GIVEN_UP_WITHIN: Duration = Duration::from_mins(1);

#[tokio::test]
async fn rule_5_messages_that_end_their_processes_are_dead_letters_and_their_neighbours_are_done() {
    let (_folder, mut postgres) = postgres().await;
    let mut run = Run::start_without_load("killers", &mut postgres, 1)
        .await
        .unwrap();
    let begun = Instant::now();
    run.send_killers().await.unwrap();
    let report = run.settle().await.unwrap();
    assert!(report.is_clean(), "{report}");
    // A neighbour that runs by itself at the instant of a killer's death, twice, is taken for one.
    assert!(report.suspects <= 1, "{report}");
    assert!(begun.elapsed() < GIVEN_UP_WITHIN, "{:?}", begun.elapsed());
    let log = std::fs::read_to_string(run.log()).unwrap();
    for said in [
        "signal: 6 (SIGABRT)",
        "has overflowed its stack",
        "memory allocation of 1073741824 bytes failed",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    run.stop().await.unwrap();
    postgres.stop().await;
}

/// Has the inbox forget what it was told.
const FORGETFUL: &str = "
    CREATE FUNCTION chaos.forget() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.key := gen_random_uuid();
        RETURN NEW;
    END $$;
    CREATE TRIGGER forget BEFORE INSERT ON nightshift.inbox
        FOR EACH ROW EXECUTE FUNCTION chaos.forget()";

#[tokio::test]
async fn the_checker_sees_what_is_doubled_when_the_inbox_forgets() {
    let (_folder, mut postgres) = postgres().await;
    let mut run = Run::start_damaged("forgetful", &mut postgres, FORGETFUL)
        .await
        .unwrap();
    run.strike(CrashPoint::BeforeAnswer, Victim::Handler)
        .await
        .unwrap();
    let report = run.settle().await.unwrap();
    assert!(report.count(Fault::Doubled) > 0, "{report}");
    assert_eq!(report.count(Fault::Lost), 0, "{report}");
    run.stop().await.unwrap();
    postgres.stop().await;
}

/// Has the sweeper find nothing: neither what was promised nor whose copy has not come.
const UNSWEPT: &str = "
    CREATE FUNCTION chaos.never_sweep() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.next_try_at := 'infinity';
        RETURN NEW;
    END $$;
    CREATE TRIGGER never_sweep BEFORE INSERT ON nightshift.outbox
        FOR EACH ROW EXECUTE FUNCTION chaos.never_sweep();
    CREATE FUNCTION chaos.never_rescue() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.rescue_at := 'infinity';
        RETURN NEW;
    END $$;
    CREATE TRIGGER never_rescue BEFORE INSERT OR UPDATE ON nightshift.open_message
        FOR EACH ROW EXECUTE FUNCTION chaos.never_rescue()";

#[tokio::test]
async fn the_checker_sees_what_is_lost_when_nobody_sweeps() {
    let (_folder, mut postgres) = postgres().await;
    let mut run = Run::start_damaged("unswept", &mut postgres, UNSWEPT)
        .await
        .unwrap();
    run.strike(CrashPoint::BeforeFlush, Victim::Handler)
        .await
        .unwrap();
    let report = run.settle().await.unwrap();
    assert!(report.count(Fault::Lost) > 0, "{report}");
    assert_eq!(report.count(Fault::Doubled), 0, "{report}");
    run.stop().await.unwrap();
    postgres.stop().await;
}
