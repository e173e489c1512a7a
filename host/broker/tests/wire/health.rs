//! Health probes over the broker's own port.

use std::{net::SocketAddr, time::Duration};

use nightshift_amqp::engine::ClientOptions;
use nightshift_broker::{Broker, QueueConfig};
use nightshift_time::SystemClock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{PATIENCE, client::Client, start};

async fn probe(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut response)).await;
    read.expect("an end in time").unwrap();
    response
}

const GET: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn a_probe_is_answered_beside_amqp() {
    let broker = start([QueueConfig::new("q")]);
    let address = broker.local_addr();
    let response = probe(address, GET).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.ends_with(r#"{"status":"healthy","message":"the broker is serving"}"#));
    let response = probe(address, "HEAD /health HTTP/1.1\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("\r\n\r\n"));
    let response = probe(address, "GET /else HTTP/1.1\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 404 "), "{response}");
    Client::connect(address).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_request_may_come_in_pieces_and_has_an_end() {
    let broker = start([QueueConfig::new("q")]);
    let mut stream = TcpStream::connect(broker.local_addr()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for octet in GET.as_bytes() {
        stream.write_all(&[*octet]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");

    let endless = format!("GET /health HTTP/1.1\r\nX: {}", "x".repeat(20_000));
    let mut stream = TcpStream::connect(broker.local_addr()).await.unwrap();
    drop(stream.write_all(endless.as_bytes()).await);
    let mut response = Vec::new();
    // Being reset is as good an end as any.
    let read = timeout(PATIENCE, stream.read_to_end(&mut response)).await;
    drop(read.expect("the broker must hang up"));
    assert!(response.is_empty());
    broker.stop().await;
}

#[tokio::test]
async fn a_probe_is_answered_when_all_places_are_taken() {
    let mut config = crate::config([QueueConfig::new("q")]);
    config.limits.connections = 1;
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let _first = Client::connect(broker.local_addr()).await;
    assert!(
        probe(broker.local_addr(), GET)
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    let mut second = Client::dial(broker.local_addr(), ClientOptions::new("second")).await;
    second.flush().await;
    assert_eq!(second.read().await, 0);
    broker.stop().await;
}

#[tokio::test]
async fn a_stopping_broker_says_so() {
    let mut config = crate::config([QueueConfig::new("q")]);
    config.limits.stop_grace = Duration::from_secs(2);
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let address = broker.local_addr();
    // It never confirms the end, so that the broker waits for it.
    let mut deaf = Client::connect(address).await;
    let stopping = tokio::spawn(broker.stop());
    // The broker's close has come.
    deaf.read().await;
    let response = probe(address, GET).await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    drop(deaf);
    stopping.await.unwrap();
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the port is free"
    );
}
