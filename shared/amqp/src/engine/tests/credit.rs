//! Link credit, drain, and the flows that carry them.

use super::pair::{Pair, deliveries, unsettled};
use super::raw_peer::{RawPeer, transfer};
use crate::condition;
use crate::engine::{ClientOptions, CommandError, Event, Limits, ServerOptions};
use crate::performative::{Flow, Performative, Role};

fn pair() -> Pair {
    Pair::opened(ClientOptions::new("c"), ServerOptions::new("s"))
}

fn flow(handle: Option<u32>) -> Flow {
    Flow {
        next_incoming_id: Some(0),
        incoming_window: 100,
        next_outgoing_id: 0,
        outgoing_window: 100,
        handle,
        delivery_count: None,
        link_credit: None,
        available: None,
        drain: false,
        echo: false,
        properties: None,
    }
}

#[test]
fn credit_is_used_up_and_renewed() {
    let mut pair = pair();
    let (ours, theirs) = pair.sender(2);
    assert_eq!(pair.client.send(ours, unsettled(0), &[b"a"]), Ok(0));
    assert_eq!(pair.client.send(ours, unsettled(1), &[b"b"]), Ok(1));
    assert_eq!(
        pair.client.send(ours, unsettled(2), &[b"c"]),
        Err(CommandError::NoCredit)
    );
    let seen = pair.run();
    assert_eq!(deliveries(seen.server).len(), 2);
    assert_eq!(pair.server.credit(theirs), 0);
    pair.server.set_credit(theirs, 3).unwrap();
    let seen = pair.run();
    assert_eq!(
        seen.client,
        [Event::Credit {
            link: ours,
            credit: 3,
            drain: false
        }]
    );
}

#[test]
fn credit_accounts_for_what_is_under_way() {
    let mut pair = pair();
    let (ours, theirs) = pair.sender(2);
    // The receiver renews before it has seen the delivery.
    pair.client.send(ours, unsettled(0), &[b"a"]).unwrap();
    pair.server.set_credit(theirs, 10).unwrap();
    let events = pair.feed_client();
    assert_eq!(
        events,
        [Event::Credit {
            link: ours,
            credit: 9,
            drain: false
        }]
    );
    pair.run();
    assert_eq!(
        (pair.client.credit(ours), pair.server.credit(theirs)),
        (9, 9)
    );
    // Taking credit back works the same way.
    pair.server.set_credit(theirs, 0).unwrap();
    pair.client.send(ours, unsettled(1), &[b"b"]).unwrap();
    pair.feed_client();
    assert_eq!(pair.client.credit(ours), 0, "never below zero");
    let seen = pair.run();
    assert_eq!(deliveries(seen.server).len(), 1);
}

#[test]
fn what_crosses_a_withdrawal_of_credit_is_taken_and_nothing_more() {
    let mut pair = pair();
    let (ours, theirs) = pair.sender(3);
    for n in 0..3 {
        pair.client.send(ours, unsettled(n), &[b"a"]).unwrap();
    }
    pair.server.set_credit(theirs, 0).unwrap();
    let seen = pair.run();
    assert_eq!(deliveries(seen.server).len(), 3);
    assert_eq!(
        (pair.client.credit(ours), pair.server.credit(theirs)),
        (0, 0)
    );
    // The next grant counts from there, on both sides.
    pair.server.set_credit(theirs, 2).unwrap();
    pair.run();
    assert_eq!(pair.client.credit(ours), 2);
    for n in 3..5 {
        pair.client.send(ours, unsettled(n), &[b"b"]).unwrap();
    }
    let seen = pair.run();
    assert_eq!(deliveries(seen.server).len(), 2);
    let spent = pair.client.send(ours, unsettled(5), &[b"c"]);
    assert_eq!(spent, Err(CommandError::NoCredit));
}

#[test]
fn commands_know_their_role() {
    let mut pair = pair();
    let (ours, theirs) = pair.sender(1);
    assert_eq!(
        pair.client.set_credit(ours, 1),
        Err(CommandError::WrongRole {
            expected: "receiver"
        })
    );
    assert_eq!(
        pair.server.send(theirs, unsettled(0), &[]),
        Err(CommandError::WrongRole { expected: "sender" })
    );
    assert_eq!(
        pair.server.drained(theirs),
        Err(CommandError::WrongRole { expected: "sender" })
    );
}

