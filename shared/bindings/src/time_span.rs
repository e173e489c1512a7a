//! Spans of time as .NET writes them: `[d.]hh:mm:ss[.fffffff]`.
//!
//! `host.json` holds its time-outs in this form. The real host also takes `24:00:00`, and reads it
//! as twenty-four *days*; nobody means that, so here it is an error that says what to write.

use std::time::Duration;

/// Why a text is not a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeSpanError {
    /// The text has another shape.
    #[error("expected a time span such as \"00:05:00\" (hours:minutes:seconds) or \"1.00:00:00\"")]
    Shape,
    /// Hours above 23, or minutes or seconds above 59.
    #[error(
        "expected hours up to 23 and minutes and seconds up to 59; one day is written \"1.00:00:00\""
    )]
    OutOfRange,
    /// Less than zero.
    #[error("expected a time span of zero or more")]
    Negative,
}

/// Reads `text` as a span of zero or more. Fractions are kept to 100 nanoseconds.
pub fn parse_time_span(text: &str) -> Result<Duration, TimeSpanError> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('-') {
        return Err(if parse_time_span(rest).is_ok() {
            TimeSpanError::Negative
        } else {
            TimeSpanError::Shape
        });
    }
    // A bare number is days.
    if !text.contains(':') {
        return Ok(Duration::from_secs(digits(text, 8)? * 86_400));
    }
    let mut parts = text.split(':');
    let (Some(first), Some(minutes)) = (parts.next(), parts.next()) else {
        return Err(TimeSpanError::Shape);
    };
    let seconds = parts.next().unwrap_or("0");
    if parts.next().is_some() {
        return Err(TimeSpanError::Shape);
    }
    let (days, hours) = first.split_once('.').unwrap_or(("0", first));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let days = digits(days, 8)?;
    let (hours, minutes, seconds) = (digits(hours, 8)?, digits(minutes, 8)?, digits(seconds, 8)?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return Err(TimeSpanError::OutOfRange);
    }
    // .NET counts in ticks of 100 nanoseconds: seven digits.
    let ticks = digits(&format!("{fraction:0<7}"), 7)?;
    let whole = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
    Ok(Duration::from_secs(whole) + Duration::from_nanos(ticks * 100))
}

/// A number of 1 to `max` decimal digits and nothing else.
fn digits(text: &str, max: usize) -> Result<u64, TimeSpanError> {
    if text.is_empty() || text.len() > max || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TimeSpanError::Shape);
    }
    text.parse().map_err(|_| TimeSpanError::Shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_every_shape_are_read() {
        for (text, millis) in [
            ("00:05:00", 300_000),
            ("0:0:1", 1_000),
            ("00:00:00.25", 250),
            ("1.02:03:04.5", 93_784_500),
            ("2", 172_800_000),
            ("01:30", 5_400_000),
            (" 00:00:00 ", 0),
        ] {
            assert_eq!(
                parse_time_span(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            ":",
            "5m",
            "1:2:3:4",
            "+1:00",
            "00:00:00.12345678",
            "99999999999:00",
            "é:00",
        ] {
            assert_eq!(parse_time_span(text), Err(TimeSpanError::Shape), "{text}");
        }
        assert_eq!(parse_time_span("24:00:00"), Err(TimeSpanError::OutOfRange));
        assert_eq!(parse_time_span("00:60:00"), Err(TimeSpanError::OutOfRange));
        assert_eq!(parse_time_span("-00:00:01"), Err(TimeSpanError::Negative));
    }
}
