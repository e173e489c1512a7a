//! What a process says about itself: one JSON object per line on standard output.
//!
//! The Functions host reads a handler's standard output as information and its standard error as
//! errors, so every level goes to standard output and carries its level as a field. Fields are
//! dotted (`function.name`) and carry their unit (`duration_ms`). Never logged: message bodies,
//! addresses, keys, tokens, URLs with a query.

pub mod metrics;

use std::backtrace::Backtrace;
use std::panic::PanicHookInfo;

use nightshift_settings::Reader;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What to log, in the syntax of `tracing_subscriber::EnvFilter`, such as `info,sqlx=warn`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The setting that holds the filter.
    pub const NAME: &'static str = "NIGHTSHIFT_LOG";

    /// Reads `NIGHTSHIFT_LOG` (default `info`); a malformed filter is written down as a problem.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let text = reader.optional(Self::NAME, "info".to_owned());
        if let Err(error) = EnvFilter::try_new(&text) {
            reader.problem(
                Self::NAME,
                format!("is not a log filter such as \"info\": {error}"),
            );
        }
        Self(text)
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

/// Sends this process's log lines to standard output from now on. A second call changes nothing.
pub fn init(filter: &LogFilter) {
    let filter = EnvFilter::try_new(&filter.0).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stdout);
    let installed = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    if installed.is_err() {
        tracing::debug!("another subscriber is installed already");
    }
    std::panic::set_hook(Box::new(log_panic));
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

#[cfg(test)]
mod tests {
    use nightshift_settings::MapSource;

    use super::*;

    #[test]
    fn a_malformed_filter_is_a_problem() {
        let source: MapSource = [(LogFilter::NAME, "info,=x=")].into_iter().collect();
        let mut reader = Reader::new(&source);
        LogFilter::read(&mut reader);
        assert!(
            reader
                .finish(&[])
                .unwrap_err()
                .to_string()
                .contains("is not a log filter")
        );
    }
}
