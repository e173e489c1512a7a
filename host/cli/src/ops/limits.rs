//! `nightshift limits`: how often functions try something, how many messages of one key are at work at a time,
//! and the change of both.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::{Changing, LimitsArgs, LimitsCommand, SetPlacesArgs, SetRateArgs};
use super::table::Column;
use super::{Console, counted, query, section, segment};
use crate::output;

const RATES: &[Column] = &[
    ("NAME", "/name"),
    ("DECLARED", "/declared"),
    ("NOW", "/now"),
    ("FUNCTIONS", "/functions"),
    ("CHANGED", "/changed/at"),
    ("BY", "/changed/by"),
    ("WHY", "/changed/why"),
];
const PLACES: &[Column] = &[
    ("FUNCTION", "/function"),
    ("DECLARED", "/declared"),
    ("NOW", "/now"),
    ("CHANGED", "/changed/at"),
    ("BY", "/changed/by"),
    ("WHY", "/changed/why"),
];

impl Console {
    pub(super) async fn limits(&self, args: LimitsArgs) -> anyhow::Result<u8> {
        match args.command {
            None => self.all_limits().await,
            Some(LimitsCommand::Set(args)) => self.set_rate(args).await,
            Some(LimitsCommand::SetPlaces(args)) => self.set_places(args).await,
            Some(LimitsCommand::Reset { name, changing }) => {
                let said = self.reset("rates", &name, &changing).await?;
                Ok(self.show(&said, |said| changed(said, &rate, "its slot")))
            }
            Some(LimitsCommand::ResetPlaces { function, changing }) => {
                let said = self.reset("places", &function, &changing).await?;
                Ok(self.show(&said, |said| changed(said, &places, "a place")))
            }
        }
    }

    async fn all_limits(&self) -> anyhow::Result<u8> {
        let said = self.api.get("/limits", &[]).await?;
        Ok(self.show(&said, |said| {
            let mut parts = Vec::new();
            if let Some(error) = said["error"].as_str() {
                let error = output::printable(error);
                parts.push(format!("What operators have changed is not known: {error}"));
            }
            let rows = said["rates"].as_array().into_iter().flatten();
            let rows: Vec<Value> = rows.map(row_of_rate).collect();
            parts.push(section("Rates", &json!(rows), RATES, "none"));
            let title = "Places of each concurrency key";
            parts.push(section(title, &said["places"], PLACES, "none"));
            parts.join("\n\n")
        }))
    }

    async fn set_rate(&self, args: SetRateArgs) -> anyhow::Result<u8> {
        let path = format!("/limits/rates/{}", segment(&args.name));
        let mut body = json!({
            "count": args.count,
            "per_seconds": args.per.as_secs_f64(),
            "dry_run": args.changing.dry_run,
        });
        if let Some(burst) = args.burst {
            body["burst"] = json!(burst);
        }
        if let Some(why) = &args.changing.why {
            body["why"] = json!(why);
        }
        let said = self.api.put(&path, None, &body).await?;
        Ok(self.show(&said, |said| changed(said, &rate, "its slot")))
    }

    async fn set_places(&self, args: SetPlacesArgs) -> anyhow::Result<u8> {
        let path = format!("/limits/places/{}", segment(&args.function));
        let mut body = json!({ "places": args.places, "dry_run": args.changing.dry_run });
        if let Some(why) = &args.changing.why {
            body["why"] = json!(why);
        }
        let said = self.api.put(&path, None, &body).await?;
        Ok(self.show(&said, |said| changed(said, &places, "a place")))
    }

    async fn reset(&self, kind: &str, name: &str, changing: &Changing) -> anyhow::Result<Value> {
        let path = format!("/limits/{kind}/{}", segment(name));
        let mut query = query(&[("why", &changing.why)]);
        if changing.dry_run {
            query.push(("dry_run", "true".to_owned()));
        }
        self.api.delete(&path, &query).await
    }
}

/// A rate limit with its rates in words.
fn row_of_rate(limit: &Value) -> Value {
    let mut row = limit.clone();
    for name in ["declared", "now"] {
        if limit[name].is_object() {
            row[name] = json!(rate(&limit[name]));
        }
    }
    let functions = limit["functions"].as_array().into_iter().flatten();
    let functions: Vec<&str> = functions.filter_map(Value::as_str).collect();
    row["functions"] = json!(functions.join(", "));
    row
}

