//! What the forecast says.

use clap::Parser;

use super::*;
use crate::args::{Cli, Command};

fn args(arguments: &[&str]) -> PlanArgs {
    let cli = Cli::parse_from([&["nightshift", "plan"], arguments].concat());
    let Command::Plan(args) = cli.command else {
        panic!("{arguments:?}")
    };
    args
}

fn forecast(arguments: &[&str]) -> (Span, Vec<Forecast>) {
    let args = args(arguments);
    let span = Span {
        from: args.from.unwrap(),
        until: args.until.unwrap(),
        most: args.most,
    };
    let listed = preview(&args, args.cron.as_deref().unwrap()).unwrap();
    (span, vec![Forecast::new(listed, span, args.outage)])
}

fn text(arguments: &[&str]) -> String {
    let (span, forecasts) = forecast(arguments);
    render::as_text(span, &forecasts, false)
}

const BERLIN: [&str; 2] = ["--zone", "Europe/Berlin"];

#[test]
fn the_gap_of_spring_is_marked_and_so_is_the_next_change_after_the_horizon() {
    let nightly = [
        "--cron=0 30 2 * * *",
        "--from=2026-03-28",
        "--until=2026-03-30T12:00:00Z",
    ];
    assert_eq!(
        text(&[&nightly[..], &BERLIN].concat()),
        "preview  0 30 2 * * * (points in time), Europe/Berlin
overlap skip, missed last, catch-up 24:00:00
woken in UTC by 0 30 0-1 * * *

  Sat 2026-03-28 02:30:00 +01:00  2026-03-28T01:30:00Z
  Sun 2026-03-29: clocks go forward by 1:00:00: there is no 02:00:00 to 03:00:00; what is due then runs as much later
  Sun 2026-03-29 03:30:00 +02:00  2026-03-29T01:30:00Z  there is no 02:30:00 that day
  Mon 2026-03-30 02:30:00 +02:00  2026-03-30T00:30:00Z

  Sun 2026-10-25: clocks go back by 1:00:00: 02:00:00 to 03:00:00 comes twice; what is due then runs the first time only
  Sun 2026-10-25 02:30:00 +02:00  2026-10-25T00:30:00Z  the first of two 02:30:00; the second does not run

  Sun 2027-03-28: clocks go forward by 1:00:00: there is no 02:00:00 to 03:00:00; what is due then runs as much later
  Sun 2027-03-28 03:30:00 +02:00  2027-03-28T01:30:00Z  there is no 02:30:00 that day"
    );
}

#[test]
fn an_interval_runs_on_through_the_hour_that_comes_twice() {
    let text = text(&[
        "--cron=0 */30 * * * *",
        "--zone=Europe/Berlin",
        "--from=2026-10-25T00:15:00Z",
        "--until=2026-10-25T02:00:00Z",
    ]);
    let found: Vec<&str> = text
        .lines()
        .skip(3)
        .take_while(|line| !line.is_empty())
        .collect();
    assert_eq!(
        found,
        [
            "  Sun 2026-10-25 02:30:00 +02:00  2026-10-25T00:30:00Z  the first of two 02:30:00",
            "  Sun 2026-10-25: clocks go back by 1:00:00: 02:00:00 to 03:00:00 comes twice; what is due then runs both times",
            "  Sun 2026-10-25 02:00:00 +01:00  2026-10-25T01:00:00Z  the second of two 02:00:00",
            "  Sun 2026-10-25 02:30:00 +01:00  2026-10-25T01:30:00Z  the second of two 02:30:00",
            "  Sun 2026-10-25 03:00:00 +01:00  2026-10-25T02:00:00Z",
        ]
    );
}

