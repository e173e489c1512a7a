//! A connection without its socket, so that a test sees what it waits for.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use nightshift_amqp::{
    engine::{ClientOptions, NewLink, SaslClient},
    performative::{Source, Target},
    sasl::PlainCredentials,
};
use nightshift_time::SystemClock;

use super::*;
use crate::{
    config::{BrokerConfig, QueueConfig},
    queue::{QueueCounts, read_submissions},
};

/// A message with an empty body.
const MESSAGE: &[u8] = b"\x00\x53\x75\xa0\x00";

/// The connection, and the client at its other end.
struct Pair {
    connection: Connection,
    client: Engine,
    events: VecDeque<Event>,
}

impl Pair {
    fn new(sasl: SaslClient) -> Self {
        let config = BrokerConfig::new([QueueConfig::new("q")]);
        let shared = Shared::new(config, SystemClock::shared());
        let mut pair = Self {
            connection: Connection::new(1, Arc::new(shared.unwrap())),
            client: Engine::client(ClientOptions {
                sasl,
                ..ClientOptions::new("c")
            }),
            events: VecDeque::new(),
        };
        pair.run();
        pair
    }

    /// Moves bytes until both sides are quiet.
    fn run(&mut self) {
        loop {
            let bytes = self.client.output().split();
            self.connection.engine.receive(&bytes);
            self.connection.advance();
            let answer = self.connection.engine.output().split();
            self.client.receive(&answer);
            while let Some(event) = self.client.next_event().unwrap() {
                self.events.push_back(event);
            }
            if bytes.is_empty() && answer.is_empty() {
                return;
            }
        }
    }

    fn queue(&self) -> Arc<Entity> {
        Arc::clone(self.connection.shared.namespace.get("q").unwrap())
    }

    fn send_one(&self) -> QueueCounts {
        let now = self.connection.shared.clock.now();
        let mut submissions = Vec::new();
        read_submissions(Bytes::from_static(MESSAGE), false, &mut submissions).unwrap();
        self.queue().with(|queue| {
            let cost = submissions[0].cost();
            queue
                .enqueue(now, 1, cost, submissions.into_iter())
                .unwrap();
        });
        self.queue().with(|queue| queue.counts())
    }
}

#[test]
fn a_connection_that_is_told_to_close_waits_only_for_the_answer() {
    let mut pair = Pair::new(SaslClient::Anonymous);
    // The client has set no token in time, and has had no link for long.
    pair.connection.started -= pair.connection.shared.config.limits.authentication;
    pair.connection.linkless_since = Some(pair.connection.started - Duration::from_mins(2));
    pair.connection.advance();
    assert!(pair.connection.engine.is_closing() && !pair.connection.engine.is_closed());
    let now = Instant::now();
    for _ in 0..2 {
        let deadline = pair.connection.advance().unwrap();
        assert!(
            deadline > now + Duration::from_secs(20),
            "no deadline that has passed"
        );
    }
}

#[test]
fn a_closing_connection_stands_in_no_line() {
    let mut pair = Pair::new(SaslClient::Plain(PlainCredentials {
        authorization_id: String::new(),
        user: "any".to_owned(),
        password: "any".to_owned(),
    }));
    let session = pair.client.begin_session().unwrap();
    let link = NewLink::new("in", Source::new("q"), Target::new("here"));
    let link = pair.client.attach_receiver(session, link).unwrap();
    pair.run();
    pair.client.set_credit(link, 10).unwrap();
    pair.run();

    // It waits for messages when the broker stops, and is not rung for one that comes now.
    pair.connection.stop();
    pair.connection.advance();
    assert!(pair.connection.engine.is_closing() && !pair.connection.engine.is_closed());
    let counts = pair.send_one();
    assert_eq!((counts.active, counts.locked), (1, 0));
    let mut rung = Vec::new();
    pair.connection.bell().collect(&mut rung);
    assert!(rung.is_empty(), "{rung:?}");
}
