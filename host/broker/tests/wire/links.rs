//! Which links are granted, and how the others are refused.

use nightshift_amqp::{
    Map, Symbol, Value, condition,
    engine::{Event, NewLink},
    message::{Body, MessageId},
    performative::{AttachTarget, Coordinator, Source, Target},
};
use nightshift_broker::QueueConfig;

use crate::{
    client::{Client, message},
    start,
};

#[tokio::test]
async fn links_that_lead_nowhere_are_refused_and_the_connection_lives_on() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let refused = client.attach_sender("nothing").await.unwrap_err();
    assert_eq!(refused.condition, condition::NOT_FOUND);
    assert!(refused.description.unwrap().contains("nothing"));
    let refused = client
        .attach_receiver("q2/$DeadLetterQueue", false)
        .await
        .unwrap_err();
    assert_eq!(refused.condition, condition::NOT_FOUND);
    let refused = client
        .attach_sender("q/$DeadLetterQueue")
        .await
        .unwrap_err();
    assert_eq!(refused.condition, condition::NOT_ALLOWED);
    let refused = client
        .attach_receiver("nothing/$management", false)
        .await
        .unwrap_err();
    assert_eq!(refused.condition, condition::NOT_FOUND);

    let mut source = Source::new("q");
    source.filter = Some(Map::from_iter([(
        Value::from(Symbol::from_static("com.microsoft:session-filter")),
        Value::Null,
    )]));
    let link = NewLink::new("sessions", source, Target::new("here"));
    let refused = client.attach(link).await.unwrap_err();
    assert_eq!(refused.condition, condition::NOT_ALLOWED);

    let sender = client.attach_sender("q").await.unwrap();
    client.send(sender, &message("1", "x")).await;
    assert_eq!(broker.counts("Q").unwrap().active, 1);
    assert_eq!(broker.counts("nothing"), None);
    broker.stop().await;
}

#[tokio::test]
async fn an_address_is_no_place_to_keep_things_in() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let address = |length: usize| format!("sb://{}/q", "h".repeat(length - "sb:///q".len()));
    for (length, is_granted) in [(1_024, true), (1_025, false)] {
        let text = address(length);
        let links = [
            NewLink::new(
                format!("s{length}"),
                Source::new(&*text),
                Target::new("here"),
            ),
            NewLink::new(format!("t{length}"), Source::new("q"), Target::new(&*text)),
            NewLink::new(
                format!("r{length}"),
                Source::new("q/$management"),
                Target::new(&*text),
            ),
        ];
        for (link, end) in links.into_iter().zip(["source", "target", "target"]) {
            let answer = client.attach(link).await;
            assert_eq!(answer.is_ok(), is_granted, "{end} {length}");
            if let Err(error) = answer {
                assert_eq!(error.condition, condition::ARGUMENT_OUT_OF_RANGE);
                let text = error.description.unwrap();
                assert!(text.contains(end) && text.contains("1025"), "{text}");
            }
        }
    }
    broker.stop().await;
}

#[tokio::test]
async fn transactions_are_refused_by_name() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let target = AttachTarget::Coordinator(Coordinator { capabilities: None });
    let link = NewLink::new("coordinator", Source::new("here"), target);
    let session = client.session();
    let link = client.engine.attach_sender(session, link).unwrap();
    client.flush().await;
    let error = client
        .wait(|event| match event {
            Event::LinkDetached {
                link: gone, error, ..
            } if *gone == link => error.clone(),
            _ => None,
        })
        .await;
    assert_eq!(error.condition, condition::NOT_IMPLEMENTED);
    assert!(error.description.unwrap().contains("transactions"));
    broker.stop().await;
}

#[tokio::test]
async fn an_unsupported_operation_is_answered_at_once_and_by_name() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let properties = Map::from_iter([("operation", "com.microsoft:add-rule")]);
    let body = Body::Value(Value::Map(Map::new()));
    let answer = client.request("q/$management", properties, body).await;
    let properties = answer.application_properties.unwrap();
    assert_eq!(properties.get("statusCode"), Some(&Value::Int(501)));
    let condition = properties.get("errorCondition").and_then(Value::as_str);
    assert_eq!(condition, Some("amqp:not-implemented"));
    let text = properties
        .get("statusDescription")
        .and_then(Value::as_str)
        .unwrap();
    assert!(text.contains("add-rule"), "{text}");
    let correlation_id = answer.properties.unwrap().correlation_id;
    assert_eq!(correlation_id, Some(MessageId::String("r1".into())));
    broker.stop().await;
}

#[tokio::test]
async fn a_stopping_broker_tells_its_clients() {
    let broker = start([QueueConfig::new("q")]);
    let mut client = Client::connect(broker.local_addr()).await;
    let (told, ()) = tokio::join!(
        client.wait(|event| match event {
            Event::Closed(error) => Some(error.clone()),
            _ => None,
        }),
        broker.stop()
    );
    assert_eq!(told.unwrap().condition, condition::CONNECTION_FORCED);
}
