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
pub(crate) const BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0,
];

/// Messages by how a try ended, once that is committed.
pub static MESSAGES: Counter = Counter::new(
    "nightshift_messages_total",
    "Messages by how a try of theirs ended: done, skipped, dead, known (it had ended before), or what they wait for, such as retry, snooze, limited.",
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
    "Promised messages that the broker has accepted: by their committer (flush), later (sweep), or again (rescue).",
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

/// What did not reach the collector.
pub static UNEXPORTED: Counter = Counter::new(
    "nightshift_unexported_total",
    "Requests with traces or metrics that the OTLP collector did not take, which are dropped.",
    &["signal"],
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

/// For how long something may have been there that leaderboards do not count yet.
pub static LEADERBOARD_LAG: Gauge = Gauge::new(
    "nightshift_leaderboard_lag_seconds",
    "How long ago everything was counted that the source of leaderboards held then; as of the last housekeeping here.",
    &["source"],
);

/// How far leaderboards were off.
pub static LEADERBOARD_DRIFT: Gauge = Gauge::new(
    "nightshift_leaderboard_drift",
    "How many scores of the board were not what the events came to at the last verification; as of the last housekeeping here.",
    &["board"],
);

/// Everything that is counted, in the order in which it is written.
const COUNTERS: [&Counter; 7] = [
    &MESSAGES,
    &FAILED_INVOCATIONS,
    &SENT,
    &UNSENT,
    &TAKEN_BACK,
    &PINGS,
    &UNEXPORTED,
];
const GAUGES: [&Gauge; 5] = [
    &HEARTBEAT,
    &ENDED_WELL,
    &NEXT_DUE,
    &LEADERBOARD_LAG,
    &LEADERBOARD_DRIFT,
];
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

impl Cell {
    fn times(&self) -> Times {
        let within: u64 = self.buckets.iter().sum();
        let mut buckets = self.buckets.to_vec();
        buckets.push(self.count.saturating_sub(within));
        Times {
            buckets,
            count: self.count,
            seconds: self.sum.as_secs_f64(),
        }
    }
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
    /// The unit that the name ends with.
    fn unit(&self) -> &'static str {
        if self.name.ends_with("_seconds") {
            "s"
        } else {
            "1"
        }
    }

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

/// One metric as it is now.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) labels: &'static [&'static str],
    /// As UCUM writes it.
    pub(crate) unit: &'static str,
    pub(crate) cells: Cells,
}

/// What was counted for each combination of the labels' values.
#[derive(Debug)]
pub(crate) enum Cells {
    Counts(Vec<(Values, u64)>),
    Numbers(Vec<(Values, f64)>),
    Times(Vec<(Values, Times)>),
}

/// What was observed for one combination.
#[derive(Debug)]
pub(crate) struct Times {
    /// How often at most each of [`BOUNDS`] and more than the one before, and how often more than all.
    pub(crate) buckets: Vec<u64>,
    pub(crate) count: u64,
    pub(crate) seconds: f64,
}

/// All metrics of this process, for those who write them otherwise than [`text`].
pub(crate) fn families() -> Vec<Family> {
    let family = |description: &Description, unit, cells| Family {
        name: description.name,
        help: description.help,
        labels: description.labels,
        unit,
        cells,
    };
    let counters = COUNTERS.iter().map(|counter| {
        let cells = counter.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cells = cells.iter().map(|(values, count)| (values.clone(), *count));
        family(&counter.description, "1", Cells::Counts(cells.collect()))
    });
    let histograms = HISTOGRAMS.iter().map(|histogram| {
        let cells = histogram
            .cells
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let cells = cells
            .iter()
            .map(|(values, cell)| (values.clone(), cell.times()));
        family(&histogram.description, "s", Cells::Times(cells.collect()))
    });
    let gauges = GAUGES.iter().map(|gauge| {
        let cells = gauge.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cells = cells
            .iter()
            .map(|(values, number)| (values.clone(), *number));
        family(
            &gauge.description,
            gauge.description.unit(),
            Cells::Numbers(cells.collect()),
        )
    });
    counters.chain(gauges).chain(histograms).collect()
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

    /// The table of all metrics as docs/TELEMETRY.md has it.
    fn table() -> String {
        let kind = |cells: &Cells| match cells {
            Cells::Counts(_) => "counter",
            Cells::Numbers(_) => "gauge",
            Cells::Times(_) => "histogram",
        };
        let rows = families().into_iter().map(|family| {
            let labels = family.labels.iter().map(|label| format!("`{label}`"));
            let labels = labels.collect::<Vec<_>>().join(", ");
            let Family { name, help, .. } = family;
            format!(
                "| `{name}` | {} | {labels} | {help} |\n",
                kind(&family.cells)
            )
        });
        let heading = "| metric | kind | labels | meaning |\n|---|---|---|---|\n";
        heading.to_owned() + &rows.collect::<String>()
    }

    #[test]
    fn the_documentation_has_the_table_of_all_metrics() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/TELEMETRY.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (before, rest) = page.split_once("<!-- metrics -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- /metrics -->\n").unwrap();
        let now = format!(
            "{before}<!-- metrics -->\n{}<!-- /metrics -->\n{after}",
            table()
        );
        if std::env::var_os("NIGHTSHIFT_TEST_BLESS").is_some() {
            std::fs::write(path, &now).unwrap();
            return;
        }
        assert_eq!(
            page, now,
            "to rewrite docs/TELEMETRY.md, set NIGHTSHIFT_TEST_BLESS=1"
        );
    }

    #[test]
    fn names_say_what_is_measured() {
        for family in families() {
            let ending = match family.cells {
                Cells::Counts(_) => "_total",
                Cells::Numbers(_) if family.unit == "1" => "_drift",
                Cells::Numbers(_) | Cells::Times(_) => "_seconds",
            };
            assert!(family.name.starts_with("nightshift_"), "{}", family.name);
            assert!(family.name.ends_with(ending), "{}", family.name);
        }
    }
}
