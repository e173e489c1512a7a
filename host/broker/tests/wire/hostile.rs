//! Clients that speak no AMQP, half of it, or too much of it.

use std::{net::SocketAddr, time::Duration};

use bytes::BytesMut;
use nightshift_amqp::{
    Decode, Decoder, Encode, FrameHeader, condition,
    engine::{ClientOptions, Event},
    performative::{DeliveryState, Performative, Transfer},
};
use nightshift_broker::{Broker, QueueConfig};
use nightshift_time::SystemClock;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    PATIENCE,
    client::{Client, message},
    eventually, start,
};

/// Everything the broker says until it hangs up.
async fn last_words(stream: &mut TcpStream) -> Vec<u8> {
    let mut words = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut words)).await;
    // A reset by a broker that did not read everything is as good an end as any.
    drop(read.expect("the broker must hang up"));
    words
}

async fn still_serves(address: SocketAddr) {
    let mut client = Client::connect(address).await;
    let sender = client.attach_sender("q").await.unwrap();
    let outcome = client.send(sender, &message("alive", "x")).await;
    assert_eq!(outcome, DeliveryState::Accepted);
}

#[tokio::test]
async fn what_is_not_amqp_is_answered_by_our_header_and_the_end() {
    let broker = start([QueueConfig::new("q")]);
    for nonsense in [
        &b"AMQP\x02\x01\x00\x00"[..],
        &[0; 64],
        b"\x16\x03\x01\x00\x05hello",
    ] {
        let mut stream = TcpStream::connect(broker.local_addr()).await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        let words = last_words(&mut stream).await;
        assert!(words.is_empty() || words.starts_with(b"AMQP"), "{words:?}");
    }
    still_serves(broker.local_addr()).await;
    broker.stop().await;
}

