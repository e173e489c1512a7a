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
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What to log: a level for everything, and others for what comes from certain modules, such as
/// `info,sqlx=warn`.
#[derive(Debug, Clone)]
pub struct LogFilter(Targets);

impl LogFilter {
    /// The setting that holds the filter.
    pub const NAME: &'static str = "NIGHTSHIFT_LOG";

    /// Reads `NIGHTSHIFT_LOG` (default `info`); a malformed filter is written down as a problem.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let text = reader.optional(Self::NAME, "info".to_owned());
        Self(targets(&text).unwrap_or_else(|problem| {
            let problem = format!("is not a log filter such as \"info,sqlx=warn\": {problem}");
            reader.problem(Self::NAME, problem);
            Targets::new()
        }))
    }
}

/// The parser by itself takes nothing between two commas for `error`, and a space for a part of a name.
fn targets(text: &str) -> Result<Targets, String> {
    let parts = text.split(',').map(str::trim);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_:-=".contains(c);
    if let Some(odd) = parts.iter().find(|part| !part.chars().all(is_plain)) {
        return Err(format!("{odd:?} is neither a level nor module=level"));
    }
    parts.join(",").parse().map_err(|error| format!("{error}"))
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
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stdout);
    let installed = tracing_subscriber::registry()
        .with(filter.0.clone())
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
    use tracing::Level;

    use super::*;

    fn read(text: &'static str) -> Result<LogFilter, String> {
        let source: MapSource = [(LogFilter::NAME, text)].into_iter().collect();
        let mut reader = Reader::new(&source);
        let filter = LogFilter::read(&mut reader);
        reader
            .finish(&[])
            .map_err(|problems| problems.to_string())?;
        Ok(filter)
    }

    #[test]
    fn a_malformed_filter_is_a_problem() {
        for text in [
            "info,=x=",
            "info,sqlx = warn",
            "[span]=debug",
            "sqlx=loud",
            "in fo",
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains("is not a log filter"), "{text}: {problem}");
        }
    }

    #[test]
    fn a_filter_has_a_level_for_all_and_others_for_modules() {
        for text in ["info,sqlx=warn", "info, sqlx=warn", "sqlx=warn,,INFO,"] {
            let LogFilter(targets) = read(text).unwrap();
            let is_on = |module, level| targets.would_enable(module, &level);
            assert!(is_on("nightshift_handler", Level::INFO), "{text}");
            assert!(!is_on("nightshift_handler", Level::DEBUG), "{text}");
            assert!(is_on("sqlx::query", Level::WARN), "{text}");
            assert!(!is_on("sqlx::query", Level::INFO), "{text}");
        }
    }
}