/// What came of a change; `words` puts what is limited into words, and `awaited` is what messages wait for.
fn changed(said: &Value, words: &dyn Fn(&Value) -> String, awaited: &str) -> String {
    let name = output::printable(said["name"].as_str().unwrap_or_default());
    let words = |what: &Value| match what {
        Value::Null => "nothing, the code knows no such limit any more".to_owned(),
        what => words(what),
    };
    let (before, after) = (words(&said["before"]), words(&said["after"]));
    let what = match (said["dry_run"] == true, said["changed"] == true) {
        (true, true) => format!("{name} would have {after}; it has {before}"),
        (false, true) => format!("{name} has {after} now; it had {before}"),
        (_, false) => format!("{name} had {after} before"),
    };
    match said["waiting"].as_u64() {
        None | Some(0) => what,
        Some(_) => {
            let waiting = counted(&said["waiting"], "message waits", "messages wait");
            format!("{what}\n  {waiting} for {awaited}")
        }
    }
}

fn places(places: &Value) -> String {
    counted(places, "place", "places")
}

/// A rate in words, such as `10 in 1s, burst 5`.
fn rate(rate: &Value) -> String {
    let number = |name: &str| rate[name].as_u64().unwrap_or(0);
    let seconds = rate["per_seconds"].as_f64().unwrap_or(0.0);
    let (count, burst) = (number("count"), number("burst"));
    format!("{count} in {}, burst {burst}", span_in_words(seconds))
}

/// In the largest unit of which it is a whole number.
fn span_in_words(seconds: f64) -> String {
    let span = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let micros = span.as_micros();
    let unit = UNITS.iter().rev().find(|(_, unit)| {
        let unit = unit.as_micros();
        micros > 0 && micros.is_multiple_of(unit)
    });
    match unit {
        Some((name, unit)) => format!("{}{name}", micros / unit.as_micros()),
        None => format!("{seconds}s"),
    }
}

/// The units of a span, the shortest first.
const UNITS: [(&str, Duration); 6] = [
    ("us", Duration::from_micros(1)),
    ("ms", Duration::from_millis(1)),
    ("s", Duration::from_secs(1)),
    ("m", Duration::from_mins(1)),
    ("h", Duration::from_hours(1)),
    ("d", Duration::from_hours(24)),
];

/// The span that `text` says: a whole number and a unit.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || {
        let units: Vec<&str> = UNITS.iter().map(|(name, _)| *name).collect();
        let units = units.join(", ");
        format!("a span is a whole number and a unit ({units}), such as 1s or 5m")
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, name) = text.split_at(digits);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let unit = UNITS.iter().find(|(unit, _)| *unit == name);
    let (_, unit) = unit.ok_or_else(wrong)?;
    unit.checked_mul(number).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_number_and_a_unit() {
        assert_eq!(span("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(span("90m"), Ok(Duration::from_mins(90)));
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "1", "m", "1.5s", "-1s", "1 s", "1w", "99999999999s"] {
            let refused = span(bad).unwrap_err();
            assert!(refused.ends_with("such as 1s or 5m"), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_rate_is_said_in_the_unit_in_which_it_is_a_whole_number() {
        for (count, per_seconds, said) in [
            (10, 1.0, "10 in 1s, burst 2"),
            (1, 600.0, "1 in 10m, burst 2"),
            (1, 90.0, "1 in 90s, burst 2"),
            (5, 0.25, "5 in 250ms, burst 2"),
            (1, 2_592_000.0, "1 in 30d, burst 2"),
        ] {
            let numbers = json!({ "count": count, "per_seconds": per_seconds, "burst": 2 });
            assert_eq!(rate(&numbers), said);
        }
    }

    #[test]
    fn what_came_of_a_change_is_said_in_words() {
        let mut said = json!({
            "name": "mails", "changed": true, "dry_run": false, "waiting": 3,
            "before": { "count": 10, "per_seconds": 1.0, "burst": 1 },
            "after": { "count": 100, "per_seconds": 1.0, "burst": 1 },
        });
        assert_eq!(
            changed(&said, &rate, "its slot"),
            "mails has 100 in 1s, burst 1 now; it had 10 in 1s, burst 1\n  3 messages wait for its slot"
        );
        said["dry_run"] = json!(true);
        said["waiting"] = json!(0);
        assert_eq!(
            changed(&said, &rate, "its slot"),
            "mails would have 100 in 1s, burst 1; it has 10 in 1s, burst 1"
        );
        let same = json!({ "name": "restore", "changed": false, "after": 1, "waiting": 0 });
        assert_eq!(
            changed(&same, &places, "a place"),
            "restore had 1 place before"
        );
    }
}
