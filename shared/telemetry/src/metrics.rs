//! What a process counts, as one table.
//!
//! A [`Counter`], [`Gauge`] or [`Histogram`] has a cell for each combination of its labels' values, which
//! appears when it is first counted or set. [`text`] writes all of them in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The content type of what [`text`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The upper bounds of a histogram's buckets, in seconds.
const BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0,
];

/// Messages by how a try ended, once that is committed.
pub static MESSAGES: Counter = Counter::new(
    "nightshift_messages_total",
    "Messages by how a try of theirs ended: done, skipped, dead, known (ended before), or what they wait for.",
    &["function", "outcome"],
);

/// How long transactions took.
pub static TRANSACTION_SECONDS: Histogram = Histogram::new(
    "nightshift_transaction_seconds",
    "From the begin to the commit of what a function did with a batch or a message.",
    &["function"],
);

/// Invocations that failed, whose messages come again.
pub static FAILED_INVOCATIONS: Counter = Counter::new(
    "nightshift_failed_invocations_total",
    "Invocations that were answered as failed, so that their messages come again.",
    &["function"],
);

/// Promised messages that the broker has, by who sent them.
pub static SENT: Counter = Counter::new(
    "nightshift_outbox_sent_total",
    "Promised messages that the broker has accepted: by their committer (flush) or later (sweep, rescue).",
    &["by"],
);

/// Promised messages that the broker did not take.
pub static UNSENT: Counter = Counter::new(
    "nightshift_outbox_unsent_total",
    "Tries to send a promised message that the broker did not accept.",
    &[],
);

/// Messages that were taken back from the broker's dead-letter queues.
pub static TAKEN_BACK: Counter = Counter::new(
    "nightshift_taken_back_total",
    "Messages that were taken out of a dead-letter queue of the broker.",
    &["queue"],
);

/// What was told to those who watch schedules from outside.
pub static PINGS: Counter = Counter::new(
    "nightshift_pings_total",
    "Pings after the end of a tick: taken (sent), or not after three tries (unsent).",
    &["schedule", "outcome"],
);

/// When the housekeeping last went through in this process.
pub static HEARTBEAT: Gauge = Gauge::new(
    "nightshift_heartbeat_timestamp_seconds",
    "When this process has last committed a run of the housekeeping.",
    &[],
);

/// When each schedule has last done what it is for.
pub static ENDED_WELL: Gauge = Gauge::new(
    "nightshift_schedule_ended_well_timestamp_seconds",
    "When a tick of the schedule last ended well, in any process; as of the last housekeeping here.",
    &["schedule"],
);

/// When each schedule should have done, or should do, that the next time.
pub static NEXT_DUE: Gauge = Gauge::new(
    "nightshift_schedule_next_due_timestamp_seconds",
    "When the first tick was or is due since one of the schedule last ended well; as of the last housekeeping here.",
    &["schedule"],
);

/// Everything that is counted, in the order in which it is written.
const COUNTERS: [&Counter; 6] = [
    &MESSAGES,
    &FAILED_INVOCATIONS,
    &SENT,
    &UNSENT,
    &TAKEN_BACK,
    &PINGS,
];
const GAUGES: [&Gauge; 3] = [&HEARTBEAT, &ENDED_WELL, &NEXT_DUE];
const HISTOGRAMS: [&Histogram; 1] = [&TRANSACTION_SECONDS];

/// What a metric is called and means.
#[derive(Debug)]
struct Description {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
}

/// The values of a metric's labels, in their order.
type Values = Vec<String>;

/// A number that only grows.
#[derive(Debug)]
pub struct Counter {
    description: Description,
    cells: Mutex<BTreeMap<Values, u64>>,
}

impl Counter {
    const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self {
            description: Description { name, help, labels },
            cells: Mutex::new(BTreeMap::new()),
        }
    }

    /// Counts `count` more with these values of its labels.
    pub fn add(&self, values: &[&str], count: usize) {
        if count == 0 {
            return;
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = cells.entry(owned(values)).or_default();
        *cell = cell.saturating_add(count);
    }

    fn write(&self, out: &mut String) {
        self.description.write(out, "counter");
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        for (values, count) in &*cells {
            let labels = self.description.labels(values, None);
            line(out, self.description.name, "", &labels, *count);
        }
    }
}

/// A number that is as large as it is now.
#[derive(Debug)]
pub struct Gauge {
    description: Description,
    cells: Mutex<BTreeMap<Values, f64>>,
}

impl Gauge {
    const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self {
            description: Description { name, help, labels },
            cells: Mutex::new(BTreeMap::new()),
        }
    }

    /// From now on there are these cells, each with the values of its labels and its number, and no others.
    pub fn replace<'v>(&self, cells: impl IntoIterator<Item = (&'v [&'v str], f64)>) {
        let cells = cells
            .into_iter()
            .map(|(values, number)| (owned(values), number))
            .collect();
        *self.cells.lock().unwrap_or_else(PoisonError::into_inner) = cells;
    }

    fn write(&self, out: &mut String) {
        self.description.write(out, "gauge");
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        for (values, number) in &*cells {
            let labels = self.description.labels(values, None);
            line(out, self.description.name, "", &labels, *number);
        }
    }
}

