//! What the database alone can do: `pgbench` writes the same two rows in batches of the same size.

use std::io::Write;
use std::process::Command;

use anyhow::{Context, ensure};
use nightshift_cli::servers::Postgres;

/// How long `pgbench` runs.
const SECONDS: u32 = 10;

/// Connections, as many as the handler has batches in flight.
const CLIENTS: u32 = 2;

/// What was measured.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) rows_per_second: f64,
    pub(crate) batch_size: u32,
}

/// Runs `pgbench` with the statements of claim and effect, rows made by the server.
pub(crate) async fn measure(postgres: &Postgres, batch_size: f64) -> anyhow::Result<Limit> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "1 to 1000"
    )]
    let batch_size = batch_size.round().clamp(1.0, 1000.0) as u32;
    let mut script = tempfile::NamedTempFile::new()?;
    script.write_all(script_for(batch_size).as_bytes())?;
    let url = postgres.url();
    let program = postgres.programs().join("pgbench");
    let path = script.path().to_owned();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(&program)
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=1"])
            .arg(format!("--client={CLIENTS}"))
            .arg(format!("--time={SECONDS}"))
            .arg("--file")
            .arg(path)
            .arg(url)
            .output()
            .with_context(|| format!("{} cannot be run", program.display()))
    })
    .await??;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench failed: {errors}");
    let transactions: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
        .with_context(|| format!("pgbench printed no rate: {text}"))?;
    Ok(Limit {
        rows_per_second: transactions * f64::from(batch_size),
        batch_size,
    })
}

fn script_for(batch_size: u32) -> String {
    format!(
        "BEGIN;\n\
         INSERT INTO nightshift.inbox (key, enqueued_day, body_hash, function) \
         SELECT gen_random_uuid(), current_date, gen_random_uuid(), 'notifications-dispatch' \
         FROM generate_series(1, {batch_size}) ON CONFLICT DO NOTHING;\n\
         INSERT INTO nightshift.notification (id, user_id, kind, title, body, enqueued_at) \
         SELECT gen_random_uuid(), users.id, 'bench.limit', 'Somebody likes your creature', \
         'Your creature was liked', now() \
         FROM generate_series(1, {batch_size}) AS n \
         JOIN app.users ON users.id = ('00000000-0000-4000-8000-' || lpad(to_hex(1 + n % 200), 12, '0'))::uuid;\n\
         COMMIT;\n"
    )
}
