//! Which log lines are written.

use nightshift_settings::Reader;
use tracing_subscriber::filter::{LevelFilter, Targets};

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

    /// The filter of the log, which leaves out spans of `target`.
    pub(crate) fn without_spans_of(&self, target: &'static str) -> Targets {
        self.0.clone().with_target(target, LevelFilter::OFF)
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
