//! Timers: when they run, what they remember, and that of several hosts one runs them.

use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use nightshift_time::SystemClock;

use super::fixture::{Fixture, Request, until};
use super::http_client::ask;

const HOURLY: &str = "0 0 * * * *";

fn timer(schedule: &str, more: &str) -> String {
    format!(
        r#"{{"bindings": [{{"type": "timerTrigger", "direction": "in", "name": "tick",
             "schedule": "{schedule}"{more}}}]}}"#
    )
}

async fn one(schedule: &str, more: &str) -> Fixture {
    Fixture::with_functions(&[("nightly", &timer(schedule, more))], "ok").await
}

fn tick(request: &Request) -> serde_json::Value {
    request.body()["Data"]["tick"].clone()
}

/// What a host remembered that ran this hourly timer long ago.
const LONG_AGO: &str = r#"{"Last": "2026-01-01T00:00:00Z", "Next": "2026-01-01T01:00:00Z",
    "LastUpdated": "2026-01-01T00:00:00Z"}"#;

const STATUS: &str = ".nightshift-host/nightly.json";

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_ticks_and_is_not_monitored_within_a_minute() {
    let fixture = one("*/1 * * * * *", "").await;
    let host = fixture.start().await;
    let requests = fixture.requests_made(2).await;
    let first = &requests[0];
    assert_eq!((first.path(), first.method()), ("/nightly", "POST"));
    let expected = serde_json::json!(
        {"Schedule": {"AdjustForDST": true}, "ScheduleStatus": null, "IsPastDue": false}
    );
    assert_eq!(tick(first), expected);
    let body = first.body();
    assert_eq!(body["Metadata"]["sys"]["MethodName"], "nightly");
    assert_eq!(body["Metadata"].as_object().unwrap().len(), 1);
    assert!(!fixture.path(STATUS).exists());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_run_is_made_up_for_once_and_remembered() {
    let fixture = one(HOURLY, r#", "runOnStartup": true"#)
        .await
        .setting("WEBSITE_TIME_ZONE", "Asia/Kolkata");
    // Half an hour apart from UTC: the hours of the zone are what was remembered.
    let remembered = LONG_AGO
        .replace("00:00:00Z", "00:30:00Z")
        .replace("01:00:00Z", "01:30:00Z");
    fixture.write(STATUS, &remembered);
    let host = fixture.start().await;
    let requests = fixture.requests_made(1).await;
    let first = tick(&requests[0]);
    assert_eq!(first["IsPastDue"], true);
    let due = requests[0].header("x-nightshift-due");
    assert_eq!(due, Some("2026-01-01T01:30:00.000Z"));
    assert_eq!(first["ScheduleStatus"]["Last"], "2026-01-01T06:00:00+05:30");
    assert_eq!(first["ScheduleStatus"]["Next"], "2026-01-01T07:00:00+05:30");
    let status = || std::fs::read_to_string(fixture.path(STATUS)).unwrap();
    until("the run to be remembered", || {
        !status().contains("2026-01-01T01:30:00Z")
    })
    .await;
    host.stop().await;
    let after = status();
    // The next start has missed nothing; only runOnStartup makes it run.
    let host = fixture.start().await;
    let requests = fixture.requests_made(2).await;
    assert_eq!(tick(&requests[1])["IsPastDue"], false);
    assert_eq!(requests[1].header("x-nightshift-due"), None);
    until("the run to be remembered", || status() != after).await;
    host.stop().await;
    assert_eq!(fixture.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_by_hand_is_not_remembered() {
    let fixture = one(HOURLY, "").await;
    let host = fixture.start().await;
    until("the timer to be set", || fixture.path(STATUS).exists()).await;
    let status = || std::fs::read_to_string(fixture.path(STATUS)).unwrap();
    let before = status();
    let headers = "Content-Type: application/json\r\n";
    let answer = ask(&host, "POST /admin/functions/nightly", headers, "{}").await;
    assert_eq!(answer.status, 202);
    let requests = fixture.requests_made(1).await;
    assert_eq!(tick(&requests[0])["IsPastDue"], false);
    until("the run to end", || {
        host.stats().functions["nightly"].invocations == 1
    })
    .await;
    assert_eq!(status(), before);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hosts_one_runs_the_timer_and_the_other_takes_over() {
    let fixture = one("*/1 * * * * *", "").await;
    let first = fixture.start().await;
    fixture.requests_made(1).await;
    let second = fixture.start().await;
    let count = fixture.requests().len();
    fixture.requests_made(count + 2).await;
    assert_eq!(second.stats().functions["nightly"].invocations, 0);
    first.stop().await;
    until("the second host to run it", || {
        second.stats().functions["nightly"].invocations > 0
    })
    .await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_does_not_stop_the_timer_and_runs_never_overlap() {
    let fixture = one("00:00:01", "").await;
    fixture.script("status:500\nwait\nok");
    let host = fixture.start().await;
    fixture.requests_made(2).await;
    let begun = Instant::now();
    until("two intervals to pass", || {
        assert_eq!(fixture.requests().len(), 2);
        begun.elapsed() > Duration::from_secs(2)
    })
    .await;
    fixture.go();
    let requests = fixture.requests_made(3).await;
    assert_eq!(tick(&requests[2])["Schedule"]["AdjustForDST"], false);
    let stats = host.stats().functions["nightly"];
    assert_eq!(stats.failures, 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_tried_again_as_its_policy_says() {
    let policy = r#"}], "retry": {"strategy": "fixedDelay", "maxRetryCount": 2, "delayInterval": "00:00:00.01"},
        "unread": [{"#;
    let more = format!(r#", "runOnStartup": true{policy}"#);
    let fixture = one(HOURLY, &more).await;
    fixture.script("status:500\nstatus:404");
    let host = fixture.start().await;
    until("three failed runs", || {
        host.stats().functions["nightly"].failures == 3
    })
    .await;
    let contexts: Vec<_> = fixture
        .requests()
        .iter()
        .map(|request| request.body()["Metadata"]["RetryContext"].clone())
        .collect();
    let of = |count: u32, status: &str| {
        let what =
            format!("the handler answered with status {status}; what went wrong is in its own log");
        serde_json::json!({"RetryCount": count, "MaxRetryCount": 2, "Exception": what})
    };
    assert_eq!(contexts[0], serde_json::Value::Null);
    assert_eq!(contexts[1], of(1, "500 Internal Server Error"));
    assert_eq!(contexts[2], of(2, "404 Not Found"));
    // The policy is used up: the timer goes on, and remembers the run.
    let status = || std::fs::read_to_string(fixture.path(STATUS)).unwrap_or_default();
    until("the run to be remembered", || {
        !status().contains("\"Last\":null")
    })
    .await;
    assert_eq!(fixture.requests().len(), 3);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_retry() {
    let policy = r#"}], "retry": {"strategy": "fixedDelay", "maxRetryCount": -1, "delayInterval": "01:00:00"},
        "unread": [{"#;
    let fixture = one(HOURLY, &format!(r#", "runOnStartup": true{policy}"#)).await;
    fixture.script("status:500");
    let host = fixture.start().await;
    until("a failed run", || {
        host.stats().functions["nightly"].failures == 1
    })
    .await;
    tokio::time::timeout(Duration::from_secs(20), host.stop())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_wrong_schedule_or_zone_is_refused_with_its_place() {
    let fixture = one("0 0 25 * * *", "")
        .await
        .setting("WEBSITE_TIME_ZONE", "Europe/Belrin");
    let problems = fixture.load().unwrap_err().to_string();
    let lines: Vec<&str> = problems.lines().skip(1).collect();
    assert_eq!(lines.len(), 2, "{problems}");
    assert!(
        lines[0].contains("nightly/function.json:2:26: bindings[0].schedule: "),
        "{problems}"
    );
    assert!(
        lines[1].contains("WEBSITE_TIME_ZONE: no time zone is called"),
        "{problems}"
    );
    assert!(
        lines[1].contains("did you mean Europe/Berlin?"),
        "{problems}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_hosts_that_are_killed_in_turn_each_tick_has_one() {
    let fixture = one("*/1 * * * * *", "").await;
    let mut hosts: Vec<_> = (0..3).map(|_| fixture.start_process()).collect();
    let mut count = 1;
    for host in &mut hosts[..2] {
        count = fixture.requests_made(count).await.len() + 2;
        host.kill().unwrap();
        host.wait().unwrap();
    }
    let requests = fixture.requests_made(count + 2).await;
    for host in &mut hosts[2..] {
        host.kill().unwrap();
        host.wait().unwrap();
    }
    let mut seconds: Vec<&str> = requests
        .iter()
        .map(|request| request.header("x-nightshift-due").unwrap())
        .collect();
    let all = seconds.len();
    seconds.dedup();
    assert_eq!(seconds.len(), all, "{seconds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitored_run_that_is_killed_is_repeated_by_the_next_host() {
    let fixture = one("00:01:00", "").await;
    fixture.script("wait\nok");
    // As if another host had run it most of a minute ago.
    let spelt = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
    let next = SystemClock::shared().now() + TimeDelta::seconds(5);
    let (last, next) = (spelt(next - TimeDelta::minutes(1)), spelt(next));
    let status = format!(r#"{{"Last": "{last}", "Next": "{next}", "LastUpdated": "{last}"}}"#);
    fixture.write(STATUS, &status);
    let mut hosts = vec![fixture.start_process()];
    fixture.requests_made(1).await;
    hosts.push(fixture.start_process());
    hosts[0].kill().unwrap();
    hosts[0].wait().unwrap();
    let requests = fixture.requests_made(2).await;
    hosts[1].kill().unwrap();
    hosts[1].wait().unwrap();
    let due = |request: &Request| request.header("x-nightshift-due").map(str::to_owned);
    assert_eq!(due(&requests[0]), Some(next.clone()));
    assert_eq!(due(&requests[1]), Some(next));
    assert_eq!(tick(&requests[0])["IsPastDue"], false);
    assert_eq!(tick(&requests[1])["IsPastDue"], true);
}
