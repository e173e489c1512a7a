//! Who gets in.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64_simd::STANDARD;
use chrono::DateTime;
use hmac::{Hmac, Mac};
use nightshift_amqp::{
    Map, Symbol, Value, condition,
    engine::{ClientOptions, Event, NewLink, SaslClient},
    performative::{DeliveryState, Source, Target},
    sasl::PlainCredentials,
};
use nightshift_broker::{AccessKey, Broker, BrokerError, QueueConfig};
use nightshift_time::{SystemClock, TestClock};
use sha2::Sha256;

use crate::client::{Client, message};

const START: i64 = 1_800_000_000;

fn guarded() -> (Broker, TestClock) {
    let clock = TestClock::new(DateTime::from_timestamp(START, 0).unwrap());
    let key = AccessKey {
        name: "Root".into(),
        key: "secret".into(),
    };
    let queues = [
        QueueConfig::new("Orders"),
        QueueConfig::new("other"),
        QueueConfig::new("sessions").requires_session(true),
    ];
    let config = crate::config(queues).access_key(key);
    (
        Broker::start(config, Arc::new(clock.clone())).unwrap(),
        clock,
    )
}

fn token(key: &str, expiry: i64) -> String {
    token_for("orders", key, expiry)
}

fn token_for(queue: &str, key: &str, expiry: i64) -> String {
    let resource = format!("sb%3A%2F%2Flocalhost%2F{queue}");
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(format!("{resource}\n{expiry}").as_bytes());
    let signature = STANDARD
        .encode_to_string(mac.finalize().into_bytes())
        .replace('+', "%2B");
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn=Root")
}

#[tokio::test]
async fn a_token_opens_its_queue_and_nothing_else_and_not_for_ever() {
    let (broker, clock) = guarded();
    let mut client = Client::connect_without_token(broker.local_addr()).await;
    let refused = client.attach_sender("orders").await.unwrap_err();
    assert_eq!(refused.condition, condition::UNAUTHORIZED_ACCESS);

    let name = "sb://localhost/orders";
    let answer = client.put_token(&token("guess", START + 60), name).await;
    assert_eq!(answer.get("status-code"), Some(&Value::Int(401)));
    let answer = client.put_token(&token("secret", START + 60), name).await;
    assert_eq!(answer.get("status-code"), Some(&Value::Int(202)));
    client.attach_sender("orders").await.unwrap();
    let refused = client.attach_sender("other").await.unwrap_err();
    assert_eq!(refused.condition, condition::UNAUTHORIZED_ACCESS);

    clock.advance(Duration::from_mins(1));
    // Whatever the client does next makes the connection look at the clock.
    client.engine.begin_session().unwrap();
    client.flush().await;
    let closed = |event: &Event| match event {
        Event::Closed(error) => Some(error.clone()),
        _ => None,
    };
    let error = client.wait(closed).await.unwrap();
    assert_eq!(error.condition, condition::UNAUTHORIZED_ACCESS);
    broker.stop().await;
}

