//! Receivers against a scripted broker: what they ask of the management node, and how they end.

use bytes::{Bytes, BytesMut};
use nightshift_amqp::performative::DeliveryState;
use nightshift_amqp::{Encode as _, Map, Symbol, Timestamp, Value, message};
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::encode;
use crate::message::Message;
use crate::peer::{Answer, Asked, Deed, Peer, SOON, Script};
use crate::settlement::Settlement;

/// Hands out deferred messages, one per number that is asked for. The locks with these numbers are
/// lost.
struct Deferred {
    lost: &'static [i64],
}

fn token(number: i64) -> Uuid {
    Uuid::from_u128(u128::try_from(number).unwrap())
}

impl Script for Deferred {
    fn answer(&mut self, asked: &Asked) -> Option<Answer> {
        let items = |name: &str| {
            asked
                .body
                .get(name)
                .and_then(Value::as_items)
                .unwrap_or_default()
        };
        if asked.operation == "com.microsoft:receive-by-sequence-number" {
            let numbers = items("sequence-numbers").iter().filter_map(Value::as_i64);
            let entry = |number| {
                let mut entry = Map::new();
                entry.insert("message", numbered(number));
                entry.insert("lock-token", token(number));
                Value::Map(entry)
            };
            let mut body = Map::new();
            body.insert("messages", numbers.map(entry).collect::<Vec<_>>());
            return Some(Answer::granted(body));
        }
        let mut tokens = items("lock-tokens").iter().filter_map(Value::as_uuid);
        let is_lost = |asked: Uuid| self.lost.iter().any(|number| token(*number) == asked);
        Some(if tokens.any(is_lost) {
            Answer::refused(410, "com.microsoft:message-lock-lost")
        } else {
            Answer::granted(Map::new())
        })
    }
}

fn numbered(number: i64) -> Bytes {
    let mut annotations = Map::new();
    annotations.insert_symbol("x-opt-sequence-number", number);
    let message = message::Message {
        message_annotations: Some(annotations),
        body: message::Body::data("x"),
        ..message::Message::default()
    };
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.freeze()
}

async fn receiver(peer: &Peer, options: ReceiverOptions) -> Receiver {
    peer.client()
        .await
        .create_receiver("q", options)
        .await
        .unwrap()
}

/// The tokens of each request that settles.
fn settled(peer: &Peer) -> Vec<usize> {
    peer.noted(|log| {
        let settles = log
            .asked
            .iter()
            .filter(|asked| asked.operation.ends_with("update-disposition"));
        let tokens = |asked: &Asked| {
            asked
                .body
                .get("lock-tokens")
                .unwrap()
                .as_items()
                .unwrap()
                .len()
        };
        settles.map(tokens).collect()
    })
}

#[tokio::test]
async fn messages_are_settled_by_their_tokens_in_one_request() {
    let peer = Peer::start(Deferred { lost: &[] }).await;
    let receiver = receiver(&peer, ReceiverOptions::default()).await;
    let numbers: Vec<i64> = (1..=1_500).collect();
    let messages = receiver.receive_deferred_messages(&numbers).await.unwrap();
    let results = receiver.complete_messages(&messages).await.unwrap();
    assert_eq!(results.len(), 1_500);
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(settled(&peer), [1_000, 500]);
}

#[tokio::test]
async fn one_lost_lock_does_not_fail_the_others() {
    let peer = Peer::start(Deferred { lost: &[2] }).await;
    let receiver = receiver(&peer, ReceiverOptions::default()).await;
    let messages = receiver
        .receive_deferred_messages(&[1, 2, 3])
        .await
        .unwrap();
    let results = receiver.abandon_messages(&messages).await.unwrap();
    let ok: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, false, true]);
    assert!(matches!(results[1], Err(BusError::MessageLockLost { .. })));
    assert_eq!(settled(&peer), [3, 1, 1, 1]);
}

#[tokio::test]
async fn properties_to_change_go_with_every_way_to_settle() {
    let peer = Peer::start(Deferred { lost: &[] }).await;
    let options = ReceiverOptions {
        prefetch: 1,
        ..ReceiverOptions::default()
    };
    let receiver = receiver(&peer, options).await;
    peer.has(Deed::Send(encode::message(&Message::new("x")).unwrap()));
    let on_link = receiver.receive_messages(1, SOON).await.unwrap().remove(0);
    let by_token = receiver
        .receive_deferred_messages(&[7])
        .await
        .unwrap()
        .remove(0);
    let settlement = || Settlement::dead_letter("why", "because").with_property("p", true);
    receiver
        .settle_message(&on_link, settlement())
        .await
        .unwrap();
    receiver
        .settle_message(&by_token, settlement())
        .await
        .unwrap();
    peer.noted(|log| {
        let name = Value::from(log.attaches[0].name.as_str());
        let asked = log.asked.last().unwrap();
        assert_eq!(asked.words.get("associated-link-name"), Some(&name));
        assert_eq!(
            asked.body.get("disposition-status"),
            Some(&Value::from("suspended"))
        );
        let changes = asked
            .body
            .get("properties-to-modify")
            .and_then(Value::as_map)
            .unwrap();
        let entries: Vec<_> = changes.iter().collect();
        assert_eq!(
            entries,
            [&(Value::from("p"), Value::Boolean(true))],
            "keys are strings"
        );

        let Some(DeliveryState::Rejected(rejected)) = &log.dispositions[0].state else {
            panic!("{:?}", log.dispositions)
        };
        let info = rejected.error.as_ref().unwrap().info.as_ref().unwrap();
        assert_eq!(info.get("DeadLetterReason"), Some(&Value::from("why")));
        let change = (
            Value::from(Symbol::from("p".to_owned())),
            Value::Boolean(true),
        );
        assert!(
            info.iter().any(|entry| *entry == change),
            "keys are symbols: {info:?}"
        );
    });
}

