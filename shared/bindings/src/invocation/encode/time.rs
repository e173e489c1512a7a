//! Instants as the real host's JSON writer spells them.
//!
//! A single value has gone through .NET's short text form and lost its fraction and, for the
//! `…Utc` names, its offset; an element of an array keeps up to seven fractional digits, without
//! trailing zeros, and its zone.

use std::fmt::Display;

use chrono::{DateTime, Datelike, TimeZone, Timelike, Utc};

/// The spellings of an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `2026-11-20T17:09:00`
    Bare,
    /// `2026-11-20T17:09:00+00:00`
    Offset,
    /// `2026-11-20T17:09:00.123Z`
    FullUtc,
    /// `2026-11-20T17:09:00.123+00:00`
    FullOffset,
}

/// What .NET calls the end of time: the expiry of a message without a time to live.
const END_OF_TIME: &[u8] = b"9999-12-31T23:59:59";

/// Appends `time`, or the end of time for `None` and for years beyond 9999.
pub(super) fn push_time(out: &mut Vec<u8>, time: Option<DateTime<Utc>>, form: Form) {
    let is_full = matches!(form, Form::FullUtc | Form::FullOffset);
    let ticks = if let Some(time) = time.filter(|time| (1..=9999).contains(&time.year())) {
        push_seconds(out, time);
        time.nanosecond() % 1_000_000_000 / 100
    } else {
        out.extend_from_slice(END_OF_TIME);
        9_999_999
    };
    if is_full {
        push_fraction(out, ticks);
    }
    match form {
        Form::Bare => {}
        Form::FullUtc => out.push(b'Z'),
        Form::Offset | Form::FullOffset => out.extend_from_slice(b"+00:00"),
    }
}

/// `time` as `…Utc` values are spelt in full.
pub(super) fn spelt_utc(time: DateTime<Utc>) -> String {
    let mut out = Vec::new();
    push_time(&mut out, Some(time), Form::FullUtc);
    String::from_utf8(out).unwrap_or_default()
}

/// `time` with its own offset and its whole fraction.
pub(super) fn spelt_local<Z: TimeZone<Offset: Display>>(time: &DateTime<Z>) -> String {
    let mut fraction = Vec::new();
    push_fraction(&mut fraction, time.nanosecond() % 1_000_000_000 / 100);
    let fraction = String::from_utf8(fraction).unwrap_or_default();
    format!("{}{fraction}{}", time.format("%FT%T"), time.format("%:z"))
}

/// The fraction of a second in units of 100 ns, without trailing zeros.
fn push_fraction(out: &mut Vec<u8>, ticks: u32) {
    if ticks > 0 {
        out.push(b'.');
        push_digits(out, ticks, 7);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

fn push_seconds(out: &mut Vec<u8>, time: DateTime<Utc>) {
    push_digits(out, time.year().unsigned_abs(), 4);
    let fields = [
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
    ];
    for (separator, field) in b"--T::".iter().zip(fields) {
        out.push(*separator);
        push_digits(out, field, 2);
    }
}

/// Appends the last `width` decimal digits of `number`, at most seven.
fn push_digits(out: &mut Vec<u8>, mut number: u32, width: usize) {
    let mut digits = [b'0'; 7];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    out.extend_from_slice(&digits[7 - width.min(7)..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(text: &str, form: Form) -> String {
        let mut out = Vec::new();
        push_time(&mut out, text.parse().ok(), form);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_form_keeps_what_the_real_host_keeps() {
        let time = "2026-01-02T03:04:05.120000600Z";
        assert_eq!(spelt(time, Form::Bare), "2026-01-02T03:04:05");
        assert_eq!(spelt(time, Form::Offset), "2026-01-02T03:04:05+00:00");
        assert_eq!(spelt(time, Form::FullUtc), "2026-01-02T03:04:05.1200006Z");
        assert_eq!(
            spelt("2026-01-02T03:04:05Z", Form::FullOffset),
            "2026-01-02T03:04:05+00:00"
        );
        assert_eq!(spelt("never", Form::Bare), "9999-12-31T23:59:59");
        assert_eq!(
            spelt("never", Form::FullUtc),
            "9999-12-31T23:59:59.9999999Z"
        );
        let zone = chrono::FixedOffset::west_opt(5_400).expect("an offset");
        let local = "2026-01-02T03:04:05.250Z"
            .parse::<DateTime<Utc>>()
            .expect("a time")
            .with_timezone(&zone);
        assert_eq!(spelt_local(&local), "2026-01-02T01:34:05.25-01:30");
        assert_eq!(
            spelt("+12026-01-02T03:04:05Z", Form::Bare),
            "9999-12-31T23:59:59"
        );
    }
}
