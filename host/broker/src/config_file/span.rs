//! Spans of time as ISO 8601 writes them: `PT1M30S`, `P7D`, `PT0.5S`.

use std::time::Duration;

/// The span that `text` means. Years and months are refused: they have no fixed length.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (date, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((date, time)) if !time.is_empty() => (date, time),
        Some(_) => return None,
        None => (text.strip_prefix('P')?, ""),
    };
    if date.is_empty() && time.is_empty() {
        return None;
    }
    let (days, rest) = part(date, 'D')?;
    let (hours, time) = part(time, 'H')?;
    let (minutes, time) = part(time, 'M')?;
    if !rest.is_empty() {
        return None;
    }
    let seconds = match time {
        "" => Duration::ZERO,
        time => seconds(time.strip_suffix('S')?)?,
    };
    let whole = days
        .checked_mul(86_400)?
        .checked_add(hours.checked_mul(3_600)?)?
        .checked_add(minutes.checked_mul(60)?)?;
    Duration::from_secs(whole).checked_add(seconds)
}

/// The number before `unit` and what follows, or zero and everything when the unit is not there.
fn part(text: &str, unit: char) -> Option<(u64, &str)> {
    match text.split_once(unit) {
        Some((digits, rest)) => Some((number(digits)?, rest)),
        None => Some((0, text)),
    }
}

fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

fn seconds(text: &str) -> Option<Duration> {
    let Some((whole, fraction)) = text.split_once('.') else {
        return number(text).map(Duration::from_secs);
    };
    if fraction.len() > 9 {
        return None;
    }
    let nanoseconds = number(&format!("{fraction:0<9}")).filter(|_| !fraction.is_empty())?;
    Some(Duration::from_secs(number(whole)?) + Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_exactly() {
        for (text, millis) in [
            ("PT1M", 60_000),
            ("P1D", 86_400_000),
            ("P1DT1H1M1.5S", 90_061_500),
            ("PT0.001S", 1),
            ("PT90S", 90_000),
            ("P0D", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        let longest = parse("P10675199DT2H48M5.4775807S").unwrap();
        assert_eq!(longest.as_secs(), 922_337_203_685);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "P",
            "PT",
            "1M",
            "PT1",
            "P1M",
            "P1Y",
            "PTS",
            "PT1M1",
            "PT-1S",
            "PT1.S",
            "PT.5S",
            "PT1S1M",
            "P1DT",
            "P1H",
            "PT1D",
            " PT1S",
            "PT1S ",
            "pt1s",
            "00:01:00",
            "P+1D",
            "PT99999999999999999999S",
            "P999999999999999999D",
            "PT0.0000000001S",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
