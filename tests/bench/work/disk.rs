//! What the disk alone can do: a small write and a sync, at a pace.
//!
//! A message is synced twice on its way, by the broker and by Postgres.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::{Duration, Instant};

use super::limit::Pace;

/// How long it is watched.
const SECONDS: u32 = 10;

/// The bytes of a write, and of the file, which is there before: no sync has to make it longer.
const WRITE: usize = 512;
const FILE: usize = 1024 * 1024;

/// How long syncs take at `rate` a second, in the folder for temporary files.
pub(crate) async fn pace(rate: u32) -> anyhow::Result<Pace> {
    tokio::task::spawn_blocking(move || watch(rate)).await?
}

fn watch(rate: u32) -> anyhow::Result<Pace> {
    let file: File = tempfile::tempfile()?;
    file.write_all_at(&vec![0; FILE], 0)?;
    file.sync_all()?;
    let mut took_ms = Vec::new();
    for at in (0..FILE)
        .step_by(WRITE)
        .cycle()
        .take((rate * SECONDS) as usize)
    {
        file.write_all_at(&[1; WRITE], at as u64)?;
        let begun = Instant::now();
        file.sync_data()?;
        took_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        thread::sleep(Duration::from_secs(1) / rate);
    }
    Ok(Pace::of(took_ms))
}
