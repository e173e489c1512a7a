//! What a collector of OpenTelemetry gets: one trace from the producer to the follow-up's effect, over all
//! processes, and what was counted.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nightshift_testkit::TestDatabase;
use nightshift_tests::night::{RELEASE, SCHEMA};
use nightshift_tests::{App, Stack, StackOptions, program};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message as _;
use regex::Regex;
use serde_json::{Value as Json, json};
use sqlx::Executor;
use tokio::net::TcpListener;

use crate::walking_skeleton::until;

const PATIENCE: Duration = Duration::from_mins(1);

/// A span as the collector got it.
#[derive(Debug, Clone)]
struct Span {
    service: String,
    name: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    began: u64,
    ended: u64,
    attributes: Vec<KeyValue>,
    links: Vec<Vec<u8>>,
    is_error: bool,
    status: String,
}

impl Span {
    fn attribute(&self, name: &str) -> Option<String> {
        text(&self.attributes, name)
    }

    fn is(&self, name: &str, function: &str) -> bool {
        self.name == name && self.attribute("function.name").as_deref() == Some(function)
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

/// What has come so far.
#[derive(Debug, Default)]
struct Collected {
    spans: Vec<Span>,
    /// The last value of each counter, by its name and labels.
    counts: Vec<(String, Vec<KeyValue>, i64)>,
    keys: BTreeSet<String>,
}

/// A collector on a port of its own.
#[derive(Debug, Clone)]
struct Collector {
    address: String,
    collected: Arc<Mutex<Collected>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let collected = Arc::new(Mutex::new(Collected::default()));
        let into = Arc::clone(&collected);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let into = Arc::clone(&into);
                let answer = service_fn(move |request| take(request, Arc::clone(&into)));
                let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(serving);
            }
        });
        Self { address, collected }
    }

    /// Asks until `found` finds something in what has come.
    async fn until<T>(&self, what: &str, found: impl Fn(&Collected) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_late = Instant::now() > deadline;
            {
                let collected = self
                    .collected
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if let Some(found) = found(&collected) {
                    return found;
                }
                assert!(!is_late, "{what} is not in {collected:#?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn take(
    request: Request<Incoming>,
    into: Arc<Mutex<Collected>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let key = request.headers().get("x-key").cloned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
    into.keys
        .extend(key.map(|key| key.to_str().unwrap().to_owned()));
    match path.as_str() {
        "/v1/traces" => into.take_spans(ExportTraceServiceRequest::decode(body).unwrap()),
        "/v1/metrics" => into.take_counts(ExportMetricsServiceRequest::decode(body).unwrap()),
        _ => {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::NOT_FOUND;
            return Ok(answer);
        }
    }
    Ok(Response::new(Full::default()))
}

impl Collected {
    fn take_spans(&mut self, request: ExportTraceServiceRequest) {
        for of_service in request.resource_spans {
            let resource = of_service.resource.unwrap_or_default();
            let service = text(&resource.attributes, "service.name").unwrap();
            let spans = of_service.scope_spans.into_iter();
            self.spans
                .extend(spans.flat_map(|scope| scope.spans).map(|span| {
                    Span {
                        service: service.clone(),
                        name: span.name,
                        trace: span.trace_id,
                        id: span.span_id,
                        parent: span.parent_span_id,
                        began: span.start_time_unix_nano,
                        ended: span.end_time_unix_nano,
                        attributes: span.attributes,
                        links: span.links.into_iter().map(|link| link.span_id).collect(),
                        status: span
                            .status
                            .as_ref()
                            .map_or_else(String::new, |status| status.message.clone()),
                        is_error: span
                            .status
                            .is_some_and(|status| status.code() == SpanStatus::Error),
                    }
                }));
        }
    }

    fn take_counts(&mut self, request: ExportMetricsServiceRequest) {
        self.counts.clear();
        let metrics = request.resource_metrics.into_iter();
        let metrics = metrics.flat_map(|resource| resource.scope_metrics);
        for metric in metrics.flat_map(|scope| scope.metrics) {
            let Some(Data::Sum(sum)) = metric.data else {
                continue;
            };
            for point in sum.data_points {
                let Some(number_data_point::Value::AsInt(count)) = point.value else {
                    continue;
                };
                self.counts
                    .push((metric.name.clone(), point.attributes, count));
            }
        }
    }

    /// The one span that is so.
    fn one(&self, is_so: impl Fn(&Span) -> bool) -> Option<Span> {
        let mut found = self.spans.iter().filter(|span| is_so(span));
        let one = found.next()?;
        found.next().is_none().then(|| one.clone())
    }
}

/// The application of the bad night, on a good one.
async fn start(database: &TestDatabase, folder: &Path, collector: &str) -> Stack {
    database.pool().execute(SCHEMA).await.unwrap();
    let release = folder.join("release");
    std::fs::write(&release, "good").unwrap();
    let mut environment: Vec<(&'static str, OsString)> = telemetry(collector)
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    environment.push((RELEASE, release.into()));
    let app = App {
        source: Path::new(env!("CARGO_MANIFEST_DIR")).join("night/app"),
        handler: "night-handler",
        queues: &["orders", "receipts", "reports", "restores"],
        session_queues: &[],
        environment,
        broker_data: None,
    };
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 60,
    };
    let mut stack = Stack::prepare_app(options, app).await.unwrap();
    stack.start_host().unwrap();
    stack
}

/// The settings of every process.
fn telemetry(collector: &str) -> Vec<(&'static str, String)> {
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.to_owned()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20secret".to_owned()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "200".to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
    ]
}

/// Sends `order` with the command that people have for it.
fn send(stack: &Stack, folder: &Path, collector: &str, order: &Json, count: &str) {
    let file = folder.join("order.json");
    std::fs::write(&file, order.to_string()).unwrap();
    let output = Command::new(program("nightshift"))
        .args(["send", "orders"])
        .arg(&file)
        .args(["--count", count])
        .env("ServiceBusConnection", stack.connection_string())
        .envs(telemetry(collector))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.starts_with("sent "), "{said}");
}