#[test]
fn a_drain_uses_what_is_ready_and_gives_the_rest_back() {
    let mut pair = pair();
    let (ours, theirs) = pair.sender(10);
    pair.server.drain(theirs).unwrap();
    let seen = pair.run();
    // The answer to the echo says that the drain is under way; the credit is still there.
    assert_eq!(
        seen.client,
        [Event::Credit {
            link: ours,
            credit: 10,
            drain: true
        }]
    );
    assert_eq!(seen.server, []);
    pair.client.send(ours, unsettled(0), &[b"last"]).unwrap();
    pair.client.drained(ours).unwrap();
    let seen = pair.run();
    assert!(
        matches!(&seen.server[..], [Event::Delivery(_), Event::Drained { link }] if *link == theirs),
        "{seen:?}"
    );
    assert_eq!(
        (pair.client.credit(ours), pair.server.credit(theirs)),
        (0, 0)
    );
    pair.server.set_credit(theirs, 4).unwrap();
    let seen = pair.run();
    assert_eq!(
        seen.client,
        [Event::Credit {
            link: ours,
            credit: 4,
            drain: false
        }]
    );
}

#[test]
fn what_may_come_includes_credit_taken_back_until_a_drain_is_answered() {
    let mut pair = pair();
    let (ours, theirs) = pair.sender(3);
    pair.client.send(ours, unsettled(0), &[b"crosses"]).unwrap();
    pair.server.set_credit(theirs, 0).unwrap();
    assert_eq!(
        (pair.server.credit(theirs), pair.server.may_come(theirs)),
        (0, 3)
    );
    pair.server.drain(theirs).unwrap();
    let events = pair.feed_client();
    assert!(
        events.contains(&Event::Credit {
            link: ours,
            credit: 0,
            drain: true
        }),
        "{events:?}"
    );
    pair.client.drained(ours).unwrap();
    let seen = pair.run();
    assert!(
        matches!(&seen.server[..], [Event::Delivery(_), Event::Drained { link }] if *link == theirs),
        "{seen:?}"
    );
    assert_eq!(pair.server.may_come(theirs), 0);
}

