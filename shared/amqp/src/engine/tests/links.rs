//! Attach and detach.

use super::pair::{Pair, unsettled};
use super::raw_peer::{RawPeer, attach, begin};
use crate::condition;
use crate::engine::{
    AttachAnswer, ClientOptions, CommandError, Event, Limits, NewLink, ServerOptions,
};
use crate::performative::{
    AmqpError, AttachTarget, Coordinator, Detach, Performative, ReceiverSettleMode, Role, Source,
    Target,
};

fn pair() -> Pair {
    Pair::opened(ClientOptions::new("c"), ServerOptions::new("s"))
}

#[test]
fn an_answer_carries_what_clients_need() {
    let mut pair = pair();
    let (session, _) = pair.session();
    let mut new = NewLink::new("l", Source::new("q"), Target::new("reply"));
    new.rcv_settle_mode = ReceiverSettleMode::Second;
    let link = pair.client.attach_receiver(session, new).unwrap();
    let seen = pair.run();
    let [
        Event::LinkAttaching {
            link: theirs,
            attach: asked,
            ..
        },
    ] = &seen.server[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (asked.role, asked.source_address()),
        (Role::Receiver, Some("q"))
    );
    assert_eq!(asked.target_address(), Some("reply"));
    let mut answer = AttachAnswer::granting(asked);
    answer.max_message_size = Some(262_144);
    pair.server.accept_link(*theirs, answer.clone()).unwrap();
    assert_eq!(
        pair.server.accept_link(*theirs, answer),
        Err(CommandError::LinkState {
            state: "answered already"
        })
    );
    let seen = pair.run();
    let [
        Event::LinkAttached {
            link: attached,
            attach,
        },
    ] = &seen.client[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!(*attached, link);
    assert_eq!(attach.role, Role::Sender);
    assert_eq!(
        attach.initial_delivery_count,
        Some(0),
        "clients give up without it"
    );
    assert_eq!(attach.max_message_size, Some(262_144));
    assert_eq!(attach.rcv_settle_mode, ReceiverSettleMode::Second);
}

#[test]
fn a_refused_link_is_reported_once_with_its_error() {
    for role in [Role::Sender, Role::Receiver] {
        let mut pair = pair();
        let (session, _) = pair.session();
        let new = NewLink::new("l", Source::new("nowhere"), Target::new("nowhere"));
        let link = match role {
            Role::Sender => pair.client.attach_sender(session, new),
            Role::Receiver => pair.client.attach_receiver(session, new),
        }
        .unwrap();
        let seen = pair.run();
        let [Event::LinkAttaching { link: theirs, .. }] = seen.server[..] else {
            panic!("{seen:?}")
        };
        let error = AmqpError::new(condition::NOT_FOUND, "no queue is called nowhere");
        pair.server.refuse_link(theirs, error.clone()).unwrap();
        let seen = pair.run();
        let error = Some(error);
        assert_eq!(
            seen.client,
            [Event::LinkDetached {
                link,
                closed: true,
                error
            }]
        );
        assert_eq!(seen.server, []);
        assert_eq!(
            pair.client.detach(link, true, None),
            Err(CommandError::NoLink)
        );
    }
}

#[test]
fn a_refusal_on_the_wire_has_no_terminus() {
    let (mut peer, _) = RawPeer::with_session(Limits::default());
    let mut ask = attach("l", 5, Role::Sender);
    ask.target = Some(AttachTarget::Coordinator(Coordinator {
        capabilities: None,
    }));
    peer.say(0, &ask, &[]);
    let events = peer.events();
    let [Event::LinkAttaching { link, attach, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(matches!(attach.target, Some(AttachTarget::Coordinator(_))));
    let error = AmqpError::new(condition::NOT_IMPLEMENTED, "no transactions");
    peer.engine.refuse_link(*link, error.clone()).unwrap();
    let heard = peer.heard();
    let [
        (0, Performative::Attach(answer)),
        (0, Performative::Detach(detach)),
    ] = &heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_eq!((&answer.source, &answer.target), (&None, &None));
    assert_eq!(
        (answer.handle, answer.role, &*answer.name),
        (5, Role::Receiver, "l")
    );
    assert_eq!(
        **detach,
        Detach {
            handle: 5,
            closed: true,
            error: Some(error)
        }
    );
    // The handle is free again once the peer has confirmed.
    peer.say(
        0,
        &Detach {
            handle: 5,
            closed: true,
            error: None,
        },
        &[],
    );
    assert_eq!(peer.events(), []);
    peer.attach("l", 5, Role::Sender);
}

#[test]
fn either_side_detaches_and_the_other_confirms() {
    for client_detaches in [true, false] {
        let mut pair = pair();
        let (ours, theirs) = pair.link(Role::Receiver);
        let error = Some(AmqpError::new(condition::DETACH_FORCED, "moved"));
        let (client, server) = if client_detaches {
            pair.client.detach(ours, true, error.clone()).unwrap();
            (None, error)
        } else {
            pair.server.detach(theirs, true, error.clone()).unwrap();
            (error, None)
        };
        let seen = pair.run();
        assert_eq!(
            seen.client,
            [Event::LinkDetached {
                link: ours,
                closed: true,
                error: client
            }]
        );
        assert_eq!(
            seen.server,
            [Event::LinkDetached {
                link: theirs,
                closed: true,
                error: server
            }]
        );
    }
}

#[test]
fn both_sides_may_detach_at_once() {
    let mut pair = pair();
    let (ours, theirs) = pair.link(Role::Receiver);
    pair.client.detach(ours, true, None).unwrap();
    pair.server.detach(theirs, true, None).unwrap();
    let seen = pair.run();
    assert_eq!(
        seen.client,
        [Event::LinkDetached {
            link: ours,
            closed: true,
            error: None
        }]
    );
    assert_eq!(
        seen.server,
        [Event::LinkDetached {
            link: theirs,
            closed: true,
            error: None
        }]
    );
}

#[test]
fn a_peer_may_lose_patience_before_it_is_answered() {
    let (mut peer, _) = RawPeer::with_session(Limits::default());
    peer.say(0, &attach("l", 0, Role::Receiver), &[]);
    let events = peer.events();
    let [
        Event::LinkAttaching {
            link,
            attach: asked,
            ..
        },
    ] = &events[..]
    else {
        panic!()
    };
    peer.say(
        0,
        &Detach {
            handle: 0,
            closed: true,
            error: None,
        },
        &[],
    );
    assert_eq!(
        peer.events(),
        [Event::LinkDetached {
            link: *link,
            closed: true,
            error: None
        }]
    );
    let heard = peer.heard();
    assert!(
        matches!(
            heard[..],
            [(_, Performative::Attach(_)), (_, Performative::Detach(_))]
        ),
        "{heard:?}"
    );
    assert_eq!(
        peer.engine
            .accept_link(*link, AttachAnswer::granting(asked)),
        Err(CommandError::NoLink)
    );
}

#[test]
fn a_client_may_detach_before_it_is_answered() {
    let mut pair = pair();
    let (session, _) = pair.session();
    let new = NewLink::new("l", Source::new("q"), Target::new("q"));
    let link = pair.client.attach_sender(session, new).unwrap();
    pair.client.detach(link, true, None).unwrap();
    let seen = pair.run();
    assert!(
        matches!(
            seen.server[..],
            [Event::LinkAttaching { .. }, Event::LinkDetached { .. }]
        ),
        "{seen:?}"
    );
    assert_eq!(
        seen.client,
        [Event::LinkDetached {
            link,
            closed: true,
            error: None
        }]
    );
}

#[test]
fn links_may_be_attached_before_the_session_is_answered() {
    let mut pair = pair();
    let session = pair.client.begin_session().unwrap();
    let new = NewLink::new("l", Source::new("q"), Target::new("q"));
    let link = pair.client.attach_receiver(session, new).unwrap();
    pair.client.set_credit(link, 5).unwrap();
    let seen = pair.run();
    let [
        _,
        Event::LinkAttaching {
            link: theirs,
            attach,
            ..
        },
    ] = &seen.server[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!(
        pair.server.credit(*theirs),
        0,
        "not usable before it is accepted"
    );
    pair.server
        .accept_link(*theirs, AttachAnswer::granting(attach))
        .unwrap();
    assert_eq!(
        pair.server.next_event(),
        Ok(Some(Event::Credit {
            link: *theirs,
            credit: 5,
            drain: false
        }))
    );
    pair.server.send(*theirs, unsettled(1), &[b"x"]).unwrap();
    let seen = pair.run();
    assert!(
        matches!(
            seen.client[..],
            [Event::LinkAttached { .. }, Event::Delivery(_)]
        ),
        "{seen:?}"
    );
}

#[test]
fn handles_are_bounded_and_exclusive() {
    let limits = Limits {
        handle_max: 7,
        ..Limits::default()
    };
    let (mut peer, _) = RawPeer::with_link(limits, Role::Sender);
    peer.say(0, &attach("other", 7, Role::Sender), &[]);
    let events = peer.events();
    let [
        Event::LinkDetached { .. },
        Event::SessionEnded {
            error: Some(error), ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(error.condition, condition::HANDLE_IN_USE);

    let (mut peer, _) = RawPeer::with_link(limits, Role::Sender);
    peer.say(0, &attach("other", 8, Role::Sender), &[]);
    assert_eq!(peer.failure().1, condition::FRAMING_ERROR);
}

#[test]
fn links_are_bounded_in_all_sessions_together() {
    let limits = Limits {
        max_links: 2,
        ..Limits::default()
    };
    let (mut peer, _) = RawPeer::with_session(limits);
    peer.say(1, &begin(1), &[]);
    peer.say(0, &attach("a", 0, Role::Sender), &[]);
    peer.say(1, &attach("b", 0, Role::Sender), &[]);
    assert_eq!(peer.events().len(), 3);
    peer.say(1, &attach("c", 1, Role::Sender), &[]);
    assert_eq!(peer.failure().1, condition::RESOURCE_LIMIT_EXCEEDED);
}

#[test]
fn a_peer_with_too_few_handles_loses_its_session_only() {
    let mut peer = RawPeer::opened(Limits::default());
    let mut narrow = begin(10);
    narrow.handle_max = 0;
    peer.say(0, &narrow, &[]);
    peer.events();
    peer.attach("a", 0, Role::Sender);
    peer.say(0, &attach("b", 1, Role::Sender), &[]);
    let events = peer.events();
    let [Event::LinkAttaching { link, attach, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        peer.engine
            .accept_link(*link, AttachAnswer::granting(attach)),
        Err(CommandError::Exhausted {
            what: "handles",
            limit: 256
        })
    );
    let events = peer.events();
    assert_eq!(events.len(), 3, "two links and the session: {events:?}");
    assert!(matches!(peer.heard()[..], [(0, Performative::End(_))]));
    assert!(!peer.engine.is_closed());
}

#[test]
fn an_overlong_name_is_refused() {
    let (mut peer, _) = RawPeer::with_session(Limits::default());
    peer.say(0, &attach(&"n".repeat(2049), 0, Role::Sender), &[]);
    assert_eq!(peer.failure().1, condition::INVALID_FIELD);
}

#[test]
fn frames_for_a_handle_that_no_link_has_end_the_session() {
    let (mut peer, session) = RawPeer::with_session(Limits::default());
    peer.say(
        0,
        &Detach {
            handle: 9,
            closed: true,
            error: None,
        },
        &[],
    );
    let events = peer.events();
    let [
        Event::SessionEnded {
            session: ended,
            error: Some(error),
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(
        (*ended, &error.condition),
        (session, &condition::UNATTACHED_HANDLE)
    );
    // What the peer had sent before it saw our end is dropped, and its end is the last word.
    peer.say(0, &attach("late", 0, Role::Sender), &[]);
    peer.say(0, &crate::performative::End { error: None }, &[]);
    assert_eq!(peer.events(), []);
    peer.say(0, &begin(1), &[]);
    assert!(matches!(peer.events()[..], [Event::SessionBegun { .. }]));
}

#[test]
fn many_links_come_and_go_without_growth() {
    let mut pair = pair();
    let (session, _) = pair.session();
    for round in 0..600 {
        let (ours, _) = pair.link_on(session, Role::Sender, &round.to_string());
        pair.client.detach(ours, true, None).unwrap();
        pair.run();
    }
    assert_eq!(pair.server.links.len(), 0);
    assert_eq!(pair.client.links.len(), 0);
}
