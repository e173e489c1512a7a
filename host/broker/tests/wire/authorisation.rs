//! Who gets in.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64_simd::STANDARD;
use chrono::DateTime;
use hmac::{Hmac, Mac};
use nightshift_amqp::{
    Value, condition,
    engine::{ClientOptions, Event, SaslClient},
    sasl::PlainCredentials,
};
use nightshift_broker::{AccessKey, Broker, BrokerError, QueueConfig};
use nightshift_time::{SystemClock, TestClock};
use sha2::Sha256;

use crate::client::Client;

const START: i64 = 1_800_000_000;

fn guarded() -> (Broker, TestClock) {
    let clock = TestClock::new(DateTime::from_timestamp(START, 0).unwrap());
    let key = AccessKey {
        name: "Root".into(),
        key: "secret".into(),
    };
    let queues = ["orders", "other"].map(QueueConfig::new);
    let config = crate::config(queues).access_key(key);
    (
        Broker::start(config, Arc::new(clock.clone())).unwrap(),
        clock,
    )
}

fn token(key: &str, expiry: i64) -> String {
    let resource = "sb%3A%2F%2Flocalhost%2Forders";
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