#[test]
fn many_runs_are_counted_rather_than_shown() {
    let minutely = [
        "--cron=0 * * * * *",
        "--from=2026-03-01",
        "--until=2026-03-08",
    ];
    let text = text(&[&minutely[..], &["--most=2"]].concat());
    assert!(
        text.ends_with(
            "
  Sun 2026-03-01 00:01:00 +00:00  2026-03-01T00:01:00Z
  Sun 2026-03-01 00:02:00 +00:00  2026-03-01T00:02:00Z
  and 10078 more until 2026-03-08T00:00:00Z; --most shows more"
        ),
        "{text}"
    );
}

#[test]
fn after_an_outage_it_is_said_what_runs_and_why_the_rest_does_not() {
    let hourly = [
        "--cron=0 0 * * * *",
        "--from=2026-03-01",
        "--until=2026-03-02",
    ];
    let outage = "--outage=2026-03-01T03:30:00Z..2026-03-01T08:30:00Z";
    let after = |more: &str| {
        let text = text(&[&hourly[..], &["--most=1", outage, more]].concat());
        let (_, after) = text.split_once("\n\n  If nothing woke").unwrap();
        let lines = after.lines().skip(1).map(str::to_owned);
        lines.collect::<Vec<String>>()
    };
    let skipped = "  skipped  Sun 2026-03-01 04:00:00 +00:00 … Sun 2026-03-01 07:00:00 +00:00 (4)  missed, and a later one runs for all";
    let last = "Sun 2026-03-01 08:00:00 +00:00";
    let runs = format!("  runs     {last}  0:30:00 late");
    assert_eq!(after("--missed=last"), [skipped.to_owned(), runs]);
    assert_eq!(after("--missed=all:2").len(), 3);
    let overlapping = format!("  skipped  {last}  the tick before has not ended");
    assert_eq!(after("--missed=all:2")[2], overlapping);
}

#[test]
fn json_holds_what_the_text_shows() {
    let (span, forecasts) = forecast(&[
        "--cron=0 0 4 * * *",
        "--from=2026-03-01",
        "--until=2026-03-02",
        "--outage=2026-03-01..2026-03-01T05:00:00Z",
    ]);
    let json = render::as_json(span, &forecasts);
    let due = "2026-03-01T04:00:00Z";
    let expected = json!({
        "from": "2026-03-01T00:00:00Z", "until": "2026-03-02T00:00:00Z",
        "schedules": [{
            "function": "preview", "queue": "preview", "wake_up": "0 0 4 * * *",
            "schedule": {
                "cron": "0 0 4 * * *", "zone": "UTC", "overlap": "skip", "missed": "last",
                "catch_up_seconds": 86_400, "jitter_seconds": 0,
            },
            "runs": [{"local": "2026-03-01T04:00:00+00:00", "utc": due, "note": null}],
            "more_runs": 0, "clock_changes": [], "later_clock_changes": [],
            "outage": {
                "from": "2026-03-01T00:00:00Z", "to": "2026-03-01T05:00:00Z",
                "ticks": [{"first": due, "last": due, "count": 1, "fate": "runs", "why": null}],
            },
        }],
    });
    assert_eq!(json, expected);
}

#[test]
fn an_argument_that_makes_no_sense_is_explained() {
    let refusal = |arguments: &[&str]| {
        let arguments = [&["nightshift", "plan"], arguments].concat();
        Cli::try_parse_from(arguments).unwrap_err().to_string()
    };
    let text = refusal(&["--outage=2026-03-01"]);
    assert!(text.contains("two instants with .. between"), "{text}");
    let text = refusal(&["--outage=2026-03-02..2026-03-01"]);
    assert!(text.contains("must end after it has begun"), "{text}");
    let text = refusal(&["--until=tomorrow"]);
    assert!(text.contains("a day such as 2026-03-29"), "{text}");
    let text = refusal(&["--cron=* * * * * *", "--missed=some"]);
    assert!(text.contains("is none, last or all:N"), "{text}");
    let text = refusal(&["--zone=Europe/Berlin"]);
    assert!(text.contains("--cron"), "{text}");
}
