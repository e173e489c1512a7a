//! What the database alone can do: `pgbench` runs the statements of claim, effect and outcome in
//! transactions of the same size, with arrays that the server makes up.

use std::io::Write;
use std::process::Command;

use anyhow::{Context, ensure};
use nightshift_cli::servers::Postgres;
use nightshift_postgres::inbox;
use nightshift_tests::bench::EFFECT;

/// How long `pgbench` runs.
const SECONDS: u32 = 10;

/// How much `pgbench` does at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Connections.
    pub(crate) clients: u32,
    /// Messages in a transaction.
    pub(crate) batch_size: u32,
}

/// How long single things take at a pace.
#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Pace {
    /// Of at least one span of time, in milliseconds.
    pub(crate) fn of(mut took_ms: Vec<f64>) -> Self {
        took_ms.sort_by(f64::total_cmp);
        let quantile = |hundredths: usize| took_ms[(took_ms.len() - 1) * hundredths / 100];
        Self {
            p50_ms: quantile(50),
            p99_ms: quantile(99),
        }
    }
}

/// Messages per second, as many as there can be.
pub(crate) async fn measure(postgres: &Postgres, shape: Shape) -> anyhow::Result<f64> {
    let text = run(postgres, shape, Vec::new()).await?;
    let transactions: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
        .with_context(|| format!("pgbench printed no rate: {text}"))?;
    Ok(transactions * f64::from(shape.batch_size))
}

/// How long transactions of one message take at `rate` a second.
pub(crate) async fn pace(postgres: &Postgres, rate: u32) -> anyhow::Result<Pace> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("pace");
    let one = Shape {
        clients: 1,
        batch_size: 1,
    };
    let options = [
        format!("--rate={rate}"),
        "--log".to_owned(),
        format!("--log-prefix={}", log.display()),
    ];
    run(postgres, one, options.to_vec()).await?;
    let mut took_ms = Vec::new();
    for file in std::fs::read_dir(folder.path())? {
        let text = std::fs::read_to_string(file?.path())?;
        took_ms.extend(text.lines().filter_map(took));
    }
    ensure!(!took_ms.is_empty(), "pgbench logged no transaction");
    Ok(Pace::of(took_ms))
}

/// The milliseconds in a line of the log: the third word, less the last one, by which it began late.
fn took(line: &str) -> Option<f64> {
    let words: Vec<f64> = line
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    Some((words.get(2)? - words.last()?) / 1000.0)
}

/// What `pgbench` prints.
async fn run(postgres: &Postgres, shape: Shape, options: Vec<String>) -> anyhow::Result<String> {
    let mut script = tempfile::NamedTempFile::new()?;
    script.write_all(script_for(shape.batch_size).as_bytes())?;
    let url = postgres.url();
    let program = postgres.programs().join("pgbench");
    let path = script.path().to_owned();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(&program)
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=1"])
            .arg(format!("--client={}", shape.clients))
            .arg(format!("--time={SECONDS}"))
            .args(options)
            .arg("--file")
            .arg(path)
            .arg(url)
            .output()
            .with_context(|| format!("{} cannot be run", program.display()))
    })
    .await??;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench failed: {errors}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn script_for(batch_size: u32) -> String {
    let array = |of: &str| format!("ARRAY(SELECT {of} FROM generate_series(1, {batch_size}))");
    let claim = inbox::CLAIM
        .replace("$1", &array("gen_random_uuid()"))
        .replace("$2", "current_date")
        .replace("$3", &array("gen_random_uuid()"))
        .replace("$4", "'bench-limit'");
    let effect = EFFECT
        .replace("$1", &array("gen_random_uuid()"))
        .replace("$2", &array("'limit'"));
    format!("{};\n{claim};\n{effect};\nCOMMIT;\n", inbox::BEGIN)
}
