//! Time-outs, on a clock of our own.

use std::time::{Duration, Instant};

use super::pair::Pair;
use crate::engine::{ClientOptions, Engine, Event, ProtocolError, ServerOptions};
use crate::frame::ProtocolHeader;
use crate::{condition, performative::Performative};

const SECOND: Duration = Duration::from_secs(1);

fn pair(client_timeout: Option<Duration>, server_timeout: Option<Duration>) -> Pair {
    let client = ClientOptions {
        idle_timeout: client_timeout,
        ..ClientOptions::new("c")
    };
    let server = ServerOptions {
        idle_timeout: server_timeout,
        ..ServerOptions::new("s")
    };
    Pair::opened(client, server)
}

#[test]
fn signs_of_life_keep_a_quiet_connection_alive() {
    let mut pair = pair(Some(8 * SECOND), None);
    let start = Instant::now();
    let mut now = start;
    let mut due = [
        pair.client.tick(now).unwrap(),
        pair.server.tick(now).unwrap(),
    ];
    let mut last_sent = start;
    let mut longest = Duration::ZERO;
    while now < start + 60 * SECOND {
        now = due.iter().flatten().min().copied().unwrap();
        due[1] = pair.server.tick(now).unwrap();
        if !pair.server.output().is_empty() {
            assert_eq!(pair.server.output()[..], [0, 0, 0, 8, 2, 0, 0, 0]);
            longest = longest.max(now - last_sent);
            last_sent = now;
        }
        assert_eq!(pair.run(), super::pair::Seen::default());
        due[0] = pair.client.tick(now).unwrap();
    }
    assert!(
        longest <= 4 * SECOND,
        "half of the time-out at most: {longest:?}"
    );
    assert!(!pair.client.is_closed());
}

#[test]
fn a_silent_peer_is_closed_as_forced() {
    let mut pair = pair(None, Some(10 * SECOND));
    let start = Instant::now();
    let mut now = start;
    let error = loop {
        match pair.server.tick(now) {
            Ok(due) => now = due.unwrap(),
            Err(error) => break error,
        }
    };
    assert_eq!(error, ProtocolError::IdleTimeout { millis: 10_000 });
    assert!(now - start <= 20 * SECOND, "{:?}", now - start);
    assert!(pair.server.is_closed());
    let seen = pair.run();
    let [Event::Closed(Some(error))] = &seen.client[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(error.condition, condition::CONNECTION_FORCED);
}

#[test]
fn a_handshake_that_drags_on_is_given_up() {
    let mut server = Engine::server(ServerOptions::new("s"));
    let start = Instant::now();
    let due = server.tick(start).unwrap().unwrap();
    server.receive(&ProtocolHeader::Sasl.octets());
    assert_eq!(server.next_event(), Ok(None));
    assert_eq!(
        server.tick(start + SECOND),
        Ok(Some(due)),
        "progress does not prolong it"
    );
    assert_eq!(
        server.tick(due),
        Err(ProtocolError::HandshakeTimeout { millis: 30_000 })
    );
    assert!(server.is_closed());
    assert_eq!(server.tick(due), Ok(None));
}

#[test]
fn a_close_that_is_not_answered_ends_all_the_same() {
    let mut pair = pair(None, None);
    let start = Instant::now();
    assert_eq!(pair.client.tick(start), Ok(None), "nothing to attend to");
    pair.client.close(None);
    let due = pair.client.tick(start).unwrap().unwrap();
    assert_eq!(pair.client.tick(due), Ok(None));
    assert_eq!(pair.client.next_event(), Ok(Some(Event::Closed(None))));
    assert!(pair.client.is_closed());
    let octets = pair.client.output().split();
    let heard = super::raw_peer::performatives(&octets);
    assert!(
        matches!(heard[..], [(0, Performative::Close(_))]),
        "{heard:?}"
    );
}
