//! Sessions, against a scripted broker.

use nightshift_amqp::engine::AttachAnswer;
use nightshift_amqp::performative::{Attach, DeliveryState, Modified};
use nightshift_amqp::{Map, Timestamp, Value};
use nightshift_time::{Clock as _, SystemClock};

use super::*;
use crate::peer::{Answer, Asked, Deed, Grant, Peer, SOON, Script};
use crate::{Message, Settlement, encode};

/// Gives the session that is asked for, or `next`, until so long from now.
struct Sessions {
    lasts: Duration,
}

const A_MINUTE: Sessions = Sessions {
    lasts: Duration::from_mins(1),
};

impl Sessions {
    fn end(&self) -> DateTime<Utc> {
        SystemClock.now() + self.lasts
    }
}

impl Script for Sessions {
    fn attach(&mut self, attach: &Attach) -> Grant {
        let mut answer = AttachAnswer::granting(attach);
        let filter = answer
            .source
            .as_mut()
            .and_then(|source| source.filter.as_mut());
        if let Some(filter) = filter
            && filter.get("com.microsoft:session-filter") == Some(&Value::Null)
        {
            filter.remove("com.microsoft:session-filter");
            filter.insert_symbol("com.microsoft:session-filter", "next");
        }
        let ticks = self.end().timestamp_millis() * 10_000 + 621_355_968_000_000_000;
        let mut properties = Map::new();
        properties.insert_symbol("com.microsoft:locked-until-utc", ticks);
        answer.properties = Some(properties);
        Grant::With(Box::new(answer))
    }

    fn answer(&mut self, asked: &Asked) -> Option<Answer> {
        let mut body = Map::new();
        match asked.operation.as_str() {
            "com.microsoft:renew-session-lock" => {
                let end = Timestamp::from_millis(self.end().timestamp_millis());
                body.insert("expiration", end);
            }
            "com.microsoft:get-session-state" => {
                body.insert("session-state", Bytes::from_static(b"state"));
            }
            "com.microsoft:get-message-sessions" => {
                body.insert("skip", 2);
                body.insert("sessions-ids", vec![Value::from("a"), Value::from("b")]);
            }
            _ => {}
        }
        Some(Answer::granted(body))
    }
}

/// Grants links when told to.
struct Slow;

impl Script for Slow {
    fn attach(&mut self, _attach: &Attach) -> Grant {
        Grant::Later
    }
}