#[tokio::test]
async fn random_bytes_at_any_point_of_the_handshake_end_that_connection_only() {
    let broker = start([QueueConfig::new("q")]);
    let mut dice = StdRng::seed_from_u64(7);
    for round in 0..60 {
        let mut stream = TcpStream::connect(broker.local_addr()).await.unwrap();
        let good: &[u8] = b"AMQP\x03\x01\x00\x00\
            \x00\x00\x00\x19\x02\x01\x00\x00\x00\x53\x41\xc0\x0c\x01\xa3\x09ANONYMOUS\
            AMQP\x00\x01\x00\x00";
        let kept = dice.random_range(0..=good.len());
        let mut noise = vec![0; dice.random_range(9..400)];
        dice.fill_bytes(&mut noise);
        // A client may hang up at any moment too.
        drop(stream.write_all(&good[..kept]).await);
        drop(stream.write_all(&noise).await);
        drop(stream.shutdown().await);
        last_words(&mut stream).await;
        if round % 20 == 0 {
            still_serves(broker.local_addr()).await;
        }
    }
    still_serves(broker.local_addr()).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_frame_may_come_byte_by_byte() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    let id = client.start_sending(sender, &message("slow", "x"), 0, false);
    let frame = client.engine.output().split();
    for byte in frame {
        client.write_raw(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.answer(id).await, DeliveryState::Accepted);
    broker.stop().await;
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_and_costs_no_memory() {
    let mut config = crate::config([QueueConfig::new("q")]);
    config.max_message_size = 10_000;
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    let small = message("1", vec![0; 9_000]);
    assert_eq!(client.send(sender, &small).await, DeliveryState::Accepted);
    let large = message("2", vec![0; 10_000]);
    let refused = client.engine.send(
        sender,
        nightshift_amqp::engine::NewDelivery {
            tag: [0; 4].into(),
            message_format: 0,
            settled: false,
        },
        &[&large],
    );
    assert!(
        refused.is_err(),
        "the announced limit stops an honest client"
    );
    assert_eq!(broker.counts("q").unwrap().active, 1);
    broker.stop().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_takes_again_when_there_is_room() {
    let mut config = crate::config([QueueConfig::new("q")]);
    config.limits.queue_messages = 2;
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    for id in ["1", "2"] {
        assert_eq!(
            client.send(sender, &message(id, "x")).await,
            DeliveryState::Accepted
        );
    }
    let refused = client.send(sender, &message("3", "x")).await;
    let DeliveryState::Rejected(rejected) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        rejected.error.unwrap().condition,
        condition::RESOURCE_LIMIT_EXCEEDED
    );
    let receiver = client.attach_receiver("q", true).await.unwrap();
    client.give_credit(receiver, 1).await;
    client.delivery().await;
    assert_eq!(
        client.send(sender, &message("3", "x")).await,
        DeliveryState::Accepted
    );
    broker.stop().await;
}

#[tokio::test]
async fn messages_given_up_half_way_use_credit_that_comes_back() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    client.send(sender, &message("1", "x")).await;
    // The engine gives nothing up, so its next transfer serves as the pattern.
    client.start_sending(sender, &message("2", "x"), 0, false);
    let pattern = client.engine.output().split().freeze();
    let Ok(Performative::Transfer(first)) =
        Performative::decode(&mut Decoder::new(&pattern.slice(FrameHeader::LENGTH..)))
    else {
        panic!("{pattern:?}")
    };
    let mut bytes = BytesMut::new();
    for delivery_id in (first.delivery_id.unwrap()..).take(600) {
        let half = Transfer {
            delivery_id: Some(delivery_id),
            more: true,
            ..first.clone()
        };
        let end = Transfer {
            aborted: true,
            more: false,
            ..half.clone()
        };
        for transfer in [half, end] {
            let start = bytes.len();
            bytes.extend_from_slice(&pattern[..FrameHeader::LENGTH]);
            transfer.encode(&mut bytes);
            let size = u32::try_from(bytes.len() - start).unwrap();
            bytes[start..start + 4].copy_from_slice(&size.to_be_bytes());
        }
    }
    client.write_raw(&bytes).await;
    // The client's engine would not believe in transfers that it has not sent.
    let mut heard = BytesMut::new();
    let credit = loop {
        if let Some(header) = FrameHeader::parse(&heard, u32::MAX).unwrap()
            && header.size <= heard.len()
        {
            let body = heard.split_to(header.size).freeze();
            let body = body.slice(header.body_offset..);
            if let Ok(Performative::Flow(flow)) = Performative::decode(&mut Decoder::new(&body))
                && flow.link_credit.is_some()
            {
                break flow.link_credit;
            }
        } else {
            timeout(PATIENCE, client.read()).await.expect("new credit");
            heard.unsplit(client.engine.input().split());
        }
    };
    assert_eq!(credit, Some(1_000));
    assert_eq!(broker.counts("q").unwrap().active, 1);
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_reading_loses_its_place_when_its_connection_is_over() {
    let mut config = crate::config([QueueConfig::new("q")]);
    config.limits.connections = 1;
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let mut sleeper = Client::connect(broker.local_addr()).await;
    let sender = sleeper.attach_sender("q").await.unwrap();
    for i in 0..40 {
        let body = vec![0; 500_000];
        sleeper.send(sender, &message(&i.to_string(), body)).await;
    }
    let receiver = sleeper.attach_receiver("q", false).await.unwrap();
    sleeper.give_credit(receiver, 1_000).await;
    let (mut before, mut steady) = (0, 0);
    eventually("the sockets are full", || {
        let locked = broker.counts("q").unwrap().locked;
        steady = if locked > 0 && locked == before {
            steady + 1
        } else {
            0
        };
        before = locked;
        steady > 50
    })
    .await;
    assert!(before < 40, "something has to wait for the client");
    // A frame that cannot be: the broker says so and would like to go.
    sleeper.write_raw(&[0; 8]).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut next = Client::dial(broker.local_addr(), ClientOptions::new("next")).await;
        next.flush().await;
        if next.read().await > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "its place must become free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn more_than_the_credit_ends_the_link() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let sender = client.attach_sender("q").await.unwrap();
    client.send(sender, &message("1", "x")).await;
    let id = client.start_sending(sender, &message("2", "x"), 0, false);
    let frame = client.engine.output().split();
    // The same transfer over and over: delivery-ids that repeat, and in the end no credit.
    for _ in 0..1_100 {
        client.write_raw(&frame).await;
    }
    let _ = id;
    let ended = client
        .wait(|event| match event {
            Event::LinkDetached { error, .. }
            | Event::SessionEnded { error, .. }
            | Event::Closed(error) => Some(error.clone()),
            _ => None,
        })
        .await;
    assert!(ended.is_some());
    still_serves(broker.local_addr()).await;
    broker.stop().await;
}
