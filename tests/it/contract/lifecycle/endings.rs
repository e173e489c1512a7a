//! How the process ends by itself, and what comes of it.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::{BRIEF_START, failed, is_alive, scripted, served, starts, unserved};
use crate::contract::world::{PATIENCE, WEB, WORK, World, ok, queue, stats, until, web};
use crate::host::http_client::{connect, get, read};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_two_errors_lead_to_a_restart_at_once_and_the_third_stops_the_host() {
    let world = unserved("echo $$ >> starts\nexit 3\n").await;
    let host = world.start_unready();
    assert!(failed(&host).await.contains("exit status: 3"));
    assert_eq!((starts(&world), host.stats().handler.restarts), (3, 2));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_errors_do_not_stop_the_host() {
    let script = format!(
        "[ -e twice ] && exec sleep infinity\n[ -e once ] && touch twice\ntouch once\n{}",
        "exit 3\n"
    );
    let world = served(&script, vec![ok()]).await;
    let host = world.start_unready();
    until("two restarts", || host.stats().handler.restarts == 2).await;
    host.wait_until_ready(PATIENCE).await.unwrap();
    world.send(&["hello"]).await;
    world.wire.call(1).await;
    host.stop().await;
}

/// Whether the process exists and is no zombie: whoever inherits an orphan reaps it in its own time.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// A process that stays until the file `leave` exists, and then exits with `code`.
fn leaves(code: u8) -> String {
    format!("echo $$ >> starts\nuntil [ -e leave ]; do sleep 0.01; done\nexit {code}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_0_restarts_nothing_and_calls_go_to_whoever_listens() {
    let world = served(&leaves(0), vec![ok()]).await;
    let host = world.start().await;
    let pid = host.handler_pid().unwrap();
    world.write("leave", "");
    until("the exit", || !is_alive(pid)).await;
    world.send(&["hello"]).await;
    world.wire.call(1).await;
    world.drained().await;
    let restarts = host.stats().handler.restarts;
    assert_eq!((restarts, stats(&host, WORK).failures), (0, 0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_exit_code_0_calls_are_refused() {
    let world = World::new(WEB, &web(""), vec![ok()]).await;
    let mut world = world.shell(&leaves(0));
    let host = world.start().await;
    let pid = host.handler_pid().unwrap();
    world.write("leave", "");
    until("the exit", || !is_alive(pid)).await;
    world.wire.shut().await;
    for _ in 0..2 {
        assert_eq!(get(&host, "/api/Web").await.status, 500);
    }
    assert_eq!((starts(&world), host.stats().handler.restarts), (1, 0));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_exit_code_0_a_process_left_behind_is_called_and_ends_with_the_host() {
    let world = scripted("ok").await;
    world.write("handler.sh", "python3 scripted.py &\nexit 0\n");
    let description = r#"{"defaultExecutablePath": "sh", "arguments": ["handler.sh"]}"#;
    world.write(
        "host.json",
        &format!(r#"{{"version": "2.0", "customHandler": {{"description": {description}}}}}"#),
    );
    let host = world.start().await;
    assert_eq!(get(&host, "/api/Web").await.status, 200);
    let request: serde_json::Value = serde_json::from_str(&world.read("requests")).unwrap();
    let pid = u32::try_from(request["pid"].as_u64().unwrap()).unwrap();
    assert_ne!(host.handler_pid(), Some(pid));
    host.stop().await;
    until("the end of what was left behind", || !is_running(pid)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_0_before_readiness_is_noticed_by_the_time_to_start() {
    let world = unserved("echo $$ >> starts\nexit 0\n").await;
    world.host_json("", BRIEF_START);
    let begun = Instant::now();
    let host = world.start_unready();
    assert!(failed(&host).await.contains("did not listen"));
    assert!(begun.elapsed() >= Duration::from_millis(900));
    assert_eq!(starts(&world), 3);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_200_restarts_and_is_not_counted() {
    let script =
        "echo $$ >> starts\n[ $(wc -l < starts) -lt 6 ] && exit 200\nexec sleep infinity\n";
    let world = served(script, vec![ok()]).await;
    let host = world.start_unready();
    until("six starts", || starts(&world) == 6).await;
    host.wait_until_ready(PATIENCE).await.unwrap();
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_at_a_crash_fail_with_a_500() {
    let world = scripted("wait\ncrash\nok").await;
    let host = world.start().await;
    let mut caller = connect(&host).await;
    let request = b"GET /api/Web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    caller.write_all(request).await.unwrap();
    until("the first call", || {
        world.read("requests").lines().count() == 1
    })
    .await;
    assert_eq!(get(&host, "/api/Web").await.status, 500);
    assert_eq!(read(&mut caller).await.status, 500);
    assert_eq!(stats(&host, WEB).failures, 2);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_in_flight_at_a_crash_are_abandoned() {
    let world = World::new(WORK, &queue(""), vec![ok()]).await;
    world.write("script", "crash\nok");
    let world = world.program("python3", "scripted.py");
    world.send(&["hello"]).await;
    let host = world.start().await;
    world.drained().await;
    let requests = world.read("requests");
    let counts: Vec<bool> = requests
        .lines()
        .map(|line| line.contains(r#"\"DeliveryCount\":\"2\""#))
        .collect();
    assert_eq!(counts, [false, true]);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_three_lines_of_its_standard_error_tell_why_it_ended() {
    let script = "for n in 1 2 3 4 5; do echo line $n >&2; done\nexit 3\n";
    let world = unserved(script).await;
    let host = world.start_unready();
    let what = failed(&host).await;
    assert!(what.ends_with("line 3 | line 4 | line 5"), "{what}");
    host.stop().await;
}