/// Refuses every link.
struct Refusing(&'static str);

impl Script for Refusing {
    fn attach(&mut self, _attach: &Attach) -> Grant {
        Grant::No(self.0)
    }
}

fn named(id: &str) -> SessionFilter {
    SessionFilter::Named(id.to_owned())
}

async fn accept(peer: &Peer, options: SessionReceiverOptions) -> SessionReceiver {
    let client = peer.client().await;
    client.accept_session("q", "s", options).await.unwrap()
}

#[test]
fn what_the_broker_gives_is_compared_with_what_was_asked_for() {
    let gave = |id: Option<&str>| Attached {
        max_message_size: 1,
        max_batch_size: 1,
        session_id: id.map(str::to_owned),
        session_locked_until: None,
    };
    let (named, next) = (named("a"), SessionFilter::Next(Duration::ZERO));
    assert_eq!(&*granted(&named, &gave(Some("a"))).unwrap(), "a");
    assert_eq!(&*granted(&next, &gave(Some("b"))).unwrap(), "b");
    for (wanted, given) in [(&named, Some("b")), (&named, None), (&next, None)] {
        let error = granted(wanted, &gave(given)).unwrap_err();
        assert!(matches!(error, BusError::Protocol(_)), "{error}");
    }
}

#[tokio::test]
async fn a_session_is_asked_for_by_the_filter_of_the_source() {
    let peer = Peer::start(A_MINUTE).await;
    let client = peer.client().await;
    let options = SessionReceiverOptions {
        max_wait: Duration::from_millis(1_500),
        ..SessionReceiverOptions::default()
    };
    let named = client
        .accept_session("q", "s", options.clone())
        .await
        .unwrap();
    let next = client.accept_next_session("q", options).await.unwrap();
    assert_eq!((named.session_id(), next.session_id()), ("s", "next"));
    let left = named.session_locked_until().unwrap() - SystemClock.now();
    assert!((50..=60).contains(&left.num_seconds()), "{left}");
    peer.noted(|log| {
        let filter = |at: usize| {
            log.attaches[at]
                .source
                .as_ref()?
                .filter
                .clone()?
                .remove("com.microsoft:session-filter")
        };
        let timeout = |at: usize| {
            log.attaches[at]
                .properties
                .clone()?
                .remove("com.microsoft:timeout")
        };
        assert_eq!((filter(0), timeout(0)), (Some(Value::from("s")), None));
        assert_eq!(
            (filter(1), timeout(1)),
            (Some(Value::Null), Some(Value::Uint(1_500)))
        );
    });
    let long = "x".repeat(129);
    let error = client
        .accept_session("q", &long, SessionReceiverOptions::default())
        .await;
    assert!(
        matches!(error, Err(BusError::InvalidArgument(_))),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_search_that_finds_nothing_and_a_session_that_is_held_are_told_apart() {
    let of = async |condition, next| {
        let peer = Peer::start(Refusing(condition)).await;
        let client = peer.client().await;
        let options = SessionReceiverOptions::default();
        let accepted = if next {
            client.accept_next_session("q", options).await
        } else {
            client.accept_session("q", "s", options).await
        };
        accepted.unwrap_err()
    };
    let error = of("com.microsoft:timeout", true).await;
    assert!(
        matches!(&error, BusError::NoSessionAvailable { entity } if entity == "q"),
        "{error}"
    );
    assert!(error.is_transient());
    let error = of("com.microsoft:timeout", false).await;
    assert!(matches!(error, BusError::Detached { .. }), "{error}");
    let error = of("com.microsoft:session-cannot-be-locked", false).await;
    assert!(
        matches!(&error, BusError::SessionCannotBeLocked { .. }),
        "{error}"
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_broker_that_opens_a_link_without_a_session_is_refused() {
    let peer = Peer::start(crate::peer::Willing).await;
    let client = peer.client().await;
    let error = client
        .accept_next_session("q", SessionReceiverOptions::default())
        .await;
    assert!(matches!(error, Err(BusError::Protocol(_))), "{error:?}");
    peer.until("the link is given back", |log| log.detached == 1)
        .await;
}

#[tokio::test]
async fn a_search_whose_caller_gave_up_keeps_no_session() {
    for granted_late in [false, true] {
        let peer = Peer::start(Slow).await;
        let client = peer.client().await;
        let accepting = client.accept_session("q", "s", SessionReceiverOptions::default());
        let asked = peer.until("the session is asked for", |log| log.attaches.len() == 1);
        tokio::select! {
            accepted = accepting => panic!("{accepted:?}"),
            () = asked => {}
        }
        if granted_late {
            peer.has(Deed::Grant);
        }
        peer.until("the session is given back", |log| log.detached == 1)
            .await;
    }
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_given_up() {
    let peer = Peer::start(Slow).await;
    let options = crate::ClientOptions {
        try_timeout: Duration::from_millis(200),
        ..crate::ClientOptions::default()
    };
    let client = peer.client_with(options).await;
    let wait = SessionReceiverOptions {
        max_wait: Duration::from_millis(300),
        ..SessionReceiverOptions::default()
    };
    let begun = tokio::time::Instant::now();
    let error = client.accept_next_session("q", wait).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "opening a link got no answer within 0.5 s"
    );
    assert!(
        begun.elapsed() >= Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    peer.until("the link is given back", |log| log.detached == 1)
        .await;
}

#[tokio::test]
async fn requests_name_the_session_and_the_link_that_holds_it() {
    let peer = Peer::start(A_MINUTE).await;
    let session = accept(&peer, SessionReceiverOptions::default()).await;
    let before = session.session_locked_until().unwrap();
    assert!(session.renew_session_lock().await.unwrap() >= before);
    assert_eq!(
        session.get_session_state().await.unwrap().as_deref(),
        Some(&b"state"[..])
    );
    session
        .set_session_state(Some(Bytes::from_static(b"new")))
        .await
        .unwrap();
    session.set_session_state(None).await.unwrap();
    assert!(
        session.peek_messages(0, 1).await.is_err(),
        "the script has no messages"
    );
    peer.noted(|log| {
        let link = Value::from(log.attaches[0].name.as_str());
        for asked in &log.asked {
            assert_eq!(asked.node, "q/$management");
            assert_eq!(
                asked.body.get("session-id"),
                Some(&Value::from("s")),
                "{asked:?}"
            );
            assert_eq!(
                asked.words.get("associated-link-name"),
                Some(&link),
                "{asked:?}"
            );
        }
        let states = log
            .asked
            .iter()
            .filter(|asked| asked.operation.ends_with("set-session-state"));
        let states: Vec<_> = states
            .filter_map(|asked| asked.body.get("session-state"))
            .collect();
        assert_eq!(
            states,
            [&Value::Binary(Bytes::from_static(b"new")), &Value::Null]
        );
    });
    session.close().await;
    peer.noted(|log| assert_eq!(log.detached, 1));
}

#[tokio::test]
async fn sessions_are_listed_by_the_node_of_the_entity() {
    let peer = Peer::start(A_MINUTE).await;
    let client = peer.client().await;
    let ids = client.get_message_sessions("q", None, 2, 10).await.unwrap();
    assert_eq!(ids, ["a", "b"]);
    peer.noted(|log| {
        let body = &log.asked[0].body;
        assert_eq!(body.get("skip"), Some(&Value::Int(2)));
        assert_eq!(body.get("top"), Some(&Value::Int(10)));
        let end_of_time = Value::Timestamp(Timestamp::from_millis(253_402_300_800_000));
        assert_eq!(body.get("last-updated-time"), Some(&end_of_time));
    });
}

/// Everything that a holder of a session can call, with one of its messages.
async fn every_call(session: &SessionReceiver, message: &crate::ReceivedMessage) -> Vec<BusError> {
    let mut errors = vec![
        session.receive_messages(1, SOON).await.unwrap_err(),
        session.renew_session_lock().await.unwrap_err(),
        session.get_session_state().await.unwrap_err(),
        session.set_session_state(None).await.unwrap_err(),
        session.peek_messages(0, 1).await.unwrap_err(),
        session.receive_deferred_messages(&[1]).await.unwrap_err(),
        session.complete_message(message).await.unwrap_err(),
    ];
    let settled = session
        .complete_messages(std::slice::from_ref(message))
        .await
        .unwrap();
    errors.extend(settled.into_iter().filter_map(Result::err));
    errors
}

#[tokio::test]
async fn a_session_ends_with_its_link_and_is_not_taken_up_again() {
    for deed in [
        Deed::Detach("com.microsoft:session-lock-lost"),
        Deed::Detach("amqp:link:detach-forced"),
        Deed::HangUp,
    ] {
        let peer = Peer::start(A_MINUTE).await;
        let client = peer.client().await;
        let options = SessionReceiverOptions {
            prefetch: 1,
            ..SessionReceiverOptions::default()
        };
        let session = client.accept_session("q", "s", options).await.unwrap();
        peer.has(Deed::Send(encode::message(&Message::new("x")).unwrap()));
        let message = session.receive_messages(1, SOON).await.unwrap().remove(0);
        let waiting = session.receive_messages(1, SOON);
        let (waited, ()) = tokio::join!(waiting, async { peer.has(deed) });
        let lost = |error: &BusError| matches!(error, BusError::SessionLockLost { .. });
        assert!(lost(waited.as_ref().unwrap_err()), "{waited:?}");
        for error in every_call(&session, &message).await {
            assert!(lost(&error), "{error}");
            assert!(!error.is_transient());
        }
        peer.noted(|log| assert_eq!(log.attaches.len(), 1, "no other link was opened"));
        client
            .accept_session("q", "s", SessionReceiverOptions::default())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_closed_client_is_told_as_such() {
    let peer = Peer::start(A_MINUTE).await;
    let client = peer.client().await;
    let options = SessionReceiverOptions::default();
    let session = client.accept_session("q", "s", options).await.unwrap();
    client.close().await;
    for error in [
        session.receive_messages(1, SOON).await.unwrap_err(),
        session.renew_session_lock().await.unwrap_err(),
    ] {
        assert!(matches!(error, BusError::Closed { .. }), "{error}");
    }
}

#[tokio::test]
async fn the_lock_is_renewed_by_itself_while_the_session_is_held() {
    let peer = Peer::start(Sessions {
        lasts: Duration::from_millis(500),
    })
    .await;
    let options = SessionReceiverOptions {
        max_auto_lock_renewal_duration: SOON,
        ..SessionReceiverOptions::default()
    };
    let session = accept(&peer, options).await;
    let first = session.session_locked_until();
    peer.until("three renewals", |log| log.asked.len() >= 3)
        .await;
    assert!(session.session_locked_until() > first);
    drop(session);
    peer.until("the session is freed", |log| log.detached == 1)
        .await;
    let asked = peer.noted(|log| log.asked.len());
    tokio::time::sleep(Duration::from_millis(700)).await;
    let later = peer.noted(|log| log.asked.len());
    assert!(
        later <= asked + 1,
        "{later} renewals, {asked} when it was dropped"
    );
}

#[tokio::test]
async fn renewal_ends_after_its_maximal_duration() {
    let peer = Peer::start(Sessions {
        lasts: Duration::from_millis(500),
    })
    .await;
    let options = SessionReceiverOptions {
        max_auto_lock_renewal_duration: Duration::from_millis(600),
        ..SessionReceiverOptions::default()
    };
    let _session = accept(&peer, options).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let asked = peer.noted(|log| log.asked.len());
    assert!((1..=2).contains(&asked), "{asked} renewals");
}

#[tokio::test]
async fn a_message_of_a_session_is_settled_on_its_link_and_has_no_lock_of_its_own() {
    let peer = Peer::start(A_MINUTE).await;
    let options = SessionReceiverOptions {
        prefetch: 1,
        ..SessionReceiverOptions::default()
    };
    let session = accept(&peer, options).await;
    let sent = Message::new("x").with_session_id("s");
    peer.has(Deed::Send(encode::message(&sent).unwrap()));
    let message = session.receive_messages(1, SOON).await.unwrap().remove(0);
    assert_eq!(message.message.session_id.as_deref(), Some("s"));
    let error = session.renew_message_lock(&message).await.unwrap_err();
    assert!(matches!(error, BusError::InvalidArgument(_)), "{error}");
    let settlement = Settlement::abandon().with_property("tried", 1);
    session.settle_message(&message, settlement).await.unwrap();
    peer.noted(|log| {
        let Some(DeliveryState::Modified(Modified {
            message_annotations: Some(changes),
            ..
        })) = &log.dispositions[0].state
        else {
            panic!("{:?}", log.dispositions)
        };
        assert_eq!(changes.get("tried").and_then(Value::as_i64), Some(1));
    });
}
