//! What leaves the process by OTLP over HTTP: spans in batches as they end, and the table of metrics every
//! minute.
//!
//! Settings have the names that the OpenTelemetry specification gives them, so that one environment does
//! for the application, the Functions host and us. What cannot be sent is dropped: telemetry holds
//! nothing up, and nothing is kept for a collector that is away. Requests that failed are counted; spans that
//! find the queue full (`OTEL_BSP_MAX_QUEUE_SIZE`) are not.

mod client;
mod export;
mod table;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{Level, Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;

use crate::trace::{LOG, export_by};
use client::{Client, Spans};
pub use export::Export;
use table::Table;

/// How long a stop waits for the collector.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The name of the instrumentation, as traces show it.
const SCOPE: &str = "nightshift";

/// An export that goes on.
#[derive(Debug)]
pub(crate) struct Exporting {
    spans: SdkTracerProvider,
    tracer: SdkTracer,
    client: Arc<Client>,
    table: Arc<Table>,
    metrics: JoinHandle<()>,
}

impl Exporting {
    pub(crate) fn start(export: &Export) -> Self {
        let client = Arc::new(Client::new(export));
        let resource = Resource::builder()
            .with_service_name(export.service.clone())
            .build();
        let table = Arc::new(Table::new(&resource));
        let mut provider = SdkTracerProvider::builder().with_resource(resource);
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Spans {
                client: Arc::clone(&client),
                runtime: Handle::current(),
            })
            .with_endpoint(export.address("traces"))
            .build();
        match exporter {
            Ok(exporter) => provider = provider.with_batch_exporter(exporter),
            Err(error) => tracing::error!(%error, "spans are not exported"),
        }
        let spans = provider.build();
        let tracer = spans.tracer(SCOPE);
        export_by(tracer.clone());
        let metrics = tokio::spawn({
            let (client, table, every) = (Arc::clone(&client), Arc::clone(&table), export.interval);
            async move {
                let mut ticks = interval(every);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                ticks.tick().await;
                loop {
                    ticks.tick().await;
                    client.send_metrics(&table).await;
                }
            }
        });
        Self {
            spans,
            tracer,
            client,
            table,
            metrics,
        }
    }

    /// The layer that makes spans of ours into ones that are exported.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        // Log lines are not: what they quote is for those who may read the log.
        let is_told = |what: &Metadata<'_>| {
            what.is_span() && *what.level() <= Level::INFO && what.target() != LOG
        };
        OpenTelemetryLayer::new(self.tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(FilterFn::new(is_told).with_max_level_hint(Level::INFO))
    }

    pub(crate) async fn close(self) {
        self.metrics.abort();
        let metrics = timeout(LAST_WORDS, self.client.send_metrics(&self.table));
        let spans = self.spans;
        let spans = tokio::task::spawn_blocking(move || spans.shutdown_with_timeout(LAST_WORDS));
        // Whether anything was lost is told by the client.
        let _ = tokio::join!(metrics, spans);
    }
}