#[tokio::test]
async fn one_trace_goes_from_the_producer_to_the_effect_of_the_follow_up() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start().await;
    let stack = start(&database, folder.path(), &collector.address).await;
    let order = json!({ "schema_version": 1, "number": 7, "cents": 5, "wants_receipt": true });
    send(&stack, folder.path(), &collector.address, &order, "1");
    let receipted = "SELECT count(*) FROM night.receipted WHERE number = 7";
    until(database.pool(), receipted, 1).await;

    let booking = "orders-work";
    let receipt = "receipts-work";
    let sent = collector
        .until("the producer's span", |all| {
            all.one(|span| span.service == "nightshift-send")
        })
        .await;
    // Everything that belongs to it, as soon as the last of it is there.
    let trace = collector
        .until("the whole trace", |all| {
            let of_trace = all.spans.iter().filter(|span| span.trace == sent.trace);
            let spans: Vec<Span> = of_trace.cloned().collect();
            let count = |name| spans.iter().filter(|span| span.name == name).count();
            let is_whole = count("queue.wait") == 2
                && count("host.invoke") == 2
                && count("function.run") == 2
                && count("queue.send") == 2;
            is_whole.then_some(spans)
        })
        .await;
    let trace = Collected {
        spans: trace,
        ..Collected::default()
    };
    let of = |name: &str, function: &str| trace.one(|span| span.is(name, function)).unwrap();
    let waits = |queue: &str| {
        let is_so = |span: &Span| {
            span.name == "queue.wait"
                && span.attribute("messaging.destination.name").as_deref() == Some(queue)
        };
        trace.one(is_so).unwrap()
    };
    assert_eq!((sent.name.as_str(), sent.parent.len()), ("queue.send", 0));
    assert_eq!(waits("orders").parent, sent.id);
    let invoked = of("host.invoke", booking);
    assert_eq!(
        (invoked.parent.clone(), invoked.service.as_str()),
        (sent.id.clone(), "nightshift-host")
    );
    let run = of("function.run", booking);
    assert_eq!(
        (run.parent.clone(), run.service.as_str()),
        (invoked.id.clone(), "nightshift-handler")
    );
    assert!(run.links.contains(&sent.id), "{run:?}");
    for (name, value) in [
        ("trigger.kind", "queue"),
        ("job.attempt", "1"),
        ("outcome", "done"),
        ("messaging.destination.name", "orders"),
    ] {
        assert_eq!(run.attribute(name).as_deref(), Some(value), "{run:?}");
    }
    assert!(run.attribute("job.id").is_some(), "{run:?}");

    let below = |parent: &Span, name: &str| {
        let is_so = |span: &&Span| span.name == name && span.parent == parent.id;
        // The first message of a day may find no partition, and begin anew.
        let found = trace.spans.iter().find(is_so).cloned();
        found.unwrap_or_else(|| panic!("{name} below {parent:?} in {trace:#?}"))
    };
    let transaction = below(&run, "db.transaction");
    for name in [
        "db.transaction.begin",
        "db.inbox.claim",
        "function.effect",
        "db.outbox.promise",
        "db.transaction.commit",
    ] {
        below(&transaction, name);
    }
    let promised = below(&run, "queue.send");
    assert_eq!(promised.service, "nightshift-handler");
    assert_eq!(waits("receipts").parent, run.id);
    let second = of("function.run", receipt);
    assert!(second.links.contains(&run.id), "{second:?}");
    assert_eq!(second.parent, of("host.invoke", receipt).id);
    below(&below(&second, "db.transaction"), "function.effect");

    check_spans(&trace);
    let key = collector
        .until("the key", |all| all.keys.first().cloned())
        .await;
    assert_eq!(key, "a secret");
    drop(stack);
    database.remove().await;
}

