//! Messages across frames and windows, and their settlement.

use super::pair::{Pair, Seen, deliveries, session_of, unsettled};
use super::raw_peer::{RawPeer, performatives, transfer};
use crate::condition;
use crate::engine::{
    ClientOptions, CommandError, Event, Limits, LinkId, NewDelivery, ServerOptions, Unsettled,
};
use crate::performative::{
    AmqpError, DeliveryState, Disposition, Modified, Performative, Role, Transfer,
};
use crate::value::DeliveryTag;

fn pair(limits: Limits) -> Pair {
    let server = ServerOptions {
        limits,
        ..ServerOptions::new("s")
    };
    Pair::opened(ClientOptions::new("c"), server)
}

/// Octets that tell a lost or swapped frame.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| u8::try_from(at * 31 % 251).unwrap())
        .collect()
}

#[test]
fn a_message_arrives_whole_whatever_its_size() {
    for chunk in [1, 100, usize::MAX] {
        let mut pair = pair(Limits {
            max_frame_size: 512,
            ..Limits::default()
        });
        pair.chunk = chunk;
        let (ours, theirs) = pair.sender(100);
        for (id, size) in [0, 1, 400, 480, 490, 500, 512, 5_000]
            .into_iter()
            .enumerate()
        {
            let body = pattern(size);
            let (front, back) = body.split_at(size / 3);
            let tag = DeliveryTag::from([7; 16]);
            let settled = id % 2 == 0;
            let new = NewDelivery {
                tag,
                message_format: 9,
                settled,
            };
            let id = u32::try_from(id).unwrap();
            assert_eq!(pair.client.send(ours, new, &[front, &[], back]), Ok(id));
            let delivery = deliveries(pair.run().server).remove(0);
            assert_eq!(delivery.payload, body);
            assert_eq!((delivery.link, delivery.delivery_id), (theirs, id));
            assert_eq!((delivery.tag, delivery.message_format), (tag, 9));
            assert_eq!(delivery.settled, settled);
        }
    }
}

#[test]
fn frames_keep_to_the_peers_size() {
    let mut pair = pair(Limits {
        max_frame_size: 600,
        ..Limits::default()
    });
    let (ours, _) = pair.sender(10);
    pair.client
        .send(ours, unsettled(1), &[&pattern(10_000)])
        .unwrap();
    let octets = pair.client.output().split();
    let frames = performatives(&octets);
    assert!(frames.len() > 16 && octets.len() <= frames.len() * 600);
    let full = &octets[..600];
    assert_eq!(full[..4], 600_u32.to_be_bytes(), "frames are filled");
    let more: Vec<bool> = frames
        .iter()
        .map(|(_, frame)| matches!(frame, Performative::Transfer(Transfer { more: true, .. })))
        .collect();
    assert!(more[..more.len() - 1].iter().all(|more| *more) && !more[more.len() - 1]);
}

#[test]
fn both_settle_modes_end_settled() {
    let mut pair = pair(Limits::default());
    let (session, their_session) = pair.session();
    let (ours, theirs) = pair.link_on(session, Role::Receiver, "l");
    pair.client.set_credit(ours, 10).unwrap();
    pair.run();
    let mut unsettled_here = Unsettled::new();
    for tag in 0..3 {
        let id = pair.server.send(theirs, unsettled(tag), &[b"m"]).unwrap();
        unsettled_here.insert(id, tag);
    }
    assert_eq!(deliveries(pair.run().client).len(), 3);
    // The receiver tells its outcome without settling; the sender settles in return.
    let modified = DeliveryState::Modified(Modified {
        delivery_failed: true,
        undeliverable_here: false,
        message_annotations: None,
    });
    let tell = Disposition::new(Role::Receiver, 0, 2, false, Some(modified.clone()));
    pair.client.disposition(session, &tell).unwrap();
    let seen = pair.run();
    let [
        Event::Disposition {
            session: on,
            disposition,
        },
    ] = &seen.server[..]
    else {
        panic!("{seen:?}")
    };
    assert_eq!((*on, disposition), (their_session, &tell));
    let range = unsettled_here.take_range(disposition.first, disposition.last_id());
    assert_eq!(range, [(0, 0), (1, 1), (2, 2)]);
    let settle = Disposition::new(Role::Sender, 0, 2, true, Some(modified));
    pair.server.disposition(their_session, &settle).unwrap();
    let seen = pair.run();
    assert_eq!(
        seen.client,
        [Event::Disposition {
            session,
            disposition: settle
        }]
    );
}