/// How often something took how long.
#[derive(Debug)]
pub struct Histogram {
    description: Description,
    cells: Mutex<BTreeMap<Values, Cell>>,
}

#[derive(Debug, Default)]
struct Cell {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: Duration,
}

impl Histogram {
    const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self {
            description: Description { name, help, labels },
            cells: Mutex::new(BTreeMap::new()),
        }
    }

    /// Counts something that took `took`, with these values of its labels.
    pub fn observe(&self, values: &[&str], took: Duration) {
        let seconds = took.as_secs_f64();
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = cells.entry(owned(values)).or_default();
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            cell.buckets[bucket] += 1;
        }
        cell.count += 1;
        cell.sum = cell.sum.saturating_add(took);
    }

    fn write(&self, out: &mut String) {
        let Description { name, .. } = self.description;
        self.description.write(out, "histogram");
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        for (values, cell) in &*cells {
            let mut below = 0;
            for (bound, count) in BOUNDS.iter().zip(cell.buckets) {
                below += count;
                let labels = self.description.labels(values, Some(&bound.to_string()));
                line(out, name, "_bucket", &labels, below);
            }
            let all = self.description.labels(values, Some("+Inf"));
            line(out, name, "_bucket", &all, cell.count);
            let labels = self.description.labels(values, None);
            line(out, name, "_sum", &labels, cell.sum.as_secs_f64());
            line(out, name, "_count", &labels, cell.count);
        }
    }
}

impl Description {
    fn write(&self, out: &mut String, kind: &str) {
        // Writing to memory cannot fail.
        let _ = writeln!(out, "# HELP {} {}", self.name, self.help);
        let _ = writeln!(out, "# TYPE {} {kind}", self.name);
    }

    /// The labels with their values, as they stand behind the name.
    fn labels(&self, values: &[String], bound: Option<&str>) -> String {
        let named = self.labels.iter().zip(values.iter().map(String::as_str));
        let bound = bound.map(|bound| (&"le", bound));
        let pairs: Vec<String> = named
            .chain(bound)
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        if pairs.is_empty() {
            return String::new();
        }
        format!("{{{}}}", pairs.join(","))
    }
}

/// All metrics of this process.
pub fn text() -> String {
    let mut out = String::new();
    for counter in COUNTERS {
        counter.write(&mut out);
    }
    for gauge in GAUGES {
        gauge.write(&mut out);
    }
    for histogram in HISTOGRAMS {
        histogram.write(&mut out);
    }
    out
}

fn owned(values: &[&str]) -> Values {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn line(out: &mut String, name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display) {
    // Writing to memory cannot fail.
    let _ = writeln!(out, "{name}{suffix}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_has_a_line_for_each_combination_of_labels() {
        let counter = Counter::new("things_total", "Things.", &["kind"]);
        counter.add(&["a\"b"], 2);
        counter.add(&["c"], 1);
        counter.add(&["a\"b"], 3);
        counter.add(&["none"], 0);
        let mut text = String::new();
        counter.write(&mut text);
        assert_eq!(
            text,
            "# HELP things_total Things.\n# TYPE things_total counter\n\
             things_total{kind=\"a\\\"b\"} 5\nthings_total{kind=\"c\"} 1\n"
        );
    }

    #[test]
    fn a_gauge_has_the_cells_that_it_was_given_last() {
        let gauge = Gauge::new("seen_timestamp_seconds", "Seen.", &["kind"]);
        gauge.replace([(&["a"][..], 1_763_779_200.5), (&["b"][..], 2.0)]);
        gauge.replace([(&["a"][..], 1_763_779_260.25)]);
        let mut text = String::new();
        gauge.write(&mut text);
        assert_eq!(
            text,
            "# HELP seen_timestamp_seconds Seen.\n# TYPE seen_timestamp_seconds gauge\n\
             seen_timestamp_seconds{kind=\"a\"} 1763779260.25\n"
        );
    }

    #[test]
    fn the_buckets_of_a_histogram_contain_the_ones_below() {
        let histogram = Histogram::new("took_seconds", "Took.", &[]);
        for millis in [1, 2, 300, 100_000] {
            histogram.observe(&[], Duration::from_millis(millis));
        }
        let mut text = String::new();
        histogram.write(&mut text);
        for line in [
            "took_seconds_bucket{le=\"0.001\"} 1\n",
            "took_seconds_bucket{le=\"0.0025\"} 2\n",
            "took_seconds_bucket{le=\"0.25\"} 2\n",
            "took_seconds_bucket{le=\"1\"} 3\n",
            "took_seconds_bucket{le=\"60\"} 3\n",
            "took_seconds_bucket{le=\"+Inf\"} 4\n",
            "took_seconds_sum 100.303\n",
            "took_seconds_count 4\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn every_metric_is_described_where_operators_read() {
        let page = include_str!("../../../docs/HOST.md");
        let described = |name: &str| page.contains(&format!("`{name}`"));
        for counter in COUNTERS {
            let name = counter.description.name;
            assert!(name.ends_with("_total") && described(name), "{name}");
        }
        for gauge in GAUGES {
            let name = gauge.description.name;
            assert!(name.ends_with("_seconds") && described(name), "{name}");
        }
        for histogram in HISTOGRAMS {
            let name = histogram.description.name;
            assert!(name.ends_with("_seconds") && described(name), "{name}");
        }
    }
}