#[tokio::test]
async fn the_links_of_a_queue_end_with_its_token_and_the_others_stay() {
    let (broker, clock) = guarded();
    let mut client = Client::connect_without_token(broker.local_addr()).await;
    for (queue, expiry) in [
        ("other", START + 60),
        ("orders", START + 1),
        ("sessions", START + 1),
    ] {
        let token = token_for(queue, "secret", expiry);
        let name = format!("sb://localhost/{queue}");
        let answer = client.put_token(&token, &name).await;
        assert_eq!(answer.get("status-code"), Some(&Value::Int(202)));
    }
    let stays = client.attach_sender("other").await.unwrap();
    let mut ends = vec![
        client.attach_sender("orders").await.unwrap(),
        client.attach_receiver("orders", false).await.unwrap(),
        client.attach_sender("orders/$management").await.unwrap(),
    ];
    let back = client.attach_receiver("orders/$management", false).await;
    ends.push(back.unwrap());
    client.give_credit(ends[1], 10).await;
    // One more waits for a session, and is not answered yet.
    let mut source = Source::new("sessions");
    source.filter = Some(Map::from_iter([(
        Value::from(Symbol::from_static("com.microsoft:session-filter")),
        Value::Null,
    )]));
    let waiting = NewLink::new("waiting", source, Target::new("here"));
    let session = client.session();
    ends.push(client.engine.attach_receiver(session, waiting).unwrap());
    // The answer to this comes when the attach has been looked at.
    let outcome = client.send(stays, &message("1", "x")).await;
    assert_eq!(outcome, DeliveryState::Accepted);

    // The client does nothing: the broker itself looks at the clock when the tokens end.
    clock.advance(Duration::from_secs(1));
    while !ends.is_empty() {
        let (link, error) = client
            .wait(|event| match event {
                Event::LinkDetached { link, error, .. } => Some((*link, error.clone())),
                _ => None,
            })
            .await;
        assert_eq!(error.unwrap().condition, condition::UNAUTHORIZED_ACCESS);
        assert!(ends.contains(&link), "{link:?}");
        ends.retain(|other| *other != link);
    }
    let outcome = client.send(stays, &message("2", "x")).await;
    assert_eq!(outcome, DeliveryState::Accepted);
    let refused = client.attach_sender("orders").await.unwrap_err();
    assert_eq!(refused.condition, condition::UNAUTHORIZED_ACCESS);

    // With a new token it is open again.
    let name = "sb://localhost/orders";
    let answer = client.put_token(&token("secret", START + 30), name).await;
    assert_eq!(answer.get("status-code"), Some(&Value::Int(202)));
    client.attach_sender("orders").await.unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn the_token_of_an_unknown_queue_is_not_found() {
    let broker = crate::start([QueueConfig::new("q")]);
    let mut client = Client::connect_without_token(broker.local_addr()).await;
    for name in ["amqp://localhost/nothing", "sb://h:1/nothing/$management"] {
        let answer = client.put_token("any", name).await;
        assert_eq!(answer.get("status-code"), Some(&Value::Int(404)), "{name}");
    }
    for name in ["sb://h/q", "amqp://h/Q/$DeadLetterQueue", "sb://h"] {
        let answer = client.put_token("any", name).await;
        assert_eq!(answer.get("status-code"), Some(&Value::Int(202)), "{name}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_rule_and_its_key_open_everything() {
    let (broker, _clock) = guarded();
    for (password, opens) in [("secret", true), ("guess", false)] {
        let mut options = ClientOptions::new("test");
        options.sasl = SaslClient::Plain(PlainCredentials {
            authorization_id: String::new(),
            user: "Root".into(),
            password: password.into(),
        });
        if opens {
            let mut client = Client::connect_with(broker.local_addr(), options).await;
            client.attach_sender("other").await.unwrap();
        } else {
            let mut client = Client::dial(broker.local_addr(), options).await;
            client.flush().await;
            while client.engine.next_event().is_ok() {
                client.flush().await;
                assert!(client.read().await > 0, "the broker says why it hangs up");
            }
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_sets_no_token_is_sent_away() {
    let mut config = crate::config([QueueConfig::new("q")]);
    config.limits.authentication = Duration::from_millis(50);
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let mut client = Client::connect_without_token(broker.local_addr()).await;
    let closed = |event: &Event| match event {
        Event::Closed(error) => Some(error.clone()),
        _ => None,
    };
    let error = client.wait(closed).await.unwrap();
    assert_eq!(error.condition, condition::UNAUTHORIZED_ACCESS);
    broker.stop().await;
}

#[tokio::test]
async fn a_client_that_attaches_nothing_is_sent_away() {
    let mut config = crate::config([QueueConfig::new("q")]);
    config.limits.idle_connection = Duration::from_millis(50);
    let broker = Broker::start(config, SystemClock::shared()).unwrap();
    let mut client = Client::connect(broker.local_addr()).await;
    let closed = |event: &Event| match event {
        Event::Closed(error) => Some(error.clone()),
        _ => None,
    };
    let error = client.wait(closed).await.unwrap();
    assert_eq!(error.condition, condition::CONNECTION_FORCED);
    broker.stop().await;
}

#[tokio::test]
async fn the_network_is_not_served_without_a_key() {
    let everywhere: SocketAddr = ([0, 0, 0, 0], 0).into();
    let config = crate::config([QueueConfig::new("q")]).listen(everywhere);
    let refused = Broker::start(config.clone(), SystemClock::shared()).unwrap_err();
    assert!(matches!(refused, BrokerError::KeyRequired { .. }));
    assert!(
        refused.to_string().contains("set an access key"),
        "{refused}"
    );
    let key = AccessKey {
        name: "Root".into(),
        key: "secret".into(),
    };
    let broker = Broker::start(config.access_key(key), SystemClock::shared()).unwrap();
    assert!(
        broker
            .connection_string()
            .starts_with("Endpoint=sb://localhost:")
    );
    broker.stop().await;
}