#[test]
fn a_drain_is_over_when_what_waits_for_the_window_has_come() {
    let server = ServerOptions {
        limits: Limits {
            incoming_window: 1,
            ..Limits::default()
        },
        ..ServerOptions::new("s")
    };
    let mut pair = Pair::opened(ClientOptions::new("c"), server);
    let (ours, theirs) = pair.sender(3);
    for tag in 0..3 {
        pair.client.send(ours, unsettled(tag), &[b"m"]).unwrap();
    }
    pair.server.set_credit(theirs, 0).unwrap();
    pair.server.drain(theirs).unwrap();
    pair.feed_client();
    pair.client.drained(ours).unwrap();
    let seen = pair.run();
    let [rest @ .., Event::Drained { link }] = &seen.server[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(*link, theirs);
    assert_eq!(deliveries(rest.to_vec()).len(), 3);
}

#[test]
fn credit_on_its_way_back_is_not_spent_again() {
    let (mut peer, link) = RawPeer::with_link(Limits::default(), Role::Receiver);
    let ask = |drain, credit, window| Flow {
        incoming_window: window,
        delivery_count: Some(0),
        link_credit: Some(credit),
        drain,
        ..flow(Some(7))
    };
    peer.say(0, &ask(true, 10, 0), &[]);
    peer.events();
    peer.engine.send(link, unsettled(0), &[b"m"]).unwrap();
    peer.engine.drained(link).unwrap();
    // Said before the receiver could see the answer, which waits for the window.
    peer.say(0, &ask(true, 10, 0), &[]);
    peer.events();
    assert_eq!(peer.engine.credit(link), 0, "nine are on their way back");
    peer.say(0, &ask(false, 12, 1), &[]);
    peer.events();
    assert_eq!(peer.engine.credit(link), 2);
    let heard = peer.heard();
    let Some((_, Performative::Flow(answer))) = heard.last() else {
        panic!("{heard:?}")
    };
    assert_eq!(
        (answer.delivery_count, answer.link_credit),
        (Some(10), Some(2))
    );
}

#[test]
fn a_closing_connection_has_no_credit() {
    let mut pair = pair();
    let (ours, theirs) = pair.sender(5);
    pair.client.close(None);
    assert!(pair.client.is_closing() && !pair.client.is_closed());
    assert_eq!(pair.client.credit(ours), 0);
    pair.server.close(None);
    assert_eq!(
        (pair.server.credit(theirs), pair.server.may_come(theirs)),
        (0, 0)
    );
}

#[test]
fn a_drained_flow_on_the_wire_carries_count_credit_and_flag() {
    let (mut peer, link) = RawPeer::with_link(Limits::default(), Role::Receiver);
    let ask = Flow {
        delivery_count: Some(0),
        link_credit: Some(50),
        drain: true,
        ..flow(Some(7))
    };
    peer.say(0, &ask, &[]);
    assert_eq!(
        peer.events(),
        [Event::Credit {
            link,
            credit: 50,
            drain: true
        }]
    );
    peer.engine.drained(link).unwrap();
    let heard = peer.heard();
    let [(0, Performative::Flow(answer))] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!(answer.delivery_count, Some(50));
    assert_eq!((answer.link_credit, answer.drain), (Some(0), true));
}

#[test]
fn an_echo_is_answered_for_session_and_link() {
    let (mut peer, link) = RawPeer::with_link(Limits::default(), Role::Receiver);
    peer.say(
        0,
        &Flow {
            echo: true,
            ..flow(None)
        },
        &[],
    );
    assert_eq!(peer.events(), []);
    let heard = peer.heard();
    let [(0, Performative::Flow(answer))] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!((answer.handle, answer.next_incoming_id), (None, Some(0)));
    let ask = Flow {
        delivery_count: Some(0),
        link_credit: Some(3),
        echo: true,
        ..flow(Some(7))
    };
    peer.say(0, &ask, &[]);
    assert_eq!(
        peer.events(),
        [Event::Credit {
            link,
            credit: 3,
            drain: false
        }]
    );
    let heard = peer.heard();
    let [(0, Performative::Flow(answer))] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!((answer.handle, answer.link_credit), (Some(7), Some(3)));
    assert!(!answer.echo, "echoes must not ping-pong");
}

#[test]
fn a_delivery_without_credit_closes_its_link_only() {
    let (mut peer, link) = RawPeer::with_link(Limits::default(), Role::Sender);
    peer.engine.set_credit(link, 1).unwrap();
    peer.say(0, &transfer(7, 0, false), b"first");
    peer.say(0, &transfer(7, 1, false), b"second");
    peer.say(
        0,
        &transfer(7, 2, false),
        b"third, sent before it could know",
    );
    let events = peer.events();
    let [
        Event::Delivery(_),
        Event::LinkDetached {
            closed: true,
            error: Some(error),
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(error.condition, condition::TRANSFER_LIMIT_EXCEEDED);
    peer.attach("next", 8, Role::Sender);
}

#[test]
fn impossible_flows_are_survived() {
    let (mut peer, link) = RawPeer::with_link(Limits::default(), Role::Receiver);
    let ask = Flow {
        delivery_count: Some(u32::MAX),
        link_credit: Some(u32::MAX),
        ..flow(Some(7))
    };
    peer.say(0, &ask, &[]);
    peer.events();
    let ask = Flow {
        delivery_count: Some(0),
        link_credit: Some(u32::MAX),
        ..flow(Some(7))
    };
    peer.say(0, &ask, &[]);
    assert_eq!(
        peer.events(),
        [Event::Credit {
            link,
            credit: u32::MAX,
            drain: false
        }]
    );
    // Having received what was never sent cannot be made sense of.
    peer.say(
        0,
        &Flow {
            next_incoming_id: Some(5),
            ..flow(None)
        },
        &[],
    );
    let events = peer.events();
    let Some(Event::SessionEnded {
        error: Some(error), ..
    }) = events.last()
    else {
        panic!("{events:?}")
    };
    assert_eq!(error.condition, condition::INVALID_FIELD);
}
