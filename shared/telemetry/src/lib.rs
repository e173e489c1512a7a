//! What a process says about itself: one JSON object per line on standard output, the table of what it
//! counts, and, where OTLP is configured, spans and that table to a collector.
//!
//! The Functions host reads a handler's standard output as information and its standard error as
//! errors, so every level goes to standard output and carries its level as a field. Fields are
//! dotted (`function.name`) and carry their unit (`duration_ms`). Never logged: message bodies,
//! addresses, keys, tokens, URLs with a query.

mod filter;
pub mod metrics;
mod otlp;
pub mod trace;

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;

use nightshift_settings::Reader;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use filter::LogFilter;
pub use otlp::Export;
use otlp::Exporting;
use trace::TRACE;

/// What a process says about itself, and to whom.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    /// Which log lines it writes.
    pub log: LogFilter,
    /// Where spans and metrics go; nowhere if `None`.
    pub export: Option<Export>,
}

impl TelemetrySettings {
    /// Reads all settings; what is wrong is written down as problems. `service` is what the process is
    /// called in traces, unless `OTEL_SERVICE_NAME` says otherwise.
    pub fn read(reader: &mut Reader<'_>, service: &'static str) -> Self {
        Self {
            log: LogFilter::read(reader),
            export: Export::read(reader, service),
        }
    }
}

/// An error with its causes on one line. A cause that an error quotes already is not repeated.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// What goes on for as long as the process says something about itself.
#[derive(Debug)]
#[must_use = "what is not sent yet is lost without `close`"]
pub struct Telemetry {
    exporting: Option<Exporting>,
}

impl Telemetry {
    /// Sends this process's log lines to standard output from now on, and its spans and metrics where
    /// `settings` say. A second call in one process changes nothing. Called within a Tokio runtime.
    pub fn start(settings: &TelemetrySettings) -> Self {
        let lines = tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stdout);
        let lines = lines.with_filter(settings.log.without_spans_of(TRACE));
        let exporting = settings.export.as_ref().map(Exporting::start);
        let spans = exporting.as_ref().map(Exporting::layer);
        install(tracing_subscriber::registry().with(lines).with(spans));
        std::panic::set_hook(Box::new(log_panic));
        Self { exporting }
    }

    /// Spans only: for commands, whose standard output is their answer.
    pub fn start_quietly(export: Option<&Export>) -> Self {
        let exporting = export.map(Exporting::start);
        if let Some(exporting) = &exporting {
            install(tracing_subscriber::registry().with(exporting.layer()));
        }
        Self { exporting }
    }

    /// Sends what is not sent yet, if that can be done within a few seconds.
    pub async fn close(self) {
        if let Some(exporting) = self.exporting {
            exporting.close().await;
        }
    }
}

fn install(subscriber: impl SubscriberInitExt) {
    if subscriber.try_init().is_err() {
        tracing::debug!("another subscriber is installed already");
    }
}

/// A panic as a log line. The symbols of its backtrace are those that the binary was not stripped of.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    tracing::error!(
        panic.message = panic.payload_as_str().unwrap_or("no message"),
        panic.location = location.unwrap_or_default(),
        panic.backtrace = %Backtrace::force_capture(),
        "a panic"
    );
}
