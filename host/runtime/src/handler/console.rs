//! The handler's output as the real host logs it (strict mode).
//!
//! A line of the standard output is information. A line of the standard error is an error, or a
//! warning if it says so; `useStdErrorStreamForErrorsOnly: false` lets its words decide. Two
//! prefixes mark lines that are not for the app's own log.

use tracing::Level;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr {
        /// Whether whatever stands there is an error.
        is_for_errors: bool,
    },
}

/// What begins a line that belongs to the system's log.
const SYSTEM: &str = "LanguageWorkerConsoleLog";

/// What begins a line for the tools on a developer's machine.
const TOOLING: &str = "azfuncjsonlog:";

/// A line as it is logged.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    level: Level,
    category: &'static str,
    text: &'a str,
}

impl Stream {
    /// Logs one line.
    pub(super) fn log(self, line: &str) {
        let Entry {
            level,
            category,
            text,
        } = self.entry(line.trim_end());
        match level {
            Level::ERROR => tracing::error!(log.category = category, "{text}"),
            Level::WARN => tracing::warn!(log.category = category, "{text}"),
            _ => tracing::info!(log.category = category, "{text}"),
        }
    }

    fn entry(self, line: &str) -> Entry<'_> {
        let (category, text) = if let Some(text) = line.strip_prefix(SYSTEM) {
            ("Host.System", text.trim_start())
        } else if let Some(text) = line.strip_prefix(TOOLING) {
            ("Host.Tooling", text)
        } else {
            ("Host.Function.Console", line)
        };
        Entry {
            level: self.level(text),
            category,
            text,
        }
    }

    fn level(self, text: &str) -> Level {
        let Self::Stderr { is_for_errors } = self else {
            return Level::INFO;
        };
        let text = text.to_lowercase();
        if text.contains("warn") {
            Level::WARN
        } else if is_for_errors || text.contains("error") {
            Level::ERROR
        } else {
            Level::INFO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_and_words_decide_the_level() {
        let errors = Stream::Stderr {
            is_for_errors: true,
        };
        let mixed = Stream::Stderr {
            is_for_errors: false,
        };
        for (stream, line, level) in [
            (Stream::Stdout, "error: warned", Level::INFO),
            (errors, "hello", Level::ERROR),
            (errors, "a Warning: error", Level::WARN),
            (mixed, "hello", Level::INFO),
            (mixed, "an Error", Level::ERROR),
            (mixed, "I warn you", Level::WARN),
        ] {
            assert_eq!(stream.entry(line).level, level, "{stream:?} {line}");
        }
    }

    #[test]
    fn a_prefix_decides_the_category_and_is_taken_away() {
        for (line, category, text) in [
            ("LanguageWorkerConsoleLog x", "Host.System", "x"),
            ("azfuncjsonlog:{}", "Host.Tooling", "{}"),
            (
                "x azfuncjsonlog:{}",
                "Host.Function.Console",
                "x azfuncjsonlog:{}",
            ),
        ] {
            let entry = Stream::Stdout.entry(line);
            assert_eq!((entry.category, entry.text), (category, text));
        }
    }
}