#[test]
fn a_rejection_carries_its_error_across() {
    let mut pair = pair(Limits::default());
    let (ours, theirs) = pair.sender(1);
    pair.client.send(ours, unsettled(0), &[b"m"]).unwrap();
    pair.run();
    let session = session_of(&pair.server, theirs).unwrap();
    let state = DeliveryState::rejected(AmqpError::new(condition::SERVER_BUSY, "later"));
    let settle = Disposition::new(Role::Receiver, 0, 0, true, Some(state));
    pair.server.disposition(session, &settle).unwrap();
    let seen = pair.run();
    let [Event::Disposition { disposition, .. }] = &seen.client[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(disposition, &settle);
}

#[test]
fn the_peers_window_holds_transfers_back() {
    // The receiver renews its window of 4 after 2 transfers.
    let limits = Limits {
        incoming_window: 4,
        max_frame_size: 512,
        ..Limits::default()
    };
    let mut pair = pair(limits);
    let (ours, theirs) = pair.sender(100);
    let body = pattern(2_000);
    for tag in 0..20 {
        pair.client.send(ours, unsettled(tag), &[&body]).unwrap();
    }
    let octets = pair.client.output().split();
    assert_eq!(
        performatives(&octets).len(),
        4,
        "what the window takes, and no more"
    );
    pair.client.output().extend_from_slice(&octets);
    let arrived = deliveries(pair.run().server);
    assert_eq!(arrived.len(), 20);
    assert!(
        arrived
            .iter()
            .all(|delivery| delivery.payload == body && delivery.link == theirs)
    );
    let tags: Vec<u8> = arrived.iter().map(|delivery| delivery.tag[0]).collect();
    assert_eq!(tags, (0..20).collect::<Vec<u8>>());
    assert_eq!(
        (pair.client.credit(ours), pair.server.credit(theirs)),
        (80, 80)
    );
}

#[test]
fn detach_and_drain_wait_their_turn_behind_queued_messages() {
    let limits = Limits {
        incoming_window: 2,
        ..Limits::default()
    };
    let mut pair = pair(limits);
    let (ours, theirs) = pair.sender(100);
    for tag in 0..6 {
        pair.client.send(ours, unsettled(tag), &[b"m"]).unwrap();
    }
    pair.client.drained(ours).unwrap();
    pair.client.detach(ours, true, None).unwrap();
    assert_eq!(
        pair.client.send(ours, unsettled(9), &[]),
        Err(CommandError::NoLink)
    );
    let seen = pair.run();
    let kinds: Vec<bool> = seen
        .server
        .iter()
        .map(|event| matches!(event, Event::Delivery(_)))
        .collect();
    assert_eq!(
        kinds,
        [true, true, true, true, true, true, false],
        "{seen:?}"
    );
    assert_eq!(
        seen.server.last(),
        Some(&Event::LinkDetached {
            link: theirs,
            closed: true,
            error: None
        })
    );
    assert_eq!(
        seen.client,
        [Event::LinkDetached {
            link: ours,
            closed: true,
            error: None
        }]
    );
}

#[test]
fn an_error_detach_does_not_wait() {
    let mut pair = pair(Limits {
        incoming_window: 1,
        ..Limits::default()
    });
    let (ours, theirs) = pair.sender(100);
    for tag in 0..6 {
        pair.client.send(ours, unsettled(tag), &[b"m"]).unwrap();
    }
    let error = Some(AmqpError::new(condition::INTERNAL_ERROR, "broken"));
    pair.client.detach(ours, true, error.clone()).unwrap();
    let seen = pair.run();
    assert!(matches!(seen.server[0], Event::Delivery(_)), "{seen:?}");
    assert_eq!(
        seen.server[1],
        Event::LinkDetached {
            link: theirs,
            closed: true,
            error
        }
    );
}

#[test]
fn a_backlog_suspends_credit_until_the_peer_reads_on() {
    let mut client = ClientOptions::new("c");
    client.limits.max_queued_bytes = 1_000;
    let server = ServerOptions {
        limits: Limits {
            incoming_window: 2,
            ..Limits::default()
        },
        ..ServerOptions::new("s")
    };
    let mut pair = Pair::opened(client, server);
    let (ours, _) = pair.sender(100);
    let body = pattern(400);
    let mut sent = 0;
    while pair.client.send(ours, unsettled(sent), &[&body]).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 5, "two under way, three queued");
    assert_eq!(pair.client.credit(ours), 0);
    let Seen { client, server } = pair.run();
    assert_eq!(deliveries(server).len(), 5);
    assert_eq!(
        client,
        [Event::Credit {
            link: ours,
            credit: 95,
            drain: false
        }]
    );
}

