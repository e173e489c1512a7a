//! Start and stop, the broker away, the handler away.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use nightshift_broker::{Broker, BrokerConfig, QueueConfig};
use nightshift_runtime::HostExit;
use nightshift_time::SystemClock;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::fixture::{Fixture, QUEUE, stats, until};
use super::http_client::get;

const MANY: &str = r#", "cardinality": "many", "dataType": "binary""#;

fn is_alive(pid: u32) -> bool {
    std::fs::metadata(format!("/proc/{pid}")).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_what_is_in_flight_and_gives_back_what_is_not() {
    let fixture = Fixture::new(MANY, "wait").await;
    fixture.host_json(
        r#", "extensions": {"serviceBus": {"prefetchCount": 100, "maxMessageBatchSize": 5}}"#,
    );
    fixture.send(&["x"; 100]).await;
    let host = fixture.start().await;
    let pid = host.handler_pid().unwrap();
    fixture.requests_made(2).await;
    until("messages fetched ahead", || fixture.counts().locked > 10).await;
    let mut stopping = pin!(host.stop());
    // The stop has begun before the batches may end; what was fetched ahead comes back while they
    // are still being worked on, or right after them.
    assert!(timeout(Duration::ZERO, &mut stopping).await.is_err());
    fixture.go();
    timeout(Duration::from_secs(30), stopping).await.unwrap();
    let counts = fixture.counts();
    assert_eq!((counts.active, counts.locked, counts.removed), (90, 0, 10));
    assert_eq!(fixture.requests().len(), 2);
    assert!(!is_alive(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_up_a_call_that_never_ends_and_gives_its_message_back() {
    let fixture = Fixture::new("", "hang")
        .await
        .setting("NIGHTSHIFT_HOST_SHUTDOWN_GRACE_SECONDS", "1");
    fixture.send(&["{}"]).await;
    let host = fixture.start().await;
    fixture.requests_made(1).await;
    timeout(Duration::from_secs(30), host.stop()).await.unwrap();
    let counts = fixture.counts();
    assert_eq!((counts.active, counts.locked), (1, 0));
}

/// A way to `broker` on which nothing moves any more, either way, once it is told so.
async fn freezing_relay(broker: SocketAddr, frozen: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut frozen = frozen.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(broker).await.unwrap();
                let is_frozen = tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => false,
                    told = frozen.wait_for(|frozen| *frozen) => told.is_ok(),
                };
                if is_frozen {
                    // Until the host closes it, which this end takes no notice of.
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_answers_no_more_holds_a_stop_up_for_five_seconds() {
    let fixture = Fixture::new("", "ok")
        .await
        .setting("NIGHTSHIFT_HOST_SHUTDOWN_GRACE_SECONDS", "1")
        .setting("NIGHTSHIFT_HOST_LISTEN", "127.0.0.1:0");
    let (freeze, frozen) = watch::channel(false);
    let broker = fixture.broker.local_addr();
    let relay = freezing_relay(broker, frozen).await;
    let direct = fixture.broker.connection_string();
    let relayed = direct.replace(&broker.to_string(), &relay.to_string());
    assert_ne!(direct, relayed);
    let fixture = fixture.setting("AzureWebJobsBus", &relayed);
    let host = fixture.start().await;
    // So that there is a shared connection, too.
    assert_eq!(get(&host, "/admin/host/backlog").await.status, 200);
    let pid = host.handler_pid().unwrap();
    freeze.send_replace(true);
    let begun = Instant::now();
    host.stop().await;
    // The grace period and five seconds, and some for a busy machine.
    assert!(begun.elapsed() < Duration::from_secs(9));
    assert!(!is_alive(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_dropped_leaves_nothing_behind() {
    let fixture = Fixture::new("", "hang")
        .await
        .setting("NIGHTSHIFT_HOST_LISTEN", "127.0.0.1:0");
    fixture.send(&["{}"]).await;
    let host = fixture.start().await;
    fixture.requests_made(1).await;
    let (pid, address) = (host.handler_pid().unwrap(), host.http_address().unwrap());
    drop(host);
    until("the handler's end", || !is_running(pid)).await;
    until("the end of the server", || {
        std::net::TcpStream::connect(address).is_err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_received_while_the_handler_is_away() {
    let fixture = Fixture::new("", "crash\nexit:1\nok").await;
    fixture.host_json(r#", "extensions": {"serviceBus": {"prefetchCount": 50}}"#);
    fixture.send(&["{}"; 20]).await;
    let host = fixture.start().await;
    fixture.drained().await;
    assert!(host.stats().handler.restarts >= 1);
    // A crash fails what was in flight; it must not use up the ten deliveries of the rest.
    assert_eq!(fixture.counts().dead_letter, 0);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_host_ends_when_its_handler_fails_three_times() {
    let fixture = Fixture::new("", "crash")
        .await
        .setting("NIGHTSHIFT_HOST_MODE", "strict");
    fixture.send(&["{}"]).await;
    let host = fixture.start_unready();
    let exit = timeout(Duration::from_secs(30), host.wait()).await.unwrap();
    let HostExit::HandlerFailed(what) = exit else {
        panic!("{exit:?}")
    };
    assert!(what.contains("signal: 9"), "{what}");
    host.stop().await;
    let counts = fixture.counts();
    assert_eq!((counts.active, counts.locked), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_back_is_found_again() {
    let mut fixture = Fixture::new(MANY, "ok").await;
    let host = fixture.start().await;
    fixture.send(&["before"]).await;
    fixture.requests_made(1).await;
    let address = fixture.broker.local_addr();
    let config = BrokerConfig::new([QueueConfig::new(QUEUE)]).listen(address);
    let placeholder = Broker::start(
        BrokerConfig::new([QueueConfig::new(QUEUE)]),
        SystemClock::shared(),
    )
    .unwrap();
    std::mem::replace(&mut fixture.broker, placeholder)
        .stop()
        .await;
    until("the loss to be noticed", || !stats(&host).is_listening).await;
    let back = Broker::start(config, SystemClock::shared()).unwrap();
    std::mem::replace(&mut fixture.broker, back).stop().await;
    until("the connection to be back", || stats(&host).is_listening).await;
    let client = super::fixture::connect(&fixture.broker).await;
    let sender = client.create_sender(QUEUE).await.unwrap();
    sender
        .send_message(nightshift_bus::Message::new("after"))
        .await
        .unwrap();
    fixture.requests_made(2).await;
    fixture.drained().await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_handler_dies_with_a_host_that_is_killed() {
    let fixture = Fixture::new("", "ok").await;
    let mut host = fixture.start_process();
    fixture.send(&["{}"]).await;
    let requests = fixture.requests_made(1).await;
    let handler = u32::try_from(requests[0].pid()).unwrap();
    assert!(is_alive(handler));
    host.kill().unwrap();
    host.wait().unwrap();
    until("the handler's end", || !is_running(handler)).await;
}

/// Whether the process exists and is no zombie: whoever inherits an orphan reaps it in its own
/// time.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