/// Hands out deferred messages, and refuses to renew the lock with this number and all that are asked
/// for with it.
struct Refusing(Option<i64>);

impl Script for Refusing {
    fn answer(&mut self, asked: &Asked) -> Option<Answer> {
        if asked.operation != "com.microsoft:renew-lock" {
            return Deferred { lost: &[] }.answer(asked);
        }
        let tokens = asked.body.get("lock-tokens").and_then(Value::as_items);
        let tokens = tokens.unwrap_or_default();
        let refused = self.0.map(token);
        if tokens.iter().any(|token| token.as_uuid() == refused) {
            return Some(Answer::refused(400, "com.microsoft:argument-error"));
        }
        let mut body = Map::new();
        // Long over, so that each is renewed again as soon as can be.
        let ends = vec![Value::from(Timestamp::from_millis(0)); tokens.len()];
        body.insert("expirations", ends);
        Some(Answer::granted(body))
    }
}

/// Holds these messages until the peer has noted what is waited for. Says which locks each request
/// was to renew.
async fn renewed_until(
    peer: &Peer,
    numbers: &[i64],
    is_enough: impl Fn(&[Vec<Uuid>]) -> bool,
) -> Vec<Vec<Uuid>> {
    let options = ReceiverOptions {
        max_auto_lock_renewal_duration: SOON,
        ..ReceiverOptions::default()
    };
    let receiver = receiver(peer, options).await;
    let messages = receiver.receive_deferred_messages(numbers).await.unwrap();
    let renewals = |log: &crate::peer::Log| -> Vec<Vec<Uuid>> {
        let asked = log.asked.iter();
        let asked = asked.filter(|asked| asked.operation == "com.microsoft:renew-lock");
        let tokens = |asked: &Asked| {
            let tokens = asked.body.get("lock-tokens").unwrap().as_items().unwrap();
            tokens.iter().filter_map(Value::as_uuid).collect()
        };
        asked.map(tokens).collect()
    };
    peer.until("renewals", |log| is_enough(&renewals(log)))
        .await;
    drop(messages);
    peer.noted(renewals)
}

#[tokio::test]
async fn many_locks_are_renewed_with_as_many_requests_as_the_broker_needs() {
    let peer = Peer::start(Refusing(None)).await;
    let numbers: Vec<i64> = (1..=2_500).collect();
    let renewals = renewed_until(&peer, &numbers, |renewals| {
        renewals.iter().map(Vec::len).sum::<usize>() >= 2_500
    })
    .await;
    assert!(renewals.iter().all(|tokens| tokens.len() <= 1_000));
}

#[tokio::test]
async fn one_lock_that_is_refused_does_not_end_the_renewal_of_the_others() {
    let peer = Peer::start(Refusing(Some(2))).await;
    // Once together, then each alone, and then those that were granted again.
    let renewals = renewed_until(&peer, &[1, 2, 3], |renewals| renewals.len() >= 5).await;
    assert_eq!(renewals[0].len(), 3);
    assert!(renewals[1..4].iter().all(|tokens| tokens.len() == 1));
    let again: Vec<Uuid> = renewals[4..].concat();
    assert!(!again.is_empty() && !again.contains(&token(2)), "{again:?}");
}

/// Never says that a link is drained.
struct Undraining;

impl Script for Undraining {
    fn drains(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn closing_does_not_wait_long_for_a_broker_that_answers_no_drain() {
    let peer = Peer::start(Undraining).await;
    let options = ReceiverOptions {
        prefetch: 10,
        ..ReceiverOptions::default()
    };
    let receiver = receiver(&peer, options).await;
    let begun = Instant::now();
    receiver.close().await;
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    peer.noted(|log| assert_eq!(log.detached, 1));
}

#[tokio::test]
async fn entities_of_every_kind_are_addressed_as_they_are_named() {
    let peer = Peer::start(Deferred { lost: &[] }).await;
    let client = peer.client().await;
    let dead = ReceiverOptions {
        sub_queue: Some(SubQueue::DeadLetter),
        ..ReceiverOptions::default()
    };
    let subscription = "topic/Subscriptions/all";
    let receiver = client.create_receiver(subscription, dead).await.unwrap();
    client
        .create_receiver("a/b/queue", ReceiverOptions::default())
        .await
        .unwrap();
    receiver.receive_deferred_messages(&[1]).await.unwrap();
    peer.noted(|log| {
        let addresses = log
            .attaches
            .iter()
            .map(|attach| attach.source_address().unwrap());
        let addresses: Vec<_> = addresses.collect();
        assert_eq!(
            addresses,
            ["topic/Subscriptions/all/$DeadLetterQueue", "a/b/queue"]
        );
        assert_eq!(
            log.asked[0].node,
            "topic/Subscriptions/all/$DeadLetterQueue/$management"
        );
    });
}