/// A client whose session has a backlog of messages of its first link, and a second link.
fn backlog() -> (Pair, LinkId, (LinkId, LinkId)) {
    let mut client = ClientOptions::new("c");
    client.limits.max_queued_bytes = 1_000;
    let server = ServerOptions {
        limits: Limits {
            incoming_window: 1,
            ..Limits::default()
        },
        ..ServerOptions::new("s")
    };
    let mut pair = Pair::opened(client, server);
    let (session, _) = pair.session();
    let (first, first_there) = pair.link_on(session, Role::Sender, "first");
    let second = pair.link_on(session, Role::Sender, "second");
    for link in [first_there, second.1] {
        pair.server.set_credit(link, 10).unwrap();
    }
    pair.run();
    let body = pattern(600);
    for tag in 0..3 {
        pair.client.send(first, unsettled(tag), &[&body]).unwrap();
    }
    assert_eq!(pair.client.credit(second.0), 0, "held up by its neighbour");
    (pair, first, second)
}

#[test]
fn a_backlog_that_is_dropped_frees_the_links_that_it_held_up() {
    let (mut pair, first, (second, _)) = backlog();
    let error = Some(AmqpError::new(condition::INTERNAL_ERROR, "broken"));
    pair.client.detach(first, true, error).unwrap();
    assert_eq!(
        pair.client.next_event(),
        Ok(Some(Event::Credit {
            link: second,
            credit: 10,
            drain: false
        }))
    );
}

#[test]
fn what_needs_no_window_goes_when_the_messages_before_it_are_dropped() {
    let mut pair = pair(Limits {
        incoming_window: 1,
        ..Limits::default()
    });
    let (session, _) = pair.session();
    let links = ["first", "second"].map(|name| {
        let (ours, theirs) = pair.link_on(session, Role::Sender, name);
        pair.server.set_credit(theirs, 10).unwrap();
        ours
    });
    pair.run();
    let [first, second] = links;
    for (tag, link) in [(0, first), (1, second), (2, first)] {
        pair.client.send(link, unsettled(tag), &[b"m"]).unwrap();
    }
    pair.client.drained(second).unwrap();
    pair.feed_server();
    pair.feed_client();
    let error = Some(AmqpError::new(condition::INTERNAL_ERROR, "broken"));
    pair.client.detach(first, true, error).unwrap();
    let heard = performatives(&pair.client.output().split());
    let [
        (_, Performative::Transfer(_)),
        (_, Performative::Detach(_)),
        (_, Performative::Flow(answer)),
    ] = &heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_eq!(answer.delivery_count, Some(10));
}

#[test]
fn a_message_above_the_announced_size_is_not_sent() {
    let limits = Limits {
        max_message_size: 1_000,
        ..Limits::default()
    };
    let mut pair = pair(limits);
    let (ours, _) = pair.sender(10);
    assert_eq!(
        pair.client
            .send(ours, unsettled(0), &[&[0; 600], &[0; 401]]),
        Err(CommandError::MessageTooLarge {
            size: 1_001,
            limit: 1_000
        })
    );
    assert_eq!(pair.client.credit(ours), 10);
    assert!(pair.client.send(ours, unsettled(0), &[&[0; 1_000]]).is_ok());
}