/// No attribute stands twice, and every span lies within the trace.
fn check_spans(trace: &Collected) {
    for span in &trace.spans {
        let names: BTreeSet<&String> = span.attributes.iter().map(|pair| &pair.key).collect();
        assert_eq!(names.len(), span.attributes.len(), "{span:?}");
    }
    // Its parent is there, and began no later.
    for span in trace.spans.iter().filter(|span| !span.parent.is_empty()) {
        let parent = trace.one(|parent| parent.id == span.parent);
        let parent = parent.unwrap_or_else(|| panic!("{span:?} has no parent in {trace:#?}"));
        // Clocks of a queue count in milliseconds.
        assert!(
            parent.began <= span.began + 2_000_000,
            "{span:?} {parent:?}"
        );
        assert!(span.began <= span.ended, "{span:?}");
    }
}

#[tokio::test]
async fn a_batch_is_one_transaction_that_links_to_the_traces_of_its_messages() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start().await;
    let stack = start(&database, folder.path(), &collector.address).await;
    let order = json!({ "schema_version": 1, "number": 8, "cents": 5 });
    send(&stack, folder.path(), &collector.address, &order, "20");
    until(database.pool(), "SELECT count(*) FROM night.booked", 20).await;
    let runs = collector
        .until("twenty runs", |all| {
            let runs = all
                .spans
                .iter()
                .filter(|span| span.is("function.run", "orders-work"));
            let runs: Vec<Span> = runs.cloned().collect();
            (runs.len() == 20).then_some(runs)
        })
        .await;
    let traces: BTreeSet<&Vec<u8>> = runs.iter().map(|run| &run.trace).collect();
    assert_eq!(traces.len(), 1, "all have the one producer");
    let batch = collector
        .until("a transaction of several", |all| {
            let is_batch = |span: &&Span| span.name == "db.transaction" && span.parent.is_empty();
            all.spans.iter().find(is_batch).cloned()
        })
        .await;
    assert!(!traces.contains(&batch.trace));
    let size: usize = batch.attribute("batch.size").unwrap().parse().unwrap();
    assert_eq!(batch.links.len(), size);
    let linked = runs.iter().filter(|run| run.links.contains(&batch.id));
    let linked: BTreeSet<_> = linked.map(|run| run.id.clone()).collect();
    assert_eq!(linked, batch.links.iter().cloned().collect());

    // What the database does not take, and what nobody can read.
    let wrong = json!({ "schema_version": 1, "number": 9, "cents": "free" });
    send(&stack, folder.path(), &collector.address, &wrong, "1");
    let dead = collector
        .until("the dead one", |all| {
            all.one(|span| span.attribute("outcome").as_deref() == Some("dead"))
        })
        .await;
    assert!(dead.is_error, "{dead:?}");
    assert_eq!(dead.status, "invalid-property", "no word of the message");
    let count = |all: &Collected, outcome: &str| {
        let counted = all.counts.iter().find(|(name, labels, _)| {
            name == "nightshift_messages_total"
                && text(labels, "outcome").as_deref() == Some(outcome)
                && text(labels, "function").as_deref() == Some("orders-work")
        });
        counted.map(|(_, _, count)| *count)
    };
    collector
        .until("the counts", |all| {
            (count(all, "done") == Some(20) && count(all, "dead") == Some(1)).then_some(())
        })
        .await;
    drop(stack);
    database.remove().await;
}

