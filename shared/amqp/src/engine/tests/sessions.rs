//! Begin and end.

use super::pair::Pair;
use super::raw_peer::{RawPeer, begin};
use crate::condition;
use crate::engine::{ClientOptions, CommandError, Event, Limits, ServerOptions};
use crate::performative::{AmqpError, Open, Performative, Role};

fn pair() -> Pair {
    Pair::opened(ClientOptions::new("c"), ServerOptions::new("s"))
}

#[test]
fn ending_a_session_reports_its_links_on_both_sides() {
    for client_ends in [true, false] {
        let mut pair = pair();
        let (session, theirs) = pair.session();
        let (link, their_link) = pair.link_on(session, Role::Sender, "l");
        let error = AmqpError::new(condition::ILLEGAL_STATE, "enough");
        if client_ends {
            pair.client
                .end_session(session, Some(error.clone()))
                .unwrap();
        } else {
            pair.server
                .end_session(theirs, Some(error.clone()))
                .unwrap();
        }
        let mut seen = pair.run();
        if client_ends {
            // Reported at the command, before any answer.
            seen.client
                .extend(std::iter::from_fn(|| pair.client.next_event().unwrap()));
        }
        let detached = |link| Event::LinkDetached {
            link,
            closed: false,
            error: Some(error.clone()),
        };
        assert!(seen.client.contains(&detached(link)), "{seen:?}");
        assert!(seen.server.contains(&detached(their_link)), "{seen:?}");
        assert!(
            matches!(seen.client.last(), Some(Event::SessionEnded { .. })),
            "{seen:?}"
        );
        assert!(
            matches!(seen.server.last(), Some(Event::SessionEnded { .. })),
            "{seen:?}"
        );
        assert_eq!(pair.client.set_credit(link, 1), Err(CommandError::NoLink));
        assert_eq!(
            pair.client.end_session(session, None),
            Err(CommandError::NoSession)
        );
    }
}

#[test]
fn a_stale_id_is_not_mistaken_for_its_successor() {
    let mut pair = pair();
    let (first, _) = pair.session();
    pair.client.end_session(first, None).unwrap();
    pair.run();
    let (second, _) = pair.session();
    assert_ne!(first, second);
    assert_eq!(
        pair.client.end_session(first, None),
        Err(CommandError::NoSession)
    );
    assert_eq!(pair.client.end_session(second, None), Ok(()));
}

#[test]
fn sessions_are_bounded_by_both_sides() {
    let limits = Limits {
        channel_max: 2,
        ..Limits::default()
    };
    let server = ServerOptions {
        limits,
        ..ServerOptions::new("s")
    };
    let mut pair = Pair::opened(ClientOptions::new("c"), server);
    for _ in 0..3 {
        pair.session();
    }
    assert_eq!(
        pair.client.begin_session(),
        Err(CommandError::Exhausted {
            what: "channels",
            limit: 3
        })
    );

    let mut peer = RawPeer::opened(limits);
    peer.say(3, &begin(1), &[]);
    assert_eq!(peer.failure().1, condition::FRAMING_ERROR);
}

#[test]
fn frames_on_a_channel_without_a_session_are_not_allowed() {
    let mut peer = RawPeer::opened(Limits::default());
    peer.say(4, &super::raw_peer::attach("l", 0, Role::Sender), &[]);
    assert_eq!(peer.failure().1, condition::NOT_ALLOWED);
}

#[test]
fn open_comes_once_and_first() {
    let mut peer = RawPeer::opened(Limits::default());
    peer.say(0, &Open::new("again"), &[]);
    assert_eq!(peer.failure().1, condition::NOT_ALLOWED);
}

#[test]
fn a_channel_holds_one_session() {
    let (mut peer, _) = RawPeer::with_session(Limits::default());
    peer.say(0, &begin(1), &[]);
    assert_eq!(peer.failure().1, condition::NOT_ALLOWED);
}

#[test]
fn an_answer_to_no_begin_is_not_allowed() {
    let mut peer = RawPeer::opened(Limits::default());
    let mut answer = begin(1);
    answer.remote_channel = Some(9);
    peer.say(0, &answer, &[]);
    assert_eq!(peer.failure().1, condition::NOT_ALLOWED);
}

#[test]
fn the_peer_may_use_other_channels_than_we() {
    let mut peer = RawPeer::opened(Limits::default());
    let ours = peer.engine.begin_session().unwrap();
    let heard = peer.heard();
    let [(0, Performative::Begin(_))] = &heard[..] else {
        panic!("{heard:?}")
    };
    // The peer begins one of its own on its channel 0, and answers ours on its channel 5.
    peer.say(0, &begin(10), &[]);
    let mut answer = begin(10);
    answer.remote_channel = Some(0);
    peer.say(5, &answer, &[]);
    let events = peer.events();
    let [
        Event::SessionBegun {
            session: theirs,
            by_peer: true,
        },
        Event::SessionBegun {
            session,
            by_peer: false,
        },
    ] = events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!(session, ours);
    let heard = peer.heard();
    let [(1, Performative::Begin(begin))] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!(begin.remote_channel, Some(0));
    peer.engine.end_session(theirs, None).unwrap();
    assert!(matches!(peer.heard()[..], [(1, Performative::End(_))]));
    peer.engine.end_session(ours, None).unwrap();
    assert!(matches!(peer.heard()[..], [(0, Performative::End(_))]));
}
