//! A timer's tick.

use serde_json::json;

use super::wire::Seen;
use super::world::{TICK, World, ok, timer};

/// The tick of a timer that runs when its host starts.
async fn tick(schedule: &str, more: &str) -> Seen {
    let world = World::standing_still(TICK, &timer(schedule, more), vec![ok()])
        .await
        .setting("WEBSITE_TIME_ZONE", "Asia/Kolkata");
    let host = world.start().await;
    let seen = world.wire.call(1).await;
    host.stop().await;
    seen
}

const HOURLY: &str = "0 0 * * * *";

/// Where the host remembers its timer.
const STATUS: &str = ".nightshift-host/Tick.json";

#[tokio::test(flavor = "multi_thread")]
async fn it_is_an_inline_object() {
    let seen = tick(HOURLY, "").await;
    let document = seen.document();
    let tick = document["Data"]["tick"].as_object().unwrap();
    let members: Vec<&String> = tick.keys().collect();
    assert_eq!(members, ["IsPastDue", "Schedule", "ScheduleStatus"]);
    assert_eq!(document["Data"].as_object().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_status_has_three_times() {
    let document = tick(HOURLY, "").await.document();
    let status = document["Data"]["tick"]["ScheduleStatus"]
        .as_object()
        .unwrap();
    let members: Vec<&String> = status.keys().collect();
    assert_eq!(members, ["Last", "LastUpdated", "Next"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_status_is_null_without_a_monitor() {
    let document = tick(HOURLY, r#", "useMonitor": false"#).await.document();
    let tick = &document["Data"]["tick"];
    assert!(tick["ScheduleStatus"].is_null() && tick.get("ScheduleStatus").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn its_times_are_local_with_their_offset() {
    let document = tick(HOURLY, "").await.document();
    let status = &document["Data"]["tick"]["ScheduleStatus"];
    assert_eq!(status["Next"], "2026-11-20T23:00:00+05:30");
    assert_eq!(status["LastUpdated"], "2026-11-20T22:39:00.12345+05:30");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_run_of_one_that_never_ran_is_the_beginning_of_time() {
    let document = tick(HOURLY, "").await.document();
    let last = document["Data"]["tick"]["ScheduleStatus"]["Last"]
        .as_str()
        .unwrap();
    assert!(last.starts_with("0001-01-01T00:00:00"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_adjusts_for_daylight_saving_with_an_expression() {
    let document = tick(HOURLY, "").await.document();
    let schedule = &document["Data"]["tick"]["Schedule"];
    assert_eq!(*schedule, json!({"AdjustForDST": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_adjust_for_daylight_saving_with_a_time_span() {
    let document = tick("01:00:00", "").await.document();
    let schedule = &document["Data"]["tick"]["Schedule"];
    assert_eq!(*schedule, json!({"AdjustForDST": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_whether_it_is_past_due() {
    assert_eq!(
        tick(HOURLY, "").await.document()["Data"]["tick"]["IsPastDue"],
        false
    );
    let world = World::standing_still(TICK, &timer(HOURLY, ""), vec![ok()]).await;
    let remembered = json!({
        "Last": "2026-11-20T15:00:00Z", "Next": "2026-11-20T16:00:00Z",
        "LastUpdated": "2026-11-20T15:00:01Z",
    });
    world.write(STATUS, &remembered.to_string());
    let host = world.start().await;
    let document = world.wire.call(1).await.document();
    assert_eq!(document["Data"]["tick"]["IsPastDue"], true);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_metadata_are_sys_alone() {
    let document = tick(HOURLY, "").await.document();
    let metadata = document["Metadata"].as_object().unwrap();
    let names: Vec<&String> = metadata.keys().collect();
    assert_eq!(names, ["sys"]);
}