#[tokio::test]
async fn a_collector_that_is_away_holds_nothing_up() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let stack = start(&database, folder.path(), &nobody).await;
    let order = json!({ "schema_version": 1, "number": 1, "cents": 5 });
    send(&stack, folder.path(), &nobody, &order, "50");
    until(database.pool(), "SELECT count(*) FROM night.booked", 50).await;
    let deadline = Instant::now() + PATIENCE;
    let told = |log: &str| {
        let lines = log
            .lines()
            .filter(|line| line.contains("the OTLP collector takes nothing"));
        lines.count()
    };
    loop {
        let log = std::fs::read_to_string(stack.log()).unwrap();
        if told(&log) == 2 {
            assert!(!log.contains("a secret"), "{log}");
            break;
        }
        assert!(Instant::now() < deadline, "{log}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Once by the host and once by its handler, however often they try.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let log = std::fs::read_to_string(stack.log()).unwrap();
    assert_eq!(told(&log), 2, "{log}");
    drop(stack);
    database.remove().await;
}

/// Every source file that is a part of the product.
fn sources() -> Vec<String> {
    let mut folders = ["shared", "functions", "host"]
        .map(|folder| {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("..")
                .join(folder)
        })
        .to_vec();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                sources.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    sources
}

#[test]
fn the_page_on_telemetry_has_every_span_and_no_log_line_that_is_gone() {
    let page = include_str!("../../docs/TELEMETRY.md");
    let sources = sources();
    let name =
        Regex::new(r#""((?:queue|host|function|db|cache)\.[a-z_]+(?:\.[a-z_]+)?)""#).unwrap();
    let near = Regex::new(r"info_span!\(|#\[instrument\(|Past \{").unwrap();
    let mut names = BTreeSet::new();
    for source in &sources {
        for begin in near.find_iter(source) {
            let end = source.floor_char_boundary(begin.end() + 160);
            let found = name.captures(&source[begin.start()..end]);
            names.extend(found.map(|found| found[1].to_owned()));
        }
    }
    assert!(names.len() > 40, "{names:?}");
    for name in &names {
        let is_statement = name.starts_with("db.") && !name.starts_with("db.transaction");
        let shown = if is_statement {
            "db.<entity>.<verb>"
        } else {
            name
        };
        assert!(
            page.contains(&format!("`{shown}`")),
            "{name} is not in docs/TELEMETRY.md"
        );
    }
    let lines = page.split_once("## Log lines").unwrap().1;
    let row = Regex::new(r"\| (?:WARN|ERROR|INFO) \| `([^`]+)`").unwrap();
    let lines = row.captures_iter(lines).map(|line| line[1].to_owned());
    let lines: Vec<String> = lines.collect();
    assert!(lines.len() > 10, "{lines:?}");
    for line in lines {
        let is_written = sources
            .iter()
            .any(|source| source.contains(&format!("\"{line}")));
        assert!(is_written, "no process writes {line:?} any more");
    }
}
