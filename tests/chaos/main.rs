//! `make chaos`: every crash point with every victim, each by itself, and then deaths at any moment.
//!
//! `chaos [KILLS [SEED]]` kills so many at random, 100 if it is not said. Prints a line for everything
//! that is done and a table at the end, and ends with code 1 when a message was lost, doubled, left over
//! or tried again at the wrong time; the log of hosts and handlers is kept then.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nightshift_cli::servers::Postgres;
use nightshift_crashpoint::CrashPoint;
use nightshift_tests::chaos::{Report, Run, Victim, start_postgres};

/// How often a victim dies at its point: with messages that are new, and with what the last deaths have
/// left.
const STRIKES: usize = 3;

/// How many are killed at random when it is not said.
const KILLS: usize = 100;

/// How often the random deaths are told.
const TOLD: usize = 10;

/// One line of the table.
struct Row {
    point: &'static str,
    victim: String,
    kills: usize,
    took: Duration,
    report: Report,
}

impl Row {
    fn print(&self) {
        println!(
            "{:<14} {:<9} {:<6} {:>5} {:>7.1} {:>8} {:>6}",
            self.point,
            self.victim,
            if self.report.is_clean() {
                "ok"
            } else {
                "FAILED"
            },
            self.kills,
            self.took.as_secs_f64(),
            self.report.messages,
            self.report.waits,
        );
    }
}

fn print_head() {
    println!("point          victim    result kills seconds messages  waits");
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let (kills, seed) = arguments()?;
    let folder = tempfile::tempdir()?;
    let mut postgres = start_postgres(folder.path()).await?;
    let mut rows = Vec::new();
    print_head();
    for point in CrashPoint::ALL {
        for victim in Victim::ALL {
            let row = strike(&mut postgres, *point, victim).await?;
            row.print();
            rows.push(row);
        }
    }
    println!("{kills} deaths at any moment, drawn from the seed {seed}");
    let row = kill_at_random(&mut postgres, kills, seed).await?;
    row.print();
    rows.push(row);
    postgres.stop().await;

    println!();
    print_head();
    rows.iter().for_each(Row::print);
    let is_clean = rows.iter().all(|row| row.report.is_clean());
    Ok(if is_clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn arguments() -> anyhow::Result<(usize, u64)> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (kills, seed) = match &arguments[..] {
        [] => (None, None),
        [kills] => (Some(kills), None),
        [kills, seed] => (Some(kills), Some(seed)),
        _ => bail!("too many arguments: chaos [KILLS [SEED]]"),
    };
    let kills = kills.map_or(Ok(KILLS), |kills| kills.parse());
    let seed = seed.map_or_else(|| Ok(rand::random()), |seed| seed.parse());
    Ok((kills.context("KILLS")?, seed.context("SEED")?))
}

async fn strike(postgres: &mut Postgres, point: CrashPoint, victim: Victim) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let name = format!("{}-{victim}", point.name());
    let mut run = Run::start(&name, postgres, 1).await?;
    for _ in 0..STRIKES {
        run.strike(point, victim).await?;
    }
    finish(run, point.name(), victim.to_string(), begun).await
}

async fn kill_at_random(postgres: &mut Postgres, kills: usize, seed: u64) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let mut run = Run::start("any-moment", postgres, 2).await?;
    let told = |n: usize, victim| {
        if n.is_multiple_of(TOLD) {
            println!("  {n} of {kills}, last: {victim}");
        }
    };
    run.kill_at_random(kills, seed, told).await?;
    finish(run, "any moment", "anybody".to_owned(), begun).await
}

async fn finish(
    mut run: Run<'_>,
    point: &'static str,
    victim: String,
    begun: Instant,
) -> anyhow::Result<Row> {
    let report = run.settle().await?;
    if !report.is_clean() {
        let log = kept_log(point, &victim);
        std::fs::copy(run.log(), &log).context("the log cannot be kept")?;
        println!("{report}\nthe log: {}", log.display());
    }
    let kills = run.kills;
    run.stop().await?;
    Ok(Row {
        point,
        victim,
        kills,
        took: begun.elapsed(),
        report,
    })
}

/// Where the log of a run is kept that has failed.
fn kept_log(point: &str, victim: &str) -> PathBuf {
    let name = format!("chaos-{}-{victim}.log", point.replace(' ', "-"));
    std::env::temp_dir().join(name)
}
