//! When the process counts as ready, and what waits for it.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{BRIEF_START, STAYS, failed, served, starts, unserved};
use crate::contract::world::{PATIENCE, WEB, World, ok, stats, until, web};
use crate::host::http_client::{connect, get, read};

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_asked_for_at_the_root() {
    let world = served(STAYS, vec![ok()]).await;
    let host = world.start().await;
    assert_eq!(world.wire.probes()[0].1.line(), "GET / HTTP/1.1");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_status_means_ready() {
    // The test's server answers the probe with 404, and is asked no more.
    let world = served(STAYS, vec![ok()]).await;
    let host = world.start().await;
    world.send(&["hello"]).await;
    world.wire.call(1).await;
    assert_eq!(world.wire.probes().len(), 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_asked_for_every_25_ms() {
    let world = served(STAYS, vec![ok()]).await;
    world.wire.be_deaf_for(20);
    let host = world.start().await;
    let times: Vec<Instant> = world.wire.probes().iter().map(|probe| probe.0).collect();
    assert_eq!(times.len(), 21);
    let mut gaps: Vec<Duration> = times.windows(2).map(|two| two[1] - two[0]).collect();
    gaps.sort();
    assert!(gaps[0] >= Duration::from_millis(24), "{gaps:?}");
    // A busy machine makes some of them longer, and not most of them by so much.
    assert!(
        gaps[gaps.len() / 2] < Duration::from_millis(100),
        "{gaps:?}"
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_means_not_ready_yet() {
    let mut world = served(STAYS, vec![ok()]).await;
    world.wire.shut().await;
    let host = world.start_unready();
    until("a start", || starts(&world) == 1).await;
    assert_eq!(host.handler_pid(), None);
    world.wire.reopen();
    host.wait_until_ready(PATIENCE).await.unwrap();
    assert_eq!(starts(&world), 1);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_127_0_0_1_is_asked() {
    let mut world = served(STAYS, vec![ok()]).await;
    world.host_json("", BRIEF_START);
    world.wire.shut().await;
    let other = TcpListener::bind(("127.0.0.2", world.wire.port))
        .await
        .unwrap();
    let host = world.start_unready();
    assert!(failed(&host).await.contains("did not listen on 127.0.0.1:"));
    assert!(timeout(Duration::ZERO, other.accept()).await.is_err());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn not_being_ready_in_time_is_an_error_and_leads_to_a_restart() {
    let world = unserved(STAYS).await;
    world.host_json("", BRIEF_START);
    let host = world.start_unready();
    assert!(failed(&host).await.contains("within 300ms"));
    assert_eq!(starts(&world), 3);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invocations_wait_for_the_handler() {
    let mut world = served(STAYS, vec![ok()]).await;
    world.function(WEB, &web(""));
    world.wire.shut().await;
    let host = world.start_unready();
    let mut caller = connect(&host).await;
    let request = b"GET /api/Web HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    caller.write_all(request).await.unwrap();
    until("the call to wait", || stats(&host, WEB).running == 1).await;
    world.wire.reopen();
    assert_eq!(read(&mut caller).await.status, 200);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_four_times_the_time_to_start_stops_the_host() {
    // It asks to be restarted for ever, which is no error.
    let world = World::new(WEB, &web(""), vec![ok()]).await;
    let mut world = world.shell("exit 200");
    world.wire.shut().await;
    world.host_json("", r#", "initializationTimeout": "00:00:00.5""#);
    let host = world.start_unready();
    let begun = Instant::now();
    let asked = get(&host, "/api/Web");
    let (answer, what) = tokio::join!(asked, failed(&host));
    assert!(answer.status >= 500, "{answer:?}");
    assert!(
        what.contains("was not ready while an invocation waited"),
        "{what}"
    );
    assert!(begun.elapsed() >= Duration::from_secs(2));
    host.stop().await;
}
