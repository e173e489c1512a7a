//! A time span as a schedule: so long after the start of a run comes the next one.
//!
//! It is written as .NET writes a `TimeSpan`: `d`, `h:m`, `h:m:s`, `h:m:s.f`, with days before
//! `.` or `:`. Three numbers are hours, minutes and seconds if they can be, and otherwise days,
//! hours and minutes; so `25:00:00` is 25 **days**, and `1.01:00:00` is what its author meant.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use super::error::{ParseError, Reason, quote};
use super::parser::Piece;

/// .NET counts in units of 100 ns.
const TICKS_PER_SECOND: u32 = 10_000_000;

/// The most whole days that a `TimeSpan` can hold.
const MOST_DAYS: u32 = 10_675_199;

/// A schedule that runs one time span after the start of its last run. It is longer than zero and
/// a multiple of 100 ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(Duration);

impl Interval {
    /// Its length.
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// Whether `text` consists of what a time span consists of, so that errors should be about
    /// time spans.
    pub(super) fn is_meant(text: &str) -> bool {
        let is_part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b':' | b'-');
        text.bytes().all(is_part) && text.bytes().any(|byte| byte.is_ascii_digit())
    }

    /// Reads `piece` of `text`.
    pub(super) fn parse(text: &str, piece: Piece<'_>) -> Result<Self, ParseError> {
        let error = |at: Range<usize>, reason| Err(ParseError::new(text, at, None, reason));
        let (is_negative, unsigned) = match piece.text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, piece.text),
        };
        let Some((numbers, separators)) = split(unsigned) else {
            return error(piece.range(), Reason::NotATimeSpan);
        };
        let mut parsed = Vec::with_capacity(numbers.len());
        for number in &numbers {
            if let Ok(value) = number.parse::<u32>() {
                parsed.push(value);
            } else {
                let text = quote(number);
                return error(piece.range(), Reason::TooLarge { text });
            }
        }
        let fraction = numbers.last().map_or(0, |digits| digits.len());
        match duration(&parsed, &separators, fraction) {
            Err(reason) => error(piece.range(), reason),
            Ok(length) if is_negative || length.is_zero() => {
                error(piece.range(), Reason::NotPositive)
            }
            Ok(length) => Ok(Self(length)),
        }
    }
}

/// The numbers of a time span and what stands between them; at most five numbers.
fn split(text: &str) -> Option<(Vec<&str>, String)> {
    let separators: String = text
        .chars()
        .filter(|character| !character.is_ascii_digit())
        .take(5)
        .collect();
    let numbers: Vec<&str> = text.split(['.', ':']).take(6).collect();
    let is_whole = separators.len() + 1 == numbers.len()
        && numbers.len() <= 5
        && numbers
            .iter()
            .all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    is_whole.then_some((numbers, separators))
}

/// What `numbers` amount to, given the `separators` between them and the count of digits of the
/// last one, in case it is a fraction.
fn duration(numbers: &[u32], separators: &str, digits: usize) -> Result<Duration, Reason> {
    match (numbers, separators) {
        (&[days], "") => length(days, [0; 3], 0),
        (&[hours, minutes], ":") => length(0, [hours, minutes, 0], 0),
        (&[first, second, third], "::") => length(0, [first, second, third], 0)
            .or_else(|reason| length(first, [second, third, 0], 0).map_err(|_| reason)),
        (&[days, hours, minutes], ".:") => length(days, [hours, minutes, 0], 0),
        (&[hours, minutes, seconds, part], "::.") => {
            length(0, [hours, minutes, seconds], ticks(part, digits)?)
        }
        (&[days, hours, minutes, seconds], ".::" | ":::") => {
            length(days, [hours, minutes, seconds], 0)
        }
        (&[days, hours, minutes, seconds, part], ".::." | ":::.") => {
            length(days, [hours, minutes, seconds], ticks(part, digits)?)
        }
        _ => Err(Reason::NotATimeSpan),
    }
}

/// The part of a second that `part`, written with `digits` digits, stands for.
fn ticks(part: u32, digits: usize) -> Result<u32, Reason> {
    let missing = u32::try_from(digits)
        .ok()
        .and_then(|digits| 7_u32.checked_sub(digits));
    match missing {
        Some(missing) => Ok(part * 10_u32.pow(missing)),
        None => Err(Reason::TimeSpanPart {
            part: "digits after the point",
            value: u32::try_from(digits).unwrap_or(u32::MAX),
            last: 7,
        }),
    }
}

fn length(days: u32, [hours, minutes, seconds]: [u32; 3], ticks: u32) -> Result<Duration, Reason> {
    let parts = [
        ("days", days, MOST_DAYS),
        ("hours", hours, 23),
        ("minutes", minutes, 59),
        ("seconds", seconds, 59),
    ];
    if let Some(&(part, value, last)) = parts.iter().find(|(_, value, last)| value > last) {
        return Err(Reason::TimeSpanPart { part, value, last });
    }
    let minutes = (u64::from(days) * 24 + u64::from(hours)) * 60 + u64::from(minutes);
    let nanoseconds = ticks * (1_000_000_000 / TICKS_PER_SECOND);
    Ok(Duration::new(
        minutes * 60 + u64::from(seconds),
        nanoseconds,
    ))
}

impl fmt::Display for Interval {
    /// As .NET writes it: `[d.]hh:mm:ss[.fffffff]`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        if days > 0 {
            write!(formatter, "{days}.")?;
        }
        let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
        write!(formatter, "{hours:02}:{minutes:02}:{seconds:02}")?;
        match self.0.subsec_nanos() / (1_000_000_000 / TICKS_PER_SECOND) {
            0 => Ok(()),
            ticks => write!(formatter, ".{ticks:07}"),
        }
    }
}
