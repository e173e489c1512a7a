//! Sessions as clients see them: what is answered to an attach, and what the end of a lock means.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use nightshift_amqp::{
    Described, Map, Symbol, Value, condition,
    engine::{Event, LinkId, NewLink},
    message::{Body, Message, Properties},
    performative::{AmqpError, Attach, DeliveryState, ReceiverSettleMode, Source, Target},
};
use nightshift_broker::QueueConfig;

use crate::{
    client::{Client, encode, id_of, message},
    eventually, start, start_with_clock,
};

/// The filter by which a receiver asks for a session, and its descriptor.
const FILTER: &str = "com.microsoft:session-filter";
const FILTER_CODE: u64 = 0x0000_0137_0000_000c;

fn queue() -> QueueConfig {
    QueueConfig::new("s").requires_session(true)
}

fn of_session(session: &str, id: &str) -> Bytes {
    encode(&Message {
        properties: Some(Properties {
            message_id: Some(id.into()),
            group_id: Some(session.to_owned()),
            ..Properties::default()
        }),
        body: Body::data("x"),
        ..Message::default()
    })
}

/// A receiver of a session, with the time that it is willing to wait.
fn receiver(from: &str, wanted: impl Into<Value>, timeout_ms: Option<u32>) -> NewLink {
    let mut source = Source::new(from);
    let filter = (Symbol::from_static(FILTER), wanted.into());
    source.filter = Some(Map::from_iter([filter]));
    let mut link = NewLink::new(
        format!("r-{}", rand::random::<u64>()),
        source,
        Target::new("here"),
    );
    link.rcv_settle_mode = ReceiverSettleMode::Second;
    link.properties = timeout_ms.map(|millis| {
        let mut properties = Map::new();
        properties.insert_symbol("com.microsoft:timeout", millis);
        properties
    });
    link
}

/// Asks for a link without waiting for the answer.
async fn ask(client: &mut Client, link: NewLink) -> LinkId {
    let session = client.session();
    let link = client.engine.attach_receiver(session, link).unwrap();
    client.flush().await;
    link
}

/// The broker's answer to a link that was asked for.
async fn answer(client: &mut Client, link: LinkId) -> Result<Box<Attach>, AmqpError> {
    client
        .wait(|event| match event {
            Event::LinkAttached { link: id, attach } if *id == link => Some(Ok(attach.clone())),
            Event::LinkDetached {
                link: id, error, ..
            } if *id == link => Some(Err(error.clone().expect("a refusal says why"))),
            _ => None,
        })
        .await
}

async fn accept(
    client: &mut Client,
    wanted: impl Into<Value>,
) -> Result<(LinkId, Box<Attach>), AmqpError> {
    let link = ask(client, receiver("s", wanted, None)).await;
    Ok((link, answer(client, link).await?))
}

async fn send(client: &mut Client, messages: &[(&str, &str)]) {
    let sender = client.attach_sender("s").await.unwrap();
    for (session, id) in messages {
        let outcome = client.send(sender, &of_session(session, id)).await;
        assert_eq!(outcome, DeliveryState::Accepted);
    }
}

async fn detached(client: &mut Client, link: LinkId) -> AmqpError {
    client
        .wait(|event| match event {
            Event::LinkDetached {
                link: id, error, ..
            } if *id == link => error.clone(),
            _ => None,
        })
        .await
}

/// Status, condition and body of an operation on the session queue.
async fn call(client: &mut Client, operation: &str, body: Map) -> (i32, String, Value) {
    let operation = format!("com.microsoft:{operation}");
    let properties = Map::from_iter([("operation", operation.as_str())]);
    let body = Body::Value(Value::Map(body));
    let answer = client.request("s/$management", properties, body).await;
    let properties = answer.application_properties.unwrap();
    let Some(Value::Int(status)) = properties.get("statusCode") else {
        panic!("no status in {properties:?}")
    };
    let condition = properties.get("errorCondition").and_then(Value::as_str);
    let Body::Value(body) = answer.body else {
        panic!("no value in the body")
    };
    (*status, condition.unwrap_or_default().to_owned(), body)
}

fn about(session: &str) -> Map {
    Map::from_iter([("session-id", session)])
}

fn rejected_with(state: DeliveryState) -> Symbol {
    let DeliveryState::Rejected(rejected) = state else {
        panic!("{state:?}")
    };
    rejected.error.expect("an error").condition
}

