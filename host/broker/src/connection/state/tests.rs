//! A connection without its socket, so that a test sees what it waits for.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use nightshift_amqp::{
    Encode, Map, Symbol, Value,
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

/// A sign of life.
const EMPTY_FRAME: &[u8] = b"\0\0\0\x08\x02\0\0\0";

fn plain() -> SaslClient {
    SaslClient::Plain(PlainCredentials {
        authorization_id: String::new(),
        user: "any".to_owned(),
        password: "any".to_owned(),
    })
}

/// The connection, and the client at its other end.
struct Pair {
    connection: Connection,
    client: Engine,
    events: VecDeque<Event>,
    now: Instant,
}

impl Pair {
    fn new(sasl: SaslClient) -> Self {
        Self::with(ClientOptions {
            sasl,
            ..ClientOptions::new("c")
        })
    }

    fn with(options: ClientOptions) -> Self {
        let config = BrokerConfig::new([
            QueueConfig::new("q"),
            QueueConfig::new("sessions").requires_session(true),
        ]);
        let shared = Shared::new(config, SystemClock::shared(), None);
        let now = Instant::now();
        let mut pair = Self {
            connection: Connection::new(1, Arc::new(shared.unwrap()), now),
            now,
            client: Engine::client(options),
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
            self.connection.advance(self.now);
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

    fn started(&self) -> Instant {
        self.connection.started
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
    pair.connection.advance(pair.now);
    assert!(pair.connection.engine.is_closing() && !pair.connection.engine.is_closed());
    let now = Instant::now();
    for _ in 0..2 {
        let deadline = pair.connection.advance(pair.now).unwrap();
        assert!(
            deadline > now + Duration::from_secs(20),
            "no deadline that has passed"
        );
    }
}

#[test]
fn a_closing_connection_stands_in_no_line() {
    let mut pair = Pair::new(plain());
    let session = pair.client.begin_session().unwrap();
    let link = NewLink::new("in", Source::new("q"), Target::new("here"));
    let link = pair.client.attach_receiver(session, link).unwrap();
    pair.run();
    pair.client.set_credit(link, 10).unwrap();
    pair.run();

    // It waits for messages when the broker stops, and is not rung for one that comes now.
    pair.connection.stop();
    pair.connection.advance(pair.now);
    assert!(pair.connection.engine.is_closing() && !pair.connection.engine.is_closed());
    let counts = pair.send_one();
    assert_eq!((counts.active, counts.locked), (1, 0));
    let mut rung = Vec::new();
    pair.connection.bell().collect(&mut rung);
    assert!(rung.is_empty(), "{rung:?}");
}

/// A pair whose client may stay, and says nothing of itself.
fn quiet_pair(client_timeout: Option<Duration>) -> Pair {
    let mut pair = Pair::with(ClientOptions {
        sasl: plain(),
        idle_timeout: client_timeout,
        ..ClientOptions::new("c")
    });
    let session = pair.client.begin_session().unwrap();
    let link = NewLink::new("in", Source::new("q"), Target::new("here"));
    pair.client.attach_receiver(session, link).unwrap();
    pair.run();
    pair
}

#[test]
fn a_client_is_sent_signs_of_life_before_half_of_its_time_out_has_passed() {
    let timeout = Duration::from_secs(10);
    let mut pair = quiet_pair(Some(timeout));
    let mut last = pair.now;
    for _ in 0..1_000 {
        // The connection wakes when it wants to, and not before.
        pair.now = pair.connection.advance(pair.now).expect("something is due");
        pair.connection.advance(pair.now);
        let octets = pair.connection.engine.output().split();
        if octets.is_empty() {
            continue;
        }
        assert_eq!(&octets[..], EMPTY_FRAME);
        let silence = pair.now - last;
        assert!(silence <= timeout / 2, "{silence:?} of silence");
        last = pair.now;
        pair.client.receive(&octets);
        // The client shows life, too.
        pair.connection.engine.receive(EMPTY_FRAME);
        assert!(!pair.connection.engine.is_closing());
    }
    assert!(last > pair.started() + Duration::from_mins(30));
}

#[test]
fn a_client_that_shows_life_is_kept_and_one_that_has_gone_silent_is_given_up() {
    let mut pair = quiet_pair(None);
    let announced = pair.events.iter().find_map(|event| match event {
        Event::Opened(open) => open.idle_time_out,
        _ => None,
    });
    let announced = Duration::from_millis(announced.expect("the broker announces one").into());
    assert_eq!(announced, Duration::from_mins(4));
    for _ in 0..10 {
        pair.now += announced * 9 / 10;
        pair.connection.engine.receive(EMPTY_FRAME);
        pair.connection.advance(pair.now);
        assert!(!pair.connection.engine.is_closing());
    }
    let silent_since = pair.now;
    while !pair.connection.engine.is_closing() {
        pair.now = pair.connection.advance(pair.now).expect("something is due");
        pair.connection.advance(pair.now);
    }
    let silence = pair.now - silent_since;
    assert!(
        silence >= announced && silence <= announced * 2,
        "{silence:?}"
    );
    pair.run();
    let told = pair.events.iter().find_map(|event| match event {
        Event::Closed(error) => error.clone(),
        _ => None,
    });
    let told = told.expect("the client is told why");
    assert_eq!(told.condition, condition::CONNECTION_FORCED);
}

#[test]
fn a_link_that_waits_for_a_session_keeps_little_of_a_large_attach() {
    let mut pair = Pair::new(plain());
    let large = Value::from("x".repeat(20_000));
    let symbol = Symbol::from("x".repeat(20_000));
    let mut source = Source::new("sessions");
    let mut filter = Map::from_iter([("large", large.clone())]);
    filter.insert_symbol("com.microsoft:session-filter", Value::Null);
    source.filter = Some(filter);
    source.capabilities = Some(vec![symbol.clone()]);
    source.outcomes = Some(vec![symbol.clone()]);
    source.dynamic_node_properties = Some(Map::from_iter([("large", large.clone())]));
    let mut target = Target::new("here");
    target.expiry_policy = Some(symbol.clone());
    let mut link = NewLink::new("in", source, target);
    link.desired_capabilities = Some(vec![symbol]);
    link.properties = Some(Map::from_iter([("large", large)]));
    let session = pair.client.begin_session().unwrap();
    pair.client.attach_receiver(session, link).unwrap();
    pair.run();
    let kept = pair.connection.links.values().find_map(|link| match link {
        Link::Accepting(waiting) => Some(&waiting.attach),
        _ => None,
    });
    let kept = kept.expect("a link that waits");
    let mut encoded = BytesMut::new();
    kept.encode(&mut encoded);
    assert!(encoded.len() < 200, "{} bytes: {kept:?}", encoded.len());
    let addresses = (kept.source_address(), kept.target_address());
    assert_eq!(addresses, (Some("sessions"), Some("here")));
}