#[test]
fn a_message_that_grows_beyond_the_limit_is_reported_and_not_kept() {
    let limits = Limits {
        max_message_size: 1_000,
        max_partial_bytes: 1_500,
        ..Limits::default()
    };
    for parts in [vec![1_001], vec![600, 401], vec![1_000, 1], vec![900; 9]] {
        let (mut peer, link) = RawPeer::with_link(limits, Role::Sender);
        peer.engine.set_credit(link, 10).unwrap();
        peer.heard();
        for (at, size) in parts.iter().enumerate() {
            peer.say(0, &transfer(7, 0, at + 1 < parts.len()), &vec![1; *size]);
        }
        let events = peer.events();
        let [
            Event::TooLarge {
                delivery,
                size,
                limit: 1_000,
            },
        ] = &events[..]
        else {
            panic!("{events:?}")
        };
        assert_eq!(delivery.link, link);
        assert_eq!(*size, parts.iter().sum::<usize>() as u64);
        assert_eq!(peer.engine.partial_bytes, 0);
        // The link goes on.
        peer.say(0, &transfer(7, 1, false), &[1; 1_000]);
        assert!(matches!(peer.events()[..], [Event::Delivery(_)]));
    }
}

#[test]
fn an_aborted_message_leaves_nothing_but_the_credit_it_used() {
    let (mut peer, link) = RawPeer::with_link(Limits::default(), Role::Sender);
    peer.engine.set_credit(link, 10).unwrap();
    peer.say(0, &transfer(7, 0, true), b"half");
    peer.say(
        0,
        &Transfer {
            aborted: true,
            ..transfer(7, 0, false)
        },
        b"",
    );
    assert_eq!(peer.events(), [Event::Aborted { link }]);
    assert_eq!(peer.engine.credit(link), 9);
    peer.say(0, &transfer(7, 1, false), b"whole");
    let arrived = deliveries(peer.events());
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].payload, &b"whole"[..]);
    assert_eq!(peer.engine.partial_bytes, 0);
}

#[test]
fn a_later_transfer_may_settle() {
    let (mut peer, link) = RawPeer::with_link(Limits::default(), Role::Sender);
    peer.engine.set_credit(link, 10).unwrap();
    peer.say(0, &transfer(7, 0, true), b"a");
    peer.say(
        0,
        &Transfer {
            settled: Some(true),
            ..transfer(7, 0, false)
        },
        b"b",
    );
    let arrived = deliveries(peer.events());
    assert!(arrived[0].settled);
    assert_eq!(arrived[0].payload, &b"ab"[..]);
}

#[test]
fn deliveries_of_one_link_do_not_interleave() {
    let (mut peer, link) = RawPeer::with_link(Limits::default(), Role::Sender);
    peer.engine.set_credit(link, 10).unwrap();
    peer.say(0, &transfer(7, 0, true), b"a");
    peer.say(0, &transfer(7, 1, false), b"b");
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
    assert_eq!(error.condition, condition::INVALID_FIELD);
    assert_eq!(peer.engine.partial_bytes, 0);
}

#[test]
fn half_messages_are_bounded_over_all_links() {
    let limits = Limits {
        max_partial_bytes: 2_500,
        ..Limits::default()
    };
    let (mut peer, _) = RawPeer::with_session(limits);
    for handle in 0..3 {
        let link = peer.attach(&handle.to_string(), handle, Role::Sender);
        peer.engine.set_credit(link, 1).unwrap();
        peer.say(0, &transfer(handle, handle, true), &[0; 1_000]);
    }
    assert_eq!(peer.failure().1, condition::RESOURCE_LIMIT_EXCEEDED);
}

#[test]
fn a_first_transfer_must_say_what_it_is() {
    for broken in [
        Transfer {
            delivery_id: None,
            ..transfer(7, 0, false)
        },
        Transfer {
            delivery_tag: None,
            ..transfer(7, 0, false)
        },
    ] {
        let (mut peer, link) = RawPeer::with_link(Limits::default(), Role::Sender);
        peer.engine.set_credit(link, 1).unwrap();
        peer.say(0, &broken, b"");
        let events = peer.events();
        assert!(
            matches!(events.last(), Some(Event::SessionEnded { .. })),
            "{events:?}"
        );
    }
}