#[tokio::test]
async fn the_answer_names_the_session_and_tells_its_lock_in_ticks() {
    let (broker, _clock) = start_with_clock([queue()]);
    let mut client = Client::connect(broker.local_addr()).await;
    send(&mut client, &[("blue", "1")]).await;
    let described = Value::Described(Box::new(Described {
        descriptor: Value::Ulong(FILTER_CODE),
        value: Value::Null,
    }));
    for wanted in [Value::from("green"), described] {
        let name = if wanted == Value::from("green") {
            "green"
        } else {
            "blue"
        };
        let (_, attach) = accept(&mut client, wanted).await.unwrap();
        let filter = attach.source.unwrap().filter.unwrap();
        assert_eq!(filter.get(FILTER), Some(&Value::from(name)));
        let properties = attach.properties.unwrap();
        // A minute after 2027-01-15T08:00:00Z, in steps of 100 ns since the year 1.
        let ticks = Value::Long((1_800_000_060 + 62_135_596_800) * 10_000_000);
        assert_eq!(
            properties.get("com.microsoft:locked-until-utc"),
            Some(&ticks)
        );
    }
    broker.stop().await;
}

#[tokio::test]
async fn sessions_and_their_absence_do_not_mix() {
    let broker = start([queue(), QueueConfig::new("plain")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let refused = client.attach_receiver("s", false).await.unwrap_err();
    assert_eq!(refused.condition, condition::NOT_ALLOWED);
    assert!(refused.description.unwrap().contains("requires sessions"));
    for place in ["plain", "s/$DeadLetterQueue"] {
        let link = ask(&mut client, receiver(place, Value::Null, None)).await;
        let refused = answer(&mut client, link).await.unwrap_err();
        assert_eq!(refused.condition, condition::NOT_ALLOWED);
    }
    client
        .attach_receiver("s/$DeadLetterQueue", false)
        .await
        .unwrap();

    let sender = client.attach_sender("s").await.unwrap();
    let outcome = client.send(sender, &message("1", "x")).await;
    assert_eq!(rejected_with(outcome), condition::NOT_ALLOWED);
    let outcome = client
        .send(sender, &of_session(&"x".repeat(129), "1"))
        .await;
    assert_eq!(rejected_with(outcome), condition::ARGUMENT_OUT_OF_RANGE);
    let outcome = client
        .send(sender, &of_session(&"x".repeat(128), "1"))
        .await;
    assert_eq!(outcome, DeliveryState::Accepted);
    for (wanted, condition) in [
        (
            Value::from("x".repeat(129)),
            condition::ARGUMENT_OUT_OF_RANGE,
        ),
        (Value::Int(1), condition::INVALID_FIELD),
    ] {
        let refused = accept(&mut client, wanted).await.unwrap_err();
        assert_eq!(refused.condition, condition);
    }
    broker.stop().await;
}

#[tokio::test]
async fn one_session_has_one_owner_until_its_link_or_its_connection_ends() {
    let broker = start([queue()]);
    let mut owner = Client::connect(broker.local_addr()).await;
    let mut other = Client::connect(broker.local_addr()).await;
    send(&mut owner, &[("a", "1"), ("a", "2")]).await;
    let (link, _) = accept(&mut owner, "a").await.unwrap();
    for client in [&mut owner, &mut other] {
        let refused = accept(client, "a").await.unwrap_err();
        assert_eq!(refused.condition, condition::SESSION_CANNOT_BE_LOCKED);
    }
    owner.give_credit(link, 1).await;
    assert_eq!(id_of(&owner.delivery().await), "1");
    owner.engine.detach(link, true, None).unwrap();
    owner.flush().await;
    owner
        .wait(|event| matches!(event, Event::LinkDetached { .. }).then_some(()))
        .await;

    let (link, _) = accept(&mut other, "a").await.unwrap();
    other.give_credit(link, 10).await;
    for id in ["1", "2"] {
        let delivery = other.delivery().await;
        assert_eq!(id_of(&delivery), id);
    }
    drop(other);
    eventually("the session is free", || {
        broker.counts("s").unwrap().locked == 0
    })
    .await;
    let (link, _) = accept(&mut owner, Value::Null).await.unwrap();
    owner.give_credit(link, 1).await;
    let first = owner.delivery().await;
    assert_eq!(id_of(&first), "1");
    owner
        .settle(
            first.delivery_id,
            first.delivery_id,
            DeliveryState::Accepted,
        )
        .await;
    assert_eq!(broker.counts("s").unwrap().active, 1);
    broker.stop().await;
}

#[tokio::test]
async fn who_waits_for_any_session_gets_the_next_one_or_is_told_in_time() {
    let broker = start([queue()]);
    let mut waiting = Client::connect(broker.local_addr()).await;
    let link = ask(&mut waiting, receiver("s", Value::Null, Some(50))).await;
    let refused = answer(&mut waiting, link).await.unwrap_err();
    assert_eq!(refused.condition, condition::TIMEOUT);

    let patient = ask(&mut waiting, receiver("s", Value::Null, None)).await;
    let leaver = ask(&mut waiting, receiver("s", Value::Null, None)).await;
    let last = ask(&mut waiting, receiver("s", Value::Null, None)).await;
    // Credit may come before the answer.
    waiting.give_credit(patient, 1).await;
    waiting.engine.detach(leaver, true, None).unwrap();
    waiting.flush().await;
    let mut sender = Client::connect(broker.local_addr()).await;
    send(&mut sender, &[("a", "1")]).await;
    let attach = answer(&mut waiting, patient).await.unwrap();
    let filter = attach.source.unwrap().filter.unwrap();
    assert_eq!(filter.get(FILTER), Some(&Value::from("a")));
    assert_eq!(id_of(&waiting.delivery().await), "1");
    // The one that left is passed over.
    send(&mut sender, &[("b", "2")]).await;
    answer(&mut waiting, last).await.unwrap();
    broker.stop().await;
}

#[tokio::test]
async fn a_lock_that_ends_takes_link_messages_and_operations_with_it() {
    let (broker, clock) = start_with_clock([queue()]);
    let mut client = Client::connect(broker.local_addr()).await;
    send(&mut client, &[("a", "1"), ("a", "2")]).await;
    let (link, _) = accept(&mut client, "a").await.unwrap();
    client.give_credit(link, 1).await;
    let delivery = client.delivery().await;
    clock.advance(Duration::from_mins(1));
    let error = detached(&mut client, link).await;
    assert_eq!(error.condition, condition::SESSION_LOCK_LOST);
    let id = delivery.delivery_id;
    let outcome = client.settle(id, id, DeliveryState::Accepted).await;
    assert_eq!(rejected_with(outcome), condition::SESSION_LOCK_LOST);
    let lost = condition::SESSION_LOCK_LOST.as_str().to_owned();
    let mut peek = about("a");
    peek.insert("from-sequence-number", 0_i64);
    peek.insert("message-count", 1_i32);
    let mut receive = about("a");
    let numbers =
        nightshift_amqp::Array::new(nightshift_amqp::ElementType::Long, vec![Value::Long(1)]);
    receive.insert("sequence-numbers", numbers.unwrap());
    receive.insert("receiver-settle-mode", 1_u32);
    for (operation, body) in [
        ("renew-session-lock", about("a")),
        ("get-session-state", about("a")),
        ("set-session-state", about("a")),
        ("peek-message", peek),
        ("receive-by-sequence-number", receive),
    ] {
        let (status, condition, _) = call(&mut client, operation, body).await;
        assert_eq!((status, &condition), (410, &lost), "{operation}");
    }
    let counts = broker.counts("s").unwrap();
    assert_eq!((counts.active, counts.locked), (2, 0));
    broker.stop().await;
}

#[tokio::test]
async fn renewing_keeps_a_session_and_state_passes_from_owner_to_owner() {
    let (broker, clock) = start_with_clock([queue()]);
    let mut client = Client::connect(broker.local_addr()).await;
    send(&mut client, &[("a", "1")]).await;
    let (link, _) = accept(&mut client, "a").await.unwrap();
    client.give_credit(link, 1).await;
    let delivery = client.delivery().await;
    for _ in 0..3 {
        clock.advance(Duration::from_secs(40));
        let (status, _, body) = call(&mut client, "renew-session-lock", about("a")).await;
        let expiration = body.as_map().unwrap().get("expiration").unwrap();
        assert_eq!((status, expiration.as_timestamp().is_some()), (200, true));
    }
    let mut set = about("a");
    set.insert("session-state", Bytes::from_static(b"half way"));
    assert_eq!(call(&mut client, "set-session-state", set).await.0, 200);
    let id = delivery.delivery_id;
    let outcome = client.settle(id, id, DeliveryState::Accepted).await;
    assert_eq!(outcome, DeliveryState::Accepted);

    let mut other = Client::connect(broker.local_addr()).await;
    let (status, condition, _) = call(&mut other, "get-session-state", about("a")).await;
    assert_eq!(
        (status, condition.as_str()),
        (410, "com.microsoft:session-lock-lost")
    );
    client.engine.detach(link, true, None).unwrap();
    client.flush().await;
    detached_or_gone(&mut client).await;
    accept(&mut other, "a").await.unwrap();
    let (_, _, body) = call(&mut other, "get-session-state", about("a")).await;
    let state = body.as_map().unwrap().get("session-state").unwrap();
    assert_eq!(state.as_binary().unwrap(), &Bytes::from_static(b"half way"));
    let mut list = Map::from_iter([("skip", 0_i32), ("top", 10)]);
    list.insert(
        "last-updated-time",
        nightshift_amqp::Timestamp::from_millis(0),
    );
    let (status, _, body) = call(&mut other, "get-message-sessions", list).await;
    let ids = body.as_map().unwrap().get("sessions-ids").unwrap();
    assert_eq!(
        (status, ids.as_items().unwrap()),
        (200, &[Value::from("a")][..])
    );
    broker.stop().await;
}

async fn detached_or_gone(client: &mut Client) {
    client
        .wait(|event| matches!(event, Event::LinkDetached { .. }).then_some(()))
        .await;
}

#[tokio::test]
async fn a_queue_without_sessions_knows_no_operations_on_them() {
    let broker = start([QueueConfig::new("s")]);
    let mut client = Client::connect(broker.local_addr()).await;
    for operation in [
        "renew-session-lock",
        "get-session-state",
        "set-session-state",
    ] {
        let (status, condition, _) = call(&mut client, operation, about("a")).await;
        assert_eq!(
            (status, condition.as_str()),
            (400, "amqp:not-allowed"),
            "{operation}"
        );
    }
    broker.stop().await;
}

/// Many receivers, few sessions, random ends: each message is completed once, in its session's
/// order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_holds_among_receivers_that_come_and_go() {
    const SESSIONS: usize = 8;
    const EACH: usize = 50;
    let broker = start([queue()]);
    let address = broker.local_addr();
    let mut client = Client::connect(address).await;
    let numbered = |n| move |session| (format!("{session}"), format!("{n}"));
    let all: Vec<(String, String)> = (0..EACH)
        .flat_map(|n| (0..SESSIONS).map(numbered(n)))
        .collect();
    let sent: Vec<(&str, &str)> = all.iter().map(|(s, n)| (s.as_str(), n.as_str())).collect();
    send(&mut client, &sent).await;
    let done = Arc::new(Mutex::new(vec![Vec::new(); SESSIONS]));
    let mut workers = tokio::task::JoinSet::new();
    for seed in 0..4_usize {
        let done = Arc::clone(&done);
        workers.spawn(async move {
            let mut client = Client::connect(address).await;
            for round in seed.. {
                let link = ask(&mut client, receiver("s", Value::Null, Some(200))).await;
                let Ok(attach) = answer(&mut client, link).await else {
                    return;
                };
                let filter = attach.source.unwrap().filter.unwrap();
                let session: usize = filter
                    .get(FILTER)
                    .unwrap()
                    .as_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                client.give_credit(link, 3).await;
                // Everyone takes at most what is prefetched, completes some of it in order, leaves.
                for _ in 0..=(round % 3) {
                    let Some(delivery) = client.delivery_within(Duration::from_millis(50)).await
                    else {
                        break;
                    };
                    let id = delivery.delivery_id;
                    let outcome = client.settle(id, id, DeliveryState::Accepted).await;
                    assert_eq!(outcome, DeliveryState::Accepted);
                    done.lock().unwrap()[session].push(id_of(&delivery));
                }
                client.engine.detach(link, true, None).unwrap();
                client.flush().await;
                detached_or_gone(&mut client).await;
            }
        });
    }
    workers.join_all().await;
    let expected: Vec<String> = (0..EACH).map(|n| n.to_string()).collect();
    for session in &*done.lock().unwrap() {
        assert_eq!(*session, expected);
    }
    broker.stop().await;
}
