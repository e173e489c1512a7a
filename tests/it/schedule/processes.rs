//! The same with the real processes: broker, host and handler.

use nightshift_tests::{Stack, StackOptions};

use super::*;
use crate::walking_skeleton::until;

const DONE: &str = "SELECT count(*) FROM nightshift.schedule_tick
    WHERE state = 'done' AND function = 'housekeeping-schedule'";

#[tokio::test]
async fn the_timer_of_the_housekeeping_brings_its_work_about() {
    let database = TestDatabase::create().await;
    let options = StackOptions {
        postgres_url: database.url().to_owned(),
        lock_seconds: 60,
    };
    let mut stack = Stack::prepare(options).await.unwrap();
    stack.start_host().unwrap();
    // The first full minute.
    until(database.pool(), DONE, 1).await;
    let log = std::fs::read_to_string(stack.log()).unwrap();
    assert!(log.contains("tidied up"), "{log}");
    stack.stop().unwrap();
    database.remove().await;
}
