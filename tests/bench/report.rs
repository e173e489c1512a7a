//! The result as a table and as JSON, and the bars it must clear.

use std::path::Path;

use serde_json::json;

use crate::latency::{Latency, RATE};
use crate::limit::Limit;
use crate::throughput::{Throughput, WAITING};

/// The first targets: messages per second and the median latency in milliseconds.
const MIN_MESSAGES_PER_SECOND: f64 = 12_000.0;
const MAX_P50_MS: f64 = 1.5;

/// Everything measured in one run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) throughput: Throughput,
    pub(crate) latency: Latency,
    pub(crate) limit: Limit,
}

impl Report {
    fn ratio(&self) -> f64 {
        self.throughput.messages_per_second / self.limit.rows_per_second
    }

    /// Every bar that is not cleared.
    pub(crate) fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        let rate = self.throughput.messages_per_second;
        if rate < MIN_MESSAGES_PER_SECOND {
            misses.push(format!(
                "{rate:.0} messages/s are below {MIN_MESSAGES_PER_SECOND:.0}"
            ));
        }
        let p50 = self.latency.p50_ms;
        if p50 > MAX_P50_MS {
            misses.push(format!("p50 of {p50:.2} ms is above {MAX_P50_MS:.2} ms"));
        }
        misses
    }

    /// Prints the table.
    #[expect(clippy::print_stdout, reason = "the benchmark's result is its output")]
    pub(crate) fn print(&self) {
        println!("queue to committed row, {WAITING} waiting, fsync on");
        println!(
            "  {:>10.0} messages/s in batches of {:.0}",
            self.throughput.messages_per_second, self.throughput.batch_size
        );
        println!(
            "  {:>10.0} rows/s by pgbench alone, same rows, batches of {}",
            self.limit.rows_per_second, self.limit.batch_size
        );
        println!("  {:>10.2} of the limit", self.ratio());
        println!("from send until another connection sees the row, at {RATE}/s");
        println!(
            "  {:>10.2} ms p50\n  {:>10.2} ms p99",
            self.latency.p50_ms, self.latency.p99_ms
        );
        println!("process     peak RSS MiB  CPU s for all");
        for process in &self.throughput.processes {
            println!(
                "  {:<10} {:>13.1} {:>13.2}",
                process.name,
                mebibytes(process.peak_resident_bytes),
                process.cpu_seconds
            );
        }
        for miss in self.misses() {
            println!("below the bar: {miss}");
        }
    }

    /// Writes `tests/bench/results.json`.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        let processes: serde_json::Map<String, serde_json::Value> = self
            .throughput
            .processes
            .iter()
            .map(|process| {
                let figures = json!({
                    "peak_rss_mib": rounded(mebibytes(process.peak_resident_bytes)),
                    "cpu_seconds": rounded(process.cpu_seconds),
                });
                (process.name.to_owned(), figures)
            })
            .collect();
        let result = json!({
            "waiting": WAITING,
            "messages_per_second": self.throughput.messages_per_second.round(),
            "batch_size": rounded(self.throughput.batch_size),
            "pgbench_rows_per_second": self.limit.rows_per_second.round(),
            "ratio_to_pgbench": rounded(self.ratio()),
            "latency_rate_per_second": RATE,
            "p50_ms": rounded(self.latency.p50_ms),
            "p99_ms": rounded(self.latency.p99_ms),
            "processes": processes,
        });
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/results.json");
        Ok(std::fs::write(file, format!("{result:#}\n"))?)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a memory size fits")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
