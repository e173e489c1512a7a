//! Retry policies: how often, and after which pauses, a failed run is tried again.
//!
//! A policy stands in `function.json` or, for all functions, in `host.json`. The host applies it
//! to timers; what becomes of a failed message is the broker's business.

use std::time::Duration;

use crate::reader::Reader;

/// A retry policy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How often a failed run is tried again; `None` (`-1` in the file) for without end.
    pub max_retry_count: Option<u32>,
    /// The pauses in between.
    pub strategy: RetryStrategy,
}

/// How long to wait before a run is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryStrategy {
    /// Always the same.
    FixedDelay(Duration),
    /// Longer each time.
    ExponentialBackoff {
        /// The first pause.
        minimum: Duration,
        /// The longest pause.
        maximum: Duration,
    },
}

impl RetryPolicy {
    /// The pause before the retry `number`, counted from 1, and `None` when there is none any more.
    /// Growing pauses double.
    pub fn pause_before(&self, number: u32) -> Option<Duration> {
        if self.max_retry_count.is_some_and(|most| number > most) {
            return None;
        }
        Some(match self.strategy {
            RetryStrategy::FixedDelay(delay) => delay,
            RetryStrategy::ExponentialBackoff { minimum, maximum } => {
                let doublings = number.saturating_sub(1).min(30);
                minimum.saturating_mul(1 << doublings).min(maximum)
            }
        })
    }
}

/// The policy at `path`, if there is one.
pub(crate) fn read(reader: &mut Reader<'_>, path: &str) -> Option<RetryPolicy> {
    if reader.is_absent(path) {
        return None;
    }
    let at = |key: &str| format!("{path}:{key}");
    let strategies = [("fixedDelay", true), ("exponentialBackoff", false)];
    let is_fixed = reader.choice(&at("strategy"), &strategies);
    if reader.is_absent(&at("strategy")) {
        let what = "is missing: write \"fixedDelay\" or \"exponentialBackoff\"";
        reader.problem(&at("strategy"), what);
    }
    let count = reader.number(&at("maxRetryCount"), -1, i32::MAX);
    if reader.is_absent(&at("maxRetryCount")) {
        let what = "is missing: write how often, or -1 for without end";
        reader.problem(&at("maxRetryCount"), what);
    }
    let mut span = |key: &str| {
        let span = reader.time_span(&at(key));
        if reader.is_absent(&at(key)) {
            reader.problem(
                &at(key),
                "is missing: write a time span such as \"00:00:10\"",
            );
        }
        span
    };
    let strategy = if is_fixed? {
        RetryStrategy::FixedDelay(span("delayInterval")?)
    } else {
        let (minimum, maximum) = (span("minimumInterval"), span("maximumInterval"));
        let (minimum, maximum) = (minimum?, maximum?);
        if minimum > maximum {
            let what = "expected at most maximumInterval";
            reader.problem(&at("minimumInterval"), what);
        }
        RetryStrategy::ExponentialBackoff { minimum, maximum }
    };
    Some(RetryPolicy {
        max_retry_count: u32::try_from(count?).ok(),
        strategy,
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::document::Document;

    fn parse(text: &str) -> Result<Option<RetryPolicy>, String> {
        let document = Document::parse(Path::new("f"), text).unwrap();
        let mut reader = Reader::new(&document);
        let policy = read(&mut reader, "retry");
        let read = reader.finish().map(|()| policy);
        read.map_err(|problems| problems.to_string())
    }

    #[test]
    fn pauses_stay_or_double_until_the_count_is_used_up() {
        let fixed = parse(
            r#"{"retry": {"strategy": "FixedDelay", "maxRetryCount": 2, "delayInterval": "00:00:03"}}"#,
        );
        let fixed = fixed.unwrap().unwrap();
        let pauses: Vec<_> = (1..4).map(|number| fixed.pause_before(number)).collect();
        let three = Some(Duration::from_secs(3));
        assert_eq!(pauses, [three, three, None]);
        let growing = parse(
            r#"{"retry": {"strategy": "exponentialBackoff", "maxRetryCount": -1,
                "minimumInterval": "00:00:01", "maximumInterval": "00:00:05"}}"#,
        );
        let growing = growing.unwrap().unwrap();
        let pauses = [1, 2, 3, 4, 1_000_000].map(|number| growing.pause_before(number).unwrap());
        assert_eq!(pauses.map(|pause| pause.as_secs()), [1, 2, 4, 5, 5]);
        assert_eq!(parse("{}"), Ok(None));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_with_its_place() {
        insta::assert_snapshot!(parse(r#"{"retry": {}}"#).unwrap_err(), @r#"
    f:1:11: retry.strategy: is missing: write "fixedDelay" or "exponentialBackoff"
    f:1:11: retry.maxRetryCount: is missing: write how often, or -1 for without end
    "#);
        let text = r#"{"retry": {"strategy": "fixedDelay", "maxRetryCount": -2}}"#;
        insta::assert_snapshot!(parse(text).unwrap_err(), @r#"
    f:1:55: retry.maxRetryCount: expected a whole number from -1 to 2147483647, found -2
    f:1:11: retry.delayInterval: is missing: write a time span such as "00:00:10"
    "#);
        let text = r#"{"retry": {"strategy": "exponentialBackoff", "maxRetryCount": 1,
            "minimumInterval": "00:00:09", "maximumInterval": "00:00:05"}}"#;
        insta::assert_snapshot!(parse(text).unwrap_err(), @"f:2:32: retry.minimumInterval: expected at most maximumInterval");
        insta::assert_snapshot!(parse(r#"{"retry": {"strategy": "often"}}"#).unwrap_err(), @r#"
    f:1:24: retry.strategy: expected "fixedDelay" or "exponentialBackoff", found "often"
    f:1:11: retry.maxRetryCount: is missing: write how often, or -1 for without end
    "#);
    }
}
